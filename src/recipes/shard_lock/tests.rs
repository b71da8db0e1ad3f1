//! The shard lock in memory.

mod found;
mod leaving;
mod limits;
mod races;
mod run;
mod told;
mod whole;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
