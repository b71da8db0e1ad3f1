//! Double barriers whose parties meet at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use futures::join;
use zkcells::recipes::{DoubleBarrier, Inside};
use zkcells::{Acl, Conn, ConnExt as _, ErrorKind, MemoryQuorum, Mode, Op, Perms, Version};

use crate::support::altered::{Altered, Back};
use crate::support::beds::until_children;
use crate::support::forgetful::Forgetful;
use crate::support::soon;
use crate::{connect, creates, deletes, end, settled, spawned};

const MINUTE: Duration = Duration::from_secs(60);

type Entering = tokio::task::JoinHandle<Result<Inside, zkcells::Error>>;

fn entering(conn: Arc<dyn Conn>, id: &str, parties: usize) -> Entering {
    let party = DoubleBarrier::new(conn, "/step", id, parties);
    spawned(async move { party.enter().await })
}

async fn all_exit<const N: usize>(inside: [Inside; N]) {
    let out = futures::future::join_all(inside.map(|one| one.exit()));
    soon("the way out", out).await.into_iter().for_each(|out| out.unwrap());
}

/// Who was there first takes three. The next one takes four, and has not been told yet when the third
/// comes, who takes four as well.
#[tokio::test]
async fn whoever_agrees_with_one_who_is_wrong_is_told_too() {
    let quorum = MemoryQuorum::new();
    let conn = || connect(&quorum, MINUTE);
    let other = conn();
    let first = entering(conn(), "b", 3);
    until_children(&*other, "/step", |names| names.len() == 1).await;
    let (slow, list) =
        Altered::keeping(conn(), Back::Request, |request| matches!(request.op, Op::Children(_)));
    let second = entering(slow, "a", 4);
    list.reached("the look of the second").await;
    let third = entering(conn(), "c", 4);
    assert_eq!(end("the third", third).await.unwrap_err(), ErrorKind::Disagreement);
    list.go();
    assert_eq!(end("the second", second).await.unwrap_err(), ErrorKind::Disagreement);
    // The first is right, and others may come.
    let (d, e) = (entering(conn(), "d", 3), entering(conn(), "e", 3));
    let mut inside = Vec::new();
    for one in [first, d, e] {
        inside.push(end("those who agree", one).await.unwrap());
    }
    all_exit::<3>(inside.try_into().unwrap()).await;
}

/// A round of others is on. Whoever comes takes its node away, nobody tells whether that was done, and
/// the round may be over by then.
#[tokio::test]
async fn whoever_cannot_tell_whether_it_made_way_waits_for_the_next_round() {
    for (carried_out, over) in [(true, false), (true, true), (false, false), (false, true)] {
        let case = format!("carried out {carried_out}, round over {over}");
        let quorum = MemoryQuorum::new();
        let conn = || connect(&quorum, MINUTE);
        let other = conn();
        let (a, b) = (entering(conn(), "a", 2), entering(conn(), "b", 2));
        let (a, b) = (end("a", a).await.unwrap(), end("b", b).await.unwrap());
        let forgetful = Forgetful::of(conn(), 1, carried_out);
        let (late, word) = Altered::keeping(forgetful.clone(), Back::Answer, |request| {
            deletes(request, "/step/c")
        });
        let c = entering(late, "c", 2);
        word.reached(&case).await;
        assert!(forgetful.is_done());
        if over {
            all_exit([a, b]).await;
            word.go();
        } else {
            word.go();
            settled(&*other, "/").await;
            assert!(!c.is_finished(), "{case}: {:?}", c.await);
            all_exit([a, b]).await;
        }
        let d = entering(conn(), "d", 2);
        let c = soon(&case, c).await.unwrap().unwrap_or_else(|err| panic!("{case}: {err}"));
        all_exit([c, end("d", d).await.unwrap()]).await;
        assert!(other.exists("/step").await.unwrap().is_none(), "{case}");
    }
}

/// Two of three are counted for a `ready` that is made behind the look of the third, who hears of it,
/// and looks again when all of that round are out.
#[tokio::test]
async fn a_ready_for_others_that_is_gone_lets_nobody_in() {
    let quorum = MemoryQuorum::new();
    let other = connect(&quorum, MINUTE);
    let makes_ready = |request: &zkcells::Request| creates(request, "/step/ready");
    let card = |id: &str| format!(r#"{{"hostname": "h", "pid": 1, "id": "{id}", "parties": 2}}"#);
    other.create("/step", "", Mode::Persistent).await.unwrap();
    other.create("/step/m", card("1"), Mode::Ephemeral).await.unwrap();
    let (slow, a_makes) = Altered::keeping(connect(&quorum, MINUTE), Back::Request, makes_ready);
    let a = entering(slow, "a", 2);
    a_makes.reached("the first `ready`").await;
    // One gives up, another comes, and counts two.
    other.delete("/step/m", Version::Any).await.unwrap();
    let (late, c_knows) = Altered::keeping(connect(&quorum, MINUTE), Back::Answer, makes_ready);
    let (slow, c_makes) = Altered::keeping(late, Back::Request, makes_ready);
    let c = entering(slow, "c", 2);
    c_makes.reached("the second `ready`").await;
    // The one who gave up is back for a moment, under its name.
    other.create("/step/m", card("2"), Mode::Ephemeral).await.unwrap();
    a_makes.go();
    let a = end("a", a).await.unwrap();
    other.delete("/step/m", Version::Any).await.unwrap();
    c_makes.go();
    c_knows.reached("the refusal").await;
    soon("the way out", a.exit()).await.unwrap();
    c_knows.go();
    settled(&*other, "/").await;
    assert!(!c.is_finished(), "alone inside: {:?}", c.await);
    let d = entering(other.clone(), "d", 2);
    let (c, d) = join!(end("c", c), end("d", d));
    all_exit([c.unwrap(), d.unwrap()]).await;
}

/// A member of another system takes `ready` away at once, which one of ours has made.
#[tokio::test]
async fn a_ready_of_ours_that_others_took_away_lets_in() {
    let quorum = MemoryQuorum::new();
    let theirs = connect(&quorum, MINUTE);
    theirs.create("/step", "", Mode::Persistent).await.unwrap();
    theirs.create("/step/a", "", Mode::Ephemeral).await.unwrap();
    let waits = connect(&quorum, MINUTE);
    let b = entering(waits.clone(), "b", 3);
    until_children(&*theirs, "/step", |names| names.len() == 2).await;
    settled(&*theirs, "/step").await;
    // Those who wait hear of it when it is gone.
    waits.late_event(Duration::from_secs(1));
    let (late, made) = Altered::keeping(connect(&quorum, MINUTE), Back::Answer, |request| {
        creates(request, "/step/ready")
    });
    let c = entering(late, "c", 3);
    made.reached("its making").await;
    theirs.delete("/step/ready", Version::Any).await.unwrap();
    made.go();
    quorum.advance(Duration::from_secs(1));
    assert_eq!(waits.bites().late, 1);
    let (b, c) = (end("b", b).await.unwrap(), end("c", c).await.unwrap());
    theirs.delete("/step/a", Version::Any).await.unwrap();
    all_exit([b, c]).await;
}

/// Whoever may not take its node away is told so, and does not wait for the end of its session.
#[tokio::test]
async fn whoever_may_not_leave_is_told() {
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum, MINUTE), connect(&quorum, MINUTE));
    let (a, b) = (entering(other.clone(), "a", 2), entering(conn.clone(), "b", 2));
    let (a, b) = (end("a", a).await.unwrap(), end("b", b).await.unwrap());
    let all_but = |perms| vec![Acl { perms, ..Acl::open().remove(0) }];
    let perms = Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN;
    conn.set_acl("/step", all_but(perms), Version::Any).await.unwrap();
    let err = soon("the refusal", b.exit()).await.unwrap_err();
    assert_eq!((err.kind(), err.op(), err.path()), (ErrorKind::NoAuth, "exit", "/step/b"));
    conn.set_acl("/step", Acl::open(), Version::Any).await.unwrap();
    // It goes as soon as it may.
    soon("the other", a.exit()).await.unwrap();
    until_children(&*conn, "/", |names| !names.iter().any(|name| name == "step")).await;
}

/// The last one out is of another system, and takes away one after the other what ours does at once.
#[tokio::test]
async fn whoever_goes_last_may_take_ready_away_itself() {
    let quorum = MemoryQuorum::new();
    let theirs = connect(&quorum, MINUTE);
    theirs.create("/step", "", Mode::Persistent).await.unwrap();
    theirs.create("/step/a", "", Mode::Ephemeral).await.unwrap();
    let b = end("b", entering(connect(&quorum, MINUTE), "b", 2)).await.unwrap();
    let out = spawned(b.exit());
    until_children(&*theirs, "/step", |names| names == ["a", "ready"]).await;
    theirs.delete("/step/a", Version::Any).await.unwrap();
    settled(&*theirs, "/step").await;
    theirs.delete("/step/ready", Version::Any).await.unwrap();
    theirs.delete("/step", Version::Any).await.unwrap();
    soon("the way out", out).await.unwrap().unwrap();
}

/// Between the look at the directory and `ready` somebody else writes to it.
#[tokio::test]
async fn who_makes_ready_undoes_nobody_s_write_to_the_directory() {
    let quorum = MemoryQuorum::new();
    let other = connect(&quorum, MINUTE);
    other.create("/step", "old", Mode::Persistent).await.unwrap();
    let is_ready = |request: &zkcells::Request| creates(request, "/step/ready");
    let (slow, making) = Altered::keeping(connect(&quorum, MINUTE), Back::Request, is_ready);
    let only = entering(slow, "a", 1);
    making.reached("`ready`").await;
    other.set("/step", "new", Version::Any).await.unwrap();
    making.go();
    let inside = end("the only one", only).await.unwrap();
    assert_eq!(other.get("/step").await.unwrap().data, "new");
    all_exit([inside]).await;
}
