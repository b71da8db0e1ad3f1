//! What came out of a check.

use std::fmt;

use crate::path::ZkPath;

/// What a [`History`](super::History) holds, and what is wrong with it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many calls there were, reads, writes and syncs.
    pub calls: usize,
    /// How many of them were writes.
    pub writes: usize,
    /// How many writes were told to be done.
    pub done: usize,
    /// How many writes were told to be refused for what the node was.
    pub refused: usize,
    /// How many writes were told not to be applied, for other reasons.
    pub failed: usize,
    /// How many writes are of unknown outcome.
    pub unknown: usize,
    /// How many reads were answered.
    pub reads: usize,
    /// How many of them came right behind a `sync`.
    pub fresh: usize,
    /// How many nodes there were.
    pub keys: usize,
    /// What the contract does not allow.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { calls, writes, done, refused, failed, unknown, reads, fresh, keys, .. } = self;
        write!(
            f,
            "{calls} calls on {keys} nodes: {writes} writes ({done} done, {refused} refused, \
             {failed} failed, {unknown} unknown), {reads} reads ({fresh} fresh); {} violations",
            self.violations.len()
        )
    }
}

/// Something that the contract does not allow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// The node that it happened on.
    pub key: ZkPath,
    /// What kind of thing it is.
    pub fault: Fault,
    /// What shows it.
    pub shown: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.key, self.fault, self.shown)
    }
}

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No order of the writes and fresh reads gives the answers that were told.
    #[error("not linearizable")]
    NotLinearizable,
    /// The search for an order did not come to an end: this proves nothing.
    #[error("not decided")]
    Undecided,
    /// A read showed something older than its connection had seen before.
    #[error("a read went back")]
    WentBack,
    /// A read showed what nobody wrote, or what was told not to be applied.
    #[error("a read shows what was not written")]
    NeverWritten,
    /// A write passed that is not understood.
    #[error("a write that is not understood")]
    NotUnderstood,
}
