//! A lock that one writer holds alone, or any number of readers together, in the order of arrival.
//!
//! ```text
//! <path>                             a container (persistent for Kazoo's clients)
//! <path>/_c_<id>-read-0000000007     one per reader: ephemeral, its owner as JSON
//! <path>/_c_<id>-write-0000000008    one per writer, likewise
//!
//!          every writer before us gone            downgrade
//!   reader ───────────────────────────▶ reads ◀────────────── writes
//!          everybody before us gone                             ▲
//!   writer ─────────────────────────────────────────────────────┘
//! ```
//!
//! Numbers decide. A reader waits for the nearest writer before it, a writer for the nearest of
//! either kind: one watch each, and a release wakes those alone whose turn it may be. Whoever comes
//! behind a waiting writer waits behind it, so writers do not starve, and neither do readers.
//!
//! A downgrade is one transaction that deletes the writer's node and makes a reader's of the same
//! number. Nobody sees a state between the two, so no later writer gets in; a server never gives a
//! number twice, so the explicit name is free. Readers behind it are let in, by the deletion that
//! they watch. There is no way from reading to writing: two who tried would wait for each other.
//!
//! With its session a node goes, and with it the lock. Names that are no contender's are passed over,
//! and block nobody here; clients of zksync fail on them.
//!
//! Clients of zksync, Curator (`InterProcessReadWriteLock`) and Kazoo (`ReadLock`, `WriteLock`) share
//! a path with these under the names of [`LockNames`], and with [`Lock`](super::Lock), which writes. Not
//! so Kazoo's `Lock`: it waits for writers, and gets in beside readers.

mod write_guard;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use write_guard::WriteGuard;

use super::contenders::{Contender, contenders};
use super::guard::Guard;
use super::line::{Form, Line};
use super::names::{self, LockMode, LockNames};
use super::ours::Ours;
use super::wait::Patience;
use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::Acl;
use crate::path::{IntoPath, ZkPath};
use crate::session::Session;

/// A read-write lock at a path: many read at once, or one writes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::RwLock;
/// let conn = Arc::new(MemoryConn::new());
/// let lock = RwLock::new(conn.clone(), "/app/table");
/// let (one, two) = (lock.read().await?, lock.read().await?);
/// assert!(lock.try_write().await?.is_none());
/// one.release().await;
/// two.release().await;
/// let writes = lock.write().await?;
/// assert!(lock.try_read().await?.is_none());
/// let reads = writes.downgrade().await?;
/// assert!(reads.is_valid() && lock.try_read().await?.is_some());
/// # Ok(()) }
/// ```
///
/// Who came first gets it first, whatever they want; nothing is reentrant. It is free again as a
/// [`Lock`](super::Lock) is, and costs as much.
///
/// After zksync's `RWMutex`.
#[derive(Clone, Debug)]
#[doc(alias = "RWMutex")]
#[doc(alias = "ReentrantZkReadWriteLock")]
#[doc(alias = "InterProcessReadWriteLock")]
pub struct RwLock {
    conn: Ours,
    dir: Result<ZkPath, Error>,
    names: LockNames,
    acl: Vec<Acl>,
    /// The session that somebody stood in last.
    session: Arc<Mutex<Option<Session>>>,
}

impl RwLock {
    /// The lock at `path`. Nothing is done yet; a bad path is told by the first use.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        RwLock {
            conn: Ours::new(conn),
            dir: path.into_path(),
            names: LockNames::Zksync,
            acl: Acl::open(),
            session: Arc::default(),
        }
    }

    /// The same with the node names of another system than zksync, for paths that its clients use
    /// too. Vitess has no readers: its names are refused with `BadArguments` by the first use.
    #[must_use]
    pub fn with_names(mut self, names: LockNames) -> Self {
        self.names = names;
        self
    }

    /// The same with another access list for the own nodes, and for the directory if it has to be
    /// made. Holders must be able to read their own node.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Waits until no writer is before us, and reads, with others who do.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::sync::Arc;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::{LockMode, RwLock};
    /// let lock = RwLock::new(Arc::new(MemoryConn::new()), "/app/table");
    /// let guard = lock.read().await?;
    /// assert_eq!(guard.token().mode(), LockMode::Shared);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](super::Lock::acquire): `SessionExpired`, `Revoked`, and whatever keeps the
    /// own node from being made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the line; the own node is removed in the
    /// background.
    pub async fn read(&self) -> Result<Guard, Error> {
        let line = self.line(LockMode::Shared)?;
        line.stand(Patience::Endless).await?.ok_or_else(|| line.error(ErrorKind::Timeout))
    }

    /// As [`read`](Self::read), waiting for `wait` at most in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when a writer was still before us by then, and those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn read_within(&self, wait: Duration) -> Result<Guard, Error> {
        let line = self.line(LockMode::Shared)?;
        line.stand(Patience::within(wait)).await?.ok_or_else(|| line.error(ErrorKind::Timeout))
    }

    /// As [`read`](Self::read), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn read_unless(&self, stop: impl Future<Output = ()>) -> Result<Guard, Error> {
        tokio::select! {
            biased;
            guard = self.read() => guard,
            () = stop => Err(self.line(LockMode::Shared)?.error(ErrorKind::Cancelled)),
        }
    }

    /// Reads if no writer is before us; `None` otherwise, and the own node is gone then.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn try_read(&self) -> Result<Option<Guard>, Error> {
        self.line(LockMode::Shared)?.stand(Patience::None).await
    }

    /// Waits until nobody is before us, and writes, alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::sync::Arc;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::{Released, RwLock};
    /// let lock = RwLock::new(Arc::new(MemoryConn::new()), "/app/table");
    /// let guard = lock.write().await?;
    /// println!("nobody else holds it; token {}", guard.token());
    /// assert_eq!(guard.release().await, Released::Released);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn write(&self) -> Result<WriteGuard, Error> {
        self.stand_to_write(Patience::Endless).await
    }

    /// As [`write`](Self::write), waiting for `wait` at most in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when somebody was still before us by then, and those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn write_within(&self, wait: Duration) -> Result<WriteGuard, Error> {
        self.stand_to_write(Patience::within(wait)).await
    }

    /// As [`write`](Self::write), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn write_unless(&self, stop: impl Future<Output = ()>) -> Result<WriteGuard, Error> {
        tokio::select! {
            biased;
            guard = self.write() => guard,
            () = stop => Err(self.line(LockMode::Exclusive)?.error(ErrorKind::Cancelled)),
        }
    }

    /// Writes if nobody is before us; `None` otherwise, and the own node is gone then.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// As of [`read`](Self::read).
    pub async fn try_write(&self) -> Result<Option<WriteGuard>, Error> {
        let guard = self.line(LockMode::Exclusive)?.stand(Patience::None).await?;
        Ok(guard.map(|guard| self.writing(guard)))
    }

    /// Who holds the lock and who waits for it, in that order.
    ///
    /// # Errors
    ///
    /// Those of a listing, but for `NoNode`: then there is nobody.
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        let dir = self.dir.clone().map_err(|err| err.during("contenders"))?;
        contenders(&self.conn, dir).await
    }

    async fn stand_to_write(&self, patience: Patience) -> Result<WriteGuard, Error> {
        let line = self.line(LockMode::Exclusive)?;
        let guard = line.stand(patience).await?;
        guard.map(|guard| self.writing(guard)).ok_or_else(|| line.error(ErrorKind::Timeout))
    }

    fn writing(&self, guard: Guard) -> WriteGuard {
        WriteGuard::new(guard, self.names, self.acl.clone())
    }

    fn line(&self, mode: LockMode) -> Result<Line, Error> {
        let (conn, dir, acl) = (self.conn.clone(), self.dir.clone(), self.acl.clone());
        let names = self.names;
        let (verb, form) = match mode {
            LockMode::Shared => ("read", Form { names, mode, stem: read_stem, waits_for: writes }),
            LockMode::Exclusive => {
                ("write", Form { names, mode, stem: write_stem, waits_for: |_| true })
            }
        };
        let session = self.session.clone();
        let line = Line { conn, dir, form, acl, delay: None, verb, session };
        if names == LockNames::Vitess {
            let why = "Vitess has no names for readers; take those of zksync, Curator or Kazoo";
            return Err(line.error(ErrorKind::BadArguments).with_detail(why));
        }
        Ok(line)
    }
}

fn writes(name: &names::ContenderName<'_>) -> bool {
    name.mode == LockMode::Exclusive
}

/// The name of a reader's node up to its number.
fn read_stem(names: LockNames, id: &str) -> String {
    match names {
        LockNames::Curator => format!("_c_{}-__READ__", names::dashed(id)),
        LockNames::Kazoo => format!("{id}__rlock__"),
        LockNames::Zksync | LockNames::Vitess => format!("_c_{id}-read-"),
    }
}

/// The name of a writer's node up to its number.
fn write_stem(names: LockNames, id: &str) -> String {
    match names {
        LockNames::Curator => format!("_c_{}-__WRIT__", names::dashed(id)),
        names => names::stem(names, id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryConn;

    #[test]
    fn the_own_names_are_read_again() {
        for names in [LockNames::Zksync, LockNames::Curator, LockNames::Kazoo] {
            let id = names::random_id();
            let of = |stem: String, mode| {
                let name = format!("{stem}{:010}", 12);
                let read = names::ContenderName::parse(&name).unwrap();
                assert_eq!((read.names, read.mode, read.sequence), (names, mode, 12), "{name}");
                assert_eq!(read.id.unwrap().replace('-', ""), id);
            };
            of(read_stem(names, &id), LockMode::Shared);
            of(write_stem(names, &id), LockMode::Exclusive);
        }
    }

    #[tokio::test]
    async fn vitess_has_no_readers() {
        let lock = RwLock::new(MemoryConn::new(), "/lock").with_names(LockNames::Vitess);
        assert_eq!(lock.read().await.unwrap_err().kind(), ErrorKind::BadArguments);
        assert_eq!(lock.write().await.unwrap_err().kind(), ErrorKind::BadArguments);
    }

    #[tokio::test]
    async fn a_bad_path_is_told_by_the_first_use() {
        let err = RwLock::new(MemoryConn::new(), "lock").read().await.unwrap_err();
        assert_eq!((err.kind(), err.op()), (ErrorKind::BadPath, "read"));
    }
}
