//! Faults that meet somebody who holds, waits or comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zkcells::fault::OpKind;
use zkcells::recipes::ShardLock;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Deadline, Loss, ZkConn};

use crate::{GRACE, TICKS, TIMEOUT, WAIT, connect, on_servers, soon};

/// The original's holder goes on for as long as the partition lasts, with another in the same range.
#[tokio::test]
async fn who_is_cut_off_believes_nothing_by_the_time_another_gets_the_range() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let (faulty, well) = (connect(&proxy.addr()).await, connect(&addrs).await);
    let lock = |conn: Arc<ZkConn>| ShardLock::new(conn, &path).with_wait_time(WAIT);
    let (first, second) = (lock(faulty), lock(well));
    let shard = first.acquire().await.unwrap();
    let next =
        tokio::spawn(async move { second.acquire().await.map(|next| (next, Deadline::now())) });
    soon("the request", shard.requested()).await.unwrap();
    proxy.black_hole(Direction::Both);
    let cut = Instant::now();
    assert_eq!(soon("the loss", shard.lost()).await, Loss::Unproven);
    let lost = cut.elapsed();
    let (next, granted) = soon("the next range", next).await.unwrap().unwrap();
    assert!(shard.valid_until() <= granted && !shard.is_valid());
    let all = cut.elapsed();
    println!("lost {lost:?} behind the cut, granted to the next one {all:?} behind it");
    assert!(proxy.bites().held > 0, "the fault did not bite");
    assert!(all <= TIMEOUT + TICKS + WAIT + GRACE, "{all:?}");
    assert!(*next.token() > *shard.token());
}

/// A worker that is told nothing of a change looks by itself.
#[tokio::test]
async fn a_lost_watch_costs_no_more_than_a_session_timeout() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let (faulty, well) = (connect(&proxy.addr()).await, connect(&addrs).await);
    let shards = ShardLock::new(faulty.clone(), &path).with_wait_time(WAIT);
    let shard = shards.acquire().await.unwrap();
    proxy.clear_log();
    let asked = tokio::spawn({
        let shard = shard.shard().clone();
        async move { shard.requested().await }
    });
    let watched = async {
        while proxy.log().iter().filter(|entry| entry.is_request(OpKind::Read)).count() < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("its watches", watched).await;
    // The word of the next group is held back for longer than the test lasts.
    proxy.late_event(Duration::from_secs(60));
    proxy.late_event(Duration::from_secs(60));
    let newcomer = ShardLock::new(well, &path).with_wait_time(WAIT);
    let newcomer = tokio::spawn(async move { newcomer.acquire().await });
    let start = Instant::now();
    soon("the request", asked).await.unwrap().unwrap();
    let told = start.elapsed();
    println!("told behind {told:?}");
    assert!(told > TIMEOUT / 2, "the fault did not bite");
    assert!(told < TIMEOUT * 5 / 4 + GRACE, "{told:?}");
    shard.ack().await;
    let next = soon("the next range", newcomer).await.unwrap().unwrap();
    assert!(next.is_valid());
}
