//! As the original does: trees, ranges, who is told what.

use futures::FutureExt as _;
use futures::future::try_join_all;
use zkcells::recipes::{Released, ShardLock, shard_contenders};
use zkcells::{Conn as _, ConnExt as _, ErrorKind, Loss, Mode, Version};

use crate::support::beds::{Bed, until_children};
use crate::{names, shards, soon, system, worker};

on_each_bed! {
    a_lone_worker_leaves_the_tree_that_the_original_knows,
    those_who_come_together_share_one_generation,
    a_third_one_resharded_all_as_in_the_original,
    a_crash_is_told_to_the_others_and_moves_no_range,
    an_operator_s_delete_is_a_loss,
    the_parent_is_not_made_and_foreign_children_stay,
}

async fn a_lone_worker_leaves_the_tree_that_the_original_knows(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    conn.sync(&path).await.unwrap();
    assert_eq!(names(&conn, &path).await, ["group-0000000000"]);
    let group = format!("{path}/group-0000000000");
    assert_eq!(names(&conn, &group).await, ["node-0000000000"]);
    let found = conn.get(&group).await.unwrap();
    assert_eq!((&found.data[..], found.stat.version), (&[0, 0, 0, 0][..], 1));
    assert_eq!(shard.token().zxid(), found.stat.mzxid);
    assert_eq!((shard.from(), shard.to(), shard.path().as_str()), (0.0, 1.0, &*path));
    assert!(!shard.check().await.unwrap());
    assert_eq!(shard.release().await, Released::Released);
    until_children(&conn, &path, <[String]>::is_empty).await;
}

async fn those_who_come_together_share_one_generation(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let shards = shards(&bed, 4).await;
    assert!(shards.iter().all(|(_, _, shard)| shard.of() == 4));
    assert_eq!(names(&conn, &path).await, ["group-0000000000"]);
    let group = conn.get(format!("{path}/group-0000000000")).await.unwrap();
    let list: Vec<u8> = (0..4_i32).flat_map(i32::to_le_bytes).collect();
    assert_eq!((&group.data[..], group.stat.version), (&list[..], 1));
    // The first by name has 0: its number is its place.
    for (index, (_, _, shard)) in shards.iter().enumerate() {
        assert!(shard.node().as_str().ends_with(&format!("node-{index:010}")));
        assert_eq!(shard.from(), index as f64 / 4.0);
    }
    let (_, _, first) = &shards[0];
    let all = shard_contenders(&conn, &path).await.unwrap();
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|one| one.holds() && one.token.as_ref() == Some(first.token())));
}

async fn a_third_one_resharded_all_as_in_the_original(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let mut two = shards(&bed, 2).await;
    let ((_b, lock_b, b), (_a, lock_a, a)) = (two.remove(0), two.remove(0));
    assert_eq!((a.from(), b.from()), (0.5, 0.0));
    let token = a.token().clone();
    let (_c, lock_c) = worker(&bed).await;
    let third = tokio::spawn(async move { lock_c.acquire().await });
    soon("both requests", try_join_all([a.requested(), b.requested()])).await.unwrap();
    assert!(a.check().await.unwrap() && b.check().await.unwrap());
    // A is done, and waits in the group of the third one.
    assert_eq!(a.ack().await, Released::Released);
    let left = names(&conn, &format!("{path}/group-0000000000")).await;
    assert!(
        left.len() == 2 && left[0].starts_with("ack-") && left[1] == "node-0000000000",
        "{left:?}"
    );
    let again = tokio::spawn(async move { lock_a.acquire().await });
    let next = format!("{path}/group-0000000001");
    until_children(&conn, &next, |names| names.len() == 2).await;
    let waiting = shard_contenders(&conn, &path).await.unwrap();
    let holds: Vec<bool> = waiting.iter().map(|one| one.holds()).collect();
    assert_eq!(holds, [true, false, false]);
    assert!(!third.is_finished() && !again.is_finished() && b.is_valid());
    // B is as well, and comes last.
    assert_eq!(b.ack().await, Released::Released);
    let b = soon("the third range", lock_b.acquire()).await.unwrap();
    let (c, a) = (third.await.unwrap().unwrap(), again.await.unwrap().unwrap());
    let edges = [(c.from(), c.to()), (a.from(), a.to()), (b.from(), b.to())];
    assert_eq!(edges, [(0.0, 1.0 / 3.0), (1.0 / 3.0, 2.0 / 3.0), (2.0 / 3.0, 1.0)]);
    assert!(*c.token() > token && c.token() == a.token() && a.token() == b.token());
    // Nothing is left of the old group, and its numbers do not come again.
    until_children(&conn, &path, |names| names == ["group-0000000001"]).await;
    // Two leave in the middle: the third keeps its range until it looks.
    assert_eq!(c.release().await, Released::Released);
    soon("the request", a.requested()).await.unwrap();
    assert_eq!(a.release().await, Released::Released);
    assert!(b.is_valid() && b.check().await.unwrap());
    assert_eq!(b.of(), 3);
}

async fn a_crash_is_told_to_the_others_and_moves_no_range(bed: Bed) {
    system(&bed).await;
    let mut three = shards(&bed, 3).await;
    let (conn, _, crashed) = three.remove(1);
    let asked = three.iter().map(|(_, _, shard)| shard.requested());
    let mut asked = Box::pin(try_join_all(asked));
    assert!(asked.as_mut().now_or_never().is_none());
    conn.close().await.unwrap();
    soon("the word of it", asked).await.unwrap();
    assert_eq!(crashed.lost().await, Loss::SessionEnded);
    assert!(crashed.check().await.unwrap(), "what is lost wants to be resharded");
    for (_, _, shard) in &three {
        assert!(shard.is_valid() && shard.of() == 3 && shard.check().await.unwrap());
    }
    assert_eq!(crashed.ack().await, Released::WasLost);
}

/// The original does not notice it.
async fn an_operator_s_delete_is_a_loss(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    let (_other, second) = worker(&bed).await;
    let waiting = second.clone();
    let waiting = tokio::spawn(async move { waiting.acquire().await });
    let next = format!("{path}/group-0000000001");
    let waits = until_children(&conn, &next, |names| names.len() == 1).await;
    conn.delete(format!("{next}/{}", waits[0]), Version::Any).await.unwrap();
    let err = soon("the word of it", waiting).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    conn.delete(shard.node(), Version::Any).await.unwrap();
    assert_eq!(soon("the word of it", shard.lost()).await, Loss::Deleted);
    assert!(!shard.is_valid());
    soon("the end of the wait", shard.requested()).await.unwrap();
    assert_eq!(shard.release().await, Released::WasLost);
    let again = soon("another range", second.acquire()).await.unwrap();
    assert_eq!(again.of(), 1);
}

async fn the_parent_is_not_made_and_foreign_children_stay(bed: Bed) {
    let (conn, path) = system(&bed).await;
    let err = ShardLock::new(conn.clone(), bed.at("none/sys")).acquire().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode, "{err}");
    conn.create(&path, "mine", Mode::Persistent).await.unwrap();
    for name in ["foreign", "group-1"] {
        conn.create(format!("{path}/{name}"), "", Mode::Persistent).await.unwrap();
    }
    let (_own, lock) = worker(&bed).await;
    let shard = lock.acquire().await.unwrap();
    assert!(!shard.check().await.unwrap(), "an empty foreign child is no group");
    assert_eq!(shard.release().await, Released::Released);
    until_children(&conn, &path, |names| names == ["foreign", "group-1"]).await;
    assert_eq!(conn.get(&path).await.unwrap().data, "mine");
}
