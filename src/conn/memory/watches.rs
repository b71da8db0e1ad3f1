//! Watches: who waits for what, and who is told of a change.

use std::collections::HashMap;
use std::time::Duration;

use super::access::{self, Identity};
use super::transaction::Change;
use crate::deadline::Deadline;
use crate::node::{Perms, Stat};
use crate::path::ZkPath;
use crate::watch::{Event, EventKind};

/// Whoever waits for changes, told in the order in which they happen.
///
/// The watch of a connection is one; a server gives one that writes to its client. Dropping it says
/// that the session is over, or after a one-shot watch was told, nothing.
pub(crate) trait Watcher: Send {
    /// Takes note of `event`. It is called under the quorum's lock: it must not wait, nor call
    /// the quorum.
    fn tell(&mut self, event: &Event);

    /// Whether nobody waits any more.
    fn is_withdrawn(&self) -> bool;

    /// The connection to whoever waits is lost.
    fn parted(&mut self, since: Deadline) {
        let _ = since;
    }

    /// The connection is back. The node was `before` when it was lost, and is `now`.
    fn rejoined(&mut self, before: Option<&Stat>, now: Option<&Stat>) {
        let _ = (before, now);
    }

    /// The clock of the quorum has moved while the connection is lost.
    fn aged(&mut self, by: Duration) {
        let _ = by;
    }

    /// Loses what nothing has proved in time, and says when to look again.
    fn look(&mut self) -> Option<Deadline> {
        None
    }
}

/// A watcher and the session that it belongs to.
struct Waiting {
    session: i64,
    watcher: Box<dyn Watcher>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// The data and the being there of a node, once.
    Data,
    /// The children and the end of a node, once.
    Children,
    /// All at and below a path, for as long as the session lasts.
    Tree,
    /// Nothing any more: a change used it up of which its session may not learn.
    Silenced,
}

impl Watched {
    /// What whoever watches missed, if anything: the node was `before`, and is `now`.
    pub(super) fn missed(self, before: Option<&Stat>, now: Option<&Stat>) -> Option<EventKind> {
        let changed = |before: &Stat, now: &Stat| match self {
            Watched::Data => before.mzxid != now.mzxid,
            Watched::Children => before.pzxid != now.pzxid,
            Watched::Tree | Watched::Silenced => false,
        };
        match (self, before, now) {
            (Watched::Tree | Watched::Silenced, ..) | (_, None, None) => None,
            (_, None, Some(_)) => Some(EventKind::Created),
            (_, Some(_), None) => Some(EventKind::Deleted),
            (_, Some(before), Some(now)) => {
                let any = match self {
                    Watched::Children => EventKind::ChildrenChanged,
                    _ => EventKind::DataChanged,
                };
                (before.czxid != now.czxid || changed(before, now)).then_some(any)
            }
        }
    }
}

/// All watches of a quorum.
pub(super) struct Watches {
    data: Table,
    children: Table,
    trees: Table,
    /// One-shot watches that a change used up of which their sessions may not learn, as servers
    /// have it. All that they can still tell is the end of the session.
    silenced: Table,
}

impl Watches {
    pub(super) fn new() -> Self {
        Watches {
            data: Table::new(),
            children: Table::new(),
            trees: Table::new(),
            silenced: Table::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        what: Watched,
        path: &ZkPath,
        session: i64,
        watcher: Box<dyn Watcher>,
    ) {
        let table = match what {
            Watched::Data => &mut self.data,
            Watched::Children => &mut self.children,
            Watched::Tree => &mut self.trees,
            Watched::Silenced => &mut self.silenced,
        };
        table.add(path, Waiting { session, watcher });
    }

    /// Ends all watches of a session.
    pub(super) fn end(&mut self, session: i64) {
        for table in [&mut self.data, &mut self.children, &mut self.trees, &mut self.silenced] {
            table.retain(|waiting| waiting.session != session);
        }
    }

    /// Takes all watches of a session out.
    pub(super) fn part(&mut self, session: i64) -> Vec<(Watched, ZkPath, Box<dyn Watcher>)> {
        let tables = [
            (Watched::Data, &mut self.data),
            (Watched::Children, &mut self.children),
            (Watched::Tree, &mut self.trees),
            (Watched::Silenced, &mut self.silenced),
        ];
        let mut parted = Vec::new();
        for (what, table) in tables {
            let of = table.part(session).into_iter();
            parted.extend(of.map(|(path, watcher)| (what, path, watcher)));
        }
        parted
    }

    /// Tells `change` to all who wait for it and may read the node. `identities` says who a
    /// session is.
    pub(super) fn tell<'a>(&mut self, change: &Change, identities: impl Fn(i64) -> &'a [Identity]) {
        let Change { event, acl } = change;
        let may_know = |session| access::allows(acl, Perms::READ, identities(session));
        let once: &mut [&mut Table] = match event.kind {
            EventKind::Deleted => &mut [&mut self.data, &mut self.children],
            EventKind::ChildrenChanged => &mut [&mut self.children],
            _ => &mut [&mut self.data],
        };
        for table in once {
            for mut waiting in table.take(&event.path) {
                if may_know(waiting.session) {
                    waiting.watcher.tell(event);
                } else {
                    self.silenced.add(&event.path, waiting);
                }
            }
        }
        if event.kind == EventKind::ChildrenChanged || self.trees.count == 0 {
            return;
        }
        let mut at = Some(event.path.clone());
        while let Some(path) = at {
            for waiting in self.trees.at(&path) {
                if may_know(waiting.session) {
                    waiting.watcher.tell(event);
                }
            }
            at = path.parent();
        }
    }

    /// How many watches are kept, withdrawn ones included.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.data.count + self.children.count + self.trees.count + self.silenced.count
    }
}

/// Watches of one sort by path.
struct Table {
    waiting: HashMap<ZkPath, Vec<Waiting>>,
    count: usize,
    /// At this count, withdrawn watches are thrown out: a price that is paid once in as many
    /// adds as there are watches.
    prune_at: usize,
}

impl Table {
    const FEW: usize = 64;

    fn new() -> Self {
        Table { waiting: HashMap::new(), count: 0, prune_at: Self::FEW }
    }

    fn add(&mut self, path: &ZkPath, waiting: Waiting) {
        if self.count >= self.prune_at {
            self.retain(|waiting| !waiting.watcher.is_withdrawn());
            self.prune_at = Self::FEW.max(self.count * 2);
        }
        self.waiting.entry(path.clone()).or_default().push(waiting);
        self.count += 1;
    }

    fn take(&mut self, path: &ZkPath) -> Vec<Waiting> {
        let taken = self.waiting.remove(path).unwrap_or_default();
        self.count -= taken.len();
        taken
    }

    fn at(&mut self, path: &ZkPath) -> &mut [Waiting] {
        self.waiting.get_mut(path).map(Vec::as_mut_slice).unwrap_or_default()
    }

    fn part(&mut self, session: i64) -> Vec<(ZkPath, Box<dyn Watcher>)> {
        let mut parted = Vec::new();
        self.waiting.retain(|path, waiting| {
            let of = waiting.extract_if(.., |waiting| waiting.session == session);
            parted.extend(of.map(|waiting| (path.clone(), waiting.watcher)));
            !waiting.is_empty()
        });
        self.count -= parted.len();
        parted
    }

    fn retain(&mut self, keep: impl Fn(&Waiting) -> bool) {
        let mut count = 0;
        self.waiting.retain(|_, waiting| {
            waiting.retain(&keep);
            count += waiting.len();
            !waiting.is_empty()
        });
        self.count = count;
    }
}
