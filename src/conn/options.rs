//! How a session with a quorum is opened: as whom, and how long it may be silent.

use std::time::Duration;

use crate::auth::Auth;

/// How a session is opened, with servers or in memory.
///
/// ```
/// use std::time::Duration;
/// use zkcells::{Auth, SessionOptions};
/// let options = SessionOptions::default()
///     .with_session_timeout(Duration::from_secs(15))
///     .with_auth(Auth::digest("app", "hunter2"));
/// assert!(!format!("{options:?}").contains("hunter2"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// How long servers are asked to wait for a sign of life; they grant 2 to 20 of their ticks. A
    /// quorum in memory grants it as it is, and never sees a session silent.
    pub session_timeout: Duration,
    /// Who we say we are; all of them count.
    pub auth: Vec<Auth>,
    /// What the cell is called in events and metrics; `None` shows its servers.
    pub label: Option<String>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { session_timeout: Self::TIMEOUT, auth: Vec::new(), label: None }
    }
}

impl SessionOptions {
    /// What is asked for unless told otherwise: 15 s.
    pub const TIMEOUT: Duration = Duration::from_secs(15);

    /// The same with this session timeout.
    #[must_use]
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// The same with one more identity.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth.push(auth);
        self
    }

    /// The same under this name in events and metrics.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}
