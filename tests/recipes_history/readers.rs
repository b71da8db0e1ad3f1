//! Readers, writers, and writers that step down, in memory: no writer is beside anybody, nobody is passed
//! over, and locks that break one of these rules are caught.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};
use zkcells::fault::OpKind;
use zkcells::{Conn, ConnExt as _, MemoryConn, MemoryQuorum, SessionOptions};

use crate::support::contest::{Contest, Style};
use crate::support::flawed::rw::{FlawedRw, RwFlaw};
use crate::support::grants::Verdict;
use crate::support::random::{random, rounds};
use crate::support::recipes::Recipe;
use crate::support::recipes::rw::ReadersAndWriters;
use crate::support::rig::{soon, turn};

const PATH: &str = "/app/it";
/// Half of it is how long a guard lasts behind its last proof; a busy machine takes a part of that.
const TIMEOUT: Duration = Duration::from_millis(600);

fn connect(quorum: &MemoryQuorum) -> Vec<Arc<MemoryConn>> {
    let options = || SessionOptions::default().with_session_timeout(TIMEOUT);
    (0..3).map(|_| Arc::new(quorum.connect_with(options()))).collect()
}

/// Two clients share a session; the first one has a style of its own.
async fn contest(
    recipe: &Arc<dyn Recipe>,
    conns: &[Arc<MemoryConn>],
    (first, others): (Style, Style),
    rng: &mut Rng,
) -> Contest {
    recipe.prepare(conns[0].clone(), PATH).await;
    let twice = conns.iter().flat_map(|conn| [conn; 2]);
    let clients = twice.map(|conn| (conn.clone() as Arc<dyn Conn>, others));
    let mut clients: Vec<_> = clients.collect();
    clients[0].1 = first;
    Contest::start(recipe, PATH, &clients, rng)
}

/// Faults one behind the other, the first of them that of whoever holds it for long.
async fn trouble(conns: &[Arc<MemoryConn>], contest: &Contest, rng: &mut Rng, length: Duration) {
    let clung = async {
        loop {
            if let Some(client) = *contest.clung.lock().unwrap() {
                break client;
            }
            turn().await;
        }
    };
    let holder = &conns[soon("a long hold", clung).await / 2];
    holder.lose_connection();
    sleep(TIMEOUT).await;
    holder.join();
    let until = Instant::now() + length;
    while Instant::now() < until {
        let conn = &conns[rng.usize(..conns.len())];
        let kinds = [OpKind::Create, OpKind::Delete, OpKind::Multi, OpKind::Check, OpKind::Read];
        let kind = kinds[rng.usize(..kinds.len())];
        match rng.u8(..10) {
            0 => conn.cut(),
            1..4 => conn.swallow_reply(kind),
            4..6 => conn.drop_request(kind),
            6 => conn.late_event(Duration::from_millis(rng.u64(1..100))),
            7 => conn.twice_event(),
            _ => {
                conn.lose_connection();
                sleep(Duration::from_millis(rng.u64(1..100))).await;
                conn.join();
            }
        }
        sleep(Duration::from_millis(rng.u64(1..30))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_writer_is_beside_anybody_whatever_breaks() {
    let mut rng = random("readers and writers in memory");
    for _ in 0..rounds(1, 60) {
        let recipe: Arc<dyn Recipe> = Arc::new(ReadersAndWriters::of(&mut rng));
        let conns = connect(&MemoryQuorum::new());
        // One holds it for long, once it is its turn, and nobody else does.
        let styles = (Style::Mixed, Style::Fickle);
        let contest = contest(&recipe, &conns, styles, &mut rng).await;
        trouble(&conns, &contest, &mut rng, Duration::from_millis(1500)).await;
        let verdict = contest.end().await.judge();
        println!("{}: {verdict}", recipe.name());
        assert_eq!(verdict.violations(), 0, "{verdict:#?}");
        assert!(verdict.grants >= 20 && verdict.lost > 0, "too little: {verdict}");
        assert!(verdict.together > 0 && verdict.stepped_down > 0, "too little: {verdict}");
        for conn in &conns {
            let bites = conn.bites();
            assert!(bites.swallowed + bites.dropped + bites.cut > 0, "{bites:?}");
            let gone = async { while !conn.ephemerals(PATH).await.unwrap().is_empty() {} };
            soon("the end of all nodes", gone).await;
        }
    }
}

/// The verdict on a simple lock, where nothing breaks; until it is caught, or for so long.
async fn judged(flaw: RwFlaw, most: Duration) -> Verdict {
    let mut rng = random("a simple lock");
    let recipe: Arc<dyn Recipe> = Arc::new(FlawedRw::of(flaw, &mut rng));
    let conns = connect(&MemoryQuorum::new());
    let contest = contest(&recipe, &conns, (Style::Brief, Style::Brief), &mut rng).await;
    let until = Instant::now() + most;
    while Instant::now() < until && contest.grants.judge().overlaps.is_empty() {
        turn().await;
    }
    let verdict = contest.end().await.judge();
    println!("{}: {verdict}", recipe.name());
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_write_locks_with_a_rule_broken_are_caught() {
    for flaw in [RwFlaw::HastyReader, RwFlaw::DowngradeInTwo] {
        let verdict = judged(flaw, Duration::from_secs(15)).await;
        assert!(!verdict.overlaps.is_empty(), "{flaw:?}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_read_write_lock_without_a_flaw_is_not_accused() {
    let verdict = judged(RwFlaw::None, Duration::from_millis(700)).await;
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert!(verdict.together > 0 && verdict.stepped_down > 0, "too little: {verdict}");
}
