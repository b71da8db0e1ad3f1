//! Faults that meet whoever comes.

use zkcells::testing::proxy::{Fate, OpKind};
use zkcells::tree;

use super::Met;
use crate::support::rig::{Rig, SOON, gets_in};

/// A request of somebody who comes alone fails.
pub async fn entering(rig: Rig, kind: OpKind, (meet, bites): Met) {
    meet(&rig.proxy, kind.below(rig.dir()));
    let held = rig.take(&rig.faulty).await;
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    let id = rig.session().await.id();
    assert_eq!(rig.nodes_of(id).await, [held.path().clone()], "one node of its own");
    let log = rig.proxy.log();
    let makes = rig.recipe.makes();
    let stem = rig.recipe.stem();
    let made = log.iter().filter(|entry| entry.is_request(makes) && entry.fate == Fate::Passed);
    let own = made.filter(|entry| entry.paths.iter().any(|path| path.ends_with(stem))).count();
    assert_eq!(own, 1, "its node is found again, and not made twice");
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

/// The directory goes before the one who came knows whether his node was in it.
pub async fn directory_gone(rig: Rig) {
    rig.proxy.refuse();
    rig.proxy.swallow_reply(OpKind::Create.below(rig.dir()));
    let taking = tokio::spawn(rig.recipe.acquire(rig.faulty.clone(), &rig.path));
    rig.bitten(|bites| bites.swallowed == 1 && bites.refused > 0).await;
    tree::remove_all(&rig.third, rig.dir()).await.unwrap();
    rig.recipe.prepare(rig.third.clone(), &rig.path).await;
    rig.proxy.join();
    let held = gets_in(taking, SOON).await;
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

/// A request of somebody who comes while another holds it fails.
pub async fn joining(rig: Rig, kind: OpKind, (meet, bites): Met) {
    let holder = rig.take(&rig.well).await;
    meet(&rig.proxy, kind.below(rig.dir()));
    let contender = rig.contend(&rig.faulty).await;
    rig.bitten(|b| bites(b) == 1).await;
    rig.comes_to_its_turn(holder, contender).await;
}
