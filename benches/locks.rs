//! Locks: this crate against Kazoo and Curator, same server, one run.
//!
//! `eval "$(cells/up)"; cargo bench --bench locks`
//!
//! The rounds of the three alternate, each side measures its own time, and the medians count. Behind
//! them: what a cycle and a held lock cost the server, in packets.

#[path = "rivals/side.rs"]
mod side;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use side::{Failure, Side, median, packets};
use zkcells::recipes::{Guard, Lock};
use zkcells::{
    Cells, Conn as _, ConnExt as _, Mode, SessionOptions, Version, ZkConn, ZkPath, tree,
};

const ROUNDS: usize = 7;
const CYCLES: usize = 500;
const CLIENTS: usize = 10;
const HAND_OVERS: usize = 500;
/// How long locks are held to see what that costs.
const HELD: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Err(why) = run().await {
        eprintln!("locks: {why}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Failure> {
    let cells = Cells::from_env()
        .map_err(|why| format!("{why}; start cells with: eval \"$(cells/up)\""))?;
    let server = cells.address_of(&ZkPath::new("/zk/nyc")?)?.to_string();
    let root = format!("/bench-locks-{}", std::process::id());
    let conn = connect(&server).await?;
    conn.create(&root, "", Mode::Persistent).await?;
    let done = compare(&conn, &server, &root).await;
    tree::remove_all(&conn, &root).await?;
    conn.close().await?;
    done
}

async fn connect(server: &str) -> Result<Arc<ZkConn>, Failure> {
    let options = SessionOptions::default().with_session_timeout(TIMEOUT);
    Ok(Arc::new(ZkConn::connect(server, options).await?))
}

async fn compare(conn: &Arc<ZkConn>, server: &str, root: &str) -> Result<(), Failure> {
    let mut sides = Side::both(server).await?;
    println!(
        "zkcells against Kazoo {} and Curator {}, medians of {ROUNDS} rounds",
        sides[0].version, sides[1].version
    );
    println!("{:44} {:>9} {:>9} {:>9} {:>9}", "", "zkcells", "Kazoo", "Curator", "ratio");

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(server).await?);
    }
    let mut figures: [[Vec<f64>; 3]; 2] = Default::default();
    let mut per_cycle: [Vec<f64>; 3] = Default::default();
    let (mut dropped, mut floor) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=ROUNDS {
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let (cycled, passed) = (format!("{root}/c{who}"), format!("{root}/h{who}"));
            let before = packets(server).await?;
            let cycled_per_second = match who {
                0 => cycles(conn, &cycled, Release::Awaited).await?,
                _ => {
                    let command = format!("cycles {cycled} {CYCLES}");
                    sides[who - 1].measure(&command, "per_second").await?
                }
            };
            let packets = (packets(server).await? - before) / CYCLES as f64;
            if who == 0 && round > 0 {
                dropped.push(cycles(conn, &cycled, Release::Dropped).await?);
                floor.push(bare(conn, &format!("{root}/bare")).await?);
            }
            let handover = match who {
                0 => hand_overs(&clients, &passed).await?,
                _ => {
                    let command = format!("handover {passed} {CLIENTS} {HAND_OVERS}");
                    sides[who - 1].measure(&command, "p50_us").await?
                }
            };
            if round > 0 {
                figures[0][who].push(cycled_per_second);
                figures[1][who].push(handover);
                per_cycle[who].push(packets);
            }
        }
    }
    let show = |what: &str, of: [Vec<f64>; 3], higher: bool, goal: &str| {
        let [ours, kazoo, curator] = of.map(median);
        let ratio = if higher { ours / curator } else { curator / ours };
        println!("{what:44} {ours:>9.1} {kazoo:>9.1} {curator:>9.1} {ratio:>8.2}x  {goal}");
    };
    let [cycles, handover] = figures;
    let [_, kazoo, curator] = cycles.clone();
    show("cycles a second, uncontended", cycles, true, "goal 1.8 x Curator's");
    show("the same, our guards dropped, not awaited", [dropped, kazoo, curator], true, "");
    println!("{:44} {:>9.1}", "the same, a node made and deleted, no lock", median(floor));
    show("hand-over among 10 clients, median, us", handover, false, "goal above 1");
    show("packets to the server for a cycle", per_cycle, false, "");
    drop(clients);
    held(conn, server, root).await
}

/// How a guard is given back.
#[derive(Clone, Copy, PartialEq)]
enum Release {
    Awaited,
    Dropped,
}

/// Cycles a second.
async fn cycles(conn: &Arc<ZkConn>, path: &str, release: Release) -> Result<f64, Failure> {
    let lock = Lock::new(conn.clone(), path);
    let start = Instant::now();
    for _ in 0..CYCLES {
        let guard = lock.acquire().await?;
        if release == Release::Awaited {
            guard.release().await;
        }
    }
    Ok(CYCLES as f64 / start.elapsed().as_secs_f64())
}

/// What a cycle cannot be faster than: two writes, one behind the other.
async fn bare(conn: &Arc<ZkConn>, path: &str) -> Result<f64, Failure> {
    let start = Instant::now();
    for _ in 0..CYCLES {
        let (node, _) = conn.create(path, "", Mode::EphemeralSequential).await?;
        conn.delete(node, Version::Any).await?;
    }
    Ok(CYCLES as f64 / start.elapsed().as_secs_f64())
}

/// The median time from a release to the next acquire, in microseconds.
async fn hand_overs(clients: &[Arc<ZkConn>], path: &str) -> Result<f64, Failure> {
    struct Shared {
        released: Option<Instant>,
        took: Vec<f64>,
    }
    let shared = Arc::new(Mutex::new(Shared { released: None, took: Vec::new() }));
    let mut tasks = Vec::new();
    for client in clients {
        let lock = Lock::new(client.clone(), path);
        let shared = shared.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                let guard = lock.acquire().await?;
                let now = Instant::now();
                {
                    let mut shared = shared.lock().map_err(|_| "another failed")?;
                    if let Some(released) = shared.released.take() {
                        shared.took.push((now - released).as_secs_f64() * 1e6);
                    }
                    if shared.took.len() >= HAND_OVERS {
                        return Ok::<_, Failure>(());
                    }
                    shared.released = Some(Instant::now());
                }
                guard.release().await;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    let shared = shared.lock().map_err(|_| "another failed")?;
    Ok(median(shared.took.clone()))
}

/// What it costs to hold locks.
async fn held(conn: &Arc<ZkConn>, server: &str, root: &str) -> Result<(), Failure> {
    println!("\nholding, session timeout {TIMEOUT:?}:");
    let mut guards: Vec<Guard> = Vec::new();
    for count in [0, 1, 100] {
        while guards.len() < count {
            let path = format!("{root}/held-{}", guards.len());
            guards.push(Lock::new(conn.clone(), path).acquire().await?);
        }
        let before = packets(server).await?;
        tokio::time::sleep(HELD).await;
        let packets = (packets(server).await? - before) / HELD.as_secs_f64();
        println!("{count:>4} locks held: {packets:.2} packets a second to the server");
        for guard in &guards {
            if !guard.is_valid() {
                return Err(format!("{guard:?} was lost: {:?}", guard.lost().await).into());
            }
        }
    }
    Ok(())
}
