//! Faults that meet whoever holds, or goes.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zkcells::recipes::Released;
use zkcells::testing::proxy::{Bites, Direction};
use zkcells::{Deadline, Loss};

use super::Met;
use crate::support::rig::{GRACE, Rig, SOON, TIMEOUT, gets_in, soon};

pub async fn releasing(rig: Rig, (meet, bites): Met) {
    let rig = rig.patient().await;
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    meet(&rig.proxy, rig.recipe.removal().below(rig.dir()));
    // Unless it takes so long to find out what became of it that the guard would be lost.
    let (until, released) = (held.valid_until(), soon("the release", held.release()).await);
    assert!(released == Released::Released || until.is_past(), "{released:?} before {until:?}");
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    gets_in(next, SOON).await;
    rig.nothing_left_of(id, SOON).await;
}

pub async fn released_in_a_partition(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    let until = held.valid_until();
    rig.proxy.black_hole(Direction::ToServer);
    // Nobody confirms it, so nobody waits for longer than it is held; or, without a promise until
    // when that is, for longer than for an answer.
    let bound = if rig.recipe.is_line() { TIMEOUT } else { Deadline::DEFAULT + TIMEOUT };
    let released = timeout(bound, held.release()).await.unwrap();
    assert!(released == Released::WasLost && until.is_past(), "{released:?}");
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    rig.proxy.heal();
    gets_in(next, SOON).await;
    rig.nothing_left_of(id, SOON).await;
}

pub async fn kept(rig: Rig, fault: fn(&Rig), bitten: fn(&Bites) -> bool) {
    let rig = rig.patient().await;
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    fault(&rig);
    rig.bitten(bitten).await;
    rig.proved_again(&*held).await;
    assert!(!next.is_finished(), "two are in");
    rig.passes_on(held, next).await;
}

pub async fn blinked(rig: Rig) {
    let rig = rig.patient().await;
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    rig.proxy.black_hole(Direction::Both);
    rig.bitten(|bites| bites.held > 0).await;
    sleep(Duration::from_millis(200)).await;
    rig.proxy.heal();
    rig.proved_again(&*held).await;
    rig.passes_on(held, next).await;
}

pub async fn session_over(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    // The proxy does it before its time, and no deadline could know of it: what is owed is that
    // the word is passed on.
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    let loss = soon("the word of it", held.lost()).await;
    let told = matches!(loss, Loss::SessionEnded | Loss::Deleted) || !rig.recipe.tells_why();
    assert!(told, "{loss:?}");
    assert!(!held.is_valid());
    let next = gets_in(next, SOON).await;
    assert_eq!(held.release().await, Released::WasLost);
    assert!(next.is_valid());
    rig.nothing_left_of(id, SOON).await;
}

pub async fn session_said_to_be_over(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.told_expired().await;
    rig.loses(held, next, &[Loss::SessionEnded], id).await;
}

pub async fn partitioned(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.proxy.black_hole(Direction::Both);
    rig.loses(held, next, &[Loss::Unproven], id).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
}

/// Requests come through and no answer does: the session lives, and nobody knows it.
pub async fn half_partitioned(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let (next, id) = (rig.contend(&rig.well).await, rig.session().await.id());
    rig.proxy.black_hole(Direction::ToClient);
    rig.loses(held, next, &[Loss::Unproven], id).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
}

/// Proofs count from when they were sent.
pub async fn slow(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.proxy.round_trip(TIMEOUT / 2 + Duration::from_millis(200));
    let loss = soon("the loss", held.lost()).await;
    assert!(loss == Loss::Unproven || !rig.recipe.tells_why(), "{loss:?}");
    assert!(!held.is_valid());
    rig.bitten(|bites| bites.delayed > 0).await;
    // Its session may well live on, so the place is given up.
    drop(held);
    assert!(!next.is_finished(), "its session is not over");
    rig.proxy.round_trip(Duration::ZERO);
    gets_in(next, TIMEOUT + GRACE).await;
    rig.nothing_left_of(id, TIMEOUT + GRACE).await;
}
