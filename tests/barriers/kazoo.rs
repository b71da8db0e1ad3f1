//! Clients of Kazoo and ours at one barrier.

use crate::mixed::{mixed_gate, mixed_rounds};

#[tokio::test]
async fn either_closes_and_opens_and_the_other_waits() {
    mixed_gate("kazoo").await;
}

#[tokio::test]
async fn parties_of_both_enter_and_leave_together() {
    mixed_rounds("kazoo").await;
}
