//! What `create` makes, and what it refuses.

use std::time::Duration;

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Version};
use crate::watch::EventKind;

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
    assert!(!stat.is_ephemeral(), "{b}");
}

/// Servers keep the kind of a node in its owner, but show it to nobody.
pub async fn containers_and_ttl_nodes_show_no_owner(b: Bench) {
    for (path, mode) in [("/c", Mode::Container), ("/t", Mode::Ttl(Duration::from_secs(600)))] {
        let (_, stat) = b.ok(b.conn.create(b.at(path), "", mode).await);
        assert_eq!(stat.ephemeral_owner, 0, "{b}: {mode:?}");
        assert!(!stat.is_ephemeral(), "{b}: {mode:?}");
        assert_eq!(stat, b.stat(path).await, "{b}: {mode:?}");
    }
}

pub async fn containers_and_ttl_nodes_have_children(b: Bench) {
    for (path, mode) in [("/c", Mode::Container), ("/t", Mode::Ttl(Duration::from_secs(600)))] {
        b.ok(b.conn.create(b.at(path), "", mode).await);
        b.make(&format!("{path}/child"), "").await;
        b.refused(b.conn.delete(b.at(path), Version::Any).await, ErrorKind::NotEmpty);
    }
}

pub async fn a_container_goes_after_its_last_child(b: Bench) {
    b.ok(b.conn.create(b.at("/c"), "", Mode::Container).await);
    b.make("/c/child", "").await;
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/c")).await);
    b.delete("/c/child").await;
    assert_eq!(b.fires_at_the_next_check(watch).await, EventKind::Deleted, "{b}");
    assert!(!b.is_there("/c").await, "{b}");
}

pub async fn a_container_with_children_stays(b: Bench) {
    for path in ["/full", "/emptied"] {
        b.ok(b.conn.create(b.at(path), "", Mode::Container).await);
        b.make(&format!("{path}/child"), "").await;
    }
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/emptied")).await);
    b.delete("/emptied/child").await;
    b.fires_at_the_next_check(watch).await;
    assert!(b.is_there("/full").await, "{b}");
}

pub async fn a_ttl_node_goes_when_its_time_is_over(b: Bench) {
    let modes = [
        (Mode::Ttl(Duration::from_millis(100)), "/t"),
        (Mode::TtlSequential(Duration::from_millis(100)), "/t-0000000001"),
    ];
    let mut watches = Vec::new();
    for (_, path) in modes {
        watches.push(b.ok(b.conn.exists_watch(b.at(path)).await).1);
    }
    for ((mode, path), watch) in modes.into_iter().zip(watches) {
        let prefix = if mode.is_sequential() { "/t-" } else { "/t" };
        let (made, _) = b.ok(b.conn.create(b.at(prefix), "", mode).await);
        assert_eq!(made, b.path(path), "{b}");
        assert_eq!(b.fires(watch).await, EventKind::Created, "{b}");
        let (there, watch) = b.ok(b.conn.exists_watch(b.at(path)).await);
        if there.is_some() {
            assert_eq!(b.fires_at_the_next_check(watch).await, EventKind::Deleted, "{b}");
        }
        assert!(!b.is_there(path).await, "{b}");
    }
}

pub async fn a_ttl_node_with_children_stays(b: Bench) {
    let ttl = Mode::Ttl(Duration::from_secs(2));
    b.ok(b.conn.create(b.at("/full"), "", ttl).await);
    b.make("/full/child", "").await;
    // This one's time is over later, so once it is gone the other one has been looked at too.
    b.ok(b.conn.create(b.at("/empty"), "", ttl).await);
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/empty")).await);
    assert_eq!(b.fires_at_the_next_check(watch).await, EventKind::Deleted, "{b}");
    assert!(b.is_there("/full").await, "{b}");
}

pub async fn a_ttl_node_may_be_numbered(b: Bench) {
    let mode = Mode::TtlSequential(Duration::from_secs(600));
    let (path, stat) = b.ok(b.conn.create(b.at("/t-"), "", mode).await);
    assert_eq!(path, b.path("/t-0000000000"), "{b}");
    assert_eq!(stat, b.stat("/t-0000000000").await, "{b}");
}

pub async fn the_longest_time_to_live_is_accepted(b: Bench) {
    let mode = Mode::Ttl(Duration::from_millis(LONGEST));
    b.ok(b.conn.create(b.at("/t"), "", mode).await);
    assert!(b.is_there("/t").await, "{b}");
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
