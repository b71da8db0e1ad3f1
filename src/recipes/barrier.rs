//! A barrier that one closes and another opens, and at which anybody waits.
//!
//! ```text
//! <path>      closed while it is there; who closed it as JSON, with the random id of one `set`
//!
//!            set                        set
//!   open ─────────▶ closed (czxid 7) ◀───────▶ closed (czxid 9)
//!        ◀─────────                      unset
//!           unset
//! ```
//!
//! Of two who set it at once one wins, and the other is told `NodeExists`. Anybody may unset it. It
//! stays when its owner dies, unless it was asked to go with the session.
//!
//! A waiter remembers which node it waits for, by the transaction that made it. When there is none,
//! or another one, the barrier has been open in between: it need not see that moment.
//!
//! Clients of zksync, Curator (`DistributedBarrier`) and Kazoo (`Barrier`) share a path with these:
//! the node alone counts for all of them. Theirs may sleep through an opening that is closed again
//! at once.

mod closing;
mod wait;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::closing::Closing;
use super::names;
use super::ours::Ours;
use super::owner::Owner;
use super::passing::may_stand;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Version};
use crate::path::{IntoPath, ZkPath};
use crate::tree;

#[cfg(feature = "cli")]
pub(crate) use self::closing::closing;

/// A barrier at a path: closed while there is a node.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::Barrier;
/// let conn = Arc::new(MemoryConn::new());
/// let barrier = Barrier::new(conn.clone(), "/app/migration");
/// barrier.set().await?;
/// let waiter = barrier.clone();
/// let waiting = tokio::spawn(async move { waiter.wait().await });
/// barrier.unset().await?;
/// waiting.await.expect("it does not panic")?;
/// # Ok(()) }
/// ```
///
/// After zksync's `Barrier`.
#[derive(Clone, Debug)]
#[doc(alias = "DistributedBarrier")]
pub struct Barrier {
    conn: Ours,
    path: Result<ZkPath, Error>,
    mode: Mode,
    acl: Vec<Acl>,
    /// The id of a `set` of which it is not known whether it was done.
    doubt: Arc<Mutex<Option<String>>>,
}

/// One `set`, which leaves its id to the next one unless its outcome is known.
struct Attempt<'a> {
    barrier: &'a Barrier,
    id: String,
    /// Whether an earlier one had this id.
    second: bool,
    settled: bool,
}

impl Barrier {
    /// The barrier at `path`. Nothing is done yet; a bad path is told by the first use.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        Barrier {
            conn: Ours::new(conn),
            path: path.into_path(),
            mode: Mode::Persistent,
            acl: Acl::open(),
            doubt: Arc::default(),
        }
    }

    /// The same whose node lives so long: with [`Mode::Ephemeral`] it opens when the session of whoever
    /// set it ends, with [`Mode::Ttl`] some time later at the latest.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::sync::Arc;
    /// use zkcells::recipes::Barrier;
    /// use zkcells::{MemoryQuorum, Mode};
    /// let quorum = MemoryQuorum::new();
    /// let (owner, other) = (Arc::new(quorum.connect()), quorum.connect());
    /// Barrier::new(owner.clone(), "/app/migration").with_mode(Mode::Ephemeral).set().await?;
    /// owner.expire();
    /// Barrier::new(other, "/app/migration").wait().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same with another access list for the node that closes it.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Closes the barrier. Missing parents are made.
    ///
    /// # Errors
    ///
    /// `NodeExists` when it is closed, with who closed it. `OutcomeUnknown` when the reply was lost
    /// and cannot be decided; a further `set` of this object, or of a clone, then recognises what the
    /// lost one did, and succeeds. `BadArguments` for a sequential mode.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be closed or not; a further `set` recognises it likewise.
    pub async fn set(&self) -> Result<(), Error> {
        const VERB: &str = "set";
        let path = self.path(VERB)?;
        if self.mode.is_sequential() {
            let err = Error::new(VERB, &path, ErrorKind::BadArguments);
            return Err(err.with_detail("a barrier has a name without a number"));
        }
        let mut attempt = Attempt::of(self);
        let closed = self.close(&path, &attempt).await.map_err(|err| err.during(VERB));
        attempt.settled = match closed.as_ref().map_err(Error::kind) {
            Ok(()) | Err(ErrorKind::NodeExists) => true,
            Err(kind) if may_stand(kind) => false,
            // This one was not done. Of an earlier one nothing new is known.
            Err(_) => !attempt.second,
        };
        closed
    }

    async fn close(&self, path: &ZkPath, attempt: &Attempt<'_>) -> Result<(), Error> {
        let id = attempt.id.as_str();
        let options = CreateOptions::from(self.mode).with_acl(self.acl.clone()).with_id(id);
        let closing = Closing::here(id).to_json();
        let err = match tree::create_all(&self.conn, path, closing, options).await {
            Ok(_) => return Ok(()),
            Err(err) => err,
        };
        if !matches!(err.kind(), ErrorKind::NodeExists | ErrorKind::OutcomeUnknown) {
            return Err(err);
        }
        let unknown = |err: &Error| {
            Error::new("set", path, ErrorKind::OutcomeUnknown).with_cause(err.clone())
        };
        let Ok(node) = self.conn.get(path).await else {
            let known = err.kind() == ErrorKind::NodeExists && !attempt.second;
            return Err(if known { err } else { unknown(&err) });
        };
        let owner = Owner::parse(&node.data);
        if owner.as_ref().is_some_and(|owner| owner.id == id) {
            if !node.stat.is_ephemeral() {
                return Ok(());
            }
            // A node of an earlier session is about to go.
            let session = self.conn.session(path).await.map_err(|err| unknown(&err))?;
            if session.owns(&node.stat) {
                return Ok(());
            }
        }
        let err = Error::new("set", path, ErrorKind::NodeExists);
        Err(match owner {
            Some(Owner { hostname, pid, .. }) => {
                err.with_detail(format!("closed by process {pid} on {hostname}"))
            }
            None => err,
        })
    }

    /// Opens the barrier, whoever closed it.
    ///
    /// # Errors
    ///
    /// `NoNode` when it was open, or another opened it first. `NotEmpty` when the node has children, and
    /// is no barrier's. `OutcomeUnknown` when the reply was lost and cannot be decided.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be open or not.
    pub async fn unset(&self) -> Result<(), Error> {
        const VERB: &str = "unset";
        let path = self.path(VERB)?;
        // The closing that a lost reply may have opened.
        let mut in_doubt = None;
        loop {
            // What may have been done is not said to be undone.
            let told = |err: Error| match err.kind() {
                ErrorKind::NotSent | ErrorKind::ConnectionLoss | ErrorKind::Timeout
                    if in_doubt.is_some() =>
                {
                    Error::new(VERB, &path, ErrorKind::OutcomeUnknown).with_cause(err)
                }
                _ => err.during(VERB),
            };
            // What was on its way has come by then, and no server lags behind.
            let (synced, read) = (self.conn.sync(&path), self.conn.exists(&path));
            synced.await.map_err(told)?;
            let closed = match (read.await.map_err(told)?, in_doubt) {
                (None, None) => return Err(Error::new(VERB, &path, ErrorKind::NoNode)),
                // What was lost did it, or another.
                (None, Some(_)) => return Ok(()),
                (Some(stat), Some(before)) if stat.czxid != before => return Ok(()),
                (Some(stat), _) => stat.czxid,
            };
            match self.conn.delete(&path, Version::Any).await {
                Ok(()) => return Ok(()),
                Err(err) if err.kind() == ErrorKind::NoNode && in_doubt.is_some() => return Ok(()),
                Err(err) if may_stand(err.kind()) => in_doubt = Some(closed),
                Err(err) => return Err(told(err)),
            }
        }
    }

    fn path(&self, verb: &'static str) -> Result<ZkPath, Error> {
        self.path.clone().map_err(|err| err.during(verb))
    }

    fn error(&self, verb: &'static str, kind: ErrorKind) -> Error {
        match &self.path {
            Ok(path) => Error::new(verb, path, kind),
            Err(err) => err.clone().during(verb),
        }
    }

    fn doubt(&self) -> MutexGuard<'_, Option<String>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Attempt<'a> {
    fn of(barrier: &'a Barrier) -> Self {
        let doubt = barrier.doubt().take();
        let second = doubt.is_some();
        let id = doubt.unwrap_or_else(names::random_id);
        Attempt { barrier, id, second, settled: false }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.barrier.doubt().get_or_insert_with(|| std::mem::take(&mut self.id));
        }
    }
}
