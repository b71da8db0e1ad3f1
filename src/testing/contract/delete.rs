//! What `delete` removes, and what it refuses.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::Version;

pub async fn delete_removes_a_leaf(b: Bench) {
    b.make("/a", "").await;
    b.make("/ab", "").await;
    b.delete("/a").await;
    assert!(!b.is_there("/a").await, "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, ["ab"], "{b}");
}

pub async fn delete_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.delete(b.at("/none"), Version::Any).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("delete", b.at("/none").as_str()), "{b}");
    let below = b.conn.delete(b.at("/none/below"), Version::Any).await;
    b.refused(below, ErrorKind::NoNode);
}

pub async fn delete_of_a_node_with_children_is_refused(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    b.refused(b.conn.delete(b.at("/a"), Version::Any).await, ErrorKind::NotEmpty);
    assert!(b.is_there("/a/b").await, "{b}");
}

pub async fn delete_of_a_node_that_lost_its_children_succeeds(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    b.delete("/a/b").await;
    b.delete("/a").await;
    assert!(!b.is_there("/a").await, "{b}");
}

pub async fn delete_with_the_right_version_succeeds(b: Bench) {
    b.make("/a", "").await;
    b.set("/a", "x").await;
    b.ok(b.conn.delete(b.at("/a"), Version::Exact(1)).await);
    assert!(!b.is_there("/a").await, "{b}");
}

pub async fn delete_with_a_wrong_version_is_refused(b: Bench) {
    b.make("/a", "").await;
    b.set("/a", "x").await;
    for wrong in [0, 2] {
        let err = b.conn.delete(b.at("/a"), Version::Exact(wrong)).await;
        b.refused(err, ErrorKind::BadVersion);
    }
    assert!(b.is_there("/a").await, "{b}");
}

/// Who asks with a wrong version learns that first: the children may be news too.
pub async fn delete_looks_at_the_version_before_the_children(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    b.refused(b.conn.delete(b.at("/a"), Version::Exact(7)).await, ErrorKind::BadVersion);
}

pub async fn delete_twice_is_no_such_node(b: Bench) {
    b.make("/a", "").await;
    b.delete("/a").await;
    b.refused(b.conn.delete(b.at("/a"), Version::Any).await, ErrorKind::NoNode);
}
