//! Three servers that the tests of one program share, one test at a time.

use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::sleep;
use zkcells::testing::servers::Ensemble;

static SHARED: OnceCell<Mutex<Ensemble>> = OnceCell::const_new();

/// The servers, which each test finds mended.
pub async fn ensemble() -> MutexGuard<'static, Ensemble> {
    ensemble_with("").await
}

/// The same with these properties of Java, if nobody has started them yet.
pub async fn ensemble_with(properties: &str) -> MutexGuard<'static, Ensemble> {
    let start = || async { Mutex::new(Ensemble::start_with(3, properties).await.unwrap()) };
    let ensemble = SHARED.get_or_init(start).await.lock().await;
    ensemble.mend().await;
    ensemble
}

/// How many faults of servers there are.
pub const FAULTS: usize = 3;

/// One fault of a server, from its beginning to its end: one stands still, is cut off, or is killed while
/// it leads.
pub async fn fault_of_server(ensemble: &Ensemble, which: usize, rng: &mut Rng) {
    let leader = ensemble.until_one_leads().await;
    let follower = (leader + rng.usize(..2)) % 3 + 1;
    match which {
        0 => {
            ensemble.stop(follower);
            sleep(Duration::from_millis(rng.u64(500..3000))).await;
            ensemble.cont(follower);
        }
        1 => {
            let before = ensemble.held();
            ensemble.cut_from_peers(follower);
            sleep(Duration::from_millis(rng.u64(2500..4500))).await;
            assert!(ensemble.held() > before, "the cut met nothing");
            ensemble.join_peers(follower);
        }
        _ => {
            let old = ensemble.kill_leader().await;
            ensemble.until_another_leads(old).await;
            ensemble.restart(old);
            ensemble.until_serving(old).await;
        }
    }
}
