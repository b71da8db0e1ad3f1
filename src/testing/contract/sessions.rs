//! The session behind a connection, and what `close` ends.

use std::time::Duration;

use super::Bench;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn as _, ConnExt as _};
use crate::deadline::Deadline;
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Version};
use crate::request::{Multi, Read};
use crate::session::SessionState;

pub async fn a_session_says_what_it_is(b: Bench) {
    let session = b.session().await;
    assert_ne!(session.id(), 0, "{b}");
    assert!(session.timeout() > Duration::ZERO, "{b}");
    assert!(session.generation() >= 1, "{b}");
    assert_eq!(session.state(), SessionState::Connected, "{b}");
}

pub async fn a_connection_says_what_it_is(b: Bench) {
    let shown = b.conn.to_string();
    assert!(!shown.is_empty() && !shown.contains('\n'), "{shown:?}");
    assert!(!format!("{:?}", b.conn).is_empty(), "{b}");
}

pub async fn all_paths_of_a_cell_have_one_session(b: Bench) {
    let id = b.session().await.id();
    assert_eq!(b.session().await.id(), id, "{b}");
    assert_eq!(b.ok(b.conn.session(b.at("/none")).await).id(), id, "{b}");
}

pub async fn two_connections_have_two_sessions(b: Bench) {
    let other = b.another().await;
    let theirs = b.ok(other.session(b.at("")).await);
    assert_ne!(b.session().await.id(), theirs.id(), "{b}");
}

pub async fn a_session_owns_its_ephemerals_only(b: Bench) {
    let ttl = Mode::Ttl(Duration::from_secs(600));
    let other = b.another().await;
    let session = b.session().await;
    let (_, mine) = b.ok(b.conn.create(b.at("/mine"), "", Mode::Ephemeral).await);
    let (_, theirs) = b.ok(other.create(b.at("/theirs"), "", Mode::Ephemeral).await);
    assert!(session.owns(&mine) && !session.owns(&theirs), "{b}");
    assert!(b.ok(other.session(b.at("")).await).owns(&theirs), "{b}");
    for mode in [Mode::Persistent, Mode::Container, ttl] {
        let (_, stat) = b.ok(b.conn.create(b.at(&format!("/{mode:?}")), "", mode).await);
        assert!(!session.owns(&stat), "{b}: {mode:?}");
    }
}

pub async fn a_write_proves_the_session_alive(b: Bench) {
    let session = b.session().await;
    let mut until = session.valid_until();
    for n in 0..3 {
        match n {
            0 => drop(b.make("/a", "").await),
            1 => drop(b.set("/a", "x").await),
            _ => {
                let check = Multi::new().check(b.at("/a"), Version::Any);
                b.ok(b.conn.multi(check).await);
            }
        }
        assert!(session.valid_until() > until, "{b}: write {n}");
        until = session.valid_until();
    }
}

/// A server that has lost its leader answers reads all the same.
pub async fn a_read_proves_nothing_of_the_session(b: Bench) {
    b.make("/a", "").await;
    let session = b.session().await;
    let until = session.valid_until();
    b.data("/a").await;
    b.stat("/a").await;
    b.ok(b.conn.children(b.at("/a")).await);
    b.ok(b.conn.read_many([Read::Get(b.path("/a"))]).await);
    assert_eq!(session.valid_until(), until, "{b}");
}

/// Otherwise what hangs on an ephemeral node would go on in the next session.
pub async fn a_request_of_another_session_is_refused(b: Bench) {
    b.make("/a", "kept").await;
    let other = b.another().await;
    let theirs = b.ok(other.session(b.at("")).await);
    let bound = BoundConn::new(b.conn.clone(), &theirs);
    let (any, over) = (Version::Any, ErrorKind::SessionExpired);
    b.refused(bound.get(b.at("/a")).await, over);
    b.refused(bound.exists_watch(b.at("/a")).await, over);
    b.refused(bound.set(b.at("/a"), "lost", any).await, over);
    b.refused(bound.create(b.at("/b"), "", Mode::Ephemeral).await, over);
    b.refused(bound.multi(Multi::new().delete(b.at("/a"), any)).await, over);
    b.refused(bound.hold(b.at("/a")).await, over);
    b.refused(bound.hold_seen(b.at("/a")).await, over);
    let many = bound.read_many([Read::Get(b.path("/a"))]).await;
    b.refused(many.and_then(|mut found| found.remove(0)), over);
    assert_eq!(b.data("/a").await, "kept", "{b}");
    let own = BoundConn::new(b.conn.clone(), &b.session().await);
    assert_eq!(b.ok(own.get(b.at("/a")).await).data, "kept", "{b}");
}

/// What a check would cost is saved where the session has just written.
pub async fn a_hold_of_what_was_seen_starts_from_the_last_write(b: Bench) {
    let session = b.session().await;
    b.make("/a", "").await;
    let hold = b.ok(b.conn.hold_seen(b.at("/a")).await);
    assert!(hold.is_valid() && hold.valid_until() <= Deadline::after(session.timeout() / 2), "{b}");
    assert_eq!((hold.path(), hold.loss()), (&b.path("/a"), None), "{b}");
}

pub async fn a_session_says_which_cell_it_is_of(b: Bench) {
    let (session, other) = (b.session().await, b.another().await);
    assert!(!session.cell().is_empty(), "{b}");
    let theirs = b.ok(other.session(b.at("/none")).await);
    assert_eq!(session.cell(), theirs.cell(), "{b}");
}

pub async fn close_ends_the_session(b: Bench) {
    let session = b.session().await;
    let lost = session.clone();
    let lost = async move { lost.lost().await };
    b.ok(b.conn.close().await);
    let state = tokio::time::timeout(super::PATIENCE, lost).await;
    assert_eq!(state.unwrap(), SessionState::Closed, "{b}");
    assert_eq!(session.state(), SessionState::Closed, "{b}");
}

pub async fn a_closed_connection_refuses_every_operation(b: Bench) {
    let path = b.at("/a");
    b.ok(b.conn.close().await);
    let any = Version::Any;
    let closed = ErrorKind::Closed;
    b.refused(b.conn.get(&path).await, closed);
    b.refused(b.conn.get_watch(&path).await, closed);
    b.refused(b.conn.children(&path).await, closed);
    b.refused(b.conn.children_watch(&path).await, closed);
    b.refused(b.conn.exists(&path).await, closed);
    b.refused(b.conn.exists_watch(&path).await, closed);
    b.refused(b.conn.acl(&path).await, closed);
    b.refused(b.conn.watch_tree(&path).await, closed);
    b.refused(b.conn.create(&path, "", Mode::Persistent).await, closed);
    b.refused(b.conn.set(&path, "", any).await, closed);
    b.refused(b.conn.delete(&path, any).await, closed);
    b.refused(b.conn.set_acl(&path, Acl::open(), any).await, closed);
    b.refused(b.conn.ephemerals(&path).await, closed);
    b.refused(b.conn.multi(Multi::new().check(&path, any)).await, closed);
    b.refused(b.conn.sync(&path).await, closed);
    b.refused(b.conn.session(&path).await, closed);
    // Over several cells it is the single reads that fail.
    let many = b.conn.read_many([Read::Get(b.path("/a"))]).await;
    b.refused(many.and_then(|mut found| found.remove(0)), closed);
}

pub async fn a_second_close_succeeds(b: Bench) {
    let both = (b.conn.close(), b.conn.close());
    b.ok(both.1.await);
    b.ok(both.0.await);
    b.ok(b.conn.close().await);
}

/// Once there is a session, that is: closing waits for no dial.
pub async fn calls_made_before_close_are_answered(b: Bench) {
    let other = b.another().await;
    // Only with a session: closing never waits for a dial.
    b.ok(other.session(b.at("")).await);
    let made: Vec<_> =
        (0..300).map(|_| other.create(b.at("/n-"), "", Mode::PersistentSequential)).collect();
    let close = other.close();
    for pending in made {
        b.ok(pending.await);
    }
    b.ok(close.await);
    b.ok(b.conn.sync(b.at("")).await);
    assert_eq!(b.stat("").await.num_children, 300, "{b}");
}

pub async fn close_leaves_other_connections_alone(b: Bench) {
    let other = b.another().await;
    b.ok(other.close().await);
    b.make("/a", "still here").await;
    assert_eq!(b.data("/a").await, "still here", "{b}");
    assert_eq!(b.session().await.state(), SessionState::Connected, "{b}");
}
