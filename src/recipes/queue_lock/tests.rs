use std::sync::Arc;

use futures::FutureExt as _;

use super::*;
use crate::conn::{MemoryConn, MemoryQuorum};
use crate::node::Mode;
use crate::recipes::guard::Released;

async fn queue(quorum: &MemoryQuorum) -> Arc<MemoryConn> {
    let conn = Arc::new(quorum.connect());
    match conn.create("/queue", "", Mode::Persistent).await {
        Ok(_) => {}
        Err(err) => assert_eq!(err.kind(), ErrorKind::NodeExists),
    }
    conn
}

async fn node(conn: &Arc<MemoryConn>, name: &str) -> QueueLock {
    let path = format!("/queue/{name}");
    conn.create(&path, "", Mode::Ephemeral).await.unwrap();
    QueueLock::new(conn.clone(), path)
}

#[tokio::test]
async fn a_name_before_the_holder_s_waits_for_the_holder() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    let held = node(&conn, "m").await.wait().await.unwrap();
    let earlier = node(&conn, "a").await;
    let mut waits = Box::pin(earlier.wait());
    assert!(waits.as_mut().now_or_never().is_none(), "granted beside the holder");
    let old = held.token().clone();
    assert_eq!(held.release().await, Released::Released);
    let guard = waits.await.unwrap();
    assert!(*guard.token() > old, "tokens are ordered by grant");
}

#[tokio::test]
async fn tokens_are_ordered_by_grant_and_not_by_creation() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    let (late, early) = (node(&conn, "z").await, node(&conn, "b").await);
    let first = early.wait().await.unwrap();
    let old = first.token().clone();
    first.release().await;
    assert!(*late.wait().await.unwrap().token() > old);
}

#[tokio::test]
async fn a_record_of_nobody_holds_up_nobody() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    let held = node(&conn, "m").await.wait().await.unwrap();
    held.release().await;
    // The same name, and another node.
    let _again = node(&conn, "m").await;
    let guard = node(&conn, "a").await.try_take().await.unwrap();
    assert!(guard.is_some(), "a node of the recorded name is not the recorded node");
}

#[tokio::test]
async fn a_try_keeps_the_node_and_a_failure_removes_it() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    let held = node(&conn, "a").await.wait().await.unwrap();
    let other = node(&conn, "b").await;
    assert!(other.try_take().await.unwrap().is_none());
    assert!(conn.exists("/queue/b").await.unwrap().is_some());
    let err = other.turn(Duration::ZERO).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert!(conn.exists("/queue/b").await.unwrap().is_some());
    let err = other.wait_within(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let (gone, watch) = conn.exists_watch("/queue/b").await.unwrap();
    if gone.is_some() {
        watch.await;
    }
    held.release().await;
}

#[tokio::test]
async fn a_node_of_another_session_gives_a_turn_and_no_guard() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (queue(&quorum).await, queue(&quorum).await);
    conn.create("/queue/a", "", Mode::Ephemeral).await.unwrap();
    let theirs = QueueLock::new(other.clone(), "/queue/a");
    let err = theirs.wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadArguments);
    let token = theirs.turn(Duration::from_secs(1)).await.unwrap();
    assert_eq!(token, theirs.turn(Duration::ZERO).await.unwrap(), "granted once");
    assert!(conn.exists("/queue/a").await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_not_there_or_goes_away_is_told() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    let err = QueueLock::new(conn.clone(), "/queue/none").wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode);
    let held = node(&conn, "a").await.wait().await.unwrap();
    let other = node(&conn, "b").await;
    let mut waits = Box::pin(other.wait());
    assert!(waits.as_mut().now_or_never().is_none());
    quorum.connect().delete("/queue/b", Version::Any).await.unwrap();
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::Revoked);
    // A holder notices it as well.
    quorum.connect().delete("/queue/a", Version::Any).await.unwrap();
    assert_eq!(held.lost().await, crate::hold::Loss::Deleted);
}

#[tokio::test]
async fn a_persistent_node_holds_as_well() {
    let quorum = MemoryQuorum::new();
    let conn = queue(&quorum).await;
    conn.create("/queue/a", "", Mode::Persistent).await.unwrap();
    let guard = QueueLock::new(conn.clone(), "/queue/a").wait().await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(guard.release().await, Released::Released);
    assert!(conn.exists("/queue/a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_wait_that_fails_before_it_found_the_node_removes_it_all_the_same() {
    let quorum = MemoryQuorum::new();
    queue(&quorum).await;
    let mut first = true;
    let spy = Arc::new(crate::spy::Spy::meddling(quorum.connect(), move |request, _| {
        let is_look = matches!(request.op, crate::request::Op::Exists(_));
        (is_look && std::mem::take(&mut first)).then(|| request.error(ErrorKind::NotSent))
    }));
    let (node, _) = spy.create("/queue/a-", "", Mode::EphemeralSequential).await.unwrap();
    let err = QueueLock::new(spy.clone(), &node).wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent);
    let (there, gone) = quorum.connect().exists_watch(&node).await.unwrap();
    if there.is_some() {
        assert!(tokio::time::timeout(Duration::from_secs(10), gone).await.is_ok(), "it is left");
    }
}

#[tokio::test]
async fn a_wait_in_vain_is_not_behind_a_node_that_comes_later() {
    let quorum = MemoryQuorum::new();
    queue(&quorum).await;
    let spy = Arc::new(crate::spy::Spy::new(quorum.connect()));
    let err = QueueLock::new(spy.clone(), "/queue/a").wait().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode);
    // The keeper takes what it is given in order, and is answered at once.
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    KEEPER.spawn(async { drop(tell) }).unwrap();
    assert!(told.await.is_err());
    assert_eq!(spy.take(), ["session /queue/a", "exists /queue/a"], "looked for to be removed");
}
