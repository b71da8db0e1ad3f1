//! Three servers that the tests of one program share, one test at a time.

use tokio::sync::{Mutex, MutexGuard, OnceCell};
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
