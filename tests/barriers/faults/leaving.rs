//! Faults that meet whoever is inside a double barrier, or on its way out.

use zkcells::recipes::Inside;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::{ConnExt as _, ErrorKind, Loss, Version};

use super::Met;
use super::scene::{SUFFERS, Scene, Through, all_leave, comes_through};
use crate::support::all_answered;
use crate::support::rig::{GRACE, SOON, TIMEOUT, soon, turn};

/// Three inside: the one behind the proxy, called `id`, and two others.
async fn inside(scene: &Scene, id: &str) -> (Inside, Vec<Inside>) {
    let others = ["b", "y"].map(|id| scene.coming(&scene.well, id));
    let mut all = vec![scene.coming(&scene.faulty, id)];
    all.extend(others);
    let mut inside = Vec::new();
    for one in all {
        match comes_through(one).await {
            Through::Inside(one) => inside.push(*one),
            through => panic!("{through:?}"),
        }
    }
    let ours = inside.remove(0);
    (ours, inside)
}

async fn nothing_is_left(scene: &Scene) {
    assert_eq!(scene.there().await, [""; 0]);
    let ready = scene.well.exists(format!("{}/ready", scene.path)).await.unwrap();
    assert!(ready.is_none(), "`ready` is left");
    scene.next_ones().await;
}

/// A request on the way out fails. Whoever is the first by name is the last to go.
pub async fn leaving(scene: Scene, id: &str, kind: OpKind, (meet, bites): Met) {
    let (ours, mut others) = inside(&scene, id).await;
    meet(&scene.proxy, kind.below(&*scene.path));
    let out = tokio::spawn(ours.exit());
    let rest = others.pop().unwrap();
    let theirs = tokio::spawn(others.pop().unwrap().exit());
    if kind != OpKind::Multi {
        scene.bitten(|b| bites(b) == 1).await;
    }
    assert!(!out.is_finished() && !theirs.is_finished(), "out before the last one");
    soon("the last one", rest.exit()).await.unwrap();
    soon("the way out", out).await.unwrap().unwrap();
    soon("the way out", theirs).await.unwrap().unwrap();
    assert_eq!(bites(&scene.proxy.bites()), 1, "the fault did not bite");
    nothing_is_left(&scene).await;
}

/// It waits for the others to leave, and something happens meanwhile.
pub async fn waiting_to_leave(
    scene: Scene,
    id: &str,
    fault: fn(&FaultProxy),
    bitten: fn(&Bites) -> bool,
) {
    let (ours, others) = inside(&scene, id).await;
    scene.proxy.clear_log();
    let out = tokio::spawn(ours.exit());
    let watches = async {
        // Of one who is not the first the own node goes before.
        let watched = |log: &[zkcells::testing::proxy::LogEntry]| {
            log.iter().any(|entry| {
                entry.is_request(OpKind::Read)
                    && entry.op == Some(zkcells::testing::wire::OpCode::Exists)
                    && entry.paths.iter().all(|path| !path.ends_with(&format!("/{id}")))
            })
        };
        loop {
            let log = scene.proxy.log();
            if watched(&log) && all_answered(&log) {
                break;
            }
            turn().await;
        }
    };
    soon("its watch", watches).await;
    fault(&scene.proxy);
    all_leave(others).await;
    soon("the way out", out).await.unwrap().unwrap();
    scene.bitten(bitten).await;
    nothing_is_left(&scene).await;
}

/// It is lost by what happens, knows that before its node goes, and holds nobody up.
pub async fn lost(scene: Scene, fault: fn(&Scene), bitten: fn(&Bites) -> bool) {
    let (ours, others) = inside(&scene, SUFFERS).await;
    let id = scene.session().await.id();
    let leaving: Vec<_> = others.into_iter().map(|one| tokio::spawn(one.exit())).collect();
    fault(&scene);
    assert_eq!(soon("the loss", ours.lost()).await, Loss::Unproven);
    assert!(leaving.iter().all(|one| !one.is_finished()), "out before it was lost");
    assert_eq!(ours.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
    scene.nothing_left_of(id, TIMEOUT + GRACE).await;
    for one in leaving {
        soon("the others", one).await.unwrap().unwrap();
    }
    scene.bitten(bitten).await;
    scene.proxy.cut();
    scene.proxy.heal();
    nothing_is_left(&scene).await;
}

pub async fn session_over(scene: Scene, exiting: bool) {
    // The first by name keeps its node until it is the last.
    let (ours, others) = inside(&scene, "a").await;
    if exiting {
        let out = tokio::spawn(ours.exit());
        assert_eq!(scene.proxy.end_sessions().await.unwrap(), 1);
        let err = soon("the word of it", out).await.unwrap().unwrap_err();
        assert!([ErrorKind::SessionExpired, ErrorKind::Revoked].contains(&err.kind()), "{err}");
    } else {
        assert_eq!(scene.proxy.end_sessions().await.unwrap(), 1);
        let loss = soon("the word of it", ours.lost()).await;
        assert!(matches!(loss, Loss::SessionEnded | Loss::Deleted), "{loss:?}");
        let err = ours.exit().await.unwrap_err();
        assert!([ErrorKind::SessionExpired, ErrorKind::Revoked].contains(&err.kind()), "{err}");
    }
    all_leave(others).await;
    nothing_is_left(&scene).await;
}

pub async fn session_said_to_be_over(scene: Scene) {
    let (ours, others) = inside(&scene, SUFFERS).await;
    let leaving: Vec<_> = others.into_iter().map(|one| tokio::spawn(one.exit())).collect();
    scene.told_expired().await;
    assert_eq!(soon("the loss", ours.lost()).await, Loss::SessionEnded);
    assert_eq!(ours.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
    for one in leaving {
        tokio::time::timeout(TIMEOUT + GRACE, one).await.unwrap().unwrap().unwrap();
    }
    nothing_is_left(&scene).await;
}

/// The own node is deleted: inside, or while it waits for the others to leave.
pub async fn deleted(scene: Scene, exiting: bool) {
    let (ours, others) = inside(&scene, "a").await;
    let node = format!("{}/a", scene.path);
    if exiting {
        let out = tokio::spawn(ours.exit());
        scene.third.delete(&node, Version::Any).await.unwrap();
        let err = soon("the word of it", out).await.unwrap().unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    } else {
        scene.third.delete(&node, Version::Any).await.unwrap();
        assert_eq!(soon("the word of it", ours.lost()).await, Loss::Deleted);
        let err = ours.exit().await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    }
    all_leave(others).await;
    nothing_is_left(&scene).await;
}

/// Nobody waits for one who is away, but for as long as its session may live.
pub async fn left_in_a_partition(scene: Scene) {
    let (ours, others) = inside(&scene, SUFFERS).await;
    scene.proxy.black_hole(Direction::ToServer);
    let until = ours.valid_until();
    let out = tokio::time::timeout(SOON + GRACE, ours.exit()).await.expect("it hangs");
    assert!(out.is_err() && until.is_past(), "{out:?}");
    let leaving: Vec<_> = others.into_iter().map(|one| tokio::spawn(one.exit())).collect();
    for one in leaving {
        soon("the others", one).await.unwrap().unwrap();
    }
    assert!(scene.proxy.bites().held > 0, "the fault did not bite");
    scene.proxy.heal();
    nothing_is_left(&scene).await;
}
