//! What a quorum says of itself.

use super::home::FenceNo;
use super::identity::Identity;
use super::record::Record;

/// What a quorum says of itself.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) identity: Identity,
    /// Of the node that says it.
    pub(super) version: i32,
    /// How many writes it has counted as a first.
    pub(super) count: i64,
    /// Where its fences stand.
    pub(super) fences: Vec<(FenceNo, i32)>,
    /// What they keep of the first.
    pub(super) records: Vec<(FenceNo, Record)>,
}

impl Told {
    /// What the fence with this number keeps of the first of `term`.
    pub(super) fn record(&self, number: FenceNo, term: &str) -> Option<&Record> {
        let record = self.records.iter().find(|(own, _)| *own == number).map(|(_, record)| record);
        record.filter(|record| record.term == term)
    }
}
