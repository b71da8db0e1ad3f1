//! Cyclic barriers that are written over, or deleted, at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use zkcells::recipes::CyclicBarrier;
use zkcells::{
    Conn, ConnExt as _, Error, ErrorKind, MemoryConn, MemoryQuorum, Mode, Op, Pending, Version,
    tree,
};

use crate::support::altered::Altered;
use crate::support::beds::until_children;
use crate::support::soon;
use crate::{connect, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);

type Waiting = tokio::task::JoinHandle<Result<usize, Error>>;

/// A party of so many that has arrived, and gives up when it is told.
async fn arrived(conn: &Arc<MemoryConn>, parties: usize) -> (Waiting, oneshot::Sender<()>) {
    let ours = CyclicBarrier::new(conn.clone(), "/phase", parties);
    let (stop, stopped) = oneshot::channel::<()>();
    let waiting = spawned(async move { ours.wait_unless(async { drop(stopped.await) }).await });
    until_children(&**conn, "/phase", |names| names.len() == 1).await;
    settled(&**conn, "/").await;
    (waiting, stop)
}

/// So many others go through a generation.
async fn generation(conn: &Arc<MemoryConn>, parties: usize) {
    let theirs = CyclicBarrier::new(conn.clone(), "/phase", parties);
    let all = join_all((0..parties).map(|_| theirs.wait()));
    assert!(soon("a generation", all).await.into_iter().all(|one| one.is_ok()));
}

/// The events that would tell a party of what others do do not come.
fn deafen(conn: &MemoryConn) {
    for _ in 0..8 {
        conn.late_event(100 * MINUTE);
    }
}

/// Somebody deletes the node, and others pass in the first generation of the next one, as the party
/// that had arrived in the first one gives up.
#[tokio::test]
async fn whoever_gives_up_is_in_no_generation_of_another_node() {
    for is_away in [false, true] {
        let quorum = MemoryQuorum::new();
        let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
        let (waiting, stop) = arrived(&conn, 3).await;
        if is_away {
            conn.lose_connection()
        } else {
            deafen(&conn)
        }
        tree::remove_all(&*other, "/phase").await.unwrap();
        generation(&other, 3).await;
        stop.send(()).unwrap();
        settled(&*other, "/").await;
        conn.join();
        assert_eq!(end("the end", waiting).await, Err(ErrorKind::Cancelled), "away {is_away}");
    }
}

/// Somebody writes over the state: nothing, or what it was before.
#[tokio::test]
async fn whose_arrival_is_written_over_is_told_and_passes_with_nobody() {
    for is_older in [false, true] {
        let quorum = MemoryQuorum::new();
        let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
        generation(&other, 2).await;
        let before = other.get("/phase").await.unwrap().data;
        let (waiting, _stop) = arrived(&conn, 2).await;
        let over = if is_older { before } else { "".into() };
        other.set("/phase", over, Version::Any).await.unwrap();
        assert_eq!(end("the end", waiting).await, Err(ErrorKind::Revoked), "older {is_older}");
        // Its node goes, too.
        until_children(&*other, "/phase", <[String]>::is_empty).await;
        generation(&other, 2).await;
    }
}

/// The same where it hears nothing until others have passed, in one generation or in two.
#[tokio::test]
async fn whose_arrival_is_written_over_passes_with_nobody_later() {
    for generations in 0..3 {
        for gives_up in [false, true] {
            let case = format!("{generations} generations, gives up {gives_up}");
            let quorum = MemoryQuorum::new();
            let timeout = if gives_up { MINUTE } else { Duration::from_millis(200) };
            let (conn, other) = (connect(&quorum, timeout), connect(&quorum, MINUTE));
            let (waiting, stop) = arrived(&conn, 2).await;
            deafen(&conn);
            other.set("/phase", "", Version::Any).await.unwrap();
            for _ in 0..generations {
                generation(&other, 2).await;
            }
            let why = match gives_up {
                true => {
                    stop.send(()).unwrap();
                    ErrorKind::Cancelled
                }
                false => ErrorKind::Revoked,
            };
            assert_eq!(end(&case, waiting).await, Err(why), "{case}");
            until_children(&*other, "/phase", <[String]>::is_empty).await;
        }
    }
}

/// All who wait for three are dead. Those who are two would be told for ever that others wait for three.
#[tokio::test]
async fn the_dead_disagree_with_nobody() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let (waiting, _stop) = arrived(&conn, 3).await;
    let two = CyclicBarrier::new(other.clone(), "/phase", 2);
    assert_eq!(two.wait().await.unwrap_err().kind(), ErrorKind::Disagreement);
    conn.expire();
    assert_eq!(end("the dead one", waiting).await, Err(ErrorKind::SessionExpired));
    let err = two.wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Broken, "{err}");
    assert!(err.detail().unwrap().contains("gone"), "{err}");
    assert!(two.is_broken().await.unwrap());
    two.reset().await.unwrap();
    generation(&other, 2).await;
    // Where failures are tolerated, the dead count.
    let tolerant = |conn: &Arc<MemoryConn>, parties| {
        CyclicBarrier::new(conn.clone(), "/phase", parties).with_tolerated_failures()
    };
    let three = tolerant(&conn, 3);
    let waiting = spawned(async move { three.wait().await });
    until_children(&*other, "/phase", |names| names.len() == 1).await;
    conn.expire();
    let err = tolerant(&other, 2).wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Disagreement, "{err}");
    assert!(!waiting.is_finished());
}

/// Deletes the node right before the first list of what is in it, which the last one to come makes, and
/// whoever breaks it or begins it anew.
fn deleted_meanwhile(quorum: &MemoryQuorum) -> Arc<Altered> {
    let other = connect(quorum, MINUTE);
    let first = std::sync::atomic::AtomicBool::new(true);
    Altered::of(connect(quorum, MINUTE), move |inner, request| {
        let lists = matches!(request.op, Op::Children(_));
        if !lists || !first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return inner.call(request);
        }
        let (inner, other) = (inner.clone(), other.clone());
        Pending::new(async move {
            tree::remove_all(&*other, "/phase").await.unwrap();
            inner.call(request).await
        })
    })
}

#[tokio::test]
async fn a_node_that_goes_meanwhile_is_as_new() {
    let quorum = MemoryQuorum::new();
    let other = connect(&quorum, MINUTE);
    other.create("/phase", "", Mode::Persistent).await.unwrap();
    let conn: Arc<dyn Conn> = deleted_meanwhile(&quorum);
    CyclicBarrier::new(conn, "/phase", 2).reset().await.unwrap();
    assert!(other.exists("/phase").await.unwrap().is_none());
    // Whoever comes as the last one makes it anew.
    let first = CyclicBarrier::new(other.clone(), "/phase", 1).with_tolerated_failures();
    first.wait().await.unwrap();
    let alone = CyclicBarrier::new(deleted_meanwhile(&quorum), "/phase", 1);
    let alone = alone.with_tolerated_failures();
    assert_eq!(soon("the last", alone.wait()).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_breaks_what_is_deleted_meanwhile_is_told_so() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let (before, _stop) = arrived(&conn, 3).await;
    let ours = CyclicBarrier::new(deleted_meanwhile(&quorum), "/phase", 3);
    let waiting = spawned(async move { ours.wait().await });
    until_children(&*other, "/phase", |names| names.len() == 2).await;
    settled(&*other, "/").await;
    // It sees that the one before it is gone, and breaks the barrier.
    conn.expire();
    assert_eq!(end("the one before", before).await, Err(ErrorKind::SessionExpired));
    assert_eq!(end("the end", waiting).await, Err(ErrorKind::Revoked));
}

/// Written by hand, say: nobody counts that far.
#[tokio::test]
async fn a_generation_behind_which_there_is_no_other_is_refused() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let barrier = CyclicBarrier::new(conn.clone(), "/phase", 1);
    barrier.wait().await.unwrap();
    let state = String::from_utf8(conn.get("/phase").await.unwrap().data.to_vec()).unwrap();
    let last = state.replace("\"generation\":1", &format!("\"generation\":{}", u64::MAX));
    assert_ne!(last, state);
    conn.set("/phase", last, Version::Any).await.unwrap();
    assert_eq!(barrier.wait().await.unwrap_err().kind(), ErrorKind::Unexpected);
    assert_eq!(barrier.reset().await.unwrap_err().kind(), ErrorKind::Unexpected);
}
