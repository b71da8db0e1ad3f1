//! Tree watches: what they tell, and that other watches on their path leave them alone.

use super::Bench;
use crate::conn::{Conn as _, ConnExt as _};
use crate::node::{Acl, Mode, Version};
use crate::request::Multi;
use crate::watch::EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
use crate::watch::{TreeEvent, TreeWatch, Watch};

pub async fn a_tree_watch_tells_what_happens_below(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.make("/p/a", "").await;
    b.make("/p/a/b", "").await;
    b.set("/p/a/b", "x").await;
    b.delete("/p/a/b").await;
    b.set("/p/a", "x").await;
    let told = [
        (Created, "/p/a"),
        (Created, "/p/a/b"),
        (DataChanged, "/p/a/b"),
        (Deleted, "/p/a/b"),
        (DataChanged, "/p/a"),
    ];
    b.tells(&mut tree, &told).await;
    b.tree_is_quiet(&mut tree).await;
}

pub async fn a_tree_watch_tells_what_happens_to_its_own_node(b: Bench) {
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.make("/p", "").await;
    b.set("/p", "x").await;
    b.delete("/p").await;
    b.make("/p", "").await;
    let told = [(Created, "/p"), (DataChanged, "/p"), (Deleted, "/p"), (Created, "/p")];
    b.tells(&mut tree, &told).await;
    b.tree_is_quiet(&mut tree).await;
}

pub async fn a_tree_watch_goes_on_when_its_node_comes_back(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.delete("/p").await;
    b.make("/p", "").await;
    b.make("/p/a", "").await;
    b.tells(&mut tree, &[(Deleted, "/p"), (Created, "/p"), (Created, "/p/a")]).await;
}

pub async fn a_tree_watch_names_its_path(b: Bench) {
    let tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    assert_eq!(tree.path(), &b.path("/p"), "{b}");
}

pub async fn a_tree_watch_ignores_what_lies_beside(b: Bench) {
    b.make("/a", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/a")).await);
    for name in ["/ab", "/b", "/a-"] {
        b.make(name, "").await;
        b.set(name, "x").await;
        b.make(&format!("{name}/a"), "").await;
    }
    b.set("", "x").await;
    b.tree_is_quiet(&mut tree).await;
}

pub async fn a_tree_watch_ignores_acls_and_refused_writes(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.ok(b.conn.set_acl(b.at("/p"), Acl::open(), Version::Any).await);
    assert!(b.conn.set(b.at("/p"), "x", Version::Exact(7)).await.is_err(), "{b}");
    let half =
        Multi::new().create(b.at("/p/a"), "", Mode::Persistent).check(b.at("/none"), Version::Any);
    assert!(b.conn.multi(half).await.is_err(), "{b}");
    b.tree_is_quiet(&mut tree).await;
}

pub async fn a_tree_watch_tells_the_steps_of_a_multi_in_order(b: Bench) {
    b.make("/p", "").await;
    b.make("/p/old", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let all = Multi::new()
        .create(b.at("/p/new"), "", Mode::Persistent)
        .set(b.at("/p"), "x", Version::Any)
        .check(b.at("/p"), Version::Any)
        .delete(b.at("/p/old"), Version::Any);
    b.ok(b.conn.multi(all).await);
    b.tells(&mut tree, &[(Created, "/p/new"), (DataChanged, "/p"), (Deleted, "/p/old")]).await;
    b.tree_is_quiet(&mut tree).await;
}

pub async fn a_tree_watch_tells_what_others_do(b: Bench) {
    let other = b.another().await;
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.ok(other.create(b.at("/p/e"), "", Mode::Ephemeral).await);
    b.ok(other.close().await);
    b.tells(&mut tree, &[(Created, "/p/e"), (Deleted, "/p/e")]).await;
}

pub async fn a_tree_watch_tells_many_changes_in_order(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let made: Vec<_> =
        (0..1000).map(|_| b.conn.create(b.at("/p/"), "", Mode::PersistentSequential)).collect();
    for n in 0..1000 {
        assert_eq!(b.told(&mut tree).await, (Created, format!("/p/{n:010}")), "{b}");
    }
    for pending in made {
        b.ok(pending.await);
    }
}

pub async fn a_tree_watch_is_no_later_than_the_reply(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    for _ in 0..20 {
        b.set("/p", "x").await;
        let told = tokio::task::unconstrained(tree.next());
        let told = futures::FutureExt::now_or_never(told);
        assert!(matches!(told, Some(Some(TreeEvent::Changed(_)))), "{b}: {told:?}");
    }
}

pub async fn two_tree_watches_on_a_path_tell_the_same(b: Bench) {
    b.make("/p", "").await;
    let mut first = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let mut second = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.make("/p/a", "").await;
    b.set("/p", "x").await;
    for tree in [&mut first, &mut second] {
        b.tells(tree, &[(Created, "/p/a"), (DataChanged, "/p")]).await;
        b.tree_is_quiet(tree).await;
    }
}

pub async fn dropping_a_tree_watch_leaves_the_other_one(b: Bench) {
    b.make("/p", "").await;
    for drop_first in [true, false] {
        let first = b.ok(b.conn.watch_tree(b.at("/p")).await);
        let second = b.ok(b.conn.watch_tree(b.at("/p")).await);
        let (dropped, mut kept) = if drop_first { (first, second) } else { (second, first) };
        drop(dropped);
        b.settle(&b.conn).await;
        b.make("/p/a", "").await;
        b.delete("/p/a").await;
        b.tells(&mut kept, &[(Created, "/p/a"), (Deleted, "/p/a")]).await;
        b.tree_is_quiet(&mut kept).await;
    }
}

pub async fn a_tree_watch_left_right_after_another_was_dropped_works(b: Bench) {
    b.make("/p", "").await;
    for _ in 0..20 {
        drop(b.ok(b.conn.watch_tree(b.at("/p")).await));
        let mut kept = b.ok(b.conn.watch_tree(b.at("/p")).await);
        b.set("/p", "x").await;
        b.tells(&mut kept, &[(DataChanged, "/p")]).await;
    }
}

pub async fn tree_watches_may_lie_within_each_other(b: Bench) {
    b.make("/p", "").await;
    let mut outer = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let mut inner = b.ok(b.conn.watch_tree(b.at("/p/a")).await);
    b.make("/p/a", "").await;
    b.make("/p/a/b", "").await;
    b.make("/p/c", "").await;
    b.tells(&mut outer, &[(Created, "/p/a"), (Created, "/p/a/b"), (Created, "/p/c")]).await;
    b.tells(&mut inner, &[(Created, "/p/a"), (Created, "/p/a/b")]).await;
    b.tree_is_quiet(&mut inner).await;
    drop(inner);
    b.settle(&b.conn).await;
    b.set("/p/a", "x").await;
    b.tells(&mut outer, &[(DataChanged, "/p/a")]).await;
}

pub async fn a_tree_watch_ends_with_its_session(b: Bench) {
    b.make("/p", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    b.ok(b.conn.close().await);
    let ended = tokio::time::timeout(super::PATIENCE, tree.next()).await;
    assert_eq!(ended.unwrap(), Some(TreeEvent::SessionEnded), "{b}");
    assert_eq!(tree.next().await, None, "{b}");
}

/// Which read leaves the one-shot watch that shares a path with a tree watch.
#[derive(Clone, Copy)]
enum Read {
    Get,
    Exists,
    Children,
}

async fn leave(b: &Bench, by: Read) -> Watch {
    match by {
        Read::Get => b.ok(b.conn.get_watch(b.at("/p")).await).1,
        Read::Exists => b.ok(b.conn.exists_watch(b.at("/p")).await).1,
        Read::Children => b.ok(b.conn.children_watch(b.at("/p")).await).1,
    }
}

/// Holds both to several changes, at the node and below it, leaving the one-shot anew each time.
async fn both_work(b: &Bench, mut watch: Watch, mut tree: TreeWatch, by: Read) {
    for _ in 0..3 {
        b.set("/p", "x").await;
        b.make("/p/a", "").await;
        b.set("/p/a", "x").await;
        let kind = if matches!(by, Read::Children) { ChildrenChanged } else { DataChanged };
        assert_eq!(b.fires(watch).await, kind, "{b}");
        watch = leave(b, by).await;
        b.delete("/p/a").await;
        let told =
            [(DataChanged, "/p"), (Created, "/p/a"), (DataChanged, "/p/a"), (Deleted, "/p/a")];
        b.tells(&mut tree, &told).await;
        if matches!(by, Read::Children) {
            assert_eq!(b.fires(watch).await, kind, "{b}");
            watch = leave(b, by).await;
        }
    }
    b.delete("/p").await;
    assert_eq!(b.fires(watch).await, Deleted, "{b}");
    b.make("/p", "").await;
    b.make("/p/a", "").await;
    b.tells(&mut tree, &[(Deleted, "/p"), (Created, "/p"), (Created, "/p/a")]).await;
    b.tree_is_quiet(&mut tree).await;
}

async fn tree_watch_first(b: Bench, by: Read) {
    b.make("/p", "").await;
    let tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let watch = leave(&b, by).await;
    both_work(&b, watch, tree, by).await;
}

async fn one_shot_first(b: Bench, by: Read) {
    b.make("/p", "").await;
    let watch = leave(&b, by).await;
    let tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    both_work(&b, watch, tree, by).await;
}

/// ZooKeeper itself loses the tree watch here, at the next event (ZOOKEEPER-4466).
pub async fn get_watch_on_the_path_of_a_tree_watch_leaves_it_alive(b: Bench) {
    tree_watch_first(b, Read::Get).await;
}

/// ZooKeeper itself loses the tree watch here, at the next event (ZOOKEEPER-4466).
pub async fn exists_watch_on_the_path_of_a_tree_watch_leaves_it_alive(b: Bench) {
    tree_watch_first(b, Read::Exists).await;
}

pub async fn children_watch_on_the_path_of_a_tree_watch_leaves_it_alive(b: Bench) {
    tree_watch_first(b, Read::Children).await;
}

pub async fn a_tree_watch_on_the_path_of_a_get_watch_leaves_it_alive(b: Bench) {
    one_shot_first(b, Read::Get).await;
}

pub async fn a_tree_watch_on_the_path_of_an_exists_watch_leaves_it_alive(b: Bench) {
    one_shot_first(b, Read::Exists).await;
}

/// ZooKeeper itself forgets the children watch here: the tree watch takes its place.
pub async fn a_tree_watch_on_the_path_of_a_children_watch_leaves_it_alive(b: Bench) {
    one_shot_first(b, Read::Children).await;
}

pub async fn exists_watch_of_an_absent_node_works_beside_a_tree_watch(b: Bench) {
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    for _ in 0..3 {
        let (absent, watch) = b.ok(b.conn.exists_watch(b.at("/p")).await);
        assert!(absent.is_none(), "{b}");
        b.make("/p", "").await;
        assert_eq!(b.fires(watch).await, Created, "{b}");
        b.make("/p/a", "").await;
        b.delete("/p/a").await;
        b.delete("/p").await;
        let told = [(Created, "/p"), (Created, "/p/a"), (Deleted, "/p/a"), (Deleted, "/p")];
        b.tells(&mut tree, &told).await;
    }
}

pub async fn dropping_a_one_shot_leaves_the_tree_watch_alive(b: Bench) {
    for by in [Read::Get, Read::Exists, Read::Children] {
        for tree_first in [true, false] {
            b.make("/p", "").await;
            let early = if tree_first { None } else { Some(leave(&b, by).await) };
            let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
            let watch = match early {
                Some(watch) => watch,
                None => leave(&b, by).await,
            };
            drop(watch);
            b.settle(&b.conn).await;
            b.set("/p", "x").await;
            b.make("/p/a", "").await;
            b.delete("/p/a").await;
            b.delete("/p").await;
            let told = [(DataChanged, "/p"), (Created, "/p/a"), (Deleted, "/p/a"), (Deleted, "/p")];
            b.tells(&mut tree, &told).await;
            b.tree_is_quiet(&mut tree).await;
        }
    }
}

pub async fn dropping_a_tree_watch_leaves_the_one_shots_left_before_it(b: Bench) {
    b.make("/p", "").await;
    let left = leave_all(&b).await;
    let tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    drop(tree);
    all_fire(&b, left).await;
}

pub async fn dropping_a_tree_watch_leaves_the_one_shots_left_after_it(b: Bench) {
    b.make("/p", "").await;
    let tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let left = leave_all(&b).await;
    drop(tree);
    all_fire(&b, left).await;
}

async fn leave_all(b: &Bench) -> [Watch; 3] {
    [leave(b, Read::Get).await, leave(b, Read::Exists).await, leave(b, Read::Children).await]
}

async fn all_fire(b: &Bench, [get, exists, children]: [Watch; 3]) {
    b.settle(&b.conn).await;
    b.make("/p/a", "").await;
    assert_eq!(b.fires(children).await, ChildrenChanged, "{b}");
    b.set("/p", "x").await;
    assert_eq!(b.fires(get).await, DataChanged, "{b}");
    assert_eq!(b.fires(exists).await, DataChanged, "{b}");
}

pub async fn one_shots_below_a_tree_watch_fire(b: Bench) {
    b.make("/p", "").await;
    b.make("/p/a", "").await;
    let mut tree = b.ok(b.conn.watch_tree(b.at("/p")).await);
    let (_, get) = b.ok(b.conn.get_watch(b.at("/p/a")).await);
    let (_, children) = b.ok(b.conn.children_watch(b.at("/p/a")).await);
    let (_, absent) = b.ok(b.conn.exists_watch(b.at("/p/b")).await);
    b.set("/p/a", "x").await;
    b.make("/p/a/c", "").await;
    b.make("/p/b", "").await;
    assert_eq!(b.fires(get).await, DataChanged, "{b}");
    assert_eq!(b.fires(children).await, ChildrenChanged, "{b}");
    assert_eq!(b.fires(absent).await, Created, "{b}");
    b.set("/p/a", "y").await;
    let told =
        [(DataChanged, "/p/a"), (Created, "/p/a/c"), (Created, "/p/b"), (DataChanged, "/p/a")];
    b.tells(&mut tree, &told).await;
    b.tree_is_quiet(&mut tree).await;
}
