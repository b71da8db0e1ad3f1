//! What operators do to the nodes of a recipe.

use zkcells::recipes::Released;
use zkcells::{Acl, Conn as _, ConnExt as _, ErrorKind, Loss, Mode, Perms, Version, tree};

use crate::support::rig::{Rig, SOON, gets_in, soon};

pub async fn deleted_held(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.third.delete(held.path(), Version::Any).await.unwrap();
    let loss = soon("the word of it", held.lost()).await;
    assert!(loss == Loss::Deleted || !rig.recipe.tells_why(), "{loss:?}");
    assert!(!held.is_valid());
    let next = gets_in(next, SOON).await;
    assert_eq!(held.release().await, Released::WasLost);
    assert!(next.is_valid());
    rig.nothing_left_of(id, SOON).await;
}

pub async fn deleted_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    let own = rig.nodes_of(id).await;
    assert_eq!(own.len(), 1);
    rig.third.delete(&own[0], Version::Any).await.unwrap();
    rig.fails(holder, contender, ErrorKind::Revoked, (id, SOON)).await;
}

pub async fn predecessor_deleted(rig: Rig) {
    let holder = rig.take(&rig.well).await;
    let id = rig.third.session("/").await.unwrap().id();
    let first = rig.contend(&rig.third).await;
    let contender = rig.contend_and_watch().await;
    let ahead = rig.nodes_of(id).await;
    assert_eq!(ahead.len(), 1);
    rig.well.delete(&ahead[0], Version::Any).await.unwrap();
    let err = soon("the word of it", first).await.unwrap().err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    rig.comes_to_its_turn(holder, contender).await;
}

pub async fn directory_deleted(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    tree::remove_all(&rig.third, rig.dir()).await.unwrap();
    assert_eq!(soon("the word of it", held.lost()).await, Loss::Deleted);
    let err = soon("the word of it", next).await.unwrap().err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    rig.recipe.prepare(rig.well.clone(), &rig.path).await;
    let again = rig.take(&rig.faulty).await;
    assert!(*again.token() > *held.token(), "numbers start again, tokens do not");
    drop(held);
    let next = rig.contend(&rig.well).await;
    rig.passes_on(again, next).await;
}

pub async fn foreign_children(rig: Rig) {
    for name in rig.recipe.foreign().into_iter().skip(1) {
        let path = format!("{}/{name}", rig.dir());
        rig.third.create(path, "", Mode::Persistent).await.unwrap();
    }
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend(&rig.faulty).await;
    rig.comes_to_its_turn(holder, contender).await;
}

/// A directory in which not everything is allowed.
pub async fn restrict(rig: &Rig, perms: Perms) {
    let everybody = Acl { perms, ..Acl::open().remove(0) };
    rig.third.set_acl(rig.dir(), vec![everybody], Version::Any).await.unwrap();
    // The leader goes by the old list until it has applied the change, which is a moment behind a
    // follower's word that it is done; and so does any other follower.
    for _ in 0..3 {
        rig.third.sync(rig.dir()).await.unwrap();
        rig.faulty.sync(rig.dir()).await.unwrap();
    }
}

pub async fn denied(rig: Rig, perms: Perms) {
    restrict(&rig, perms | Perms::ADMIN).await;
    let err = soon("the word of it", rig.recipe.acquire(rig.faulty.clone(), &rig.path)).await;
    let err = err.err().unwrap();
    assert_eq!(err.kind(), ErrorKind::NoAuth, "{err}");
    assert!(err.to_string().contains(&rig.path), "{err}");
    restrict(&rig, Perms::ALL).await;
    rig.nothing_left_of(rig.session().await.id(), SOON).await;
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

pub async fn delete_denied(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    restrict(&rig, Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN).await;
    let (until, released) = (held.valid_until(), soon("the release", held.release()).await);
    assert!(released == Released::WasLost && until.is_past(), "{released:?}");
    // The keeper tries on; what it may not do at all goes with the session.
    rig.faulty.close().await.unwrap();
    gets_in(next, SOON).await;
}

/// Servers that hold quotas refuse another node: whoever comes is told so and leaves nothing, whoever
/// holds it holds on, and goes.
pub async fn quota_reached(rig: Rig) {
    let (held, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let quota = format!("/zookeeper/quota{}", rig.dir());
    let limits = "count=1,bytes=-1=;byteHardLimit=-1;countHardLimit=1";
    tree::create_all(
        &rig.third,
        format!("{quota}/zookeeper_stats"),
        "count=0,bytes=0",
        Mode::Persistent,
    )
    .await
    .unwrap();
    rig.third.create(format!("{quota}/zookeeper_limits"), limits, Mode::Persistent).await.unwrap();
    rig.faulty.sync(rig.dir()).await.unwrap();
    let refused = rig.recipe.acquire(rig.faulty.clone(), &rig.path);
    let err = soon("the word of it", refused).await.err().unwrap();
    assert_eq!(err.kind(), ErrorKind::QuotaExceeded, "{err}");
    assert!(err.to_string().contains(&rig.path), "{err}");
    rig.nothing_left_of(id, SOON).await;
    assert!(held.is_valid());
    tree::remove_all(&rig.third, quota).await.unwrap();
    let next = rig.contend(&rig.faulty).await;
    assert_eq!(held.release().await, Released::Released);
    gets_in(next, SOON).await;
}
