//! The cyclic barrier: generations, breaks, failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use zkcells::fault::OpKind;
use zkcells::recipes::CyclicBarrier;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Conn, ConnExt as _, Error, ErrorKind, MemoryQuorum, Mode, SessionOptions, Version, ZkConn, tree,
};

use crate::support::beds::{Bed, until_children};
use crate::support::forgetful::Forgetful;
use crate::support::soon;
use crate::{connect, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(1);

crate::on_each_bed![
    one_party_passes_alone,
    the_first_to_arrive_has_the_highest_index,
    one_object_does_for_many,
    who_is_one_too_many_waits_for_the_next_generation,
    a_timeout_breaks_it_for_all_who_wait_until_it_is_reset,
    a_reset_breaks_those_who_wait_and_nobody_else,
    a_death_breaks_it_whoever_watches,
    a_death_that_nobody_saw_breaks_it_too,
    a_death_is_tolerated_where_that_is_agreed,
    a_deleted_node_breaks_it,
    others_who_count_otherwise_are_told,
    generations_open_with_all_parties_and_no_sooner,
];

type Waiting = tokio::task::JoinHandle<Result<usize, Error>>;

fn barrier(conn: &Arc<dyn Conn>, path: &str, parties: usize) -> CyclicBarrier {
    CyclicBarrier::new(conn.clone(), path, parties)
}

/// A party that waits, once it has arrived as the `count`th.
async fn arrived(barrier: &CyclicBarrier, conn: &dyn Conn, path: &str, count: usize) -> Waiting {
    let party = barrier.clone();
    let waiting = spawned(async move { party.wait().await });
    until_children(conn, path, |names| names.len() == count).await;
    waiting
}

/// Why it was broken.
async fn broken(waiting: Waiting) -> String {
    let err = soon("the break", waiting).await.unwrap().unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Broken, "wait"), "{err}");
    err.detail().unwrap().to_owned()
}

async fn nothing_is_left(conn: &dyn Conn, path: &str) {
    until_children(conn, path, <[String]>::is_empty).await;
}

async fn one_party_passes_alone(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("a/phase"));
    let alone = barrier(&conn, &path, 1);
    for _ in 0..3 {
        assert_eq!(alone.wait().await.unwrap(), 0);
    }
    assert_eq!((alone.parties(), alone.waiting().await.unwrap()), (1, 0));
    assert!(!alone.is_broken().await.unwrap());
    nothing_is_left(&conn, &path).await;
}

async fn the_first_to_arrive_has_the_highest_index(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let first = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 1).await;
    let second = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 2).await;
    let third = barrier(&conn, &path, 3);
    assert_eq!(third.waiting().await.unwrap(), 2);
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(soon("the last", third.wait()).await.unwrap(), 0);
    assert_eq!(end("the first", first).await, Ok(2));
    assert_eq!(end("the second", second).await, Ok(1));
    assert_eq!(third.waiting().await.unwrap(), 0);
    nothing_is_left(&conn, &path).await;
}

async fn one_object_does_for_many(b: Bed) {
    let one = barrier(&b.conn().await, &b.at("phase"), 4);
    for _ in 0..3 {
        let waits = join_all((0..4).map(|_| one.wait()));
        let mut indexes =
            soon("all", waits).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        indexes.sort_unstable();
        assert_eq!(indexes, [0, 1, 2, 3]);
    }
}

async fn who_is_one_too_many_waits_for_the_next_generation(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let mut tasks: Vec<Waiting> = Vec::new();
    for _ in 0..10 {
        let party = barrier(&b.conn().await, &path, 9);
        tasks.push(spawned(async move { party.wait().await }));
    }
    let mut rest = tasks;
    for _ in 0..9 {
        let (end, _, others) = soon("nine", futures::future::select_all(rest)).await;
        end.unwrap().unwrap();
        rest = others;
    }
    until_children(&conn, &path, |names| names.len() == 1).await;
    settled(&conn, &path).await;
    assert!(!rest[0].is_finished(), "the tenth of nine passed");
    let eight = barrier(&conn, &path, 9);
    for end in soon("the next nine", join_all((0..8).map(|_| eight.wait()))).await {
        end.unwrap();
    }
    assert_eq!(end("the tenth", rest.remove(0)).await, Ok(8));
}

async fn a_timeout_breaks_it_for_all_who_wait_until_it_is_reset(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let theirs = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 1).await;
    let ours = barrier(&conn, &path, 3);
    let err = ours.wait_within(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Timeout, "wait"));
    let why = broken(theirs).await;
    assert!(why.contains("gave up") && why.contains(&std::process::id().to_string()), "{why}");
    nothing_is_left(&conn, &path).await;
    assert!(ours.is_broken().await.unwrap());
    assert_eq!(ours.waiting().await.unwrap(), 0);
    // It stays so, and goes on saying why.
    let err = ours.wait().await.unwrap_err();
    assert_eq!((err.kind(), err.detail().unwrap()), (ErrorKind::Broken, why.as_str()));
    ours.reset().await.unwrap();
    assert!(!ours.is_broken().await.unwrap());
    let waits = join_all((0..3).map(|_| ours.wait()));
    assert!(soon("the next", waits).await.into_iter().all(|one| one.is_ok()));
    // The same by a word.
    let first = arrived(&ours, &conn, &path, 1).await;
    let err = ours.wait_unless(settled(&conn, &path)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
    assert!(broken(first).await.contains("gave up"));
    // And by being dropped.
    ours.reset().await.unwrap();
    let first = arrived(&ours, &conn, &path, 1).await;
    arrived(&ours, &conn, &path, 2).await.abort();
    assert!(broken(first).await.contains("gave up"));
    nothing_is_left(&conn, &path).await;
}

async fn a_reset_breaks_those_who_wait_and_nobody_else(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let ours = barrier(&conn, &path, 2);
    // Where nothing is there is nothing to do.
    ours.reset().await.unwrap();
    assert!(conn.exists(&path).await.unwrap().is_none());
    let waits = join_all((0..2).map(|_| ours.wait()));
    assert!(soon("the first generation", waits).await.into_iter().all(|one| one.is_ok()));
    ours.reset().await.unwrap();
    let theirs = arrived(&barrier(&b.conn().await, &path, 2), &conn, &path, 1).await;
    ours.reset().await.unwrap();
    // Those who come now are of the next generation.
    let next = join_all((0..2).map(|_| ours.wait()));
    assert!(soon("the next generation", next).await.into_iter().all(|one| one.is_ok()));
    assert!(broken(theirs).await.contains("reset"));
    assert!(!ours.is_broken().await.unwrap());
}

/// Of three who wait, each dies in turn: the others are told.
async fn a_death_breaks_it_whoever_watches(b: Bed) {
    let path = b.at("phase");
    let conn = b.conn().await;
    for dying in 0..3 {
        let mut parties = Vec::new();
        for count in 1..=3 {
            let own = b.conn().await;
            let waiting = arrived(&barrier(&own, &path, 4), &conn, &path, count).await;
            parties.push((own, waiting));
        }
        let (own, dead) = parties.remove(dying);
        own.close().await.unwrap();
        for (_, waiting) in parties {
            let why = broken(waiting).await;
            assert!(why.contains("gone"), "{dying}: {why}");
        }
        assert!(soon("the dead one", dead).await.unwrap().is_err());
        let ours = barrier(&conn, &path, 4);
        assert!(ours.is_broken().await.unwrap());
        ours.reset().await.unwrap();
        nothing_is_left(&conn, &path).await;
    }
}

/// menagerie's parties waited for ever for one that had come and died before they came.
async fn a_death_that_nobody_saw_breaks_it_too(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    // Behind it comes one who is not the last, or one who is.
    for parties in [3, 2] {
        let dying = b.conn().await;
        let dead = arrived(&barrier(&dying, &path, parties), &conn, &path, 1).await;
        dying.close().await.unwrap();
        assert!(soon("the dead one", dead).await.unwrap().is_err());
        nothing_is_left(&conn, &path).await;
        let ours = barrier(&conn, &path, parties);
        let err = soon("the next one", ours.wait()).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Broken, "{err}");
        assert!(err.detail().unwrap().contains("gone"), "{err}");
        ours.reset().await.unwrap();
    }
}

async fn a_death_is_tolerated_where_that_is_agreed(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let tolerant = |conn: &Arc<dyn Conn>| barrier(conn, &path, 3).with_tolerated_failures();
    let dying = b.conn().await;
    let dead = arrived(&tolerant(&dying), &conn, &path, 1).await;
    let theirs = arrived(&tolerant(&b.conn().await), &conn, &path, 2).await;
    dying.close().await.unwrap();
    assert!(soon("the dead one", dead).await.unwrap().is_err());
    settled(&conn, &path).await;
    assert!(!theirs.is_finished());
    assert_eq!(soon("the last", tolerant(&conn).wait()).await.unwrap(), 0);
    assert_eq!(end("the second", theirs).await, Ok(1));
    nothing_is_left(&conn, &path).await;
    // What counted in one generation does not count in the next.
    let first = arrived(&tolerant(&conn), &conn, &path, 1).await;
    let second = arrived(&tolerant(&conn), &conn, &path, 2).await;
    settled(&conn, &path).await;
    assert!(!first.is_finished() && !second.is_finished());
    tolerant(&conn).wait().await.unwrap();
    assert_eq!((end("one", first).await, end("two", second).await), (Ok(2), Ok(1)));
}

async fn a_deleted_node_breaks_it(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let theirs = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 1).await;
    let before = conn.children(&path).await.unwrap().names;
    let second = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 2).await;
    conn.delete(format!("{path}/{}", before[0]), Version::Any).await.unwrap();
    assert!(broken(second).await.contains("deleted"));
    assert!(broken(theirs).await.contains("deleted"));
    let ours = barrier(&conn, &path, 3);
    ours.reset().await.unwrap();
    // The whole of it.
    let theirs = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 1).await;
    tree::remove_all(&conn, &path).await.unwrap();
    assert_eq!(end("the waiter", theirs).await, Err(ErrorKind::Revoked));
    // Foreign children are nothing to it.
    tree::create_all(&conn, format!("{path}/party-x"), "", Mode::Persistent).await.unwrap();
    let waits = join_all((0..3).map(|_| ours.wait()));
    assert!(soon("the next", waits).await.into_iter().all(|one| one.is_ok()));
    conn.set(&path, "something else", Version::Any).await.unwrap();
    assert_eq!(ours.wait().await.unwrap_err().kind(), ErrorKind::Unexpected);
    assert_eq!(conn.get(&path).await.unwrap().data, "something else");
}

async fn others_who_count_otherwise_are_told(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("phase"));
    let three = arrived(&barrier(&b.conn().await, &path, 3), &conn, &path, 1).await;
    for other in [barrier(&conn, &path, 2), barrier(&conn, &path, 3).with_tolerated_failures()] {
        let err = soon("the disagreement", other.wait()).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Disagreement, "{err}");
    }
    assert!(!three.is_finished());
    let ours = barrier(&conn, &path, 3);
    let waits = join_all((0..2).map(|_| ours.wait()));
    assert!(soon("the others", waits).await.into_iter().all(|one| one.is_ok()));
    assert_eq!(end("the first", three).await, Ok(2));
    // Nobody waits any more who wanted three.
    assert_eq!(barrier(&conn, &path, 1).wait().await.unwrap(), 0);
    let none = barrier(&conn, &path, 0).wait().await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::BadArguments);
}

/// Each party waits so often with one object; nobody passes before all have come.
async fn generations(b: &Bed, path: &str, parties: usize, generations: usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let indexes = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..parties {
        let party = barrier(&b.conn().await, path, parties);
        let (calls, indexes) = (calls.clone(), indexes.clone());
        tasks.push(tokio::spawn(async move {
            for generation in 0..generations {
                calls.fetch_add(1, Ordering::SeqCst);
                let index = party.wait().await.unwrap();
                let came = calls.load(Ordering::SeqCst);
                assert!(came >= parties * (generation + 1), "{generation} opened for {came} calls");
                assert!(came <= parties * (generation + 2), "{generation} opened behind {came}");
                indexes.fetch_add(index, Ordering::SeqCst);
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(MINUTE, task).await.unwrap().unwrap();
    }
    let sum = parties * (parties - 1) / 2 * generations;
    assert_eq!(indexes.load(Ordering::SeqCst), sum, "some index came twice");
}

async fn generations_open_with_all_parties_and_no_sooner(b: Bed) {
    let path = b.at("phase");
    generations(&b, &path, 5, 40).await;
    nothing_is_left(&b.conn().await, &path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_generations_in_a_row() {
    let b = Bed::memory();
    generations(&b, &b.at("phase"), 3, 1000).await;
}

#[tokio::test]
async fn a_lost_reply_counts_a_party_once() {
    for swallow in [true, false] {
        for (op, last) in [(OpKind::Multi, false), (OpKind::Multi, true), (OpKind::Read, false)] {
            let quorum = MemoryQuorum::new();
            let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
            let (ours, theirs) = (
                CyclicBarrier::new(conn.clone(), "/phase", 2),
                CyclicBarrier::new(other.clone(), "/phase", 2),
            );
            let case = format!("{op:?}, swallowed {swallow}, last {last}");
            for _ in 0..2 {
                let before = match last {
                    true => Some(arrived(&theirs, &*other, "/phase", 1).await),
                    false => None,
                };
                if swallow {
                    conn.swallow_reply(op)
                } else {
                    conn.drop_request(op)
                }
                let party = ours.clone();
                let waiting = spawned(async move { party.wait().await });
                let (index, other) = match before {
                    Some(before) => (0, end(&case, before).await),
                    None => {
                        until_children(&*other, "/phase", |names| names.len() == 1).await;
                        (1, soon(&case, theirs.wait()).await.map_err(|err| err.kind()))
                    }
                };
                assert_eq!(end(&case, waiting).await, Ok(index), "{case}");
                assert_eq!(other, Ok(1 - index), "{case}");
            }
            let bites = conn.bites();
            assert_eq!(bites.swallowed + bites.dropped, 2, "{case}");
            assert!(other.children("/phase").await.unwrap().names.is_empty(), "{case}");
        }
    }
}

/// The node and its parents are missing, and a reply is lost while they are made.
#[tokio::test]
async fn a_lost_reply_before_the_node_is_made_changes_nothing() {
    let mut bitten = 0;
    for swallow in [true, false] {
        for op in [OpKind::Create, OpKind::Multi, OpKind::Read] {
            for n in 0..3 {
                let conn = connect(&MemoryQuorum::new(), MINUTE);
                for _ in 0..=n {
                    if swallow { conn.swallow_reply(op) } else { conn.drop_request(op) }
                }
                let case = format!("{op:?}, swallowed {swallow}, {n}");
                let alone = CyclicBarrier::new(conn.clone(), "/a/b/phase", 1);
                assert_eq!(soon(&case, alone.wait()).await.unwrap(), 0, "{case}");
                bitten += conn.bites().swallowed + conn.bites().dropped;
            }
        }
    }
    assert!(bitten >= 12, "{bitten}");
}

/// Where nobody can tell whether an arrival was written, the state says so.
#[tokio::test]
async fn an_arrival_of_unknown_outcome_counts_once() {
    for (carried_out, last) in [(true, true), (true, false), (false, true), (false, false)] {
        let quorum = MemoryQuorum::new();
        let (inner, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
        let conn = Forgetful::of(inner, 1, carried_out);
        let ours = CyclicBarrier::new(conn.clone(), "/phase", 2);
        let theirs = CyclicBarrier::new(other.clone(), "/phase", 2);
        // A barrier that is there needs no multi to be made.
        other.create("/phase", "", Mode::Persistent).await.unwrap();
        let (ours, theirs) = if last {
            let first = arrived(&theirs, &*other, "/phase", 1).await;
            (soon("the last", ours.wait()).await, end("the first", first).await)
        } else {
            let first = arrived(&ours, &*other, "/phase", 1).await;
            let theirs = soon("the last", theirs.wait()).await.map_err(|err| err.kind());
            (soon("the first", first).await.unwrap(), theirs)
        };
        let index = usize::from(!last);
        assert_eq!((ours.unwrap(), theirs), (index, Ok(1 - index)), "{carried_out} {last}");
        assert!(conn.is_done());
        assert!(other.children("/phase").await.unwrap().names.is_empty());
    }
}

/// Its reply is lost, and when it is back the generation is over.
#[tokio::test]
async fn who_missed_the_opening_is_told_of_it() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let party = |conn: &Arc<zkcells::MemoryConn>| CyclicBarrier::new(conn.clone(), "/phase", 2);
    conn.create("/phase", "", Mode::Persistent).await.unwrap();
    conn.refuse();
    conn.swallow_reply(OpKind::Multi);
    let ours = party(&conn);
    let waiting = spawned(async move { ours.wait().await });
    until_children(&*other, "/phase", |names| names.len() == 1).await;
    assert_eq!(party(&other).wait().await.unwrap(), 0);
    conn.join();
    assert_eq!(end("the opening", waiting).await, Ok(1));
    assert_eq!(conn.bites().swallowed, 1);
}

/// Drops a wait behind each number of polls: the others pass, or are told; they do not hang.
#[tokio::test]
async fn no_await_at_which_a_party_is_dropped_leaves_somebody_waiting() {
    for tolerant in [false, true] {
        let (mut opened, mut told, mut most) = (0, 0, 0);
        for polls in 0..20 {
            let quorum = MemoryQuorum::new();
            let (conn, other) = (connect(&quorum, 100 * MINUTE), connect(&quorum, 100 * MINUTE));
            let party = |conn: &Arc<zkcells::MemoryConn>| {
                let barrier = CyclicBarrier::new(conn.clone(), "/phase", 2);
                if tolerant { barrier.with_tolerated_failures() } else { barrier }
            };
            let theirs = party(&other);
            // It comes before, or when ours waits already.
            let early = polls % 2 == 0;
            let mut waiting = None;
            if early {
                waiting = Some(arrived(&theirs, &*other, "/phase", 1).await);
            }
            let ours = party(&conn);
            let mut future = Box::pin(ours.wait());
            conn.delay(LATE);
            let mut ended = false;
            for _ in 0..polls {
                if futures::poll!(&mut future).is_ready() {
                    ended = true;
                    break;
                }
                quorum.advance(LATE);
                tokio::task::yield_now().await;
            }
            drop(future);
            conn.delay(Duration::ZERO);
            quorum.advance(LATE);
            most = most.max(polls);
            // Whoever is left waits for one more, or knows.
            let end = match waiting {
                Some(waiting) if ended => Some(soon("the opening", waiting).await.unwrap()),
                waiting => {
                    let gone = async {
                        while other
                            .children("/phase")
                            .await
                            .is_ok_and(|found| found.names.len() > usize::from(early))
                        {
                            tokio::task::yield_now().await;
                        }
                    };
                    soon(&format!("the end of its node behind {polls} polls"), gone).await;
                    let next =
                        soon("one more", party(&other).wait_within(Duration::from_millis(100)))
                            .await;
                    match waiting {
                        Some(waiting) => Some(soon("the other", waiting).await.unwrap()),
                        None => Some(next),
                    }
                }
            };
            match end {
                Some(Ok(_)) => opened += 1,
                Some(Err(err)) => {
                    let kinds = [ErrorKind::Broken, ErrorKind::Timeout];
                    assert!(kinds.contains(&err.kind()), "{polls} polls: {err}");
                    told += 1;
                }
                None => {}
            }
            let left = other.children("/phase").await.unwrap().names;
            assert!(left.is_empty(), "behind {polls} polls: {left:?}");
        }
        println!("{opened} opened, {told} told");
        assert!(opened > 0 && told > 0 && most > 5);
    }
}

#[tokio::test]
async fn a_tolerant_party_outlives_its_session() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let strict = |conn: &Arc<zkcells::MemoryConn>| CyclicBarrier::new(conn.clone(), "/phase", 2);
    let first = arrived(&strict(&conn), &*other, "/phase", 1).await;
    conn.expire();
    assert_eq!(end("the strict one", first).await, Err(ErrorKind::SessionExpired));
    assert_eq!(strict(&other).wait().await.unwrap_err().kind(), ErrorKind::Broken);
    strict(&other).reset().await.unwrap();
    let tolerant = |conn| strict(conn).with_tolerated_failures();
    let first = arrived(&tolerant(&conn), &*other, "/phase", 1).await;
    conn.expire();
    settled(&*other, "/").await;
    assert_eq!(tolerant(&other).wait().await.unwrap(), 0);
    assert_eq!(end("the tolerant one", first).await, Ok(1));
}

#[tokio::test]
async fn a_lost_watch_costs_a_session_timeout_at_most() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, Duration::from_millis(300)), connect(&quorum, MINUTE));
    let party = |conn: &Arc<zkcells::MemoryConn>| CyclicBarrier::new(conn.clone(), "/phase", 2);
    let first = arrived(&party(&conn), &*other, "/phase", 1).await;
    settled(&*other, "/").await;
    conn.late_event(100 * MINUTE);
    conn.late_event(100 * MINUTE);
    assert_eq!(party(&other).wait().await.unwrap(), 0);
    assert!(conn.bites().late > 0);
    assert_eq!(end("the next look", first).await, Ok(1));
}

/// Cut for a while, a party passes; cut off, it breaks the barrier for the others.
#[tokio::test]
async fn an_outage_is_borne_and_a_cut_is_a_death() {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let timeout = Duration::from_secs(4);
    let options = || SessionOptions::default().with_session_timeout(timeout);
    let cut: Arc<dyn Conn> = Arc::new(ZkConn::connect(&proxy.addr(), options()).await.unwrap());
    let other: Arc<dyn Conn> = Arc::new(ZkConn::connect(&addrs, options()).await.unwrap());
    let path = format!("/{}/phase", fresh_root());
    let (ours, theirs) = (barrier(&cut, &path, 2), barrier(&other, &path, 2));
    let first = arrived(&ours, &other, &path, 1).await;
    proxy.cut();
    assert_eq!(soon("the other", theirs.wait()).await.unwrap(), 0);
    assert_eq!(end("the one that was cut", first).await, Ok(1));
    let three = barrier(&other, &path, 3);
    let first = arrived(&barrier(&cut, &path, 3), &other, &path, 1).await;
    let second = arrived(&three, &other, &path, 2).await;
    proxy.down();
    let start = std::time::Instant::now();
    assert!(broken(second).await.contains("gone"));
    assert!(start.elapsed() < 3 * timeout);
    proxy.join();
    let end = end("the one that is back", first).await;
    assert!(matches!(end, Err(ErrorKind::SessionExpired | ErrorKind::Broken)), "{end:?}");
    assert_eq!(proxy.bites().cut, 2);
}
