//! Workers that come and go, each in its own way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use zkcells::recipes::{ShardLock, shard_contenders};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Conn as _, Deadline};

use crate::support::random::random;
use crate::support::ranges::{Held, Ranges};
use crate::{GRACE, TICKS, TIMEOUT, connect, on_servers, soon};

/// The pause between two looks at the count of ranges.
const LOOK: Duration = Duration::from_millis(5);

/// What a worker does with its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Releases,
    Acknowledges,
    Drops,
    /// Its session is ended.
    Dies,
    /// Nothing is heard of it any more.
    FallsSilent,
}

struct Churn {
    addrs: String,
    path: String,
    wait: Duration,
    ranges: Ranges,
    grants: AtomicUsize,
    stop: AtomicBool,
    crashes: AtomicUsize,
    silent: AtomicUsize,
}

impl Churn {
    async fn worker(&self, number: usize, mut rng: Rng) {
        let mut last = Instant::now();
        'lives: while !self.stop.load(Ordering::Relaxed) {
            let proxy = FaultProxy::to(&self.addrs).await.unwrap();
            let conn = connect(&proxy.addr()).await;
            let lock = ShardLock::new(conn.clone(), &self.path).with_wait_time(self.wait);
            while !self.stop.load(Ordering::Relaxed) {
                let shard = match timeout(Duration::from_secs(60), lock.acquire()).await {
                    Ok(Ok(shard)) => shard,
                    Ok(Err(err)) => panic!("worker {number}: {err}"),
                    Err(_) => panic!("worker {number} waits for a minute"),
                };
                let mut held = Held::of(number, &shard, Deadline::now());
                last = Instant::now();
                self.grants.fetch_add(1, Ordering::Relaxed);
                held = held.with_stored(&conn, &shard).await;
                sleep(Duration::from_millis(rng.u64(..30))).await;
                let seen = shard.shard().clone();
                // Whoever leaves, dies or is cut off may still believe, and is believed to.
                let believes = async {
                    loop {
                        // The clock is read first, so the guard vouches for this moment.
                        let now = Deadline::now();
                        if !seen.is_valid() {
                            break;
                        }
                        held.end = now;
                        sleep(Duration::from_millis(2)).await;
                    }
                    self.ranges.held(held);
                };
                let leaves = match rng.u8(..100) {
                    0..2 => Leaves::FallsSilent,
                    2..6 => Leaves::Dies,
                    6..20 => Leaves::Drops,
                    20..60 => Leaves::Acknowledges,
                    _ => Leaves::Releases,
                };
                match leaves {
                    Leaves::Releases => drop(tokio::join!(believes, shard.release())),
                    Leaves::Acknowledges => drop(tokio::join!(believes, shard.ack())),
                    Leaves::Drops => {
                        drop(shard);
                        believes.await;
                    }
                    Leaves::Dies => {
                        self.crashes.fetch_add(1, Ordering::Relaxed);
                        let (_, closed) = tokio::join!(believes, conn.close());
                        closed.unwrap();
                        continue 'lives;
                    }
                    Leaves::FallsSilent => {
                        self.silent.fetch_add(1, Ordering::Relaxed);
                        proxy.black_hole(Direction::Both);
                        soon("its loss", believes).await;
                        drop(shard);
                        // Whoever starts again is another process: what is left of this one stays
                        // behind its hole until its session is over.
                        tokio::spawn(async move {
                            sleep(2 * TIMEOUT).await;
                            drop(proxy);
                        });
                        continue 'lives;
                    }
                }
            }
            conn.close().await.unwrap();
        }
        assert!(last.elapsed() < Duration::from_secs(60));
    }

    /// The longest time in which nobody got a range, and the longest for which this machine ran nobody
    /// here.
    async fn longest_stall(&self) -> (Duration, Duration) {
        let (mut count, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        let (mut looked, mut asleep) = (Instant::now(), Duration::ZERO);
        while !self.stop.load(Ordering::Relaxed) {
            sleep(LOOK).await;
            asleep = asleep.max(looked.elapsed().saturating_sub(LOOK));
            looked = Instant::now();
            let now = self.grants.load(Ordering::Relaxed);
            if now != count {
                longest = longest.max(since.elapsed());
                (count, since) = (now, Instant::now());
            }
        }
        (longest.max(since.elapsed()), asleep)
    }
}

/// The loop that freezes the original within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_workers_come_and_go_without_a_stall() {
    let mut rng = random("churn");
    let (addrs, path) = on_servers("global").await;
    let churn = Arc::new(Churn {
        addrs: addrs.split(',').next().unwrap().to_owned(),
        path,
        wait: Duration::from_millis(20),
        ranges: Ranges::default(),
        grants: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        crashes: AtomicUsize::new(0),
        silent: AtomicUsize::new(0),
    });
    let length = match std::env::var("ZKCELLS_CHURN_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().unwrap()),
        Err(_) => Duration::from_secs(60),
    };
    let workers: Vec<_> = (0..10)
        .map(|number| {
            let (churn, rng) = (churn.clone(), rng.fork());
            tokio::spawn(async move { churn.worker(number, rng).await })
        })
        .collect();
    let watcher = churn.clone();
    let watcher = tokio::spawn(async move { watcher.longest_stall().await });
    sleep(length).await;
    churn.stop.store(true, Ordering::Relaxed);
    let (stall, asleep) = watcher.await.unwrap();
    for worker in workers {
        soon("the end of a worker", worker).await.unwrap();
    }
    let verdict = churn.ranges.judge();
    let (crashes, silent) =
        (churn.crashes.load(Ordering::Relaxed), churn.silent.load(Ordering::Relaxed));
    println!(
        "churn: {verdict}; {crashes} died, {silent} fell silent; longest stall {stall:?}, the machine \
         stood still for {asleep:?}"
    );
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    // Nobody gives up here before it has held what it was listed for.
    assert!(verdict.holes.is_empty(), "{:#?}", verdict.holes);
    assert!(verdict.stored > verdict.grants / 2, "{verdict}");
    assert!(verdict.generations > 20 && crashes > 0 && silent > 0, "{verdict}");
    // Those of one generation who fall silent are waited for together, and a grant is behind them.
    assert!(stall <= TIMEOUT + TICKS + churn.wait + GRACE + asleep, "{stall:?}, {asleep:?}");
    let conn = connect(&addrs).await;
    let left = async {
        while shard_contenders(&conn, &churn.path).await.unwrap().iter().any(|one| one.holds()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the end of all", left).await;
}
