//! Who comes between what somebody sees and what he does.

use super::*;
use crate::conn::Pending;
use crate::fault::OpKind;
use crate::request::{Op, Reply, Request};

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

/// Whoever came between and has gone hides nobody who came behind him.
#[tokio::test]
async fn who_joined_behind_one_who_left_is_not_left_out_of_the_list() {
    for (leaves, stays) in [("node-", "node-"), ("_c_0123-node-", "_c_4567-node-")] {
        let late = Arc::new(AtomicUsize::new(0));
        let counted = late.clone();
        let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
            if let Op::Multi(ops) = &request.op
                && ops.len() == 5
                && counted.fetch_add(1, Ordering::SeqCst) == 0
            {
                let join = |stem: &str| {
                    let path = format!("/sys/group-0000000000/{stem}");
                    let made = other.create(path, "", Mode::EphemeralSequential).now_or_never();
                    made.unwrap().unwrap().0
                };
                let gone = join(leaves);
                join(stays);
                other.delete(gone, Version::Any).now_or_never().unwrap().unwrap();
            }
            None
        });
        let conn = Arc::new(spy);
        let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
        let acquired = tokio::time::timeout(5 * WAIT, lock.acquire()).await;
        let list = conn.get("/sys/group-0000000000").await.unwrap().data;
        match stays.starts_with("node-") {
            true => assert_eq!(acquired.unwrap().unwrap().of(), 2, "{list:?}"),
            // By its name that one leads.
            false => assert!(acquired.is_err() && list.is_empty(), "{list:?}"),
        }
        let tries = 1 + usize::from(stays.starts_with("node-"));
        assert_eq!(late.load(Ordering::SeqCst), tries, "published on the ground of a new list");
        let left = conn.children("/sys/group-0000000000").await.unwrap().names;
        assert!(left.iter().all(|name| name.contains("node-")), "{left:?}");
    }
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

/// An original leader there looks at no other group any more, so there must not be two generations.
#[tokio::test]
async fn who_leads_a_later_group_joins_those_who_wait_in_an_earlier_one() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let (earlier, later) = ("/sys/group-0000000000", "/sys/group-0000000001");
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(later, "", Mode::Persistent).await.unwrap();
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    assert_eq!(names(&conn, later).await, ["node-0000000000"]);
    conn.create(earlier, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{earlier}/node-0000000000"), "", Mode::Ephemeral).await.unwrap();
    let moved = until(async || names(&conn, earlier).await.len() == 2);
    tokio::select! {
        _ = &mut acquiring => panic!("it has published beside them"),
        () = moved => {}
    }
    let numbers: Vec<u8> = [0, 1_i32].into_iter().flat_map(i32::to_le_bytes).collect();
    conn.set(earlier, numbers, Version::Any).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (1, 2));
    until(async || names(&conn, BASE).await == ["group-0000000000"]).await;
}

/// Under an original leader the version is what ties those who join to the list, wherever it stands.
#[tokio::test]
async fn a_group_is_joined_whatever_version_it_has() {
    for leader in ["", "{}"] {
        let quorum = MemoryQuorum::new();
        let (conn, lock) = worker(&quorum);
        let group = "/sys/group-0000000000";
        conn.create(BASE, "", Mode::Persistent).await.unwrap();
        conn.create(group, "", Mode::Persistent).await.unwrap();
        conn.create(format!("{group}/node-"), leader, Mode::EphemeralSequential).await.unwrap();
        for _ in 0..5 {
            conn.set(group, "", Version::Any).await.unwrap();
        }
        let mut acquiring = Box::pin(lock.acquire());
        assert!(acquiring.as_mut().now_or_never().is_none());
        assert_eq!(names(&conn, group).await.len(), 2, "it waits for {leader:?}");
        let seen = conn.get(group).await.unwrap().stat.version;
        let raised = i32::from(leader.is_empty());
        assert_eq!(seen, 5 + raised, "an original leader's look is made void, and no other's");
        let list: Vec<u8> = [0, 1_i32].into_iter().flat_map(i32::to_le_bytes).collect();
        conn.set(group, list, Version::Exact(seen)).await.unwrap();
        assert_eq!(acquiring.await.unwrap().index(), 1);
    }
}

#[tokio::test]
async fn a_group_that_goes_between_the_list_and_the_look_at_it_is_no_matter() {
    // The original takes all for gone then, and makes another group.
    let gone = "/sys/group-0000000000";
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if matches!(request.op, Op::ReadMany(_)) {
            // It is gone already at a second look.
            let _ = other.delete(gone, Version::Any).now_or_never().unwrap();
        }
        None
    });
    let conn = Arc::new(spy);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    let waiting = "/sys/group-0000000001";
    for group in [gone, waiting] {
        conn.create(group, "", Mode::Persistent).await.unwrap();
    }
    let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
    let shard = lock.acquire().await.unwrap();
    assert_eq!(conn.children(BASE).await.unwrap().names, ["group-0000000001"]);
    assert_eq!(shard.node().parent().unwrap().as_str(), waiting);
}

/// A connection that loses the reply to the first transaction, and stays away then.
#[derive(Debug)]
struct StaysAway(MemoryConn, AtomicUsize);

impl std::fmt::Display for StaysAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stays-away({})", self.0)
    }
}

impl Conn for StaysAway {
    fn call(&self, request: Request) -> Pending<Reply> {
        if matches!(request.op, Op::Multi(_)) && self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            self.0.refuse();
            self.0.swallow_reply(OpKind::Multi);
        }
        self.0.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

/// The set that comes with the join cannot be told from another's any more then, but the own node can.
#[tokio::test]
async fn who_was_listed_before_the_reply_to_its_join_takes_its_range() {
    let quorum = MemoryQuorum::new();
    let (conn, _) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-"), "", Mode::EphemeralSequential).await.unwrap();
    let away = Arc::new(StaysAway(quorum.connect(), AtomicUsize::new(0)));
    let lock = ShardLock::new(away.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    assert_eq!(away.0.bites().swallowed, 1);
    let list: Vec<u8> = [0, 1_i32].into_iter().flat_map(i32::to_le_bytes).collect();
    conn.set(group, list, Version::Exact(1)).await.unwrap();
    away.0.join();
    let acquired = tokio::time::timeout(Duration::from_secs(5), acquiring).await;
    let shard = acquired.expect("its listed node is thrown away").unwrap();
    assert_eq!((shard.index(), shard.of()), (1, 2));
}
