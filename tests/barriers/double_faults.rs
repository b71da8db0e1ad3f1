//! The double barrier under faults.

use std::time::Duration;

use zkcells::fault::OpKind;
use zkcells::recipes::DoubleBarrier;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{ConnExt as _, ErrorKind, Loss, MemoryQuorum, Mode, SessionOptions, ZkConn};

use crate::support::beds::until_children;
use crate::support::forgetful::Forgetful;
use crate::support::soon;
use crate::{connect, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_lost_reply_on_the_way_in_or_out_changes_nothing() {
    for swallow in [true, false] {
        for op in [OpKind::Create, OpKind::Multi, OpKind::Check, OpKind::Delete, OpKind::Read] {
            for n in 0..3 {
                let quorum = MemoryQuorum::new();
                let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
                conn.create("/step", "", Mode::Persistent).await.unwrap();
                let theirs = DoubleBarrier::new(other, "/step", "a", 2);
                let theirs = spawned(async move { theirs.enter().await?.exit().await });
                until_children(&*conn, "/step", |names| names.len() == 1).await;
                for _ in 0..=n {
                    if swallow { conn.swallow_reply(op) } else { conn.drop_request(op) }
                }
                let ours = DoubleBarrier::new(conn.clone(), "/step", "b", 2);
                let case = format!("{op:?}, swallowed {swallow}, {n}");
                let inside = soon(&case, ours.enter()).await.unwrap();
                soon(&case, inside.exit()).await.unwrap();
                assert_eq!(end(&case, theirs).await, Ok(()));
                assert!(conn.exists("/step").await.unwrap().is_none(), "{case}");
                let bites = conn.bites();
                let bitten = bites.swallowed + bites.dropped;
                assert!(bitten > 0, "{case}: {bites:?}");
            }
        }
    }
}

/// The directory and its parents are missing, and a reply is lost while they are made.
#[tokio::test]
async fn a_lost_reply_before_the_own_node_is_made_changes_nothing() {
    let mut bitten = 0;
    for swallow in [true, false] {
        for op in [OpKind::Create, OpKind::Multi, OpKind::Read] {
            for n in 0..3 {
                let conn = connect(&MemoryQuorum::new(), MINUTE);
                for _ in 0..=n {
                    if swallow { conn.swallow_reply(op) } else { conn.drop_request(op) }
                }
                let case = format!("{op:?}, swallowed {swallow}, {n}");
                let party = DoubleBarrier::new(conn.clone(), "/a/b/step", "a", 1);
                let inside = soon(&case, party.enter()).await.unwrap();
                soon(&case, inside.exit()).await.unwrap();
                assert!(conn.exists("/a/b/step").await.unwrap().is_none(), "{case}");
                bitten += conn.bites().swallowed + conn.bites().dropped;
            }
        }
    }
    assert!(bitten >= 18, "{bitten}");
}

#[tokio::test]
async fn who_cannot_tell_whether_it_made_ready_or_took_it_away_looks() {
    for carried_out in [true, false] {
        let inner = connect(&MemoryQuorum::new(), MINUTE);
        inner.create("/step", "", Mode::Persistent).await.unwrap();
        // One to begin the round, one to end it.
        let conn = Forgetful::of(inner.clone(), 1, carried_out);
        let party = DoubleBarrier::new(conn.clone(), "/step", "a", 1);
        let inside = soon("the way in", party.enter()).await.unwrap();
        assert!(conn.is_done());
        soon("the way out", inside.exit()).await.unwrap();
        inner.create("/step", "", Mode::Persistent).await.unwrap();
        let ready = || async {
            let conn = Forgetful::of(inner.clone(), 2, carried_out);
            let inside = DoubleBarrier::new(conn.clone(), "/step", "a", 1).enter().await.unwrap();
            (conn, inside)
        };
        let (conn, inside) = soon("the way in", ready()).await;
        soon("the way out", inside.exit()).await.unwrap();
        assert!(conn.is_done() && inner.exists("/step").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_lost_watch_costs_a_session_timeout_at_most() {
    let quorum = MemoryQuorum::new();
    let short = connect(&quorum, Duration::from_millis(300));
    let other = connect(&quorum, MINUTE);
    let waiting = DoubleBarrier::new(short.clone(), "/step", "z", 3);
    let waiting = spawned(async move { waiting.enter().await });
    until_children(&*other, "/step", |names| names.len() == 1).await;
    settled(&*other, "/").await;
    // Those who count all have died, and it is not the first by name that is left.
    for id in ["b", "c"] {
        other.create(format!("/step/{id}"), "", Mode::Ephemeral).await.unwrap();
    }
    let inside = end("the next look", waiting).await.unwrap();
    assert!(inside.is_valid());
}

#[tokio::test]
async fn whose_session_ends_is_told_wherever_it_is() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let waiting = DoubleBarrier::new(conn.clone(), "/step", "a", 2);
    let again = waiting.clone();
    let waiting = spawned(async move { waiting.enter().await });
    until_children(&*other, "/step", |names| names.len() == 1).await;
    conn.expire();
    assert_eq!(end("the waiter", waiting).await.unwrap_err(), ErrorKind::SessionExpired);
    let theirs = DoubleBarrier::new(other.clone(), "/step", "b", 2);
    let theirs = spawned(async move { theirs.enter().await });
    let inside = soon("both", again.enter()).await.unwrap();
    let theirs = end("both", theirs).await.unwrap();
    conn.expire();
    assert_eq!(soon("the loss", inside.lost()).await, Loss::SessionEnded);
    assert_eq!(inside.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
    soon("the other", theirs.exit()).await.unwrap();
}

/// Polls so many times with answers that are late, and drops what is polled.
#[tokio::test]
async fn no_await_at_which_a_party_is_dropped_leaves_a_node() {
    for way_out in [false, true] {
        let mut most = 0;
        for polls in 0..15 {
            let quorum = MemoryQuorum::new();
            let (conn, other) = (connect(&quorum, 100 * MINUTE), connect(&quorum, 100 * MINUTE));
            other.create("/step", "", Mode::Persistent).await.unwrap();
            let theirs = DoubleBarrier::new(other.clone(), "/step", "b", 2);
            let theirs = tokio::spawn(async move { theirs.enter().await });
            until_children(&*other, "/step", |names| names.len() == 1).await;
            let ours = DoubleBarrier::new(conn.clone(), "/step", "a", 2);
            let mut future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = if way_out {
                let inside = ours.enter().await.unwrap();
                Box::pin(async move { drop(inside.exit().await) })
            } else {
                Box::pin(async move { drop(ours.enter().await) })
            };
            conn.delay(LATE);
            let mut ended = false;
            for _ in 0..polls {
                if futures::poll!(&mut future).is_ready() {
                    ended = true;
                    break;
                }
                quorum.advance(LATE);
                tokio::task::yield_now().await;
            }
            drop(future);
            conn.delay(Duration::ZERO);
            quorum.advance(LATE);
            theirs.abort();
            let gone = async {
                while !conn.ephemerals("/").await.unwrap().is_empty() {
                    quorum.advance(LATE);
                    tokio::task::yield_now().await;
                }
            };
            soon(&format!("the end of the node behind {polls} polls"), gone).await;
            drop(theirs.await);
            // Whatever is left lets the next ones in.
            let next = ["a", "b"].map(|id| DoubleBarrier::new(other.clone(), "/step", id, 2));
            let next = futures::future::join(next[0].enter(), next[1].enter());
            let (one, two) = soon(&format!("the next round behind {polls} polls"), next).await;
            let out = futures::future::join(one.unwrap().exit(), two.unwrap().exit());
            let (one, two) = soon("the way out", out).await;
            one.unwrap();
            two.unwrap();
            most = most.max(polls);
            // On the way out it waits for the other, who does not leave.
            if ended {
                break;
            }
        }
        assert!(most > 4, "answers were not late: {most} polls");
    }
}

/// The node of an attempt that was dropped may be there still when the next one comes.
#[tokio::test]
async fn whoever_gave_up_may_enter_again_at_once() {
    let quorum = MemoryQuorum::new();
    let conn = connect(&quorum, MINUTE);
    conn.create("/step", "", Mode::Persistent).await.unwrap();
    let party = DoubleBarrier::new(conn.clone(), "/step", "a", 1);
    for polls in 1..10 {
        conn.delay(Duration::from_millis(5));
        let mut dropped = Box::pin(party.enter());
        for _ in 0..polls {
            if futures::poll!(&mut dropped).is_ready() {
                break;
            }
            quorum.advance(Duration::from_millis(5));
        }
        drop(dropped);
        soon("the next one", party.enter()).await.unwrap().exit().await.unwrap();
    }
}

/// Inside, one is cut off: it knows before its node goes, and the others leave.
#[tokio::test]
async fn a_member_that_is_cut_off_holds_nobody_up_for_long() {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let options = || SessionOptions::default().with_session_timeout(Duration::from_secs(4));
    let cut = ZkConn::connect(&proxy.addr(), options()).await.unwrap();
    let other = ZkConn::connect(&addrs, options()).await.unwrap();
    let path = format!("/{}/step", fresh_root());
    let (ours, theirs) =
        (DoubleBarrier::new(cut, &path, "a", 2), DoubleBarrier::new(other, &path, "b", 2));
    let (ours, theirs) = futures::join!(ours.enter(), theirs.enter());
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    proxy.down();
    let leaving = spawned(theirs.exit());
    assert_eq!(soon("the loss", ours.lost()).await, Loss::Unproven);
    assert!(!leaving.is_finished(), "the others left before it was lost");
    assert_eq!(ours.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
    assert_eq!(end("the others", leaving).await, Ok(()));
    assert_eq!(proxy.bites().cut, 1);
}

/// A short outage is nothing to who waits, neither on the way in nor on the way out.
#[tokio::test]
async fn a_short_outage_is_borne() {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let options = || SessionOptions::default().with_session_timeout(Duration::from_secs(10));
    let cut = ZkConn::connect(&proxy.addr(), options()).await.unwrap();
    let other = std::sync::Arc::new(ZkConn::connect(&addrs, options()).await.unwrap());
    let path = format!("/{}/step", fresh_root());
    let ours = DoubleBarrier::new(cut, &path, "a", 2);
    let entering = spawned(async move { ours.enter().await });
    until_children(&*other, &path, |names| names.len() == 1).await;
    proxy.cut();
    let theirs = DoubleBarrier::new(other, &path, "b", 2).enter().await.unwrap();
    let ours = end("the one that was cut", entering).await.unwrap();
    let leaving = spawned(ours.exit());
    proxy.cut();
    theirs.exit().await.unwrap();
    assert_eq!(end("the one that was cut", leaving).await, Ok(()));
    assert!(proxy.bites().cut >= 1, "{:?}", proxy.bites());
}
