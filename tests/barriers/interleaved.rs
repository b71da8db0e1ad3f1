//! Interleavings that no chance brings about: each answer at the worst moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::sync::Notify;
use zkcells::recipes::{Barrier, CyclicBarrier, DoubleBarrier};
use zkcells::{
    Conn, ConnExt as _, ErrorKind, MemoryQuorum, Mode, MultiReply, Op, Pending, Reply, Version,
    Within,
};

use crate::support::altered::Altered;
use crate::support::beds::until_children;
use crate::support::soon;
use crate::{connect, creates, deletes, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);

/// A removal of what a crash has left waits for a connection for so long that the next round is on.
#[tokio::test]
async fn a_late_removal_takes_nothing_of_the_next_round() {
    let quorum = MemoryQuorum::new();
    let well = connect(&quorum, MINUTE);
    let left = r#"{"parties": 3, "members": ["a", "b", "c"], "id": "left"}"#;
    well.create("/step", "", Mode::Persistent).await.unwrap();
    well.create("/step/ready", left, Mode::Persistent).await.unwrap();
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = Altered::of(connect(&quorum, MINUTE), {
        let (held, go, first) = (held.clone(), go.clone(), AtomicBool::new(true));
        move |inner, request| {
            if !deletes(&request, "/step/ready") || !first.swap(false, Ordering::SeqCst) {
                return inner.call(request);
            }
            let (inner, held, go) = (inner.clone(), held.clone(), go.clone());
            Pending::new(async move {
                held.notify_one();
                go.notified().await;
                inner.call(request).await
            })
        }
    });
    let enter = |conn: Arc<dyn Conn>, id: &str| {
        let barrier = DoubleBarrier::new(conn, "/step", id, 3);
        spawned(async move { barrier.enter().await })
    };
    let x = enter(slow, "x");
    soon("the removal", held.notified()).await;
    // Another one did it, and began.
    well.delete("/step/ready", Version::Any).await.unwrap();
    let (y, z) = (enter(connect(&quorum, MINUTE), "y"), enter(connect(&quorum, MINUTE), "z"));
    let (y, z) = (end("y", y).await.unwrap(), end("z", z).await.unwrap());
    go.notify_one();
    let x = end("x", x).await.unwrap();
    assert!(x.token() == y.token() && y.token() == z.token(), "one round");
    let out = join_all([x, y, z].map(|one| one.exit()));
    assert!(soon("the way out", out).await.into_iter().all(|out| out.is_ok()));
    assert!(well.exists("/step").await.unwrap().is_none());
}

/// A client of another system makes `ready` right behind our look, and takes it away before the next.
#[tokio::test]
async fn a_ready_that_was_there_between_two_looks_lets_in() {
    let quorum = MemoryQuorum::new();
    let theirs = connect(&quorum, MINUTE);
    theirs.create("/step", "", Mode::Persistent).await.unwrap();
    theirs.create("/step/k", "", Mode::Ephemeral).await.unwrap();
    let other: Arc<dyn Conn> = theirs.clone();
    let made = AtomicUsize::new(0);
    let conn = Altered::of(connect(&quorum, MINUTE), move |inner, request| {
        let at_once = |asked: Pending<_>| asked.now_or_never().unwrap().unwrap();
        if creates(&request, "/step/ready") {
            let made = made.fetch_add(1, Ordering::SeqCst);
            assert_eq!(made, 0, "nobody makes another one");
            let _: (_, _) = at_once(other.create("/step/ready", "", Mode::Persistent));
        } else if request.path == "/step/ready"
            && made.compare_exchange(1, 2, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        {
            other.delete("/step/ready", Version::Any).now_or_never().unwrap().unwrap();
        }
        inner.call(request)
    });
    let ours = DoubleBarrier::new(conn, "/step", "l", 2);
    let inside = soon("the way in", ours.enter()).await.unwrap();
    assert!(theirs.exists("/step/ready").await.unwrap().is_none());
    theirs.delete("/step/k", Version::Any).await.unwrap();
    soon("the way out", inside.exit()).await.unwrap();
}

/// The last one out does not learn whether it is out, and its session ends over that.
#[tokio::test]
async fn an_exit_in_doubt_ends_with_the_session() {
    for carried_out in [true, false] {
        let quorum = MemoryQuorum::new();
        let (inner, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
        inner.create("/step", "", Mode::Persistent).await.unwrap();
        let lost = Arc::new(Notify::new());
        let conn = Altered::of(inner.clone(), {
            let (lost, first) = (lost.clone(), AtomicBool::new(true));
            move |inner, request| {
                if !deletes(&request, "/step") || !first.swap(false, Ordering::SeqCst) {
                    return inner.call(request);
                }
                let unknown = request.error(ErrorKind::OutcomeUnknown);
                let answer = carried_out.then(|| inner.call(request));
                let lost = lost.clone();
                Pending::new(async move {
                    if let Some(answer) = answer {
                        answer.await.unwrap();
                    }
                    lost.notify_one();
                    Err(unknown)
                })
            }
        });
        let party = DoubleBarrier::new(conn, "/step", "a", 1);
        let inside = soon("the way in", party.enter()).await.unwrap();
        let out = spawned(inside.exit());
        soon("the lost reply", lost.notified()).await;
        inner.expire();
        assert_eq!(end("the way out", out).await, Ok(()), "carried out {carried_out}");
        assert!(other.exists("/step").await.unwrap().is_none(), "carried out {carried_out}");
    }
}

/// Its session is over, it waits on in another one, and gives up when no server answers.
#[tokio::test]
async fn a_tolerant_party_that_gives_up_in_a_later_session_does_not_count() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let barrier =
        |conn: Arc<dyn Conn>| CyclicBarrier::new(conn, "/phase", 2).with_tolerated_failures();
    let tries = Arc::new(AtomicUsize::new(0));
    let impatient = Within::new(conn.clone(), Duration::from_millis(50));
    let ours = barrier(Altered::of(Arc::new(impatient), {
        let tries = tries.clone();
        move |inner, request| {
            let is_try = matches!(request.op, Op::Sync);
            tries.fetch_add(usize::from(is_try), Ordering::SeqCst);
            inner.call(request)
        }
    }));
    let ours = spawned(async move { ours.wait().await });
    until_children(&*other, "/phase", |names| names.len() == 1).await;
    settled(&*other, "/").await;
    conn.expire();
    settled(&*other, "/").await;
    conn.lose_connection();
    ours.abort();
    // It is tried, in vain, and again.
    let before = tries.load(Ordering::SeqCst);
    soon("another try", async {
        while tries.load(Ordering::SeqCst) < before + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    conn.join();
    let theirs = barrier(other);
    soon("the break", async {
        while !theirs.is_broken().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let told = soon("the other one", theirs.wait()).await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Broken, "{told}");
}

/// Old servers do not tell the stat of what a multi makes, and then none is there to be asked.
#[tokio::test]
async fn a_set_whose_stat_cannot_be_read_is_known_again() {
    let sees = Arc::new(AtomicBool::new(false));
    let old = Altered::of(connect(&MemoryQuorum::new(), MINUTE), {
        let sees = sees.clone();
        move |inner, request| {
            let looks = matches!(request.op, Op::Exists(_) | Op::Get(_));
            if looks && !sees.load(Ordering::SeqCst) {
                return Pending::ready(Err(request.error(ErrorKind::NotSent)));
            }
            let answer = inner.call(request);
            Pending::new(async move {
                let mut reply = answer.await?;
                if let Reply::Multi(steps) = &mut reply {
                    for step in steps {
                        if let MultiReply::Created { stat, .. } = step {
                            *stat = None;
                        }
                    }
                }
                Ok(reply)
            })
        }
    });
    let barrier = Barrier::new(old, "/a/closed");
    let err = barrier.set().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
    sees.store(true, Ordering::SeqCst);
    barrier.set().await.unwrap();
}

/// Whoever meets many others pauses, whatever runtime it is on.
#[test]
fn parties_get_along_without_timers_of_a_runtime() {
    let quorum = MemoryQuorum::new();
    let wait = |_| {
        let barrier = CyclicBarrier::new(quorum.connect(), "/phase", 12);
        async move { barrier.wait().await }
    };
    let indexes = futures::executor::block_on(join_all((0..12).map(wait)));
    let mut indexes: Vec<_> = indexes.into_iter().map(Result::unwrap).collect();
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..12));
}
