//! What a tree on three quorums costs over one: writes, and reads from the first, with 20 ms of round
//! trip to each quorum. Both sides in one run, over the same proxies and servers.
//!
//! `eval "$(cells/up)"; cargo bench --features testing --bench global`
//!
//! Writes to one and to three alternate, so that a machine whose speed drifts does not favour one. The
//! goals: a write takes at most 2.2 times as long, a read as long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Conn, ConnExt as _, GlobalConn, GlobalOptions, Mode, Multi, SessionOptions, Version, ZkConn,
    ZkPath,
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
    let quorums: Result<Vec<_>, Failure> = proxies.iter().map(connect).collect();
    let root = fresh_root();
    let home = ZkPath::new(format!("/zkcells/{root}"))?;
    let three = GlobalConn::new(quorums?, GlobalOptions::default().with_home(home));
    three.init().await?;
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
    println!("goal: writes at most 2.2 times one quorum's, reads about 1.0");
    println!(
        "what        ratio    three      one   (medians of {ROUNDS}, {ROUND_TRIP:?} round trip)"
    );
    let any = Version::Any;
    let mut pairs: Vec<(&str, Vec<f64>, Vec<f64>)> =
        ["set", "create", "multi", "delete", "get"].map(|what| (what, vec![], vec![])).into();
    for round in 0..=ROUNDS {
        for (what, on_three, on_one) in &mut pairs {
            for (conn, top, took) in
                [(&three as &dyn Conn, &shared, on_three), (&*one as &dyn Conn, &alone, on_one)]
            {
                let start = Instant::now();
                match *what {
                    "set" => drop(conn.set(format!("{top}/set"), "x", any).await?),
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
    three.close().await?;
    one.close().await?;
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
