//! The simple barrier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use zkcells::fault::OpKind;
use zkcells::recipes::Barrier;
use zkcells::{
    Cells, Conn, ConnExt as _, ErrorKind, LeaveWatch, MemoryQuorum, MetaConn, Mode, Op, Pending,
    Reply, Version, Within,
};

use crate::support::altered::{Altered, Back};
use crate::support::beds::Bed;
use crate::support::soon;
use crate::{connect, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);

crate::on_each_bed![
    it_is_set_once_and_unset_by_anybody,
    it_blocks_all_who_wait_until_it_is_unset,
    an_owner_bound_one_opens_when_its_owner_goes,
    one_that_stays_outlives_its_owner,
    a_wait_has_an_end,
];

async fn it_is_set_once_and_unset_by_anybody(b: Bed) {
    let (conn, other, path) = (b.conn().await, b.conn().await, b.at("a/b/barrier"));
    let (ours, theirs) = (Barrier::new(conn.clone(), &path), Barrier::new(other, &path));
    assert_eq!(ours.unset().await.unwrap_err().kind(), ErrorKind::NoNode);
    theirs.wait().await.unwrap();
    ours.set().await.unwrap();
    for barrier in [&ours, &theirs] {
        let err = barrier.set().await.unwrap_err();
        assert_eq!((err.kind(), err.op()), (ErrorKind::NodeExists, "set"));
        assert!(err.detail().unwrap().contains(&std::process::id().to_string()), "{err}");
    }
    theirs.unset().await.unwrap();
    assert!(conn.exists(&path).await.unwrap().is_none());
    assert_eq!(theirs.unset().await.unwrap_err().kind(), ErrorKind::NoNode);
    // Data that somebody wrote is nothing to it.
    ours.set().await.unwrap();
    conn.set(&path, "", Version::Any).await.unwrap();
    theirs.unset().await.unwrap();
}

async fn it_blocks_all_who_wait_until_it_is_unset(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("barrier"));
    let barrier = Barrier::new(conn.clone(), &path);
    barrier.set().await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let one = Barrier::new(b.conn().await, &path);
        waiting.push(spawned(async move { one.wait().await }));
    }
    settled(&conn, &path).await;
    assert!(waiting.iter().all(|one| !one.is_finished()));
    barrier.unset().await.unwrap();
    for one in waiting {
        assert_eq!(end("the opening", one).await, Ok(()));
    }
}

async fn an_owner_bound_one_opens_when_its_owner_goes(b: Bed) {
    let (owner, path) = (b.conn().await, b.at("barrier"));
    let bound = Barrier::new(owner.clone(), &path).with_mode(Mode::Ephemeral);
    bound.set().await.unwrap();
    assert_eq!(bound.set().await.unwrap_err().kind(), ErrorKind::NodeExists);
    let other = Barrier::new(b.conn().await, &path);
    let waiting = spawned(async move { other.wait().await });
    owner.close().await.unwrap();
    assert_eq!(end("the opening", waiting).await, Ok(()));
}

async fn one_that_stays_outlives_its_owner(b: Bed) {
    let (owner, other, path) = (b.conn().await, b.conn().await, b.at("barrier"));
    Barrier::new(owner.clone(), &path).set().await.unwrap();
    owner.close().await.unwrap();
    assert!(other.exists(&path).await.unwrap().is_some());
}

async fn a_wait_has_an_end(b: Bed) {
    let barrier = Barrier::new(b.conn().await, b.at("barrier"));
    barrier.set().await.unwrap();
    let short = Duration::from_millis(50);
    assert_eq!(barrier.wait_within(short).await.unwrap_err().kind(), ErrorKind::Timeout);
    let err = barrier.wait_unless(tokio::time::sleep(short)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_set_whose_reply_is_lost_is_known_again() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    // Within one call.
    let barrier = Barrier::new(conn.clone(), "/barrier");
    conn.swallow_reply(OpKind::Create);
    barrier.set().await.unwrap();
    barrier.unset().await.unwrap();
    // Over two.
    let hasty = Within::new(conn.clone(), Duration::from_millis(100));
    let barrier = Barrier::new(hasty, "/barrier");
    conn.refuse();
    conn.swallow_reply(OpKind::Create);
    assert_eq!(barrier.set().await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    conn.join();
    assert_eq!(conn.bites().swallowed, 2);
    let theirs = Barrier::new(other, "/barrier").set().await.unwrap_err();
    assert_eq!(theirs.kind(), ErrorKind::NodeExists);
    barrier.set().await.unwrap();
    // That is settled: once more is one too many.
    assert_eq!(barrier.set().await.unwrap_err().kind(), ErrorKind::NodeExists);
}

#[tokio::test]
async fn a_set_that_was_dropped_is_known_again() {
    let quorum = MemoryQuorum::new();
    let conn = connect(&quorum, MINUTE);
    let barrier = Barrier::new(conn.clone(), "/barrier");
    conn.delay(Duration::from_secs(1));
    let mut set = Box::pin(barrier.set());
    assert!(futures::poll!(&mut set).is_pending());
    drop(set);
    conn.delay(Duration::ZERO);
    quorum.advance(Duration::from_secs(2));
    assert!(quorum.connect().exists("/barrier").await.unwrap().is_some(), "it was not asked for");
    barrier.set().await.unwrap();
}

#[tokio::test]
async fn an_unset_whose_reply_is_lost_is_one() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let barrier = Barrier::new(conn.clone(), "/barrier");
    for swallow in [true, false] {
        barrier.set().await.unwrap();
        if swallow {
            conn.swallow_reply(OpKind::Delete);
        } else {
            conn.drop_request(OpKind::Delete);
        }
        barrier.unset().await.unwrap();
        assert!(conn.exists("/barrier").await.unwrap().is_none());
    }
    assert_eq!((conn.bites().swallowed, conn.bites().dropped), (1, 1));
}

/// A server that has not heard yet of the closing, and does with the next `sync` or write.
fn lagging(conn: Arc<dyn Conn>) -> Arc<Altered> {
    let behind = AtomicBool::new(true);
    Altered::of(conn, move |inner, request| {
        match request.op {
            Op::Exists(_) if behind.load(SeqCst) => {
                return Pending::ready(Ok(Reply::Exists(None, None)));
            }
            Op::Sync | Op::Delete { .. } => behind.store(false, SeqCst),
            _ => {}
        }
        inner.call(request)
    })
}

#[tokio::test]
async fn an_unset_does_not_believe_a_server_that_lags_behind() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    Barrier::new(conn.clone(), "/barrier").set().await.unwrap();
    let late = Barrier::new(lagging(conn.clone()), "/barrier");
    late.unset().await.unwrap();
    assert!(conn.exists("/barrier").await.unwrap().is_none());
    assert_eq!(late.unset().await.unwrap_err().kind(), ErrorKind::NoNode);
}

/// Its server lags behind, its reply is lost, and somebody closes it again before it looks.
#[tokio::test]
async fn an_unset_opens_one_closing_and_no_later_one() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let theirs = Barrier::new(conn.clone(), "/barrier");
    theirs.set().await.unwrap();
    let (again, first) = (theirs.clone(), AtomicBool::new(true));
    let lossy = Altered::of(conn.clone(), move |inner, request| {
        if !matches!(request.op, Op::Delete { .. }) || !first.swap(false, SeqCst) {
            return inner.call(request);
        }
        let (unknown, again) = (request.error(ErrorKind::OutcomeUnknown), again.clone());
        let deleted = inner.call(request);
        Pending::new(async move {
            deleted.await?;
            again.set().await.unwrap();
            Err(unknown)
        })
    });
    Barrier::new(lagging(lossy), "/barrier").unset().await.unwrap();
    assert!(conn.exists("/barrier").await.unwrap().is_some(), "it opened the next closing");
    theirs.unset().await.unwrap();
}

/// Of two who open it at once one is told that it was open, as of two who do so one behind the other.
#[tokio::test]
async fn of_two_unsets_one_opens() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let theirs = Barrier::new(conn.clone(), "/barrier");
    theirs.set().await.unwrap();
    let (slow, deletion) = Altered::keeping(conn.clone(), Back::Request, |request| {
        matches!(request.op, Op::Delete { .. })
    });
    let ours = spawned(async move { Barrier::new(slow, "/barrier").unset().await });
    deletion.reached("the deletion").await;
    theirs.unset().await.unwrap();
    deletion.go();
    assert_eq!(end("the other", ours).await, Err(ErrorKind::NoNode));
}

/// A look takes a while, and whoever has no time at all has that for one.
#[tokio::test]
async fn whoever_does_not_wait_looks_once() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let slow = Altered::of(conn.clone(), |inner, request| {
        let inner = inner.clone();
        Pending::new(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            inner.call(request).await
        })
    });
    let barrier = Barrier::new(slow, "/barrier");
    barrier.wait_within(Duration::ZERO).await.unwrap();
    barrier.set().await.unwrap();
    let err = barrier.wait_within(Duration::ZERO).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Timeout, "wait"));
}

/// What nobody can tell is not said to be undone.
#[tokio::test]
async fn an_unset_of_unknown_outcome_is_told_so() {
    let conn = connect(&MemoryQuorum::new(), MINUTE);
    let hasty = Within::new(conn.clone(), Duration::from_millis(100));
    let barrier = Barrier::new(hasty, "/barrier");
    barrier.set().await.unwrap();
    conn.refuse();
    conn.swallow_reply(OpKind::Delete);
    let err = barrier.unset().await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::OutcomeUnknown, "unset"), "{err}");
    assert_eq!(conn.bites().swallowed, 1);
    conn.join();
    assert_eq!(barrier.unset().await.unwrap_err().kind(), ErrorKind::NoNode);
}

/// The original looked again behind the event, found the next closing, and slept on.
#[tokio::test]
async fn an_opening_that_is_closed_again_at_once_is_seen() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let theirs = Barrier::new(other.clone(), "/barrier");
    theirs.set().await.unwrap();
    let ours = Barrier::new(conn.clone(), "/barrier");
    let waiting = spawned(async move { ours.wait().await });
    settled(&*other, "/").await;
    conn.late_event(Duration::from_secs(5));
    theirs.unset().await.unwrap();
    theirs.set().await.unwrap();
    assert_eq!(conn.bites().late, 1);
    quorum.advance(Duration::from_secs(5));
    assert_eq!(end("the opening", waiting).await, Ok(()));
}

#[tokio::test]
async fn a_lost_watch_costs_a_session_timeout_at_most() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, Duration::from_millis(300)), connect(&quorum, MINUTE));
    let theirs = Barrier::new(other.clone(), "/barrier");
    theirs.set().await.unwrap();
    let ours = Barrier::new(conn.clone(), "/barrier");
    let waiting = spawned(async move { ours.wait().await });
    settled(&*other, "/").await;
    conn.late_event(100 * MINUTE);
    theirs.unset().await.unwrap();
    assert_eq!(conn.bites().late, 1);
    assert_eq!(end("the next look", waiting).await, Ok(()));
}

#[tokio::test]
async fn a_wait_bears_outages_and_the_end_of_its_session() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let theirs = Barrier::new(other.clone(), "/barrier");
    theirs.set().await.unwrap();
    let ours = Barrier::new(conn.clone(), "/barrier");
    let waiting = spawned(async move { ours.wait().await });
    settled(&*other, "/").await;
    conn.cut();
    settled(&*other, "/").await;
    conn.expire();
    settled(&*other, "/").await;
    conn.lose_connection();
    settled(&*other, "/").await;
    assert!(!waiting.is_finished());
    theirs.unset().await.unwrap();
    conn.join();
    assert_eq!(end("the opening", waiting).await, Ok(()));
    soon("the end", conn_closed(conn)).await;
}

async fn conn_closed(conn: Arc<zkcells::MemoryConn>) {
    conn.close().await.unwrap();
    let barrier = Barrier::new(conn, "/barrier");
    assert_eq!(barrier.wait().await.unwrap_err().kind(), ErrorKind::Closed);
}

/// A connection to a cell whose servers nobody ever reached.
fn dead() -> Arc<dyn Conn> {
    let text = r#"{"dead": "127.0.0.1:1"}"#;
    let cells = Cells::builder().config_json(text).local_cell("dead").build().unwrap();
    Arc::new(MetaConn::new(cells))
}

#[tokio::test]
async fn who_never_reached_a_server_is_told_why_and_does_not_wait() {
    let barrier = Barrier::new(dead(), "/zk/dead/barrier");
    for wait in [None, Some(MINUTE), Some(Duration::ZERO)] {
        let waiting = async {
            match wait {
                None => barrier.wait().await,
                Some(wait) => barrier.wait_within(wait).await,
            }
        };
        let err = soon("the answer", waiting).await.unwrap_err();
        assert_eq!((err.kind(), err.op()), (ErrorKind::NotSent, "wait"), "{wait:?}: {err}");
        assert!(err.detail().unwrap().contains("connection refused"), "{err}");
    }
}

#[tokio::test]
async fn a_cell_that_goes_away_is_waited_for() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    Barrier::new(other.clone(), "/barrier").set().await.unwrap();
    let session = conn.session("/").await.unwrap();
    let (watching, watch) = Altered::keeping(conn.clone(), Back::Answer, |request| {
        matches!(request.op, Op::Exists(LeaveWatch::Yes))
    });
    let waiting = spawned({
        let barrier = Barrier::new(watching, "/barrier");
        async move { barrier.wait().await }
    });
    watch.reached("its watch").await;
    watch.go();
    let barrier = Barrier::new(Within::new(conn.clone(), Duration::from_millis(100)), "/barrier");
    conn.lose_connection();
    crate::support::broken(&session).await;
    // Whether it is closed nobody tells, so it is not said to be.
    let err = barrier.wait_within(Duration::from_millis(250)).await.unwrap_err();
    assert_ne!(err.kind(), ErrorKind::Timeout, "{err}");
    assert!(!waiting.is_finished());
    conn.join();
    // Nor is it open.
    let err = barrier.wait_within(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
    Barrier::new(other, "/barrier").unset().await.unwrap();
    assert_eq!(end("the opening", waiting).await, Ok(()));
}

#[tokio::test]
async fn who_saw_it_closed_and_then_nothing_more_is_told_so() {
    let quorum = MemoryQuorum::new();
    let timeout = Duration::from_millis(200);
    let (conn, other) = (connect(&quorum, timeout), connect(&quorum, MINUTE));
    Barrier::new(other, "/barrier").set().await.unwrap();
    let (went, goes) = (Arc::new(AtomicBool::new(false)), conn.clone());
    // Away as soon as it has been seen.
    let seeing = Altered::of(conn, move |inner, request| {
        let sees = matches!(request.op, Op::Session) && went.swap(true, SeqCst);
        if sees {
            goes.lose_connection();
        }
        inner.call(request)
    });
    let barrier = Barrier::new(Within::new(seeing, Duration::from_millis(50)), "/barrier");
    let err = barrier.wait_within(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
    let why = err.detail().unwrap();
    assert!(why.starts_with("it was closed when a server told it last; since then "), "{err}");
}
