//! Who may do what: every right denied to one session and used by another.

use std::sync::Arc;

use super::{Bench, password};
use crate::conn::{Conn, ConnExt as _};
use crate::error::ErrorKind::{InvalidAcl, NoAuth, NodeExists};
use crate::node::{Acl, CreateOptions, Mode, Perms, Version};
use crate::request::{Multi, Read, ReadReply};
use crate::watch::EventKind;

fn with_acl(acl: impl Into<Vec<Acl>>) -> CreateOptions {
    CreateOptions::from(Mode::Persistent).with_acl(acl.into())
}

/// Alice's session, and her node `/own`, which nobody else may touch.
async fn alice(b: &Bench) -> Arc<dyn Conn> {
    let alice = b.as_user("alice").await;
    let options = with_acl([Acl::creator(Perms::ALL)]);
    b.ok(alice.create(b.at("/own"), "secret", options).await);
    b.ok(b.conn.sync(b.at("")).await);
    alice
}

/// A node that gives everybody `perms` and nothing else.
async fn open_for(b: &Bench, path: &str, perms: Perms) {
    b.ok(b.conn.create(b.at(path), "x", with_acl([Acl::world(perms)])).await);
}

pub async fn get_needs_read(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.get(b.at("/own")).await, NoAuth);
    b.refused(b.conn.get_watch(b.at("/own")).await, NoAuth);
    assert_eq!(b.ok(alice.get(b.at("/own")).await).data, "secret", "{b}");
    open_for(&b, "/r", Perms::READ).await;
    assert_eq!(b.data("/r").await, "x", "{b}");
}

pub async fn children_need_read(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.children(b.at("/own")).await, NoAuth);
    b.refused(b.conn.children_watch(b.at("/own")).await, NoAuth);
    assert!(b.ok(alice.children(b.at("/own")).await).names.is_empty(), "{b}");
}

/// So it is in 3.8; later servers may want `READ`.
pub async fn exists_needs_no_right(b: Bench) {
    let _alice = alice(&b).await;
    assert_eq!(b.stat("/own").await.data_length, 6, "{b}");
}

pub async fn a_childs_name_shows_whatever_its_own_acl(b: Bench) {
    let _alice = alice(&b).await;
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, ["own"], "{b}");
}

pub async fn set_needs_write(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.set(b.at("/own"), "", Version::Any).await, NoAuth);
    b.ok(alice.set(b.at("/own"), "mine", Version::Any).await);
    open_for(&b, "/r", Perms::READ).await;
    b.refused(b.conn.set(b.at("/r"), "", Version::Any).await, NoAuth);
    open_for(&b, "/w", Perms::WRITE).await;
    assert_eq!(b.set("/w", "y").await.version, 1, "{b}");
    b.refused(b.conn.get(b.at("/w")).await, NoAuth);
}

pub async fn create_needs_create_on_the_parent(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.create(b.at("/own/a"), "", Mode::Persistent).await, NoAuth);
    b.ok(alice.create(b.at("/own/a"), "", Mode::Persistent).await);
    open_for(&b, "/c", Perms::CREATE).await;
    b.make("/c/a", "").await;
    b.refused(b.conn.delete(b.at("/c/a"), Version::Any).await, NoAuth);
}

pub async fn create_of_what_is_there_tells_the_missing_right(b: Bench) {
    let alice = alice(&b).await;
    b.ok(alice.create(b.at("/own/a"), "", Mode::Persistent).await);
    b.refused(b.conn.create(b.at("/own/a"), "", Mode::Persistent).await, NoAuth);
    b.refused(alice.create(b.at("/own/a"), "", Mode::Persistent).await, NodeExists);
}

pub async fn delete_needs_delete_on_the_parent(b: Bench) {
    let alice = alice(&b).await;
    b.ok(alice.create(b.at("/own/a"), "", Mode::Persistent).await);
    b.refused(b.conn.delete(b.at("/own/a"), Version::Any).await, NoAuth);
    b.refused(b.conn.delete(b.at("/own/none"), Version::Any).await, NoAuth);
    b.ok(alice.delete(b.at("/own/a"), Version::Any).await);
    open_for(&b, "/d", Perms::CREATE | Perms::DELETE).await;
    b.make("/d/a", "").await;
    b.delete("/d/a").await;
}

pub async fn delete_needs_no_right_on_the_node(b: Bench) {
    let _alice = alice(&b).await;
    b.delete("/own").await;
    assert!(!b.is_there("/own").await, "{b}");
}

pub async fn rights_are_not_inherited(b: Bench) {
    let alice = alice(&b).await;
    b.ok(alice.create(b.at("/own/a"), "open", Mode::Persistent).await);
    b.ok(b.conn.sync(b.at("")).await);
    assert_eq!(b.data("/own/a").await, "open", "{b}");
    b.set("/own/a", "by anybody").await;
}

pub async fn acl_needs_read_or_admin(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.acl(b.at("/own")).await, NoAuth);
    b.ok(alice.acl(b.at("/own")).await);
    for (path, perms) in [("/r", Perms::READ), ("/a", Perms::ADMIN)] {
        open_for(&b, path, perms).await;
        assert_eq!(b.ok(b.conn.acl(b.at(path)).await).0, [Acl::world(perms)], "{b}");
    }
    open_for(&b, "/w", Perms::WRITE).await;
    b.refused(b.conn.acl(b.at("/w")).await, NoAuth);
}

pub async fn set_acl_needs_admin(b: Bench) {
    let alice = alice(&b).await;
    b.refused(b.conn.set_acl(b.at("/own"), Acl::open(), Version::Any).await, NoAuth);
    open_for(&b, "/rw", Perms::READ | Perms::WRITE | Perms::CREATE | Perms::DELETE).await;
    b.refused(b.conn.set_acl(b.at("/rw"), Acl::open(), Version::Any).await, NoAuth);
    open_for(&b, "/a", Perms::ADMIN).await;
    b.ok(b.conn.set_acl(b.at("/a"), Acl::open(), Version::Any).await);
    assert_eq!(b.data("/a").await, "x", "{b}");
    b.ok(alice.set_acl(b.at("/own"), Acl::open(), Version::Any).await);
    b.ok(b.conn.sync(b.at("")).await);
    assert_eq!(b.data("/own").await, "secret", "{b}");
}

pub async fn a_right_that_is_missing_comes_before_a_wrong_version(b: Bench) {
    let _alice = alice(&b).await;
    b.refused(b.conn.set(b.at("/own"), "", Version::Exact(7)).await, NoAuth);
    b.refused(b.conn.set_acl(b.at("/own"), Acl::open(), Version::Exact(7)).await, NoAuth);
}

pub async fn a_list_of_no_rights_shuts_everybody_out(b: Bench) {
    open_for(&b, "/n", Perms::NONE).await;
    b.refused(b.conn.get(b.at("/n")).await, NoAuth);
    b.refused(b.conn.acl(b.at("/n")).await, NoAuth);
    b.refused(b.conn.set(b.at("/n"), "", Version::Any).await, NoAuth);
    b.delete("/n").await;
}

pub async fn a_digest_lets_its_user_in_and_nobody_else(b: Bench) {
    let acl = [Acl::digest(Perms::ALL, "bob", password())];
    b.ok(b.conn.create(b.at("/bobs"), "hello", with_acl(acl)).await);
    b.refused(b.conn.get(b.at("/bobs")).await, NoAuth);
    let alice = b.as_user("alice").await;
    b.ok(alice.sync(b.at("")).await);
    b.refused(alice.get(b.at("/bobs")).await, NoAuth);
    let bob = b.as_user("bob").await;
    b.ok(bob.sync(b.at("")).await);
    assert_eq!(b.ok(bob.get(b.at("/bobs")).await).data, "hello", "{b}");
}

pub async fn the_creators_entry_becomes_his_digest(b: Bench) {
    let alice = alice(&b).await;
    let acl = b.ok(alice.acl(b.at("/own")).await).0;
    assert_eq!(acl, [Acl::digest(Perms::ALL, "alice", password())], "{b}");
    let read = Acl::creator(Perms::READ | Perms::ADMIN);
    b.ok(alice.set_acl(b.at("/own"), [read], Version::Any).await);
    let acl = b.ok(alice.acl(b.at("/own")).await).0;
    let expected = Acl::digest(Perms::READ | Perms::ADMIN, "alice", password());
    assert_eq!(acl, [expected], "{b}");
    b.refused(alice.set(b.at("/own"), "", Version::Any).await, NoAuth);
}

pub async fn a_creator_without_identity_is_refused(b: Bench) {
    let options = with_acl([Acl::creator(Perms::ALL)]);
    b.refused(b.conn.create(b.at("/a"), "", options).await, InvalidAcl);
    b.make("/a", "").await;
    let acl = [Acl::creator(Perms::ALL)];
    b.refused(b.conn.set_acl(b.at("/a"), acl, Version::Any).await, InvalidAcl);
}

pub async fn an_empty_list_is_refused(b: Bench) {
    b.refused(b.conn.create(b.at("/a"), "", with_acl([])).await, InvalidAcl);
    b.make("/a", "").await;
    b.refused(b.conn.set_acl(b.at("/a"), [], Version::Any).await, InvalidAcl);
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).0, Acl::open(), "{b}");
}

pub async fn an_identity_that_no_scheme_knows_is_refused(b: Bench) {
    b.make("/a", "").await;
    for (scheme, id) in [
        ("nosuch", "x"),
        ("world", "someone"),
        ("digest", "nocolon"),
        ("digest", "one:colon:more"),
        ("ip", "no address"),
    ] {
        let acl = vec![Acl::world(Perms::ALL), Acl::new(Perms::ALL, scheme, id)];
        let made = b.conn.create(b.at("/b"), "", with_acl(acl.clone())).await;
        b.refused(made, InvalidAcl);
        b.refused(b.conn.set_acl(b.at("/a"), acl, Version::Any).await, InvalidAcl);
    }
}

pub async fn an_entry_that_is_there_twice_is_kept_once(b: Bench) {
    let acl = vec![Acl::world(Perms::ALL), Acl::world(Perms::ALL)];
    b.ok(b.conn.create(b.at("/a"), "", with_acl(acl)).await);
    assert_eq!(b.ok(b.conn.acl(b.at("/a")).await).0, Acl::open(), "{b}");
}

pub async fn password_hashes_show_to_administrators_only(b: Bench) {
    let bob = Acl::digest(Perms::ALL, "bob", password());
    let readable = vec![Acl::world(Perms::READ), bob.clone()];
    b.ok(b.conn.create(b.at("/a"), "", with_acl(readable.clone())).await);
    let shown = b.ok(b.conn.acl(b.at("/a")).await).0;
    assert_eq!(shown, [Acl::world(Perms::READ), Acl::new(Perms::ALL, "digest", "bob:x")], "{b}");
    let admin = b.as_user("bob").await;
    b.ok(admin.sync(b.at("")).await);
    assert_eq!(b.ok(admin.acl(b.at("/a")).await).0, readable, "{b}");
}

pub async fn a_multi_needs_every_right_of_its_steps(b: Bench) {
    let alice = alice(&b).await;
    b.make("/open", "").await;
    b.ok(alice.create(b.at("/own/a"), "", Mode::Persistent).await);
    let own = || Multi::new().set(b.at("/open"), "x", Version::Any);
    for steps in [
        own().create(b.at("/own/b"), "", Mode::Persistent),
        own().set(b.at("/own"), "", Version::Any),
        own().delete(b.at("/own/a"), Version::Any),
        own().check(b.at("/own"), Version::Any),
    ] {
        let err = b.refused(b.conn.multi(steps.clone()).await, NoAuth);
        assert_eq!(err.index(), Some(1), "{b}: {err}");
        assert_eq!(b.data("/open").await, "", "{b}");
    }
    let all = own()
        .create(b.at("/own/b"), "", Mode::Persistent)
        .set(b.at("/own"), "", Version::Any)
        .delete(b.at("/own/a"), Version::Any)
        .check(b.at("/own"), Version::Any);
    b.ok(alice.multi(all).await);
}

pub async fn read_many_tells_a_missing_right_at_its_place(b: Bench) {
    let alice = alice(&b).await;
    b.make("/open", "x").await;
    let reads = || {
        vec![
            Read::Get(b.path("/own")),
            Read::Exists(b.path("/own")),
            Read::Children(b.path("/own")),
            Read::Get(b.path("/open")),
        ]
    };
    let mut found = b.ok(b.conn.read_many(reads()).await).into_iter();
    let err = b.refused(found.next().unwrap(), NoAuth);
    assert_eq!((err.op(), err.path()), ("get", b.at("/own").as_str()), "{b}");
    assert!(matches!(found.next(), Some(Ok(ReadReply::Exists(Some(_))))), "{b}");
    b.refused(found.next().unwrap(), NoAuth);
    assert!(matches!(found.next(), Some(Ok(ReadReply::Node(_)))), "{b}");
    b.ok(alice.sync(b.at("")).await);
    for found in b.ok(alice.read_many(reads()).await) {
        b.ok(found);
    }
}

/// Servers with the fix of CVE-2024-23944 look at the ACL before they tell an event.
pub async fn a_tree_watch_tells_nothing_of_what_may_not_be_read(b: Bench) {
    let mut tree = b.ok(b.conn.watch_tree(b.at("")).await);
    let alice = alice(&b).await;
    b.ok(alice.set(b.at("/own"), "x", Version::Any).await);
    b.ok(alice.create(b.at("/own/open"), "", Mode::Persistent).await);
    b.ok(alice.delete(b.at("/own/open"), Version::Any).await);
    b.ok(alice.delete(b.at("/own"), Version::Any).await);
    let told = [(EventKind::Created, "/own/open"), (EventKind::Deleted, "/own/open")];
    b.tells(&mut tree, &told).await;
    b.tree_is_quiet(&mut tree).await;
    let mut hers = b.ok(alice.watch_tree(b.at("")).await);
    let options = with_acl([Acl::creator(Perms::ALL)]);
    b.ok(alice.create(b.at("/own"), "", options).await);
    b.tells(&mut hers, &[(EventKind::Created, "/own")]).await;
}

/// The same servers tell one-shot watches no more: such a watch waits for nothing.
pub async fn a_watch_tells_nothing_of_what_may_not_be_read(b: Bench) {
    let alice = alice(&b).await;
    let (there, mut watch) = b.ok(b.conn.exists_watch(b.at("/own")).await);
    assert!(there.is_some(), "{b}");
    let (_, hers) = b.ok(alice.exists_watch(b.at("/own")).await);
    b.ok(alice.set(b.at("/own"), "x", Version::Any).await);
    assert_eq!(b.fires(hers).await, EventKind::DataChanged, "{b}");
    b.is_quiet(&mut watch).await;
}
