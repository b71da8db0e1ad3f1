//! How nodes end by themselves: with a session, when emptied, or when idle.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::node::Mode;
use crate::path::ZkPath;

/// Until when a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Persistent,
    /// Until this session ends.
    Ephemeral(i64),
    /// Until it has lost its last child.
    Container,
    /// Until it was idle for this many milliseconds.
    Ttl(i64),
}

impl Life {
    /// The life of a node that `session` creates with `mode`.
    pub(super) fn of(mode: Mode, session: i64) -> Self {
        match mode {
            Mode::Ephemeral | Mode::EphemeralSequential => Life::Ephemeral(session),
            Mode::Container => Life::Container,
            Mode::Ttl(ttl) | Mode::TtlSequential(ttl) => Life::Ttl(millis(ttl)),
            Mode::Persistent | Mode::PersistentSequential => Life::Persistent,
        }
    }

    /// What ZooKeeper shows as `ephemeralOwner`: of containers and TTL nodes, nothing.
    pub(super) fn owner(self) -> i64 {
        match self {
            Life::Ephemeral(session) => session,
            Life::Persistent | Life::Container | Life::Ttl(_) => 0,
        }
    }
}

/// Five bytes of the owner field hold a time to live; `Request::check` refuses longer ones.
fn millis(ttl: Duration) -> i64 {
    let longest = (1 << 40) - 1;
    i64::try_from(ttl.as_millis()).map_or(longest, |millis| millis.min(longest))
}

/// The nodes that end by themselves, by the reason of their end.
#[derive(Debug)]
pub(super) struct Lives {
    ephemerals: HashMap<i64, BTreeSet<ZkPath>>,
    containers: BTreeSet<ZkPath>,
    ttls: BTreeSet<ZkPath>,
    /// Before this time no time to live is over; it need not be over then.
    ttl_due: i64,
}

impl Lives {
    pub(super) fn new() -> Self {
        Lives {
            ephemerals: HashMap::new(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            ttl_due: i64::MAX,
        }
    }

    /// Enters a node whose data was last set at `mtime`.
    pub(super) fn enter(&mut self, path: &ZkPath, life: Life, mtime: i64) {
        match life {
            Life::Persistent => {}
            Life::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(path.clone());
            }
            Life::Container => {
                self.containers.insert(path.clone());
            }
            Life::Ttl(ttl) => {
                self.ttls.insert(path.clone());
                self.look_at(mtime.saturating_add(ttl));
            }
        }
    }

    /// Strikes a node out.
    pub(super) fn leave(&mut self, path: &ZkPath, life: Life) {
        match life {
            Life::Persistent => {}
            Life::Ephemeral(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Life::Container => {
                self.containers.remove(path);
            }
            Life::Ttl(_) => {
                self.ttls.remove(path);
            }
        }
    }

    /// Some time to live may be over at `time`, not before.
    pub(super) fn look_at(&mut self, time: i64) {
        self.ttl_due = self.ttl_due.min(time);
    }

    /// When to look at the times to live again.
    pub(super) fn ttl_due(&self) -> i64 {
        self.ttl_due
    }

    /// Forgets when to look, because someone looks now.
    pub(super) fn looking(&mut self) {
        self.ttl_due = i64::MAX;
    }

    /// The ephemeral nodes of a session, sorted.
    pub(super) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &ZkPath> {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &ZkPath> {
        self.containers.iter()
    }

    pub(super) fn ttls(&self) -> impl Iterator<Item = &ZkPath> {
        self.ttls.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sessions_are_shown_as_owners() {
        assert_eq!(Life::of(Mode::Ttl(Duration::MAX), 7).owner(), 0);
        assert_eq!(Life::of(Mode::Container, 7).owner(), 0);
        assert_eq!(Life::of(Mode::EphemeralSequential, 7).owner(), 7);
        assert_eq!(Life::of(Mode::PersistentSequential, 7).owner(), 0);
    }
}
