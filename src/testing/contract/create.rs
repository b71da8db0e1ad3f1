//! What `create` makes, and what it refuses.

use std::time::Duration;

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Version};

/// The longest time to live that ZooKeeper can store, in milliseconds.
const LONGEST: u64 = (1 << 40) - 1;

pub async fn create_returns_the_path_and_the_stat(b: Bench) {
    let (path, stat) = b.ok(b.conn.create(b.at("/a"), "data", Mode::Persistent).await);
    assert_eq!(path, b.path("/a"), "{b}");
    assert_eq!(stat, b.stat("/a").await, "{b}");
}

pub async fn create_stores_the_data(b: Bench) {
    let bytes: Vec<u8> = (0..=255).collect();
    b.ok(b.conn.create(b.at("/a"), &bytes, Mode::Persistent).await);
    let node = b.ok(b.conn.get(b.at("/a")).await);
    assert_eq!(node.data, bytes, "{b}");
}

pub async fn create_may_store_nothing(b: Bench) {
    let stat = b.make("/a", "").await;
    assert_eq!((stat.data_length, b.data("/a").await.as_str()), (0, ""), "{b}");
}

pub async fn create_wants_a_parent(b: Bench) {
    b.refused(b.conn.create(b.at("/a/b"), "", Mode::Persistent).await, ErrorKind::NoNode);
    assert!(!b.is_there("/a").await, "{b}");
}

pub async fn create_leaves_what_is_there(b: Bench) {
    let before = b.make("/a", "old").await;
    let again = b.conn.create(b.at("/a"), "new", Mode::Persistent).await;
    b.refused(again, ErrorKind::NodeExists);
    let node = b.ok(b.conn.get(b.at("/a")).await);
    assert_eq!((node.data.as_ref(), node.stat), (b"old".as_slice(), before), "{b}");
}

pub async fn create_below_an_ephemeral_is_refused(b: Bench) {
    b.ok(b.conn.create(b.at("/e"), "", Mode::Ephemeral).await);
    let below = b.conn.create(b.at("/e/a"), "", Mode::Persistent).await;
    b.refused(below, ErrorKind::NoChildrenForEphemerals);
}

pub async fn create_is_open_to_all_unless_told_otherwise(b: Bench) {
    b.make("/a", "").await;
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).0, Acl::open(), "{b}");
}

pub async fn create_after_delete_is_another_node(b: Bench) {
    let first = b.make("/a", "").await;
    b.set("/a", "x").await;
    b.delete("/a").await;
    let second = b.make("/a", "").await;
    assert!(second.czxid > first.czxid, "{b}");
    assert_eq!(second.version, 0, "{b}");
}

pub async fn create_names_itself_and_the_path_in_errors(b: Bench) {
    let err = b.conn.create(b.at("/a/b"), "", Mode::Persistent).await;
    let err = b.refused(err, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("create", b.at("/a/b").as_str()), "{b}");
}

pub async fn a_persistent_node_has_no_owner(b: Bench) {
    let stat = b.make("/a", "").await;
    assert_eq!(stat.ephemeral_owner, 0, "{b}");
    assert!(!stat.is_ephemeral() && !stat.is_container() && !stat.is_ttl(), "{b}");
}

pub async fn a_container_says_what_it_is(b: Bench) {
    let (_, stat) = b.ok(b.conn.create(b.at("/c"), "", Mode::Container).await);
    assert!(stat.is_container() && !stat.is_ephemeral() && !stat.is_ttl(), "{b}: {stat:?}");
    b.make("/c/child", "").await;
    assert!(b.stat("/c").await.is_container(), "{b}");
}

pub async fn a_ttl_node_says_what_it_is(b: Bench) {
    let mode = Mode::Ttl(Duration::from_secs(600));
    let (_, stat) = b.ok(b.conn.create(b.at("/t"), "", mode).await);
    assert!(stat.is_ttl() && !stat.is_ephemeral() && !stat.is_container(), "{b}: {stat:?}");
    assert_eq!(stat, b.stat("/t").await, "{b}");
    b.make("/t/child", "").await;
}

pub async fn a_ttl_node_may_be_numbered(b: Bench) {
    let mode = Mode::TtlSequential(Duration::from_secs(600));
    let (path, stat) = b.ok(b.conn.create(b.at("/t-"), "", mode).await);
    assert_eq!(path, b.path("/t-0000000000"), "{b}");
    assert!(stat.is_ttl(), "{b}: {stat:?}");
}

pub async fn the_longest_time_to_live_is_accepted(b: Bench) {
    let mode = Mode::Ttl(Duration::from_millis(LONGEST));
    let (_, stat) = b.ok(b.conn.create(b.at("/t"), "", mode).await);
    assert!(stat.is_ttl(), "{b}: {stat:?}");
}

pub async fn a_time_to_live_out_of_bounds_is_refused(b: Bench) {
    for ttl in [
        Duration::ZERO,
        Duration::from_micros(999),
        Duration::from_millis(LONGEST + 1),
        Duration::MAX,
    ] {
        for mode in [Mode::Ttl(ttl), Mode::TtlSequential(ttl)] {
            let refused = b.conn.create(b.at("/t"), "", mode).await;
            b.refused(refused, ErrorKind::BadArguments);
        }
    }
    assert!(b.ok(b.conn.children(b.at("")).await).names.is_empty(), "{b}");
}

pub async fn a_node_of_every_mode_can_be_set_and_deleted(b: Bench) {
    let ttl = Duration::from_secs(600);
    let modes = [
        Mode::Persistent,
        Mode::PersistentSequential,
        Mode::Ephemeral,
        Mode::EphemeralSequential,
        Mode::Container,
        Mode::Ttl(ttl),
        Mode::TtlSequential(ttl),
    ];
    for mode in modes {
        let (path, stat) = b.ok(b.conn.create(b.at("/n"), "", mode).await);
        let set = b.ok(b.conn.set(&path, "x", Version::Exact(0)).await);
        assert_eq!(set.ephemeral_owner, stat.ephemeral_owner, "{b}: {mode:?}");
        b.ok(b.conn.delete(&path, Version::Exact(1)).await);
        assert!(b.ok(b.conn.exists(&path).await).is_none(), "{b}: {mode:?}");
    }
}
