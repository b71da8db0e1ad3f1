//! The double barrier: parties, rounds, and who may take part.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use zkcells::recipes::{DoubleBarrier, Inside};
use zkcells::{Conn, ConnExt as _, Error, ErrorKind, Loss, Mode, Version, tree};

use crate::support::beds::{Bed, until_children};
use crate::support::soon;
use crate::{end, settled, spawned};

crate::on_each_bed![
    nobody_enters_before_all_have_and_nobody_leaves_before_all_do,
    whoever_is_alone_leaves_nothing_behind,
    a_cancelled_enter_has_not_entered,
    a_member_that_dies_holds_nobody_up,
    others_who_count_otherwise_are_told,
    an_id_is_taken_by_one,
    one_too_many_is_told,
    a_ready_that_a_crash_has_left_lets_nobody_in,
    a_newcomer_waits_for_the_round_to_be_over,
    whoever_counted_last_and_died_is_replaced,
    whose_node_is_deleted_inside_is_told,
    what_the_first_has_left_by_dying_is_cleared_up,
    one_object_goes_through_many_rounds,
    a_ready_of_another_system_counts_if_it_can,
    exits_have_an_end,
];

fn party(conn: &Arc<dyn Conn>, path: &str, id: &str, parties: usize) -> DoubleBarrier {
    DoubleBarrier::new(conn.clone(), path, id, parties)
}

type Entering = tokio::task::JoinHandle<Result<Inside, Error>>;

/// So many parties `a`, `b`… on their way in, each of a session of its own.
async fn entering(b: &Bed, path: &str, ids: &[&str], parties: usize) -> Vec<Entering> {
    let mut all = Vec::new();
    for id in ids {
        let party = party(&b.conn().await, path, id, parties);
        all.push(spawned(async move { party.enter().await }));
    }
    all
}

async fn inside(entering: Vec<Entering>) -> Vec<Inside> {
    let all = soon("all parties", join_all(entering)).await;
    all.into_iter().map(|one| one.unwrap().unwrap()).collect()
}

async fn all_exit(inside: Vec<Inside>) {
    let out = soon("the exit of all", join_all(inside.into_iter().map(Inside::exit))).await;
    out.into_iter().for_each(|one| one.unwrap());
}

async fn nobody_enters_before_all_have_and_nobody_leaves_before_all_do(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("a/step"));
    let early = entering(&b, &path, &["a", "b", "c", "d"], 5).await;
    until_children(&conn, &path, |names| names.len() == 4).await;
    settled(&conn, &path).await;
    assert!(early.iter().all(|one| !one.is_finished()));
    let mut late = entering(&b, &path, &["e"], 5).await;
    late.extend(early);
    let mut inside = inside(late).await;
    assert!(inside.iter().all(|one| one.token() == inside[0].token() && one.is_valid()));
    let last = inside.pop().unwrap();
    let leaving: Vec<_> = inside.into_iter().map(|one| spawned(one.exit())).collect();
    // All but whose name comes first, and who has not left yet.
    until_children(&conn, &path, |names| names.len() <= 3).await;
    settled(&conn, &path).await;
    assert!(leaving.iter().all(|one| !one.is_finished()));
    soon("the last one", last.exit()).await.unwrap();
    for one in leaving {
        assert_eq!(end("the others", one).await, Ok(()));
    }
    assert!(conn.exists(&path).await.unwrap().is_none(), "the directory is left");
}

async fn whoever_is_alone_leaves_nothing_behind(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let inside = party(&conn, &path, "only", 1).enter().await.unwrap();
    assert_eq!(conn.children(&path).await.unwrap().names, ["only", "ready"]);
    inside.exit().await.unwrap();
    assert!(conn.exists(&path).await.unwrap().is_none());
}

async fn a_cancelled_enter_has_not_entered(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let (one, two) = (party(&conn, &path, "a", 3), party(&conn, &path, "b", 3));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let one = spawned(async move { one.enter_unless(async { drop(stopped.await) }).await });
    let err = two.enter_within(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert!(err.to_string().contains("of 3 parties, "), "{err}");
    stop.send(()).unwrap();
    assert_eq!(end("the cancelled one", one).await.unwrap_err(), ErrorKind::Cancelled);
    until_children(&conn, &path, <[String]>::is_empty).await;
    let third = spawned({
        let third = party(&conn, &path, "c", 3);
        async move { third.enter().await }
    });
    until_children(&conn, &path, |names| names == ["c"]).await;
    // They may come again, under the same names.
    let mut all = entering(&b, &path, &["a", "b"], 3).await;
    all.push(third);
    all_exit(inside(all).await).await;
}

async fn a_member_that_dies_holds_nobody_up(b: Bed) {
    let path = b.at("step");
    let dying = b.conn().await;
    let zero = spawned({
        let zero = party(&dying, &path, "0", 3);
        async move { zero.enter().await }
    });
    let mut all = entering(&b, &path, &["1", "2"], 3).await;
    all.insert(0, zero);
    let mut inside = inside(all).await;
    let zero = inside.remove(0);
    dying.close().await.unwrap();
    all_exit(inside).await;
    assert_eq!(zero.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
}

async fn others_who_count_otherwise_are_told(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let three = entering(&b, &path, &["a"], 3).await;
    until_children(&conn, &path, |names| names.len() == 1).await;
    for parties in [1, 2, 4] {
        let other = party(&conn, &path, "z", parties);
        let err = soon("the disagreement", other.enter()).await.unwrap_err();
        assert_eq!((err.kind(), err.op()), (ErrorKind::Disagreement, "enter"), "{err}");
    }
    assert!(!three[0].is_finished());
    three[0].abort();
    until_children(&conn, &path, <[String]>::is_empty).await;
    // Nobody is there any more who wanted three.
    let two = entering(&b, &path, &["a", "b"], 2).await;
    all_exit(inside(two).await).await;
}

async fn an_id_is_taken_by_one(b: Bed) {
    let (conn, other, path) = (b.conn().await, b.conn().await, b.at("step"));
    let first = spawned({
        let first = party(&conn, &path, "a", 2);
        async move { first.enter().await }
    });
    until_children(&conn, &path, |names| names.len() == 1).await;
    // Of the same session, and of another one.
    for conn in [&conn, &other] {
        let err = soon("the refusal", party(conn, &path, "a", 2).enter()).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NodeExists, "{err}");
        assert!(err.to_string().contains(&std::process::id().to_string()), "{err}");
    }
    assert_eq!(conn.children(&path).await.unwrap().names, ["a"]);
    assert!(!first.is_finished());
}

async fn one_too_many_is_told(b: Bed) {
    let path = b.at("step");
    for _ in 0..5 {
        let all = entering(&b, &path, &["a", "b", "c"], 2).await;
        let ends = soon("the ends", async {
            // The surplus one waits only if it came when the others were inside already.
            let (mut inside, mut told) = (Vec::new(), 0);
            let mut rest = all;
            while !rest.is_empty() {
                let (end, _, others) = futures::future::select_all(rest).await;
                rest = others;
                match end.unwrap() {
                    Ok(one) => inside.push(one),
                    Err(err) => {
                        assert_eq!(err.kind(), ErrorKind::Disagreement, "{err}");
                        told += 1;
                    }
                }
                if inside.len() == 2 && !rest.is_empty() {
                    rest.drain(..).for_each(|one| one.abort());
                }
            }
            (inside, told)
        });
        let (inside, told) = ends.await;
        assert!(inside.len() == 2 && told <= 1, "{} inside, {told} told", inside.len());
        all_exit(inside).await;
    }
}

async fn a_ready_that_a_crash_has_left_lets_nobody_in(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let mut crashed = Vec::new();
    let mut tasks = Vec::new();
    for id in ["a", "b"] {
        let conn = b.conn().await;
        let party = party(&conn, &path, id, 2);
        crashed.push(conn);
        tasks.push(spawned(async move { party.enter().await }));
    }
    let lost = inside(tasks).await;
    for conn in crashed {
        conn.close().await.unwrap();
    }
    until_children(&conn, &path, |names| names == ["ready"]).await;
    let lone = entering(&b, &path, &["a"], 2).await;
    until_children(&conn, &path, |names| names == ["a"]).await;
    settled(&conn, &path).await;
    assert!(!lone[0].is_finished(), "a stale `ready` let somebody in");
    let mut both = entering(&b, &path, &["b"], 2).await;
    both.extend(lone);
    let inside = inside(both).await;
    assert!(lost[0].token().zxid() < inside[0].token().zxid());
    all_exit(inside).await;
}

async fn a_newcomer_waits_for_the_round_to_be_over(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let mut round = inside(entering(&b, &path, &["a", "b"], 2).await).await;
    let leaving = spawned(round.remove(0).exit());
    let newcomers = entering(&b, &path, &["0", "c"], 2).await;
    settled(&conn, &path).await;
    assert!(newcomers.iter().all(|one| !one.is_finished()) && !leaving.is_finished());
    all_exit(round).await;
    assert_eq!(end("the first", leaving).await, Ok(()));
    // The next round is theirs.
    all_exit(inside(newcomers).await).await;
    assert!(conn.exists(&path).await.unwrap().is_none());
}

/// Three of three nodes were there and nobody looked again, when the last to count had died.
async fn whoever_counted_last_and_died_is_replaced(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let waiting = entering(&b, &path, &["a"], 3).await;
    until_children(&conn, &path, |names| names.len() == 1).await;
    for id in ["b", "c"] {
        conn.create(format!("{path}/{id}"), "", Mode::Ephemeral).await.unwrap();
    }
    let inside = inside(waiting).await;
    conn.close().await.unwrap();
    all_exit(inside).await;
}

async fn whose_node_is_deleted_inside_is_told(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let mut inside = inside(entering(&b, &path, &["a", "b"], 2).await).await;
    conn.delete(format!("{path}/a"), Version::Any).await.unwrap();
    assert_eq!(soon("the loss", inside[0].lost()).await, Loss::Deleted);
    let err = inside.remove(0).exit().await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Revoked, "exit"));
    all_exit(inside).await;
}

async fn what_the_first_has_left_by_dying_is_cleared_up(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let dying = b.conn().await;
    let first = spawned({
        let first = party(&dying, &path, "a", 3);
        async move { first.enter().await }
    });
    let mut all = entering(&b, &path, &["b", "c"], 3).await;
    all.insert(0, first);
    let mut inside = inside(all).await;
    let first = inside.remove(0);
    let leaving: Vec<_> = inside.into_iter().map(|one| spawned(one.exit())).collect();
    until_children(&conn, &path, |names| names == ["a", "ready"]).await;
    dying.close().await.unwrap();
    for one in leaving {
        assert_eq!(end("the rest", one).await, Ok(()));
    }
    assert!(conn.exists(&path).await.unwrap().is_none(), "`ready` is left");
    drop(first);
}

async fn one_object_goes_through_many_rounds(b: Bed) {
    let path = b.at("step");
    let mut tasks = Vec::new();
    let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for id in ["a", "b", "c"] {
        let (party, inside) = (party(&b.conn().await, &path, id, 3), inside.clone());
        tasks.push(tokio::spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            for round in 0..20 {
                inside.fetch_add(1, SeqCst);
                let guard = party.enter().await.unwrap();
                let came = inside.load(SeqCst);
                assert!(came >= 3 * (round + 1), "let in with {came} calls, in round {round}");
                guard.exit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        soon("all rounds", task).await.unwrap();
    }
}

/// Those of Go, Curator and Kazoo say nothing in it.
async fn a_ready_of_another_system_counts_if_it_can(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    tree::create_all(&conn, &path, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{path}/go"), "", Mode::Ephemeral).await.unwrap();
    let waiting = entering(&b, &path, &["a"], 2).await;
    until_children(&conn, &path, |names| names.len() == 2 || names.len() == 3).await;
    // Either may be faster.
    drop(conn.create(format!("{path}/ready"), "", Mode::Persistent).await);
    let mut inside = inside(waiting).await;
    let out = spawned(inside.remove(0).exit());
    // It is the first by name, and waits for the other.
    settled(&conn, &path).await;
    assert!(!out.is_finished());
    conn.delete(format!("{path}/go"), Version::Any).await.unwrap();
    assert_eq!(end("the exit", out).await, Ok(()));
    // A Go client that takes two lets in nobody who takes three.
    let waiting = entering(&b, &path, &["a"], 3).await;
    until_children(&conn, &path, |names| names.len() == 1).await;
    conn.create(format!("{path}/go"), "", Mode::Ephemeral).await.unwrap();
    conn.create(format!("{path}/ready"), "", Mode::Persistent).await.unwrap();
    for one in waiting {
        assert_eq!(end("the disagreement", one).await.unwrap_err(), ErrorKind::Disagreement);
    }
}

/// Kazoo's clients delete `ready` as soon as the first of them leaves.
#[tokio::test]
async fn a_ready_that_is_gone_at_once_has_been_seen() {
    // In memory, where it is known when the waiter has left its watch.
    let b = Bed::memory();
    let (conn, path) = (b.conn().await, b.at("step"));
    let waiting = entering(&b, &path, &["b"], 2).await;
    until_children(&conn, &path, |names| names.len() == 1).await;
    settled(&conn, &path).await;
    // Before its own node is there, so that the one that waits cannot make `ready` itself.
    let kazoo = zkcells::Multi::new().create(format!("{path}/a"), "", Mode::Ephemeral).create(
        format!("{path}/ready"),
        "",
        Mode::Persistent,
    );
    conn.multi(kazoo).await.unwrap();
    let gone = zkcells::Multi::new()
        .delete(format!("{path}/ready"), Version::Any)
        .delete(format!("{path}/a"), Version::Any);
    conn.multi(gone).await.unwrap();
    all_exit(inside(waiting).await).await;
}

async fn exits_have_an_end(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("step"));
    let mut inside = inside(entering(&b, &path, &["a", "b", "c"], 3).await).await;
    let short = Duration::from_millis(50);
    let err = inside.pop().unwrap().exit_within(short).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Timeout, "exit"));
    let err = inside.remove(0).exit_unless(tokio::time::sleep(short)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
    until_children(&conn, &path, |names| names == ["b", "ready"]).await;
    all_exit(inside).await;
    assert!(conn.exists(&path).await.unwrap().is_none());
}
