//! What a tree on three quorums costs over one: writes, and reads from the first, with 20 ms of round
//! trip to each quorum. Both sides in one run, over the same proxies and servers. Then, past the
//! proxies: how fast equal trees are compared and one is mended, and in how much memory.
//!
//! `eval "$(cells/up)"; cargo bench --features testing --bench global`
//!
//! Calls to one and to three alternate, and so does which of them is first, so that a machine whose
//! speed drifts favours neither. The goals: a write takes at most 2.2 times as long, a read as long. That
//! is for whoever writes alone; a write behind that of another process (`in turn`) takes one round trip
//! more.
//! `ZKCELLS_NODES` is how large the trees are (100,000).

use std::sync::Arc;
use std::time::{Duration, Instant};

use zkcells::repair::{self, Repair};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Conn, ConnExt as _, GlobalConn, GlobalOptions, Mode, Multi, SessionOptions, Version, ZkConn,
    ZkPath, tree,
};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const ROUNDS: usize = 100;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let cells = LocalCells::up()?;
    let mut proxies = Vec::new();
    for cell in ["nyc", "sjc", "global"] {
        let addrs = cells.addrs(cell)?;
        let server = addrs.split(',').next().unwrap_or(&addrs);
        proxies.push(FaultProxy::to(server).await?);
    }
    let connect = |proxy: &FaultProxy| -> Result<Arc<dyn Conn>, Failure> {
        Ok(Arc::new(ZkConn::new(&proxy.addr(), SessionOptions::default())?))
    };
    let one = connect(&proxies[0])?;
    let root = fresh_root();
    let options = GlobalOptions::default().with_home(ZkPath::new(format!("/zkcells/{root}"))?);
    let set = || -> Result<GlobalConn, Failure> {
        let quorums: Result<Vec<_>, Failure> = proxies.iter().map(connect).collect();
        Ok(GlobalConn::new(quorums?, options.clone()))
    };
    let three = set()?;
    three.init().await?;
    let (other_of_three, other_of_one) = (set()?, connect(&proxies[0])?);
    let (alone, shared) = (format!("/{root}-alone"), format!("/{root}"));
    one.create(&alone, "", Mode::Persistent).await?;
    three.create(&shared, "", Mode::Persistent).await?;
    for node in ["/set", "/get"] {
        one.create(format!("{alone}{node}"), "", Mode::Persistent).await?;
        three.create(format!("{shared}{node}"), "", Mode::Persistent).await?;
    }
    for proxy in &proxies {
        proxy.round_trip(ROUND_TRIP);
    }
    println!("goal: writes of one process at most 2.2 times one quorum's, reads about 1.0");
    println!(
        "what        ratio    three      one   (medians of {ROUNDS}, {ROUND_TRIP:?} round trip)"
    );
    let any = Version::Any;
    let mut pairs: Vec<(&str, Vec<f64>, Vec<f64>)> =
        ["set", "create", "multi", "delete", "get", "in turn"]
            .map(|what| (what, vec![], vec![]))
            .into();
    for round in 0..=ROUNDS {
        for (what, on_three, on_one) in &mut pairs {
            let mut sides = [
                (&three as &dyn Conn, &other_of_three as &dyn Conn, &shared, on_three),
                (&*one as &dyn Conn, &*other_of_one as &dyn Conn, &alone, on_one),
            ];
            if round % 2 == 1 {
                sides.reverse();
            }
            for (conn, other, top, took) in sides {
                if *what == "in turn" {
                    other.set(format!("{top}/set"), "theirs", any).await?;
                }
                let start = Instant::now();
                match *what {
                    "set" | "in turn" => drop(conn.set(format!("{top}/set"), "x", any).await?),
                    "create" => {
                        let path = format!("{top}/n-{round}");
                        drop(conn.create(path, "x", Mode::Persistent).await?);
                    }
                    "multi" => {
                        let steps = Multi::new().set(format!("{top}/n-{round}"), "y", any).set(
                            format!("{top}/set"),
                            "y",
                            any,
                        );
                        drop(conn.multi(steps).await?);
                    }
                    "delete" => conn.delete(format!("{top}/n-{round}"), any).await?,
                    _ => drop(conn.get(format!("{top}/get")).await?),
                }
                // The first round warms up.
                if round > 0 {
                    took.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    for (what, on_three, on_one) in &mut pairs {
        let (three, one) = (median(on_three), median(on_one));
        println!("{what:10} {:6.2} {three:6.1} ms {one:6.1} ms", three / one);
    }
    for conn in [&three, &other_of_three] {
        conn.close().await?;
    }
    for conn in [one, other_of_one] {
        conn.close().await?;
    }
    trees(&cells).await
}

/// Compares trees that are equal, and mends one that lacks a tenth.
async fn trees(cells: &LocalCells) -> Result<(), Failure> {
    let nodes: usize = match std::env::var("ZKCELLS_NODES") {
        Ok(text) => text.parse()?,
        Err(_) => 100_000,
    };
    let root = fresh_root();
    let session = || SessionOptions::default();
    let mut quorums = Vec::new();
    for cell in ["nyc", "sjc", "global"] {
        quorums.push(Arc::new(ZkConn::new(&cells.addrs(cell)?, session())?) as Arc<dyn Conn>);
    }
    let home = ZkPath::new(format!("/zkcells/{root}"))?;
    let set = GlobalConn::new(quorums.clone(), GlobalOptions::default().with_home(home));
    let set = Arc::new(set);
    set.init().await?;
    // A thousand in a directory, with some data.
    let top = format!("/{root}");
    for quorum in &quorums {
        for part in (0..nodes).collect::<Vec<_>>().chunks(10_000) {
            let node = |n: &usize| (format!("{top}/{:03}/{n:06}", n / 1000), format!("{n:0100}"));
            tree::create_many(&**quorum, part.iter().map(node), Mode::Persistent).await?;
        }
    }
    println!("\nwhat        paths     took   paths/s   memory   differences");
    let before = memory();
    let told = |what: &str, work: &Repair, start: Instant, found: usize| {
        let (compared, took) = (work.progress().compared, start.elapsed().as_secs_f64());
        let (rate, grown) = (compared as f64 / took, memory().saturating_sub(before));
        println!("{what:8} {compared:8} {took:6.1} s  {rate:8.0}  {grown:3} MiB   {found}");
    };
    for _ in 0..3 {
        let (start, mut diff) = (Instant::now(), repair::diff(&set, &*top)?);
        let found = count(&mut diff).await?;
        told("diff", &diff, start, found);
    }
    for part in 0..nodes.div_ceil(10_000) {
        tree::remove_all(&*quorums[1], format!("{top}/{:03}", part * 10)).await?;
    }
    for what in ["diff", "repair", "diff"] {
        let start = Instant::now();
        let mut work = match what {
            "repair" => repair::repair(&set, &*top)?,
            _ => repair::diff(&set, &*top)?,
        };
        let found = count(&mut work).await?;
        told(what, &work, start, found);
    }
    for quorum in &quorums {
        tree::remove_all(&**quorum, &*top).await?;
    }
    set.close().await?;
    Ok(())
}

async fn count(work: &mut Repair) -> Result<usize, Failure> {
    let mut found = 0;
    while let Some(one) = work.next().await {
        one?;
        found += 1;
    }
    Ok(found)
}

/// The most memory that this process ever had, in MiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = most.and_then(|text| text.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) / 1024
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
