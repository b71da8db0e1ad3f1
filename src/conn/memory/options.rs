//! Who opens a session on an in-process quorum, and how long it may be silent.

use std::time::Duration;

use super::access::Identity;

/// How to open a session on a [`MemoryQuorum`](crate::MemoryQuorum).
///
/// ```
/// use std::time::Duration;
/// use zkcells::{MemoryOptions, MemoryQuorum};
/// let options = MemoryOptions::new()
///     .with_auth("digest", "alice:secret")
///     .with_session_timeout(Duration::from_secs(4));
/// let conn = MemoryQuorum::new().connect_with(options);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryOptions {
    pub(super) identities: Vec<Identity>,
    pub(super) refused: Option<String>,
    pub(super) session_timeout: Duration,
}

impl MemoryOptions {
    /// Nobody in particular, with a timeout of 30 s.
    pub fn new() -> Self {
        MemoryOptions {
            identities: vec![Identity::here()],
            refused: None,
            session_timeout: Duration::from_secs(30),
        }
    }

    /// Proves an identity, as ZooKeeper's `addauth` does: `digest` with `user:password`.
    ///
    /// With a scheme that the quorum does not know, all calls fail with `AuthFailed`. The secret
    /// is not kept; its hash is.
    pub fn with_auth(mut self, scheme: &str, secret: &str) -> Self {
        match Identity::prove(scheme, secret) {
            Some(identity) if self.identities.contains(&identity) => {}
            Some(identity) => self.identities.push(identity),
            None => {
                let detail = "expected digest and user:password";
                self.refused =
                    Some(format!("cannot use the identity of scheme {scheme}; {detail}"));
            }
        }
        self
    }

    /// The timeout that the session tells. Nothing in memory is ever silent, so that no session
    /// ends by it; see [`MemoryQuorum::expire`](crate::MemoryQuorum::expire).
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions::new()
    }
}
