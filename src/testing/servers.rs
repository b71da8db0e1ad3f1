//! Servers of a test's own, to be stopped, killed, and cut off from each other.
//!
//! [`LocalCells`](crate::testing::cells::LocalCells) are shared by all tests; an [`Ensemble`] is
//! for those that break something. It takes some seconds to start, so tests that mend what they
//! break may share one. For what happens between clients and a server, put a
//! [`FaultProxy`](crate::testing::proxy::FaultProxy) before it.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use zkcells::testing::servers::Ensemble;
//! use zkcells::{ConnExt, SessionOptions, ZkConn};
//! let ensemble = Ensemble::start(3).await?;
//! let conn = ZkConn::connect(&ensemble.addrs(), SessionOptions::default()).await?;
//! let old = ensemble.kill_leader().await;
//! let new = ensemble.until_another_leads(old).await;
//! println!("{new} leads now: {:?}", conn.exists("/").await?);
//! ensemble.restart(old);
//! ensemble.until_all_serve().await;
//! # Ok(()) }
//! ```
//!
//! # What it can do
//!
//! | command | fault |
//! |---|---|
//! | [`stop`](Ensemble::stop) until [`cont`](Ensemble::cont) | a server that neither works nor hangs up |
//! | [`kill`](Ensemble::kill), [`kill_leader`](Ensemble::kill_leader) until [`restart`](Ensemble::restart) | a server that is gone, and everything it had in memory |
//! | [`fill_disk`](Ensemble::fill_disk) until [`restart`](Ensemble::restart) | a server that can write nothing, and ends |
//! | [`cut_from_peers`](Ensemble::cut_from_peers) until [`join_peers`](Ensemble::join_peers) | a server that clients reach and other servers do not |
//!
//! A signal is sent only to the very process that was started for it, and a command returns when it
//! has had its effect; one that can have none panics. What a cut has met is counted by
//! [`held`](Ensemble::held).
//!
//! The servers end with the `Ensemble`, or with the process that made it, however that ends.

mod links;
mod process;
mod run;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use words::{Mode, ServerInfo, ask};

use crate::error::Error;
use links::Links;
use process::Process;
use run::Run;

/// The one cell of an ensemble's own cell map.
const CELL: &str = "ensemble";
/// How long servers may take for what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often they are asked meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// One server or more, that are this process's own. Dropping it ends them.
#[must_use = "dropping it ends the servers"]
pub struct Ensemble {
    /// First, so that the servers end before what stands between them.
    run: Run,
    addrs: Vec<String>,
    links: Links,
}

impl Ensemble {
    /// Starts `servers` servers (1 or 3, 9 at most), and waits until all of them serve.
    ///
    /// They are started by the project's own `cells/up`, in a directory of their own, so this works
    /// in a checkout of the project only.
    ///
    /// # Errors
    ///
    /// `Config` with what `cells/up` said.
    pub async fn start(servers: usize) -> Result<Ensemble, Error> {
        Self::start_with(servers, "").await
    }

    /// The same, and each server has `properties` besides: Java's, one word each, such as
    /// `-Dreadonlymode.enabled=true`.
    ///
    /// # Errors
    ///
    /// `Config` with what `cells/up` said.
    pub async fn start_with(servers: usize, properties: &str) -> Result<Ensemble, Error> {
        let mut run = Run::begin()?;
        run.write("properties", properties)?;
        let ports = run.dir().join(CELL).join("ports");
        let links = Links::between(servers, ports.clone())
            .map_err(|err| run.error("no ports for what stands between servers", err))?;
        run.write("map", &format!("{CELL} {servers}\n"))?;
        run.write("peers", &links.table(CELL))?;
        run.up().await?;
        let ports = links::ports(&ports);
        let addrs = ports.iter().map(|ports| format!("127.0.0.1:{}", ports.client)).collect();
        Ok(Ensemble { run, addrs, links })
    }

    // --- addresses

    /// How many servers there are, those that are down included.
    pub fn count(&self) -> usize {
        self.addrs.len()
    }

    /// The address for clients of server `n`, counted from 1.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub fn addr(&self, n: usize) -> &str {
        match n.checked_sub(1).and_then(|place| self.addrs.get(place)) {
            Some(addr) => addr,
            None => panic!("{self} has no server {n}"),
        }
    }

    /// The addresses of all servers, as a connect string.
    pub fn addrs(&self) -> String {
        self.addrs.join(",")
    }

    // --- faults

    /// Stops server `n` in the middle of what it does: it keeps its connections, takes new ones,
    /// and says nothing. Returns when it stands still.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn stop(&self, n: usize) {
        self.process(n).stop();
    }

    /// Lets a server that was stopped go on.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn cont(&self, n: usize) {
        self.process(n).cont();
    }

    /// Kills server `n`; what it had not written is lost. Returns when it is gone.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&self, n: usize) {
        self.process(n).kill();
    }

    /// Kills the server that leads, and says which that was.
    ///
    /// # Panics
    ///
    /// When none leads within 60 s.
    pub async fn kill_leader(&self) -> usize {
        let leader = self.until_one_leads().await;
        self.kill(leader);
        leader
    }

    /// Gives server `n` a disk that is full. It goes on until it is to write something, so somebody
    /// must write meanwhile. Returns when it serves no more, and is killed; after a
    /// [`restart`](Self::restart) there is room again.
    ///
    /// # Panics
    ///
    /// When it does not run, or still serves after 60 s.
    pub async fn fill_disk(&self, n: usize) {
        self.process(n).fill_disk();
        self.until(&format!("server {n} goes on"), || async {
            (!self.serves(n).await).then_some(())
        })
        .await;
        // Some end by themselves, others look for a leader for ever.
        if let Some(process) = Process::of(&self.dir(n)) {
            process.end();
        }
    }

    /// Starts server `n` again, with its data and ports. It serves a second or more later: see
    /// [`until_serving`](Self::until_serving). One that runs already goes on as it is.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart(&self, n: usize) {
        let _ = self.addr(n);
        if let Err(err) = self.run.start(CELL, n) {
            panic!("{self}: server {n} does not start: {err}");
        }
    }

    /// Kills server `n` if it runs, takes away all that it had, and starts it again, as
    /// [`restart`](Self::restart) does: it comes back empty.
    ///
    /// # Panics
    ///
    /// When it cannot be done.
    pub fn wipe(&self, n: usize) {
        if let Some(process) = Process::of(&self.dir(n)) {
            process.kill();
        }
        if let Err(err) = std::fs::remove_dir_all(self.dir(n).join("data")) {
            panic!("{self}: the data of server {n} cannot be taken away: {err}");
        }
        self.restart(n);
    }

    /// Cuts server `n` off from all others, both ways, while clients still reach it: bytes between
    /// them stop, connections stay open, as when a switch has died. Those whom this robs of their
    /// quorum notice it after `syncLimit` (5 s here), and answer reads until then.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub fn cut_from_peers(&self, n: usize) {
        let _ = self.addr(n);
        self.links.cut(n);
    }

    /// Lets server `n` talk with the others again; what was stopped goes on.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub fn join_peers(&self, n: usize) {
        let _ = self.addr(n);
        self.links.join(n);
    }

    /// How many pieces of what servers say to each other have run into a cut so far: a test whose
    /// cut met nothing must fail.
    pub fn held(&self) -> u64 {
        self.links.held()
    }

    /// Undoes all of it: servers that were stopped go on, dead ones are started, and all talk with
    /// each other. Returns when they all serve.
    ///
    /// # Panics
    ///
    /// When that takes more than 60 s.
    pub async fn mend(&self) {
        for n in 1..=self.count() {
            self.links.join(n);
            match Process::of(&self.dir(n)) {
                Some(process) => process.cont(),
                None => self.restart(n),
            }
        }
        self.until_all_serve().await;
    }

    // --- what servers tell

    /// The answer of server `n` to a four-letter word; `None` if there is none within 2 s.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn ask(&self, n: usize, word: &str) -> Option<String> {
        ask(self.addr(n), word).await.ok()
    }

    /// What server `n` says of itself; `None` when it does not serve.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn info(&self, n: usize) -> Option<ServerInfo> {
        words::info(&self.ask(n, "srvr").await?)
    }

    /// Whether server `n` serves.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn serves(&self, n: usize) -> bool {
        self.info(n).await.is_some()
    }

    /// Which server says that it leads: of several that do, as a cut may bring about, the one with
    /// the latest epoch. A server alone leads when it serves.
    pub async fn leader(&self) -> Option<usize> {
        let all = (1..=self.count()).map(|n| async move { (self.info(n).await, n) });
        let leaders = futures::future::join_all(all).await.into_iter().filter_map(|(info, n)| {
            let info = info.filter(|info| info.mode != Mode::Follower)?;
            Some((info.zxid >> 32, n))
        });
        leaders.max().map(|(_, n)| n)
    }

    /// The sessions that the leader knows; `None` while none leads.
    ///
    /// A leader misses one for a moment each time it hears of it, so this looks twice.
    pub async fn sessions(&self) -> Option<BTreeSet<i64>> {
        let leader = self.leader().await?;
        let mut sessions = BTreeSet::new();
        for _ in 0..2 {
            sessions.extend(words::sessions(&self.ask(leader, "dump").await?));
        }
        Some(sessions)
    }

    /// The sessions that are connected to server `n`, once for each connection.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn connected(&self, n: usize) -> Vec<i64> {
        self.ask(n, "cons").await.map(|cons| words::connected(&cons)).unwrap_or_default()
    }

    /// How many watches server `n` has.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub async fn watches(&self, n: usize) -> Option<usize> {
        words::watches(&self.ask(n, "wchs").await?)
    }

    // --- waits

    /// Waits until server `n` serves.
    ///
    /// # Panics
    ///
    /// When it takes more than 60 s, or there is no such server.
    pub async fn until_serving(&self, n: usize) {
        self.until(&format!("server {n} does not serve"), || async {
            self.serves(n).await.then_some(())
        })
        .await;
    }

    /// Waits until all servers serve.
    ///
    /// # Panics
    ///
    /// When it takes more than 60 s.
    pub async fn until_all_serve(&self) {
        for n in 1..=self.count() {
            self.until_serving(n).await;
        }
    }

    /// Waits until a server leads, and says which.
    ///
    /// # Panics
    ///
    /// When it takes more than 60 s.
    pub async fn until_one_leads(&self) -> usize {
        self.until("no server leads", || self.leader()).await
    }

    /// Waits until another server than `old` leads, and says which.
    ///
    /// # Panics
    ///
    /// When it takes more than 60 s.
    pub async fn until_another_leads(&self, old: usize) -> usize {
        self.until(&format!("no server but {old} leads"), || async {
            self.leader().await.filter(|leader| *leader != old)
        })
        .await
    }

    /// Waits until the leader has ended session `id`; its nodes go a moment later. (To learn when
    /// exactly it ended, watch an ephemeral node of it on another server.)
    ///
    /// # Panics
    ///
    /// When it takes more than 60 s.
    pub async fn until_ended(&self, id: i64) {
        self.until(&format!("session {id:#x} does not end"), || async {
            (!self.sessions().await?.contains(&id)).then_some(())
        })
        .await;
    }

    async fn until<T, F>(&self, otherwise: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "{self}: {otherwise} within {PATIENCE:?}");
            sleep(PAUSE).await;
        }
    }

    fn dir(&self, n: usize) -> PathBuf {
        let _ = self.addr(n);
        self.run.dir().join(CELL).join(n.to_string())
    }

    fn process(&self, n: usize) -> Process {
        match Process::of(&self.dir(n)) {
            Some(process) => process,
            None => panic!("{self}: server {n} does not run"),
        }
    }
}

impl fmt::Display for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ensemble({})", self.addrs())
    }
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble")
            .field("addrs", &self.addrs)
            .field("run", &self.run.dir())
            .finish_non_exhaustive()
    }
}
