//! What clients are told under faults is what the contract allows: random faults on real servers,
//! and a judge that catches clients which are broken on purpose.
//!
//! `ZKCELLS_SEED` repeats the choices of a run, `ZKCELLS_SECONDS` makes it longer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::history::{Fault, History, Report, Workload};
use zkcells::testing::proxy::{Direction, FaultProxy, OpKind};
use zkcells::testing::servers::Ensemble;
use zkcells::{
    Cells, Conn, Error, ErrorKind, LeaveWatch, MetaConn, Node, Op, Pending, Reply, Request,
    SessionOptions, Within, ZkConn, ZkPath,
};

/// What a variable says, or `otherwise`.
fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")),
        Err(_) => otherwise,
    }
}

fn seed() -> u64 {
    setting("ZKCELLS_SEED", fastrand::u64(..1_000_000))
}

/// How the servers are called as a cell.
const CELL: &str = "nyc";

/// A client that gives up soon, as deadlines are faults too.
async fn client(addrs: &str, number: usize) -> Result<Arc<dyn Conn>, Error> {
    let timeout = Duration::from_secs(1 + number as u64);
    let conn: Arc<dyn Conn> = if number.is_multiple_of(2) {
        let options = SessionOptions::default().with_session_timeout(timeout);
        Arc::new(ZkConn::connect(addrs, options).await?)
    } else {
        // The same nodes, as those of a cell.
        let cells = Cells::builder().cell(CELL, addrs).local_cell(CELL).session_timeout(timeout);
        Arc::new(MetaConn::new(cells.build()?))
    };
    Ok(Arc::new(Within::new(conn, Duration::from_millis(300 + 400 * number as u64))))
}

fn judged(name: &str, history: &History, seed: u64) -> Report {
    let report = history.check();
    println!("{name}, seed {seed}: {report}");
    report
}

fn assert_allowed(history: &History, report: &Report, seed: u64) {
    for violation in report.violations.iter().take(3) {
        println!("{violation}\n{}", history.show(&violation.key));
    }
    let first = report.violations.first();
    assert!(first.is_none(), "ZKCELLS_SEED={seed}: {}", first.unwrap());
}

// --- random faults on three servers -----------------------------------------------------------

/// What goes wrong between clients and a server.
#[derive(Clone, Copy)]
enum Network {
    Cut,
    Reset,
    Swallow,
    Drop,
    BlackHole,
    Refuse,
    Delay,
    TellExpired,
    EndSessions,
}

impl Network {
    const ALL: [Network; 12] = [
        Network::Cut,
        Network::Reset,
        Network::Swallow,
        Network::Swallow,
        Network::Swallow,
        Network::Drop,
        Network::Drop,
        Network::BlackHole,
        Network::Refuse,
        Network::Delay,
        Network::TellExpired,
        Network::EndSessions,
    ];
}

/// Three servers, each behind a proxy, and whoever breaks them.
struct Nemesis {
    ensemble: Ensemble,
    proxies: Vec<FaultProxy>,
    random: fastrand::Rng,
    /// What is still to go wrong in the network.
    deck: Vec<Network>,
    /// How long servers are cut off from each other at most, in milliseconds.
    longest_cut: u64,
    /// What was done to servers, which always bites.
    servers: BTreeMap<&'static str, u64>,
}

impl Nemesis {
    async fn new(seed: u64) -> Nemesis {
        let ensemble = Ensemble::start(3).await.unwrap();
        let mut proxies = Vec::new();
        for n in 1..=3 {
            proxies.push(FaultProxy::to(ensemble.addr(n)).await.unwrap());
        }
        let random = fastrand::Rng::with_seed(seed);
        let (deck, servers) = (Vec::new(), BTreeMap::new());
        Nemesis { ensemble, proxies, random, deck, longest_cut: 0, servers }
    }

    fn addrs(&self) -> String {
        let addrs: Vec<String> = self.proxies.iter().map(FaultProxy::addr).collect();
        addrs.join(",")
    }

    /// Breaks one thing after another for so long, and somewhat longer if a kind has not bitten by
    /// then; mends all.
    async fn rage(mut self, time: Duration) -> Bitten {
        let begun = Instant::now();
        // In short, cuts are shorter than what makes servers give up on each other.
        self.longest_cut = u64::try_from(time.as_millis() / 8).unwrap().clamp(500, 7000);
        // A short run has some of the faults of servers, another seed others.
        let (mut turn, start) = (0, self.random.usize(..4));
        while begun.elapsed() < time
            || (begun.elapsed() < 2 * time && self.bitten().missing().is_some())
        {
            turn += 1;
            if turn % 7 == 0 {
                self.break_server(turn / 7 + start).await;
            } else {
                self.break_network().await;
            }
            self.pause(50..250).await;
        }
        let raged = begun.elapsed();
        for proxy in &self.proxies {
            proxy.heal();
            proxy.join();
            proxy.delay(Duration::ZERO);
        }
        self.ensemble.mend().await;
        self.pause(500..501).await;
        println!("faults for {raged:?}, mended after {:?}", begun.elapsed());
        self.bitten()
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.random.u64(millis))).await;
    }

    async fn break_network(&mut self) {
        // Those that have clients, where there is one.
        let used: Vec<usize> = (0..3).filter(|n| self.proxies[*n].connections() > 0).collect();
        let n = self.random.choice(used).unwrap_or(0);
        let kinds = [OpKind::Set, OpKind::Create, OpKind::Delete, OpKind::Write, OpKind::Any];
        let kind = self.random.choice(kinds).unwrap();
        let ways = [Direction::ToServer, Direction::ToClient, Direction::Both];
        let way = self.random.choice(ways).unwrap();
        // Each kind of fault once, in random order, then again.
        if self.deck.is_empty() {
            self.deck = Network::ALL.to_vec();
            self.random.shuffle(&mut self.deck);
        }
        match self.deck.pop().unwrap() {
            Network::Cut => self.proxies[n].cut(),
            Network::Reset => self.proxies[n].reset(),
            Network::Swallow => self.proxies[n].swallow_reply(kind),
            Network::Drop => self.proxies[n].drop_request(kind),
            Network::BlackHole => {
                self.proxies[n].black_hole(way);
                self.pause(200..1200).await;
                // What is stuck goes on, late, or is lost.
                if self.random.bool() {
                    self.proxies[n].cut();
                }
                self.proxies[n].heal();
            }
            Network::Refuse => {
                self.proxies[n].refuse();
                self.proxies[n].cut();
                self.pause(100..800).await;
                self.proxies[n].join();
            }
            Network::Delay => {
                self.proxies[n].delay(Duration::from_millis(self.random.u64(5..150)));
                self.pause(200..600).await;
                self.proxies[n].delay(Duration::ZERO);
            }
            Network::TellExpired => self.proxies[n].tell_expired(),
            // A server that is busy does not answer; then none was ended, and none counted.
            Network::EndSessions => drop(self.proxies[n].end_sessions().await),
        }
    }

    async fn break_server(&mut self, turn: usize) {
        let leader = self.ensemble.until_one_leads().await;
        let n = if self.random.bool() { leader } else { self.random.usize(1..=3) };
        let name = match turn % 4 {
            0 => {
                self.ensemble.kill(n);
                self.pause(100..1000).await;
                self.ensemble.restart(n);
                self.ensemble.until_serving(n).await;
                "restarted"
            }
            1 => {
                let old = self.ensemble.kill_leader().await;
                self.ensemble.until_another_leads(old).await;
                self.ensemble.restart(old);
                self.ensemble.until_serving(old).await;
                "leader killed"
            }
            2 => {
                self.ensemble.stop(n);
                self.pause(200..2500).await;
                self.ensemble.cont(n);
                "stopped"
            }
            _ => {
                self.ensemble.cut_from_peers(n);
                self.pause(200..self.longest_cut).await;
                self.ensemble.join_peers(n);
                "cut from peers"
            }
        };
        *self.servers.entry(name).or_default() += 1;
    }

    fn bitten(&self) -> Bitten {
        let mut bites = self.servers.clone();
        bites.insert("pieces held between servers", self.ensemble.held());
        for proxy in &self.proxies {
            let met = proxy.bites();
            for (name, count) in [
                ("cut", met.cut),
                ("refused", met.refused),
                ("frames held", met.held),
                ("frames delayed", met.delayed),
                ("replies swallowed", met.swallowed),
                ("requests dropped", met.dropped),
                ("told expired", met.told_expired),
                ("sessions ended", met.ended),
            ] {
                *bites.entry(name).or_default() += count;
            }
        }
        Bitten(bites)
    }
}

/// How often each fault bit.
struct Bitten(BTreeMap<&'static str, u64>);

impl Bitten {
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// What a run must not lack, and this one does.
    fn missing(&self) -> Option<&'static str> {
        let network = ["cut", "replies swallowed", "requests dropped"];
        let server = ["restarted", "leader killed", "stopped", "cut from peers"];
        let unbroken = server.iter().all(|name| self.of(name) == 0);
        let unmet = self.of("cut from peers") > 0 && self.of("pieces held between servers") == 0;
        let missing = network.into_iter().find(|name| self.of(name) == 0);
        missing.or(unbroken.then_some("any of a server")).or(unmet.then_some("cut from peers"))
    }
}

impl fmt::Display for Bitten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> =
            self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&each.join(", "))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_clients_under_faults_are_linearizable() {
    let (seed, seconds) = (seed(), setting("ZKCELLS_SECONDS", 7));
    println!("ZKCELLS_SEED={seed}");
    let nemesis = Nemesis::new(seed).await;
    let addrs = nemesis.addrs();
    let rage = nemesis.rage(Duration::from_secs(seconds));
    let workload = Workload::new(seed).with_clients(7);
    let connect = |number| client(&addrs, number);
    let (history, bitten) =
        workload.run(&format!("/zk/{CELL}/registers"), connect, rage).await.unwrap();
    let report = judged("faults", &history, seed);
    println!("faults that bit: {bitten}");
    assert_allowed(&history, &report, seed);
    // Little of it, or without faults, it would prove nothing.
    let least = 50 * usize::try_from(seconds).unwrap();
    assert!(report.calls >= least, "only {} calls of {least}", report.calls);
    assert!(report.fresh * 20 >= report.calls, "only {} fresh reads", report.fresh);
    assert!(report.unknown > 0, "no write of unknown outcome");
    assert_eq!(bitten.missing(), None, "this fault did not bite");
}

// --- broken clients ---------------------------------------------------------------------------

/// What is wrong with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Nothing.
    None,
    /// It tells writes of unknown outcome as failed.
    UnknownIsFailed,
    /// It sends writes of unknown outcome again.
    WritesAgain,
    /// It answers reads from what it read before, now and then.
    OldCopies,
}

/// A connection with a flaw.
#[derive(Debug)]
struct FlawedConn {
    inner: Arc<dyn Conn>,
    flaw: Flaw,
    /// The oldest version of each node that was read, and how often it was asked for.
    copies: Arc<Mutex<BTreeMap<ZkPath, (Node, u32)>>>,
}

impl FlawedConn {
    /// Whether and what an old copy answers to `request`.
    fn old_copy(&self, request: &Request) -> Option<Node> {
        if self.flaw != Flaw::OldCopies {
            return None;
        }
        let mut copies = self.copies.lock().unwrap();
        let (node, asked) = copies.get_mut(&request.path)?;
        *asked += 1;
        (asked.is_multiple_of(5)).then(|| node.clone())
    }
}

impl Conn for FlawedConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        let is_get = matches!(request.op, Op::Get(LeaveWatch::No));
        if is_get && let Some(node) = self.old_copy(&request) {
            return Pending::ready(Ok(Reply::Node(node, None)));
        }
        let answer = self.inner.call(request.clone());
        let unknown = |err: &Error| err.kind() == ErrorKind::OutcomeUnknown;
        match self.flaw {
            Flaw::UnknownIsFailed => answer.map_err(move |err| match unknown(&err) {
                true => Error::new(err.op(), err.path(), ErrorKind::NotSent),
                false => err,
            }),
            Flaw::WritesAgain => {
                let inner = self.inner.clone();
                Pending::new(async move {
                    match answer.await {
                        Err(err) if unknown(&err) => inner.call(request).await,
                        answer => answer,
                    }
                })
            }
            Flaw::OldCopies if is_get => {
                let (copies, path) = (self.copies.clone(), request.path);
                answer.and_then(move |reply| {
                    if let Reply::Node(node, _) = &reply {
                        let mut copies = copies.lock().unwrap();
                        copies.entry(path).or_insert_with(|| (node.clone(), 0));
                    }
                    Ok(reply)
                })
            }
            _ => answer,
        }
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for FlawedConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flawed({:?}, {})", self.flaw, self.inner)
    }
}

/// How many replies are lost to clients with a flaw.
const LOST: u64 = 12;

/// What comes of clients with a flaw, when now and then a reply is lost.
async fn with_flaw(flaw: Flaw) -> Report {
    let seed = seed();
    let proxy = FaultProxy::to(&LocalCells::up().unwrap().addrs("nyc").unwrap()).await.unwrap();
    let connect = |number| {
        let addr = proxy.addr();
        async move {
            let inner = client(&addr, number + 3).await?;
            let conn: Arc<dyn Conn> = Arc::new(FlawedConn { inner, flaw, copies: Arc::default() });
            Ok(conn)
        }
    };
    let faults = async {
        for lost in 1..=LOST {
            proxy.swallow_reply(OpKind::Set);
            proxy.until(|bites| bites.swallowed >= lost).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let workload = Workload::new(seed).with_clients(4).with_keys(2);
    let root = format!("/zk/{CELL}/{}", fresh_root());
    let (history, ()) = workload.run(&root, connect, faults).await.unwrap();
    let report = judged(&format!("{flaw:?}"), &history, seed);
    if flaw == Flaw::None {
        assert_allowed(&history, &report, seed);
        assert!(report.unknown > 0, "a reply was lost, and nobody wondered");
    }
    assert!(report.calls > 100, "only {} calls", report.calls);
    assert_eq!(proxy.bites().swallowed, LOST);
    report
}

fn has(report: &Report, fault: Fault) -> bool {
    report.violations.iter().any(|violation| violation.fault == fault)
}

#[tokio::test]
async fn clients_without_a_flaw_are_not_blamed() {
    assert!(with_flaw(Flaw::None).await.violations.is_empty());
}

#[tokio::test]
async fn a_client_that_tells_unknown_writes_as_failed_is_caught() {
    assert!(has(&with_flaw(Flaw::UnknownIsFailed).await, Fault::NotLinearizable));
}

#[tokio::test]
async fn a_client_that_writes_again_is_caught() {
    assert!(has(&with_flaw(Flaw::WritesAgain).await, Fault::NotLinearizable));
}

#[tokio::test]
async fn a_client_that_reads_old_copies_is_caught() {
    let report = with_flaw(Flaw::OldCopies).await;
    assert!(has(&report, Fault::WentBack) && has(&report, Fault::NotLinearizable));
}
