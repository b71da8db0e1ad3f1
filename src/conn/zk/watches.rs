//! The watches of a session, and what the server does not get right about them.
//!
//! All one-shots are kept here, with what their owner saw. After a reconnect each is left with the
//! server again by another read, and whoever missed a change is told.
//!
//! One-shots and tree watches of one session on the same path are one entry to the server. A tree
//! watch dies when a get or exists then leaves a watch
//! ([ZOOKEEPER-4466](https://issues.apache.org/jira/browse/ZOOKEEPER-4466)), a children watch when a
//! tree watch comes, and withdrawing one takes the other along. So where a tree watch stands,
//! one-shots on its path are *fed* from its events: later ones are never left with the server, and
//! what the server holds for earlier ones is *parked* when they are over, and the tree watch *kept*,
//! until nobody needs anything on that path.

use std::collections::HashMap;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::node::Stat;
use crate::path::ZkPath;
use crate::watch::{EventKind, TreeSender, WatchSender};

/// A one-shot of the crate that has not fired.
pub(super) type Firing = BoxFuture<'static, zookeeper_client::WatchedEvent>;

/// How many bytes of paths a session may watch by one-shots: more would make a reconnect slow, and
/// the frames of other clients' reconnects too large.
pub(super) const MAX_BYTES: usize = 100 * 1024;

/// Which of the server's lists a one-shot watch is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum List {
    Data,
    Children,
}

impl List {
    /// What to tell when all that is known is that something changed.
    pub(super) fn any_change(self) -> EventKind {
        match self {
            List::Data => EventKind::DataChanged,
            List::Children => EventKind::ChildrenChanged,
        }
    }
}

/// One one-shot of this session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OnceId {
    pub(super) path: ZkPath,
    pub(super) list: List,
    number: u64,
}

struct Once {
    id: OnceId,
    sender: WatchSender,
    seen: Seen,
}

/// The state of a node at the moment of a read, if it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    created: i64,
    set: i64,
    children: i64,
}

pub(super) type Seen = Option<Facts>;

pub(super) fn seen(stat: Option<&Stat>) -> Seen {
    stat.map(|stat| Facts { created: stat.czxid, set: stat.mzxid, children: stat.pzxid })
}

#[derive(Default)]
pub(super) struct Watches {
    once: HashMap<ZkPath, Vec<Once>>,
    /// How many one-shots the server holds, or is about to, on each list of each path.
    held: HashMap<(ZkPath, List), usize>,
    bytes: usize,
    trees: HashMap<ZkPath, Tree>,
    next: u64,
}

/// The tree watches on one path.
#[derive(Default)]
struct Tree {
    /// Requests under way for another one.
    adding: usize,
    /// Those that stand, oldest first. The first one feeds.
    standing: Vec<(u64, TreeSender)>,
    /// One that stands for one-shots only: whoever asked for it has withdrawn.
    kept: Option<(u64, oneshot::Sender<()>)>,
    /// Reads under way that will be fed, and whether an event has come since each was sent.
    reading: HashMap<u64, (List, bool)>,
    /// One-shots that the server holds and nobody waits for.
    parked: Vec<(List, Firing)>,
}

impl Tree {
    /// Whether one stands or may come; if not, what is left here only waits to be let go of.
    fn is_there(&self) -> bool {
        self.adding > 0 || !self.standing.is_empty() || self.kept.is_some()
    }
}

impl Watches {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // --- one-shots ----------------------------------------------------------------------------

    /// Counts a one-shot that is about to be left; `false` when the session carries no more.
    pub(super) fn reserve(&mut self, path: &ZkPath, list: List) -> bool {
        let key = (path.clone(), list);
        if !self.held.contains_key(&key) {
            if self.bytes + path.as_str().len() > MAX_BYTES {
                return false;
            }
            self.bytes += path.as_str().len();
        }
        *self.held.entry(key).or_default() += 1;
        true
    }

    /// The server holds one less: it fired, it was taken away, or it was never left.
    pub(super) fn release(&mut self, path: &ZkPath, list: List) {
        self.uncount(path, list);
        self.tidy(path);
    }

    fn uncount(&mut self, path: &ZkPath, list: List) {
        let key = (path.clone(), list);
        let Some(count) = self.held.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            self.held.remove(&key);
            self.bytes -= path.as_str().len();
        }
    }

    /// From now on somebody waits for a change of what was `seen`.
    pub(super) fn wait(
        &mut self,
        path: &ZkPath,
        list: List,
        sender: WatchSender,
        seen: Seen,
    ) -> OnceId {
        let id = OnceId { path: path.clone(), list, number: self.number() };
        let at = self.once.entry(path.clone()).or_default();
        // Those that are fed only have nobody else to tell that their owner is gone.
        at.retain(|once| !once.sender.is_withdrawn());
        at.push(Once { id: id.clone(), sender, seen });
        id
    }

    /// Takes a one-shot, to fire it or to forget it.
    pub(super) fn take(&mut self, id: &OnceId) -> Option<WatchSender> {
        let at = self.once.get_mut(&id.path)?;
        let place = at.iter().position(|once| once.id == *id)?;
        let once = at.swap_remove(place);
        if at.is_empty() {
            self.once.remove(&id.path);
        }
        self.tidy(&id.path);
        Some(once.sender)
    }

    /// What a one-shot's owner saw, and how to learn that it has gone; `None` when it has.
    pub(super) fn waiting(
        &self,
        id: &OnceId,
    ) -> Option<(Seen, impl Future<Output = ()> + Send + use<>)> {
        let once = self.once.get(&id.path)?.iter().find(|once| once.id == *id)?;
        (!once.sender.is_withdrawn()).then(|| (once.seen, once.sender.withdrawal()))
    }

    /// Keeps what the server holds for a one-shot that is over beside a tree watch, which would go
    /// with it; `rest` comes back when it can simply be dropped.
    pub(super) fn park(&mut self, id: &OnceId, rest: Firing) -> Option<Firing> {
        match self.trees.get_mut(&id.path) {
            None => Some(rest),
            Some(tree) => {
                tree.parked.push((id.list, rest));
                self.tidy(&id.path);
                None
            }
        }
    }

    // --- tree watches -------------------------------------------------------------------------

    /// Whether a tree watch stands on exactly `path`, or is about to.
    pub(super) fn has_tree(&self, path: &ZkPath) -> bool {
        self.trees.get(path).is_some_and(Tree::is_there)
    }

    pub(super) fn tree_asked(&mut self, path: &ZkPath) {
        self.trees.entry(path.clone()).or_default().adding += 1;
    }

    /// A tree watch stands; returns its number.
    pub(super) fn tree_stands(&mut self, path: &ZkPath, sender: TreeSender) -> u64 {
        let id = self.number();
        let tree = self.trees.entry(path.clone()).or_default();
        tree.adding = tree.adding.saturating_sub(1);
        tree.standing.push((id, sender));
        id
    }

    /// No tree watch came of it. Reads that counted on it must be made again, and one-shots have
    /// nothing to hang on: they fire, so that their owners look again.
    pub(super) fn tree_failed(&mut self, path: &ZkPath) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        tree.adding = tree.adding.saturating_sub(1);
        if tree.is_there() {
            return;
        }
        tree.reading.values_mut().for_each(|(_, raced)| *raced = true);
        self.fire(path, |once| Some(once.id.list.any_change()));
    }

    /// Tree watch `id` stands no more, for no wish of its owner: it tells its end, and if no other
    /// one feeds the one-shots on its path, they fire, so that their owners look again.
    pub(super) fn tree_lost(&mut self, path: &ZkPath, id: u64) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        tree.standing.retain(|(standing, _)| *standing != id);
        if tree.standing.is_empty() && tree.kept.is_none() {
            self.fire(path, |once| Some(once.id.list.any_change()));
        }
        self.tidy(path);
    }

    /// The owner of tree watch `id` has withdrawn it. `Some`: it must stay with the server, for
    /// one-shots, until the receiver resolves.
    pub(super) fn tree_withdrawn(
        &mut self,
        path: &ZkPath,
        id: u64,
    ) -> Option<oneshot::Receiver<()>> {
        let tree = self.trees.get_mut(path)?;
        tree.standing.retain(|(standing, _)| *standing != id);
        let kept = (tree.standing.is_empty() && tree.kept.is_none()).then(|| {
            let (stop, stopped) = oneshot::channel();
            tree.kept = Some((id, stop));
            stopped
        });
        self.tidy(path);
        kept
    }

    /// Tree watch `id` of `path` told `kind` at `at`: fires the one-shots that it concerns.
    pub(super) fn tree_told(&mut self, path: &ZkPath, id: u64, kind: EventKind, at: &str) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        let feeder = tree.standing.first().map(|(id, _)| *id);
        let feeder = feeder.or(tree.kept.as_ref().map(|(id, _)| *id));
        if feeder != Some(id) {
            return;
        }
        let tells = |list| told(path, list, kind, at);
        for (list, raced) in tree.reading.values_mut() {
            *raced |= tells(*list).is_some();
        }
        self.fire(path, |once| tells(once.id.list));
    }

    // --- feeding ------------------------------------------------------------------------------

    /// A read is under way whose watch will be fed.
    pub(super) fn feed_asked(&mut self, path: &ZkPath, list: List, read: u64) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.reading.insert(read, (list, false));
        }
    }

    /// The read has come to an end. `true`: an event came meanwhile, so the answer may be older or
    /// younger than it, and only another read can tell.
    pub(super) fn feed_answered(&mut self, path: &ZkPath, read: u64) -> bool {
        let Some(tree) = self.trees.get_mut(path) else { return true };
        let raced = tree.reading.remove(&read).is_none_or(|(_, raced)| raced);
        raced || !tree.is_there()
    }

    /// What a read has found: fires those that missed a change.
    pub(super) fn checked(&mut self, path: &ZkPath, now: Seen) {
        self.fire(path, |once| missed(once.id.list, once.seen, now));
    }

    /// Whether somebody waits for a change of `path` or its children.
    pub(super) fn is_awaited(&self, path: &ZkPath) -> bool {
        self.once.contains_key(path)
    }

    fn fire(&mut self, path: &ZkPath, tells: impl Fn(&Once) -> Option<EventKind>) {
        if let Some(at) = self.once.remove(path) {
            let mut rest = Vec::new();
            for once in at {
                match tells(&once) {
                    Some(kind) => once.sender.fire(kind),
                    None => rest.push(once),
                }
            }
            if !rest.is_empty() {
                self.once.insert(path.clone(), rest);
            }
        }
        self.tidy(path);
    }

    // --- reconnects ---------------------------------------------------------------------------

    /// The connection broke: the server holds nothing for us any more.
    pub(super) fn broke(&mut self) {
        self.held.clear();
        self.bytes = 0;
        for tree in self.trees.values_mut() {
            tree.adding = 0;
            tree.kept = None;
            tree.reading.clear();
            tree.parked.clear();
            tree.standing.retain(|(_, sender)| !sender.is_withdrawn());
        }
        self.trees.retain(|_, tree| !tree.standing.is_empty());
        for at in self.once.values_mut() {
            at.retain(|once| !once.sender.is_withdrawn());
        }
        self.once.retain(|_, at| !at.is_empty());
    }

    /// The tree watches to leave again.
    pub(super) fn trees(&self) -> Vec<(ZkPath, u64, TreeSender)> {
        let of = |(path, tree): (&ZkPath, &Tree)| {
            let path = path.clone();
            let standing = tree.standing.clone().into_iter();
            standing.map(move |(id, sender)| (path.clone(), id, sender)).collect::<Vec<_>>()
        };
        self.trees.iter().flat_map(of).collect()
    }

    /// The one-shots that tree watches feed, and how to learn that the owner of each has gone.
    pub(super) fn fed(&self) -> Vec<(OnceId, impl Future<Output = ()> + Send + use<>)> {
        let fed = self.once.iter().filter(|(path, _)| self.trees.contains_key(*path));
        let each = |once: &Once| (once.id.clone(), once.sender.withdrawal());
        fed.flat_map(|(_, at)| at.iter().map(each)).collect()
    }

    /// The one-shots to leave again: those that no tree watch feeds.
    pub(super) fn alone(&self) -> Vec<OnceId> {
        let alone = self.once.iter().filter(|(path, _)| !self.trees.contains_key(*path));
        alone.flat_map(|(_, at)| at.iter().map(|once| once.id.clone())).collect()
    }

    /// Lets go of what nobody needs on `path` any more.
    fn tidy(&mut self, path: &ZkPath) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        let awaited =
            self.once.get(path).is_some_and(|at| at.iter().any(|once| !once.sender.is_withdrawn()));
        let needed =
            tree.adding > 0 || !tree.standing.is_empty() || !tree.reading.is_empty() || awaited;
        if !needed && let Some(tree) = self.trees.remove(path) {
            // Dropping the one end of `kept`, and the parked ones, takes them from the server.
            for (list, _) in &tree.parked {
                self.uncount(path, *list);
            }
        }
    }
}

/// What an event of the tree watch on `path` tells a one-shot there.
fn told(path: &ZkPath, list: List, kind: EventKind, at: &str) -> Option<EventKind> {
    let own = at == path.as_str();
    match (list, kind) {
        (List::Data, _) if own => Some(kind),
        (List::Children, EventKind::Deleted) if own => Some(kind),
        (List::Children, EventKind::Created | EventKind::Deleted) if is_child(path, at) => {
            Some(EventKind::ChildrenChanged)
        }
        _ => None,
    }
}

fn is_child(path: &ZkPath, at: &str) -> bool {
    let parent = at.rfind('/').map(|slash| if slash == 0 { "/" } else { at.split_at(slash).0 });
    at.len() > 1 && parent == Some(path.as_str())
}

/// What a one-shot that saw `before` missed if it is like `now`, by the rule of SetWatches.
pub(super) fn missed(list: List, before: Seen, now: Seen) -> Option<EventKind> {
    match (before, now) {
        (None, Some(_)) => Some(EventKind::Created),
        (Some(_), None) => Some(EventKind::Deleted),
        (Some(before), Some(now)) => {
            let changed = match list {
                List::Data => before.set != now.set,
                List::Children => before.children != now.children,
            };
            (changed || before.created != now.created).then(|| list.any_change())
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
