//! The recipes that give a guard, all of one shape, so that one rig holds each to its promises.
//!
//! Another recipe joins in with a few lines here: an implementation of [`Recipe`], [`Held`] for its
//! guard if that is one of its own, and a line in [`all`].

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zkcells::recipes::{Guard, Lock, Released, RwLock, Token};
use zkcells::{Conn, Deadline, Error, Loss, ZkPath};

/// Something that one holds, or some do, and others wait for.
pub trait Recipe: Send + Sync + 'static {
    /// What failures call it; fit for a path.
    fn name(&self) -> &'static str;

    /// Waits for it and takes it. Each call is a contender of its own.
    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking;

    /// Other ways to take it: what each is called, and the future. `None` comes of those that do
    /// not wait.
    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let _ = (conn, path);
        Vec::new()
    }

    /// Makes what must be there before anybody takes it; directories that the recipe makes itself
    /// are not.
    fn prepare(&self, conn: Arc<dyn Conn>, path: &str) -> BoxFuture<'static, ()> {
        let _ = (conn, path);
        async {}.boxed()
    }

    /// The directory in which its own nodes are.
    fn dir(&self, path: &str) -> String {
        path.to_owned()
    }

    /// How many reads a contender makes before it does nothing but wait: of the list, of whom it
    /// waits for, of the own node.
    fn reads_to_wait(&self) -> usize {
        3
    }

    /// Names in its directory that are nobody's.
    fn foreign(&self) -> Vec<&'static str> {
        vec!["foreign", "lock-x", "a-0000000000"]
    }
}

/// A contender on its way.
pub type Taking = BoxFuture<'static, Result<Box<dyn Held>, Error>>;
/// A contender who may come back with empty hands.
pub type OtherTaking = BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>>;

/// What a holder has: a guard.
pub trait Held: Send + Sync {
    fn is_valid(&self) -> bool;
    fn valid_until(&self) -> Deadline;
    fn token(&self) -> &Token;
    /// The own node.
    fn path(&self) -> &ZkPath;
    fn lost(&self) -> BoxFuture<'_, Loss>;
    fn release(self: Box<Self>) -> BoxFuture<'static, Released>;
}

impl Held for Guard {
    fn is_valid(&self) -> bool {
        Guard::is_valid(self)
    }
    fn valid_until(&self) -> Deadline {
        Guard::valid_until(self)
    }
    fn token(&self) -> &Token {
        Guard::token(self)
    }
    fn path(&self) -> &ZkPath {
        Guard::path(self)
    }
    fn lost(&self) -> BoxFuture<'_, Loss> {
        Guard::lost(self).boxed()
    }
    fn release(self: Box<Self>) -> BoxFuture<'static, Released> {
        Guard::release(*self).boxed()
    }
}

/// A guard as the rigs have it.
pub fn boxed(guard: impl Held + 'static) -> Box<dyn Held> {
    Box::new(guard)
}

/// Every recipe that gives a guard.
pub fn all() -> Vec<Arc<dyn Recipe>> {
    vec![Arc::new(TheLock), Arc::new(TheWriter)]
}

/// [`Lock`].
pub struct TheLock;

impl Recipe for TheLock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = Lock::new(conn, path);
        async move { lock.acquire().await.map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let long = std::time::Duration::from_secs(60);
        let (lock, once) = (Lock::new(conn, path), |guard| Some(boxed(guard)));
        let (within, tries) = (lock.clone(), lock);
        vec![
            ("within", async move { within.acquire_within(long).await.map(once) }.boxed()),
            ("try", async move { Ok(tries.try_acquire().await?.map(boxed)) }.boxed()),
        ]
    }
}

/// [`RwLock`], written.
pub struct TheWriter;

impl Recipe for TheWriter {
    fn name(&self) -> &'static str {
        "rw_lock"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = RwLock::new(conn, path);
        async move { lock.write().await.map(Guard::from).map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let long = std::time::Duration::from_secs(60);
        let lock = RwLock::new(conn, path);
        let (within, tries, reads) = (lock.clone(), lock.clone(), lock);
        let writes = |guard| Some(boxed(Guard::from(guard)));
        vec![
            ("within", async move { within.write_within(long).await.map(writes) }.boxed()),
            ("try", async move { Ok(tries.try_write().await?.and_then(writes)) }.boxed()),
            ("read", async move { reads.read().await.map(|guard| Some(boxed(guard))) }.boxed()),
        ]
    }
}
