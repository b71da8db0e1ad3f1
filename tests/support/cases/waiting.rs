//! Faults that meet whoever waits.

use tokio::time::sleep;
use zkcells::recipes::Released;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::{ConnExt as _, ErrorKind};

use super::Met;
use crate::support::rig::{GRACE, Rig, SOON, TIMEOUT, gets_in};

pub async fn still_waits(rig: Rig, fault: fn(&Rig), bitten: fn(&Bites) -> bool) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    fault(&rig);
    rig.bitten(bitten).await;
    rig.faulty.sync("/").await.unwrap();
    rig.comes_to_its_turn(holder, contender).await;
}

/// The event that tells the waiter of its turn is not as it should be.
pub async fn event(rig: Rig, fault: fn(&FaultProxy), bitten: fn(&Bites) -> bool) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    let last = rig.contend(&rig.third).await;
    fault(&rig.proxy);
    assert_eq!(holder.release().await, Released::Released);
    rig.bitten(bitten).await;
    let held = gets_in(contender, TIMEOUT + GRACE).await;
    assert!(!last.is_finished(), "two are in");
    rig.passes_on(held, last).await;
}

/// A request that the waiter makes when its turn has come fails.
pub async fn turning(rig: Rig, kind: OpKind, (meet, bites): Met) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    // Its last write proves nothing any more, so there must be another proof.
    let session = rig.session().await;
    sleep(session.valid_until().remaining()).await;
    meet(&rig.proxy, kind.below(rig.dir()));
    assert_eq!(holder.release().await, Released::Released);
    let held = gets_in(contender, TIMEOUT + GRACE).await;
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    let next = rig.contend(&rig.third).await;
    rig.passes_on(held, next).await;
}

pub async fn cut_as_the_turn_comes(rig: Rig) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    rig.proxy.down();
    assert_eq!(holder.release().await, Released::Released);
    rig.bitten(|bites| bites.cut == 1 && bites.refused > 0).await;
    rig.proxy.join();
    let held = gets_in(contender, SOON).await;
    let next = rig.contend(&rig.third).await;
    rig.passes_on(held, next).await;
}

pub async fn session_over_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}

pub async fn session_said_to_be_over_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    rig.told_expired().await;
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}

pub async fn partitioned_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    rig.proxy.black_hole(Direction::Both);
    rig.nothing_left_of(id, TIMEOUT + GRACE).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    // What ran into the hole is lost, or it would come out as of now.
    rig.proxy.cut();
    rig.proxy.heal();
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}
