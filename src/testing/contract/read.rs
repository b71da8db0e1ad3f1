//! What `get`, `children`, `exists` and `acl` show.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Acl, CreateOptions, Mode, Perms};

pub async fn get_returns_the_data_of_the_last_set(b: Bench) {
    b.make("/a", "one").await;
    b.set("/a", "two").await;
    assert_eq!(b.data("/a").await, "two", "{b}");
}

pub async fn get_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.get(b.at("/none")).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("get", b.at("/none").as_str()), "{b}");
}

pub async fn exists_tells_none_of_what_is_absent(b: Bench) {
    assert_eq!(b.ok(b.conn.exists(b.at("/none")).await), None, "{b}");
    assert_eq!(b.ok(b.conn.exists(b.at("/none/below")).await), None, "{b}");
}

pub async fn children_are_names_in_ascending_order(b: Bench) {
    b.make("/a", "").await;
    for name in ["b", "a", "B", "10", "9", "ü", "a-b", "aa", "日"] {
        b.make(&format!("/a/{name}"), "").await;
    }
    let names = b.ok(b.conn.children(b.at("/a")).await).names;
    assert_eq!(names, ["10", "9", "B", "a", "a-b", "aa", "b", "ü", "日"], "{b}");
    let (watched, _watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    assert_eq!(watched.names, names, "{b}");
}

pub async fn children_are_one_level_deep(b: Bench) {
    b.make("/a", "").await;
    b.make("/ab", "").await;
    b.make("/a/b", "").await;
    b.make("/a/b/c", "").await;
    assert_eq!(b.ok(b.conn.children(b.at("/a")).await).names, ["b"], "{b}");
}

pub async fn children_of_a_leaf_are_none(b: Bench) {
    b.make("/a", "").await;
    assert!(b.ok(b.conn.children(b.at("/a")).await).names.is_empty(), "{b}");
}

pub async fn children_want_a_node(b: Bench) {
    let err = b.refused(b.conn.children(b.at("/none")).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("children", b.at("/none").as_str()), "{b}");
}

pub async fn thousands_of_children_are_listed(b: Bench) {
    b.make("/a", "").await;
    let path = b.at("/a/a-child-with-a-long-name-");
    let made: Vec<_> =
        (0..3000).map(|_| b.conn.create(&path, "", Mode::PersistentSequential)).collect();
    for pending in made {
        b.ok(pending.await);
    }
    let children = b.ok(b.conn.children(b.at("/a")).await);
    assert_eq!((children.names.len(), children.stat.num_children), (3000, 3000), "{b}");
    assert!(children.names.is_sorted(), "{b}");
}

pub async fn acl_returns_what_create_set(b: Bench) {
    let acl = vec![Acl::world(Perms::READ | Perms::ADMIN), Acl::digest(Perms::ALL, "u", "p")];
    let options = CreateOptions::from(Mode::Persistent).with_acl(acl.clone());
    b.ok(b.conn.create(b.at("/a"), "", options).await);
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).0, acl, "{b}");
}

pub async fn acl_wants_a_node(b: Bench) {
    let err = b.refused(b.conn.acl(b.at("/none")).await, ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("acl", b.at("/none").as_str()), "{b}");
}
