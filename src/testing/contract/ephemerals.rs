//! Nodes that end with their session.

use super::Bench;
use crate::conn::{Conn as _, ConnExt as _};
use crate::node::{Mode, Version};
use crate::request::Multi;
use crate::watch::EventKind;

pub async fn an_ephemeral_belongs_to_its_session(b: Bench) {
    let (_, stat) = b.ok(b.conn.create(b.at("/e"), "", Mode::Ephemeral).await);
    let session = b.session().await;
    assert_eq!(stat.ephemeral_owner, session.id(), "{b}");
    assert!(stat.is_ephemeral() && session.owns(&stat), "{b}");
}

pub async fn an_ephemeral_ends_with_its_session(b: Bench) {
    let other = b.another().await;
    b.ok(other.create(b.at("/e"), "", Mode::Ephemeral).await);
    b.ok(b.conn.sync(b.at("")).await);
    let (there, watch) = b.ok(b.conn.exists_watch(b.at("/e")).await);
    assert!(there.is_some(), "{b}");
    b.ok(other.close().await);
    assert_eq!(b.fires(watch).await, EventKind::Deleted, "{b}");
    assert!(!b.is_there("/e").await, "{b}");
}

pub async fn close_returns_when_the_ephemerals_are_gone(b: Bench) {
    let other = b.another().await;
    b.ok(other.create(b.at("/e"), "", Mode::Ephemeral).await);
    b.ok(other.close().await);
    b.ok(b.conn.sync(b.at("")).await);
    assert!(!b.is_there("/e").await, "{b}");
}

pub async fn only_ephemerals_end_with_the_session(b: Bench) {
    let other = b.another().await;
    b.ok(other.create(b.at("/p"), "stays", Mode::Persistent).await);
    b.ok(other.create(b.at("/p/e"), "", Mode::Ephemeral).await);
    b.ok(b.conn.create(b.at("/p/mine"), "", Mode::Ephemeral).await);
    b.ok(other.close().await);
    b.ok(b.conn.sync(b.at("")).await);
    assert_eq!(b.data("/p").await, "stays", "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("/p")).await).names, ["mine"], "{b}");
}

pub async fn others_may_set_and_delete_an_ephemeral(b: Bench) {
    let other = b.another().await;
    let (_, stat) = b.ok(other.create(b.at("/e"), "", Mode::Ephemeral).await);
    assert_eq!(b.set("/e", "x").await.ephemeral_owner, stat.ephemeral_owner, "{b}");
    b.delete("/e").await;
    b.ok(other.sync(b.at("")).await);
    assert!(b.ok(other.ephemerals(b.at("")).await).is_empty(), "{b}");
}

pub async fn ephemerals_lists_ours_in_order(b: Bench) {
    let other = b.another().await;
    b.make("/p", "").await;
    for name in ["/p/2", "/1", "/p/1", "/3"] {
        b.ok(b.conn.create(b.at(name), "", Mode::Ephemeral).await);
    }
    b.ok(other.create(b.at("/p/theirs"), "", Mode::Ephemeral).await);
    let ours = b.ok(b.conn.ephemerals(b.at("")).await);
    let expected = ["/1", "/3", "/p/1", "/p/2"].map(|path| b.path(path));
    assert_eq!(ours, expected, "{b}");
    let theirs = b.ok(other.ephemerals(b.at("")).await);
    assert_eq!(theirs, [b.path("/p/theirs")], "{b}");
}

/// The server compares texts; a connection compares components.
pub async fn ephemerals_are_those_at_or_below_the_path(b: Bench) {
    b.make("/a", "").await;
    b.make("/ab", "").await;
    for name in ["/a/e", "/ab/e", "/a/ee"] {
        b.ok(b.conn.create(b.at(name), "", Mode::Ephemeral).await);
    }
    let below = b.ok(b.conn.ephemerals(b.at("/a")).await);
    assert_eq!(below, [b.path("/a/e"), b.path("/a/ee")], "{b}");
    let at = b.ok(b.conn.ephemerals(b.at("/a/e")).await);
    assert_eq!(at, [b.path("/a/e")], "{b}");
}

pub async fn ephemerals_are_none_where_there_are_none(b: Bench) {
    assert!(b.ok(b.conn.ephemerals(b.at("/none")).await).is_empty(), "{b}");
    b.make("/p", "").await;
    b.ok(b.conn.create(b.at("/e"), "", Mode::Ephemeral).await);
    b.delete("/e").await;
    assert!(b.ok(b.conn.ephemerals(b.at("")).await).is_empty(), "{b}");
}

pub async fn an_ephemeral_made_in_a_multi_is_one(b: Bench) {
    let other = b.another().await;
    let both = Multi::new().create(b.at("/p"), "", Mode::Persistent).create(
        b.at("/p/e"),
        "",
        Mode::Ephemeral,
    );
    b.ok(other.multi(both).await);
    assert_eq!(b.ok(other.ephemerals(b.at("")).await), [b.path("/p/e")], "{b}");
    b.ok(other.close().await);
    b.ok(b.conn.sync(b.at("")).await);
    assert!(!b.is_there("/p/e").await, "{b}");
    b.ok(b.conn.delete(b.at("/p"), Version::Exact(0)).await);
}
