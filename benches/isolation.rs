//! What a sick cell costs the others: their calls while a third cell is sick, against the same calls
//! while it is well, same servers, one run.
//!
//! `eval "$(cells/up)"; cargo bench --features testing --bench isolation`
//!
//! Short rounds with and without the sickness alternate, so that a machine whose speed drifts does
//! not favour one. In both, the third cell is called 200 times a second, whether it answers or not.
//! The median ratio of the rounds' 99th percentiles is what counts; the goal is at most 1.2.

#[path = "../tests/support/sick.rs"]
mod sick;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sick::{Sickness, Ward};
use zkcells::{Conn, ConnExt as _, Version, Within};

const ROUNDS: usize = 24;
const ROUND: Duration = Duration::from_millis(500);
/// How many clients each of the cells has that are well.
const CLIENTS: usize = 4;
/// How often the third cell is called.
const EVERY: Duration = Duration::from_millis(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    println!("goal: at most 1.2 times the 99th percentile (median of {ROUNDS} pairs)");
    println!("sickness      ratio   p99 sick   p99 well   p50 sick   p50 well   calls");
    // All of them, or those that are named.
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for sickness in Sickness::ALL {
        if !named.is_empty() && !named.contains(&sickness.to_string()) {
            continue;
        }
        let ward = Ward::new(sickness).await;
        let conn: Arc<dyn Conn> = Arc::new(ward.connect());
        let (mut ratios, mut sick, mut well) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            // Which comes first changes, so that neither has the better place.
            let mut pair = [Vec::new(), Vec::new()];
            for turn in [round % 2, 1 - round % 2] {
                if turn == 1 {
                    ward.infect();
                }
                let answered;
                (pair[turn], answered) = measure(&conn, &ward).await?;
                // A sickness that is not felt would prove nothing, nor would one that stays.
                assert_eq!(answered == 0, turn == 1, "{sickness}: {answered} calls were answered");
                if turn == 1 {
                    ward.cure();
                    // A session that it has lost is made again, before it counts as well.
                    while conn.exists(ward.at("sick", "")).await.is_err() {}
                }
            }
            // The first pair warms up.
            if round > 0 {
                let [without, with] = &mut pair;
                ratios.push(percentile(with, 99) / percentile(without, 99));
                well.append(without);
                sick.append(with);
            }
        }
        let calls = sick.len() + well.len();
        println!(
            "{:12} {:6.2} {:7.2} ms {:7.2} ms {:7.2} ms {:7.2} ms {calls:7}",
            sickness.to_string(),
            percentile(&mut ratios, 50),
            percentile(&mut sick, 99),
            percentile(&mut well, 99),
            percentile(&mut sick, 50),
            percentile(&mut well, 50),
        );
    }
    Ok(())
}

/// How long calls on the cells that are well take, in milliseconds, of which one that fails ends it
/// all; and how many calls the third cell answered.
async fn measure(conn: &Arc<dyn Conn>, ward: &Ward) -> Result<(Vec<f64>, usize), Failure> {
    let end = Instant::now() + ROUND;
    let third = {
        let (conn, path) = (Within::new(conn.clone(), ROUND), ward.at("sick", "/a"));
        tokio::spawn(async move {
            let mut calls = Vec::new();
            while Instant::now() < end {
                calls.push(conn.set(&path, "x", Version::Any));
                tokio::time::sleep(EVERY).await;
            }
            let answers = futures::future::join_all(calls).await;
            answers.iter().filter(|answer| answer.is_ok()).count()
        })
    };
    let clients = ["nyc", "sjc"].into_iter().flat_map(|cell| {
        (0..CLIENTS).map(move |number| ward.at(cell, if number % 2 == 0 { "/a" } else { "/b" }))
    });
    let clients: Vec<_> = clients
        .map(|path| {
            let conn = conn.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    if took.len() % 4 == 0 {
                        conn.set(&path, "x", Version::Any).await?;
                    } else {
                        conn.get(&path).await?;
                    }
                    took.push(start.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, Failure>(took)
            })
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.append(&mut client.await??);
    }
    Ok((all, third.await?))
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * percent / 100).copied().unwrap_or(f64::NAN)
}
