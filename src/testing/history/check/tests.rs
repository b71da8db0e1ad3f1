//! Small histories, allowed and not.

use std::sync::Arc;

use super::*;
use crate::conn::{ConnExt as _, MemoryConn};
use crate::node::{Mode, Stat, Version};
use crate::testing::history::History;

/// A history of one node, written by hand.
struct ByHand(History);

const UNKNOWN: Told = Told::Failed(ErrorKind::OutcomeUnknown);

fn key() -> ZkPath {
    ZkPath::new("/x").unwrap()
}

fn stat(czxid: i64, mzxid: i64, version: i32) -> Stat {
    Stat { czxid, mzxid, version, ..Stat::default() }
}

fn done(czxid: i64, mzxid: i64, version: i32) -> Told {
    Told::Done(Some(stat(czxid, mzxid, version)))
}

fn seen(data: &'static str, czxid: i64, mzxid: i64, version: i32) -> Told {
    Told::Seen(Some((Some(data.into()), stat(czxid, mzxid, version))))
}

fn create(data: &'static str) -> Asked {
    Asked::Create { data: data.into() }
}

fn set(data: &'static str) -> Asked {
    Asked::Set { data: data.into(), version: Version::Any }
}

impl ByHand {
    /// One call after the other.
    fn of(calls: impl IntoIterator<Item = (usize, Asked, Told)>) -> ByHand {
        let history = History::new();
        for (connection, asked, told) in calls {
            let place = history.asks(connection, key(), asked);
            if told != Told::Nothing {
                history.is_told(place, told);
            }
        }
        ByHand(history)
    }

    fn faults(&self) -> Vec<Fault> {
        self.0.check().violations.into_iter().map(|violation| violation.fault).collect()
    }
}

#[test]
fn what_happens_one_by_one_is_allowed() {
    let history = ByHand::of([
        (0, create("a"), done(1, 1, 0)),
        (1, create("b"), Told::Failed(ErrorKind::NodeExists)),
        (1, set("c"), done(1, 2, 1)),
        (0, Asked::Sync, Told::Done(None)),
        (0, Asked::Get, seen("c", 1, 2, 1)),
        (0, Asked::Delete { version: Version::Exact(0) }, Told::Failed(ErrorKind::BadVersion)),
        (0, Asked::Delete { version: Version::Exact(1) }, Told::Done(None)),
        (0, Asked::Get, Told::Seen(None)),
        (1, set("d"), Told::Failed(ErrorKind::NoNode)),
    ]);
    let report = history.0.check();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert_eq!(
        report.to_string(),
        "9 calls on 1 nodes: 6 writes (3 done, 3 refused, 0 failed, 0 unknown), 2 reads (1 fresh); \
         0 violations"
    );
}

#[test]
fn an_unknown_write_comes_late_or_never() {
    for last in [done(1, 2, 1), done(1, 3, 2)] {
        let history = ByHand::of([
            (0, create("a"), done(1, 1, 0)),
            (0, set("b"), UNKNOWN),
            (1, Asked::Sync, Told::Done(None)),
            (1, Asked::Get, seen("a", 1, 1, 0)),
            (1, set("c"), last),
        ]);
        assert_eq!(history.faults(), []);
    }
}

#[test]
fn a_write_told_as_failed_leaves_a_gap_in_the_versions() {
    let history = ByHand::of([
        (0, create("a"), done(1, 1, 0)),
        (0, set("b"), Told::Failed(ErrorKind::NotSent)),
        (1, set("c"), done(1, 3, 2)),
    ]);
    assert_eq!(history.faults(), [Fault::NotLinearizable]);
}

#[test]
fn a_write_told_as_failed_is_not_to_be_seen() {
    let history = ByHand::of([
        (0, create("a"), done(1, 1, 0)),
        (0, set("b"), Told::Failed(ErrorKind::NotSent)),
        (1, Asked::Get, seen("b", 1, 2, 1)),
    ]);
    assert_eq!(history.faults(), [Fault::NeverWritten]);
}

#[test]
fn a_write_that_is_done_twice_is_not_allowed() {
    let history = ByHand::of([
        (0, create("a"), done(1, 1, 0)),
        (0, set("b"), done(1, 3, 2)),
        (1, Asked::Get, seen("b", 1, 3, 2)),
    ]);
    assert_eq!(history.faults(), [Fault::NotLinearizable]);
}

#[test]
fn only_a_read_behind_a_sync_must_show_the_latest() {
    let old = |sync| {
        let calls = [
            (0, create("a"), done(1, 1, 0)),
            (0, set("b"), done(1, 2, 1)),
            (1, if sync { Asked::Sync } else { Asked::Exists }, Told::Done(None)),
            (1, Asked::Get, seen("a", 1, 1, 0)),
        ];
        ByHand::of(calls).faults()
    };
    assert_eq!(old(false), []);
    assert_eq!(old(true), [Fault::NotLinearizable]);
}

#[test]
fn a_connection_does_not_go_back() {
    let back = |connection| {
        let calls = [
            (0, create("a"), done(1, 1, 0)),
            (0, set("b"), done(1, 2, 1)),
            (connection, Asked::Get, seen("a", 1, 1, 0)),
        ];
        ByHand::of(calls).faults()
    };
    assert_eq!(back(1), [], "another connection may be behind");
    assert_eq!(back(0), [Fault::WentBack]);
}

#[test]
fn a_node_that_was_seen_is_gone_only_when_somebody_deletes_it() {
    let gone = |deleted: bool| {
        let delete = (1, Asked::Delete { version: Version::Any }, Told::Nothing);
        let calls = [(0, create("a"), done(1, 1, 0))];
        let read = [(0, Asked::Get, Told::Seen(None))];
        let calls = calls.into_iter().chain(deleted.then_some(delete)).chain(read);
        ByHand::of(calls).faults()
    };
    assert_eq!(gone(true), []);
    assert_eq!(gone(false), [Fault::WentBack]);
}

#[test]
fn a_node_that_was_gone_does_not_come_back() {
    let history = ByHand::of([
        (1, create("a"), done(1, 1, 0)),
        (0, Asked::Get, seen("a", 1, 1, 0)),
        (1, Asked::Delete { version: Version::Any }, Told::Done(None)),
        (0, Asked::Get, Told::Seen(None)),
        (0, Asked::Get, seen("a", 1, 1, 0)),
    ]);
    assert_eq!(history.faults(), [Fault::WentBack]);
}

#[test]
fn one_transaction_shows_the_same_to_everybody() {
    let history = ByHand::of([
        (0, create("a"), done(1, 1, 0)),
        (0, set("b"), UNKNOWN),
        (1, Asked::Get, seen("a", 1, 2, 1)),
        (2, Asked::Get, seen("b", 1, 2, 1)),
    ]);
    assert_eq!(history.faults(), [Fault::NeverWritten]);
}

#[tokio::test]
async fn a_write_that_is_not_understood_is_told() {
    let history = History::new();
    let conn = history.conn(Arc::new(MemoryConn::new()));
    conn.create("/x", "", Mode::Ephemeral).await.unwrap();
    let faults: Vec<Fault> = history.check().violations.iter().map(|found| found.fault).collect();
    assert_eq!(faults, [Fault::NotUnderstood]);
    assert!(conn.to_string().starts_with("history("));
}
