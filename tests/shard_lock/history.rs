//! Whatever breaks, no two ranges overlap: workers that hold for a moment or for long, under faults of
//! the network and of servers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use zkcells::fault::OpKind;
use zkcells::recipes::{ShardLock, shard_contenders};
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::testing::servers::Ensemble;
use zkcells::{ConnExt as _, Deadline, Mode, ZkConn};

use crate::support::random::{random, rounds};
use crate::support::ranges::{Held, Ranges, Verdict};
use crate::support::shared::{FAULTS, fault_of_server};
use crate::{TIMEOUT, connect, on_servers, soon};

/// Workers of one system, each with a connection of its own.
struct Crew {
    path: String,
    ranges: Ranges,
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
    /// Acquires that came to no range, and ranges that were lost as they came.
    in_vain: Arc<AtomicUsize>,
    /// Who holds its range for long just now.
    clings: Arc<Mutex<Option<usize>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(path: &str, conns: Vec<Arc<ZkConn>>, rng: &mut Rng) -> Crew {
        let mut crew = Crew {
            path: path.to_owned(),
            ranges: Ranges::default(),
            stop: Arc::default(),
            lost: Arc::default(),
            in_vain: Arc::default(),
            clings: Arc::default(),
            workers: Vec::new(),
        };
        for (number, conn) in conns.into_iter().enumerate() {
            let lock = ShardLock::new(conn.clone(), path).with_wait_time(Duration::from_millis(20));
            let worker = Worker {
                number,
                conn,
                lock,
                ranges: crew.ranges.clone(),
                lost: crew.lost.clone(),
                in_vain: crew.in_vain.clone(),
                clings: crew.clings.clone(),
            };
            let (stop, rng) = (crew.stop.clone(), rng.fork());
            crew.workers.push(tokio::spawn(worker.work(stop, rng)));
        }
        crew
    }

    /// Waits until somebody holds for long.
    async fn clung(&self) -> usize {
        let clung = async {
            loop {
                let clung = *self.clings.lock().unwrap();
                match clung {
                    Some(clung) => break clung,
                    None => sleep(Duration::from_millis(2)).await,
                }
            }
        };
        soon("a long hold", clung).await
    }

    /// Ends them all. Nothing is left of them but what keepers are still about.
    async fn end(self, addrs: &str, what: &str) -> (Verdict, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            soon("the end of a worker", worker).await.unwrap();
        }
        let (verdict, lost) = (self.ranges.judge(), self.lost.load(Ordering::Relaxed));
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        println!("{what}: {verdict}; {lost} lost, {in_vain} came to nothing");
        assert_eq!(verdict.violations(), 0, "{verdict:#?}");
        // Whoever was listed and did not hold has given up, or was told.
        assert!(verdict.unheld <= in_vain, "{in_vain} came to nothing: {:#?}", verdict.holes);
        assert!(verdict.generations > 3 && verdict.most > 1, "{verdict}");
        assert!(verdict.stored > verdict.grants / 4, "{verdict}");
        let conn = connect(addrs).await;
        let gone = async {
            while !shard_contenders(&conn, &self.path).await.unwrap().is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the end of all", gone).await;
        (verdict, lost)
    }
}

struct Worker {
    number: usize,
    conn: Arc<ZkConn>,
    lock: ShardLock,
    ranges: Ranges,
    lost: Arc<AtomicUsize>,
    in_vain: Arc<AtomicUsize>,
    clings: Arc<Mutex<Option<usize>>>,
}

impl Worker {
    async fn work(self, stop: Arc<AtomicBool>, mut rng: Rng) {
        while !stop.load(Ordering::Relaxed) {
            let patience = Duration::from_millis(if rng.u8(..6) == 0 { 50 } else { 8000 });
            let Ok(Ok(shard)) = timeout(patience, self.lock.acquire()).await else {
                self.in_vain.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let mut held = Held::of(self.number, &shard, Deadline::now());
            let told = held.clone().with_stored(&self.conn, &shard);
            if let Ok(told) = timeout(Duration::from_millis(100), told).await {
                held = told;
            }
            let long = rng.u8(..16) == 0;
            let until = if long { rng.u64(1600..2500) } else { rng.u64(..40) };
            let until = Deadline::after(Duration::from_millis(until));
            if long {
                *self.clings.lock().unwrap() = Some(self.number);
            }
            let mut was_valid = false;
            loop {
                // The clock is read first, so the guard vouches for this moment.
                let now = Deadline::now();
                if !shard.is_valid() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                (held.end, was_valid) = (now, true);
                if until.is_past() {
                    break;
                }
                sleep(Duration::from_millis(2)).await;
            }
            self.clings.lock().unwrap().take_if(|clung| *clung == self.number);
            match was_valid {
                true => self.ranges.held(held),
                false => drop(self.in_vain.fetch_add(1, Ordering::Relaxed)),
            }
            match rng.u8(..3) {
                0 => drop(shard),
                1 => drop(timeout(TIMEOUT, shard.ack()).await),
                _ => drop(timeout(TIMEOUT, shard.release()).await),
            }
        }
    }
}

/// Lost replies, cuts, holes and sessions that end, for whoever comes, waits and holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_ranges_overlap_whatever_breaks() {
    let mut rng = random("faults");
    for _ in 0..rounds(1, 20) {
        let (addrs, path) = on_servers("global").await;
        let servers: Vec<&str> = addrs.split(',').collect();
        let (mut proxies, mut conns) = (Vec::new(), Vec::new());
        for number in 0..5 {
            let proxy = FaultProxy::to(servers[number % servers.len()]).await.unwrap();
            conns.push(connect(&proxy.addr()).await);
            proxies.push(proxy);
        }
        let crew = Crew::start(&path, conns, &mut rng);
        trouble(&crew, &proxies, &mut rng).await;
        let (_, lost) = crew.end(&addrs, "faults").await;
        assert!(lost > 0, "none was lost");
        let bites: Vec<_> = proxies.iter().map(FaultProxy::bites).collect();
        assert!(bites.iter().any(|bites| bites.swallowed > 0), "{bites:?}");
        assert!(bites.iter().any(|bites| bites.held > 0 && bites.cut > 0), "{bites:?}");
    }
}

/// Twelve seconds of faults, one behind the other.
async fn trouble(crew: &Crew, proxies: &[FaultProxy], rng: &mut Rng) {
    let until = Instant::now() + Duration::from_secs(12);
    let kinds = [OpKind::Create, OpKind::Delete, OpKind::Multi, OpKind::Check, OpKind::Read];
    // First whoever holds for long, so that a range is surely lost once.
    let holder = &proxies[crew.clung().await];
    holder.black_hole(Direction::Both);
    sleep(TIMEOUT * 3 / 4).await;
    holder.cut();
    holder.heal();
    let (mut turn, mut heals) = (0_u8, Vec::new());
    while Instant::now() < until {
        let proxy = &proxies[rng.usize(..proxies.len())];
        let kind = kinds[rng.usize(..kinds.len())].below(&*crew.path);
        let fault = if turn < 3 { turn } else { rng.u8(..16) };
        turn = turn.saturating_add(1);
        match fault {
            0 | 3 => proxy.cut(),
            1 | 4 | 5 => proxy.swallow_reply(OpKind::Multi.below(&*crew.path)),
            2 | 6 | 7 => proxy.drop_request(OpKind::Multi.below(&*crew.path)),
            8 => proxy.tell_expired(),
            9 | 10 => proxy.swallow_reply(kind),
            11 => proxy.late_event(Duration::from_millis(rng.u64(50..500))),
            12 | 13 => proxy.drop_request(kind),
            // Whoever holds for long is to lose it now and then.
            _ => {
                let victim = *crew.clings.lock().unwrap();
                let victim = victim.unwrap_or_else(|| rng.usize(..proxies.len()));
                proxies[victim].black_hole(Direction::Both);
                let length = Duration::from_millis(rng.u64(1200..2500));
                heals.push((Instant::now() + length, victim));
            }
        }
        heals.retain(|(when, victim)| {
            let over = *when <= Instant::now();
            if over {
                // What is on its way is lost, or it would still come late.
                proxies[*victim].cut();
                proxies[*victim].heal();
            }
            !over
        });
        sleep(Duration::from_millis(rng.u64(20..200))).await;
    }
    for proxy in proxies {
        proxy.heal();
        proxy.join();
    }
}

/// The leader killed and started again, a follower cut off that still answers, a server that stands
/// still: each while somebody holds its range for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_ranges_overlap_while_servers_die() {
    let mut rng = random("servers");
    let ensemble = Ensemble::start(3).await.unwrap();
    for _ in 0..rounds(1, 20) {
        ensemble.mend().await;
        let mut conns = Vec::new();
        for number in 0..6 {
            // Each begins at another server, and half of them know no other one.
            let (own, all) = (ensemble.addr(number % 3 + 1), ensemble.addrs());
            conns.push(connect(if number < 3 { own } else { &all }).await);
        }
        let root = format!("/{}", fresh_root());
        conns[0].create(&root, "", Mode::Persistent).await.unwrap();
        let crew = Crew::start(&format!("{root}/sys"), conns, &mut rng);
        let mut faults: Vec<_> = (0..FAULTS).collect();
        rng.shuffle(&mut faults);
        for fault in faults {
            crew.clung().await;
            let before = crew.ranges.count();
            fault_of_server(&ensemble, fault, &mut rng).await;
            let goes_on = async {
                while crew.ranges.count() < before + 10 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            soon("more grants", goes_on).await;
        }
        crew.end(&ensemble.addrs(), "servers").await;
    }
}
