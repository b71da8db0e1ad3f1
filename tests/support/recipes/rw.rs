//! The read-write lock in the shape of all recipes: written, read, stepped down from, and in any order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use zkcells::recipes::{Guard, Released, RwLock, Token, WriteGuard};
use zkcells::{Conn, Deadline, Loss, ZkPath};

use super::{Held, OtherTaking, Recipe, Taking, boxed};

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
        let lock = RwLock::new(conn, path);
        let (within, tries, reads) = (lock.clone(), lock.clone(), lock);
        let long = Duration::from_secs(60);
        let writes = |guard| Some(boxed(Guard::from(guard)));
        vec![
            ("within", async move { within.write_within(long).await.map(writes) }.boxed()),
            ("try", async move { Ok(tries.try_write().await?.and_then(writes)) }.boxed()),
            ("read", async move { reads.read().await.map(|guard| Some(boxed(guard))) }.boxed()),
        ]
    }
}

/// [`RwLock`], read and written in turns, so that each has to wait for the one before. The first at a
/// path prepares it; of the next ones the first reads, or the second does.
pub struct TheReader {
    first_reads: bool,
    /// How many have come at each path.
    came: Mutex<HashMap<String, usize>>,
}

impl TheReader {
    /// For what becomes of a holder that reads.
    pub fn that_holds() -> Self {
        TheReader { first_reads: true, came: Mutex::default() }
    }

    /// For what becomes of a waiter that reads, behind a holder that writes.
    pub fn that_waits() -> Self {
        TheReader { first_reads: false, came: Mutex::default() }
    }
}

impl Recipe for TheReader {
    fn name(&self) -> &'static str {
        if self.first_reads { "rw_lock-reader" } else { "rw_lock-waiting-reader" }
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let mut came = self.came.lock().unwrap();
        let before = came.entry(path.to_owned()).or_default();
        let reads = (*before % 2 == 1) == self.first_reads;
        *before += 1;
        let lock = RwLock::new(conn, path);
        async move {
            if reads {
                return lock.read().await.map(boxed);
            }
            lock.write().await.map(Guard::from).map(boxed)
        }
        .boxed()
    }
}

/// [`RwLock`], written and stepped down from before anybody looks.
pub struct TheDowngraded;

impl Recipe for TheDowngraded {
    fn name(&self) -> &'static str {
        "rw_lock-downgraded"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = RwLock::new(conn, path);
        async move { lock.write().await?.downgrade().await.map(boxed) }.boxed()
    }
}

/// [`RwLock`], read, written, or written by one who steps down behind that, at random.
pub struct ReadersAndWriters(Mutex<Rng>);

impl ReadersAndWriters {
    pub fn of(rng: &mut Rng) -> Self {
        ReadersAndWriters(Mutex::new(rng.fork()))
    }
}

impl Recipe for ReadersAndWriters {
    fn name(&self) -> &'static str {
        "rw_lock-readers-and-writers"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let (lock, how) = (RwLock::new(conn, path), self.0.lock().unwrap().u8(..4));
        async move {
            Ok(match how {
                0 => boxed(Guard::from(lock.write().await?)),
                1 => boxed(lock.write().await?),
                _ => boxed(lock.read().await?),
            })
        }
        .boxed()
    }

    /// Those who read hold it together.
    fn is_exclusive(&self) -> bool {
        false
    }
}

held_by_guard!(
    WriteGuard,
    release,
    fn steps_down(&self) -> bool {
        true
    },
    fn step_down(self: Box<Self>) -> Taking {
        async move { self.downgrade().await.map(boxed) }.boxed()
    }
);
