//! `remove_all`: requests, other deleters, creators, rights.

use super::*;
use crate::conn::MemoryConn;
use crate::node::{Acl, CreateOptions, Mode, Perms};
use crate::request::Op;
use crate::spy::{Spy, refuse};
use crate::tree::{create_all, create_many};

async fn wide(nodes: usize) -> MemoryConn {
    let conn = MemoryConn::new();
    let nodes = (0..nodes).map(|n| (format!("/top/{}/{n}", n % 7), ""));
    create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    conn
}

#[tokio::test]
async fn a_leaf_is_one_request() {
    let conn = MemoryConn::new();
    conn.create("/a", "", Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    assert_eq!(remove_all(&spy, "/a").await.unwrap(), 1);
    assert_eq!(spy.take(), ["delete /a"]);
    let err = remove_all(&spy, "/a").await.unwrap_err();
    assert_eq!(err.to_string(), "remove_all /a: no such node");
}

#[tokio::test]
async fn a_subtree_is_listed_by_level_and_deleted_by_batches() {
    let spy = Spy::new(wide(2000).await);
    assert_eq!(remove_all(&spy, "/top").await.unwrap(), 2008);
    assert_eq!(spy.exists("/top").await.unwrap(), None);
    let sent = spy.take();
    let multis = sent.iter().filter(|line| line.starts_with("multi")).count();
    assert_eq!(multis, 5, "four of leaves, one of all above: {sent:?}");
    assert!(sent.len() < 14, "{sent:?}");
}

/// The ancestor closed the ACL of the top, with a data version for an ACL version, and left it so
/// when a later step failed.
#[tokio::test]
async fn acls_are_not_touched() {
    let conn = MemoryConn::new();
    create_all(&conn, "/a/b/c", "", Mode::Persistent).await.unwrap();
    for _ in 0..3 {
        conn.set("/a", "other version", Version::Any).await.unwrap();
    }
    let no_delete = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    conn.set_acl("/a/b", no_delete, Version::Any).await.unwrap();
    let spy = Spy::new(conn);
    let err = remove_all(&spy, "/a").await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NoAuth, "/a/b/c"));
    assert_eq!(spy.acl("/a").await.unwrap().0, Acl::open());
    assert_eq!(spy.count("set_acl"), 0);
}

/// The ancestor reported a node that another had deleted as one that keeps being recreated.
#[tokio::test]
async fn another_deleter_is_no_error_even_for_the_top() {
    for victim in ["/a/b/c", "/a/b", "/a"] {
        let conn = MemoryConn::new();
        create_all(&conn, "/a/b/c", "", Mode::Persistent).await.unwrap();
        let victim = ZkPath::new(victim).unwrap();
        let spy = Spy::meddling(conn, move |request, other| {
            if matches!(request.op, Op::Multi(_)) {
                for path in ["/a/b/c", "/a/b", "/a"].map(|path| ZkPath::new(path).unwrap()) {
                    if path.is_in(&victim) {
                        drop(other.delete(path, Version::Any));
                    }
                }
            }
            None
        });
        remove_all(&spy, "/a").await.unwrap();
        assert_eq!(spy.exists("/a").await.unwrap(), None);
    }
    let conn = MemoryConn::new();
    create_all(&conn, "/a/b", "", Mode::Persistent).await.unwrap();
    let spy = Spy::meddling(conn, |request, other| {
        if matches!(request.op, Op::Children(_)) {
            drop(other.delete("/a/b", Version::Any));
            drop(other.delete("/a", Version::Any));
        }
        None
    });
    assert_eq!(remove_all(&spy, "/a").await.unwrap(), 0);
}

#[tokio::test]
async fn heavy_deletion_by_others_stays_linear() {
    let mut next = 0;
    let spy = Spy::meddling(wide(3000).await, move |request, other| {
        if matches!(request.op, Op::Multi(_)) {
            for _ in 0..100 {
                drop(other.delete(format!("/top/{}/{next}", next % 7), Version::Any));
                next += 1;
            }
        }
        None
    });
    let removed = remove_all(&spy, "/top").await.unwrap();
    assert!((1000..3008).contains(&removed), "{removed}");
    assert_eq!(spy.exists("/top").await.unwrap(), None);
    // At worst each node is deleted alone, after one listing.
    assert!(spy.take().len() < 3008 + 50);
}

#[tokio::test]
async fn two_at_once_both_succeed_and_share_the_work() {
    let conn = wide(1500).await;
    let other = conn.quorum().connect();
    let (one, two) = tokio::join!(remove_all(&conn, "/top"), remove_all(&other, "/top"));
    assert_eq!(one.unwrap() + two.unwrap_or(0), 1508);
}

/// The ancestor returned this raw, and called every other failure a race.
#[tokio::test]
async fn nodes_that_keep_being_created_are_contended() {
    let conn = MemoryConn::new();
    create_all(&conn, "/a/b", "", Mode::Persistent).await.unwrap();
    let mut turn = 0;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Multi(_)) {
            turn += 1;
            drop(other.create(format!("/a/b/{turn}"), "", Mode::Persistent));
        }
        None
    });
    let err = remove_all(&spy, "/a").await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Contended, "/a"));
    assert!(err.detail().unwrap().contains("/a/b"), "{err}");
}

#[tokio::test]
async fn a_node_that_is_created_once_is_deleted_too() {
    let conn = MemoryConn::new();
    create_all(&conn, "/a/b", "", Mode::Persistent).await.unwrap();
    let mut first = true;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Multi(_)) && std::mem::take(&mut first) {
            drop(other.create("/a/b/new", "", Mode::Persistent));
        }
        None
    });
    assert_eq!(remove_all(&spy, "/a").await.unwrap(), 3);
    assert_eq!(spy.exists("/a").await.unwrap(), None);
}

#[tokio::test]
async fn other_failures_keep_their_kind() {
    let conn = MemoryConn::new();
    let options = CreateOptions::default();
    create_all(&conn, "/a/b", "", options).await.unwrap();
    let spy = Spy::meddling(conn, |request, _| match request.op {
        Op::Multi(_) => refuse(request, ErrorKind::OutcomeUnknown),
        _ => None,
    });
    let err = remove_all(&spy, "/a").await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::OutcomeUnknown, "remove_all"));
    assert_eq!(remove_all(&spy, "/").await.unwrap_err().kind(), ErrorKind::BadArguments);
}
