//! What was asked and told, in the order in which it happened.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::HistoryConn;
use super::check;
use super::check::leaves_open;
use super::report::Report;
use crate::conn::Conn;
use crate::error::ErrorKind;
use crate::node::{Stat, Version};
use crate::path::ZkPath;

/// What clients asked of some nodes, and what they were told.
///
/// Clones share it. The nodes must not be there when it begins, and nobody may write them past it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::testing::history::History;
/// use zkcells::{ConnExt, MemoryConn, Mode};
/// let history = History::new();
/// let conn = history.conn(Arc::new(MemoryConn::new()));
/// conn.create("/motd", "hello", Mode::Persistent).await?;
/// conn.get("/motd").await?;
/// let report = history.check();
/// assert_eq!((report.calls, report.violations.len()), (2, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct History(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Numbers what happens. Real time would do, and be coarser.
    clock: AtomicI64,
    connections: AtomicUsize,
    calls: Mutex<Vec<Call>>,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) connection: usize,
    pub(super) key: ZkPath,
    pub(super) asked: Asked,
    /// When it was asked.
    pub(super) start: i64,
    /// When it was answered, if it was.
    pub(super) end: Option<i64>,
    pub(super) told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Create {
        data: Bytes,
    },
    Set {
        data: Bytes,
        version: Version,
    },
    Delete {
        version: Version,
    },
    Get,
    Exists,
    Sync,
    /// A write that is not understood here.
    Other(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, so far or for ever.
    Nothing,
    /// It was done; a delete shows no node.
    Done(Option<Stat>),
    /// What a read found, with its data unless it only looked.
    Seen(Option<(Option<Bytes>, Stat)>),
    /// It was not done, or nobody knows.
    Failed(ErrorKind),
}

impl Call {
    /// Whether it is a write that may have been applied.
    pub(super) fn may_be_applied(&self) -> bool {
        self.is_write()
            && match self.told {
                Told::Nothing | Told::Done(_) => true,
                Told::Seen(_) => false,
                Told::Failed(kind) => leaves_open(kind),
            }
    }

    /// Whether it is a write of which nobody knows whether it was applied.
    pub(super) fn is_unknown(&self) -> bool {
        self.may_be_applied() && !matches!(self.told, Told::Done(_))
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(
            self.asked,
            Asked::Create { .. } | Asked::Set { .. } | Asked::Delete { .. } | Asked::Other(_)
        )
    }

    /// The data that it writes.
    pub(super) fn data(&self) -> Option<&Bytes> {
        match &self.asked {
            Asked::Create { data } | Asked::Set { data, .. } => Some(data),
            _ => None,
        }
    }
}

impl History {
    /// Nothing yet.
    pub fn new() -> Self {
        History::default()
    }

    /// A connection whose calls are recorded; each counts as one connection, whatever is inside.
    pub fn conn(&self, inner: Arc<dyn Conn>) -> HistoryConn {
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
        HistoryConn::new(inner, self.clone(), number)
    }

    /// Judges all of it. Calls that are under way count as unanswered.
    ///
    /// It computes, on threads of its own, for at most a minute for each node.
    pub fn check(&self) -> Report {
        let calls = self.calls().clone();
        check::check(&calls)
    }

    /// What happened on one node, a line for each call, for people to look into a violation.
    pub fn show(&self, key: &ZkPath) -> String {
        let mut text = String::new();
        for call in self.calls().iter().filter(|call| call.key == *key) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{call}");
        }
        text
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what is asked, before it is; says where.
    pub(super) fn asks(&self, connection: usize, key: ZkPath, asked: Asked) -> usize {
        let mut calls = self.calls();
        let start = self.0.clock.fetch_add(1, Ordering::SeqCst);
        calls.push(Call { connection, key, asked, start, end: None, told: Told::Nothing });
        calls.len() - 1
    }

    /// Takes down what was told, after it was.
    pub(super) fn is_told(&self, place: usize, told: Told) {
        let mut calls = self.calls();
        let end = self.0.clock.fetch_add(1, Ordering::SeqCst);
        if let Some(call) = calls.get_mut(place) {
            (call.end, call.told) = (Some(end), told);
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.map(|end| end.to_string()).unwrap_or_default();
        write!(f, "{:>7}..{end:<7} conn {} ", self.start, self.connection)?;
        match &self.asked {
            Asked::Create { data } => write!(f, "create {data:?}")?,
            Asked::Set { data, version } => write!(f, "set {data:?} at {version:?}")?,
            Asked::Delete { version } => write!(f, "delete at {version:?}")?,
            Asked::Get => write!(f, "get")?,
            Asked::Exists => write!(f, "exists")?,
            Asked::Sync => write!(f, "sync")?,
            Asked::Other(name) => write!(f, "{name}")?,
        }
        let stat = |f: &mut fmt::Formatter<'_>, stat: &Stat| {
            write!(f, "version {}, made {:#x}, set {:#x}", stat.version, stat.czxid, stat.mzxid)
        };
        match &self.told {
            Told::Nothing => write!(f, ": no answer"),
            Told::Done(None) => write!(f, ": done"),
            Told::Done(Some(now)) => write!(f, ": done, ").and_then(|()| stat(f, now)),
            Told::Seen(None) => write!(f, ": no node"),
            Told::Seen(Some((Some(data), now))) => {
                write!(f, ": {data:?}, ").and_then(|()| stat(f, now))
            }
            Told::Seen(Some((None, now))) => write!(f, ": ").and_then(|()| stat(f, now)),
            Told::Failed(kind) => write!(f, ": {kind}"),
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("calls", &self.calls().len()).finish_non_exhaustive()
    }
}
