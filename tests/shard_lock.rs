//! The shard lock in memory, on servers and over all cells: the original's behaviours, its flaws that
//! are none here, workers of both kinds in one system, and what history says under churn and faults.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[allow(dead_code, unreachable_pub, reason = "its main is for those who start it")]
#[path = "../examples/shards.rs"]
mod example;
mod support;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::{join_all, try_join_all};
use support::beds::{Bed, until_children};
use support::original::Original;
use support::random::{random, rounds};
use support::ranges::{Held, Ranges};
use support::soon;
use tokio::time::{Instant, sleep, timeout};
use zkcells::fault::OpKind;
use zkcells::recipes::{Released, ShardGuard, ShardLock, shard_contenders};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{
    Conn, ConnExt as _, Deadline, ErrorKind, Loss, Mode, MultiOp, Op, Pending, Reply, Request,
    SessionOptions, Version, ZkConn, tree,
};

const WAIT: Duration = Duration::from_millis(50);

on_each_bed! {
    a_lone_worker_leaves_the_tree_that_the_original_knows,
    those_who_come_together_share_one_generation,
    a_third_one_resharded_all_as_in_the_original,
    a_crash_is_told_to_the_others_and_moves_no_range,
    an_operator_s_delete_is_a_loss,
    the_parent_is_not_made_and_foreign_children_stay,
    workers_of_both_kinds_share_one_system,
    an_original_that_joins_as_one_of_ours_publishes_is_in_the_list,
}

/// A tree of its own, and a path in it that is not there yet.
async fn system(bed: &Bed) -> (Arc<dyn Conn>, String) {
    let (conn, path) = (bed.conn().await, bed.at("sys"));
    let root = path.rsplit_once('/').unwrap().0;
    tree::create_all(&conn, root, "", Mode::Persistent).await.unwrap();
    (conn, path)
}

/// A worker of its own session.
async fn worker(bed: &Bed) -> (Arc<dyn Conn>, ShardLock) {
    let conn = bed.conn().await;
    (conn.clone(), ShardLock::new(conn, bed.at("sys")).with_wait_time(WAIT))
}

/// So many of one generation, in the order of their ranges, with their connections.
async fn shards(bed: &Bed, count: usize) -> Vec<(Arc<dyn Conn>, ShardLock, ShardGuard)> {
    let workers = join_all((0..count).map(|_| worker(bed))).await;
    let asked = workers.iter().map(|(_, lock)| lock.acquire());
    let guards = soon("their ranges", try_join_all(asked)).await.unwrap();
    let mut shards: Vec<_> =
        workers.into_iter().zip(guards).map(|((conn, lock), guard)| (conn, lock, guard)).collect();
    shards.sort_by_key(|(_, _, shard)| shard.index());
    shards
}

async fn names(conn: &dyn Conn, path: &str) -> Vec<String> {
    conn.sync(path).await.unwrap();
    conn.children(path).await.unwrap().names
}

// --- as the original does -----------------------------------------------------------------------

async fn a_lone_worker_leaves_the_tree_that_the_original_knows(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    conn.sync(&path).await.unwrap();
    assert_eq!(names(&conn, &path).await, ["group-0000000000"]);
    let group = format!("{path}/group-0000000000");
    assert_eq!(names(&conn, &group).await, ["node-0000000000"]);
    let found = conn.get(&group).await.unwrap();
    assert_eq!((&found.data[..], found.stat.version), (&[0, 0, 0, 0][..], 1));
    assert_eq!(shard.token().zxid(), found.stat.mzxid);
    assert_eq!((shard.from(), shard.to(), shard.path().as_str()), (0.0, 1.0, &*path));
    assert!(!shard.check().await.unwrap());
    assert_eq!(shard.release().await, Released::Released);
    until_children(&conn, &path, <[String]>::is_empty).await;
}

async fn those_who_come_together_share_one_generation(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let shards = shards(&bed, 4).await;
    assert!(shards.iter().all(|(_, _, shard)| shard.of() == 4));
    assert_eq!(names(&conn, &path).await, ["group-0000000000"]);
    let group = conn.get(format!("{path}/group-0000000000")).await.unwrap();
    let list: Vec<u8> = (0..4_i32).flat_map(i32::to_le_bytes).collect();
    assert_eq!((&group.data[..], group.stat.version), (&list[..], 1));
    // The first by name has 0: its number is its place.
    for (index, (_, _, shard)) in shards.iter().enumerate() {
        assert!(shard.node().as_str().ends_with(&format!("node-{index:010}")));
        assert_eq!(shard.from(), index as f64 / 4.0);
    }
    let (_, _, first) = &shards[0];
    let all = shard_contenders(&conn, &path).await.unwrap();
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|one| one.holds() && one.token.as_ref() == Some(first.token())));
}

async fn a_third_one_resharded_all_as_in_the_original(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let mut two = shards(&bed, 2).await;
    let ((_b, lock_b, b), (_a, lock_a, a)) = (two.remove(0), two.remove(0));
    assert_eq!((a.from(), b.from()), (0.5, 0.0));
    let token = a.token().clone();
    let (_c, lock_c) = worker(&bed).await;
    let third = tokio::spawn(async move { lock_c.acquire().await });
    soon("both requests", try_join_all([a.requested(), b.requested()])).await.unwrap();
    assert!(a.check().await.unwrap() && b.check().await.unwrap());
    // A is done, and waits in the group of the third one.
    assert_eq!(a.ack().await, Released::Released);
    let left = names(&conn, &format!("{path}/group-0000000000")).await;
    assert!(
        left.len() == 2 && left[0].starts_with("ack-") && left[1] == "node-0000000000",
        "{left:?}"
    );
    let again = tokio::spawn(async move { lock_a.acquire().await });
    let next = format!("{path}/group-0000000001");
    until_children(&conn, &next, |names| names.len() == 2).await;
    let waiting = shard_contenders(&conn, &path).await.unwrap();
    let holds: Vec<bool> = waiting.iter().map(|one| one.holds()).collect();
    assert_eq!(holds, [true, false, false]);
    assert!(!third.is_finished() && !again.is_finished() && b.is_valid());
    // B is as well, and comes last.
    assert_eq!(b.ack().await, Released::Released);
    let b = soon("the third range", lock_b.acquire()).await.unwrap();
    let (c, a) = (third.await.unwrap().unwrap(), again.await.unwrap().unwrap());
    let edges = [(c.from(), c.to()), (a.from(), a.to()), (b.from(), b.to())];
    assert_eq!(edges, [(0.0, 1.0 / 3.0), (1.0 / 3.0, 2.0 / 3.0), (2.0 / 3.0, 1.0)]);
    assert!(*c.token() > token && c.token() == a.token() && a.token() == b.token());
    // Nothing is left of the old group, and its numbers do not come again.
    until_children(&conn, &path, |names| names == ["group-0000000001"]).await;
    // Two leave in the middle: the third keeps its range until it looks.
    assert_eq!(c.release().await, Released::Released);
    soon("the request", a.requested()).await.unwrap();
    assert_eq!(a.release().await, Released::Released);
    assert!(b.is_valid() && b.check().await.unwrap());
    assert_eq!(b.of(), 3);
}

async fn a_crash_is_told_to_the_others_and_moves_no_range(bed: Bed) {
    system(&bed).await;
    let mut three = shards(&bed, 3).await;
    let (conn, _, crashed) = three.remove(1);
    let asked = three.iter().map(|(_, _, shard)| shard.requested());
    let mut asked = Box::pin(try_join_all(asked));
    assert!(asked.as_mut().now_or_never().is_none());
    conn.close().await.unwrap();
    soon("the word of it", asked).await.unwrap();
    assert_eq!(crashed.lost().await, Loss::SessionEnded);
    assert!(crashed.check().await.unwrap(), "what is lost wants to be resharded");
    for (_, _, shard) in &three {
        assert!(shard.is_valid() && shard.of() == 3 && shard.check().await.unwrap());
    }
    assert_eq!(crashed.ack().await, Released::WasLost);
}

/// The original does not notice it.
async fn an_operator_s_delete_is_a_loss(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    let (_other, second) = worker(&bed).await;
    let waiting = second.clone();
    let waiting = tokio::spawn(async move { waiting.acquire().await });
    let next = format!("{path}/group-0000000001");
    let waits = until_children(&conn, &next, |names| names.len() == 1).await;
    conn.delete(format!("{next}/{}", waits[0]), Version::Any).await.unwrap();
    let err = soon("the word of it", waiting).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    conn.delete(shard.node(), Version::Any).await.unwrap();
    assert_eq!(soon("the word of it", shard.lost()).await, Loss::Deleted);
    assert!(!shard.is_valid());
    soon("the end of the wait", shard.requested()).await.unwrap();
    assert_eq!(shard.release().await, Released::WasLost);
    let again = soon("another range", second.acquire()).await.unwrap();
    assert_eq!(again.of(), 1);
}

async fn the_parent_is_not_made_and_foreign_children_stay(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let err = ShardLock::new(conn.clone(), bed.at("none/sys")).acquire().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode, "{err}");
    conn.create(&path, "mine", Mode::Persistent).await.unwrap();
    for name in ["foreign", "group-1"] {
        conn.create(format!("{path}/{name}"), "", Mode::Persistent).await.unwrap();
    }
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    assert!(!shard.check().await.unwrap(), "an empty foreign child is no group");
    assert_eq!(shard.release().await, Released::Released);
    until_children(&conn, &path, |names| names == ["foreign", "group-1"]).await;
    assert_eq!(conn.get(&path).await.unwrap().data, "mine");
}

// --- with the original ----------------------------------------------------------------------------

async fn workers_of_both_kinds_share_one_system(bed: Bed) {
    let (_conn, path) = system(&bed).await;
    let ranges = Ranges::default();
    let turns = 4;
    let originals = (0..2).map(|n| {
        let (bed, ranges, path) = (&bed, ranges.clone(), path.clone());
        async move {
            // One that comes too late takes a range in hiding: then its process is started again.
            let mut done = 0;
            while done < turns {
                let conn = bed.conn().await;
                let mut original = Original::new(conn.clone(), &path, WAIT);
                while done < turns {
                    let Ok(shard) = original.acquire().await else { break };
                    let start = Deadline::now();
                    sleep(Duration::from_millis(5)).await;
                    let (from, to) = (shard.index as f64, (shard.index + 1) as f64);
                    let (of, index) = (shard.of, shard.index);
                    let (from, to) = (from / of as f64, to / of as f64);
                    let (zxid, end) = (shard.zxid, Deadline::now());
                    ranges.held(Held { worker: n, zxid, index, of, from, to, start, end });
                    done += 1;
                    match done % 2 {
                        0 => shard.release().await,
                        _ => shard.ack().await,
                    }
                }
                conn.close().await.unwrap();
            }
        }
    });
    let ours = (0..2).map(|n| {
        let (bed, ranges) = (&bed, ranges.clone());
        async move {
            let (conn, lock) = worker(bed).await;
            for turn in 0..turns {
                let shard = lock.acquire().await.unwrap();
                let mut held = Held::of(10 + n, &shard, Deadline::now());
                sleep(Duration::from_millis(5)).await;
                let now = Deadline::now();
                assert!(shard.is_valid());
                held.end = now;
                ranges.held(held);
                let left = if turn % 2 == 0 { shard.release().await } else { shard.ack().await };
                assert_eq!(left, Released::Released);
            }
            conn.close().await.unwrap();
        }
    });
    let all = async { tokio::join!(join_all(originals), join_all(ours)) };
    if timeout(Duration::from_secs(30), all).await.is_err() {
        panic!("they hold each other up: {}", ranges.judge());
    }
    let verdict = ranges.judge();
    println!("both kinds: {verdict}");
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert_eq!(verdict.grants, 4 * turns);
    assert!(verdict.most >= 3, "they did not meet: {verdict}");
}

/// An original looks who is there, and then sets the list if the group's data is as it was.
#[tokio::test]
async fn an_original_leader_that_looked_before_one_of_ours_joined_looks_again() {
    for bed in [Bed::memory(), Bed::quorum()] {
        let (_conn, path) = system(&bed).await;
        let mut original = Original::new(bed.conn().await, &path, WAIT);
        let ((_ours, lock), joined) = (worker(&bed).await, Arc::new(AtomicBool::new(false)));
        let (watcher, group) = (bed.conn().await, format!("{path}/group-0000000000"));
        let (join, told) = (joined.clone(), lock.clone());
        let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel();
        original.between = Some(Box::new(move || {
            let (watcher, group, lock) = (watcher.clone(), group.clone(), told.clone());
            let first = !join.swap(true, Ordering::SeqCst);
            let keep = keep.clone();
            async move {
                if first {
                    keep.send(tokio::spawn(async move { lock.acquire().await })).unwrap();
                    until_children(&watcher, &group, |names| names.len() == 2).await;
                }
            }
            .boxed()
        }));
        let theirs = soon("its range", original.acquire()).await.unwrap();
        let ours = soon("our range", kept.recv().await.unwrap()).await.unwrap().unwrap();
        assert_eq!((theirs.index, theirs.of), (0, 2));
        assert_eq!((ours.index(), ours.of()), (1, 2));
        assert_eq!(original.beaten, 1, "it set what it had seen before");
        assert_eq!(ours.token().zxid(), theirs.zxid);
    }
}

/// A connection on which somebody of the original joins right before the first publication.
#[derive(Debug)]
struct Meddled {
    inner: Arc<dyn Conn>,
    other: Arc<dyn Conn>,
    publications: AtomicUsize,
}

impl fmt::Display for Meddled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meddled({})", self.inner)
    }
}

impl Conn for Meddled {
    fn call(&self, request: Request) -> Pending<Reply> {
        let list = match &request.op {
            Op::Multi(steps) => steps.last(),
            _ => None,
        };
        let Some(MultiOp::Set { path, data, .. }) = list else { return self.inner.call(request) };
        if data.is_empty() || self.publications.fetch_add(1, Ordering::SeqCst) > 0 {
            return self.inner.call(request);
        }
        let joined = self.other.create(format!("{path}/node-"), "", Mode::EphemeralSequential);
        let inner = self.inner.clone();
        Pending::new(async move {
            joined.await?;
            inner.call(request).await
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

/// The race that freezes originals among themselves: with one of ours as the leader it is none.
async fn an_original_that_joins_as_one_of_ours_publishes_is_in_the_list(bed: Bed) {
    let (other, path) = system(&bed).await;
    let publications = AtomicUsize::new(0);
    let conn = Arc::new(Meddled { inner: bed.conn().await, other, publications });
    let lock = ShardLock::new(conn.clone(), &path).with_wait_time(WAIT);
    let shard = soon("the range", lock.acquire()).await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 2));
    assert_eq!(conn.publications.load(Ordering::SeqCst), 2);
}

// --- faults ---------------------------------------------------------------------------------------

/// The session timeout of those who suffer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Two ticks of the servers.
const TICKS: Duration = Duration::from_millis(500);
/// What a busy machine takes besides.
const GRACE: Duration = Duration::from_secs(2);

async fn connect(addrs: &str) -> Arc<ZkConn> {
    let options = SessionOptions::default().with_session_timeout(TIMEOUT).with_label("cell");
    Arc::new(ZkConn::connect(addrs, options).await.unwrap())
}

/// A path on servers, and their addresses.
async fn on_servers(cell: &str) -> (String, String) {
    let addrs = LocalCells::up().unwrap().addrs(cell).unwrap();
    let root = format!("/{}", fresh_root());
    let conn = connect(&addrs).await;
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    conn.close().await.unwrap();
    (addrs, format!("{root}/sys"))
}

/// The original's holder goes on for as long as the partition lasts, with another in the same range.
#[tokio::test]
async fn who_is_cut_off_believes_nothing_by_the_time_another_gets_the_range() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let (faulty, well) = (connect(&proxy.addr()).await, connect(&addrs).await);
    let lock = |conn: Arc<ZkConn>| ShardLock::new(conn, &path).with_wait_time(WAIT);
    let (first, second) = (lock(faulty), lock(well));
    let shard = first.acquire().await.unwrap();
    let next =
        tokio::spawn(async move { second.acquire().await.map(|next| (next, Deadline::now())) });
    soon("the request", shard.requested()).await.unwrap();
    proxy.black_hole(Direction::Both);
    let cut = Instant::now();
    assert_eq!(soon("the loss", shard.lost()).await, Loss::Unproven);
    let lost = cut.elapsed();
    let (next, granted) = soon("the next range", next).await.unwrap().unwrap();
    assert!(shard.valid_until() <= granted && !shard.is_valid());
    let all = cut.elapsed();
    println!("lost {lost:?} behind the cut, granted to the next one {all:?} behind it");
    assert!(proxy.bites().held > 0, "the fault did not bite");
    assert!(all <= TIMEOUT + TICKS + WAIT + GRACE, "{all:?}");
    assert!(*next.token() > *shard.token());
}

/// What a worker does with its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Releases,
    Acknowledges,
    Drops,
    /// Its session is ended.
    Dies,
    /// Nothing is heard of it any more.
    FallsSilent,
}

struct Churn {
    addrs: String,
    path: String,
    wait: Duration,
    ranges: Ranges,
    stop: AtomicBool,
    crashes: AtomicUsize,
    silent: AtomicUsize,
}

impl Churn {
    async fn worker(&self, number: usize, mut rng: Rng) {
        let mut last = Instant::now();
        'lives: while !self.stop.load(Ordering::Relaxed) {
            let proxy = FaultProxy::to(&self.addrs).await.unwrap();
            let conn = connect(&proxy.addr()).await;
            let lock = ShardLock::new(conn.clone(), &self.path).with_wait_time(self.wait);
            while !self.stop.load(Ordering::Relaxed) {
                let shard = match timeout(Duration::from_secs(60), lock.acquire()).await {
                    Ok(Ok(shard)) => shard,
                    Ok(Err(err)) => panic!("worker {number}: {err}"),
                    Err(_) => panic!("worker {number} waits for a minute"),
                };
                let mut held = Held::of(number, &shard, Deadline::now());
                last = Instant::now();
                sleep(Duration::from_millis(rng.u64(..30))).await;
                let now = Deadline::now();
                if shard.is_valid() {
                    held.end = now;
                }
                self.ranges.held(held);
                let leaves = match rng.u8(..100) {
                    0..2 => Leaves::FallsSilent,
                    2..6 => Leaves::Dies,
                    6..20 => Leaves::Drops,
                    20..60 => Leaves::Acknowledges,
                    _ => Leaves::Releases,
                };
                match leaves {
                    Leaves::Releases => drop(shard.release().await),
                    Leaves::Acknowledges => drop(shard.ack().await),
                    Leaves::Drops => drop(shard),
                    Leaves::Dies => {
                        self.crashes.fetch_add(1, Ordering::Relaxed);
                        conn.close().await.unwrap();
                        continue 'lives;
                    }
                    Leaves::FallsSilent => {
                        self.silent.fetch_add(1, Ordering::Relaxed);
                        proxy.black_hole(Direction::Both);
                        soon("its loss", shard.lost()).await;
                        drop(shard);
                        // Whoever starts again is another process: what is left of this one stays
                        // behind its hole until its session is over.
                        tokio::spawn(async move {
                            sleep(2 * TIMEOUT).await;
                            drop(proxy);
                        });
                        continue 'lives;
                    }
                }
            }
            conn.close().await.unwrap();
        }
        assert!(last.elapsed() < Duration::from_secs(60));
    }

    /// The longest time in which nobody got a range.
    async fn longest_stall(&self) -> Duration {
        let (mut count, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while !self.stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
            let now = self.ranges.count();
            if now != count {
                longest = longest.max(since.elapsed());
                (count, since) = (now, Instant::now());
            }
        }
        longest.max(since.elapsed())
    }
}

/// The loop that freezes the original within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_workers_come_and_go_without_a_stall() {
    let mut rng = random("churn");
    let (addrs, path) = on_servers("global").await;
    let churn = Arc::new(Churn {
        addrs: addrs.split(',').next().unwrap().to_owned(),
        path,
        wait: Duration::from_millis(20),
        ranges: Ranges::default(),
        stop: AtomicBool::new(false),
        crashes: AtomicUsize::new(0),
        silent: AtomicUsize::new(0),
    });
    let length = match std::env::var("ZKCELLS_CHURN_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().unwrap()),
        Err(_) => Duration::from_secs(60),
    };
    let workers: Vec<_> = (0..10)
        .map(|number| {
            let (churn, rng) = (churn.clone(), rng.fork());
            tokio::spawn(async move { churn.worker(number, rng).await })
        })
        .collect();
    let watcher = churn.clone();
    let watcher = tokio::spawn(async move { watcher.longest_stall().await });
    sleep(length).await;
    churn.stop.store(true, Ordering::Relaxed);
    let stall = watcher.await.unwrap();
    for worker in workers {
        soon("the end of a worker", worker).await.unwrap();
    }
    let verdict = churn.ranges.judge();
    let (crashes, silent) =
        (churn.crashes.load(Ordering::Relaxed), churn.silent.load(Ordering::Relaxed));
    println!("churn: {verdict}; {crashes} died, {silent} fell silent; longest stall {stall:?}");
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert!(verdict.generations > 20 && crashes > 0 && silent > 0, "{verdict}");
    // Those of one generation who fall silent are waited for together, and a grant is behind them.
    assert!(stall <= TIMEOUT + TICKS + churn.wait + GRACE, "{stall:?}");
    let conn = connect(&addrs).await;
    let left = async {
        while shard_contenders(&conn, &churn.path).await.unwrap().iter().any(|one| one.holds()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the end of all", left).await;
}

/// Lost replies, cuts, holes and sessions that end, for whoever comes, waits and holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_ranges_overlap_whatever_breaks() {
    let mut rng = random("faults");
    for _ in 0..rounds(1, 20) {
        let (addrs, path) = on_servers("global").await;
        let servers: Vec<&str> = addrs.split(',').collect();
        let (ranges, stop) = (Ranges::default(), Arc::new(AtomicBool::new(false)));
        let lost = Arc::new(AtomicUsize::new(0));
        // Who holds its range for long just now.
        let clings = Arc::new(Mutex::new(None));
        let (mut proxies, mut workers) = (Vec::new(), Vec::new());
        for number in 0..5 {
            let proxy = FaultProxy::to(servers[number % servers.len()]).await.unwrap();
            let conn = connect(&proxy.addr()).await;
            let lock = ShardLock::new(conn, &path).with_wait_time(Duration::from_millis(20));
            let (ranges, stop, lost) = (ranges.clone(), stop.clone(), lost.clone());
            let clings = clings.clone();
            let mut rng = rng.fork();
            workers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let patience = Duration::from_millis(if rng.u8(..6) == 0 { 50 } else { 8000 });
                    let Ok(Ok(shard)) = timeout(patience, lock.acquire()).await else {
                        sleep(Duration::from_millis(10)).await;
                        continue;
                    };
                    let mut held = Held::of(number, &shard, Deadline::now());
                    let long = rng.u8(..16) == 0;
                    let until = if long { rng.u64(1600..2500) } else { rng.u64(..40) };
                    let until = Deadline::after(Duration::from_millis(until));
                    if long {
                        *clings.lock().unwrap() = Some(number);
                    }
                    let mut was_valid = false;
                    loop {
                        // The clock is read first, so the guard vouches for this moment.
                        let now = Deadline::now();
                        if !shard.is_valid() {
                            lost.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        (held.end, was_valid) = (now, true);
                        if until.is_past() {
                            break;
                        }
                        sleep(Duration::from_millis(2)).await;
                    }
                    clings.lock().unwrap().take_if(|clung| *clung == number);
                    if was_valid {
                        ranges.held(held);
                    }
                    match rng.u8(..3) {
                        0 => drop(shard),
                        1 => drop(timeout(TIMEOUT, shard.ack()).await),
                        _ => drop(timeout(TIMEOUT, shard.release()).await),
                    }
                }
            }));
            proxies.push(proxy);
        }
        let until = Instant::now() + Duration::from_secs(12);
        let kinds = [OpKind::Create, OpKind::Delete, OpKind::Multi, OpKind::Check, OpKind::Read];
        // First whoever holds for long, so that a range is surely lost once.
        let clung = async {
            loop {
                let clung = *clings.lock().unwrap();
                match clung {
                    Some(clung) => break clung,
                    None => sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let holder = &proxies[soon("a long hold", clung).await];
        holder.black_hole(Direction::Both);
        sleep(TIMEOUT * 3 / 4).await;
        holder.cut();
        holder.heal();
        let (mut turn, mut heals) = (0_u8, Vec::new());
        while Instant::now() < until {
            let proxy = &proxies[rng.usize(..proxies.len())];
            let kind = kinds[rng.usize(..kinds.len())].below(&path);
            let fault = if turn < 3 { turn } else { rng.u8(..16) };
            turn = turn.saturating_add(1);
            match fault {
                0 | 3 => proxy.cut(),
                1 | 4 | 5 => proxy.swallow_reply(OpKind::Multi.below(&path)),
                2 | 6 | 7 => proxy.drop_request(OpKind::Multi.below(&path)),
                8 => proxy.tell_expired(),
                9 | 10 => proxy.swallow_reply(kind),
                11 => proxy.late_event(Duration::from_millis(rng.u64(50..500))),
                12 | 13 => proxy.drop_request(kind),
                // Whoever holds for long is to lose it now and then.
                _ => {
                    let victim = *clings.lock().unwrap();
                    let victim = victim.unwrap_or_else(|| rng.usize(..proxies.len()));
                    proxies[victim].black_hole(Direction::Both);
                    let length = Duration::from_millis(rng.u64(1200..2500));
                    heals.push((Instant::now() + length, victim));
                }
            }
            heals.retain(|(when, victim)| {
                let over = *when <= Instant::now();
                if over {
                    // What is on its way is lost, or it would still come late.
                    proxies[*victim].cut();
                    proxies[*victim].heal();
                }
                !over
            });
            sleep(Duration::from_millis(rng.u64(20..200))).await;
        }
        proxies.iter().for_each(|proxy| {
            proxy.heal();
            proxy.join();
        });
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            soon("the end of a worker", worker).await.unwrap();
        }
        let (verdict, lost) = (ranges.judge(), lost.load(Ordering::Relaxed));
        println!("faults: {verdict}; {lost} lost");
        assert_eq!(verdict.violations(), 0, "{verdict:#?}");
        assert!(verdict.generations > 3 && verdict.most > 1 && lost > 0, "{verdict}, {lost} lost");
        let bites: Vec<_> = proxies.iter().map(FaultProxy::bites).collect();
        assert!(bites.iter().any(|bites| bites.swallowed > 0), "{bites:?}");
        assert!(bites.iter().any(|bites| bites.held > 0 && bites.cut > 0), "{bites:?}");
        // Nothing is left but what keepers are still about.
        let conn = connect(&addrs).await;
        let gone = async {
            while !shard_contenders(&conn, &path).await.unwrap().is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the end of all", gone).await;
    }
}

/// A worker that is told nothing of a change looks by itself.
#[tokio::test]
async fn a_lost_watch_costs_no_more_than_a_session_timeout() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let (faulty, well) = (connect(&proxy.addr()).await, connect(&addrs).await);
    let shards = ShardLock::new(faulty.clone(), &path).with_wait_time(WAIT);
    let shard = shards.acquire().await.unwrap();
    proxy.clear_log();
    let asked = tokio::spawn({
        let shard = shard.shard().clone();
        async move { shard.requested().await }
    });
    let watched = async {
        while proxy.log().iter().filter(|entry| entry.is_request(OpKind::Read)).count() < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("its watches", watched).await;
    // The word of the next group is held back for longer than the test lasts.
    proxy.late_event(Duration::from_secs(60));
    proxy.late_event(Duration::from_secs(60));
    let newcomer = ShardLock::new(well, &path).with_wait_time(WAIT);
    let newcomer = tokio::spawn(async move { newcomer.acquire().await });
    let start = Instant::now();
    soon("the request", asked).await.unwrap().unwrap();
    let told = start.elapsed();
    println!("told behind {told:?}");
    assert!(told > TIMEOUT / 2, "the fault did not bite");
    assert!(told < TIMEOUT * 5 / 4 + GRACE, "{told:?}");
    shard.ack().await;
    let next = soon("the next range", newcomer).await.unwrap().unwrap();
    assert!(next.is_valid());
}

/// Five workers, one killed, one added: the example says itself whether every row was processed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_processes_each_row_once_in_each_pass() {
    let done = timeout(Duration::from_secs(60), example::run()).await;
    done.expect("the example comes to its end").unwrap();
}
