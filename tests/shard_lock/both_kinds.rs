//! Workers of both kinds in one system that come, go and crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, timeout};
use zkcells::recipes::ShardLock;
use zkcells::{Conn as _, Deadline};

use crate::support::original::Original;
use crate::support::random::random;
use crate::support::ranges::{Held, Ranges};
use crate::{connect, on_servers, soon};

/// How many there are of each kind.
const EACH: usize = 3;
const WAIT: Duration = Duration::from_millis(20);
/// Longer than all sessions of those who died.
const LONG: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Churn {
    addrs: String,
    path: String,
    ranges: Ranges,
    stop: AtomicBool,
    crashes: AtomicUsize,
    /// Originals that came too late: what they take in hiding ends with their process.
    late: AtomicUsize,
}

impl Churn {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn original(&self, worker: usize, mut rng: Rng) {
        while self.goes_on() {
            let conn = connect(&self.addrs).await;
            let mut original = Original::new(conn.clone(), &self.path, WAIT);
            while self.goes_on() {
                let acquired = timeout(LONG, original.acquire()).await;
                let Ok(shard) = acquired.expect("an original waits for good") else {
                    self.late.fetch_add(1, Ordering::Relaxed);
                    break;
                };
                let start = Deadline::now();
                sleep(Duration::from_millis(rng.u64(..30))).await;
                let (index, of, zxid) = (shard.index, shard.of, shard.zxid);
                let (from, to) = (index as f64 / of as f64, (index + 1) as f64 / of as f64);
                let (end, stored) = (Deadline::now(), None);
                self.ranges.held(Held { worker, zxid, index, of, from, to, start, end, stored });
                match rng.u8(..20) {
                    0 => {
                        self.crashes.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    1..10 => shard.ack().await,
                    _ => shard.release().await,
                }
            }
            conn.close().await.unwrap();
        }
    }

    async fn ours(&self, worker: usize, mut rng: Rng) {
        'lives: while self.goes_on() {
            let conn = connect(&self.addrs).await;
            let lock = ShardLock::new(conn.clone(), &self.path).with_wait_time(WAIT);
            while self.goes_on() {
                let acquired = timeout(LONG, lock.acquire()).await;
                let shard = acquired.expect("one of ours waits for good").unwrap();
                let mut held = Held::of(worker, &shard, Deadline::now());
                sleep(Duration::from_millis(rng.u64(..30))).await;
                let now = Deadline::now();
                assert!(shard.is_valid(), "lost without a fault");
                held.end = now;
                self.ranges.held(held);
                match rng.u8(..20) {
                    0 => {
                        self.crashes.fetch_add(1, Ordering::Relaxed);
                        conn.close().await.unwrap();
                        continue 'lives;
                    }
                    1 => drop(shard),
                    2..11 => drop(shard.ack().await),
                    _ => drop(shard.release().await),
                }
            }
            conn.close().await.unwrap();
        }
    }
}

/// The loop that freezes originals among themselves within two seconds, but for their hidden ranges:
/// the process of whoever was too late is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_come_and_go_and_no_two_ranges_overlap() {
    let mut rng = random("both kinds");
    let (addrs, path) = on_servers("sjc").await;
    let churn = Arc::new(Churn { addrs, path, ..Churn::default() });
    let workers: Vec<_> = (0..2 * EACH)
        .map(|number| {
            let (churn, rng) = (churn.clone(), rng.fork());
            tokio::spawn(async move {
                match number % 2 {
                    0 => churn.original(number, rng).await,
                    _ => churn.ours(number, rng).await,
                }
            })
        })
        .collect();
    let length = match std::env::var("ZKCELLS_BOTH_KINDS_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().unwrap()),
        Err(_) => Duration::from_secs(5),
    };
    sleep(length).await;
    churn.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        soon("the end of a worker", worker).await.unwrap();
    }
    let verdict = churn.ranges.judge();
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "both kinds: {verdict}; {} crashed, {} originals were late",
        count(&churn.crashes),
        count(&churn.late)
    );
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert!(verdict.generations > 10 && verdict.most > EACH, "{verdict}");
    assert!(2 * verdict.whole > verdict.generations, "{verdict}");
}
