//! A session that is about to be opened on an in-process quorum.

use std::time::Duration;

use super::access::Identity;
use crate::conn::options::SessionOptions;

/// Who opens a session, proved as far as it can be.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(super) identities: Vec<Identity>,
    /// Why every call is to fail with `AuthFailed`.
    pub(super) refused: Option<String>,
    pub(super) session_timeout: Duration,
    /// What the cell is called.
    pub(super) label: Option<String>,
}

impl From<SessionOptions> for Opening {
    /// The secrets are not kept; their hashes are.
    fn from(options: SessionOptions) -> Self {
        let mut opening = Opening {
            identities: vec![Identity::here()],
            refused: None,
            session_timeout: options.session_timeout,
            label: options.label.clone(),
        };
        for auth in &options.auth {
            let scheme = &auth.scheme;
            match Identity::prove(scheme, auth.secret.expose()) {
                Some(identity) if opening.identities.contains(&identity) => {}
                Some(identity) => opening.identities.push(identity),
                None => {
                    let why = "expected digest and user:password";
                    let why = format!("cannot use the identity of scheme {scheme}; {why}");
                    opening.refused = Some(why);
                }
            }
        }
        opening
    }
}
