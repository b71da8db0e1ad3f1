//! Clients of Curator and ours on one path. They need a compiler of Java and some packages, so this
//! is run by `tests/long` only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use support::fleet::{mixed, mixed_sides};
use zkcells::recipes::LockNames;

#[tokio::test]
async fn clients_of_curator_and_ours_with_its_names_exclude_one_another() {
    mixed("curator", LockNames::Curator, "").await;
}

#[tokio::test]
async fn readers_and_writers_of_curator_and_ours_exclude_one_another() {
    mixed_sides("curator", LockNames::Curator).await;
}
