//! Whatever breaks, nobody comes through alone: the history of clients that meet over and over under
//! random faults, and what the same judge says of barriers with one rule broken.

#![allow(unreachable_pub, reason = "tests")]

mod flawed;
mod judge;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use zkcells::fault::OpKind;
use zkcells::recipes::{CyclicBarrier, DoubleBarrier};
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Conn, ConnExt as _, Error, ErrorKind, MemoryConn, MemoryQuorum, Mode};

use self::flawed::{Flaw, Flawed};
use self::judge::{Call, End, History, Stay, Verdict};
use crate::connect as remember;
use crate::support::random::{random, rounds};
use crate::support::rig::connect;

/// How many parties it takes, which is how many clients there are.
const PARTIES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(2);

/// At what they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Double,
    /// The same, of which nobody waits for the others to leave.
    DoubleLeftEarly,
    Strict,
    Tolerant,
    Flawed(Flaw),
}

/// How a client is connected, and what can happen to it there.
#[derive(Clone)]
enum Line {
    Memory(Arc<MemoryConn>),
    Servers(Arc<zkcells::ZkConn>, Arc<FaultProxy>),
}

impl Line {
    fn conn(&self) -> Arc<dyn Conn> {
        match self {
            Line::Memory(conn) => conn.clone(),
            Line::Servers(conn, _) => conn.clone(),
        }
    }

    /// Something happens that sessions survive, or may.
    async fn trouble(&self, rng: &mut Rng) {
        let kinds = [OpKind::Create, OpKind::Multi, OpKind::Delete, OpKind::Read];
        let (fault, kind) = (rng.u8(..8), kinds[rng.usize(..4)]);
        match self {
            Line::Memory(conn) => match fault {
                0..3 => conn.swallow_reply(kind),
                3..6 => conn.drop_request(kind),
                6 => conn.cut(),
                _ => conn.twice_event(),
            },
            Line::Servers(_, proxy) => match fault {
                0 | 1 => proxy.swallow_reply(kind),
                2 => proxy.drop_request(kind),
                3 => proxy.cut(),
                4 => proxy.twice_event(),
                5 => proxy.late_event(Duration::from_millis(rng.u64(50..600))),
                6 => proxy.tell_expired(),
                _ => {
                    proxy.black_hole(Direction::Both);
                    sleep(Duration::from_millis(rng.u64(100..3000))).await;
                    proxy.cut();
                    proxy.heal();
                }
            },
        }
    }

    fn bites(&self) -> u64 {
        let bites = match self {
            Line::Memory(conn) => conn.bites(),
            Line::Servers(_, proxy) => proxy.bites(),
        };
        bites.swallowed + bites.dropped + bites.cut + bites.doubled + bites.late + bites.held
    }
}

struct Client {
    number: usize,
    kind: Kind,
    line: Line,
    path: String,
    history: Arc<History>,
    rng: Rng,
    stop: Arc<AtomicBool>,
    flawed: Option<Flawed>,
}

impl Client {
    async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            // The others are there without it for a while.
            for _ in 0..self.rng.u8(..20) {
                tokio::task::yield_now().await;
            }
            // Longer than it takes to come back, where that is what counts somebody twice.
            let most = if self.kind == Kind::Flawed(Flaw::CountsTwice) { 400 } else { 10 };
            if self.rng.u8(..4) == 0 {
                sleep(Duration::from_millis(self.rng.u64(..most))).await;
            }
            match self.kind {
                Kind::Double | Kind::DoubleLeftEarly => self.through_a_round().await,
                Kind::Strict | Kind::Tolerant => self.through_a_generation().await,
                Kind::Flawed(_) => self.through_a_flaw().await,
            }
        }
    }

    /// How long it waits for the others.
    fn patience(&mut self) -> Duration {
        match self.rng.u8(..6) {
            0 => Duration::from_millis(self.rng.u64(..30)),
            _ => Duration::from_secs(3),
        }
    }

    fn called(&self, start: u64, end: End, inside: Option<Stay>) {
        let ended = self.history.clock.now();
        self.history.called(self.number, Call { start, ended, end, inside });
    }

    async fn through_a_round(&mut self) {
        let party =
            DoubleBarrier::new(self.line.conn(), &self.path, self.number.to_string(), PARTIES);
        let (patience, drops) = (self.patience(), self.rng.bool());
        let start = self.history.clock.now();
        let entered = match drops {
            true => timeout(patience, party.enter()).await.ok(),
            false => Some(party.enter_within(patience).await),
        };
        let inside = match entered {
            Some(Ok(inside)) => inside,
            Some(Err(err)) => {
                self.called(start, not_through(&err), None);
                // Its own node of before may be there for a while.
                return sleep(Duration::from_millis(20)).await;
            }
            None => return self.called(start, End::Unknown, None),
        };
        let ended = self.history.clock.now();
        let round = inside.token().zxid();
        let mut left = ended;
        for _ in 0..self.rng.u8(..10) {
            tokio::task::yield_now().await;
            let now = self.history.clock.now();
            if inside.is_valid() {
                left = now;
            }
        }
        let out = match (self.kind, &self.line, self.rng.u8(..12)) {
            (Kind::DoubleLeftEarly, ..) => {
                drop(inside);
                Some(self.history.clock.now())
            }
            (_, Line::Memory(conn), 0) => {
                conn.expire();
                drop(inside.exit().await);
                None
            }
            (.., 1) => {
                drop(inside);
                None
            }
            _ => {
                let out = inside.exit_within(self.patience()).await;
                out.ok().map(|()| self.history.clock.now())
            }
        };
        let stay = Stay { round, left, out };
        self.history
            .called(self.number, Call { start, ended, end: End::Through, inside: Some(stay) });
    }

    async fn through_a_generation(&mut self) {
        let barrier = CyclicBarrier::new(self.line.conn(), &self.path, PARTIES);
        let barrier = match self.kind {
            Kind::Tolerant => barrier.with_tolerated_failures(),
            _ => barrier,
        };
        let (patience, drops) = (self.patience(), self.rng.bool());
        let start = self.history.clock.now();
        let dies = async {
            let ends = self.rng.u8(..20) == 0;
            if let Line::Memory(conn) = &self.line
                && ends
            {
                tokio::task::yield_now().await;
                conn.expire();
            }
            std::future::pending::<()>().await
        };
        let waits = async {
            match drops {
                true => timeout(patience, barrier.wait()).await.ok(),
                false => Some(barrier.wait_within(patience).await),
            }
        };
        let waited = tokio::select! {
            waited = waits => waited,
            () = dies => None,
        };
        let end = match waited {
            Some(Ok(index)) => {
                assert!(index < PARTIES);
                return self.called(start, End::Through, None);
            }
            Some(Err(err)) => not_through(&err),
            None => End::Unknown,
        };
        // What it has left would count beside its next call, as two parties of one client; it counts
        // in no other generation.
        let reset = async {
            while barrier.reset().await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), reset).await.expect("no reset comes through");
        self.called(start, if end == End::Kept { end } else { End::Settled }, None);
    }

    async fn through_a_flaw(&mut self) {
        let (conn, id) = (self.line.conn(), self.number.to_string());
        let start = self.history.clock.now();
        let meets = self.flawed.as_ref().unwrap().meet(&conn, &self.path, &id);
        // It has no way to give up: the end of the contest ends it.
        let stop = self.stop.clone();
        let stopped = async {
            while !stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            met = meets => match met {
                Ok(()) => self.called(start, End::Through, None),
                Err(_) => self.called(start, End::Unknown, None),
            },
            () = stopped => self.called(start, End::Unknown, None),
        }
    }
}

/// Whether whoever was told this may have been counted.
fn not_through(err: &Error) -> End {
    match err.kind() {
        ErrorKind::Broken | ErrorKind::Disagreement | ErrorKind::NodeExists => End::Kept,
        _ => End::Unknown,
    }
}

/// Has clients meet while things happen to them, until `enough` says so or it takes too long.
async fn contest(
    kind: Kind,
    lines: &[Line],
    rng: &mut Rng,
    most: Duration,
    enough: impl Fn(&Verdict) -> bool,
) -> Verdict {
    let root = format!("/{}", fresh_root());
    let conn = lines[0].conn();
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    let path = format!("{root}/it");
    conn.create(&path, "", Mode::Persistent).await.unwrap();
    let (history, stop) = (Arc::new(History::of(PARTIES)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(number, line)| {
            let flawed = match kind {
                Kind::Flawed(flaw) => Some(Flawed::new(flaw, PARTIES)),
                _ => None,
            };
            let client = Client {
                number,
                kind,
                line: line.clone(),
                path: path.clone(),
                history: history.clone(),
                rng: rng.fork(),
                stop: stop.clone(),
                flawed,
            };
            tokio::spawn(client.run())
        })
        .collect();
    let until = Instant::now() + most;
    while Instant::now() < until && !enough(&history.judge()) {
        // menagerie's and zksync's bear nothing, and need no help.
        let at = rng.usize(..PARTIES);
        let pause = match (kind, &lines[at]) {
            (Kind::Flawed(Flaw::NeverCleared | Flaw::StaleReady), _) => 1..20,
            (Kind::Flawed(Flaw::CountsTwice), Line::Memory(conn)) => {
                conn.swallow_reply(OpKind::Create);
                30..100
            }
            (_, line @ Line::Memory(_)) => {
                line.trouble(rng).await;
                1..20
            }
            (_, line @ Line::Servers(..)) => {
                line.trouble(rng).await;
                50..500
            }
        };
        sleep(Duration::from_millis(rng.u64(pause))).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        timeout(Duration::from_secs(30), client).await.expect("somebody hangs").unwrap();
    }
    let verdict = history.judge();
    println!("{kind:?}: {verdict}, {} bites", lines.iter().map(Line::bites).sum::<u64>());
    verdict
}

fn in_memory() -> Vec<Line> {
    let quorum = MemoryQuorum::new();
    (0..PARTIES).map(|_| Line::Memory(remember(&quorum, Duration::from_secs(600)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_through_alone_whatever_breaks() {
    let mut rng = random("meetings in memory");
    for _ in 0..rounds(1, 100) {
        for kind in [Kind::Double, Kind::Strict, Kind::Tolerant] {
            let lines = in_memory();
            let verdict = contest(kind, &lines, &mut rng, Duration::from_millis(800), |_| false);
            let verdict = verdict.await;
            assert_eq!(verdict.violations(), 0, "{kind:?}: {verdict:#?}");
            assert!(verdict.through >= 2 * PARTIES, "too little: {verdict}");
            assert!(lines.iter().all(|line| line.bites() > 0), "the faults did not bite");
        }
    }
}

#[tokio::test]
async fn nobody_comes_through_alone_on_servers_whatever_breaks() {
    let (ensemble, mut rng) = (crate::faults::ensemble().await, random("meetings on servers"));
    for _ in 0..rounds(1, 20) {
        let mut contests = Vec::new();
        for kind in [Kind::Double, Kind::Strict, Kind::Tolerant] {
            let mut lines = Vec::new();
            for n in 1..=PARTIES {
                let proxy = Arc::new(FaultProxy::to(ensemble.addr(n)).await.unwrap());
                lines.push(Line::Servers(connect(&proxy.addr(), TIMEOUT).await, proxy));
            }
            let mut rng = rng.fork();
            contests.push(async move {
                let length = Duration::from_secs(5);
                let verdict = contest(kind, &lines, &mut rng, length, |_| false).await;
                assert_eq!(verdict.violations(), 0, "{kind:?}: {verdict:#?}");
                assert!(verdict.through >= PARTIES, "too little: {verdict}");
                let bites: u64 = lines.iter().map(Line::bites).sum();
                assert!(bites >= 3, "the faults did not bite: {bites}");
            });
        }
        futures::future::join_all(contests).await;
    }
}

async fn is_caught(kind: Kind) -> Verdict {
    let mut rng = random("a flaw");
    let most = Duration::from_secs(20);
    contest(kind, &in_memory(), &mut rng, most, |verdict| verdict.violations() > 0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn barriers_with_a_rule_broken_are_caught() {
    for flaw in [Flaw::OneTooFew, Flaw::CountsTwice, Flaw::NeverCleared, Flaw::StaleReady] {
        let verdict = is_caught(Kind::Flawed(flaw)).await;
        assert!(!verdict.alone.is_empty(), "{flaw:?}: {verdict}");
    }
    let verdict = is_caught(Kind::DoubleLeftEarly).await;
    assert!(!verdict.early.is_empty(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_without_a_flaw_is_not_accused() {
    let mut rng = random("no flaw");
    let kind = Kind::Flawed(Flaw::None);
    let most = Duration::from_millis(500);
    let verdict = contest(kind, &in_memory(), &mut rng, most, |_| false).await;
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert!(verdict.through >= 50, "{verdict}");
}
