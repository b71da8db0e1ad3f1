//! What it costs, and what becomes of it where servers do not answer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::Instant;
use zkcells::fault::OpKind;
use zkcells::recipes::{Released, ShardGuard, ShardLock, shard_contenders};
use zkcells::testing::proxy::{Direction, FaultProxy, LogEntry};
use zkcells::{ErrorKind, ZkConn};

use crate::support::beds::until_children;
use crate::{WAIT, connect, on_servers, soon};

/// The original waits for good, or goes on as if it were connected.
#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_in_time() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let conn = connect(&proxy.addr()).await;
    let lock = ShardLock::new(conn, &path).with_wait_time(WAIT);
    // It refuses, or says nothing.
    for silent in [false, true] {
        match silent {
            true => proxy.black_hole(Direction::Both),
            false => proxy.down(),
        }
        let (patience, start) = (Duration::from_millis(400), Instant::now());
        let err = soon("the end", lock.acquire_within(patience)).await.unwrap_err();
        println!("silent {silent}: behind {:?}: {err}", start.elapsed());
        assert_eq!((err.kind(), err.op()), (ErrorKind::Timeout, "acquire"), "{err}");
        assert_eq!(err.path(), path);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        // Without a deadline of its own it ends by that of its calls.
        let err = soon("the end", lock.acquire()).await.unwrap_err();
        println!("silent {silent}: without patience: {err}");
        let kinds = [ErrorKind::NotSent, ErrorKind::Timeout, ErrorKind::SessionExpired];
        assert!(kinds.contains(&err.kind()), "{err}");
        proxy.cut();
        proxy.heal();
        proxy.join();
    }
    assert!(soon("a range", lock.acquire()).await.unwrap().is_valid());
}

/// The original opens a connection for each, and loses all but one.
#[tokio::test]
async fn parallel_acquires_share_a_session() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let lock = ShardLock::new(connect(&proxy.addr()).await, &path).with_wait_time(WAIT);
    let opened = proxy.opened();
    let shards = try_join_all((0..4).map(|_| lock.acquire())).await.unwrap();
    assert_eq!((proxy.opened(), proxy.sessions().len()), (opened, 1));
    let session = shards[0].session().id();
    assert!(shards.iter().all(|shard| shard.of() == 4 && shard.session().id() == session));
    let mut places: Vec<usize> = shards.iter().map(ShardGuard::index).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3]);
    let mut shards = shards;
    assert_eq!(shards.remove(0).ack().await, Released::Released);
    for shard in &shards {
        assert!(shard.is_valid() && !shard.check().await.unwrap());
    }
    for shard in shards {
        assert_eq!(shard.release().await, Released::Released);
    }
    let rest = connect(&addrs).await;
    until_children(&rest, &path, <[String]>::is_empty).await;
}

/// So many who wait in one group behind a holder, each at a proxy of its own.
async fn waiting(
    addrs: &str,
    path: &str,
    count: usize,
) -> (Vec<FaultProxy>, Vec<tokio::task::JoinHandle<Result<ShardGuard, zkcells::Error>>>) {
    let well = connect(addrs).await;
    let (mut proxies, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..count {
        let proxy = FaultProxy::to(addrs).await.unwrap();
        let conn: Arc<ZkConn> = connect(&proxy.addr()).await;
        let lock = ShardLock::new(conn, path).with_wait_time(WAIT);
        tasks.push(tokio::spawn(async move { lock.acquire().await }));
        let next = format!("{path}/group-0000000001");
        until_children(&well, &next, |names| names.len() == number + 1).await;
        proxies.push(proxy);
    }
    (proxies, tasks)
}

/// All followers of the original watch their leader.
#[tokio::test]
async fn the_end_of_a_waiter_wakes_the_next_one_alone() {
    let (addrs, path) = on_servers("nyc").await;
    let well = connect(&addrs).await;
    let held = ShardLock::new(well.clone(), &path).with_wait_time(WAIT).acquire().await.unwrap();
    let (proxies, mut tasks) = waiting(&addrs, &path, 8).await;
    // Each watches the one before it or the holder's; its own one as well, a little later.
    let watching = async |(number, proxy): (usize, &FaultProxy)| {
        let before = match number.checked_sub(1) {
            Some(before) => format!("{path}/group-0000000001/node-{before:010}"),
            None => held.node().to_string(),
        };
        let asked = |log: &[LogEntry], path: &String| {
            let mut reads = log.iter().filter(|entry| entry.kind == Some(OpKind::Read));
            let request = reads.find(|entry| entry.paths.contains(path)).map(|entry| entry.xid);
            request.is_some_and(|xid| log.iter().filter(|entry| entry.xid == xid).count() > 1)
        };
        loop {
            let log = proxy.log();
            if asked(&log, &before) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("their watches", join_all(proxies.iter().enumerate().map(watching))).await;
    for proxy in &proxies {
        proxy.clear_log();
    }
    tasks.remove(3).abort();
    let asked = async {
        while !proxies[4].log().iter().any(|entry| entry.is_request(OpKind::Read)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a look of the next one", asked).await;
    let next = format!("{path}/group-0000000001");
    until_children(&well, &next, |names| names.len() == 7).await;
    for (number, proxy) in proxies.iter().enumerate().filter(|(number, _)| ![3, 4].contains(number))
    {
        let log = proxy.log();
        let own = format!("{path}/group-0000000001/node-{number:010}");
        let reads = log.iter().filter(|entry| entry.is_request(OpKind::Read));
        let reads = reads.filter(|entry| !entry.paths.contains(&own)).count();
        let events = log.iter().filter(|entry| entry.is_event()).count();
        assert_eq!((events, reads), (0, 0), "{number} was woken: {log:?}");
    }
    proxies.iter().for_each(FaultProxy::clear_log);
    assert_eq!(held.release().await, Released::Released);
    let guards = soon("all ranges", join_all(tasks)).await;
    let guards: Vec<ShardGuard> = guards.into_iter().map(|task| task.unwrap().unwrap()).collect();
    assert!(guards.iter().all(|shard| shard.of() == 7));
    // The leader is told of the holder's end, and each other one of the list.
    let log = proxies.iter().map(FaultProxy::log).collect::<Vec<_>>();
    let events: Vec<usize> =
        log.iter().map(|log| log.iter().filter(|entry| entry.is_event()).count()).collect();
    let requests: Vec<usize> = log
        .iter()
        .map(|log| log.iter().filter(|entry| entry.direction == Direction::ToServer).count())
        .collect();
    println!("behind the release, each: events {events:?}, requests {requests:?}");
    assert!(events.iter().enumerate().all(|(number, count)| *count == usize::from(number != 3)));
    assert!(requests.iter().all(|count| *count <= 12), "{requests:?}");
    assert_eq!(shard_contenders(&well, &path).await.unwrap().len(), 7);
}
