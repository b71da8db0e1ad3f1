//! What the original does: its tree, its ranges, who is told what, and whom errors name.

use super::*;

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
