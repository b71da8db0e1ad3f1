//! Who we say we are, and how we keep the proof to ourselves.

use std::fmt;

/// A text that is never shown: it prints as `***`.
///
/// ```
/// use zkcells::Secret;
/// assert_eq!(format!("{} {0:?}", Secret::new("hunter2")), "*** ***");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
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

/// One identity of a session: a scheme of ZooKeeper and the proof that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The scheme, such as `digest`.
    pub scheme: String,
    /// The proof; for `digest` it is `user:password`.
    pub secret: Secret,
}

impl Auth {
    /// An identity of any scheme.
    pub fn new(scheme: impl Into<String>, secret: Secret) -> Self {
        Auth { scheme: scheme.into(), secret }
    }

    /// A user with a password.
    pub fn digest(user: &str, password: &str) -> Self {
        Auth::new("digest", Secret::new(format!("{user}:{password}")))
    }
}
