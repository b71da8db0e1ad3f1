//! Faults that meet somebody who holds, waits or comes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zkcells::fault::OpKind;
use zkcells::recipes::{Released, ShardLock};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{ConnExt as _, Deadline, Loss, SessionOptions, ZkConn};

use crate::{GRACE, TICKS, TIMEOUT, WAIT, connect, names, on_servers, soon};

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

/// Whoever hears that the range was lost may do the work again: that it was done is not said then.
#[tokio::test]
async fn a_word_that_was_not_sent_in_time_is_not_said_later() {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    // Its session outlives the guard by far.
    let long = SessionOptions::default().with_session_timeout(Duration::from_secs(6));
    let faulty = Arc::new(ZkConn::connect(&proxy.addr(), long.with_label("cell")).await.unwrap());
    let well = connect(&addrs).await;
    let locks = [faulty, well.clone()].map(|conn| ShardLock::new(conn, &path).with_wait_time(WAIT));
    let (shard, stays) = tokio::try_join!(locks[0].acquire(), locks[1].acquire()).unwrap();
    assert_eq!(shard.of(), 2);
    let (node, session, until) =
        (shard.node().clone(), shard.session().clone(), shard.valid_until());
    proxy.down();
    proxy.until(|bites| bites.cut > 0 && bites.refused > 0).await;
    assert_eq!(soon("the end of the guard", shard.ack()).await, Released::WasLost);
    assert!(until.is_past());
    proxy.join();
    let gone = async {
        while well.exists(&node).await.unwrap().is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the end of its node", gone).await;
    assert!(!session.state().is_over(), "it went with its session, and nobody could have said it");
    let group = node.parent().unwrap();
    assert_eq!(names(&*well, group.as_str()).await, [stays.node().name()]);
    assert!(stays.check().await.unwrap());
}
