//! Requests leave in the order of the calls, whoever awaits what.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Mode, Version};
use crate::request::Multi;
use crate::watch::EventKind;

/// More than fit into a connection's window.
const MANY: usize = 300;

pub async fn many_creates_are_numbered_in_the_order_of_the_calls(b: Bench) {
    let calls: Vec<_> =
        (0..MANY).map(|_| b.conn.create(b.at("/n-"), "", Mode::PersistentSequential)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        let (path, _) = b.ok(call.await);
        assert_eq!(path.name(), format!("n-{n:010}"), "{b}");
    }
}

pub async fn replies_may_be_awaited_in_any_order(b: Bench) {
    let calls: Vec<_> =
        (0..MANY).map(|_| b.conn.create(b.at("/n-"), "", Mode::PersistentSequential)).collect();
    for (n, call) in calls.into_iter().enumerate().rev() {
        let (path, _) = b.ok(call.await);
        assert_eq!(path.name(), format!("n-{n:010}"), "{b}");
    }
}

pub async fn a_read_sees_the_write_called_before_it(b: Bench) {
    b.make("/a", "zero").await;
    for n in 0..MANY {
        let data = n.to_string();
        let set = b.conn.set(b.at("/a"), &data, Version::Any);
        let get = b.conn.get(b.at("/a"));
        assert_eq!(b.ok(get.await).data, data, "{b}");
        b.ok(set.await);
    }
}

pub async fn a_read_does_not_see_the_write_called_after_it(b: Bench) {
    b.make("/a", "old").await;
    let get = b.conn.get(b.at("/a"));
    let set = b.conn.set(b.at("/a"), "new", Version::Any);
    b.ok(set.await);
    assert_eq!(b.ok(get.await).data, "old", "{b}");
}

pub async fn writes_apply_in_the_order_of_the_calls(b: Bench) {
    b.make("/a", "").await;
    let calls: Vec<_> =
        (0..100).map(|n| b.conn.set(b.at("/a"), n.to_string(), Version::Exact(n))).collect();
    for call in calls {
        b.ok(call.await);
    }
    assert_eq!(b.data("/a").await, "99", "{b}");
}

pub async fn operations_of_all_kinds_keep_their_order(b: Bench) {
    let path = b.at("/a");
    let create = b.conn.create(&path, "1", Mode::Persistent);
    let exists = b.conn.exists(&path);
    let multi = b.conn.multi(Multi::new().set(&path, "2", Version::Exact(0)));
    let get = b.conn.get(&path);
    let children = b.conn.children(b.at(""));
    let delete = b.conn.delete(&path, Version::Exact(1));
    let gone = b.conn.exists(&path);
    let again = b.conn.create(&path, "3", Mode::Persistent);
    assert!(b.ok(gone.await).is_none(), "{b}");
    assert!(b.ok(exists.await).is_some(), "{b}");
    assert_eq!(b.ok(get.await).data, "2", "{b}");
    assert_eq!(b.ok(children.await).names, ["a"], "{b}");
    b.ok(create.await);
    b.ok(multi.await);
    b.ok(delete.await);
    b.ok(again.await);
    assert_eq!(b.data("/a").await, "3", "{b}");
}

pub async fn a_refused_call_does_not_hold_up_the_next(b: Bench) {
    let refused = b.conn.get(b.at("/none"));
    let create = b.conn.create(b.at("/a"), "", Mode::Persistent);
    b.ok(create.await);
    b.refused(refused.await, ErrorKind::NoNode);
}

pub async fn a_watch_stands_between_the_calls_around_it(b: Bench) {
    b.make("/a", "").await;
    let first = b.conn.set(b.at("/a"), "first", Version::Any);
    let watched = b.conn.get_watch(b.at("/a"));
    let second = b.conn.set(b.at("/a"), "second", Version::Any);
    let (node, watch) = b.ok(watched.await);
    assert_eq!(node.data, "first", "{b}");
    assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
    b.ok(first.await);
    b.ok(second.await);
}

pub async fn sync_shows_what_others_were_told_was_written(b: Bench) {
    let other = b.another().await;
    b.make("/a", "").await;
    for n in 0..50 {
        let data = n.to_string();
        b.set("/a", &data).await;
        b.ok(other.sync(b.at("/a")).await);
        assert_eq!(b.ok(other.get(b.at("/a")).await).data, data, "{b}");
    }
}

pub async fn sync_needs_no_node(b: Bench) {
    b.ok(b.conn.sync(b.at("/none")).await);
    b.ok(b.conn.sync(b.at("/none/below")).await);
}

pub async fn sync_changes_nothing(b: Bench) {
    b.make("/a", "").await;
    let before = b.stat("/a").await;
    b.ok(b.conn.sync(b.at("/a")).await);
    assert_eq!(b.stat("/a").await, before, "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, ["a"], "{b}");
}
