//! `create_many`: batches, what is there already, races.

use super::*;
use crate::conn::{ConnExt, MemoryConn};
use crate::node::{Acl, Mode, Perms};
use crate::request::{MAX_REQUEST, Op};
use crate::spy::{Spy, refuse};
use crate::tree::walk;

#[tokio::test]
async fn a_small_tree_is_one_look_and_one_write() {
    let spy = Spy::new(MemoryConn::new());
    let nodes = [("/a/b/c/d", "4"), ("/a/b", "2"), ("/a/b/c", "3"), ("/a/x", "5")];
    let done = create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.existed.len()), (4, 0));
    assert_eq!(spy.take(), ["read_many(1) /a", "multi(5) /a"]);
    for (path, data) in nodes {
        assert_eq!(spy.get(path).await.unwrap().data, data);
    }
}

#[tokio::test]
async fn ten_thousand_nodes_are_some_twenty_writes() {
    let spy = Spy::new(MemoryConn::new());
    let nodes = (0..10_000).map(|n| (format!("/top/{}/{n}", n % 10), format!("{n}")));
    let done = create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!(done.created, 10_000);
    let sent = spy.take();
    // The top and its ten children in one; below them batches of 500.
    assert_eq!(sent.iter().filter(|line| line.starts_with("multi")).count(), 21, "{sent:?}");
    assert_eq!(walk(&spy, "/top").await.unwrap().len(), 10_010);
}

#[tokio::test]
async fn a_batch_fits_into_a_request() {
    let spy = Spy::new(MemoryConn::new());
    let nodes = (0..50).map(|n| (format!("/big/{n}"), vec![b'x'; 100_000]));
    let done = create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!(done.created, 50);
    let err = create_many(&spy, [("/huge", vec![0; MAX_REQUEST])], Mode::Persistent).await;
    let err = err.unwrap_err();
    assert_eq!((err.kind(), err.path(), err.op()), (ErrorKind::TooLarge, "/huge", "create_many"));
}

#[tokio::test]
async fn what_is_there_already_is_left_and_reported() {
    let conn = MemoryConn::new();
    for n in (0..1200).step_by(3) {
        crate::tree::create_all(&conn, format!("/d/{n}"), "theirs", Mode::Persistent)
            .await
            .unwrap();
    }
    let spy = Spy::new(conn);
    let nodes = (0..1200).map(|n| (format!("/d/{n}"), "ours"));
    let done = create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.existed.len()), (800, 400));
    assert_eq!(spy.get("/d/3").await.unwrap().data, "theirs");
    assert_eq!(spy.get("/d/4").await.unwrap().data, "ours");
    // A look at the ancestor; then three batches of a write, a look and a write each.
    assert_eq!(spy.take().len() - 2, 1 + 3 * 3);
}

#[tokio::test]
async fn a_path_given_twice_counts_once() {
    let conn = MemoryConn::new();
    let done = create_many(&conn, [("/a", "1"), ("/a", "2")], Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.existed), (1, vec![ZkPath::new("/a").unwrap()]));
    assert_eq!(conn.get("/a").await.unwrap().data, "1");
}

/// Others create each node just before we do, in every round.
#[tokio::test]
async fn a_race_for_every_node_stays_linear() {
    let mut next = 0;
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if matches!(request.op, Op::Multi(_)) {
            drop(other.create("/d", "", Mode::Persistent));
            for _ in 0..10 {
                drop(other.create(format!("/d/{next}"), "theirs", Mode::Persistent));
                next += 1;
            }
        }
        None
    });
    let nodes = (0..400).map(|n| (format!("/d/{n}"), "ours"));
    let done = create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.existed.len()), (380, 20));
    assert!(spy.take().len() < 420);
}

#[tokio::test]
async fn cells_do_not_mix_in_a_batch() {
    let conn = MemoryConn::new();
    create_many(&conn, [("/zk/a", ""), ("/zk/b", "")], Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let nodes = [("/zk/a/1", ""), ("/zk/b/1", ""), ("/zk/a/2", "")];
    create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!(spy.take()[1..], ["multi(2) /zk/a/1", "multi(1) /zk/b/1"]);
}

#[tokio::test]
async fn ancestors_are_directories_whatever_the_options() {
    let conn = MemoryConn::new();
    let options = CreateOptions::from(Mode::Ephemeral).with_acl(vec![Acl::world(Perms::FILE)]);
    create_many(&conn, [("/a/b/1", ""), ("/a/b/2", "")], &options).await.unwrap();
    assert_eq!(conn.acl("/a/b").await.unwrap().0, Acl::open());
    assert_eq!(conn.acl("/a/b/2").await.unwrap().0, options.acl);
    assert!(conn.exists("/a/b/2").await.unwrap().unwrap().is_ephemeral());
}

#[tokio::test]
async fn a_failure_names_the_node() {
    let conn = MemoryConn::new();
    let closed = CreateOptions::default().with_acl(vec![Acl::world(Perms::READ)]);
    conn.create("/closed", "", closed).await.unwrap();
    let nodes = [("/a", ""), ("/closed/b", "")];
    let err = create_many(&conn, nodes, Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.path(), err.op()), (ErrorKind::NoAuth, "/closed/b", "create_many"));
    let mode = Mode::EphemeralSequential;
    let err = create_many(&conn, [("/a", "")], mode).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadArguments);
    let err = create_many(&conn, [("a", "")], Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::BadPath, "create_many"));
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_again() {
    let conn = MemoryConn::new();
    conn.create("/a", "", Mode::Persistent).await.unwrap();
    let mut writes = 0;
    let spy = Spy::meddling(conn, move |request, _| {
        writes += usize::from(request.op.is_write());
        if writes == 2 { refuse(request, ErrorKind::OutcomeUnknown) } else { None }
    });
    let err = create_many(&spy, [("/a", ""), ("/b", "")], Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(spy.take().len(), 3);
}

#[tokio::test]
async fn nothing_to_do_sends_nothing() {
    let spy = Spy::new(MemoryConn::new());
    let none: [(&str, &str); 0] = [];
    assert_eq!(create_many(&spy, none, Mode::Persistent).await.unwrap(), Created::default());
    assert_eq!(spy.take(), [""; 0]);
}

#[tokio::test]
async fn batches_of_one_level_overlap_up_to_eight() {
    let spy = Spy::slow(MemoryConn::new());
    let nodes = (0..10_000).map(|n| (format!("/d/{n}"), ""));
    create_many(&spy, nodes, Mode::Persistent).await.unwrap();
    assert_eq!(spy.most_in_flight(), 8);
    assert_eq!(crate::tree::remove_all(&spy, "/d").await.unwrap(), 10_001);
    assert_eq!(spy.most_in_flight(), 8);
}
