//! `multi`: all steps or none, and which one was at fault.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Acl, CreateOptions, Mode, Version};
use crate::request::{Multi, MultiReply};
use crate::watch::EventKind;

/// Holds `steps` to being refused at `index` for `kind`.
async fn refused_at(b: &Bench, steps: Multi, index: usize, kind: ErrorKind) {
    let err = b.refused(b.conn.multi(steps).await, kind);
    assert_eq!(err.index(), Some(index), "{b}: {err}");
}

pub async fn multi_does_all_steps_and_answers_in_order(b: Bench) {
    b.make("/a", "old").await;
    b.make("/b", "").await;
    let steps = Multi::new()
        .check(b.at("/a"), Version::Exact(0))
        .create(b.at("/c"), "made", Mode::Persistent)
        .set(b.at("/a"), "new", Version::Exact(0))
        .delete(b.at("/b"), Version::Exact(0));
    let replies = b.ok(b.conn.multi(steps).await);
    assert_eq!(replies.len(), 4, "{b}");
    assert_eq!(replies[0], MultiReply::Checked, "{b}");
    let MultiReply::Created { path, .. } = &replies[1] else { panic!("{b}: {replies:?}") };
    assert_eq!(path, &b.path("/c"), "{b}");
    assert_eq!(replies[2], MultiReply::Set(b.stat("/a").await), "{b}");
    assert_eq!(replies[3], MultiReply::Deleted, "{b}");
    assert_eq!(b.data("/a").await, "new", "{b}");
    assert_eq!(b.data("/c").await, "made", "{b}");
    assert!(!b.is_there("/b").await, "{b}");
}

pub async fn a_refused_multi_does_nothing(b: Bench) {
    let a = b.make("/a", "old").await;
    b.make("/b", "").await;
    let root = b.stat("").await;
    let steps = Multi::new()
        .create(b.at("/c"), "", Mode::Persistent)
        .set(b.at("/a"), "new", Version::Any)
        .delete(b.at("/b"), Version::Any)
        .check(b.at("/none"), Version::Any);
    refused_at(&b, steps, 3, ErrorKind::NoNode).await;
    assert_eq!(b.stat("/a").await, a, "{b}");
    assert_eq!(b.stat("").await, root, "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, ["a", "b"], "{b}");
}

pub async fn the_first_step_at_fault_is_named(b: Bench) {
    b.make("/a", "").await;
    for index in 0..3 {
        let mut steps = Multi::new();
        for _ in 0..index {
            steps = steps.check(b.at("/a"), Version::Any);
        }
        steps = steps.delete(b.at("/none"), Version::Any).check(b.at("/too"), Version::Any);
        let err = b.refused(b.conn.multi(steps).await, ErrorKind::NoNode);
        assert_eq!((err.op(), err.index()), ("multi", Some(index)), "{b}: {err}");
        assert_eq!(err.path(), b.at("/none"), "{b}: {err}");
    }
}

pub async fn a_multi_is_refused_for_what_create_refuses(b: Bench) {
    b.make("/a", "").await;
    b.ok(b.conn.create(b.at("/e"), "", Mode::Ephemeral).await);
    let create = |path: &str, options: CreateOptions| {
        Multi::new().check(b.at("/a"), Version::Any).create(b.at(path), "", options)
    };
    let plain = CreateOptions::from(Mode::Persistent);
    refused_at(&b, create("/a", plain.clone()), 1, ErrorKind::NodeExists).await;
    refused_at(&b, create("/none/b", plain.clone()), 1, ErrorKind::NoNode).await;
    let below_ephemeral = create("/e/b", plain.clone());
    refused_at(&b, below_ephemeral, 1, ErrorKind::NoChildrenForEphemerals).await;
    let unknown = plain.clone().with_acl(vec![Acl::new(Default::default(), "nosuch", "x")]);
    refused_at(&b, create("/b", unknown), 1, ErrorKind::InvalidAcl).await;
    refused_at(&b, create("/b", plain.with_acl(vec![])), 1, ErrorKind::InvalidAcl).await;
}

pub async fn a_multi_is_refused_for_what_set_refuses(b: Bench) {
    b.make("/a", "").await;
    let absent = Multi::new().set(b.at("/none"), "", Version::Any);
    refused_at(&b, absent, 0, ErrorKind::NoNode).await;
    let wrong = Multi::new().set(b.at("/a"), "", Version::Exact(1));
    refused_at(&b, wrong, 0, ErrorKind::BadVersion).await;
}

pub async fn a_multi_is_refused_for_what_delete_refuses(b: Bench) {
    b.make("/a", "").await;
    b.make("/a/b", "").await;
    let absent = Multi::new().delete(b.at("/none"), Version::Any);
    refused_at(&b, absent, 0, ErrorKind::NoNode).await;
    let full = Multi::new().delete(b.at("/a"), Version::Any);
    refused_at(&b, full, 0, ErrorKind::NotEmpty).await;
    let wrong = Multi::new().delete(b.at("/a/b"), Version::Exact(1));
    refused_at(&b, wrong, 0, ErrorKind::BadVersion).await;
}

pub async fn a_multi_is_refused_for_a_check_that_fails(b: Bench) {
    b.make("/a", "").await;
    let absent = Multi::new().check(b.at("/none"), Version::Any);
    refused_at(&b, absent, 0, ErrorKind::NoNode).await;
    let wrong = Multi::new().check(b.at("/a"), Version::Exact(1));
    refused_at(&b, wrong, 0, ErrorKind::BadVersion).await;
}

pub async fn a_check_alone_changes_nothing(b: Bench) {
    b.make("/a", "").await;
    b.set("/a", "x").await;
    let before = b.stat("/a").await;
    let steps = Multi::new().check(b.at("/a"), Version::Any).check(b.at("/a"), Version::Exact(1));
    let replies = b.ok(b.conn.multi(steps).await);
    assert_eq!(replies, [MultiReply::Checked, MultiReply::Checked], "{b}");
    assert_eq!(b.stat("/a").await, before, "{b}");
}

pub async fn later_steps_see_what_earlier_ones_did(b: Bench) {
    let steps = Multi::new()
        .create(b.at("/a"), "", Mode::Persistent)
        .create(b.at("/a/b"), "", Mode::Persistent)
        .set(b.at("/a"), "x", Version::Exact(0))
        .check(b.at("/a"), Version::Exact(1))
        .delete(b.at("/a/b"), Version::Any)
        .delete(b.at("/a"), Version::Exact(1))
        .create(b.at("/a"), "again", Mode::Persistent);
    b.ok(b.conn.multi(steps).await);
    assert_eq!(b.data("/a").await, "again", "{b}");
    assert_eq!(b.stat("/a").await.num_children, 0, "{b}");
}

pub async fn later_steps_are_refused_for_what_earlier_ones_did(b: Bench) {
    let twice = Multi::new().create(b.at("/a"), "", Mode::Persistent).create(
        b.at("/a"),
        "",
        Mode::Persistent,
    );
    refused_at(&b, twice, 1, ErrorKind::NodeExists).await;
    let full = Multi::new()
        .create(b.at("/a"), "", Mode::Persistent)
        .create(b.at("/a/b"), "", Mode::Persistent)
        .delete(b.at("/a"), Version::Any);
    refused_at(&b, full, 2, ErrorKind::NotEmpty).await;
    let below_ephemeral = Multi::new().create(b.at("/e"), "", Mode::Ephemeral).create(
        b.at("/e/b"),
        "",
        Mode::Persistent,
    );
    refused_at(&b, below_ephemeral, 1, ErrorKind::NoChildrenForEphemerals).await;
    assert!(b.ok(b.conn.children(b.at("")).await).names.is_empty(), "{b}");
}

pub async fn an_empty_multi_answers_nothing(b: Bench) {
    assert!(b.ok(b.conn.multi(Multi::new()).await).is_empty(), "{b}");
}

pub async fn all_steps_are_one_transaction(b: Bench) {
    b.make("/a", "").await;
    let steps = Multi::new()
        .create(b.at("/b"), "", Mode::Persistent)
        .set(b.at("/a"), "", Version::Any)
        .create(b.at("/c"), "", Mode::Persistent);
    b.ok(b.conn.multi(steps).await);
    let zxid = b.stat("/b").await.czxid;
    assert_eq!(b.stat("/c").await.czxid, zxid, "{b}");
    assert_eq!(b.stat("/a").await.mzxid, zxid, "{b}");
    assert_eq!(b.stat("").await.pzxid, zxid, "{b}");
}

/// Servers before 3.8.2 tell none.
pub async fn a_create_in_a_multi_tells_its_stat_or_none(b: Bench) {
    let steps = Multi::new().create(b.at("/a"), "data", Mode::Persistent);
    let replies = b.ok(b.conn.multi(steps).await);
    let [MultiReply::Created { stat, .. }] = replies.as_slice() else {
        panic!("{b}: {replies:?}");
    };
    if let Some(stat) = stat {
        assert_eq!(*stat, b.stat("/a").await, "{b}");
    }
}

pub async fn a_set_in_a_multi_tells_its_stat(b: Bench) {
    b.make("/a", "").await;
    let steps = Multi::new().set(b.at("/a"), "x", Version::Any).set(b.at("/a"), "yz", Version::Any);
    let replies = b.ok(b.conn.multi(steps).await);
    let [MultiReply::Set(first), MultiReply::Set(second)] = replies.as_slice() else {
        panic!("{b}: {replies:?}");
    };
    assert_eq!((first.version, first.data_length), (1, 1), "{b}");
    assert_eq!(*second, b.stat("/a").await, "{b}");
}

pub async fn numbered_creates_in_a_multi_count_each_other(b: Bench) {
    b.make("/q", "").await;
    let steps = Multi::new()
        .create(b.at("/q/n-"), "", Mode::PersistentSequential)
        .create(b.at("/q/plain"), "", Mode::Persistent)
        .create(b.at("/q/"), "", Mode::EphemeralSequential);
    let replies = b.ok(b.conn.multi(steps).await);
    let paths: Vec<_> = replies
        .into_iter()
        .map(|reply| match reply {
            MultiReply::Created { path, .. } => path,
            other => panic!("{b}: {other:?}"),
        })
        .collect();
    let expected = ["/q/n-0000000000", "/q/plain", "/q/0000000002"].map(|path| b.path(path));
    assert_eq!(paths, expected, "{b}");
}

pub async fn a_refused_multi_uses_up_no_number(b: Bench) {
    b.make("/q", "").await;
    let steps = Multi::new()
        .create(b.at("/q/n-"), "", Mode::PersistentSequential)
        .check(b.at("/none"), Version::Any);
    refused_at(&b, steps, 1, ErrorKind::NoNode).await;
    let (path, _) = b.ok(b.conn.create(b.at("/q/n-"), "", Mode::PersistentSequential).await);
    assert_eq!(path, b.path("/q/n-0000000000"), "{b}");
}

pub async fn a_container_made_in_a_multi_is_one(b: Bench) {
    let steps = Multi::new().create(b.at("/c"), "", Mode::Container).create(
        b.at("/c/child"),
        "",
        Mode::Persistent,
    );
    b.ok(b.conn.multi(steps).await);
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/c")).await);
    b.delete("/c/child").await;
    assert_eq!(b.fires_at_the_next_check(watch).await, EventKind::Deleted, "{b}");
}

pub async fn a_negative_version_refuses_the_whole_multi(b: Bench) {
    b.make("/a", "").await;
    let wrong = Version::Exact(-1);
    let steps = || Multi::new().create(b.at("/b"), "", Mode::Persistent);
    for steps in [
        steps().set(b.at("/a"), "", wrong),
        steps().delete(b.at("/a"), wrong),
        steps().check(b.at("/a"), wrong),
    ] {
        refused_at(&b, steps, 1, ErrorKind::BadArguments).await;
    }
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, ["a"], "{b}");
}

pub async fn a_path_that_is_none_refuses_the_whole_multi(b: Bench) {
    let steps =
        Multi::new().create(b.at("/a"), "", Mode::Persistent).delete(b.at("//b"), Version::Any);
    refused_at(&b, steps, 1, ErrorKind::BadPath).await;
    assert!(!b.is_there("/a").await, "{b}");
}

pub async fn hundreds_of_steps_are_one_multi(b: Bench) {
    let mut steps = Multi::new();
    for n in 0..500 {
        steps = steps.create(b.at(&format!("/{n:03}")), n.to_string(), Mode::Persistent);
    }
    assert_eq!(b.ok(b.conn.multi(steps).await).len(), 500, "{b}");
    assert_eq!(b.data("/499").await, "499", "{b}");
    let mut steps = Multi::new();
    for n in 0..500 {
        steps = steps.delete(b.at(&format!("/{n:03}")), Version::Any);
    }
    b.ok(b.conn.multi(steps.check(b.at(""), Version::Any)).await);
    assert!(b.ok(b.conn.children(b.at("")).await).names.is_empty(), "{b}");
}
