//! What routing costs: gets through `MetaConn` against the bare client crate, same server, one run.
//!
//! `eval "$(cells/up)"; cargo bench --bench routing`
//!
//! Rounds of both sides alternate, so that a machine whose speed drifts does not favour one; the
//! median ratio of the pairs is what counts. The goal is at least 0.95.

use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use zkcells::{Cells, Conn as _, ConnExt as _, MetaConn, Mode, Version};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let cells = Cells::from_env()?;
    let path = format!("/zk/nyc/bench-routing-{}", std::process::id());
    let address = cells.address_of(&zkcells::ZkPath::new("/zk/nyc")?)?;
    let ours = MetaConn::new(cells);
    ours.create(&path, "ten bytes.", Mode::Persistent).await?;
    let theirs = zookeeper_client::Client::connect(&address.to_string()).await?;

    println!("window     zkcells/s   bare/s   ratio (median of {ROUNDS} pairs)");
    for window in [1, 64, 256] {
        let mut pairs = Vec::new();
        for round in 0..=ROUNDS {
            let a = rate(window, || ours.get(&path)).await?;
            let b = rate(window, || theirs.get_data(&path)).await?;
            // The first pair warms up.
            if round > 0 {
                pairs.push((a / b, a, b));
            }
        }
        pairs.sort_by(|x, y| x.0.total_cmp(&y.0));
        let (ratio, a, b) = pairs[ROUNDS / 2];
        println!("{window:6} {a:13.0} {b:8.0}   {ratio:.2}");
    }
    ours.delete(&path, Version::Any).await?;
    ours.close().await?;
    Ok(())
}

/// How many calls come back in a second with `window` of them under way.
async fn rate<T, E, F>(window: usize, call: impl Fn() -> F) -> Result<f64, Failure>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Failure>,
{
    let mut running: FuturesUnordered<F> = (0..window).map(|_| call()).collect();
    let start = Instant::now();
    let mut done = 0_u32;
    while start.elapsed() < ROUND {
        if let Some(answer) = running.next().await {
            answer.map_err(Into::into)?;
            done += 1;
            running.push(call());
        }
    }
    let took = start.elapsed();
    while let Some(answer) = running.next().await {
        answer.map_err(Into::into)?;
    }
    Ok(f64::from(done) / took.as_secs_f64())
}
