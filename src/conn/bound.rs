//! A connection whose requests belong to one session, and end with it.

use std::fmt;

use super::{Conn, Pending};
use crate::deadline::Deadline;
use crate::request::{Confirm, Reply, Request};
use crate::session::Session;

/// A connection whose requests go through in one session only; once that is over they fail with
/// `SessionExpired`, where others would go on in the next session.
///
/// Whatever hangs on an ephemeral node needs this: a write that checks the node must not find
/// another's of the same name, a session later.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::{BoundConn, ConnExt, ErrorKind, MemoryQuorum};
/// let quorum = MemoryQuorum::new();
/// let conn = Arc::new(quorum.connect());
/// let session = conn.session("/").await?;
/// let bound = BoundConn::new(conn.clone(), &session);
/// quorum.expire(session.id());
/// assert!(conn.exists("/").await?.is_some());
/// let err = bound.exists("/").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::SessionExpired);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BoundConn<C> {
    inner: C,
    session: i64,
    by: Option<Deadline>,
    confirm: Option<Confirm>,
}

impl<C: Conn> BoundConn<C> {
    /// Lets the requests of `inner` through in `session` only.
    pub fn new(inner: C, session: &Session) -> Self {
        BoundConn { inner, session: session.id(), by: None, confirm: None }
    }

    /// The same, each request with a deadline of its own or `by`, whichever comes first.
    #[must_use]
    pub fn by(mut self, by: Option<Deadline>) -> Self {
        self.by = by;
        self
    }

    /// The same, each write answered when these have it.
    #[must_use]
    pub(crate) fn confirmed(mut self, confirm: Confirm) -> Self {
        self.confirm = Some(confirm);
        self
    }
}

impl<C: Conn> Conn for BoundConn<C> {
    fn call(&self, mut request: Request) -> Pending<Reply> {
        request.session = Some(self.session);
        request.deadline = self.by.map_or(request.deadline, |by| by.min(request.deadline));
        request.confirm = self.confirm.or(request.confirm);
        self.inner.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl<C: Conn> fmt::Display for BoundConn<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bound({:#x}, {})", self.session, self.inner)
    }
}
