//! What becomes of calls whose request or answer is lost, and of events that come late or twice.

use std::time::Duration;

use futures::FutureExt as _;

use crate::conn::within::Within;
use crate::conn::{Conn as _, ConnExt as _, MemoryConn};
use crate::error::{Error, ErrorKind};
use crate::fault::{Bites, OpKind};
use crate::node::{Acl, CreateOptions, Mode, Version};
use crate::request::{Multi, MultiReply};
use crate::watch::{EventKind, TreeEvent};

const ANY: Version = Version::Any;
const PERSISTENT: Mode = Mode::Persistent;
const MINUTE: Duration = Duration::from_secs(60);

async fn with_node(path: &str) -> (MemoryConn, MemoryConn) {
    let conn = MemoryConn::new();
    conn.create(path, "", PERSISTENT).await.unwrap();
    let rival = conn.quorum().connect();
    (conn, rival)
}

fn with_id(mode: Mode) -> CreateOptions {
    CreateOptions::from(mode).with_id("6f1a")
}

fn is_unknown<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let err = answer.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
}

#[tokio::test]
async fn a_write_that_was_applied_is_never_said_to_have_failed() {
    let (conn, rival) = with_node("/a").await;
    let first = Version::Exact(0);
    conn.swallow_reply(OpKind::Create);
    is_unknown(conn.create("/plain", "x", PERSISTENT).await);
    conn.swallow_reply(OpKind::Set);
    is_unknown(conn.set("/a", "x", first).await);
    conn.swallow_reply(OpKind::SetAcl);
    is_unknown(conn.set_acl("/a", Acl::open(), first).await);
    conn.swallow_reply(OpKind::Multi);
    is_unknown(conn.multi(Multi::new().set("/a", "y", ANY)).await);
    conn.swallow_reply(OpKind::Delete);
    is_unknown(conn.delete("/plain", ANY).await);
    assert_eq!(rival.get("/a").await.unwrap().data, "y");
    assert_eq!(rival.exists("/plain").await.unwrap(), None);
    let bites = conn.bites();
    assert_eq!((bites.swallowed, bites.cut), (5, 0));
}

#[tokio::test]
async fn a_create_that_carries_an_id_is_known() {
    let (conn, rival) = with_node("/q").await;
    conn.swallow_reply(OpKind::Create);
    let made = conn.create("/q/n-6f1a", "", with_id(PERSISTENT)).await.unwrap();
    assert_eq!(rival.exists("/q/n-6f1a").await.unwrap(), Some(made.1));
    conn.swallow_reply(OpKind::Create);
    let numbered = with_id(Mode::EphemeralSequential);
    let (path, _) = conn.create("/q/lock-6f1a-", "", &numbered).await.unwrap();
    assert_eq!(rival.children("/q").await.unwrap().names, [path.name(), "n-6f1a"]);
    conn.swallow_reply(OpKind::Multi);
    let multi = Multi::new().create("/m", "6f1a", with_id(PERSISTENT)).set("/q", "x", ANY);
    let replies = conn.multi(multi).await.unwrap();
    assert!(matches!(&replies[..], [MultiReply::Created { .. }, MultiReply::Set(_)]));
    assert_eq!(conn.bites().swallowed, 3);
}

#[tokio::test]
async fn a_numbered_create_without_an_id_is_never_sent_twice() {
    let (conn, rival) = with_node("/q").await;
    conn.swallow_reply(OpKind::Create);
    is_unknown(conn.create("/q/n-", "", Mode::PersistentSequential).await);
    assert_eq!(rival.children("/q").await.unwrap().names.len(), 1);
}

#[tokio::test]
async fn a_request_that_was_lost_is_sent_again() {
    let (conn, _) = with_node("/a").await;
    for kind in [OpKind::Create, OpKind::Set, OpKind::SetAcl, OpKind::Multi, OpKind::Delete] {
        conn.drop_request(kind);
    }
    let first = Version::Exact(0);
    conn.create("/q-", "", Mode::PersistentSequential).await.unwrap();
    assert_eq!(conn.set("/a", "x", first).await.unwrap().version, 1);
    assert_eq!(conn.set_acl("/a", Acl::open(), first).await.unwrap().aversion, 1);
    conn.multi(Multi::new().set("/a", "y", Version::Exact(1))).await.unwrap();
    conn.delete("/a", Version::Exact(2)).await.unwrap();
    assert_eq!(conn.children("/").await.unwrap().names, ["q-0000000001", "zookeeper"]);
    assert_eq!(conn.bites().dropped, 5);
}

#[tokio::test]
async fn a_compare_and_set_knows_a_rival_by_other_data() {
    let (conn, rival) = with_node("/a").await;
    conn.refuse();
    conn.drop_request(OpKind::Set);
    let lost = conn.set("/a", "ours", Version::Exact(0));
    rival.set("/a", "theirs", Version::Exact(0)).await.unwrap();
    conn.join();
    assert_eq!(lost.await.unwrap_err().kind(), ErrorKind::BadVersion);
    conn.refuse();
    conn.drop_request(OpKind::Set);
    let lost = conn.set("/a", "same", Version::Exact(1));
    rival.set("/a", "same", Version::Exact(1)).await.unwrap();
    conn.join();
    is_unknown(lost.await);
    assert_eq!(conn.bites().dropped, 2);
}

#[tokio::test]
async fn nothing_passes_a_write_in_doubt() {
    let (conn, rival) = with_node("/a").await;
    conn.refuse();
    conn.drop_request(OpKind::Create);
    let made = conn.create("/b", "", PERSISTENT);
    let read = conn.exists("/b");
    let (mut made, mut read) = (made, read);
    assert!((&mut made).now_or_never().is_none() && (&mut read).now_or_never().is_none());
    assert_eq!(rival.exists("/b").await.unwrap(), None);
    conn.join();
    made.await.unwrap();
    assert!(read.await.unwrap().is_some());
}

#[tokio::test]
async fn a_read_is_asked_again() {
    let (conn, rival) = with_node("/a").await;
    conn.refuse();
    conn.swallow_reply(OpKind::Read.below("/a"));
    conn.exists("/other").await.unwrap();
    let read = conn.get_watch("/a");
    rival.set("/a", "newer", ANY).await.unwrap();
    conn.join();
    let (node, mut watch) = read.await.unwrap();
    assert_eq!(node.data, "newer");
    assert!((&mut watch).now_or_never().is_none());
    rival.set("/a", "newest", ANY).await.unwrap();
    assert_eq!(watch.await.kind, EventKind::DataChanged);
    assert_eq!(conn.bites().swallowed, 1);
}

#[tokio::test]
async fn a_lost_reply_is_looked_up_after_the_end_of_the_session_too() {
    let (conn, rival) = with_node("/a").await;
    let first = conn.session("/").await.unwrap();
    conn.refuse();
    conn.swallow_reply(OpKind::Write);
    let mine = conn.create("/a/6f1a", "", with_id(Mode::Ephemeral));
    assert!(rival.exists("/a/6f1a").await.unwrap().is_some());
    conn.quorum().advance(first.timeout());
    assert_eq!(rival.exists("/a/6f1a").await.unwrap(), None);
    conn.join();
    let (_, stat) = mine.await.unwrap();
    assert!(conn.session("/").await.unwrap().owns(&stat));
    assert_eq!((conn.bites().swallowed, conn.bites().ended), (1, 1));
}

#[tokio::test]
async fn delayed_answers_come_in_their_order() {
    let (conn, rival) = with_node("/a").await;
    conn.delay(MINUTE);
    let mut set = conn.set("/a", "x", ANY);
    conn.delay(Duration::ZERO);
    let mut read = conn.get("/a");
    assert_eq!(rival.get("/a").await.unwrap().data, "x");
    assert!((&mut set).now_or_never().is_none() && (&mut read).now_or_never().is_none());
    conn.quorum().advance(MINUTE);
    set.now_or_never().unwrap().unwrap();
    assert_eq!(read.now_or_never().unwrap().unwrap().data, "x");
    assert_eq!(conn.get("/a").now_or_never().unwrap().unwrap().data, "x");
    assert_eq!(conn.bites().delayed, 2);
}

#[tokio::test]
async fn delayed_answers_are_lost_with_the_connection() {
    let (conn, _) = with_node("/a").await;
    conn.delay(MINUTE);
    let (set, read) = (conn.set("/a", "x", ANY), conn.get("/a"));
    conn.delay(Duration::ZERO);
    conn.cut();
    is_unknown(set.await);
    assert_eq!(read.await.unwrap().data, "x");
    assert_eq!((conn.bites().cut, conn.bites().delayed), (1, 2));
}

#[tokio::test]
async fn an_answer_behind_the_deadline_is_none() {
    let (conn, rival) = with_node("/a").await;
    conn.delay(MINUTE);
    let conn = Within::new(conn, Duration::from_millis(30));
    let (set, read) = (conn.set("/a", "x", ANY), conn.get("/a"));
    is_unknown(set.await);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(rival.get("/a").await.unwrap().data, "x");
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_late_event_comes_behind_answers_that_show_its_change() {
    let (conn, rival) = with_node("/a").await;
    let mut tree = conn.watch_tree("/").await.unwrap();
    let (_, mut watch) = conn.exists_watch("/b").await.unwrap();
    conn.late_event(MINUTE);
    rival.create("/b", "", PERSISTENT).await.unwrap();
    rival.create("/c", "", PERSISTENT).await.unwrap();
    assert!(conn.exists("/b").await.unwrap().is_some());
    assert!((&mut watch).now_or_never().is_none());
    // Only one event was late.
    assert!(matches!(tree.next().await, Some(TreeEvent::Changed(event)) if event.path == "/b"));
    assert_eq!(conn.bites().late, 1);
    conn.quorum().advance(MINUTE);
    assert_eq!(watch.now_or_never().unwrap().kind, EventKind::Created);
}

#[tokio::test]
async fn a_late_event_comes_at_last_with_a_new_connection() {
    let (conn, rival) = with_node("/a").await;
    let (_, mut watch) = conn.get_watch("/a").await.unwrap();
    conn.late_event(MINUTE);
    rival.set("/a", "x", ANY).await.unwrap();
    conn.lose_connection();
    conn.quorum().advance(Duration::from_secs(1));
    assert!((&mut watch).now_or_never().is_none());
    conn.join();
    assert_eq!(watch.await.kind, EventKind::DataChanged);
}

#[tokio::test]
async fn an_event_comes_twice_once() {
    let (conn, rival) = with_node("/a").await;
    let mut tree = conn.watch_tree("/").await.unwrap();
    conn.twice_event();
    rival.set("/a", "x", ANY).await.unwrap();
    rival.delete("/a", ANY).await.unwrap();
    let mut kinds = Vec::new();
    while let Some(Some(TreeEvent::Changed(event))) = tree.next().now_or_never() {
        kinds.push(event.kind);
    }
    use EventKind::{DataChanged, Deleted};
    assert_eq!(kinds, [DataChanged, DataChanged, Deleted]);
    assert_eq!(conn.bites().doubled, 1);
}

#[tokio::test]
async fn a_fault_that_meets_nothing_does_not_bite() {
    let (conn, _) = with_node("/a").await;
    conn.refuse();
    conn.swallow_reply(OpKind::Create);
    conn.drop_request(OpKind::Set.below("/elsewhere"));
    conn.late_event(MINUTE);
    conn.twice_event();
    conn.set("/a", "x", ANY).await.unwrap();
    conn.sync("/").await.unwrap();
    conn.session("/").await.unwrap();
    assert_eq!(conn.bites(), Bites::default());
}
