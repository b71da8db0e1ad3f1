//! What a hold says about its session is never more than what the servers still grant.
//!
//! Under each fault, a witness on a server that stays healthy sees when the servers end the session:
//! the ephemeral node goes. A hold must not have said that it is valid for longer than that; it is
//! lost by its own deadline, without a word from the network, and for good.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use support::random::{random, rounds};
use support::shared::ensemble;
use support::soon;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use zkcells::recipes::Lock;
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::testing::servers::Ensemble;
use zkcells::{
    ConnExt as _, Deadline, EventKind, Hold, Loss, Mode, SessionOptions, Within, ZkConn,
};

/// How many sessions suffer each fault at once.
const SESSIONS: usize = 6;
/// How much later than its deadline a loss may be told. Looks come every 250 ms; the rest is for a
/// machine that is busy.
const LATE: Duration = Duration::from_secs(1);

/// The session timeout of those who only look.
const PATIENT: Duration = Duration::from_secs(30);

/// A session that holds an ephemeral node, and somebody else who sees that node go.
struct Held {
    conn: Arc<ZkConn>,
    hold: Arc<Hold>,
    lost: JoinHandle<(Deadline, Loss)>,
    gone: JoinHandle<Deadline>,
    /// Reads all along, as owners of locks do; their answers are to prove nothing.
    reads: JoinHandle<()>,
    /// The node may be seen to go by this one only.
    _witness: ZkConn,
}

/// What became of a hold.
#[derive(Debug)]
struct Fate {
    /// The furthest that it ever said it is valid.
    promised: Deadline,
    /// When it was told as lost, and why.
    lost: Option<(Deadline, Loss)>,
    /// When servers had ended the session; `None` when they kept it.
    ended: Option<Deadline>,
}

async fn connect(at: &str, wait: Duration) -> ZkConn {
    let options = SessionOptions::default().with_session_timeout(wait);
    ZkConn::connect(at, options).await.unwrap()
}

/// When `witness` sees that the node has gone.
async fn gone(witness: &ZkConn, path: &str) -> JoinHandle<Deadline> {
    witness.sync("/").await.unwrap();
    let (stat, gone) = witness.exists_watch(path).await.unwrap();
    assert!(stat.is_some());
    tokio::spawn(async move {
        let kind = gone.await.kind;
        let now = Deadline::now();
        assert_eq!(kind, EventKind::Deleted, "the witness is not to be broken");
        now
    })
}

impl Held {
    async fn new(at: &str, witness: &str, wait: Duration) -> Held {
        let (conn, witness) = (connect(at, wait).await, connect(witness, PATIENT).await);
        let path = format!("/{}", fresh_root());
        conn.create(&path, "", Mode::Ephemeral).await.unwrap();
        let gone = gone(&witness, &path).await;
        let conn = Arc::new(conn);
        let reading = Within::new(conn.clone(), wait);
        let hold = Arc::new(conn.hold(&path).await.unwrap());
        assert_eq!(hold.session().timeout(), wait);
        let losing = hold.clone();
        let lost = tokio::spawn(async move {
            let why = losing.lost().await;
            (Deadline::now(), why)
        });
        let reads = tokio::spawn(async move {
            loop {
                // Under a fault there may be no answer.
                let _ = reading.exists(&path).await;
                sleep(Duration::from_millis(20)).await;
            }
        });
        Held { conn, hold, lost, gone, reads, _witness: witness }
    }

    /// When its servers have ended it.
    async fn ended(&mut self) -> Deadline {
        soon("the servers' end of it", &mut self.gone).await.unwrap()
    }

    /// What became of it, once servers serve it again. A session that was found over by a server
    /// has `ended`.
    async fn fate(mut self, ended: Option<Deadline>) -> Fate {
        soon("service", async { while self.conn.sync("/").await.is_err() {} }).await;
        let session = self.hold.session().clone();
        let ended = match ended {
            None if session.state().is_over() => Some(self.ended().await),
            ended => ended,
        };
        if ended.is_some() {
            soon("the word of it", session.lost()).await;
            assert!(!self.hold.is_valid(), "of a session that is over");
        }
        let lost = match self.hold.is_valid() {
            true => None,
            false => Some(soon("the loss", &mut self.lost).await.unwrap()),
        };
        self.gone.abort();
        self.reads.abort();
        Fate { promised: self.hold.valid_until(), lost, ended }
    }
}

impl Fate {
    /// Whether it was lost by its own deadline and in time, and never promised too much.
    fn check(&self) {
        if let Some(ended) = self.ended {
            assert!(self.promised <= ended, "promised more than servers kept: {self:?}");
            assert!(self.lost.is_some(), "{self:?}");
        }
        if let Some((at, why)) = self.lost {
            assert_eq!(why, Loss::Unproven, "by its own deadline: {self:?}");
            assert!(at >= self.promised, "lost before its time: {self:?}");
            assert!(at <= self.promised.plus(LATE), "lost late: {self:?}");
        }
    }
}

/// Timeouts of their own, so that one round meets sessions at many points of their lives.
fn timeouts(rng: &mut Rng, least: u64, most: u64) -> Vec<Duration> {
    (0..SESSIONS).map(|_| Duration::from_millis(rng.u64(least..=most))).collect()
}

async fn held(ensemble: &Ensemble, at: &str, witness: usize, timeouts: &[Duration]) -> Vec<Held> {
    let each = timeouts.iter().map(|wait| Held::new(at, ensemble.addr(witness), *wait));
    join_all(each).await
}

/// Waits until all are ended by the servers.
async fn all_ended(held: &mut [Held]) -> Vec<Deadline> {
    join_all(held.iter_mut().map(Held::ended)).await
}

/// The fates of those that were ended so.
async fn fates(held: Vec<Held>, ended: Vec<Deadline>) -> Vec<Fate> {
    let each = held.into_iter().zip(ended).map(|(held, ended)| held.fate(Some(ended)));
    let fates = join_all(each).await;
    fates.iter().for_each(Fate::check);
    fates
}

async fn kept_or_not(held: Vec<Held>) -> Vec<Fate> {
    let fates = join_all(held.into_iter().map(|held| held.fate(None))).await;
    fates.iter().for_each(Fate::check);
    fates
}

/// Who takes every answer for a sign of life, as this crate does not: until when he believed in his
/// session at the moment when its servers had ended it, and that moment.
async fn naive(
    at: &str,
    witness: &str,
    wait: Duration,
) -> impl Future<Output = (Deadline, Deadline)> {
    let (conn, witness) = (connect(at, wait).await, connect(witness, PATIENT).await);
    let path = format!("/{}", fresh_root());
    conn.create(&path, "", Mode::Ephemeral).await.unwrap();
    let mut gone = gone(&witness, &path).await;
    let reads = Within::new(conn, wait);
    async move {
        let _open = witness;
        let mut believed = Deadline::now().plus(wait / 2);
        loop {
            let sent = Deadline::now();
            let read = reads.exists(&path).await;
            if gone.is_finished() {
                return (believed, (&mut gone).await.unwrap());
            }
            if read.is_ok() {
                believed = sent.plus(wait / 2);
            }
            // Often enough, and no load.
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn report(fault: &str, fates: &[Fate]) {
    let ended = fates.iter().filter(|fate| fate.ended.is_some()).count();
    let lost = fates.iter().filter(|fate| fate.lost.is_some()).count();
    println!("{fault}: {} sessions, {lost} holds lost, {ended} sessions ended", fates.len());
}

#[tokio::test]
async fn holds_stand_while_all_servers_stop_for_less_than_their_deadline() {
    let (ensemble, mut rng) = (ensemble().await, random("stops, short"));
    let mut all = Vec::new();
    for _ in 0..rounds(1, 20) {
        let held = held(&ensemble, &ensemble.addrs(), 1, &timeouts(&mut rng, 5000, 6000)).await;
        (1..=3).for_each(|n| ensemble.stop(n));
        sleep(Duration::from_millis(rng.u64(100..=700))).await;
        (1..=3).for_each(|n| ensemble.cont(n));
        let fates = kept_or_not(held).await;
        assert!(fates.iter().all(|fate| fate.lost.is_none()), "{fates:?}");
        all.extend(fates);
    }
    report("all servers stopped, short", &all);
}

#[tokio::test]
async fn holds_are_lost_in_time_while_all_servers_stop_for_more_than_a_timeout() {
    let (ensemble, mut rng) = (ensemble().await, random("stops, long"));
    let mut all = Vec::new();
    for _ in 0..rounds(1, 20) {
        let mut held = held(&ensemble, &ensemble.addrs(), 1, &timeouts(&mut rng, 1000, 2500)).await;
        let start = Deadline::now();
        (1..=3).for_each(|n| ensemble.stop(n));
        // Nobody says a word, and all are told.
        let lost = join_all(held.iter_mut().map(|held| async {
            let half = held.hold.session().timeout() / 2;
            assert_eq!(soon("the loss", held.hold.lost()).await, Loss::Unproven);
            assert!(held.hold.valid_until() <= start.plus(half + LATE), "proved by nobody");
        }));
        lost.await;
        let more = start.plus(Duration::from_millis(rng.u64(2500..=3500)));
        sleep(more.remaining()).await;
        (1..=3).for_each(|n| ensemble.cont(n));
        ensemble.until_all_serve().await;
        all.extend(kept_or_not(held).await);
    }
    assert!(all.iter().all(|fate| fate.lost.is_some()), "final");
    report("all servers stopped, long", &all);
}

#[tokio::test]
async fn holds_stand_over_a_short_cut_and_are_lost_in_time_by_a_long_one() {
    let (ensemble, mut rng) = (ensemble().await, random("cuts"));
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for round in 0..rounds(1, 20) {
        let proxy = FaultProxy::to(ensemble.addr(2)).await.unwrap();
        let mut held = held(&ensemble, &proxy.addr(), 1, &timeouts(&mut rng, 3000, 4000)).await;
        let blips = held.iter().map(|held| held.hold.valid_until()).collect::<Vec<_>>();
        proxy.cut();
        for (held, before) in held.iter().zip(blips) {
            let proved = async {
                while held.hold.valid_until() <= before {
                    turn().await
                }
            };
            soon("another proof", proved).await;
            assert!(held.hold.is_valid(), "{:?}", held.hold);
        }
        assert_eq!(proxy.bites().cut, SESSIONS as u64);
        short.push(SESSIONS);
        // Broken, or without a word that anything is wrong.
        if round % 2 == 0 && rng.bool() {
            proxy.refuse();
            proxy.cut();
            assert_eq!(proxy.bites().cut, 2 * SESSIONS as u64);
        } else {
            proxy.black_hole(Direction::Both);
        }
        let ended = all_ended(&mut held).await;
        let bites = proxy.bites();
        assert!(bites.held + bites.refused > 0, "{bites:?}");
        // What was stopped in the hole comes out again.
        proxy.heal();
        proxy.join();
        long.extend(fates(held, ended).await);
    }
    println!("cuts, short: {} sessions, no hold lost", short.iter().sum::<usize>());
    report("cuts, long", &long);
}

#[tokio::test]
async fn no_hold_outlives_its_session_when_the_leader_is_killed() {
    let (ensemble, mut rng) = (ensemble().await, random("killed leaders"));
    let mut all = Vec::new();
    for _ in 0..rounds(1, 10) {
        let leader = ensemble.until_one_leads().await;
        let witness = leader % 3 + 1;
        let mut waits = timeouts(&mut rng, 500, 4000);
        waits.truncate(SESSIONS / 2);
        let mut held = held(&ensemble, &ensemble.addrs(), witness, &waits).await;
        // Some of them are surely with the one that goes.
        let hosts = format!("{},{}", ensemble.addr(leader), ensemble.addr(witness));
        held.extend(self::held(&ensemble, &hosts, witness, &waits).await);
        assert_eq!(ensemble.kill_leader().await, leader);
        ensemble.until_another_leads(leader).await;
        all.extend(kept_or_not(held).await);
        ensemble.mend().await;
    }
    report("killed leaders", &all);
}

#[tokio::test]
async fn no_hold_outlives_its_session_on_a_follower_that_is_cut_off_and_answers() {
    let (ensemble, mut rng) = (ensemble().await, random("cut-off followers"));
    let (mut all, mut fooled, mut readers) = (Vec::new(), 0, 0);
    for _ in 0..rounds(1, 10) {
        let leader = ensemble.until_one_leads().await;
        let (follower, witness) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let waits = timeouts(&mut rng, 1000, 3000);
        let (at, by) = (ensemble.addr(follower), ensemble.addr(witness));
        let mut held = held(&ensemble, at, witness, &waits).await;
        let naive = join_all(waits.iter().map(|wait| naive(at, by, *wait))).await;
        let before = ensemble.held();
        ensemble.cut_from_peers(follower);
        let (ended, naive) = tokio::join!(all_ended(&mut held), join_all(naive));
        fooled += naive.iter().filter(|(believed, ended)| believed > ended).count();
        readers += naive.len();
        assert!(ensemble.held() > before, "the cut bit");
        ensemble.join_peers(follower);
        all.extend(fates(held, ended).await);
        ensemble.mend().await;
    }
    report("followers cut off", &all);
    println!(
        "  the control: {fooled} of {readers} who trust reads believed in a session that was over"
    );
    assert!(fooled > readers / 2, "the fault that this is about did not bite");
}

#[tokio::test]
async fn no_hold_outlives_its_session_on_a_leader_that_is_cut_off() {
    let (ensemble, mut rng) = (ensemble().await, random("cut-off leaders"));
    let mut all = Vec::new();
    for _ in 0..rounds(1, 5) {
        let leader = ensemble.until_one_leads().await;
        let waits = timeouts(&mut rng, 1000, 3000);
        let mut held = held(&ensemble, ensemble.addr(leader), leader % 3 + 1, &waits).await;
        let before = ensemble.held();
        ensemble.cut_from_peers(leader);
        let ended = all_ended(&mut held).await;
        assert!(ensemble.held() > before, "the cut bit");
        ensemble.join_peers(leader);
        all.extend(fates(held, ended).await);
        ensemble.mend().await;
    }
    report("leaders cut off", &all);
}

async fn turn() {
    tokio::task::yield_now().await;
}

/// What is held for a moment only must not cost a long hold of the same session its proof: a check of
/// a node that is just going away fails for all that are checked with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_cycles_do_not_starve_a_long_hold() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let ensemble = ensemble().await;
    let options = SessionOptions::default().with_session_timeout(TIMEOUT);
    let conn = Arc::new(ZkConn::connect(&ensemble.addrs(), options).await.unwrap());
    let root = fresh_root();
    let guard = Lock::new(conn.clone(), format!("/{root}/long")).acquire().await.unwrap();
    let until = Deadline::after(TIMEOUT + TIMEOUT / 2);
    let cycling = (0..16).map(|n| {
        let lock = Lock::new(conn.clone(), format!("/{root}/short-{n}"));
        async move {
            let mut cycles = 0;
            while !until.is_past() {
                lock.acquire().await.unwrap().release().await;
                cycles += 1;
            }
            cycles
        }
    });
    let cycles: usize = tokio::select! {
        cycles = join_all(cycling) => cycles.into_iter().sum(),
        loss = guard.lost() => panic!("lost on healthy servers: {loss:?}"),
    };
    assert!(cycles > 100, "{cycles} cycles are no load");
    assert!(guard.is_valid());
}
