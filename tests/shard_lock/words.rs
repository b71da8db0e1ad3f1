//! What workers of both kinds tell each other: words, departures, requests, crashes, one behind the
//! other as in the original's transcript.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::timeout;
use zkcells::Conn;
use zkcells::recipes::{Released, ShardGuard, ShardLock};

use crate::support::beds::{Bed, until_children};
use crate::support::original::{Original, OriginalShard};
use crate::{WAIT, names, soon, system};

on_each_bed! {
    a_word_of_either_kind_is_understood_by_the_other,
    a_newcomer_of_either_kind_asks_the_other_and_waits_for_its_end,
    a_crash_of_either_kind_is_told_to_the_other,
    who_dies_as_the_leader_is_followed_by_the_other_kind,
    a_third_one_resharded_both_kinds,
}

/// Long enough for all to join.
const WINDOW: Duration = Duration::from_millis(100);

/// One of each kind who share a generation.
struct Pair {
    original: Original,
    theirs: OriginalShard,
    conn: Arc<dyn Conn>,
    lock: ShardLock,
    ours: ShardGuard,
}

async fn both(bed: &Bed, path: &str) -> (Original, Arc<dyn Conn>, ShardLock) {
    let original = Original::new(bed.conn().await, path, WINDOW);
    let conn = bed.conn().await;
    (original, conn.clone(), ShardLock::new(conn, path).with_wait_time(WINDOW))
}

impl Pair {
    /// Whoever comes first leads.
    async fn new(bed: &Bed, path: &str, ours_lead: bool) -> Pair {
        let (mut original, conn, lock) = both(bed, path).await;
        let group = format!("{path}/group-0000000000");
        let second = async || drop(until_children(&conn, &group, |names| names.len() == 1).await);
        let (theirs, ours) = soon("both ranges", async {
            match ours_lead {
                true => tokio::join!(
                    async {
                        second().await;
                        original.acquire().await
                    },
                    lock.acquire()
                ),
                false => tokio::join!(original.acquire(), async {
                    second().await;
                    lock.acquire().await
                }),
            }
        })
        .await;
        let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
        assert_eq!((theirs.of, ours.of(), ours.token().zxid()), (2, 2, theirs.zxid));
        assert_eq!((theirs.index, ours.index()), (usize::from(ours_lead), 1 - theirs.index));
        Pair { original, theirs, conn, lock, ours }
    }
}

/// A path of its own for each case.
async fn paths(bed: &Bed) -> impl FnMut() -> String + use<> {
    let (_conn, path) = system(bed).await;
    let mut count = 0;
    move || {
        count += 1;
        format!("{path}-{count}")
    }
}

async fn a_word_of_either_kind_is_understood_by_the_other(bed: Bed) {
    let mut path = paths(&bed).await;
    for ours_lead in [false, true] {
        let Pair { theirs, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        assert!(!theirs.check().await && !ours.check().await.unwrap());
        assert_eq!(ours.ack().await, Released::Released);
        assert!(!theirs.check().await, "one of ours was done");
        let Pair { theirs, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        assert_eq!(ours.release().await, Released::Released);
        assert!(theirs.check().await, "one of ours left in the middle");
        let Pair { theirs, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        theirs.ack().await;
        assert!(!ours.check().await.unwrap(), "an original was done");
        assert!(ours.requested().now_or_never().is_none(), "an original was done");
        let Pair { theirs, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        let asked = ours.shard().clone();
        let asked = tokio::spawn(async move { asked.requested().await });
        theirs.release().await;
        soon("the request", asked).await.unwrap().unwrap();
        assert!(ours.check().await.unwrap() && ours.is_valid(), "an original left in the middle");
    }
}

async fn a_newcomer_of_either_kind_asks_the_other_and_waits_for_its_end(bed: Bed) {
    let mut path = paths(&bed).await;
    // An original holds.
    let at = path();
    let (mut original, conn, lock) = both(&bed, &at).await;
    let theirs = soon("its range", original.acquire()).await.unwrap();
    let mut newcomer = Box::pin(lock.acquire());
    assert!(timeout(2 * WINDOW + WAIT, &mut newcomer).await.is_err(), "beside the holder");
    assert!(theirs.check().await, "one of ours waits");
    let before = theirs.zxid;
    theirs.ack().await;
    let ours = soon("our range", newcomer).await.unwrap();
    assert!(ours.of() == 1 && ours.token().zxid() > before);
    until_children(&conn, &at, |names| names.len() == 1).await;
    // Ours holds.
    let (mut original, _conn, lock) = both(&bed, &path()).await;
    let ours = soon("our range", lock.acquire()).await.unwrap();
    let mut newcomer = Box::pin(original.acquire());
    let asked = async {
        tokio::select! {
            _ = &mut newcomer => panic!("beside the holder"),
            asked = ours.requested() => asked.unwrap(),
        }
    };
    soon("the request", asked).await;
    assert!(timeout(2 * WINDOW + WAIT, &mut newcomer).await.is_err(), "beside the holder");
    assert!(ours.is_valid() && ours.check().await.unwrap());
    let before = ours.token().zxid();
    assert_eq!(ours.ack().await, Released::Released);
    let theirs = soon("its range", newcomer).await.unwrap();
    assert!(theirs.of == 1 && theirs.zxid > before);
}

async fn a_crash_of_either_kind_is_told_to_the_other(bed: Bed) {
    let mut path = paths(&bed).await;
    for ours_lead in [false, true] {
        let Pair { original, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        let asked = ours.shard().clone();
        let asked = tokio::spawn(async move { asked.requested().await });
        original.conn.close().await.unwrap();
        soon("the request", asked).await.unwrap().unwrap();
        assert!(ours.is_valid() && ours.of() == 2, "no range moves");
        let Pair { theirs, conn, ours, .. } = Pair::new(&bed, &path(), ours_lead).await;
        conn.close().await.unwrap();
        assert!(!ours.is_valid() && theirs.check().await);
    }
}

async fn who_dies_as_the_leader_is_followed_by_the_other_kind(bed: Bed) {
    let mut path = paths(&bed).await;
    let long = Duration::from_secs(600);
    // An original dies in its window.
    let at = path();
    let group = format!("{at}/group-0000000000");
    let (mut original, conn, lock) = both(&bed, &at).await;
    original.wait_time = long;
    let dies = original.conn.clone();
    let leader = tokio::spawn(async move { original.acquire().await.is_ok() });
    until_children(&conn, &group, |names| names.len() == 1).await;
    let ours = tokio::spawn(async move { lock.acquire().await });
    until_children(&conn, &group, |names| names.len() == 2).await;
    dies.close().await.unwrap();
    let ours = soon("our range", ours).await.unwrap().unwrap();
    assert_eq!((ours.index(), ours.of()), (0, 1));
    leader.abort();
    // One of ours does.
    let at = path();
    let group = format!("{at}/group-0000000000");
    let (mut original, conn, lock) = both(&bed, &at).await;
    let leader = tokio::spawn({
        let lock = lock.with_wait_time(long);
        async move { lock.acquire().await.is_ok() }
    });
    until_children(&original.conn, &group, |names| names.len() == 1).await;
    let other = original.conn.clone();
    let theirs = tokio::spawn(async move { original.acquire().await });
    until_children(&other, &group, |names| names.len() == 2).await;
    conn.close().await.unwrap();
    let theirs = soon("its range", theirs).await.unwrap().unwrap();
    assert_eq!((theirs.index, theirs.of), (0, 1));
    assert!(!soon("the end of the leader", leader).await.unwrap());
}

/// A is an original, B and C are ours.
async fn a_third_one_resharded_both_kinds(bed: Bed) {
    let mut path = paths(&bed).await;
    let at = path();
    let Pair { mut original, theirs: a, lock, ours: b, .. } = Pair::new(&bed, &at, false).await;
    let before = a.zxid;
    let (_other, conn, third) = both(&bed, &at).await;
    let third = tokio::spawn(async move { third.acquire().await });
    soon("the request", b.requested()).await.unwrap();
    assert!(a.check().await && b.check().await.unwrap());
    // A is done, and waits in the group of C.
    a.ack().await;
    let left = names(&conn, &format!("{at}/group-0000000000")).await;
    assert!(
        left.len() == 2 && left[0].starts_with("ack-") && left[1].starts_with("node-"),
        "{left:?}"
    );
    let next = format!("{at}/group-0000000001");
    let again = tokio::spawn(async move { original.acquire().await });
    until_children(&conn, &next, |names| names.len() == 2).await;
    assert!(!third.is_finished() && !again.is_finished() && b.is_valid());
    // B is as well, and comes last.
    assert_eq!(b.ack().await, Released::Released);
    let b = soon("the third range", lock.acquire()).await.unwrap();
    let a = soon("the second range", again).await.unwrap().unwrap();
    let c = soon("the first range", third).await.unwrap().unwrap();
    assert_eq!([c.of(), a.of, b.of()], [3, 3, 3]);
    assert_eq!([c.index(), a.index, b.index()], [0, 1, 2]);
    assert!(c.token().zxid() == a.zxid && b.token().zxid() == a.zxid && a.zxid > before);
    until_children(&conn, &at, |names| names == ["group-0000000001"]).await;
    // Two leave in the middle: the third keeps its range until it looks.
    assert_eq!(c.release().await, Released::Released);
    assert!(a.check().await);
    a.release().await;
    soon("the request", b.requested()).await.unwrap();
    assert!(b.is_valid() && b.of() == 3);
}
