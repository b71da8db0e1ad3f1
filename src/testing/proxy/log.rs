//! What has passed through a proxy.

use std::collections::VecDeque;
use std::time::Instant;

use super::faults::Direction;
use crate::fault::OpKind;
use crate::testing::wire::{ErrorCode, OpCode};

/// How many frames are remembered.
const CAPACITY: usize = 10_000;

/// One frame that reached a [`FaultProxy`](super::FaultProxy).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogEntry {
    /// When it reached the proxy.
    pub at: Instant,
    /// The number of the connection, from 1 on.
    pub connection: u64,
    /// Where it goes: `ToServer` or `ToClient`.
    pub direction: Direction,
    /// The number of the request or answer; 0 for the connect exchange, -1 for a watch event.
    pub xid: i32,
    /// The operation of a request or answer. `None` for the connect exchange, a watch event, and
    /// what cannot be read.
    pub op: Option<OpCode>,
    /// What kind of request it is, or is the answer to.
    pub kind: Option<OpKind>,
    /// The paths that it is about: those of all steps of a multi, none for many others.
    pub paths: Vec<String>,
    /// The error in an answer. A multi that failed has that of the step that did.
    pub error: Option<ErrorCode>,
    /// What became of it.
    pub fate: Fate,
}

impl LogEntry {
    /// Whether it is a request of `kind`.
    pub fn is_request(&self, kind: OpKind) -> bool {
        self.direction == Direction::ToServer && self.kind.is_some_and(|own| kind.includes(own))
    }

    /// Whether it is a watch event.
    pub fn is_event(&self) -> bool {
        self.direction == Direction::ToClient && self.xid == crate::testing::wire::xid::EVENT
    }
}

/// What became of a frame at the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// It was passed on, if its connection lived and no black hole stopped it.
    Passed,
    /// It was withheld: a request that was dropped, an answer that was swallowed, or the request
    /// of a session that was said to be over.
    Withheld,
    /// It was passed on behind later ones.
    Late,
    /// It was passed on twice.
    Doubled,
}

#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<LogEntry>);

impl Log {
    pub(super) fn enter(&mut self, entry: LogEntry) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    pub(super) fn entries(&self) -> Vec<LogEntry> {
        self.0.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
