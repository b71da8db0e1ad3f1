//! The shard lock: what simultaneous workers cost the server, and how long until all have a range.
//!
//! `eval "$(cells/up)"; cargo bench --bench shards`
//!
//! Packets are those that the server has received, by its word `srvr`, from before the first join until all
//! ranges are assigned; pings and renewals of the time in which leaders wait for others are in them. The
//! original's, for comparison: 12 for one worker, 19 each for 2, 25 for 4, 30 for 8, 46 for 16.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zkcells::recipes::ShardLock;
use zkcells::{Cells, Conn as _, ConnExt as _, Mode, SessionOptions, ZkConn, ZkPath, tree};

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 5;
const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Long enough for 64 to join.
const WAIT_TIME: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Err(why) = run().await {
        eprintln!("shards: {why}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Failure> {
    let cells = Cells::from_env()
        .map_err(|why| format!("{why}; start cells with: eval \"$(cells/up)\""))?;
    let server = cells.address_of(&ZkPath::new("/zk/nyc")?)?.to_string();
    let root = format!("/bench-shards-{}", std::process::id());
    let conn = connect(&server).await?;
    conn.create(&root, "", Mode::Persistent).await?;
    println!("medians of {ROUNDS} rounds, wait time {WAIT_TIME:?}");
    println!(
        "{:>7} {:>9} {:>9} {:>22} {:>22}",
        "workers", "packets", "each", "last join to all, ms", "beside wait time, ms"
    );
    for workers in WORKERS {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push(together(&server, &format!("{root}/{workers}-{round}"), workers).await?);
        }
        let packets = median(rounds.iter().map(|round| round.0).collect());
        let took = median(rounds.iter().map(|round| round.1).collect());
        println!(
            "{workers:>7} {packets:>9.0} {:>9.1} {took:>22.1} {:>22.1}",
            packets / workers as f64,
            took - WAIT_TIME.as_secs_f64() * 1e3
        );
    }
    tree::remove_all(&conn, &root).await?;
    conn.close().await?;
    Ok(())
}

/// The packets of so many workers who come at once, and the time from the last one's call to the last
/// one's range, in milliseconds.
async fn together(server: &str, path: &str, workers: usize) -> Result<(f64, f64), Failure> {
    let conns = try_join_all((0..workers).map(|_| connect(server))).await?;
    let before = packets(server).await?;
    let locks: Vec<ShardLock> = conns
        .iter()
        .map(|conn| ShardLock::new(conn.clone(), path).with_wait_time(WAIT_TIME))
        .collect();
    let start = Instant::now();
    let shards = try_join_all(locks.iter().map(ShardLock::acquire)).await?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let packets = packets(server).await? - before;
    if shards.iter().any(|shard| shard.of() != workers) {
        return Err(format!("{workers} workers did not come at once").into());
    }
    for shard in shards {
        shard.ack().await;
    }
    for conn in conns {
        conn.close().await?;
    }
    Ok((packets, took))
}

async fn connect(server: &str) -> Result<Arc<ZkConn>, Failure> {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(15));
    Ok(Arc::new(ZkConn::connect(server, options).await?))
}

/// How many packets the server has received.
async fn packets(server: &str) -> Result<f64, Failure> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"srvr").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let line = answer.lines().find_map(|line| line.strip_prefix("Received: "));
    Ok(line.ok_or("the server does not tell its packets")?.trim().parse()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
