//! What several test programs share.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

pub mod cases;
#[macro_use]
pub mod beds;
pub mod contest;
pub mod counted;
pub mod flawed;
pub mod fleet;
pub mod forgetful;
pub mod grants;
pub mod random;
pub mod recipes;
pub mod rig;
pub mod servers;

use std::future::Future;
use std::time::Duration;

/// Fails a test that waits for something that does not come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within 20 s"),
    }
}
