//! Many contend for one lock: clients of other libraries among them, or a hundred.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use support::all_answered;
use support::flawed::{Flaw, Flawed};
use support::fleet::{mixed, mixed_sides};
use support::recipes::{Recipe, all};
use support::rig::{connect, gets_in, soon, turn};
use support::soon as in_time;
use zkcells::recipes::{LockNames, Released};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{FaultProxy, OpKind};
use zkcells::{ConnExt as _, Mode, Stat, ZkConn};

/// More than a session of anybody here lasts without a sign of life.
const LONG: Duration = Duration::from_secs(30);

fn nyc() -> String {
    LocalCells::up().unwrap().addrs("nyc").unwrap()
}

#[tokio::test]
async fn clients_of_kazoo_and_ours_with_its_names_exclude_one_another() {
    mixed("kazoo", LockNames::Kazoo, "").await;
}

#[tokio::test]
async fn clients_of_kazoo_that_know_our_names_and_ours_exclude_one_another() {
    mixed("kazoo", LockNames::Vitess, "lock-").await;
}

#[tokio::test]
async fn readers_and_writers_of_kazoo_and_ours_exclude_one_another() {
    mixed_sides("kazoo", LockNames::Kazoo).await;
}

/// How many events waiters get, and how many reads they make, when the first of 100 goes, and the
/// most when one of the next five does.
async fn woken(recipe: &dyn Recipe, through: &[Arc<ZkConn>], proxy: &FaultProxy) -> [usize; 3] {
    let well = connect(&nyc(), LONG).await;
    let root = format!("/{}", fresh_root());
    well.create(&root, "", Mode::Persistent).await.unwrap();
    let path = format!("{root}/it");
    recipe.prepare(well.clone(), &path).await;
    let mut holder = recipe.acquire(well.clone(), &path).await.unwrap();
    let mut waiters = Vec::new();
    for conn in through {
        waiters.push(tokio::spawn(recipe.acquire(conn.clone(), &path)));
        let stat = async {
            loop {
                // In line one behind the other.
                let found = well.exists(recipe.dir(&path)).await.unwrap();
                let children = found.map_or(0, |Stat { num_children, .. }| num_children);
                if usize::try_from(children).unwrap() > waiters.len() {
                    break;
                }
            }
        };
        in_time("a place in the line", stat).await;
    }
    settled(through, proxy).await;
    let mut counts = Vec::new();
    let mut waiters = waiters.into_iter();
    for _ in 0..6 {
        proxy.clear_log();
        assert_eq!(holder.release().await, Released::Released);
        holder = gets_in(waiters.next().unwrap(), LONG).await;
        settled(through, proxy).await;
        let log = proxy.log();
        let events = log.iter().filter(|entry| entry.is_event()).count();
        let reads = log.iter().filter(|entry| entry.is_request(OpKind::Read)).count();
        counts.push((events, reads));
    }
    let most = counts[1..].iter().map(|(events, _)| *events).max().unwrap();
    waiters.for_each(|waiter| waiter.abort());
    println!("{}: {counts:?} events and reads", recipe.name());
    [counts[0].0, counts[0].1, most]
}

/// Waits until whatever a server had to tell has been told, and answered.
async fn settled(through: &[Arc<ZkConn>], proxy: &FaultProxy) {
    for _ in 0..3 {
        let synced = join_all(through.iter().map(|conn| conn.sync("/"))).await;
        synced.into_iter().for_each(|synced| synced.unwrap());
        let answered = async {
            while !all_answered(&proxy.log()) {
                turn().await;
            }
        };
        soon("the answers", answered).await;
    }
}

async fn hundred() -> (FaultProxy, Vec<Arc<ZkConn>>) {
    let proxy = FaultProxy::to(&nyc()).await.unwrap();
    let addr = proxy.addr();
    let conns = join_all((0..100).map(|_| connect(&addr, LONG))).await;
    (proxy, conns)
}

#[tokio::test]
async fn a_release_wakes_one_of_a_hundred() {
    let (proxy, conns) = hundred().await;
    for recipe in all().iter().filter(|recipe| recipe.is_line()) {
        let [events, reads, most] = woken(&**recipe, &conns, &proxy).await;
        assert_eq!(events, 1, "{}", recipe.name());
        assert!(reads <= 6, "{}: {reads}", recipe.name());
        // The one who went hears of its own node, too.
        assert!(most <= 2, "{}: {most}", recipe.name());
    }
    let [events, ..] = woken(&Flawed(Flaw::Herd), &conns, &proxy).await;
    assert_eq!(events, 100, "whoever waits for the first is woken, or this counts nothing");
}
