use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::{join_all, try_join_all};

use super::*;
use crate::conn::{ConnExt as _, MemoryConn, MemoryQuorum};
use crate::hold::Loss;
use crate::node::{Mode, Perms, Version};
use crate::recipes::guard::Released;
use crate::request::Multi;
use crate::spy::Spy;

const WAIT: Duration = Duration::from_millis(20);
const BASE: &str = "/sys";

/// A worker of its own session.
fn worker(quorum: &MemoryQuorum) -> (Arc<MemoryConn>, ShardLock) {
    let conn = Arc::new(quorum.connect());
    (conn.clone(), ShardLock::new(conn, BASE).with_wait_time(WAIT))
}

/// Several workers whose ranges are of one generation, in the order of the ranges.
async fn shards(quorum: &MemoryQuorum, count: usize) -> Vec<ShardGuard> {
    let locks: Vec<ShardLock> = (0..count).map(|_| worker(quorum).1).collect();
    let mut shards = try_join_all(locks.iter().map(ShardLock::acquire)).await.unwrap();
    shards.sort_by_key(|shard| shard.index());
    shards
}

async fn names(conn: &MemoryConn, path: &str) -> Vec<String> {
    conn.children(path).await.unwrap().names
}

/// Lets the background come to its end.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

#[tokio::test]
async fn the_tree_is_the_original_s() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let shard = lock.acquire().await.unwrap();
    assert_eq!((shard.from(), shard.to(), shard.index(), shard.of()), (0.0, 1.0, 0, 1));
    assert_eq!(shard.path().as_str(), BASE);
    assert_eq!(shard.node().as_str(), "/sys/group-0000000000/node-0000000000");
    let group = conn.get("/sys/group-0000000000").await.unwrap();
    assert_eq!((&group.data[..], group.stat.version), (&[0; 4][..], 1));
    assert_eq!(shard.token().zxid(), group.stat.mzxid, "of the publication");
    assert!(conn.exists(shard.node()).await.unwrap().unwrap().is_ephemeral());
    assert_eq!(shard.release().await, Released::Released);
    // The last one clears up; the path stays, with its numbers.
    until(async || names(&conn, BASE).await.is_empty()).await;
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000001");
}

#[tokio::test]
async fn ranges_of_a_generation_are_disjoint_and_cover_everything() {
    let quorum = MemoryQuorum::new();
    for count in [2, 3, 7] {
        let shards = shards(&quorum, count).await;
        let mut edge = 0.0;
        for (index, shard) in shards.iter().enumerate() {
            assert_eq!((shard.index(), shard.of()), (index, count));
            assert!(shard.from().to_bits() == f64::to_bits(edge), "{shard:?}");
            assert_eq!(shard.token(), shards[0].token());
            edge = shard.to();
        }
        assert!(edge.to_bits() == 1.0_f64.to_bits());
        // Ranges go by number: who came first has the first.
        let numbers: Vec<&str> = shards.iter().map(|shard| shard.node().name()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        join_all(shards.into_iter().map(ShardGuard::release)).await;
    }
}

#[tokio::test]
async fn a_newcomer_asks_all_to_reshard_and_gets_in_behind_the_last() {
    let quorum = MemoryQuorum::new();
    let (_a, first) = worker(&quorum);
    let old = shards(&quorum, 2).await;
    let token = old[0].token().clone();
    let asked: Vec<_> = old.iter().map(|shard| shard.requested()).collect();
    let mut asked = Box::pin(join_all(asked));
    assert!(asked.as_mut().now_or_never().is_none(), "nobody came yet");
    let mut newcomer = Box::pin(first.acquire());
    assert!(newcomer.as_mut().now_or_never().is_none());
    for told in asked.await {
        told.unwrap();
    }
    let mut old = old.into_iter();
    let (a, b) = (old.next().unwrap(), old.next().unwrap());
    assert!(a.check().await.unwrap());
    assert_eq!(a.ack().await, Released::Released);
    let (_b, second) = worker(&quorum);
    let mut again = Box::pin(second.acquire());
    let neither = async {
        tokio::select! { _ = &mut newcomer => {}, _ = &mut again => {} }
    };
    tokio::time::timeout(3 * WAIT, neither).await.unwrap_err();
    assert!(b.is_valid());
    b.ack().await;
    let (third, again) = tokio::try_join!(newcomer, again).unwrap();
    assert_eq!((third.of(), again.of()), (2, 2));
    assert!(*third.token() > token, "tokens grow with the generations");
}

#[tokio::test]
async fn a_departure_without_a_word_is_told_and_one_with_a_word_is_not() {
    let quorum = MemoryQuorum::new();
    let (conn, _) = worker(&quorum);
    let mut shards = shards(&quorum, 3).await;
    let group = shards[0].node().parent().unwrap();
    assert_eq!(shards.remove(0).ack().await, Released::Released);
    let left = names(&conn, group.as_str()).await;
    // One number went to the proof that nobody had joined.
    assert_eq!(left, ["ack-0000000004", "node-0000000001", "node-0000000002"]);
    assert!(!shards[0].check().await.unwrap(), "it was done");
    let mut asked = Box::pin(shards[0].requested());
    assert!(asked.as_mut().now_or_never().is_none());
    // Whoever came too late for the group hides nobody.
    let late = conn.create(group.child("node-"), "", Mode::EphemeralSequential).await.unwrap().0;
    quorum.expire(shards[1].session().id());
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap().unwrap();
    assert!(shards[0].check().await.unwrap(), "the dead one went without a word");
    assert_eq!(shards[0].from(), 1.0 / 3.0, "ranges stay as they are meanwhile");
    conn.delete(late, Version::Any).await.unwrap();
}

#[tokio::test]
async fn a_word_is_said_once_whatever_becomes_of_the_reply() {
    use crate::fault::OpKind;
    for lost in [true, false] {
        let quorum = MemoryQuorum::new();
        let (conn, lock) = worker(&quorum);
        let (_other, second) = worker(&quorum);
        let (shard, stays) = tokio::try_join!(lock.acquire(), second.acquire()).unwrap();
        match lost {
            true => conn.swallow_reply(OpKind::Multi),
            false => conn.drop_request(OpKind::Multi),
        }
        assert_eq!(shard.ack().await, Released::Released);
        assert_eq!(conn.bites().swallowed + conn.bites().dropped, 1);
        let group = stays.node().parent().unwrap();
        let left = names(&conn, group.as_str()).await;
        assert_eq!(left.iter().filter(|name| name.starts_with("ack-")).count(), 1, "{left:?}");
        assert!(!stays.check().await.unwrap());
    }
}

#[tokio::test]
async fn behind_a_loss_no_word_is_said() {
    let quorum = MemoryQuorum::new();
    let (conn, _) = worker(&quorum);
    let mut shards = shards(&quorum, 2).await;
    let (stays, shard) = (shards.remove(0), shards.remove(0));
    conn.delete(shard.node(), Version::Any).await.unwrap();
    assert_eq!(shard.lost().await, Loss::Deleted);
    assert!(shard.check().await.unwrap(), "what is lost wants to be resharded");
    shard.requested().await.unwrap();
    assert_eq!(shard.ack().await, Released::WasLost);
    assert!(stays.check().await.unwrap());
}

#[tokio::test]
async fn who_comes_too_late_for_the_list_gets_into_the_next_group_in_the_same_call() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    // Somebody leads, publishes without us, and holds its range.
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group-0000000000", "", Mode::Persistent).await.unwrap();
    let leader = "/sys/group-0000000000/node-0000000000";
    conn.create(leader, "", Mode::Ephemeral).await.unwrap();
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    let group = conn.get("/sys/group-0000000000").await.unwrap();
    assert_eq!(group.stat.version, 1, "an original leader's look is made void");
    let at = Version::Exact(1);
    conn.set("/sys/group-0000000000", [0; 4], at).await.unwrap();
    assert!(tokio::time::timeout(3 * WAIT, &mut acquiring).await.is_err(), "beside the holder");
    assert_eq!(names(&conn, "/sys/group-0000000000").await, ["node-0000000000"]);
    assert_eq!(names(&conn, "/sys/group-0000000001").await.len(), 1);
    conn.delete(leader, Version::Any).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 1));
}

#[tokio::test]
async fn nobody_gets_into_a_group_that_is_published_meanwhile() {
    // It is published between the look at it and the attempt to join.
    let group = "/sys/group-0000000000";
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if let Op::Multi(ops) = &request.op
            && ops.len() == 2
            && counted.fetch_add(1, Ordering::SeqCst) == 0
        {
            other.set(group, [0; 4], Version::Any).now_or_never().unwrap().unwrap();
        }
        None
    });
    let conn = Arc::new(spy);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-0000000000"), "ours", Mode::Ephemeral).await.unwrap();
    let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(tokio::time::timeout(3 * WAIT, &mut acquiring).await.is_err());
    assert!(met.load(Ordering::SeqCst) > 0);
    let listed = conn.children(group).await.unwrap();
    assert_eq!((listed.names.len(), listed.stat.cversion), (1, 1), "somebody came and went");
}

#[tokio::test]
async fn nobody_who_joined_is_left_out_of_the_list() {
    // Somebody joins as an original does, right before the publication: after the list was read.
    let late = Arc::new(AtomicUsize::new(0));
    let counted = late.clone();
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if let Op::Multi(ops) = &request.op
            && ops.len() == 5
            && counted.fetch_add(1, Ordering::SeqCst) == 0
        {
            let path = "/sys/group-0000000000/node-";
            let made = other.create(path, "", Mode::EphemeralSequential).now_or_never();
            made.unwrap().unwrap();
        }
        None
    });
    let shard = ShardLock::new(spy, BASE).with_wait_time(WAIT).acquire().await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 2));
    assert_eq!(late.load(Ordering::SeqCst), 2, "published at the second try");
}

#[tokio::test]
async fn nobody_publishes_beside_another_group() {
    // Somebody publishes another group between the look at the groups and the own publication.
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if let Op::Multi(ops) = &request.op
            && ops.len() == 5
            && counted.fetch_add(1, Ordering::SeqCst) == 0
        {
            let group = "/sys/group-0000000001";
            let publish = Multi::new()
                .create(group, "", Mode::Persistent)
                .create("/sys/group-0000000001/node-0000000000", "", Mode::Ephemeral)
                .set(group, [0; 4], Version::Any)
                .set(BASE, "", Version::Any);
            other.multi(publish).now_or_never().unwrap().unwrap();
        }
        None
    });
    let conn = Arc::new(spy);
    let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(tokio::time::timeout(5 * WAIT, &mut acquiring).await.is_err(), "beside another");
    assert_eq!(met.load(Ordering::SeqCst), 1);
    conn.delete("/sys/group-0000000001/node-0000000000", Version::Any).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert!(shard.is_valid());
    // It did not publish, so it did not have to give way either.
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000000");
}

#[tokio::test]
async fn who_finds_another_group_beside_the_own_one_gives_way() {
    // An original publishes without a look at the base, and holds its range.
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if let Op::Multi(ops) = &request.op
            && ops.len() == 5
            && request.path.as_str().contains("group-0000000000")
        {
            let group = "/sys/group-0000000001";
            let publish = Multi::new()
                .create(group, "", Mode::Persistent)
                .create("/sys/group-0000000001/node-0000000000", "", Mode::Ephemeral)
                .set(group, [0; 4], Version::Any);
            // It is there already at a second try.
            let _ = other.multi(publish).now_or_never().unwrap();
        }
        None
    });
    let conn = Arc::new(spy);
    let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(tokio::time::timeout(5 * WAIT, &mut acquiring).await.is_err(), "beside another");
    conn.delete("/sys/group-0000000001/node-0000000000", Version::Any).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000002");
}

#[tokio::test]
async fn of_many_who_come_at_once_one_makes_the_group() {
    let quorum = MemoryQuorum::new();
    let spies: Vec<Arc<Spy>> = (0..8).map(|_| Arc::new(Spy::slow(quorum.connect()))).collect();
    let locks = spies.iter().map(|spy| ShardLock::new(spy.clone(), BASE).with_wait_time(WAIT));
    let locks: Vec<ShardLock> = locks.collect();
    let shards = try_join_all(locks.iter().map(ShardLock::acquire)).await.unwrap();
    assert!(shards.iter().all(|shard| shard.of() == 8));
    assert_eq!(quorum.connect().children(BASE).await.unwrap().names, ["group-0000000000"]);
    for spy in &spies {
        let asked = spy.take();
        assert!(asked.len() <= 20, "{}: {asked:#?}", asked.len());
    }
}

#[tokio::test]
async fn a_lone_worker_makes_few_requests() {
    let spy = Arc::new(Spy::new(MemoryConn::new()));
    let lock = ShardLock::new(spy.clone(), BASE).with_wait_time(WAIT);
    let _shard = lock.acquire().await.unwrap();
    let mut asked = spy.take();
    // The watch on the own node comes when it comes.
    asked.retain(|line| !line.starts_with("exists "));
    assert_eq!(
        asked,
        [
            "session /sys",
            "children /sys",
            "multi(3) /sys",
            "children /sys/group-0000000000",
            "children /sys",
            "children /sys/group-0000000000",
            "multi(5) /sys/group-0000000000/node-0000000000",
            "hold /sys/group-0000000000/node-0000000000",
            "children /sys",
        ]
    );
}

#[tokio::test]
async fn the_next_member_leads_when_the_leader_dies() {
    let quorum = MemoryQuorum::new();
    let long = Duration::from_secs(600);
    let (conn, leader) = worker(&quorum);
    let leader = leader.with_wait_time(long);
    let mut leads = Box::pin(leader.acquire());
    assert!(leads.as_mut().now_or_never().is_none());
    let (_other, second) = worker(&quorum);
    let mut follows = Box::pin(second.acquire());
    assert!(follows.as_mut().now_or_never().is_none());
    conn.expire();
    let err = leads.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::SessionExpired, "{err}");
    let shard = follows.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 1));
}

#[tokio::test]
async fn the_parent_must_exist_and_the_path_need_not() {
    let conn = MemoryConn::new();
    let err = ShardLock::new(conn, "/none/sys").acquire().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode);
    assert_eq!(
        err.to_string(),
        "acquire /none/sys: no such node: its parent must exist; create /none"
    );
    let err = ShardLock::new(MemoryConn::new(), "bad").acquire().await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::BadPath, "acquire"));
}

#[tokio::test]
async fn what_the_path_holds_and_allows_stays() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let acl = vec![Acl::world(Perms::ALL), Acl::digest(Perms::READ, "a", "b")];
    let options = crate::node::CreateOptions::from(Mode::Persistent).with_acl(acl.clone());
    conn.create(BASE, "for us", &options).await.unwrap();
    for foreign in ["group-x", "group-7", "readme", "lock-0000000000"] {
        conn.create(format!("{BASE}/{foreign}"), "", Mode::Persistent).await.unwrap();
    }
    let created = conn.exists(BASE).await.unwrap().unwrap().czxid;
    for _ in 0..3 {
        assert_eq!(lock.acquire().await.unwrap().ack().await, Released::Released);
    }
    until(async || names(&conn, BASE).await.len() == 4).await;
    let base = conn.get(BASE).await.unwrap();
    assert_eq!((&base.data[..], base.stat.czxid), (&b"for us"[..], created));
    assert_eq!(conn.acl(BASE).await.unwrap().0, acl);
}

#[tokio::test]
async fn bad_group_data_is_an_error_that_names_the_node() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let shard = lock.acquire().await.unwrap();
    let group = shard.node().parent().unwrap();
    conn.set(&group, "0,1,2", Version::Any).await.unwrap();
    let (_other, second) = worker(&quorum);
    let err = second.acquire().await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, group.as_str()));
    assert!(err.to_string().contains("its data has 5 bytes"), "{err}");
    let err = second.contenders().await.unwrap_err();
    assert_eq!(err.op(), "contenders");
}

#[tokio::test]
async fn a_group_that_was_left_behind_holds_up_nobody() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    // All members crashed behind a word; and two groups were made where one would do.
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    let group = "/sys/group-0000000000";
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-0000000000"), "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/ack-0000000001"), "", Mode::Persistent).await.unwrap();
    conn.delete(format!("{group}/node-0000000000"), Version::Any).await.unwrap();
    conn.set(group, [0; 4], Version::Any).await.unwrap();
    conn.create("/sys/group-0000000001", "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group-0000000002", "", Mode::Persistent).await.unwrap();
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000001");
    assert_eq!(names(&conn, BASE).await, ["group-0000000001"]);
}

#[tokio::test]
async fn numbers_that_are_used_up_are_told() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group--2147483648", "", Mode::Persistent).await.unwrap();
    let err = lock.acquire().await.unwrap_err();
    assert_eq!(err.path(), "/sys/group--2147483648");
    assert!(err.to_string().contains("used up"), "{err}");
}

#[tokio::test]
async fn who_has_no_more_patience_is_told_why_and_leaves_nothing() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (_other, second) = worker(&quorum);
    let err = second.acquire_within(3 * WAIT).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "acquire /sys: timed out: 1 in group-0000000000 hold older ranges, one of them \
         node-0000000000"
    );
    let err = second.acquire_unless(std::future::ready(())).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
    until(async || names(&conn, "/sys/group-0000000001").await.is_empty()).await;
    // The group that was made for it is used by whoever comes next.
    held.release().await;
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000001");
}

#[tokio::test]
async fn contenders_say_who_holds_and_who_waits() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    assert!(lock.contenders().await.unwrap().is_empty());
    let shards = shards(&quorum, 2).await;
    let mut waits = Box::pin(lock.acquire());
    assert!(waits.as_mut().now_or_never().is_none());
    let all = lock.contenders().await.unwrap();
    let ranges: Vec<_> = all.iter().map(|one| (one.from(), one.to())).collect();
    assert_eq!(ranges, [(Some(0.0), Some(0.5)), (Some(0.5), Some(1.0)), (None, None)]);
    assert_eq!(all[0].token.as_ref(), Some(shards[0].token()));
    assert_eq!(all[0].path, *shards[0].node());
    for one in &all {
        let owner = one.owner.as_ref().unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.hostname.is_empty());
    }
    drop(conn);
}

#[tokio::test]
async fn one_connection_may_hold_several_ranges() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let mut shards = try_join_all([lock.acquire(), lock.acquire(), lock.acquire()]).await.unwrap();
    assert!(shards.iter().all(|shard| shard.of() == 3));
    assert_eq!(shards.pop().unwrap().release().await, Released::Released);
    assert!(shards.iter().all(|shard| shard.is_valid()), "a release is of one range");
}

#[tokio::test]
async fn a_guard_s_writes_are_refused_behind_a_loss() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let shard = lock.acquire().await.unwrap();
    shard.multi(Multi::new().create("/row", "1", Mode::Persistent)).await.unwrap();
    conn.delete(shard.node(), Version::Any).await.unwrap();
    let err = shard.multi(Multi::new().delete("/row", Version::Any)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked);
    // Without a word from any server it is lost as well.
    let shard = lock.acquire().await.unwrap();
    conn.lose_connection();
    quorum.advance(shard.session().timeout() / 2);
    assert_eq!(shard.lost().await, Loss::Unproven);
    assert!(!shard.is_valid());
}

#[tokio::test]
async fn a_run_works_on_until_it_breaks_and_reshards_when_that_is_wanted() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let seen = &Mutex::new(Vec::new());
    let (_other, other) = worker(&quorum);
    let mut newcomer = None;
    let sum = lock.run(std::future::pending(), |shard| {
        let turn = {
            let mut seen = seen.lock().unwrap();
            seen.push((shard.of(), shard.token().clone()));
            seen.len()
        };
        if turn == 2 {
            let other = other.clone();
            newcomer = Some(tokio::spawn(async move { other.acquire().await.unwrap() }));
        }
        async move {
            match turn {
                1 => ControlFlow::Continue(()),
                2 => {
                    shard.stopped().await;
                    assert!(shard.is_valid(), "a request is no loss");
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(turn),
            }
        }
    });
    assert_eq!(sum.await.unwrap(), 3);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let of: Vec<usize> = seen.iter().map(|(of, _)| *of).collect();
    assert_eq!(of, [1, 1, 2]);
    assert!(seen[0].1 == seen[1].1 && seen[1].1 < seen[2].1, "one range twice, then another");
    let newcomer = newcomer.unwrap().await.unwrap();
    assert!(!newcomer.check().await.unwrap(), "work that broke was done: a word was said");
}

#[tokio::test]
async fn a_run_goes_on_behind_a_loss_and_never_twice_at_once() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let (running, starts) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let run = lock.run(std::future::pending(), |_| {
        let conn = conn.clone();
        async move {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            let _over = Over(running);
            match starts.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    conn.expire();
                    // It does not listen: it is dropped here.
                    std::future::pending().await
                }
                _ => ControlFlow::Break(()),
            }
        }
    });
    run.await.unwrap();
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

/// Counts one less when it goes.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn work_that_never_waits_does_not_hide_a_stop() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (mut stop, mut turns) = (Some(stop), 0);
    let run = lock.run::<(), _>(async { drop(stopped.await) }, |_| {
        turns += 1;
        if turns == 3 {
            drop(stop.take());
        }
        std::future::ready(ControlFlow::Continue(()))
    });
    let ended = tokio::time::timeout(Duration::from_secs(10), run).await;
    assert_eq!(ended.expect("it goes on").unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(turns, 3);
}

#[tokio::test]
async fn an_interrupted_run_ends_behind_its_work_and_asks_the_others() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let (_other, second) = worker(&quorum);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = &AtomicUsize::new(0);
    let mut stop = Some(stop);
    let run = lock.run::<(), _>(async { drop(stopped.await) }, |shard| {
        drop(stop.take());
        async move {
            shard.stopped().await;
            assert!(shard.is_valid(), "an interrupt is no loss");
            ended.fetch_add(1, Ordering::SeqCst);
            ControlFlow::Continue(())
        }
    });
    let (ran, stays) = tokio::join!(run, second.acquire());
    assert_eq!(ran.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert!(stays.unwrap().check().await.unwrap());
}

#[test]
fn guards_and_their_futures_may_go_anywhere() {
    fn send<T: Send + 'static>(_: &T) {}
    fn shared<T: Send + Sync + 'static>() {}
    shared::<ShardLock>();
    shared::<ShardGuard>();
    shared::<Shard>();
    let lock = ShardLock::new(MemoryConn::new(), "/sys");
    send(&async move {
        if let Ok(guard) = lock.acquire_within(Duration::from_secs(1)).await {
            let shard = guard.shard().clone();
            shard.requested().await.ok();
            shard.stopped().await;
            guard.ack().await;
        }
        lock.run(async {}, |_| async { ControlFlow::Break(()) }).await.ok();
    });
}
