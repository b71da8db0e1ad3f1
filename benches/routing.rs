//! What routing costs: gets through `MetaConn` against the bare client crate, same server, one run.
//!
//! `eval "$(cells/up)"; cargo bench --bench routing`
//!
//! Short rounds of both sides alternate, so that a machine whose speed drifts does not favour one;
//! the median ratio of the pairs is what counts. The goal is at least 0.95. The processor time that this
//! process spends on a get, on all of its threads, tells the same on a machine that others use too.

use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use rustix::time::{ClockId, clock_gettime};
use zkcells::{Cells, Conn as _, ConnExt as _, MetaConn, Mode, Version};

const ROUNDS: usize = 51;
const ROUND: Duration = Duration::from_millis(120);

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let cells = Cells::from_env()?;
    let path = format!("/zk/nyc/bench-routing-{}", std::process::id());
    let address = cells.address_of(&zkcells::ZkPath::new("/zk/nyc")?)?;
    let ours = MetaConn::new(cells);
    ours.create(&path, "ten bytes.", Mode::Persistent).await?;
    let theirs = zookeeper_client::Client::connect(&address.to_string()).await?;

    println!("goal: at least 0.95 of the bare rate (median of {ROUNDS} pairs)");
    println!("window  zkcells/s   bare/s   ratio   µs of processor per get, zkcells and bare");
    for window in [1, 64, 256] {
        let mut pairs = Vec::new();
        let mut costs = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let a = measure(window, || ours.get(&path)).await?;
            let b = measure(window, || theirs.get_data(&path)).await?;
            // The first pair warms up.
            if round > 0 {
                pairs.push((a.rate / b.rate, a.rate, b.rate));
                costs.0.push(a.cost);
                costs.1.push(b.cost);
            }
        }
        pairs.sort_by(|x, y| x.0.total_cmp(&y.0));
        let (ratio, a, b) = pairs[ROUNDS / 2];
        let (ours, bare) = (median(costs.0), median(costs.1));
        println!("{window:6} {a:10.0} {b:8.0} {ratio:7.2} {ours:10.1} {bare:6.1}");
    }
    ours.delete(&path, Version::Any).await?;
    ours.close().await?;
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Measured {
    /// Calls a second.
    rate: f64,
    /// Microseconds of processor time for one.
    cost: f64,
}

/// Calls for a while with `window` of them under way.
async fn measure<T, E, F>(window: usize, call: impl Fn() -> F) -> Result<Measured, Failure>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Failure>,
{
    let mut running: FuturesUnordered<F> = (0..window).map(|_| call()).collect();
    let (start, start_cpu) = (Instant::now(), processor_time());
    let mut done = 0_u32;
    while start.elapsed() < ROUND {
        if let Some(answer) = running.next().await {
            answer.map_err(Into::into)?;
            done += 1;
            running.push(call());
        }
    }
    let (took, cpu) = (start.elapsed(), processor_time() - start_cpu);
    while let Some(answer) = running.next().await {
        answer.map_err(Into::into)?;
    }
    let done = f64::from(done);
    Ok(Measured { rate: done / took.as_secs_f64(), cost: cpu * 1e6 / done })
}

/// Seconds that the threads of this process have run.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
