//! How sequential nodes are numbered: by the creates that their parent has seen.

use super::Bench;
use crate::conn::{Conn, ConnExt as _};
use crate::error::ErrorKind;
use crate::node::{Mode, Version};

/// The name that a sequential create got.
async fn next(b: &Bench, conn: &dyn Conn, prefix: &str, mode: Mode) -> String {
    let (path, _) = b.ok(conn.create(b.at(prefix), "", mode).await);
    path.name().to_string()
}

async fn numbered(b: &Bench, prefix: &str) -> String {
    next(b, &b.conn, prefix, Mode::PersistentSequential).await
}

pub async fn numbers_start_at_zero_and_have_ten_digits(b: Bench) {
    b.make("/q", "").await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000000", "{b}");
    assert!(b.is_there("/q/n-0000000000").await, "{b}");
}

pub async fn numbers_go_up_by_one(b: Bench) {
    b.make("/q", "").await;
    for n in 0..12 {
        assert_eq!(numbered(&b, "/q/n-").await, format!("n-{n:010}"), "{b}");
    }
}

pub async fn plain_creates_count_too(b: Bench) {
    b.make("/q", "").await;
    b.make("/q/plain", "").await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000001", "{b}");
}

pub async fn deletes_do_not_count(b: Bench) {
    b.make("/q", "").await;
    let first = numbered(&b, "/q/n-").await;
    b.delete(&format!("/q/{first}")).await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000001", "{b}");
}

pub async fn refused_creates_do_not_count(b: Bench) {
    b.make("/q", "").await;
    b.make("/q/plain", "").await;
    let again = b.conn.create(b.at("/q/plain"), "", Mode::Persistent).await;
    b.refused(again, ErrorKind::NodeExists);
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000001", "{b}");
}

pub async fn grandchildren_do_not_count(b: Bench) {
    b.make("/q", "").await;
    b.make("/q/plain", "").await;
    b.make("/q/plain/below", "").await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000001", "{b}");
    assert_eq!(numbered(&b, "/q/plain/n-").await, "n-0000000001", "{b}");
}

pub async fn all_prefixes_modes_and_sessions_share_the_numbers(b: Bench) {
    b.make("/q", "").await;
    let other = b.another().await;
    assert_eq!(numbered(&b, "/q/a").await, "a0000000000", "{b}");
    let ephemeral = next(&b, &other, "/q/b", Mode::EphemeralSequential).await;
    assert_eq!(ephemeral, "b0000000001", "{b}");
    assert_eq!(numbered(&b, "/q/c").await, "c0000000002", "{b}");
}

pub async fn a_bare_prefix_makes_the_number_the_name(b: Bench) {
    b.make("/q", "").await;
    assert_eq!(numbered(&b, "/q/").await, "0000000000", "{b}");
    let ephemeral = next(&b, &b.conn, "/q/", Mode::EphemeralSequential).await;
    assert_eq!(ephemeral, "0000000001", "{b}");
    let names = b.ok(b.conn.children(b.at("/q")).await).names;
    assert_eq!(names, ["0000000000", "0000000001"], "{b}");
}

pub async fn a_numbered_ephemeral_belongs_to_its_session(b: Bench) {
    let (_, stat) = b.ok(b.conn.create(b.at("/n-"), "", Mode::EphemeralSequential).await);
    assert!(b.session().await.owns(&stat), "{b}: {stat:?}");
}

pub async fn numbers_start_again_below_a_new_parent(b: Bench) {
    b.make("/q", "").await;
    let first = numbered(&b, "/q/n-").await;
    b.delete(&format!("/q/{first}")).await;
    b.delete("/q").await;
    b.make("/q", "").await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000000", "{b}");
}

/// The number does not move past a name that is taken: only another create moves it.
pub async fn a_number_that_is_taken_is_refused(b: Bench) {
    b.make("/q", "").await;
    b.make("/q/n-0000000001", "").await;
    for _ in 0..2 {
        let taken = b.conn.create(b.at("/q/n-"), "", Mode::PersistentSequential).await;
        b.refused(taken, ErrorKind::NodeExists);
    }
    b.make("/q/plain", "").await;
    assert_eq!(numbered(&b, "/q/n-").await, "n-0000000002", "{b}");
}

pub async fn a_numbered_create_wants_a_parent(b: Bench) {
    for prefix in ["/none/n-", "/none/"] {
        let missing = b.conn.create(b.at(prefix), "", Mode::PersistentSequential).await;
        let err = b.refused(missing, ErrorKind::NoNode);
        assert_eq!((err.op(), err.path()), ("create", b.at(prefix).as_str()), "{b}");
    }
}

pub async fn a_numbered_node_is_a_node_like_others(b: Bench) {
    let (path, stat) = b.ok(b.conn.create(b.at("/n-"), "data", Mode::PersistentSequential).await);
    assert_eq!(stat, b.ok(b.conn.exists(&path).await).unwrap(), "{b}");
    b.ok(b.conn.set(&path, "x", Version::Exact(0)).await);
    b.make("/n-0000000000/below", "").await;
}
