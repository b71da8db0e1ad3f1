//! What `set` and `set_acl` replace, and which versions they accept.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Acl, Perms, Version};

pub async fn set_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.set(b.at("/none"), "", Version::Any).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("set", b.at("/none").as_str()), "{b}");
    assert!(!b.is_there("/none").await, "{b}");
}

pub async fn set_with_the_right_version_replaces_the_data(b: Bench) {
    b.make("/a", "zero").await;
    for version in 0..3 {
        let data = format!("after {version}");
        let stat = b.ok(b.conn.set(b.at("/a"), &data, Version::Exact(version)).await);
        assert_eq!(stat.version, version + 1, "{b}");
        assert_eq!(b.data("/a").await, data, "{b}");
    }
}

pub async fn set_with_a_wrong_version_is_refused(b: Bench) {
    b.make("/a", "zero").await;
    b.set("/a", "one").await;
    for wrong in [0, 2, i32::MAX] {
        let err = b.conn.set(b.at("/a"), "two", Version::Exact(wrong)).await;
        b.refused(err, ErrorKind::BadVersion);
    }
    assert_eq!(b.data("/a").await, "one", "{b}");
}

pub async fn set_with_any_version_replaces_the_data(b: Bench) {
    b.make("/a", "zero").await;
    b.set("/a", "one").await;
    assert_eq!(b.set("/a", "two").await.version, 2, "{b}");
    assert_eq!(b.data("/a").await, "two", "{b}");
}

pub async fn set_counts_even_if_the_data_is_the_same(b: Bench) {
    let old = b.make("/a", "same").await;
    let new = b.set("/a", "same").await;
    assert_eq!(new.version, 1, "{b}");
    assert!(new.mzxid > old.mzxid, "{b}");
}

pub async fn set_may_empty_a_node(b: Bench) {
    b.make("/a", "full").await;
    assert_eq!(b.set("/a", "").await.data_length, 0, "{b}");
    assert_eq!(b.data("/a").await, "", "{b}");
}

pub async fn set_keeps_the_children(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    b.set("/a", "x").await;
    assert_eq!(b.ok(b.conn.children(b.at("/a")).await).names, ["b"], "{b}");
}

pub async fn set_acl_replaces_the_list(b: Bench) {
    b.make("/a", "x").await;
    let acl = vec![Acl::world(Perms::READ | Perms::ADMIN), Acl::digest(Perms::ALL, "u", "p")];
    b.ok(b.conn.set_acl(b.at("/a"), acl.clone(), Version::Any).await);
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).0, acl, "{b}");
    assert_eq!(b.data("/a").await, "x", "{b}");
}

pub async fn set_acl_wants_a_node(b: Bench) {
    let err = b.conn.set_acl(b.at("/none"), Acl::open(), Version::Any).await;
    let err = b.refused(err, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("set_acl", b.at("/none").as_str()), "{b}");
}

pub async fn set_acl_compares_the_acl_version(b: Bench) {
    b.make("/a", "").await;
    b.set("/a", "x").await;
    b.set("/a", "y").await;
    let set = |version| b.conn.set_acl(b.at("/a"), Acl::open(), Version::Exact(version));
    assert_eq!(b.ok(set(0).await).aversion, 1, "{b}");
    b.refused(set(0).await, ErrorKind::BadVersion);
    b.refused(set(2).await, ErrorKind::BadVersion);
    assert_eq!(b.ok(set(1).await).aversion, 2, "{b}");
}

/// Servers take -1 for any version: a slip in arithmetic would write without a condition.
pub async fn a_negative_version_is_refused(b: Bench) {
    b.make("/a", "kept").await;
    for version in [-1, -2, i32::MIN] {
        let wrong = Version::Exact(version);
        let refused = ErrorKind::BadArguments;
        b.refused(b.conn.set(b.at("/a"), "", wrong).await, refused);
        b.refused(b.conn.set_acl(b.at("/a"), Acl::open(), wrong).await, refused);
        b.refused(b.conn.delete(b.at("/a"), wrong).await, refused);
    }
    assert_eq!(b.data("/a").await, "kept", "{b}");
}
