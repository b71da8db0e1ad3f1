//! A session whose connection is lost: what its client keeps meanwhile, and what it then missed.
//!
//! As with servers, the quorum knows nothing of the watches of a lost connection. The client leaves
//! them again when it is back, and what changed in between shows in the nodes.

use std::time::Duration;

use super::state::State;
use super::tree::Record;
use super::watches::{Watched, Watcher};
use crate::deadline::Deadline;
use crate::node::Stat;
use crate::path::ZkPath;
use crate::session::{SessionSender, SessionState};
use crate::watch::Event;

/// What a client keeps of a session while no server answers it.
pub(super) struct Away {
    sender: SessionSender,
    watches: Vec<Parted>,
}

struct Parted {
    what: Watched,
    path: ZkPath,
    before: Option<Stat>,
    watcher: Box<dyn Watcher>,
}

impl Away {
    /// Loses the holds that nothing has proved in time, and says when to look again.
    pub(super) fn look(&mut self) -> Option<Deadline> {
        self.watches.iter_mut().filter_map(|parted| parted.watcher.look()).min()
    }

    /// The clock of the quorum has moved: what was proved is older by that.
    pub(super) fn aged(&mut self, by: Duration) {
        self.sender.aged(by);
        for parted in &mut self.watches {
            parted.watcher.aged(by);
        }
    }

    /// Tells that the session is over.
    pub(super) fn end(mut self, how: SessionState) {
        self.look();
        drop(self.watches);
        self.sender.set(how);
    }
}

impl State {
    /// Loses the connection of a session; `None` if there is no such session.
    pub(super) fn part(&mut self, session: i64) -> Option<Away> {
        self.reap();
        let now = self.clock.now();
        let client = self.clients.get_mut(&session)?;
        let sender = client.sender.take()?;
        let timeout = i64::try_from(client.timeout.as_millis()).unwrap_or(i64::MAX);
        let due = (now.saturating_add(timeout), session);
        client.silent = Some(due);
        self.silent.insert(due);
        sender.set(SessionState::Disconnected);
        let since = Deadline::now();
        let mut watches = Vec::new();
        for (what, path, mut watcher) in self.watches.part(session) {
            watcher.parted(since);
            let before = self.tree.get(&path).map(Record::stat);
            watches.push(Parted { what, path, before, watcher });
        }
        Some(Away { sender, watches })
    }

    /// Attaches a session again, and tells its watches what they missed.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub(super) fn rejoin(&mut self, session: i64, away: Away) -> Result<(), Away> {
        self.reap();
        let Some(client) = self.clients.get_mut(&session) else { return Err(away) };
        if let Some(due) = client.silent.take() {
            self.silent.remove(&due);
        }
        let Away { sender, watches } = away;
        // To attach a session is a transaction of the leader.
        sender.proved(Deadline::now());
        sender.set(SessionState::Connected);
        client.sender = Some(sender);
        for Parted { what, path, before, mut watcher } in watches {
            let now = self.tree.get(&path).map(Record::stat);
            match what.missed(before.as_ref(), now.as_ref()) {
                Some(kind) => watcher.tell(&Event::new(kind, path)),
                None => {
                    watcher.rejoined(before.as_ref(), now.as_ref());
                    self.watches.add(what, &path, session, watcher);
                }
            }
        }
        Ok(())
    }
}
