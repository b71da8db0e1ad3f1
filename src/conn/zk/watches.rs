//! Which watches this session has left with the server, and what the server does not get right.
//!
//! - ZooKeeper drops a tree watch when the same session then leaves a data watch on the same path
//!   ([ZOOKEEPER-4466](https://issues.apache.org/jira/browse/ZOOKEEPER-4466)). So where a tree
//!   watch stands, a get or exists leaves no watch with the server; it is *fed* from the tree
//!   watch's events on that path.
//! - Withdrawing a data watch removes a tree watch of the same path too. So where both stand, the
//!   one that is withdrawn stays with the server until the other has gone as well.
//! - The client crate sends all watched paths again at a reconnect, and past 128 KiB of them in a
//!   way after which it can never reconnect. So they are counted, and refused past a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::oneshot;

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

#[derive(Default)]
pub(super) struct Watches {
    once: HashMap<(ZkPath, List), usize>,
    bytes: usize,
    trees: HashMap<ZkPath, Tree>,
    next_tree: u64,
}

/// The tree watches on one path.
#[derive(Default)]
struct Tree {
    /// Requests under way for another one.
    adding: usize,
    /// Those that stand, oldest first. The first one feeds.
    standing: Vec<(u64, TreeSender)>,
    /// One that stands for others only: whoever asked for it has withdrawn.
    kept: Option<(u64, oneshot::Sender<()>)>,
    fed: Vec<Fed>,
    /// Reads under way that will be fed, and whether an event has come since each was sent.
    reading: HashMap<u64, bool>,
}

/// A one-shot watch that the server does not know of.
struct Fed {
    sender: WatchSender,
    seen: Seen,
}

/// The state of a node at the moment of a read: its creation and its last change, if it was there.
pub(super) type Seen = Option<(i64, i64)>;

pub(super) fn seen(stat: Option<&Stat>) -> Seen {
    stat.map(|stat| (stat.czxid, stat.mzxid))
}

impl Watches {
    /// Counts a one-shot that is about to be left; `false` when the session carries no more.
    pub(super) fn reserve(&mut self, path: &ZkPath, list: List) -> bool {
        match self.once.entry((path.clone(), list)) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(_) if self.bytes + path.as_str().len() > MAX_BYTES => return false,
            Entry::Vacant(first) => {
                first.insert(1);
                self.bytes += path.as_str().len();
            }
        }
        true
    }

    /// A one-shot is over: it fired, it was withdrawn, or it was never left.
    pub(super) fn release(&mut self, path: &ZkPath, list: List) {
        if let Entry::Occupied(mut count) = self.once.entry((path.clone(), list)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                self.bytes -= path.as_str().len();
            }
        }
        self.tidy(path);
    }

    /// Whether a tree watch stands on exactly `path`, or is about to.
    pub(super) fn has_tree(&self, path: &ZkPath) -> bool {
        self.trees.contains_key(path)
    }

    pub(super) fn tree_asked(&mut self, path: &ZkPath) {
        self.trees.entry(path.clone()).or_default().adding += 1;
    }

    /// A tree watch stands; returns its number.
    pub(super) fn tree_stands(&mut self, path: &ZkPath, sender: TreeSender) -> u64 {
        self.next_tree += 1;
        let tree = self.trees.entry(path.clone()).or_default();
        tree.adding = tree.adding.saturating_sub(1);
        tree.standing.push((self.next_tree, sender));
        self.next_tree
    }

    /// No tree watch came of it. Reads that counted on it must be made again.
    pub(super) fn tree_failed(&mut self, path: &ZkPath) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.adding = tree.adding.saturating_sub(1);
            if tree.standing.is_empty() && tree.kept.is_none() && tree.adding == 0 {
                tree.reading.values_mut().for_each(|raced| *raced = true);
            }
        }
        self.tidy(path);
    }

    /// The owner of tree watch `id` has withdrawn it. `Some`: it must stay with the server, for
    /// others, until the receiver resolves.
    pub(super) fn tree_withdrawn(
        &mut self,
        path: &ZkPath,
        id: u64,
    ) -> Option<oneshot::Receiver<()>> {
        let shared = self.once.contains_key(&(path.clone(), List::Data))
            || self.once.contains_key(&(path.clone(), List::Children));
        let tree = self.trees.get_mut(path)?;
        tree.standing.retain(|(standing, _)| *standing != id);
        let needed = shared || !tree.fed.is_empty() || !tree.reading.is_empty();
        let last = tree.standing.is_empty() && tree.kept.is_none();
        let kept = (last && needed).then(|| {
            let (stop, stopped) = oneshot::channel();
            tree.kept = Some((id, stop));
            stopped
        });
        self.tidy(path);
        kept
    }

    /// The paths that have tree watches.
    pub(super) fn tree_paths(&self) -> Vec<ZkPath> {
        self.trees.keys().cloned().collect()
    }

    /// The tree watches on `path` stand again after a reconnect; what happened meanwhile is lost.
    pub(super) fn tree_restored(&self, path: &ZkPath) {
        if let Some(tree) = self.trees.get(path) {
            tree.standing.iter().for_each(|(_, sender)| sender.gap());
        }
    }

    /// A read is under way whose watch will be fed.
    pub(super) fn feed_asked(&mut self, path: &ZkPath, read: u64) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.reading.insert(read, false);
        }
    }

    /// The read has come to an end. `true`: an event came meanwhile, so the answer may be older or
    /// younger than it, and only another read can tell.
    pub(super) fn feed_answered(&mut self, path: &ZkPath, read: u64) -> bool {
        let Some(tree) = self.trees.get_mut(path) else { return true };
        tree.reading.remove(&read).unwrap_or(true)
    }

    /// From now on tree watch events on `path` fire `sender`.
    pub(super) fn feed(&mut self, path: &ZkPath, sender: WatchSender, seen: Seen) {
        if let Some(tree) = self.trees.get_mut(path) {
            tree.fed.retain(|fed| !fed.sender.is_withdrawn());
            tree.fed.push(Fed { sender, seen });
        }
    }

    /// What a read after a reconnect found: fires those that missed a change.
    pub(super) fn feed_checked(&mut self, path: &ZkPath, now: Seen) {
        let Some(tree) = self.trees.get_mut(path) else { return };
        for fed in std::mem::take(&mut tree.fed) {
            match change(fed.seen, now) {
                Some(kind) => fed.sender.fire(kind),
                None => tree.fed.push(fed),
            }
        }
        self.tidy(path);
    }

    /// Whether one-shots hang on the tree watch of `path`.
    pub(super) fn feeds(&self, path: &ZkPath) -> bool {
        self.trees.get(path).is_some_and(|tree| !tree.fed.is_empty())
    }

    /// Tree watch `id` of `tree` told `kind` at `at`.
    pub(super) fn tree_told(&mut self, tree_path: &ZkPath, id: u64, kind: EventKind, at: &str) {
        let Some(tree) = self.trees.get_mut(tree_path) else { return };
        let feeder = tree.standing.first().map(|(id, _)| *id);
        let feeder = feeder.or(tree.kept.as_ref().map(|(id, _)| *id));
        if at != tree_path.as_str() || feeder != Some(id) {
            return;
        }
        tree.reading.values_mut().for_each(|raced| *raced = true);
        std::mem::take(&mut tree.fed).into_iter().for_each(|fed| fed.sender.fire(kind));
        self.tidy(tree_path);
    }

    /// Lets go of a tree watch that is kept for nobody.
    fn tidy(&mut self, path: &ZkPath) {
        let shared = self.once.contains_key(&(path.clone(), List::Data))
            || self.once.contains_key(&(path.clone(), List::Children));
        let Some(tree) = self.trees.get_mut(path) else { return };
        tree.fed.retain(|fed| !fed.sender.is_withdrawn());
        if !shared && tree.fed.is_empty() && tree.reading.is_empty() {
            // Dropping the other end stops it.
            tree.kept = None;
        }
        let gone = tree.adding == 0
            && tree.standing.is_empty()
            && tree.kept.is_none()
            && tree.fed.is_empty()
            && tree.reading.is_empty();
        if gone {
            self.trees.remove(path);
        }
    }
}

/// What a one-shot that saw `before` has to tell of `now`, by the rule of ZooKeeper's SetWatches.
fn change(before: Seen, now: Seen) -> Option<EventKind> {
    match (before, now) {
        (None, Some(_)) => Some(EventKind::Created),
        (Some(_), None) => Some(EventKind::Deleted),
        (Some(before), Some(now)) if before != now => Some(EventKind::DataChanged),
        _ => None,
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
        watches.feed_asked(&at, 1);
        watches.tree_told(&at, id, EventKind::DataChanged, "/a/below");
        assert!(!watches.feed_answered(&at, 1));
        watches.feed_asked(&at, 2);
        watches.tree_told(&at, id, EventKind::DataChanged, "/a");
        assert!(watches.feed_answered(&at, 2));
    }

    #[tokio::test]
    async fn a_change_during_a_disconnect_fires_what_was_fed() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        let (sender, _tree) = crate::watch::TreeWatch::channel(at.clone());
        watches.tree_stands(&at, sender);
        let (sender, unchanged) = Watch::channel(at.clone());
        watches.feed(&at, sender, Some((1, 5)));
        let (sender, changed) = Watch::channel(at.clone());
        watches.feed(&at, sender, Some((1, 4)));
        watches.feed_checked(&at, Some((1, 5)));
        assert_eq!(changed.await.kind, EventKind::DataChanged);
        assert!(futures::FutureExt::now_or_never(unchanged).is_none());
    }

    #[test]
    fn a_withdrawn_tree_watch_stays_while_a_one_shot_needs_it() {
        let (mut watches, at) = (Watches::default(), path("/a"));
        assert!(watches.reserve(&at, List::Data));
        let (sender, _tree) = crate::watch::TreeWatch::channel(at.clone());
        let id = watches.tree_stands(&at, sender);
        let mut stopped = watches.tree_withdrawn(&at, id).unwrap();
        assert!(watches.has_tree(&at));
        watches.release(&at, List::Data);
        assert!(stopped.try_recv().is_err_and(|err| err == oneshot::error::TryRecvError::Closed));
        assert!(!watches.has_tree(&at));
    }
}
