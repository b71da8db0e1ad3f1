//! What each change does to the eleven facts about a node, and what it leaves alone.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::node::{Acl, Mode, Perms, Stat, Version};

pub async fn a_new_node_starts_all_its_counters(b: Bench) {
    let stat = b.make("/a", "four").await;
    assert!(stat.czxid > 0 && stat.ctime > 0, "{b}: {stat:?}");
    let expected = Stat {
        czxid: stat.czxid,
        mzxid: stat.czxid,
        pzxid: stat.czxid,
        ctime: stat.ctime,
        mtime: stat.ctime,
        data_length: 4,
        ..Stat::default()
    };
    assert_eq!(stat, expected, "{b}");
}

pub async fn set_moves_the_data_facts_only(b: Bench) {
    let old = b.make("/a", "").await;
    let new = b.set("/a", "seven..").await;
    assert!(new.mzxid > old.mzxid && new.mtime >= old.mtime, "{b}: {new:?}");
    let expected = Stat { mzxid: new.mzxid, mtime: new.mtime, version: 1, data_length: 7, ..old };
    assert_eq!(new, expected, "{b}");
    assert_eq!(b.stat("/a").await, new, "{b}");
}

pub async fn set_acl_moves_the_acl_version_only(b: Bench) {
    let old = b.make("/a", "x").await;
    let acl = [Acl::world(Perms::FILE)];
    let new = b.ok(b.conn.set_acl(b.at("/a"), acl, Version::Any).await);
    assert_eq!(new, Stat { aversion: 1, ..old }, "{b}");
    assert_eq!(b.stat("/a").await, new, "{b}");
}

pub async fn a_new_child_moves_the_child_facts_only(b: Bench) {
    let old = b.make("/a", "").await;
    let child = b.make("/a/c", "").await;
    let new = b.stat("/a").await;
    let expected = Stat { pzxid: child.czxid, cversion: 1, num_children: 1, ..old };
    assert_eq!(new, expected, "{b}");
}

pub async fn a_deleted_child_moves_the_child_facts_only(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/c", "").await;
    let old = b.stat("/a").await;
    b.delete("/a/c").await;
    let new = b.stat("/a").await;
    assert!(new.pzxid > old.pzxid, "{b}");
    let expected = Stat { pzxid: new.pzxid, cversion: 2, num_children: 0, ..old };
    assert_eq!(new, expected, "{b}");
}

pub async fn the_child_version_counts_comings_and_goings(b: Bench) {
    b.make("/a", "").await;
    for name in ["/a/1", "/a/2", "/a/3"] {
        b.make(name, "").await;
    }
    b.delete("/a/2").await;
    let stat = b.stat("/a").await;
    assert_eq!((stat.cversion, stat.num_children), (4, 2), "{b}");
}

pub async fn what_happens_to_a_child_leaves_its_parent_alone(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/c", "").await;
    let before = b.stat("/a").await;
    b.set("/a/c", "x").await;
    b.ok(b.conn.set_acl(b.at("/a/c"), Acl::open(), Version::Any).await);
    b.make("/a/c/grandchild", "").await;
    b.delete("/a/c/grandchild").await;
    assert_eq!(b.stat("/a").await, before, "{b}");
}

pub async fn a_refused_write_moves_nothing(b: Bench) {
    b.make("/a", "").await;
    let before = b.stat("/a").await;
    let wrong = Version::Exact(7);
    assert!(b.conn.set(b.at("/a"), "x", wrong).await.is_err(), "{b}");
    assert!(b.conn.set_acl(b.at("/a"), Acl::open(), wrong).await.is_err(), "{b}");
    assert!(b.conn.delete(b.at("/a"), wrong).await.is_err(), "{b}");
    assert!(b.conn.delete(b.at("/a/none"), Version::Any).await.is_err(), "{b}");
    assert_eq!(b.stat("/a").await, before, "{b}");
}

pub async fn the_end_of_a_session_counts_as_deletes_do(b: Bench) {
    b.make("/a", "").await;
    let other = b.another().await;
    b.ok(other.create(b.at("/a/e"), "", Mode::Ephemeral).await);
    let old = b.stat("/a").await;
    b.ok(other.close().await);
    b.ok(b.conn.sync(b.at("")).await);
    let new = b.stat("/a").await;
    assert!(new.pzxid > old.pzxid, "{b}");
    assert_eq!((new.cversion, new.num_children), (2, 0), "{b}");
}

pub async fn transaction_ids_grow_with_every_write(b: Bench) {
    let mut last = b.make("/a", "").await.czxid;
    for n in 0..10 {
        let next = if n % 2 == 0 {
            b.set("/a", "x").await.mzxid
        } else {
            b.make(&format!("/{n}"), "").await.czxid
        };
        assert!(next > last, "{b}: {next} after {last}");
        last = next;
    }
}

pub async fn all_reads_tell_the_same_stat(b: Bench) {
    b.make("/a", "data").await;
    b.make("/a/c", "").await;
    let stat = b.stat("/a").await;
    assert_eq!(b.ok(b.conn.get(b.at("/a")).await).stat, stat, "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("/a")).await).stat, stat, "{b}");
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).1, stat, "{b}");
    let (node, _watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let (children, _watch) = b.ok(b.conn.children_watch(b.at("/a")).await);
    let (exists, _watch) = b.ok(b.conn.exists_watch(b.at("/a")).await);
    assert_eq!([node.stat, children.stat, exists.unwrap()], [stat; 3], "{b}");
}

pub async fn all_sessions_are_told_the_same_stat(b: Bench) {
    b.make("/a", "data").await;
    let set = b.set("/a", "other").await;
    let other = b.another().await;
    b.ok(other.sync(b.at("")).await);
    assert_eq!(b.ok(other.exists(b.at("/a")).await), Some(set), "{b}");
}
