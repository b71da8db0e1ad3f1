//! Each barrier while servers stand still, are cut off, or die.

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::sleep;
use zkcells::testing::servers::Ensemble;
use zkcells::{ConnExt as _, ErrorKind, Loss, ZkConn};

use super::ensemble;
use super::gate::{Gate, Waiter, passes};
use super::scene::{
    Coming, MEETINGS, Meeting, PATIENT, SUFFERS, Scene, Through, all_leave, comes_through,
    comes_through_within, is_told,
};
use super::waiting::{are_told_who_is_gone, go_through_with_two_more};
use crate::support::random::rounds;
use crate::support::rig::{GRACE, TIMEOUT, connect, side_by_side, soon};

/// A party that waits at a server that will fail, and one at another that waits with it.
struct Waits {
    scene: Scene,
    faulty: Coming,
    others: Vec<Coming>,
}

/// Three inside, one of them at a server that will fail.
struct Inside {
    scene: Scene,
    ours: zkcells::recipes::Inside,
    others: Vec<zkcells::recipes::Inside>,
}

/// What meets the fault of `server`: each meeting waiting, a round that is on, and a gate.
struct Suffering {
    waits: Vec<Waits>,
    inside: Inside,
    gate: (Gate, Waiter),
}

async fn suffering(ensemble: &Ensemble, server: usize, healthy: usize) -> Suffering {
    let at = (ensemble.addr(server), ensemble.addr(healthy));
    let waits = join_all(MEETINGS.map(|meeting| async move {
        let scene = Scene::new(meeting, at.0, at.1, TIMEOUT).await;
        let (faulty, others) = scene.waiting(1).await;
        Waits { scene, faulty, others }
    }));
    let inside = async {
        let scene = Scene::new(Meeting::Double, at.0, at.1, TIMEOUT).await;
        let ids = [(&scene.faulty, SUFFERS), (&scene.well, "a"), (&scene.third, "z")];
        let mut inside = Vec::new();
        for one in ids.map(|(conn, id)| scene.coming(conn, id)) {
            match comes_through(one).await {
                Through::Inside(one) => inside.push(*one),
                through => panic!("{through:?}"),
            }
        }
        let ours = inside.remove(0);
        Inside { scene, ours, others: inside }
    };
    let gate = async {
        let gate = Gate::new(at.0, at.1, TIMEOUT).await;
        let waiter = gate.waiting().await;
        (gate, waiter)
    };
    let (waits, inside, gate) = tokio::join!(waits, inside, gate);
    Suffering { waits, inside, gate }
}

/// It was for a moment: nobody is told of anything.
async fn all_go_on(Suffering { waits, inside, gate: (gate, waiter) }: Suffering) {
    let mut ends = Vec::new();
    for Waits { scene, faulty, mut others } in waits {
        let end = async move {
            others.push(faulty);
            others.extend(scene.rest(1));
            scene.through(others).await;
        };
        ends.push(("a meeting".to_owned(), end.boxed()));
    }
    let out = async move {
        let Inside { scene, ours, others } = inside;
        all_leave(others.into_iter().chain([ours]).collect()).await;
        assert_eq!(scene.there().await, [""; 0]);
    };
    ends.push(("a round".to_owned(), out.boxed()));
    let opened = async move {
        assert!(!waiter.is_finished());
        gate.theirs().unset().await.unwrap();
        passes(waiter, 2 * TIMEOUT).await;
    };
    ends.push(("a gate".to_owned(), opened.boxed()));
    side_by_side(ends).await;
}

/// Those for whom it goes on when the server is back.
struct Back {
    meetings: Vec<(Scene, Coming, Vec<Through>)>,
    waiter: Waiter,
    _gate: Gate,
}

/// The session of whoever is there is over before the server is back.
async fn all_are_lost(Suffering { waits, inside, gate: (gate, waiter) }: Suffering) -> Back {
    let later = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut ends = Vec::new();
    for Waits { scene, faulty, others } in waits {
        let (meeting, later) = (scene.meeting, later.clone());
        let end = async move {
            let id = scene.session().await.id();
            match meeting {
                Meeting::Double => {
                    scene.nothing_left_of(id, TIMEOUT + GRACE).await;
                    go_through_with_two_more(&scene, others).await;
                    later.lock().unwrap().push((scene, faulty, Vec::new()));
                }
                Meeting::Strict => {
                    are_told_who_is_gone(others).await;
                    scene.reset().await;
                    scene.next_ones().await;
                    later.lock().unwrap().push((scene, faulty, Vec::new()));
                }
                Meeting::Tolerant => {
                    let mut through = vec![comes_through(scene.coming(&scene.third, "z")).await];
                    for one in others {
                        through.push(comes_through(one).await);
                    }
                    later.lock().unwrap().push((scene, faulty, through));
                }
            }
        };
        ends.push((format!("{meeting:?}"), end.boxed()));
    }
    let out = async move {
        let Inside { scene, ours, others } = inside;
        let leaving: Vec<_> = others.into_iter().map(|one| tokio::spawn(one.exit())).collect();
        assert_eq!(soon("the loss", ours.lost()).await, Loss::Unproven);
        assert!(leaving.iter().all(|one| !one.is_finished()), "out before it was lost");
        assert_eq!(ours.exit().await.unwrap_err().kind(), ErrorKind::SessionExpired);
        for one in leaving {
            soon("the others", one).await.unwrap().unwrap();
        }
        scene.next_ones().await;
    };
    ends.push(("a round".to_owned(), out.boxed()));
    gate.theirs().unset().await.unwrap();
    side_by_side(ends).await;
    Back { meetings: std::mem::take(&mut *later.lock().unwrap()), waiter, _gate: gate }
}

async fn all_come_back(later: Back) {
    for (scene, faulty, mut through) in later.meetings {
        if scene.meeting == Meeting::Tolerant {
            through.push(comes_through_within(faulty, 3 * TIMEOUT).await);
            scene.out(through).await;
        } else {
            is_told(faulty, ErrorKind::SessionExpired).await;
        }
    }
    passes(later.waiter, 3 * TIMEOUT).await;
}

#[tokio::test]
async fn each_barrier_bears_a_server_that_stands_still_or_is_cut_off() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let short = suffering(&ensemble, server, healthy).await;
        ensemble.stop(server);
        sleep(TIMEOUT / 10).await;
        ensemble.cont(server);
        all_go_on(short).await;
        let long = suffering(&ensemble, server, healthy).await;
        ensemble.stop(server);
        let later = all_are_lost(long).await;
        ensemble.cont(server);
        all_come_back(later).await;
        ensemble.mend().await;
        // It answers, and nothing of it counts.
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let cut = suffering(&ensemble, server, healthy).await;
        let before = ensemble.held();
        ensemble.cut_from_peers(server);
        let later = all_are_lost(cut).await;
        assert!(ensemble.held() > before, "the fault did not bite");
        ensemble.mend().await;
        all_come_back(later).await;
    }
}

#[tokio::test]
async fn each_barrier_bears_a_killed_leader_and_a_restarted_server() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        // Whoever waits knows but one server, which will be gone for a while with its watches.
        let leader = ensemble.until_one_leads().await;
        let at = ensemble.addrs();
        let at = (ensemble.addr(leader), at.as_str());
        let waits = join_all(MEETINGS.map(|meeting| async move {
            let scene = Scene::new(meeting, at.0, at.1, 5 * TIMEOUT).await;
            let (faulty, others) = scene.waiting(1).await;
            Waits { scene, faulty, others }
        }));
        let gate = async {
            let gate = Gate::new(at.0, at.1, PATIENT).await;
            let waiter = gate.waiting().await;
            (gate, waiter)
        };
        let (waits, (gate, waiter)) = tokio::join!(waits, gate);
        let old = ensemble.kill_leader().await;
        let new = ensemble.until_another_leads(old).await;
        let witness: std::sync::Arc<ZkConn> = connect(ensemble.addr(new), TIMEOUT).await;
        witness.sync("/").await.unwrap();
        // It opens without a word to those whose server is gone.
        let mut opened = Vec::new();
        for Waits { scene, faulty, others } in waits {
            let mut through = Vec::new();
            for one in others.into_iter().chain(scene.rest(1)) {
                through.push(comes_through_within(one, 5 * TIMEOUT).await);
            }
            opened.push((scene, faulty, through));
        }
        gate.theirs().unset().await.unwrap();
        ensemble.restart(old);
        let mut ends = vec![("a gate".to_owned(), passes(waiter, 5 * TIMEOUT).boxed())];
        for (scene, faulty, mut through) in opened {
            let name = format!("{:?}", scene.meeting);
            let end = async move {
                through.push(comes_through_within(faulty, 5 * TIMEOUT).await);
                scene.out(through).await;
                scene.next_ones().await;
            };
            ends.push((name, end.boxed()));
        }
        side_by_side(ends).await;
        ensemble.mend().await;
    }
}
