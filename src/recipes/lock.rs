//! An exclusive lock, held by one at a time in the order of arrival.
//!
//! ```text
//! <path>                     a container (persistent for Kazoo's clients), data of no account
//! <path>/lock-0000000007     one per contender: ephemeral sequential, its owner as JSON
//! ```
//!
//! The contender with the lowest number holds it, each other waits for the one before it, so a
//! release wakes one. The node goes with its session, and on every way out. Clients of Vitess,
//! Curator, Kazoo and zksync exclude one another and these, on one path, with their own names.

use std::time::Duration;

use super::contenders::{Contender, contenders};
use super::guard::Guard;
use super::line::{Form, Line};
use super::names::{self, LockMode, LockNames};
use super::ours::Ours;
use super::wait::Patience;
use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::Acl;
use crate::path::IntoPath;

/// A lock at a path: whoever holds its [`Guard`] is alone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::Lock;
/// let conn = Arc::new(MemoryConn::new());
/// let lock = Lock::new(conn.clone(), "/app/lock");
/// let guard = lock.acquire().await?;
/// assert!(lock.try_acquire().await?.is_none());
/// println!("held, with token {}", guard.token());
/// guard.release().await;
/// assert!(lock.try_acquire().await?.is_some());
/// # Ok(()) }
/// ```
///
/// Each acquire stands in the line for itself: two in one process exclude one another as any two
/// do, and nothing is reentrant. A lock is free within half a second or so of a release, and within
/// its session timeout and two ticks of the servers when its holder has died.
///
/// After Vitess's `ZLocker` and the lock recipe of ZooKeeper's own documentation.
#[derive(Clone, Debug)]
#[doc(alias = "ZLocker")]
#[doc(alias = "InterProcessMutex")]
pub struct Lock {
    line: Line,
}

impl Lock {
    /// The lock at `path`. Nothing is done yet; a bad path is told by the first use.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        let form = Form {
            names: LockNames::Vitess,
            mode: LockMode::Exclusive,
            stem: names::stem,
            // Whoever reads shares with nobody who locks.
            waits_for: |_| true,
        };
        Lock { line: Line::new(Ours::new(conn), path.into_path(), form, "acquire") }
    }

    /// The same with the node names of another system, for paths that its clients use too.
    #[must_use]
    pub fn with_names(mut self, names: LockNames) -> Self {
        self.line.form.names = names;
        self
    }

    /// The same with another access list for the own nodes, and for the directory if it has to be
    /// made. Holders must be able to read their own node.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.line.acl = acl;
        self
    }

    /// The same, waiting for `delay` before it takes over from a holder who did not give the lock
    /// back: one who died, or was cut off. For resources that cannot check tokens; what the dead
    /// holder had under way comes to an end meanwhile, if `delay` is long enough for that.
    ///
    /// All who use the lock must have a delay for it to count. It costs two writes more.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.line.delay = Some(delay);
        self
    }

    /// Waits for the lock, however long others hold it.
    ///
    /// # Errors
    ///
    /// `SessionExpired` when the session ended meanwhile, and with it the place in the line.
    /// `Revoked` when somebody deleted the own node. Whatever keeps the own node from being made:
    /// `NotSent` when no server answers, `NoAuth`, and the like. Once it is made, a cell that does
    /// not answer is waited for as long as the session may live.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the line; the own node is removed in the
    /// background.
    pub async fn acquire(&self) -> Result<Guard, Error> {
        self.stand(Patience::Endless).await
    }

    /// Waits for the lock, at most for `wait` in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when it was not ours by then, and those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, wait: Duration) -> Result<Guard, Error> {
        self.stand(Patience::within(wait)).await
    }

    /// Waits for the lock unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn acquire_unless(&self, stop: impl Future<Output = ()>) -> Result<Guard, Error> {
        tokio::select! {
            biased;
            guard = self.acquire() => guard,
            () = stop => Err(self.line.error(ErrorKind::Cancelled)),
        }
    }

    /// Takes the lock if it is free; `None` if it is not. The own node is gone when this returns.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        self.line.stand(Patience::None).await
    }

    /// Who holds the lock and who waits for it, in that order.
    ///
    /// # Errors
    ///
    /// Those of a listing, but for `NoNode`: then there is nobody.
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        let dir = self.line.dir.clone().map_err(|err| err.during("contenders"))?;
        contenders(&self.line.conn, dir).await
    }

    async fn stand(&self, patience: Patience) -> Result<Guard, Error> {
        match self.line.stand(patience).await? {
            Some(guard) => Ok(guard),
            // Only who has no patience comes back with empty hands.
            None => Err(self.line.error(ErrorKind::Timeout)),
        }
    }
}

#[cfg(test)]
mod tests;
