//! With workers of the original in one system.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::{sleep, timeout};
use zkcells::recipes::{Released, ShardLock};
use zkcells::{Conn, ConnExt as _, Deadline, Mode, MultiOp, Op, Pending, Reply, Request, Version};

use crate::support::beds::{Bed, until_children};
use crate::support::original::Original;
use crate::support::ranges::{Held, Ranges};
use crate::{WAIT, names, soon, system, worker};

on_each_bed! {
    workers_of_both_kinds_share_one_system,
    an_original_that_joins_as_one_of_ours_publishes_is_in_the_list,
    an_original_that_joins_behind_one_who_left_is_in_the_list,
}

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
                    let worker = n;
                    let stored = None;
                    ranges.held(Held { worker, zxid, index, of, from, to, start, end, stored });
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
    /// How many come and go before that one.
    leave: usize,
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
        let (inner, other, leave) = (self.inner.clone(), self.other.clone(), self.leave);
        let stem = format!("{path}/node-");
        Pending::new(async move {
            let mut come = Vec::new();
            for _ in 0..=leave {
                come.push(other.create(&*stem, "", Mode::EphemeralSequential).await?.0);
            }
            for gone in &come[..leave] {
                other.delete(gone, Version::Any).await?;
            }
            inner.call(request).await
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

/// The race that freezes originals among themselves: with one of ours as the leader it is none.
async fn an_original_that_joins_as_one_of_ours_publishes_is_in_the_list(bed: Bed) {
    is_in_the_list(bed, 0).await;
}

/// The server's count tells of both, whoever is left.
async fn an_original_that_joins_behind_one_who_left_is_in_the_list(bed: Bed) {
    is_in_the_list(bed, 1).await;
}

async fn is_in_the_list(bed: Bed, leave: usize) {
    let (other, path) = system(&bed).await;
    let publications = AtomicUsize::new(0);
    let conn = Arc::new(Meddled { inner: bed.conn().await, other, leave, publications });
    let lock = ShardLock::new(conn.clone(), &path).with_wait_time(WAIT);
    let shard = soon("the range", lock.acquire()).await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 2));
    assert_eq!(conn.publications.load(Ordering::SeqCst), 2);
    // Nobody of the original ever sees what the count was asked with.
    let left = names(&conn, shard.node().parent().unwrap().as_str()).await;
    assert!(left.len() == 2 && left.iter().all(|name| name.starts_with("node-")), "{left:?}");
}
