//! Faults that meet whoever arrives.

use std::time::Duration;

use tokio::time::sleep;
use zkcells::recipes::Inside;
use zkcells::testing::proxy::OpKind;
use zkcells::{ConnExt as _, Mode, Version};

use super::Met;
use super::scene::{Meeting, PARTIES, SUFFERS, Scene, Through, all_leave, comes_through};
use crate::support::rig::{soon, turn};

/// A request of somebody who comes behind `before` others fails; it is counted once all the same.
pub async fn arriving(scene: Scene, kind: OpKind, (meet, bites): Met, before: usize) {
    let mut all = Vec::new();
    for id in ["a", "z"].into_iter().take(before) {
        all.push(scene.arrived(&scene.well, id).await);
    }
    meet(&scene.proxy, kind.below(&*scene.path));
    all.push(scene.coming(&scene.faulty, SUFFERS));
    scene.bitten(|b| bites(b) == 1).await;
    if before + 1 < PARTIES {
        while scene.there().await.len() <= before {
            turn().await;
        }
        // Whoever is counted twice lets one too few in.
        scene.faulty.sync(&scene.path).await.unwrap();
        assert_eq!(scene.there().await.len(), before + 1);
        if scene.meeting.is_cyclic() {
            assert_eq!(scene.state().await["arrived"].as_array().unwrap().len(), before + 1);
        }
        all.extend(scene.rest(before));
    }
    scene.through(all).await;
    let arrives = scene.meeting.arrives();
    assert!(
        scene.meeting == Meeting::Double || scene.state().await["generation"] == 1,
        "{:?}",
        scene.state().await
    );
    if arrives == kind && scene.meeting == Meeting::Double {
        assert_eq!(scene.passed(arrives), 1, "its node is found again, and not made twice");
    }
    scene.next_ones().await;
}

/// The transaction that makes `ready` fails. The others are of a system that does not count again.
pub async fn beginning(scene: Scene, (meet, bites): Met) {
    for id in ["a", "z"] {
        scene.well.create(format!("{}/{id}", scene.path), "", Mode::Ephemeral).await.unwrap();
    }
    meet(&scene.proxy, OpKind::Multi.below(&*scene.path));
    let inside = comes_through(scene.coming(&scene.faulty, SUFFERS)).await;
    assert_eq!(bites(&scene.proxy.bites()), 1, "the fault did not bite");
    scene.well.sync(&scene.path).await.unwrap();
    let ready = scene.well.exists(format!("{}/ready", scene.path)).await.unwrap().unwrap();
    assert_eq!(ready.version, 0);
    for id in ["a", "z"] {
        scene.well.delete(format!("{}/{id}", scene.path), Version::Any).await.unwrap();
    }
    scene.out(vec![inside]).await;
    scene.next_ones().await;
}

/// Three others are inside.
async fn others_inside(scene: &Scene) -> Vec<Inside> {
    let others = [(&scene.well, "a"), (&scene.third, "b"), (&scene.third, "z")];
    let mut inside = Vec::new();
    for one in others.map(|(conn, id)| scene.coming(conn, id)) {
        match comes_through(one).await {
            Through::Inside(one) => inside.push(*one),
            through => panic!("{through:?}"),
        }
    }
    inside
}

/// A round of others is on, so whoever comes takes its node away, and that fails.
pub async fn making_way(scene: Scene, (meet, bites): Met) {
    let inside = others_inside(&scene).await;
    meet(&scene.proxy, OpKind::Multi.below(&*scene.path));
    let newcomer = scene.coming(&scene.faulty, SUFFERS);
    scene.bitten(|b| bites(b) == 1).await;
    let way = async {
        while scene.there().await.iter().any(|name| name == SUFFERS) {
            turn().await;
        }
    };
    soon("the way", way).await;
    assert!(!newcomer.is_finished());
    all_leave(inside).await;
    let mut all = scene.rest(0);
    all.push(newcomer);
    scene.through(all).await;
    scene.next_ones().await;
}

/// The same, and all is gone by the time at which it finds out that nobody can tell.
pub async fn making_way_too_late(scene: Scene) {
    let inside = others_inside(&scene).await;
    scene.proxy.refuse();
    scene.proxy.swallow_reply(OpKind::Multi.below(&*scene.path));
    let newcomer = scene.coming(&scene.faulty, SUFFERS);
    scene.bitten(|bites| bites.swallowed == 1 && bites.refused > 0).await;
    all_leave(inside).await;
    assert!(scene.well.exists(&*scene.path).await.unwrap().is_none());
    scene.proxy.join();
    let mut all = scene.rest(0);
    all.push(newcomer);
    scene.through(all).await;
    scene.next_ones().await;
}

/// What proves that the own node is there fails, when an earlier write of the session proves nothing
/// any more.
pub async fn proving(scene: Scene, (meet, bites): Met) {
    let (faulty, mut all) = scene.waiting(1).await;
    sleep(scene.session().await.valid_until().remaining()).await;
    meet(&scene.proxy, OpKind::Check.below(&*scene.path));
    all.push(faulty);
    all.extend(scene.rest(1));
    scene.bitten(|b| bites(b) == 1).await;
    scene.through(all).await;
}

/// Answers come late, for all that it does.
pub async fn slow(scene: Scene) {
    scene.proxy.round_trip(Duration::from_millis(300));
    let mut all = vec![scene.coming(&scene.faulty, SUFFERS)];
    all.extend(scene.rest(0));
    scene.through(all).await;
    assert!(scene.proxy.bites().delayed > 0, "the fault did not bite");
}
