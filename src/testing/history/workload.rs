//! Clients that write and read a few nodes at random.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join, join_all, try_join_all};

use super::check::leaves_open;
use super::{History, HistoryConn};
use crate::conn::{Conn, ConnExt as _};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Mode, Version};
use crate::path::ZkPath;
use crate::tree;

/// So many writes of unknown outcome on one node are enough for the search of an order.
const MAX_UNKNOWN: usize = 6;

/// Clients that write and read a few nodes at random, and make a [`History`] of it.
///
/// The same seed makes the same choices; what becomes of them is up to servers and networks.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    clients: usize,
    keys: usize,
    calls_per_key: usize,
}

impl Workload {
    /// Six clients on three nodes at a time, each of which gets 400 calls before another one takes
    /// its place.
    pub fn new(seed: u64) -> Self {
        Workload { seed, clients: 6, keys: 3, calls_per_key: 400 }
    }

    /// The same with so many clients; 9 at most, and at least one.
    #[must_use]
    pub fn with_clients(mut self, clients: usize) -> Self {
        self.clients = clients.clamp(1, 9);
        self
    }

    /// The same with so many nodes at a time; at least one.
    #[must_use]
    pub fn with_keys(mut self, keys: usize) -> Self {
        self.keys = keys.max(1);
        self
    }

    /// The same with so many calls on a node; 10,000 at most.
    #[must_use]
    pub fn with_calls_per_key(mut self, calls: usize) -> Self {
        self.calls_per_key = calls.clamp(1, 10_000);
        self
    }

    /// Lets the clients call until `meanwhile` is over, then read once more what is there. Returns the
    /// history, and what came of `meanwhile`.
    ///
    /// `connect` makes the connection of each client, by its number. The nodes are made below `root`,
    /// which is made if it is not there. How long a call may take is up to the connections.
    ///
    /// # Errors
    ///
    /// Of `connect`, and of making `root`. What calls fail with is in the history.
    pub async fn run<T, C, F>(
        &self,
        root: &str,
        connect: C,
        meanwhile: impl Future<Output = T>,
    ) -> Result<(History, T), Error>
    where
        C: Fn(usize) -> F,
        F: Future<Output = Result<Arc<dyn Conn>, Error>>,
    {
        let history = History::new();
        let conns = try_join_all((0..self.clients).map(connect)).await?;
        if let Some(conn) = conns.first() {
            make(conn, root).await?;
        }
        let nodes = Nodes {
            root: ZkPath::new(root)?,
            calls_per_key: self.calls_per_key,
            places: Mutex::new(vec![Place::default(); self.keys]),
        };
        let over = AtomicBool::new(false);
        let clients = conns.into_iter().enumerate().map(|(number, conn)| {
            let client = Client {
                number,
                conn: history.conn(conn),
                random: fastrand::Rng::with_seed(self.seed.wrapping_add(number as u64)),
                written: 0,
                known: None,
            };
            client.run(&nodes, &over)
        });
        let meanwhile = async {
            let result = meanwhile.await;
            over.store(true, Ordering::Relaxed);
            result
        };
        let (result, _) = join(meanwhile, join_all(clients)).await;
        Ok((history, result))
    }
}

/// Makes `root` unless it is there, even where single calls have little time.
async fn make(conn: &dyn Conn, root: &str) -> Result<(), Error> {
    let end = Deadline::after(Deadline::DEFAULT);
    loop {
        let made = match conn.exists(root).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => tree::create_all(conn, root, "", Mode::Persistent).await.map(drop),
            Err(err) => Err(err),
        };
        match made {
            Err(err) if end.is_past() => return Err(err),
            // If it was made after all, the next look shows it.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// The nodes that are written and read.
struct Nodes {
    root: ZkPath,
    calls_per_key: usize,
    places: Mutex<Vec<Place>>,
}

/// Where one node stands at a time.
#[derive(Clone, Copy, Default)]
struct Place {
    /// How many nodes stood here before.
    turn: usize,
    /// The calls on the one that does.
    calls: usize,
    /// How many of them are writes of unknown outcome.
    unknown: usize,
}

impl Nodes {
    /// The node at `place`, for one call more.
    fn take(&self, place: usize) -> ZkPath {
        let mut places = self.places();
        // Invariant: clients choose among the places that there are.
        let now = &mut places[place];
        if now.calls >= self.calls_per_key || now.unknown >= MAX_UNKNOWN {
            *now = Place { turn: now.turn + 1, ..Place::default() };
        }
        now.calls += 1;
        self.root.child(&format!("register-{place}-{}", now.turn))
    }

    /// Takes down that another write at `place` is of unknown outcome.
    fn doubt(&self, place: usize) {
        self.places()[place].unknown += 1;
    }

    fn count(&self) -> usize {
        self.places().len()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    number: usize,
    conn: HistoryConn,
    random: fastrand::Rng,
    written: usize,
    /// The node that was read last, and its version.
    known: Option<(ZkPath, i32)>,
}

impl Client {
    async fn run(mut self, nodes: &Nodes, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            // A quorum in memory answers at once, and would let nobody else have a turn.
            tokio::task::yield_now().await;
            let place = self.random.usize(..nodes.count());
            let Err(kind) = self.call(&nodes.take(place)).await else { continue };
            if leaves_open(kind) {
                nodes.doubt(place);
            }
            if !is_news(kind) {
                // Who fails at once must not fill the history with it.
                let pause = self.random.u64(5..40);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        for place in 0..nodes.count() {
            // What it fails with is in the history.
            let _ = self.read_fresh(&nodes.take(place)).await;
        }
    }

    async fn call(&mut self, key: &ZkPath) -> Result<(), ErrorKind> {
        let expected = match &self.known {
            Some((known, version)) if known == key && self.random.bool() => {
                Version::Exact(*version)
            }
            _ => Version::Any,
        };
        match self.random.u32(..100) {
            ..18 => self.read(key).await,
            18..38 => self.read_fresh(key).await,
            38..43 => self.conn.exists(key).await.map(drop).map_err(|err| err.kind()),
            43..78 => {
                let data = self.data();
                let set = self.conn.set(key, data, expected).await.map_err(|err| err.kind());
                if set == Err(ErrorKind::NoNode) {
                    return self.create(key).await;
                }
                self.known = Some((key.clone(), set?.version));
                Ok(())
            }
            78..90 => self.create(key).await,
            _ => self.conn.delete(key, expected).await.map_err(|err| err.kind()),
        }
    }

    async fn create(&mut self, key: &ZkPath) -> Result<(), ErrorKind> {
        let data = self.data();
        self.conn.create(key, data, Mode::Persistent).await.map_err(|err| err.kind())?;
        self.known = Some((key.clone(), 0));
        Ok(())
    }

    async fn read(&mut self, key: &ZkPath) -> Result<(), ErrorKind> {
        let node = self.conn.get(key).await.map_err(|err| err.kind())?;
        self.known = Some((key.clone(), node.stat.version));
        Ok(())
    }

    async fn read_fresh(&mut self, key: &ZkPath) -> Result<(), ErrorKind> {
        self.conn.sync(key).await.map_err(|err| err.kind())?;
        self.read(key).await
    }

    /// Data that nobody else writes.
    fn data(&mut self) -> String {
        self.written += 1;
        format!("{}-{}", self.number, self.written)
    }
}

/// Whether it tells of the node, and not of a cell in trouble.
fn is_news(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NoNode | ErrorKind::NodeExists | ErrorKind::BadVersion)
}
