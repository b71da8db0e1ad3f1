//! The one error of this crate: operation, path, kind, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What went wrong, for code to branch on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use zkcells::{ConnExt, ErrorKind, MemoryConn};
/// let err = MemoryConn::new().get("/motd").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::NoNode);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The node does not exist.
    #[error("no such node")]
    NoNode,
    /// The node is there already.
    #[error("node exists")]
    NodeExists,
    /// The node has children, so it cannot be deleted.
    #[error("node has children")]
    NotEmpty,
    /// The node's version is not the one that was asked for.
    #[error("version conflict")]
    BadVersion,
    /// The node's ACL, or its parent's, does not allow this to us.
    #[error("permission denied")]
    NoAuth,
    /// The server did not accept our identity.
    #[error("authentication failed")]
    AuthFailed,
    /// The ACL is empty, names an unknown scheme, or `auth` without an identity.
    #[error("invalid ACL")]
    InvalidAcl,
    /// The parent is ephemeral, and ephemeral nodes have no children.
    #[error("parent is ephemeral")]
    NoChildrenForEphemerals,
    /// The text is not a path that ZooKeeper accepts.
    #[error("bad path")]
    BadPath,
    /// The text is not a pattern.
    #[error("bad pattern")]
    BadPattern,
    /// The path names no cell, or one that the configuration does not have.
    #[error("unknown cell")]
    UnknownCell,
    /// An argument makes no sense for this operation.
    #[error("bad argument")]
    BadArguments,
    /// The configuration cannot be used.
    #[error("bad configuration")]
    Config,
    /// A `multi` over more than one cell.
    #[error("more than one cell")]
    CrossCell,
    /// The request is larger than servers accept.
    #[error("too large")]
    TooLarge,
    /// This session watches as many bytes of paths as it can carry over a reconnect.
    #[error("too many watches")]
    TooManyWatches,
    /// The node cannot be written: it is virtual, or the server is read-only.
    #[error("read-only")]
    ReadOnly,
    /// The server, or this build, does not know this operation.
    #[error("not supported")]
    Unsupported,
    /// A quota of the server is used up.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// The request was never handed to a server: surely not applied.
    #[error("not sent")]
    NotSent,
    /// A read that no server answered by the deadline, or a turn that had not come by then.
    #[error("timed out")]
    Timeout,
    /// The connection broke under a read; nothing happened.
    #[error("connection lost")]
    ConnectionLoss,
    /// A write whose reply was lost, and of which the server can no longer tell.
    #[error("reply lost; the write may have been applied")]
    OutcomeUnknown,
    /// The session is over; its ephemeral nodes and watches are gone.
    #[error("session expired")]
    SessionExpired,
    /// The connection was closed by its owner.
    #[error("connection closed")]
    Closed,
    /// The own node was deleted by another: the place in the queue, or what was held, is lost.
    #[error("revoked: the own node was deleted by another")]
    Revoked,
    /// Those who take part do not agree on how many they are, or there are more of them.
    #[error("participants disagree")]
    Disagreement,
    /// The barrier is broken: somebody who had come gave up, died, or reset it.
    #[error("barrier broken")]
    Broken,
    /// The caller ended it before it was done.
    #[error("cancelled")]
    Cancelled,
    /// A newer token has been seen: whoever holds this one holds it no longer.
    #[error("stale token")]
    StaleToken,
    /// A quorum of a set is not the one that it is used as: its identity is missing, another set's,
    /// or older than the others'. Nothing was written there.
    #[error("wrong quorum")]
    WrongQuorum,
    /// The write stands on the first quorum of a set, but too few mirrors have it.
    #[error("written, but not on enough mirrors")]
    NotMirrored,
    /// The quorums of a set hold different things.
    #[error("quorums differ")]
    Diverged,
    /// The node kept changing under the operation.
    #[error("keeps changing")]
    Contended,
    /// Something that the caller gave (a file, a tree) cannot be read or written.
    #[error("cannot be used")]
    Input,
    /// The server answered with something that has no name here.
    #[error("unexpected answer")]
    Unexpected,
}

/// The one error type of this crate.
///
/// It prints as one line, `operation path: kind: detail`, and knows each of them.
/// A cause is in [`source`](StdError::source) and not in the text.
///
/// ```
/// use zkcells::{Error, ErrorKind};
/// let err = Error::new("get", "/zk/nyc/motd", ErrorKind::NoNode);
/// assert_eq!(err.to_string(), "get /zk/nyc/motd: no such node");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    op: &'static str,
    path: Arc<str>,
    kind: ErrorKind,
    detail: Option<String>,
    index: Option<usize>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `op` on `path` (or on a file, where there is no path).
    pub fn new(op: &'static str, path: impl Into<Arc<str>>, kind: ErrorKind) -> Self {
        Error(Arc::new(Inner {
            op,
            path: path.into(),
            kind,
            detail: None,
            index: None,
            cause: None,
        }))
    }

    /// The error for an answer to another question than that of `op`.
    pub(crate) fn odd(op: &'static str, path: impl Into<Arc<str>>) -> Self {
        let err = Error::new(op, path, ErrorKind::Unexpected);
        err.with_detail("the connection answered another question")
    }

    /// Adds what a person needs to mend it: what was expected, what to do.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).detail = Some(detail.into());
        self
    }

    /// Says which operation of a `multi` failed, counted from 0.
    #[must_use]
    pub fn with_index(mut self, index: usize) -> Self {
        Arc::make_mut(&mut self.0).index = Some(index);
        self
    }

    /// The same error of another operation of a `multi`, or of none.
    #[must_use]
    pub(crate) fn at_index(mut self, index: Option<usize>) -> Self {
        Arc::make_mut(&mut self.0).index = index;
        self
    }

    /// Keeps the error below this one for [`source`](StdError::source).
    #[must_use]
    pub fn with_cause(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).cause = Some(Arc::new(cause));
        self
    }

    /// The same error with its path spelled as `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).path = path.into();
        self
    }

    /// The same error of operation `op`: helpers report the verb that their caller used.
    #[must_use]
    pub fn during(mut self, op: &'static str) -> Self {
        Arc::make_mut(&mut self.0).op = op;
        self
    }

    /// Whether the cell did not answer, so that nothing is wrong with what was asked.
    pub(crate) fn is_away(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::NotSent
                | ErrorKind::Timeout
                | ErrorKind::ConnectionLoss
                | ErrorKind::SessionExpired
                | ErrorKind::AuthFailed
        )
    }

    /// What to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation, a lower-case word: `get`, `create`, `multi`.
    pub fn op(&self) -> &'static str {
        self.0.op
    }

    /// The path in the caller's spelling, or the file.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// What was expected and what to do, if there is more to say than the kind.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Which operation of a `multi` failed, counted from 0.
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { op, path, kind, detail, index, .. } = &*self.0;
        write!(f, "{op}")?;
        if let Some(index) = index {
            write!(f, "[{index}]")?;
        }
        if !path.is_empty() {
            write!(f, " {path}")?;
        }
        write!(f, ": {kind}")?;
        match detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("op", &self.0.op)
            .field("path", &self.0.path)
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("index", &self.0.index)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_away_when_nothing_is_wrong_with_what_was_asked() {
        for kind in [
            ErrorKind::NotSent,
            ErrorKind::Timeout,
            ErrorKind::ConnectionLoss,
            ErrorKind::SessionExpired,
            ErrorKind::AuthFailed,
        ] {
            assert!(Error::new("get", "/zk/nyc/x", kind).is_away(), "{kind}");
        }
        // A write that may have been applied is a failure of its own.
        for kind in [ErrorKind::OutcomeUnknown, ErrorKind::NoAuth, ErrorKind::NoNode] {
            assert!(!Error::new("get", "/zk/nyc/x", kind).is_away(), "{kind}");
        }
    }

    #[test]
    fn a_cause_is_in_source_and_not_in_the_text() {
        let cause = std::io::Error::other("connection refused");
        let err = Error::new("set", "/zk/nyc/x", ErrorKind::NotSent).with_cause(cause);
        assert_eq!(err.to_string(), "set /zk/nyc/x: not sent");
        let source = err.source().and_then(|s| s.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(|s| s.to_string()).as_deref(), Some("connection refused"));
    }

    #[test]
    fn the_failing_operation_of_a_multi_is_named() {
        let err = Error::new("multi", "/zk/nyc/x", ErrorKind::BadVersion)
            .with_index(2)
            .with_detail("expected version 3");
        assert_eq!(err.to_string(), "multi[2] /zk/nyc/x: version conflict: expected version 3");
    }
}
