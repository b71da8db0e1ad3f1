//! What a hundred parties ask of their servers: so much for each, and not for each of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use zkcells::Conn;
use zkcells::recipes::{CyclicBarrier, DoubleBarrier};

use crate::support::beds::{Bed, until_children};
use crate::support::counted::Counted;

const PARTIES: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// Connections of a few sessions, and the count of what goes through all.
async fn counted(b: &Bed) -> (Vec<Arc<dyn Conn>>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut conns = Vec::new();
    for _ in 0..PARTIES / 10 {
        conns.push(Counted::before(b.conn().await, &count));
    }
    (conns, count)
}

#[tokio::test]
async fn a_double_barrier_costs_each_party_the_same() {
    let b = Bed::quorum();
    let (path, (conns, count)) = (b.at("step"), counted(&b).await);
    let barriers: Vec<_> = (0..PARTIES)
        .map(|n| {
            DoubleBarrier::new(conns[n % conns.len()].clone(), &path, format!("{n:03}"), PARTIES)
        })
        .collect();
    let inside = join_all(barriers.iter().map(DoubleBarrier::enter));
    let inside = tokio::time::timeout(MINUTE, inside).await.unwrap();
    let entered = count.swap(0, Ordering::SeqCst);
    let out = join_all(inside.into_iter().map(|one| one.unwrap().exit()));
    let out = tokio::time::timeout(MINUTE, out).await.unwrap();
    assert!(out.iter().all(Result::is_ok));
    let left = count.load(Ordering::SeqCst);
    println!("{PARTIES} parties: {entered} requests to enter, {left} to exit");
    assert!(entered <= 15 * PARTIES && left <= 4 * PARTIES, "{entered} and {left}");
}

#[tokio::test]
async fn a_cyclic_barrier_costs_each_party_the_same() {
    let b = Bed::quorum();
    let (path, (conns, count)) = (b.at("phase"), counted(&b).await);
    let barriers: Vec<_> = (0..PARTIES)
        .map(|n| CyclicBarrier::new(conns[n % conns.len()].clone(), &path, PARTIES))
        .collect();
    // One behind the other.
    let mut waits = Vec::new();
    for (n, barrier) in barriers.iter().enumerate() {
        let barrier = barrier.clone();
        waits.push(tokio::spawn(async move { barrier.wait().await.unwrap() }));
        if n + 1 < PARTIES {
            until_children(&b.conn().await, &path, |names| names.len() == n + 1).await;
        }
    }
    tokio::time::timeout(MINUTE, join_all(waits)).await.unwrap();
    let spread = count.swap(0, Ordering::SeqCst);
    // All at once: of those who write at the same version, one wins.
    let waits = join_all(barriers.iter().map(CyclicBarrier::wait));
    let indexes = tokio::time::timeout(MINUTE, waits).await.unwrap();
    let mut indexes: Vec<_> = indexes.into_iter().map(Result::unwrap).collect();
    indexes.sort_unstable();
    assert!(indexes.into_iter().eq(0..PARTIES));
    let at_once = count.load(Ordering::SeqCst);
    println!("{PARTIES} parties: {spread} requests one by one, {at_once} all at once");
    assert!(spread <= 10 * PARTIES && at_once <= 40 * PARTIES, "{spread} and {at_once}");
}
