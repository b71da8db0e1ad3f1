//! What operators do to the nodes of parties.

use zkcells::testing::proxy::OpKind;
use zkcells::{Acl, ConnExt as _, ErrorKind, Mode, Perms, Version, tree};

use super::scene::{
    Meeting, PARTIES, SUFFERS, Scene, Through, comes_through, is_told, is_told_why,
};
use crate::support::rig::soon;

/// A party's node is deleted: the own one, or that of the other who waits.
pub async fn deleted(scene: Scene, own: bool) {
    let (faulty, mut others) = scene.waiting(1).await;
    let victim = match scene.meeting {
        Meeting::Double => if own { SUFFERS } else { "a" }.to_owned(),
        Meeting::Strict | Meeting::Tolerant => {
            let state = scene.state().await;
            let id = state["arrived"][usize::from(own)]["id"].as_str().unwrap();
            format!("party-{id}")
        }
    };
    scene.third.delete(format!("{}/{victim}", scene.path), Version::Any).await.unwrap();
    let other = others.pop().unwrap();
    match scene.meeting {
        Meeting::Double => {
            let (gone, stays) = if own { (faulty, other) } else { (other, faulty) };
            is_told(gone, ErrorKind::Revoked).await;
            assert!(!stays.is_finished());
            let ids = if own { ["m", "z"] } else { ["a", "z"] };
            let mut all: Vec<_> = ids.map(|id| scene.coming(&scene.third, id)).into();
            all.push(stays);
            scene.through(all).await;
        }
        Meeting::Strict => {
            for one in [faulty, other] {
                let err = is_told(one, ErrorKind::Broken).await;
                assert!(err.detail().unwrap().contains("deleted"), "{err}");
            }
            scene.reset().await;
            scene.next_ones().await;
        }
        Meeting::Tolerant => {
            let all = vec![faulty, other, scene.coming(&scene.third, "z")];
            scene.through(all).await;
        }
    }
}

pub async fn directory_deleted(scene: Scene) {
    let (faulty, others) = scene.waiting(1).await;
    tree::remove_all(&scene.third, &scene.path).await.unwrap();
    for one in others.into_iter().chain([faulty]) {
        is_told(one, ErrorKind::Revoked).await;
    }
    scene.next_ones().await;
}

pub async fn foreign_children(scene: Scene) {
    for name in ["foreign", "foreign-0000000001"] {
        let path = format!("{}/{name}", scene.path);
        scene.third.create(path, "lock", Mode::Persistent).await.unwrap();
    }
    for _ in 0..2 {
        let (faulty, mut all) = scene.waiting(1).await;
        assert!(!faulty.is_finished());
        all.push(faulty);
        all.extend(scene.rest(1));
        scene.through(all).await;
        scene.proxy.clear_log();
    }
}

/// Somebody writes to the nodes.
pub async fn rewritten(scene: Scene) {
    let (faulty, others) = scene.waiting(1).await;
    let nodes = scene.there().await;
    for node in nodes {
        let path = format!("{}/{node}", scene.path);
        scene.third.set(path, "something else", Version::Any).await.unwrap();
    }
    let mut all = others;
    all.push(faulty);
    if scene.meeting == Meeting::Double {
        all.extend(scene.rest(1));
        scene.through(all).await;
        return;
    }
    scene.third.set(&scene.path, "something else", Version::Any).await.unwrap();
    // Who notices tells so, and nobody passes.
    is_told(scene.coming(&scene.third, "z"), ErrorKind::Unexpected).await;
    for one in all {
        is_told(one, ErrorKind::Unexpected).await;
    }
    scene.nobody_is_there().await;
}

/// A directory in which not everything is allowed.
async fn restrict(scene: &Scene, perms: Perms) {
    let everybody = Acl { perms, ..Acl::open().remove(0) };
    scene.third.set_acl(&scene.path, vec![everybody], Version::Any).await.unwrap();
    // Another server, and the leader, may go by the old one for a moment.
    for _ in 0..3 {
        scene.third.sync(&scene.path).await.unwrap();
        scene.faulty.sync(&scene.path).await.unwrap();
    }
}

/// Who may not do what it takes to arrive is told so, and is not there.
pub async fn denied(scene: Scene, perms: Perms) {
    restrict(&scene, perms | Perms::ADMIN).await;
    let err = is_told(scene.coming(&scene.faulty, SUFFERS), ErrorKind::NoAuth).await;
    assert!(err.to_string().contains(&scene.path), "{err}");
    restrict(&scene, Perms::ALL).await;
    scene.nobody_is_there().await;
    scene.next_ones().await;
}

/// Nobody may delete: who comes last, or leaves, is told so.
pub async fn delete_denied(scene: Scene) {
    let all_but_delete = Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN;
    let (faulty, mut all) = scene.waiting(1).await;
    if scene.meeting == Meeting::Double {
        all.push(faulty);
        all.extend(scene.rest(1));
        let mut inside = Vec::new();
        for one in all {
            inside.push(comes_through(one).await);
        }
        restrict(&scene, all_but_delete).await;
        // The first by name waits for the others, who are told at once and stay.
        let mut leaving = inside.into_iter().map(|one| match one {
            Through::Inside(one) => *one,
            Through::Index(_) => panic!("{one:?}"),
        });
        let first = leaving.next().unwrap();
        assert!(first.path().name() == "a", "{}", first.path());
        let first = tokio::spawn(first.exit());
        for one in leaving {
            let path = one.path().clone();
            let err = is_told_why(one.exit()).await;
            assert_eq!((err.kind(), err.path()), (ErrorKind::NoAuth, path.as_str()), "{err}");
        }
        assert!(!first.is_finished());
        restrict(&scene, Perms::ALL).await;
        // Somebody goes on removing them.
        soon("the first", first).await.unwrap().unwrap();
        scene.nobody_is_there().await;
        scene.next_ones().await;
        return;
    }
    all.push(faulty);
    restrict(&scene, all_but_delete).await;
    let err = is_told(scene.coming(&scene.third, "z"), ErrorKind::NoAuth).await;
    assert!(err.to_string().contains(&scene.path), "{err}");
    assert!(all.iter().all(|one| !one.is_finished()));
    assert_eq!(scene.there().await.len(), PARTIES - 1);
    restrict(&scene, Perms::ALL).await;
    all.push(scene.coming(&scene.third, "z"));
    scene.through(all).await;
    assert!(scene.passed(OpKind::Any) > 0);
}
