//! Pauses of those who keep getting in each other's way.

use std::time::Duration;

/// So many conflicts in a row may be chance; after them, somebody has to wait.
const PATIENCE: u32 = 3;

/// At most this at first, and 64 times as long in the end.
const FIRST: Duration = Duration::from_millis(2);

/// Waits after the `conflicts`th conflict in a row, never longer than `at_most`. The length is
/// random, so that not all wait for as long.
pub(crate) async fn after(conflicts: u32, at_most: Duration) {
    if conflicts >= PATIENCE {
        let longest = FIRST * (1 << (conflicts - PATIENCE).min(6));
        tokio::time::sleep(longest.mul_f64(fastrand::f64()).min(at_most)).await;
    }
}
