//! Each recipe under each fault: who holds, waits or comes while it bites is told the truth, and the
//! next one gets in.
//!
//! All cases of the network and of operators are side by side on one ensemble, each behind a proxy
//! and at a path of its own; those of servers come one after the other, all recipes at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use support::cases::{of_downgrades, of_holders, of_lines};
use support::random::{random, rounds};
use support::recipes::rw::{TheReader, TheWriter};
use support::recipes::{Recipe, TheLock, all};
use support::rig::{Rig, SOON, TIMEOUT, connect, gets_in, side_by_side, soon, turn};
use support::shared::ensemble_with;
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};
use zkcells::recipes::{Lock, Released};
use zkcells::testing::servers::Ensemble;
use zkcells::{ConnExt as _, ErrorKind, Loss, SessionOptions, ZkConn};

/// How many cases run side by side.
const AT_ONCE: usize = 150;

/// The servers, of which one that has lost the others serves reads alone.
async fn ensemble() -> MutexGuard<'static, Ensemble> {
    ensemble_with("-Dreadonlymode.enabled=true").await
}

/// What one recipe goes through while a fault of a server bites: who has to do with `server` is
/// behind the proxy.
struct Suffering {
    rig: Rig,
    id: i64,
    held: Box<dyn support::recipes::Held>,
    next: support::rig::Contender,
}

async fn held_at(ensemble: &Ensemble, server: usize, healthy: usize) -> Vec<Suffering> {
    let each = all().into_iter().map(|recipe| async move {
        let rig = Rig::new(recipe, ensemble.addr(server), ensemble.addr(healthy)).await;
        let rig = rig.prepared().await;
        let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
        let next = rig.contend(&rig.well).await;
        Suffering { rig, id, held, next }
    });
    join_all(each).await
}

async fn all_lose(suffering: Vec<Suffering>) {
    side_by_side(
        suffering
            .into_iter()
            .map(|Suffering { rig, id, held, next }| {
                let name = rig.recipe.name().to_owned();
                (name, async move { rig.loses(held, next, &[Loss::Unproven], id).await }.boxed())
            })
            .collect(),
    )
    .await;
}

async fn all_go_on(suffering: Vec<Suffering>) {
    side_by_side(
        suffering
            .into_iter()
            .map(|Suffering { rig, held, next, .. }| {
                let name = rig.recipe.name().to_owned();
                let goes_on = async move {
                    rig.proved_again(&*held).await;
                    rig.passes_on(held, next).await;
                };
                (name, goes_on.boxed())
            })
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn each_recipe_bears_each_fault_of_the_network_and_of_operators() {
    let (ensemble, mut rng) = (ensemble().await, random("network and operators"));
    for _ in 0..rounds(1, 20) {
        let mut cases = Vec::new();
        let each = all().into_iter().map(|recipe| {
            let lines = if recipe.is_line() { of_lines() } else { Vec::new() };
            (recipe, of_holders().into_iter().chain(lines).collect())
        });
        let readers: [(Arc<dyn Recipe>, Vec<_>); 3] = [
            (Arc::new(TheReader::that_holds()), of_holders()),
            (Arc::new(TheReader::that_waits()), of_lines()),
            (Arc::new(TheWriter), of_downgrades()),
        ];
        for (recipe, faults) in each.chain(readers) {
            for (name, case) in faults {
                let (recipe, server) = (recipe.clone(), rng.usize(1..=3));
                let at =
                    (ensemble.addr(server).to_owned(), ensemble.addr(server % 3 + 1).to_owned());
                let phase = Duration::from_millis(rng.u64(..700));
                let title = format!("{}, {name}", recipe.name());
                let case = async move {
                    let rig = Rig::new(recipe, &at.0, &at.1).await.prepared().await;
                    // Faults meet renewals and pings at other moments each time.
                    sleep(phase).await;
                    case(rig).await;
                };
                cases.push((title, case.boxed()));
            }
        }
        // More at once would be a test of the machine.
        while !cases.is_empty() {
            let some = cases.split_off(cases.len().saturating_sub(AT_ONCE));
            side_by_side(some).await;
        }
    }
}

#[tokio::test]
async fn each_recipe_bears_a_server_that_stands_still() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let short = held_at(&ensemble, server, healthy).await;
        ensemble.stop(server);
        sleep(TIMEOUT / 10).await;
        ensemble.cont(server);
        all_go_on(short).await;
        let long = held_at(&ensemble, server, healthy).await;
        ensemble.stop(server);
        all_lose(long).await;
        ensemble.cont(server);
        ensemble.mend().await;
    }
}

#[tokio::test]
async fn each_recipe_bears_a_follower_that_is_cut_off_and_answers() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let suffering = held_at(&ensemble, server, healthy).await;
        let before = ensemble.held();
        ensemble.cut_from_peers(server);
        all_lose(suffering).await;
        assert!(ensemble.held() > before, "the fault did not bite");
        gets_nothing_read_only(&ensemble, server).await;
        ensemble.mend().await;
    }
}

/// What has lost its leader for good serves reads to those who ask for no more. Nobody gets a lock there,
/// nobody waits for longer than he said, and nothing of it is done later.
async fn gets_nothing_read_only(ensemble: &Ensemble, server: usize) {
    let read_only = async {
        while ensemble.ask(server, "isro").await.as_deref() != Some("ro") {
            turn().await;
        }
    };
    timeout(Duration::from_secs(20), read_only).await.expect("it does not become read-only");
    let healthy = ensemble.addr(server % 3 + 1);
    let rig = Rig::new(Arc::new(TheLock), healthy, healthy).await.prepared().await;
    let options = SessionOptions::default().with_label("ensemble");
    let conn = Arc::new(ZkConn::new(ensemble.addr(server), options).unwrap());
    let lock = Lock::new(conn.clone(), &rig.path);
    let err = soon("an answer", lock.acquire_within(TIMEOUT / 2)).await.unwrap_err();
    println!("read-only: {err}");
    assert!(matches!(err.kind(), ErrorKind::NotSent | ErrorKind::Timeout), "{err}");
    assert!(err.to_string().contains(&rig.path), "{err}");
    ensemble.mend().await;
    // It dials again, now with success, and has nothing left to do.
    let session = conn.session("/").await.unwrap();
    assert!(rig.nodes_of(session.id()).await.is_empty());
    let held = rig.take(&conn).await;
    assert_eq!(held.release().await, Released::Released);
}

#[tokio::test]
async fn each_recipe_bears_a_full_disk() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let suffering = held_at(&ensemble, server, healthy).await;
        // What it cannot write are the proofs of those who hold.
        ensemble.fill_disk(server).await;
        all_lose(suffering).await;
        ensemble.mend().await;
    }
}

#[tokio::test]
async fn each_recipe_bears_a_killed_leader_and_a_restarted_server() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let lines = all().into_iter().filter(|recipe| recipe.is_line());
        let each = lines.map(|recipe| {
            let ensemble = &ensemble;
            async move {
                // Whoever waits knows but one server, which will be gone for a while with its watches,
                // and not for as long as its session.
                let leader = ensemble.until_one_leads().await;
                let mut rig = Rig::new(recipe, ensemble.addr(leader), &ensemble.addrs()).await;
                rig.faulty = connect(&rig.proxy.addr(), 5 * TIMEOUT).await;
                let rig = rig.prepared().await;
                let holder = rig.take(&rig.well).await;
                let contender = rig.contend_and_watch().await;
                (rig, holder, contender)
            }
        });
        let suffering = join_all(each).await;
        let old = ensemble.kill_leader().await;
        let new = ensemble.until_another_leads(old).await;
        let (at, mut free) = (ensemble.addr(new).to_owned(), Vec::new());
        for (rig, holder, contender) in suffering {
            // It moved to another server in time, or lost it: either way it tells the truth.
            let released = soon("the release", holder.release()).await;
            println!("{}: {released:?}", rig.recipe.name());
            free.push((rig, contender));
        }
        // What the waiter waits for is gone, and its server did not see it go.
        let witness = connect(&at, TIMEOUT).await;
        witness.sync("/").await.unwrap();
        ensemble.restart(old);
        side_by_side(
            free.into_iter()
                .map(|(rig, contender)| {
                    let name = rig.recipe.name().to_owned();
                    let ends = async move {
                        let held = gets_in(contender, 5 * TIMEOUT).await;
                        assert_eq!(held.release().await, Released::Released);
                        let held = rig.take(&rig.well).await;
                        let next = rig.contend(&rig.third).await;
                        held.release().await;
                        gets_in(next, SOON).await;
                    };
                    (name, ends.boxed())
                })
                .collect(),
        )
        .await;
        ensemble.mend().await;
    }
}
