//! Read-write locks and double barriers: this crate against Kazoo and Curator, same server, one run.
//!
//! `eval "$(cells/up)"; cargo bench --bench rw_locks`
//!
//! 50 readers and 5 writers, each with a session of its own, take one lock as often as they can; 100
//! parties meet at a barrier, measured from the first call to the last return. The rounds of the three
//! alternate, and the medians count.

#[path = "rivals/side.rs"]
mod side;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use side::{Failure, Side, median, packets};
use zkcells::recipes::{DoubleBarrier, RwLock};
use zkcells::{Cells, Conn as _, ConnExt as _, Mode, SessionOptions, ZkConn, ZkPath, tree};

const ROUNDS: usize = 3;
const READERS: usize = 50;
const WRITERS: usize = 5;
const SECONDS: u64 = 3;
const PARTIES: usize = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Err(why) = run().await {
        eprintln!("rw_locks: {why}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Failure> {
    let cells = Cells::from_env()
        .map_err(|why| format!("{why}; start cells with: eval \"$(cells/up)\""))?;
    let server = cells.address_of(&ZkPath::new("/zk/nyc")?)?.to_string();
    let root = format!("/bench-rw-locks-{}", std::process::id());
    let conn = connect(&server).await?;
    conn.create(&root, "", Mode::Persistent).await?;
    let done = compare(&server, &root).await;
    tree::remove_all(&conn, &root).await?;
    conn.close().await?;
    done
}

async fn connect(server: &str) -> Result<Arc<ZkConn>, Failure> {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(30));
    Ok(Arc::new(ZkConn::connect(server, options).await?))
}

/// What one round of one library gave.
#[derive(Clone, Copy, Default)]
struct Figures {
    reads: f64,
    writes: f64,
    enter_ms: f64,
    leave_ms: f64,
    packets: f64,
}

async fn compare(server: &str, root: &str) -> Result<(), Failure> {
    let mut sides = Side::both(server).await?;
    let clients = try_join_all((0..PARTIES).map(|_| connect(server))).await?;
    println!(
        "zkcells against Kazoo {} and Curator {}, medians of {ROUNDS} rounds",
        sides[0].version, sides[1].version
    );
    println!("{:44} {:>9} {:>9} {:>9} {:>9}", "", "zkcells", "Kazoo", "Curator", "ratio");
    let mut rounds: [Vec<Figures>; 3] = Default::default();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let (lock, barrier) = (format!("{root}/l{who}"), format!("{root}/b{who}-{round}"));
            let mut figures = Figures::default();
            if who == 0 {
                (figures.reads, figures.writes) = contend(&clients, &lock).await?;
            } else {
                let command = format!("rwlock {lock} {READERS} {WRITERS} {SECONDS}s");
                let told = sides[who - 1].ask(&command).await?;
                figures.reads = told["reads_per_second"].as_f64().unwrap_or(f64::NAN);
                figures.writes = told["writes_per_second"].as_f64().unwrap_or(f64::NAN);
            }
            let before = packets(server).await?;
            if who == 0 {
                (figures.enter_ms, figures.leave_ms) = meet(&clients, &barrier).await?;
            } else {
                let told = sides[who - 1].ask(&format!("barrier {barrier} {PARTIES}")).await?;
                figures.enter_ms = told["enter_us"].as_f64().unwrap_or(f64::NAN) / 1e3;
                figures.leave_ms = told["leave_us"].as_f64().unwrap_or(f64::NAN) / 1e3;
            }
            figures.packets = (packets(server).await? - before) / PARTIES as f64;
            if round > 0 {
                rounds[who].push(figures);
            }
        }
    }
    type Pick = fn(&Figures) -> f64;
    let rows: [(&str, Pick, bool); 5] = [
        ("reads a second, 50 readers and 5 writers", |it| it.reads, true),
        ("writes a second", |it| it.writes, true),
        ("100 parties come until all are in, ms", |it| it.enter_ms, false),
        ("100 parties leave until all are out, ms", |it| it.leave_ms, false),
        ("packets to the server, each party", |it| it.packets, false),
    ];
    for (what, pick, higher) in rows {
        let of = |who: usize| median(rounds[who].iter().map(pick).collect());
        let (ours, kazoo, curator) = (of(0), of(1), of(2));
        let ratio = if higher { ours / curator } else { curator / ours };
        println!("{what:44} {ours:>9.1} {kazoo:>9.1} {curator:>9.1} {ratio:>8.2}x");
    }
    Ok(())
}

/// Reads and writes a second.
async fn contend(clients: &[Arc<ZkConn>], path: &str) -> Result<(f64, f64), Failure> {
    let (reads, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let mut tasks = Vec::new();
    for (n, client) in clients.iter().take(READERS + WRITERS).enumerate() {
        let lock = RwLock::new(client.clone(), path);
        let (reads, writes) = (reads.clone(), writes.clone());
        tasks.push(tokio::spawn(async move {
            while Instant::now() < until {
                if n < READERS {
                    let guard = lock.read().await?;
                    reads.fetch_add(1, Ordering::Relaxed);
                    guard.release().await;
                } else {
                    let guard = lock.write().await?;
                    writes.fetch_add(1, Ordering::Relaxed);
                    guard.release().await;
                }
            }
            Ok::<_, Failure>(())
        }));
    }
    let start = Instant::now();
    for task in tasks {
        task.await??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / seconds;
    Ok((rate(&reads), rate(&writes)))
}

/// How long it takes from the first call until all are in, and out, in milliseconds.
async fn meet(clients: &[Arc<ZkConn>], path: &str) -> Result<(f64, f64), Failure> {
    let parties: Vec<_> = clients
        .iter()
        .take(PARTIES)
        .enumerate()
        .map(|(n, client)| DoubleBarrier::new(client.clone(), path, format!("party-{n}"), PARTIES))
        .collect();
    let start = Instant::now();
    let inside = try_join_all(parties.iter().map(DoubleBarrier::enter)).await?;
    let entered = start.elapsed();
    let start = Instant::now();
    try_join_all(inside.into_iter().map(|party| party.exit())).await?;
    Ok((entered.as_secs_f64() * 1e3, start.elapsed().as_secs_f64() * 1e3))
}
