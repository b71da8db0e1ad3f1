//! Clients of Curator and ours at one barrier. They need a compiler of Java and some packages, so this
//! is run by `tests/long` only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "barriers/mixed.rs"]
mod mixed;
mod support;

use mixed::{mixed_gate, mixed_rounds};

#[tokio::test]
async fn either_closes_and_opens_and_the_other_waits() {
    mixed_gate("curator").await;
}

#[tokio::test]
async fn parties_of_both_enter_and_leave_together() {
    mixed_rounds("curator").await;
}
