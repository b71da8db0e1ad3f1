//! What ends by itself or with a session, and when the quorum looks for it.

use super::lives::Life;
use super::state::State;
use crate::path::ZkPath;
use crate::session::SessionState;

/// How often containers are looked at, in milliseconds: the default of servers.
pub(super) const CONTAINER_CHECK: i64 = 60_000;

impl State {
    /// Ends a session with its watches and its ephemeral nodes; false if there is none such.
    pub(super) fn end(&mut self, session: i64, how: SessionState) -> bool {
        let Some(client) = self.clients.remove(&session) else { return false };
        if let Some(due) = client.silent {
            self.silent.remove(&due);
        }
        self.reap();
        self.watches.end(session);
        let paths: Vec<ZkPath> = self.tree.lives.ephemerals(session).cloned().collect();
        self.end_nodes(&paths);
        // A client whose connection is lost learns it when it is back.
        if let Some(sender) = client.sender {
            sender.set(how);
        }
        true
    }

    /// Deletes nodes in one transaction.
    fn end_nodes(&mut self, paths: &[ZkPath]) {
        let ended: Result<(), std::convert::Infallible> = self.write_freely(|writes| {
            for path in paths {
                writes.end(path);
            }
            Ok(())
        });
        let Ok(()) = ended;
    }

    /// Ends the sessions whose clients were silent for their timeout, and deletes the containers and
    /// TTL nodes whose time is over.
    ///
    /// Servers look at both once a minute; here a TTL node goes as soon as anybody could notice.
    pub(super) fn reap(&mut self) {
        let now = self.clock.now();
        while let Some(&(due, session)) = self.silent.first()
            && due <= now
        {
            self.end(session, SessionState::Expired);
        }
        loop {
            while self.tree.lives.ttl_due() <= now {
                for path in self.ended_ttls(now) {
                    self.end_nodes(&[path]);
                }
            }
            if self.next_check > now {
                return;
            }
            let emptied = self.emptied_containers();
            // Once a check finds nothing, those that were missed since would have found nothing.
            let checks =
                if emptied.is_empty() { (now - self.next_check) / CONTAINER_CHECK } else { 0 };
            self.next_check += (checks + 1) * CONTAINER_CHECK;
            for path in emptied {
                self.end_nodes(&[path]);
            }
        }
    }

    fn ended_ttls(&mut self, now: i64) -> Vec<ZkPath> {
        self.tree.lives.looking();
        let mut ended = Vec::new();
        let mut next = i64::MAX;
        for path in self.tree.lives.ttls() {
            let Some(record) = self.tree.get(path) else { continue };
            let Life::Ttl(ttl) = record.life else { continue };
            let due = record.mtime.saturating_add(ttl);
            if record.has_children() {
                continue;
            }
            if due <= now {
                ended.push(path.clone());
            } else {
                next = next.min(due);
            }
        }
        self.tree.lives.look_at(next);
        ended
    }

    fn emptied_containers(&self) -> Vec<ZkPath> {
        let is_emptied = |path: &&ZkPath| {
            // One that never had a child is left in peace.
            self.tree.get(path).is_some_and(|it| it.creates > 0 && !it.has_children())
        };
        self.tree.lives.containers().filter(is_emptied).cloned().collect()
    }
}
