//! A session that watches as much as it can refuses the next watch: barriers open for it all the same,
//! a moment late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zkcells::recipes::{Barrier, CyclicBarrier, DoubleBarrier};
use zkcells::{Conn, ErrorKind, LeaveWatch, MemoryQuorum, Op, Pending, Request};

use crate::support::altered::Altered;
use crate::support::beds::until_children;
use crate::support::soon;
use crate::{connect, end, settled, spawned};

/// So long that nobody looks by chance.
const LONG: Duration = Duration::from_secs(600);

/// A connection whose session has no room for the watches that `wants` tells.
fn crowded(quorum: &MemoryQuorum, wants: fn(&Op) -> bool) -> (Arc<dyn Conn>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let conn = Altered::of(connect(quorum, LONG), move |inner, request: Request| {
        count.fetch_add(1, Ordering::SeqCst);
        match wants(&request.op) {
            true => Pending::ready(Err(request.error(ErrorKind::TooManyWatches))),
            false => inner.call(request),
        }
    });
    (conn, asked)
}

fn any(op: &Op) -> bool {
    use LeaveWatch::Yes;
    matches!(op, Op::Exists(Yes) | Op::Get(Yes) | Op::Children(Yes))
}

#[tokio::test]
async fn a_barrier_opens() {
    let quorum = MemoryQuorum::new();
    let ((conn, _), other) = (crowded(&quorum, any), connect(&quorum, LONG));
    let (ours, theirs) = (Barrier::new(conn, "/gate"), Barrier::new(other.clone(), "/gate"));
    soon("an open one", ours.wait()).await.unwrap();
    theirs.set().await.unwrap();
    let waiting = spawned(async move { ours.wait().await });
    settled(&*other, "/").await;
    assert!(!waiting.is_finished());
    theirs.unset().await.unwrap();
    assert_eq!(end("the opening", waiting).await, Ok(()));
}

#[tokio::test]
async fn a_double_barrier_lets_in_and_out() {
    let quorum = MemoryQuorum::new();
    let other = connect(&quorum, LONG);
    let theirs = |id: &str| DoubleBarrier::new(other.clone(), "/step", id, 2);
    let ours = |id: &str| DoubleBarrier::new(crowded(&quorum, any).0, "/step", id, 2);
    let (z, a) = (ours("z"), theirs("a"));
    let entering = spawned(async move { z.enter().await });
    until_children(&*other, "/step", |names| names.len() == 1).await;
    let a = soon("the other", a.enter()).await.unwrap();
    let z = end("ours", entering).await.unwrap();
    // A round of others is on, and over before the next one.
    let (b, c) = (ours("b"), theirs("c"));
    let b = spawned(async move { b.enter().await });
    let c = spawned(async move { c.enter().await });
    settled(&*other, "/").await;
    // It waits for the other.
    let out = spawned(z.exit());
    settled(&*other, "/").await;
    assert!(!b.is_finished() && !c.is_finished() && !out.is_finished());
    soon("the other", a.exit()).await.unwrap();
    assert_eq!(end("ours", out).await, Ok(()));
    let (b, c) = (end("the next", b).await.unwrap(), end("the next", c).await.unwrap());
    let (b, c) = futures::join!(b.exit(), c.exit());
    assert!(b.is_ok() && c.is_ok());
}

#[tokio::test]
async fn a_cyclic_barrier_opens() {
    for tolerant in [false, true] {
        let quorum = MemoryQuorum::new();
        let other: Arc<dyn Conn> = connect(&quorum, LONG);
        let party = |conn: Arc<dyn Conn>| {
            let barrier = CyclicBarrier::new(conn, "/phase", 3);
            if tolerant { barrier.with_tolerated_failures() } else { barrier }
        };
        let mut waiting = Vec::new();
        // One watches the state, the other who is before it.
        for count in 1..3 {
            let ours = party(crowded(&quorum, any).0);
            waiting.push(spawned(async move { ours.wait().await }));
            until_children(&*other, "/phase", |names| names.len() == count).await;
        }
        settled(&*other, "/").await;
        soon("the last one", party(other).wait()).await.unwrap();
        for (waiting, index) in waiting.into_iter().zip([2, 1]) {
            assert_eq!(end("ours", waiting).await, Ok(index), "tolerant {tolerant}");
        }
    }
}

/// It has room for the watch on `ready`, and none for that on the list.
#[tokio::test]
async fn whoever_looks_at_each_change_pauses_between_its_looks() {
    let quorum = MemoryQuorum::new();
    let other = connect(&quorum, LONG);
    let (conn, asked) = crowded(&quorum, |op| matches!(op, Op::Children(LeaveWatch::Yes)));
    let ours = DoubleBarrier::new(conn, "/step", "a", 2);
    let entering = spawned(async move { ours.enter().await });
    until_children(&*other, "/step", |names| names.len() == 1).await;
    for _ in 0..20 {
        settled(&*other, "/").await;
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked < 30, "{asked} requests while nothing happened");
    let theirs = DoubleBarrier::new(other, "/step", "b", 2);
    let theirs = soon("the other", theirs.enter()).await.unwrap();
    assert_eq!(end("ours", entering).await.unwrap().token(), theirs.token());
}
