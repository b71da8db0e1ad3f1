//! Which watches this session has left with the server, and what the server does not get right.
//!
//! - One-shots and tree watches of one session on the same path are one entry to the server. A tree
//!   watch dies when a get or exists then leaves a watch
//!   ([ZOOKEEPER-4466](https://issues.apache.org/jira/browse/ZOOKEEPER-4466)), a children watch when
//!   a tree watch comes, and withdrawing one takes the other along. So where a tree watch stands,
//!   one-shots on its path are *fed* from the tree watch's events: later ones are never left with
//!   the server, earlier ones are moved over. What the server still holds for them is *parked*, and
//!   the tree watch *kept* for them, until nobody needs anything on that path.
//! - The client crate sends all watched paths again at a reconnect, and past 128 KiB of them in a
//!   way after which it can never reconnect. So they are counted, and refused past a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::signal::Firing;
use crate::node::Stat;
use crate::path::ZkPath;
use crate::watch::{EventKind, TreeSender, WatchSender};

/// How many bytes of paths a session may watch by one-shots.
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

#[derive(Default)]
pub(super) struct Watches {
    once: HashMap<(ZkPath, List), Left>,
    bytes: usize,
    trees: HashMap<ZkPath, Tree>,
    next_tree: u64,
}

/// One-shots that were left with the server on one list of one path.
#[derive(Default)]
struct Left {
    count: usize,
    /// Told when a tree watch stands on the path, so that they move over.
    moving: Arc<Notify>,
}

/// The tree watches on one path, and the one-shots that hang on them.
#[derive(Default)]
struct Tree {
    /// Requests under way for another one.
    adding: usize,
    /// Those that stand, oldest first. The first one feeds.
    standing: Vec<(u64, TreeSender)>,
    /// One that stands for one-shots only: whoever asked for it has withdrawn.
    kept: Option<(u64, oneshot::Sender<()>)>,
    fed: Vec<Fed>,
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

/// A one-shot watch that a tree watch feeds.
struct Fed {
    list: List,
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

impl Watches {
    // --- one-shots ----------------------------------------------------------------------------

    /// Counts a one-shot that is about to be left; `false` when the session carries no more.
    pub(super) fn reserve(&mut self, path: &ZkPath, list: List) -> bool {
        match self.once.entry((path.clone(), list)) {
            Entry::Occupied(mut left) => left.get_mut().count += 1,
            Entry::Vacant(_) if self.bytes + path.as_str().len() > MAX_BYTES => return false,
            Entry::Vacant(first) => {
                first.insert(Left { count: 1, ..Left::default() });
                self.bytes += path.as_str().len();
            }
        }
        true
    }

    /// A one-shot is over: it fired, it was withdrawn, or it was never left.
    pub(super) fn release(&mut self, path: &ZkPath, list: List) {
        self.uncount(path, list);
        self.settle(path);
    }

    fn uncount(&mut self, path: &ZkPath, list: List) {
        if let Entry::Occupied(mut left) = self.once.entry((path.clone(), list)) {
            left.get_mut().count -= 1;
            if left.get().count == 0 {
                left.remove();
                self.bytes -= path.as_str().len();
            }
        }
    }

    /// What tells the one-shots of `list` on `path` to move over.
    pub(super) fn moving(&self, path: &ZkPath, list: List) -> Arc<Notify> {
        self.once.get(&(path.clone(), list)).map_or_else(Arc::default, |left| left.moving.clone())
    }

    /// Keeps what the server holds for a one-shot that nobody waits for there any more; `rest`
    /// comes back when it can simply be dropped.
    pub(super) fn park(&mut self, path: &ZkPath, list: List, rest: Firing) -> Option<Firing> {
        match self.trees.get_mut(path) {
            None => Some(rest),
            Some(tree) => {
                tree.parked.push((list, rest));
                self.settle(path);
                None
            }
        }
    }

    // --- tree watches -------------------------------------------------------------------------

    /// Whether a tree watch stands on exactly `path`, or is about to.
    pub(super) fn has_tree(&self, path: &ZkPath) -> bool {
        self.trees.get(path).is_some_and(Tree::is_there)
    }

    /// Counts a tree watch that is about to be left; `false` when the session carries no more.
    pub(super) fn tree_asked(&mut self, path: &ZkPath) -> bool {
        if !self.has_tree(path) && self.bytes + path.as_str().len() > MAX_BYTES {
            return false;
        }
        self.tree(path).adding += 1;
        true
    }

    fn tree(&mut self, path: &ZkPath) -> &mut Tree {
        let bytes = &mut self.bytes;
        self.trees.entry(path.clone()).or_insert_with(|| {
            *bytes += path.as_str().len();
            Tree::default()
        })
    }

    /// A tree watch stands; returns its number.
    pub(super) fn tree_stands(&mut self, path: &ZkPath, sender: TreeSender) -> u64 {
        self.next_tree += 1;
        let id = self.next_tree;
        let tree = self.tree(path);
        tree.adding = tree.adding.saturating_sub(1);
        tree.standing.push((id, sender));
        for list in [List::Data, List::Children] {
            if let Some(left) = self.once.get(&(path.clone(), list)) {
                left.moving.notify_waiters();
            }
        }
        id
    }

    /// No tree watch came of it. Reads that counted on it must be made again, and one-shots that
    /// moved over have nothing to hang on: they fire, so that their owners look again.
    pub(super) fn tree_failed(&mut self, path: &ZkPath) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.adding = tree.adding.saturating_sub(1);
            if !tree.is_there() {
                tree.reading.values_mut().for_each(|(_, raced)| *raced = true);
                tree.fed.drain(..).for_each(|fed| fed.sender.fire(fed.list.any_change()));
            }
        }
        self.settle(path);
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
        self.settle(path);
        kept
    }

    /// The paths that have tree watches.
    pub(super) fn tree_paths(&self) -> Vec<ZkPath> {
        let there = self.trees.iter().filter(|(_, tree)| tree.is_there());
        there.map(|(path, _)| path.clone()).collect()
    }

    /// The tree watches on `path` stand again after a reconnect; what happened meanwhile is lost.
    pub(super) fn tree_restored(&self, path: &ZkPath) {
        if let Some(tree) = self.trees.get(path) {
            tree.standing.iter().for_each(|(_, sender)| sender.gap());
        }
    }

    /// Tree watch `id` of `path` told `kind` at `at`.
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
        for fed in std::mem::take(&mut tree.fed) {
            match tells(fed.list) {
                Some(kind) => fed.sender.fire(kind),
                None => tree.fed.push(fed),
            }
        }
        self.settle(path);
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
        tree.reading.remove(&read).is_none_or(|(_, raced)| raced)
    }

    /// From now on tree watch events fire `sender`.
    pub(super) fn feed(&mut self, path: &ZkPath, list: List, sender: WatchSender, seen: Seen) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.fed.retain(|fed| !fed.sender.is_withdrawn());
            tree.fed.push(Fed { list, sender, seen });
        }
    }

    /// What a read has found: fires those that missed a change.
    pub(super) fn feed_checked(&mut self, path: &ZkPath, now: Seen) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        for fed in std::mem::take(&mut tree.fed) {
            match missed(fed.list, fed.seen, now) {
                Some(kind) => fed.sender.fire(kind),
                None => tree.fed.push(fed),
            }
        }
        self.settle(path);
    }

    /// Whether one-shots hang on the tree watch of `path`.
    pub(super) fn feeds(&self, path: &ZkPath) -> bool {
        self.trees.get(path).is_some_and(|tree| !tree.fed.is_empty())
    }

    /// Lets go of what nobody needs on `path` any more.
    pub(super) fn settle(&mut self, path: &ZkPath) {
        let left = [List::Data, List::Children].map(|list| self.once.get(&(path.clone(), list)));
        let left: usize = left.iter().flatten().map(|left| left.count).sum();
        let Some(tree) = self.trees.get_mut(path) else { return };
        tree.fed.retain(|fed| !fed.sender.is_withdrawn());
        let needed = tree.adding > 0
            || !tree.standing.is_empty()
            || !tree.fed.is_empty()
            || !tree.reading.is_empty()
            || left > tree.parked.len();
        if !needed && let Some(tree) = self.trees.remove(path) {
            self.bytes -= path.as_str().len();
            // Dropping the one end of `kept` and the parked ones takes them from the server.
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
fn missed(list: List, before: Seen, now: Seen) -> Option<EventKind> {
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
mod tests {
    use super::*;
    use crate::watch::Watch;

    fn path(text: &str) -> ZkPath {
        ZkPath::new(text).unwrap()
    }

    #[test]
    fn paths_are_counted_once_for_each_list() {
        let mut watches = Watches::default();
        let long = path(&format!("/{}", "x".repeat(MAX_BYTES / 2)));
        assert!(watches.reserve(&long, List::Data));
        assert!(watches.reserve(&long, List::Data));
        assert!(!watches.reserve(&long, List::Children));
        watches.release(&long, List::Data);
        assert!(!watches.reserve(&long, List::Children));
        watches.release(&long, List::Data);
        assert!(watches.reserve(&long, List::Children));
    }

    #[tokio::test]
    async fn an_event_during_a_fed_read_asks_for_another_read() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        watches.tree_asked(&at);
        let (sender, _tree) = crate::watch::TreeWatch::channel(at.clone());
        let id = watches.tree_stands(&at, sender);
        watches.feed_asked(&at, List::Data, 1);
        watches.feed_asked(&at, List::Children, 2);
        watches.tree_told(&at, id, EventKind::Created, "/a/below");
        assert!(!watches.feed_answered(&at, 1));
        assert!(watches.feed_answered(&at, 2));
        watches.feed_asked(&at, List::Data, 3);
        watches.feed_asked(&at, List::Children, 4);
        watches.tree_told(&at, id, EventKind::DataChanged, "/a");
        assert!(watches.feed_answered(&at, 3));
        assert!(!watches.feed_answered(&at, 4));
    }

    #[tokio::test]
    async fn a_change_during_a_disconnect_fires_what_was_fed() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        let (sender, _tree) = crate::watch::TreeWatch::channel(at.clone());
        watches.tree_stands(&at, sender);
        let facts = |set, children| Some(Facts { created: 1, set, children });
        let (sender, unchanged) = Watch::channel(at.clone());
        watches.feed(&at, List::Data, sender, facts(5, 1));
        let (sender, changed) = Watch::channel(at.clone());
        watches.feed(&at, List::Data, sender, facts(4, 1));
        let (sender, more) = Watch::channel(at.clone());
        watches.feed(&at, List::Children, sender, facts(5, 0));
        watches.feed_checked(&at, facts(5, 1));
        assert_eq!(changed.await.kind, EventKind::DataChanged);
        assert_eq!(more.await.kind, EventKind::ChildrenChanged);
        assert!(futures::FutureExt::now_or_never(unchanged).is_none());
    }

    #[test]
    fn a_withdrawn_tree_watch_stays_while_a_one_shot_needs_it() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        assert!(watches.reserve(&at, List::Children));
        let (sender, _tree) = crate::watch::TreeWatch::channel(at.clone());
        let id = watches.tree_stands(&at, sender);
        let (sender, watch) = Watch::channel(at.clone());
        watches.feed(&at, List::Children, sender, None);
        assert!(watches.park(&at, List::Children, Box::pin(std::future::pending())).is_none());
        let mut stopped = watches.tree_withdrawn(&at, id).unwrap();
        assert!(stopped.try_recv().is_err_and(|err| err == oneshot::error::TryRecvError::Empty));
        watches.tree_told(&at, id, EventKind::Deleted, "/a/b");
        assert!(stopped.try_recv().is_err_and(|err| err == oneshot::error::TryRecvError::Closed));
        assert!(!watches.has_tree(&at));
        assert_eq!((watches.bytes, watches.once.len()), (0, 0));
        drop(watch);
    }

    #[tokio::test]
    async fn what_hung_on_a_tree_watch_that_was_refused_fires() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        assert!(watches.reserve(&at, List::Data));
        assert!(watches.tree_asked(&at));
        let (sender, watch) = Watch::channel(at.clone());
        watches.feed(&at, List::Data, sender, None);
        assert!(watches.park(&at, List::Data, Box::pin(std::future::pending())).is_none());
        watches.feed_asked(&at, List::Children, 1);
        watches.tree_failed(&at);
        assert!(!watches.has_tree(&at), "the next read leaves a watch of its own");
        assert_eq!(watch.await.kind, EventKind::DataChanged);
        assert!(watches.feed_answered(&at, 1), "only another read can tell");
        watches.settle(&at);
        assert!(watches.trees.is_empty());
        assert_eq!((watches.bytes, watches.once.len()), (0, 0));
    }

    #[test]
    fn only_direct_children_are_children() {
        let child = |of: &str, at| is_child(&path(of), at);
        assert!(child("/a", "/a/b") && child("/", "/a"));
        assert!(!child("/a", "/a/b/c") && !child("/a", "/ab") && !child("/", "/a/b"));
        assert!(!child("/", "/"));
    }
}
