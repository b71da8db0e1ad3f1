use std::sync::Arc;

use super::*;
use crate::conn::{ConnExt as _, MemoryConn, MemoryQuorum};
use crate::fault::OpKind;
use crate::node::{Mode, Version};

const PATH: &str = "/app/pid";

fn node(quorum: &MemoryQuorum, contents: &'static str) -> (Arc<MemoryConn>, PidNode) {
    let conn = Arc::new(quorum.connect());
    let node = PidNode::new(conn.clone(), PATH).with_contents(contents);
    (conn, node.with_jitter(Duration::ZERO))
}

async fn until(guard: &mut PidGuard, state: PidState) {
    while guard.state() != state {
        let changed = tokio::time::timeout(Duration::from_secs(10), guard.changed()).await;
        assert!(changed.is_ok(), "never {state:?}");
    }
}

#[tokio::test]
async fn another_s_node_is_left_alone() {
    let quorum = MemoryQuorum::new();
    let (conn, first) = node(&quorum, "one");
    let guard = first.hold().await.unwrap();
    let (_, second) = node(&quorum, "two");
    let err = second.hold().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NodeExists);
    assert!(err.to_string().contains("of another process: \"one\""), "{err}");
    assert_eq!(conn.get(PATH).await.unwrap().data, "one");
    assert_eq!(guard.release().await, Released::Released);
}

#[tokio::test]
async fn two_in_one_session_are_two() {
    let quorum = MemoryQuorum::new();
    let conn = Arc::new(quorum.connect());
    let twin = || PidNode::new(conn.clone(), PATH).with_contents("same");
    let _guard = twin().hold().await.unwrap();
    let err = twin().hold().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NodeExists);
}

#[tokio::test]
async fn it_is_made_again_behind_a_session_loss() {
    let quorum = MemoryQuorum::new();
    let (conn, node) = node(&quorum, "one");
    let mut guard = node.hold().await.unwrap();
    let before = guard.token().unwrap();
    quorum.expire(conn.session("/").await.unwrap().id());
    until(&mut guard, PidState::Held).await;
    while guard.token().is_none_or(|token| token <= before) {
        guard.changed().await;
    }
    assert_eq!(conn.get(PATH).await.unwrap().data, "one");
}

#[tokio::test]
async fn the_own_former_node_is_waited_out() {
    let quorum = MemoryQuorum::new();
    let (old, _) = node(&quorum, "");
    // This process, before it was restarted.
    crate::tree::create_all(&old, PATH, "host:7", Mode::Ephemeral).await.unwrap();
    let (_, node) = node(&quorum, "host:7");
    let mut holding = Box::pin(node.hold());
    let late = tokio::time::timeout(Duration::from_millis(100), &mut holding).await;
    assert!(late.is_err(), "taken for its own");
    quorum.expire(old.session("/").await.unwrap().id());
    assert_eq!(holding.await.unwrap().state(), PidState::Held);
}

#[tokio::test]
async fn who_waits_gets_it_when_it_is_free() {
    let quorum = MemoryQuorum::new();
    let (_, first) = node(&quorum, "one");
    let (_, second) = node(&quorum, "two");
    let second = second.with_policy(PidPolicy::Wait);
    let guard = first.hold().await.unwrap();
    let err = second.hold_within(Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let (held, _) = tokio::join!(second.hold(), guard.release());
    assert_eq!(held.unwrap().state(), PidState::Held);
}

#[tokio::test]
async fn who_is_replaced_learns_it_and_does_not_fight() {
    let quorum = MemoryQuorum::new();
    let (_, first) = node(&quorum, "one");
    let (conn, second) = node(&quorum, "two");
    let displaced = first.with_policy(PidPolicy::Replace).hold().await.unwrap();
    let guard = second.with_policy(PidPolicy::Replace).hold().await.unwrap();
    let PidLoss::Taken(by) = displaced.lost().await else { panic!() };
    assert_eq!(by, "two");
    assert_eq!(displaced.state(), PidState::Lost);
    assert_eq!(displaced.release().await, Released::WasLost);
    assert_eq!(conn.get(PATH).await.unwrap().data, "two");
    assert_eq!(guard.state(), PidState::Held);
}

#[tokio::test]
async fn an_operator_s_delete_is_mended() {
    let quorum = MemoryQuorum::new();
    let (conn, node) = node(&quorum, "one");
    let mut guard = node.hold().await.unwrap();
    let before = guard.token();
    quorum.connect().delete(PATH, Version::Any).await.unwrap();
    while guard.token().is_none() || guard.token() == before {
        guard.changed().await;
    }
    assert_eq!(conn.get(PATH).await.unwrap().data, "one");
}

#[tokio::test]
async fn a_create_whose_reply_was_lost_is_known_again() {
    let quorum = MemoryQuorum::new();
    let (conn, node) = node(&quorum, "one");
    conn.create("/app", "", Mode::Persistent).await.unwrap();
    conn.swallow_reply(OpKind::Create);
    let guard = node.hold().await.unwrap();
    assert_eq!(conn.bites().swallowed, 1);
    assert_eq!(guard.state(), PidState::Held);
    assert_eq!(guard.release().await, Released::Released);
    assert!(conn.exists(PATH).await.unwrap().is_none());
}

#[tokio::test]
async fn dropping_it_removes_the_node() {
    let quorum = MemoryQuorum::new();
    let (_, node) = node(&quorum, "one");
    let guard = node.hold().await.unwrap();
    let (_, gone) = quorum
        .connect()
        .exists_watch(PATH)
        .await
        .map(|(stat, watch)| {
            assert!(stat.is_some());
            (stat, watch)
        })
        .unwrap();
    drop(guard);
    let _watched = tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_create_in_doubt_removes_no_sibling_with_the_same_contents() {
    let quorum = MemoryQuorum::new();
    let conn = Arc::new(quorum.connect());
    let of = |path: &str| PidNode::new(conn.clone(), path).with_contents("host:7");
    let guard = of("/svc/100").hold().await.unwrap();
    let token = guard.token();
    conn.refuse();
    conn.drop_request(OpKind::Create.below("/svc/101"));
    let late = of("/svc/101").hold_within(Duration::from_millis(50)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    // Something else changed the directory, so servers cannot tell what became of it.
    quorum.connect().create("/svc/other", "", Mode::Persistent).await.unwrap();
    conn.join();
    for _ in 0..100 {
        conn.sync("/").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!((guard.state(), guard.token()), (PidState::Held, token));
}
