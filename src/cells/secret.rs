//! Credentials: read once, from a file or a variable, and never printed.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes that prove who we are. They print as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// More than this is surely not a password but the wrong file.
const MAX_SECRET: u64 = 64 * 1024;

impl Secret {
    /// Keeps `bytes`.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Secret(bytes.as_ref().into())
    }

    /// The bytes themselves, for the connection that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What `file` holds, without the line end that editors leave behind it.
    pub(super) fn from_file(file: &Path) -> Result<Secret, String> {
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|open| open.take(MAX_SECRET + 1).read_to_end(&mut bytes))
            .map_err(|err| format!("the file {} cannot be read: {err}", file.display()))?;
        if bytes.len() as u64 > MAX_SECRET {
            return Err(format!("the file {} has more than 64 KiB", file.display()));
        }
        let trimmed = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(format!("the file {} is empty", file.display()));
        }
        Ok(Secret::new(trimmed))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An identity that a session proves to a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Auth {
    /// ZooKeeper's word for the kind of proof: `digest`.
    pub scheme: String,
    /// The proof; for `digest`, `user:password`.
    pub secret: Secret,
}

impl Auth {
    /// The proof `secret` of kind `scheme`.
    pub fn new(scheme: impl Into<String>, secret: Secret) -> Self {
        Auth { scheme: scheme.into(), secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let auth = Auth::new("digest", Secret::new("app:geheim"));
        assert_eq!(format!("{} {:?}", auth.secret, auth.secret), "*** ***");
        assert_eq!(format!("{auth:?}"), "Auth { scheme: \"digest\", secret: *** }");
    }
}
