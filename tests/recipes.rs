//! What every recipe with a guard promises, in memory, on one quorum and on the tree over all cells.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::time::Duration;

use support::beds::Bed;
use support::recipes::all;
use support::soon;
use zkcells::recipes::{FencedRegister, Lock, LockNames, Released};
use zkcells::{ConnExt as _, ErrorKind, Loss, Version};

on_each_bed![
    one_at_a_time_with_growing_tokens_and_nothing_left,
    a_deleted_node_is_a_loss_and_the_next_one_gets_in,
    a_register_in_another_place_refuses_who_was_late,
    locks_with_the_names_of_all_systems_exclude_one_another,
];

async fn one_at_a_time_with_growing_tokens_and_nothing_left(bed: Bed) {
    for recipe in all().into_iter().filter(|recipe| recipe.is_exclusive()) {
        let (first, second) = (bed.conn().await, bed.conn().await);
        let path = bed.at(recipe.name());
        recipe.prepare(first.clone(), &path).await;
        let held = soon("the first", recipe.acquire(first.clone(), &path)).await.unwrap();
        assert!(held.is_valid(), "{}", recipe.name());
        let mut waits = tokio::spawn(recipe.acquire(second.clone(), &path));
        // Long enough to come in, if it could.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut waits).await;
        assert!(early.is_err(), "{}: two hold it", recipe.name());
        let token = held.token().clone();
        assert_eq!(held.release().await, Released::Released, "{}", recipe.name());
        let next = soon("the second", waits).await.unwrap().unwrap();
        assert!(*next.token() > token, "{}: {} behind {token}", recipe.name(), next.token());
        assert_eq!(next.release().await, Released::Released, "{}", recipe.name());
        for conn in [first, second] {
            assert!(conn.ephemerals(recipe.dir(&path)).await.unwrap().is_empty());
        }
    }
}

async fn a_deleted_node_is_a_loss_and_the_next_one_gets_in(bed: Bed) {
    for recipe in all().into_iter().filter(|recipe| recipe.is_exclusive() && recipe.is_line()) {
        let (first, second) = (bed.conn().await, bed.conn().await);
        let path = bed.at(recipe.name());
        recipe.prepare(first.clone(), &path).await;
        let held = soon("the first", recipe.acquire(first.clone(), &path)).await.unwrap();
        second.delete(held.path(), Version::Any).await.unwrap();
        assert_eq!(soon("the loss", held.lost()).await, Loss::Deleted, "{}", recipe.name());
        assert!(!held.is_valid());
        let next = soon("the second", recipe.acquire(second.clone(), &path)).await.unwrap();
        assert_eq!(held.release().await, Released::WasLost, "{}", recipe.name());
        assert!(next.is_valid(), "{}: another's release is nothing to it", recipe.name());
        next.release().await;
    }
}

async fn a_register_in_another_place_refuses_who_was_late(bed: Bed) {
    let conn = bed.conn().await;
    let lock = Lock::new(conn.clone(), bed.at("lock"));
    let elsewhere = Bed::memory();
    let register = FencedRegister::new(elsewhere.conn().await, elsewhere.at("state"));
    let late = lock.acquire().await.unwrap();
    let old = late.token().clone();
    late.release().await;
    let guard = lock.acquire().await.unwrap();
    register.write(guard.token(), "new").await.unwrap();
    let err = register.write(&old, "old").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::StaleToken);
    assert_eq!(register.read().await.unwrap().unwrap().data, "new");
}

async fn locks_with_the_names_of_all_systems_exclude_one_another(bed: Bed) {
    let systems = [LockNames::Vitess, LockNames::Curator, LockNames::Kazoo, LockNames::Zksync];
    let path = bed.at("lock");
    let (conn, other) = (bed.conn().await, bed.conn().await);
    for names in systems {
        let guard = Lock::new(conn.clone(), &*path).with_names(names).acquire().await.unwrap();
        for theirs in systems {
            let lock = Lock::new(other.clone(), &*path).with_names(theirs);
            assert!(lock.try_acquire().await.unwrap().is_none(), "{theirs:?} beside {names:?}");
        }
        assert_eq!(guard.release().await, Released::Released);
    }
}
