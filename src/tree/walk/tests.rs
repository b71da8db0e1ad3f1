//! `walk`: order, nodes that vanish, size.

use super::*;
use crate::conn::MemoryConn;
use crate::node::{Acl, Mode, Perms, Version};
use crate::request::Op;
use crate::spy::Spy;
use crate::tree::{create_all, create_many};

/// The ancestor's order of siblings was that of the goroutines.
#[tokio::test]
async fn subtrees_stay_together_and_siblings_are_sorted() {
    let conn = MemoryConn::new();
    for path in ["/t/a/x", "/t/a-b", "/t/a/é", "/t/B", "/t/a.c/y"] {
        create_all(&conn, path, "", Mode::Persistent).await.unwrap();
    }
    assert_eq!(
        walk(&conn, "/t").await.unwrap(),
        ["/t/B", "/t/a", "/t/a/x", "/t/a/é", "/t/a-b", "/t/a.c", "/t/a.c/y"]
    );
    let all = walk(&conn, "/").await.unwrap();
    assert!(all.iter().any(|path| path == "/t"));
}

#[tokio::test]
async fn the_top_must_be_there() {
    let conn = MemoryConn::new();
    let err = walk(&conn, "/none").await.unwrap_err();
    assert_eq!(err.to_string(), "walk /none: no such node");
}

#[tokio::test]
async fn what_vanishes_meanwhile_is_skipped() {
    let conn = MemoryConn::new();
    for path in ["/t/a/x", "/t/b"] {
        create_all(&conn, path, "", Mode::Persistent).await.unwrap();
    }
    let spy = Spy::meddling(conn, |request, other| {
        if matches!(request.op, Op::ReadMany(_)) {
            drop(other.delete("/t/b", Version::Any));
        }
        None
    });
    assert_eq!(walk(&spy, "/t").await.unwrap(), ["/t/a", "/t/a/x"]);
}

/// The ancestor told one error of many, without the path.
#[tokio::test]
async fn a_node_that_cannot_be_listed_is_named() {
    let conn = MemoryConn::new();
    create_all(&conn, "/t/a/x", "", Mode::Persistent).await.unwrap();
    conn.set_acl("/t/a", vec![Acl::world(Perms::ADMIN)], Version::Any).await.unwrap();
    let err = walk(&conn, "/t").await.unwrap_err();
    assert_eq!((err.kind(), err.path(), err.op()), (ErrorKind::NoAuth, "/t/a", "walk"));
}

#[tokio::test]
async fn a_partial_walk_goes_on_past_a_node_that_cannot_be_listed() {
    let conn = MemoryConn::new();
    for path in ["/t/a/x", "/t/b/y/z"] {
        create_all(&conn, path, "", Mode::Persistent).await.unwrap();
    }
    conn.set_acl("/t/a", vec![Acl::world(Perms::ADMIN)], Version::Any).await.unwrap();
    let walked = walk_partial(&conn, "/t").await.unwrap();
    assert_eq!(walked.paths, ["/t/a", "/t/b", "/t/b/y", "/t/b/y/z"]);
    let failed: Vec<_> = walked.failed.iter().map(|err| (err.kind(), err.path())).collect();
    assert_eq!(failed, [(ErrorKind::NoAuth, "/t/a")]);
}

#[tokio::test]
async fn a_hundred_thousand_nodes() {
    let conn = MemoryConn::new();
    let nodes = (0..100_000).map(|n| (format!("/t/{}/{}/{n}", n % 10, n % 1000), ""));
    create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let found = walk(&spy, "/t").await.unwrap();
    assert_eq!(found.len(), 101_010);
    assert!(found.is_sorted_by(|one, other| depth_first(one, other).is_lt()));
    assert!(spy.take().len() < 110);
}
