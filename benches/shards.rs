//! The shard lock: what simultaneous workers cost the server, and how long until all have a range.
//!
//! `eval "$(cells/up)"; cargo bench --features testing --bench shards`
//!
//! All is counted from before the first join until all ranges are assigned. Operations are the requests that
//! reach the server, by a proxy before it, each step of a transaction and each read of many for itself; of the
//! original, for which each request is one, the same was counted. Packets are what the server has received,
//! by its word `srvr`; pings and renewals of the time in which leaders wait for others are in both. Times and
//! packets are of rounds without the proxy.
//!
//! The goal is that all together is linear in the number of workers at worst: what each of them costs must not
//! grow with that. For the original it is about quadratic.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zkcells::recipes::ShardLock;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Cells, Conn as _, ConnExt as _, Mode, SessionOptions, ZkConn, ZkPath, tree};

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 5;
/// How many come at once, and what each of so many costs the original in operations, as far as that was measured.
const WORKERS: [(usize, Option<u32>); 7] = [
    (1, Some(12)),
    (2, Some(19)),
    (4, Some(25)),
    (8, Some(30)),
    (16, Some(46)),
    (32, None),
    (64, None),
];
/// Long enough for 64 to join.
const WAIT_TIME: Duration = Duration::from_millis(500);

/// What one round took.
struct Round {
    packets: f64,
    millis: f64,
}

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
    let done = measure(&server, &root).await;
    tree::remove_all(&conn, &root).await?;
    conn.close().await?;
    done
}

async fn measure(server: &str, root: &str) -> Result<(), Failure> {
    println!(
        "medians of {ROUNDS} rounds, wait time {WAIT_TIME:?}; operations and packets are those of each worker"
    );
    println!(
        "{:>7} {:>11} {:>15} {:>8} {:>22} {:>22}",
        "workers",
        "operations",
        "the original's",
        "packets",
        "last join to all, ms",
        "beside wait time, ms"
    );
    let mut costs = Vec::new();
    for (workers, original) in WORKERS {
        let each = |count: f64| count / workers as f64;
        let (mut operations, mut rounds) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let path = format!("{root}/{workers}-{round}");
            rounds.push(together(server, &path, workers).await?);
            operations.push(counted(server, &format!("{path}-counted"), workers).await?);
        }
        let operations = each(median(operations));
        let packets = each(median(rounds.iter().map(|round| round.packets).collect()));
        let millis = median(rounds.iter().map(|round| round.millis).collect());
        println!(
            "{workers:>7} {operations:>11.1} {:>15} {packets:>8.1} {millis:>22.1} {:>22.1}",
            original.map_or("-".to_owned(), |each| each.to_string()),
            millis - WAIT_TIME.as_secs_f64() * 1e3
        );
        costs.push((workers, operations, packets));
    }
    if let (Some(one), Some(all)) = (costs.first(), costs.last()) {
        println!(
            "of {} workers each costs {:.2} × the operations of one alone and {:.2} × its packets; the \
             goal is linear at worst: bounded, however many there are",
            all.0,
            all.1 / one.1,
            all.2 / one.2
        );
    }
    Ok(())
}

/// The packets of so many workers who come at once, and the time from the last one's call to the last one's
/// range.
async fn together(server: &str, path: &str, workers: usize) -> Result<Round, Failure> {
    let conns = try_join_all((0..workers).map(|_| connect(server))).await?;
    let (before, start) = (packets(server).await?, Instant::now());
    assign(&conns, path, async || {
        let millis = start.elapsed().as_secs_f64() * 1e3;
        Ok(Round { packets: packets(server).await? - before, millis })
    })
    .await
}

/// Their operations.
async fn counted(server: &str, path: &str, workers: usize) -> Result<f64, Failure> {
    let proxy = FaultProxy::to(server).await?;
    let at = proxy.addr();
    let conns = try_join_all((0..workers).map(|_| connect(&at))).await?;
    proxy.clear_log();
    assign(&conns, path, async || {
        let log = proxy.log();
        let requests = log.iter().filter(|entry| entry.direction == Direction::ToServer);
        Ok(requests.map(|entry| entry.paths.len().max(1) as f64).sum())
    })
    .await
}

/// Has all come at once, and tells what `look` sees when each has its range.
async fn assign<T>(
    conns: &[Arc<ZkConn>],
    path: &str,
    look: impl AsyncFnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let locks: Vec<ShardLock> = conns
        .iter()
        .map(|conn| ShardLock::new(conn.clone(), path).with_wait_time(WAIT_TIME))
        .collect();
    let shards = try_join_all(locks.iter().map(ShardLock::acquire)).await?;
    let seen = look().await?;
    if shards.iter().any(|shard| shard.of() != conns.len()) {
        return Err(format!("{} workers did not come at once", conns.len()).into());
    }
    for shard in shards {
        shard.ack().await;
    }
    for conn in conns {
        conn.close().await?;
    }
    Ok(seen)
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
