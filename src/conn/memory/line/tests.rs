//! What a lost connection costs, and what is there again when it is back.

use std::time::Duration;

use futures::FutureExt as _;

use crate::conn::options::SessionOptions;
use crate::conn::within::Within;
use crate::conn::{Conn as _, ConnExt as _, MemoryConn, MemoryQuorum};
use crate::error::ErrorKind;
use crate::hold::Loss;
use crate::node::{Mode, Version};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Request};
use crate::session::SessionState;
use crate::watch::{Event, EventKind, TreeEvent};

const ANY: Version = Version::Any;
const PERSISTENT: Mode = Mode::Persistent;

/// A connection that will be lost, and a rival.
fn two() -> (MemoryConn, MemoryConn) {
    let conn = MemoryConn::new();
    let rival = conn.quorum().connect();
    (conn, rival)
}

#[tokio::test]
async fn a_lost_connection_keeps_calls_until_their_deadlines() {
    let (conn, rival) = two();
    conn.lose_connection();
    let soon = Duration::from_millis(30);
    let read = Request::new(Op::Get(LeaveWatch::No), ZkPath::root()).within(soon);
    let err = conn.call(read).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    let within = Within::new(conn, soon);
    let err = within.create("/a", "", PERSISTENT).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    drop(within);
    assert_eq!(rival.exists("/a").await.unwrap(), None);
}

#[tokio::test]
async fn a_call_past_its_deadline_is_not_carried_out_later() {
    let (conn, rival) = two();
    conn.lose_connection();
    let create = Op::Create { data: "".into(), options: PERSISTENT.into() };
    let late = Request::new(create, ZkPath::new("/late").unwrap()).within(Duration::from_millis(5));
    assert_eq!(conn.call(late).await.unwrap_err().kind(), ErrorKind::NotSent);
    conn.join();
    assert_eq!(rival.exists("/late").await.unwrap(), None);
    let bites = conn.bites();
    assert_eq!((bites.cut, bites.held), (1, 1));
}

#[tokio::test]
async fn calls_that_waited_are_carried_out_in_call_order() {
    let (conn, _) = two();
    conn.create("/q", "", PERSISTENT).await.unwrap();
    conn.lose_connection();
    let calls: Vec<_> = (0..20)
        .map(|_| (conn.create("/q/n-", "", Mode::PersistentSequential), conn.children("/q")))
        .collect();
    conn.join();
    for (n, (create, list)) in calls.into_iter().enumerate() {
        assert_eq!(create.await.unwrap().0, format!("/q/n-{n:010}").as_str());
        assert_eq!(list.await.unwrap().names.len(), n + 1);
    }
    assert_eq!(conn.bites().held, 40);
}

#[tokio::test]
async fn a_call_that_was_dropped_is_withdrawn() {
    let (conn, rival) = two();
    conn.lose_connection();
    drop(conn.create("/dropped", "", PERSISTENT));
    let kept = conn.create("/kept", "", PERSISTENT);
    conn.join();
    kept.await.unwrap();
    assert_eq!(rival.exists("/dropped").await.unwrap(), None);
}

#[tokio::test]
async fn a_short_loss_keeps_the_session() {
    let (conn, rival) = two();
    let session = conn.session("/").await.unwrap();
    conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    conn.lose_connection();
    assert_eq!(session.state(), SessionState::Disconnected);
    conn.quorum().advance(session.timeout() / 2);
    conn.join();
    assert_eq!(session.state(), SessionState::Connected);
    conn.quorum().advance(session.timeout() * 2);
    assert_eq!(conn.session("/").await.unwrap().id(), session.id());
    assert!(rival.exists("/mine").await.unwrap().is_some());
}

#[tokio::test]
async fn one_shots_tell_what_they_missed() {
    let (conn, rival) = two();
    for node in ["/set", "/gone", "/again", "/parent", "/same"] {
        conn.create(node, "", PERSISTENT).await.unwrap();
    }
    let (_, set) = conn.get_watch("/set").await.unwrap();
    let (_, gone) = conn.get_watch("/gone").await.unwrap();
    let (_, again) = conn.get_watch("/again").await.unwrap();
    let (_, made) = conn.exists_watch("/made").await.unwrap();
    let (_, children) = conn.children_watch("/parent").await.unwrap();
    let (_, same) = conn.get_watch("/same").await.unwrap();
    let (_, flash) = conn.exists_watch("/flash").await.unwrap();
    conn.lose_connection();
    rival.set("/set", "x", ANY).await.unwrap();
    rival.delete("/gone", ANY).await.unwrap();
    rival.delete("/again", ANY).await.unwrap();
    rival.create("/again", "", PERSISTENT).await.unwrap();
    rival.create("/made", "", PERSISTENT).await.unwrap();
    rival.create("/parent/child", "", PERSISTENT).await.unwrap();
    rival.create("/flash", "", PERSISTENT).await.unwrap();
    rival.delete("/flash", ANY).await.unwrap();
    let mut watches = [set, gone, again, made, children];
    assert!(watches.iter_mut().all(|watch| watch.now_or_never().is_none()));
    conn.join();
    let told = watches.map(|watch| watch.now_or_never().unwrap().kind);
    use EventKind::{ChildrenChanged, Created, DataChanged, Deleted, SessionEnded};
    assert_eq!(told, [DataChanged, Deleted, DataChanged, Created, ChildrenChanged]);
    // Nothing is to be seen of what happened there, so these wait on.
    rival.set("/same", "x", ANY).await.unwrap();
    assert_eq!(same.await.kind, DataChanged);
    conn.expire();
    assert_eq!(flash.await.kind, SessionEnded);
}

#[tokio::test]
async fn a_tree_watch_tells_a_gap_and_goes_on() {
    let (conn, rival) = two();
    let mut tree = conn.watch_tree("/").await.unwrap();
    conn.lose_connection();
    rival.create("/missed", "", PERSISTENT).await.unwrap();
    conn.join();
    rival.create("/seen", "", PERSISTENT).await.unwrap();
    assert_eq!(tree.next().await, Some(TreeEvent::Gap));
    let seen = Event::new(EventKind::Created, ZkPath::new("/seen").unwrap());
    assert_eq!(tree.next().await, Some(TreeEvent::Changed(seen)));
}

#[tokio::test]
async fn a_session_without_a_connection_ends_by_the_clock() {
    let (conn, rival) = two();
    let session = conn.session("/").await.unwrap();
    conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    let (_, watch) = conn.exists_watch("/none").await.unwrap();
    let (_, freed) = rival.exists_watch("/mine").await.unwrap();
    conn.lose_connection();
    conn.quorum().advance(session.timeout());
    assert_eq!(freed.await.kind, EventKind::Deleted);
    // Who is cut off does not learn of it.
    assert_eq!(session.state(), SessionState::Disconnected);
    assert!(session.valid_until().is_past());
    let waiting = conn.create("/mine", "", Mode::Ephemeral);
    conn.join();
    assert_eq!(session.lost().await, SessionState::Expired);
    assert_eq!(watch.await.kind, EventKind::SessionEnded);
    let next = conn.session("/").await.unwrap();
    assert_eq!((session.generation(), next.generation()), (1, 2));
    assert!(next.owns(&waiting.await.unwrap().1));
    assert_eq!(conn.bites().ended, 1);
}

#[tokio::test]
async fn after_an_end_the_next_call_opens_a_session() {
    let (conn, rival) = two();
    let first = conn.session("/").await.unwrap();
    conn.expire();
    let (_, stat) = conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    let second = conn.session("/").await.unwrap();
    assert!(second.owns(&stat) && !first.owns(&stat));
    assert!(rival.quorum().expire(second.id()));
    assert_eq!(conn.exists("/mine").await.unwrap(), None);
    assert_eq!(conn.session("/").await.unwrap().generation(), 3);
}

#[tokio::test]
async fn a_hold_is_lost_before_others_can_have_its_node() {
    let (conn, rival) = two();
    conn.create("/lock", "", Mode::Ephemeral).await.unwrap();
    let hold = conn.hold("/lock").await.unwrap();
    conn.lose_connection();
    conn.quorum().advance(hold.session().timeout() / 4);
    assert!(hold.is_valid());
    conn.quorum().advance(hold.session().timeout() / 4);
    assert!(!hold.is_valid() && hold.valid_until().is_past());
    assert_eq!(hold.lost().await, Loss::Unproven);
    assert!(rival.exists("/lock").await.unwrap().is_some());
    // A proof that comes too late revives nothing.
    conn.join();
    assert!(!hold.is_valid());
}

#[tokio::test]
async fn a_hold_is_lost_in_real_time_too() {
    let timeout = Duration::from_millis(60);
    let options = SessionOptions::default().with_session_timeout(timeout);
    let conn = MemoryQuorum::new().connect_with(options);
    let hold = conn.hold("/").await.unwrap();
    conn.lose_connection();
    assert_eq!(hold.lost().await, Loss::Unproven);
}

#[tokio::test]
async fn a_hold_survives_a_short_loss_and_learns_of_a_deletion() {
    let (conn, rival) = two();
    conn.create("/a", "", PERSISTENT).await.unwrap();
    conn.create("/b", "", PERSISTENT).await.unwrap();
    let (a, b) = (conn.hold("/a").await.unwrap(), conn.hold("/b").await.unwrap());
    conn.lose_connection();
    rival.delete("/a", ANY).await.unwrap();
    rival.create("/a", "", PERSISTENT).await.unwrap();
    assert!(a.is_valid());
    conn.join();
    assert_eq!(a.lost().await, Loss::Deleted);
    assert!(b.is_valid());
    conn.quorum().advance(b.session().timeout() * 3);
    assert!(b.is_valid());
    rival.delete("/b", ANY).await.unwrap();
    assert_eq!(b.lost().await, Loss::Deleted);
}

#[tokio::test]
async fn close_without_a_connection_leaves_the_session_to_its_timeout() {
    let (conn, rival) = two();
    let session = conn.session("/").await.unwrap();
    conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    let (_, watch) = conn.exists_watch("/none").await.unwrap();
    conn.lose_connection();
    let waiting = conn.get("/");
    let err = conn.close().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(session.state(), SessionState::Closed);
    assert_eq!(watch.await.kind, EventKind::SessionEnded);
    conn.join();
    assert_eq!(conn.get("/").await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(rival.exists("/mine").await.unwrap().is_some());
    rival.quorum().advance(session.timeout());
    assert_eq!(rival.exists("/mine").await.unwrap(), None);
}
