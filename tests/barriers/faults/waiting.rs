//! Faults that meet whoever waits for the others.

use std::time::Duration;

use tokio::time::sleep;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy};
use zkcells::{ConnExt as _, ErrorKind};

use super::scene::{
    Coming, Meeting, Scene, Through, comes_through, comes_through_within, is_told, session_ends,
};
use crate::support::rig::{GRACE, TIMEOUT, soon};

/// It waits on behind the fault.
pub async fn waits_on(scene: Scene, fault: fn(&Scene), bitten: fn(&Bites) -> bool, before: usize) {
    let (faulty, mut all) = scene.waiting(before).await;
    fault(&scene);
    scene.bitten(bitten).await;
    scene.faulty.sync("/").await.unwrap();
    assert!(!faulty.is_finished(), "through, or told, before its time");
    all.push(faulty);
    all.extend(scene.rest(before));
    scene.through(all).await;
}

/// Its connection breaks again and again.
pub async fn flapping(scene: Scene) {
    let (faulty, mut all) = scene.waiting(1).await;
    for n in 1..=5 {
        scene.proxy.cut();
        scene.bitten(|bites| bites.cut >= n).await;
        scene.faulty.sync("/").await.unwrap();
    }
    assert!(!faulty.is_finished(), "through, or told, before its time");
    all.push(faulty);
    all.extend(scene.rest(1));
    scene.through(all).await;
}

pub async fn blinked(scene: Scene) {
    let (faulty, mut all) = scene.waiting(1).await;
    scene.proxy.black_hole(Direction::Both);
    all.push(faulty);
    all.extend(scene.rest(1));
    scene.bitten(|bites| bites.held > 0).await;
    sleep(Duration::from_millis(200)).await;
    scene.proxy.heal();
    scene.through(all).await;
}

/// The event that tells it of the opening is not as it should be.
pub async fn event(
    scene: Scene,
    fault: fn(&FaultProxy),
    bitten: fn(&Bites) -> bool,
    before: usize,
) {
    let (faulty, mut all) = scene.waiting(before).await;
    fault(&scene.proxy);
    all.push(faulty);
    all.extend(scene.rest(before));
    scene.bitten(bitten).await;
    scene.through(all).await;
}

/// It is away while the others come.
pub async fn cut_as_it_opens(scene: Scene, before: usize) {
    let (faulty, all) = scene.waiting(before).await;
    scene.proxy.down();
    scene.bitten(|bites| bites.cut == 1 && bites.refused > 0).await;
    let mut through = Vec::new();
    for one in all.into_iter().chain(scene.rest(before)) {
        through.push(comes_through(one).await);
    }
    assert!(!faulty.is_finished());
    scene.proxy.join();
    through.push(comes_through(faulty).await);
    scene.out(through).await;
}

/// Those who waited with one who is gone are told so.
pub async fn are_told_who_is_gone(others: Vec<Coming>) {
    for one in others {
        let err = is_told(one, ErrorKind::Broken).await;
        assert!(err.detail().unwrap().contains("gone"), "{err}");
    }
}

/// Those who wait go through when there are as many as it takes.
pub async fn go_through_with_two_more(scene: &Scene, mut others: Vec<Coming>) {
    others.push(scene.coming(&scene.third, "m"));
    others.push(scene.coming(&scene.third, "z"));
    scene.through(others).await;
}

/// What became of one who is lost is told to those who waited with it; who comes then goes through.
async fn others_without(scene: &Scene, mut others: Vec<Coming>, faulty: Coming, told: ErrorKind) {
    match scene.meeting {
        Meeting::Double => {
            assert!(others.iter().all(|one| !one.is_finished()), "let in by one who is gone");
            is_told(faulty, told).await;
            go_through_with_two_more(scene, others).await;
        }
        Meeting::Strict => {
            are_told_who_is_gone(others).await;
            // It may learn of both at once.
            let own = soon("its end", faulty).await.unwrap().unwrap_err();
            assert!([told, ErrorKind::Broken].contains(&own.kind()), "{own}");
            // Broken it stays.
            is_told(scene.coming(&scene.third, "z"), ErrorKind::Broken).await;
            scene.reset().await;
            scene.next_ones().await;
        }
        Meeting::Tolerant => {
            assert!(others.iter().all(|one| !one.is_finished()));
            others.push(scene.coming(&scene.third, "z"));
            let mut through = Vec::new();
            for one in others {
                through.push(comes_through(one).await);
            }
            through.push(comes_through_within(faulty, 2 * TIMEOUT).await);
            scene.out(through).await;
        }
    }
}

pub async fn session_over(scene: Scene) {
    let (faulty, others) = scene.waiting(1).await;
    assert_eq!(scene.proxy.end_sessions().await.unwrap(), 1);
    scene.bitten(|bites| bites.ended == 1).await;
    others_without(&scene, others, faulty, ErrorKind::SessionExpired).await;
}

pub async fn session_said_to_be_over(scene: Scene) {
    let (faulty, others) = scene.waiting(1).await;
    let id = scene.session().await.id();
    scene.told_expired().await;
    if scene.meeting != Meeting::Tolerant {
        scene.nothing_left_of(id, TIMEOUT + GRACE).await;
    }
    others_without(&scene, others, faulty, ErrorKind::SessionExpired).await;
}

/// It hears nothing until its session is over, and comes back then.
pub async fn partitioned(scene: Scene) {
    let (faulty, others) = scene.waiting(1).await;
    let (session, sign) = (scene.session().await, scene.sign_of_life().await);
    scene.proxy.black_hole(Direction::Both);
    if scene.meeting == Meeting::Tolerant {
        // It counts, whether it is there or not.
        let last = scene.coming(&scene.third, "z");
        let mut through = vec![comes_through(last).await];
        for one in others {
            through.push(comes_through(one).await);
        }
        session_ends(&scene.well, &sign).await;
        assert!(!faulty.is_finished(), "nobody can have told it");
        scene.proxy.cut();
        scene.proxy.heal();
        through.push(comes_through_within(faulty, 2 * TIMEOUT + GRACE).await);
        scene.out(through).await;
    } else {
        scene.nothing_left_of(session.id(), TIMEOUT + GRACE).await;
        // What ran into the hole is lost, or it would come out as of now.
        scene.proxy.cut();
        scene.proxy.heal();
        others_without(&scene, others, faulty, ErrorKind::SessionExpired).await;
    }
    assert!(scene.proxy.bites().held > 0, "the fault did not bite");
}

/// As when its process was killed: its connection breaks, and it does not come back.
pub async fn killed(scene: Scene) {
    let (faulty, mut others) = scene.waiting(1).await;
    let id = scene.session().await.id();
    scene.proxy.down();
    scene.bitten(|bites| bites.cut == 1).await;
    match scene.meeting {
        Meeting::Double => {
            scene.nothing_left_of(id, TIMEOUT + GRACE).await;
            go_through_with_two_more(&scene, others).await;
        }
        Meeting::Strict => {
            are_told_who_is_gone(others).await;
            scene.reset().await;
            scene.next_ones().await;
        }
        Meeting::Tolerant => {
            others.push(scene.coming(&scene.third, "z"));
            let mut through = Vec::new();
            for one in others {
                through.push(comes_through(one).await);
            }
            through.push(Through::Index(1));
            scene.out(through).await;
        }
    }
    assert!(!faulty.is_finished(), "nobody can have told it");
}

/// It comes late, and as the others have been told that all was broken.
pub async fn given_up_in_a_partition(scene: Scene) {
    let (faulty, mut others) = scene.waiting(1).await;
    let id = scene.session().await.id();
    scene.proxy.black_hole(Direction::Both);
    // As its caller does who has waited for long enough.
    faulty.abort();
    assert!(faulty.await.unwrap_err().is_cancelled());
    scene.bitten(|bites| bites.held > 0).await;
    scene.proxy.cut();
    scene.proxy.heal();
    if scene.meeting.is_cyclic() {
        let told = others.pop().unwrap();
        let err = is_told(told, ErrorKind::Broken).await;
        assert!(err.detail().unwrap().contains("gave up"), "{err}");
        scene.reset().await;
        scene.next_ones().await;
    } else {
        scene.nothing_left_of(id, TIMEOUT + GRACE).await;
        others.push(scene.coming(&scene.third, "m"));
        others.push(scene.coming(&scene.third, "z"));
        scene.through(others).await;
    }
}
