//! A connection to an in-process quorum.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::opening::Opening;
use super::quorum::MemoryQuorum;
use super::watches::{Held, Watcher};
use crate::conn::{Conn, Pending};
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::session::{Session, SessionState};
use crate::watch::{TreeSender, TreeWatch, Watch, WatchSender};

/// A session on a [`MemoryQuorum`].
///
/// Every call is answered before it returns. Dropping the connection closes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, Version};
/// let conn = MemoryConn::new();
/// let (_, watch) = conn.exists_watch("/motd").await?;
/// conn.create("/motd", "hello", Mode::Persistent).await?;
/// watch.await;
/// let other = conn.quorum().connect();
/// assert_eq!(other.get("/motd").await?.data, "hello");
/// # Ok(()) }
/// ```
pub struct MemoryConn {
    quorum: MemoryQuorum,
    session: Session,
    closed: AtomicBool,
    /// Why the quorum took the identities of this connection for none.
    refused: Option<String>,
}

impl MemoryConn {
    /// A connection to a fresh quorum of its own.
    pub fn new() -> Self {
        MemoryQuorum::new().connect()
    }

    pub(super) fn open(quorum: MemoryQuorum, mut opening: Opening) -> Self {
        let refused = opening.refused.take();
        let session = quorum.open(opening);
        if refused.is_some() {
            // As a server closes the connection behind an identity that it cannot check.
            quorum.end(session.id(), SessionState::Closed);
        }
        MemoryConn { quorum, session, closed: AtomicBool::new(false), refused }
    }

    /// The quorum behind it.
    pub fn quorum(&self) -> &MemoryQuorum {
        &self.quorum
    }

    /// Ends this session as servers do that heard nothing of it for its timeout.
    pub fn expire(&self) {
        self.quorum.expire(self.session.id());
    }

    fn end(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.quorum.end(self.session.id(), SessionState::Closed);
    }

    fn answer(&self, request: &Request) -> Result<Reply, Error> {
        request.check()?;
        let closed = || self.closed.load(Ordering::SeqCst);
        if closed() {
            return Err(request.error(ErrorKind::Closed));
        }
        if request.deadline.is_past() {
            return Err(request.error(ErrorKind::NotSent).with_detail("its deadline had passed"));
        }
        if let Some(why) = &self.refused {
            return Err(request.error(ErrorKind::AuthFailed).with_detail(why));
        }
        let Request { op, path, .. } = request;
        let (watcher, left) = Left::by(request, &self.session);
        let reply = self.quorum.execute(self.session.id(), op, path, watcher);
        match reply {
            Err(err) if err.kind() == ErrorKind::SessionExpired && closed() => {
                Err(request.error(ErrorKind::Closed))
            }
            Ok(_) if matches!(op, Op::Session) => Ok(Reply::Session(self.session.clone())),
            reply => reply.map(|reply| left.put_into(reply)),
        }
    }
}

impl Conn for MemoryConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        Pending::ready(self.answer(&request))
    }

    fn close(&self) -> Pending<()> {
        self.end();
        Pending::ready(Ok(()))
    }
}

/// What a request leaves with its caller.
enum Left {
    Nothing,
    Once(Watch),
    Tree(TreeWatch),
    Hold(Hold),
}

impl Left {
    /// What `request` leaves, and the other end of it, for the quorum.
    fn by(request: &Request, session: &Session) -> (Option<Box<dyn Watcher>>, Left) {
        match request.op {
            Op::Get(LeaveWatch::Yes)
            | Op::Children(LeaveWatch::Yes)
            | Op::Exists(LeaveWatch::Yes) => {
                let (sender, watch) = Watch::channel(request.path.clone());
                (Some(Box::new(Some::<WatchSender>(sender))), Left::Once(watch))
            }
            Op::WatchTree => {
                let (sender, tree) = TreeWatch::channel(request.path.clone());
                (Some(Box::<TreeSender>::new(sender)), Left::Tree(tree))
            }
            Op::Hold => {
                let path = request.path.clone();
                let (sender, hold) = Hold::channel(path.clone(), session.clone(), None);
                (Some(Box::new(Held { path, sender })), Left::Hold(hold))
            }
            _ => (None, Left::Nothing),
        }
    }

    fn put_into(self, reply: Reply) -> Reply {
        match (self, reply) {
            (Left::Once(watch), Reply::Node(node, _)) => Reply::Node(node, Some(watch)),
            (Left::Once(watch), Reply::Children(children, _)) => {
                Reply::Children(children, Some(watch))
            }
            (Left::Once(watch), Reply::Exists(stat, _)) => Reply::Exists(stat, Some(watch)),
            (Left::Tree(tree), _) => Reply::Tree(tree),
            (Left::Hold(hold), _) => Reply::Hold(hold),
            (_, reply) => reply,
        }
    }
}

impl Default for MemoryConn {
    fn default() -> Self {
        MemoryConn::new()
    }
}

impl Drop for MemoryConn {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Display for MemoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.quorum.fmt(f)
    }
}

impl fmt::Debug for MemoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConn")
            .field("quorum", &self.quorum)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
