//! Watches that fire once: for which changes, in which order, and what withdraws them.

use super::Bench;
use crate::conn::{Conn as _, ConnExt as _};
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Version};
use crate::request::Multi;
use crate::watch::EventKind;

pub async fn get_watch_fires_for_new_data(b: Bench) {
    b.make("/a", "old").await;
    let (node, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
    assert_eq!(node.data, "old", "{b}");
    b.set("/a", "new").await;
    assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
}

pub async fn get_watch_fires_for_the_nodes_end(b: Bench) {
    b.make("/a", "").await;
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
    b.delete("/a").await;
    b.make("/a", "").await;
    assert_eq!(b.fires(watch).await, EventKind::Deleted, "{b}");
}

pub async fn get_watch_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.get_watch(b.at("/none")).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("get", b.at("/none").as_str()), "{b}");
    // The refused one left nothing behind that would disturb the next.
    b.make("/none", "").await;
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/none")).await);
    b.set("/none", "x").await;
    assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
}

pub async fn get_watch_ignores_children(b: Bench) {
    b.make("/a", "").await;
    let (_, mut watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
    b.make("/a/b", "").await;
    b.set("/a/b", "x").await;
    b.delete("/a/b").await;
    b.is_quiet(&mut watch).await;
}

pub async fn exists_watch_fires_for_a_creation(b: Bench) {
    let (absent, watch) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    assert_eq!(absent, None, "{b}");
    b.make("/a", "").await;
    assert_eq!(b.fires(watch).await, EventKind::Created, "{b}");
}

pub async fn exists_watch_fires_for_a_creation_whose_parent_was_missing(b: Bench) {
    let (_, watch) = b.ok(b.conn.exists_watch(b.at("/a/b")).await);
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    assert_eq!(b.fires(watch).await, EventKind::Created, "{b}");
}

pub async fn exists_watch_fires_for_new_data(b: Bench) {
    let made = b.make("/a", "").await;
    let (there, watch) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    assert_eq!(there, Some(made), "{b}");
    b.set("/a", "x").await;
    assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
}

pub async fn exists_watch_fires_for_the_nodes_end(b: Bench) {
    b.make("/a", "").await;
    let (_, watch) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    b.delete("/a").await;
    assert_eq!(b.fires(watch).await, EventKind::Deleted, "{b}");
}

pub async fn exists_watch_ignores_children(b: Bench) {
    b.make("/a", "").await;
    let (_, mut watch) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    b.make("/a/b", "").await;
    b.delete("/a/b").await;
    b.is_quiet(&mut watch).await;
}

pub async fn children_watch_fires_for_a_new_child(b: Bench) {
    b.make("/a", "").await;
    let (_, watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.make("/a/b", "").await;
    assert_eq!(b.fires(watch).await, EventKind::ChildrenChanged, "{b}");
}

pub async fn children_watch_fires_for_a_childs_end(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    let (_, watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.delete("/a/b").await;
    assert_eq!(b.fires(watch).await, EventKind::ChildrenChanged, "{b}");
}

pub async fn children_watch_fires_for_the_nodes_own_end(b: Bench) {
    b.make("/a", "").await;
    let (_, watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.delete("/a").await;
    assert_eq!(b.fires(watch).await, EventKind::Deleted, "{b}");
}

pub async fn children_watch_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.children_watch(b.at("/none")).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("children", b.at("/none").as_str()), "{b}");
}

pub async fn children_watch_ignores_data_and_grandchildren(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    let (_, mut watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.set("/a", "x").await;
    b.set("/a/b", "x").await;
    b.make("/a/b/c", "").await;
    b.delete("/a/b/c").await;
    b.is_quiet(&mut watch).await;
}

pub async fn watches_ignore_siblings_and_like_names(b: Bench) {
    for name in ["/a", "/ab", "/b"] {
        b.make(name, "").await;
    }
    let (_, mut get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, mut children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    for name in ["/ab", "/b"] {
        b.set(name, "x").await;
        b.make(&format!("{name}/c"), "").await;
    }
    b.is_quiet(&mut get).await;
    b.is_quiet(&mut children).await;
}

/// ZooKeeper's way, so whoever caches ACLs must look again by himself.
pub async fn set_acl_fires_no_watch(b: Bench) {
    b.make("/a", "").await;
    let (_, mut get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, mut exists) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    let (_, mut children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.ok(b.conn.set_acl(b.at("/a"), Acl::open(), Version::Any).await);
    b.is_quiet(&mut get).await;
    b.is_quiet(&mut exists).await;
    b.is_quiet(&mut children).await;
}

pub async fn refused_writes_fire_no_watch(b: Bench) {
    b.make("/a", "").await;
    let (_, mut get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, mut absent) = b.ok(b.conn.exists_watch(b.at("/b")).await);
    assert!(b.conn.set(b.at("/a"), "x", Version::Exact(7)).await.is_err(), "{b}");
    let half = Multi::new()
        .set(b.at("/a"), "x", Version::Any)
        .create(b.at("/b"), "", Mode::Persistent)
        .check(b.at("/none"), Version::Any);
    assert!(b.conn.multi(half).await.is_err(), "{b}");
    b.is_quiet(&mut get).await;
    b.is_quiet(&mut absent).await;
}

pub async fn a_watch_is_left_anew_after_it_fired(b: Bench) {
    b.make("/a", "").await;
    for n in 0..5 {
        let (node, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
        assert_eq!(node.stat.version, n, "{b}");
        b.set("/a", "x").await;
        assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
    }
}

pub async fn a_watch_names_its_path(b: Bench) {
    b.make("/a", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, exists) = b.ok(b.conn.exists_watch(b.at("/none")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("")).await);
    assert_eq!(get.path(), &b.path("/a"), "{b}");
    assert_eq!(exists.path(), &b.path("/none"), "{b}");
    assert_eq!(children.path(), &b.path(""), "{b}");
    b.delete("/a").await;
    assert_eq!(get.await.path, b.path("/a"), "{b}");
}

pub async fn watches_fire_for_what_others_do(b: Bench) {
    let other = b.another().await;
    b.make("/a", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    let (_, absent) = b.ok(b.conn.exists_watch(b.at("/a/b")).await);
    b.ok(other.set(b.at("/a"), "x", Version::Any).await);
    b.ok(other.create(b.at("/a/b"), "", Mode::Persistent).await);
    assert_eq!(b.fires(get).await, EventKind::DataChanged, "{b}");
    assert_eq!(b.fires(children).await, EventKind::ChildrenChanged, "{b}");
    assert_eq!(b.fires(absent).await, EventKind::Created, "{b}");
}

pub async fn watches_fire_for_the_end_of_an_ephemeral(b: Bench) {
    let other = b.another().await;
    b.make("/a", "").await;
    b.ok(other.create(b.at("/a/e"), "", Mode::Ephemeral).await);
    b.ok(b.conn.sync(b.at("")).await);
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a/e")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.ok(other.close().await);
    assert_eq!(b.fires(get).await, EventKind::Deleted, "{b}");
    assert_eq!(b.fires(children).await, EventKind::ChildrenChanged, "{b}");
}

pub async fn watches_fire_for_the_steps_of_a_multi(b: Bench) {
    b.make("/a", "").await;
    b.make("/old", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, old) = b.ok(b.conn.exists_watch(b.at("/old")).await);
    let (_, new) = b.ok(b.conn.exists_watch(b.at("/new")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("")).await);
    let all = Multi::new()
        .set(b.at("/a"), "x", Version::Any)
        .delete(b.at("/old"), Version::Any)
        .create(b.at("/new"), "", Mode::Persistent);
    b.ok(b.conn.multi(all).await);
    assert_eq!(b.has_fired(get), EventKind::DataChanged, "{b}");
    assert_eq!(b.has_fired(old), EventKind::Deleted, "{b}");
    assert_eq!(b.has_fired(new), EventKind::Created, "{b}");
    assert_eq!(b.has_fired(children), EventKind::ChildrenChanged, "{b}");
}

pub async fn a_watch_is_no_later_than_the_reply_to_our_write(b: Bench) {
    b.make("/a", "").await;
    for _ in 0..20 {
        let (_, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
        b.set("/a", "x").await;
        assert_eq!(b.has_fired(watch), EventKind::DataChanged, "{b}");
    }
}

pub async fn a_watch_is_no_later_than_the_read_that_shows_the_change(b: Bench) {
    let other = b.another().await;
    b.make("/a", "").await;
    for n in 1..=20 {
        let (_, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
        let set = other.set(b.at("/a"), "x", Version::Any);
        while b.stat("/a").await.version < n {
            // A stand-in answers without waiting; the suite's own time limit needs its turn.
            tokio::task::yield_now().await;
        }
        assert_eq!(b.has_fired(watch), EventKind::DataChanged, "{b}");
        b.ok(set.await);
    }
}

pub async fn two_watches_on_a_path_both_fire(b: Bench) {
    b.make("/a", "").await;
    let (_, first) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, second) = b.ok(b.conn.get_watch(b.at("/a")).await);
    b.set("/a", "x").await;
    assert_eq!(b.fires(first).await, EventKind::DataChanged, "{b}");
    assert_eq!(b.fires(second).await, EventKind::DataChanged, "{b}");
}

pub async fn watches_of_all_kinds_on_a_path_fire(b: Bench) {
    b.make("/a", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, exists) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.delete("/a").await;
    assert_eq!(b.fires(get).await, EventKind::Deleted, "{b}");
    assert_eq!(b.fires(exists).await, EventKind::Deleted, "{b}");
    assert_eq!(b.fires(children).await, EventKind::Deleted, "{b}");
}

pub async fn dropping_a_watch_leaves_the_other_one(b: Bench) {
    b.make("/a", "").await;
    for drop_first in [true, false] {
        let (_, first) = b.ok(b.conn.get_watch(b.at("/a")).await);
        let (_, second) = b.ok(b.conn.get_watch(b.at("/a")).await);
        let (dropped, kept) = if drop_first { (first, second) } else { (second, first) };
        drop(dropped);
        b.settle(&b.conn).await;
        b.set("/a", "x").await;
        assert_eq!(b.fires(kept).await, EventKind::DataChanged, "{b}");
    }
}

pub async fn dropping_a_watch_leaves_those_of_other_kinds(b: Bench) {
    b.make("/a", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, exists) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    drop(get);
    b.settle(&b.conn).await;
    b.make("/a/b", "").await;
    assert_eq!(b.fires(children).await, EventKind::ChildrenChanged, "{b}");
    b.set("/a", "x").await;
    assert_eq!(b.fires(exists).await, EventKind::DataChanged, "{b}");
}

/// Withdrawing the first one on the server must not take the second one along.
pub async fn a_watch_left_right_after_another_was_dropped_fires(b: Bench) {
    b.make("/a", "").await;
    for _ in 0..50 {
        let (_, dropped) = b.ok(b.conn.get_watch(b.at("/a")).await);
        drop(dropped);
        let (_, kept) = b.ok(b.conn.get_watch(b.at("/a")).await);
        b.set("/a", "x").await;
        assert_eq!(b.fires(kept).await, EventKind::DataChanged, "{b}");
    }
}

pub async fn a_watch_left_while_another_is_dropped_fires(b: Bench) {
    b.make("/a", "").await;
    for _ in 0..50 {
        let (_, dropped) = b.ok(b.conn.get_watch(b.at("/a")).await);
        let kept = b.conn.get_watch(b.at("/a"));
        drop(dropped);
        let (_, kept) = b.ok(kept.await);
        b.set("/a", "x").await;
        assert_eq!(b.fires(kept).await, EventKind::DataChanged, "{b}");
    }
}

/// The one and the other may come to the server after the node has changed meanwhile.
pub async fn a_watch_dropped_unread_disturbs_nobody(b: Bench) {
    b.make("/a", "").await;
    for _ in 0..20 {
        drop(b.conn.get_watch(b.at("/a")));
        drop(b.conn.exists_watch(b.at("/none")));
        drop(b.conn.children_watch(b.at("/a")));
        let (_, kept) = b.ok(b.conn.get_watch(b.at("/a")).await);
        b.set("/a", "x").await;
        assert_eq!(b.fires(kept).await, EventKind::DataChanged, "{b}");
    }
}

pub async fn watches_on_many_paths_all_fire(b: Bench) {
    let made: Vec<_> =
        (0..200).map(|n| b.conn.create(b.at(&format!("/{n}")), "", Mode::Persistent)).collect();
    for pending in made {
        b.ok(pending.await);
    }
    let left: Vec<_> = (0..200).map(|n| b.conn.get_watch(b.at(&format!("/{n}")))).collect();
    let mut watches = Vec::new();
    for pending in left {
        watches.push(b.ok(pending.await).1);
    }
    let set: Vec<_> =
        (0..200).map(|n| b.conn.set(b.at(&format!("/{n}")), "x", Version::Any)).collect();
    for pending in set {
        b.ok(pending.await);
    }
    for watch in watches {
        assert_eq!(b.fires(watch).await, EventKind::DataChanged, "{b}");
    }
}

pub async fn watches_tell_the_end_of_their_session(b: Bench) {
    b.make("/a", "").await;
    let (_, get) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (_, absent) = b.ok(b.conn.exists_watch(b.at("/none")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/a")).await);
    b.ok(b.conn.close().await);
    assert_eq!(b.fires(get).await, EventKind::SessionEnded, "{b}");
    assert_eq!(b.fires(absent).await, EventKind::SessionEnded, "{b}");
    assert_eq!(b.fires(children).await, EventKind::SessionEnded, "{b}");
}
