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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::closing::Closing;
use super::look::{self, Hint};
use super::names;
use super::ours::Ours;
use super::owner::Owner;
use super::passing::{bear_anew, may_stand};
use super::wait::recheck;
use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Stat, Version};
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

    /// Waits until the barrier is open, or has been since this first found it closed.
    ///
    /// At first the quorum is asked, so whoever was told that it is closed does not pass because a
    /// server lags behind. A connection that breaks, and a session that ends, are borne.
    ///
    /// # Errors
    ///
    /// Those that no later look would mend: `Closed`, `UnknownCell`, `AuthFailed`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws its watch, and changes nothing else.
    pub async fn wait(&self) -> Result<(), Error> {
        const VERB: &str = "wait";
        let path = self.path(VERB)?;
        let mut closed = None;
        loop {
            let (stat, changed) = match self.look(&path, closed.is_none()).await {
                Ok((None, _)) => return Ok(()),
                Ok((Some(stat), changed)) => (stat, changed),
                Err(err) => {
                    bear_anew(&self.conn, &path, err.during(VERB)).await?;
                    continue;
                }
            };
            if *closed.get_or_insert(stat.czxid) != stat.czxid {
                return Ok(());
            }
            match self.conn.session(&path).await {
                Ok(session) => {
                    tokio::select! {
                        _ = changed.told() => {}
                        () = sleep(recheck(&session)) => {}
                    }
                }
                Err(err) => bear_anew(&self.conn, &path, err.during(VERB)).await?,
            }
        }
    }

    /// As [`wait`](Self::wait), at most for `wait` in all. With no time at all it looks once, for as long
    /// as that takes.
    ///
    /// # Errors
    ///
    /// `Timeout` when it was closed all the time, as far as servers told, and those of
    /// [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_within(&self, wait: Duration) -> Result<(), Error> {
        if wait.is_zero() {
            return self.is_open().await;
        }
        let by = Deadline::after(wait);
        tokio::select! {
            biased;
            open = self.wait() => open,
            () = sleep(by.remaining()) => Err(self.error("wait", ErrorKind::Timeout)),
        }
    }

    /// As [`wait`](Self::wait), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_unless(&self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            biased;
            open = self.wait() => open,
            () = stop => Err(self.error("wait", ErrorKind::Cancelled)),
        }
    }

    /// Fails with `Timeout` where it is closed.
    async fn is_open(&self) -> Result<(), Error> {
        const VERB: &str = "wait";
        let path = self.path(VERB)?;
        let (synced, read) = (self.conn.sync(&path), self.conn.exists(&path));
        let closed = async { synced.await.and(read.await) };
        match closed.await.map_err(|err| err.during(VERB))? {
            None => Ok(()),
            Some(_) => Err(self.error(VERB, ErrorKind::Timeout)),
        }
    }

    async fn look(&self, path: &ZkPath, first: bool) -> Result<(Option<Stat>, Hint), Error> {
        let synced = first.then(|| self.conn.sync(path));
        let read = look::exists(&self.conn, path.clone());
        if let Some(synced) = synced {
            synced.await?;
        }
        read.await
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

    fn doubt(&self) -> std::sync::MutexGuard<'_, Option<String>> {
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
