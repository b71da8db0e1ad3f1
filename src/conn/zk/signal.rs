//! What a driver waits for, besides calls: answers, and watches in all their states.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use zookeeper_client as zk;

use super::exec::{self, Answer, Fault};
use super::translate;
use super::watches::{List, Seen};
use crate::deadline::Deadline;
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Request};
use crate::watch::{TreeSender, WatchSender};

/// How often it is checked whether a tree watch that is kept for one-shots still has any: each may
/// be withdrawn without a word.
const KEPT_CHECK: Duration = Duration::from_secs(1);

pub(super) type Firing = BoxFuture<'static, zk::WatchedEvent>;

pub(super) enum Signal {
    /// A request came to its end.
    Answered { seq: u64, sent: Deadline, answer: Result<Answer, Fault> },
    /// A one-shot fired.
    Fired { path: ZkPath, list: List, sender: WatchSender, event: zk::WatchedEvent },
    /// The owner of a one-shot withdrew it; dropping `rest` takes it from the server.
    Withdrawn { path: ZkPath, list: List, rest: Firing },
    /// A tree watch stands on the path of a one-shot, which it will feed from now on.
    Moved { path: ZkPath, list: List, sender: WatchSender, seen: Seen, rest: Firing },
    /// A tree watch told something.
    TreeTold {
        path: ZkPath,
        id: u64,
        sender: TreeSender,
        watcher: zk::PersistentWatcher,
        events: Vec<zk::WatchedEvent>,
    },
    /// The owner of a tree watch withdrew it; dropping `watcher` takes it from the server.
    TreeWithdrawn { path: ZkPath, id: u64, watcher: zk::PersistentWatcher },
    /// A tree watch that is kept for one-shots told something, or nothing for a while.
    KeptTold {
        path: ZkPath,
        id: u64,
        watcher: zk::PersistentWatcher,
        stopped: oneshot::Receiver<()>,
        events: Vec<zk::WatchedEvent>,
    },
    /// A tree watch was put back after a reconnect, or not.
    TreeRestored { path: ZkPath, answer: Result<zk::PersistentWatcher, Fault> },
    /// What one-shots that are fed may have missed during a disconnect.
    FeedChecked { path: ZkPath, answer: Result<Answer, Fault> },
    /// Something came to its end that nobody waits for.
    Nothing,
}

/// Waits for a one-shot to fire, to be withdrawn, or to move over to a tree watch.
pub(super) fn once(
    path: ZkPath,
    list: List,
    mut sender: WatchSender,
    seen: Seen,
    watcher: zk::OneshotWatcher,
    moving: Arc<Notify>,
) -> BoxFuture<'static, Signal> {
    async move {
        let mut firing: Firing = watcher.changed().boxed();
        tokio::select! {
            biased;
            event = &mut firing => Signal::Fired { path, list, sender, event },
            () = moving.notified() => Signal::Moved { path, list, sender, seen, rest: firing },
            () = sender.withdrawn() => Signal::Withdrawn { path, list, rest: firing },
        }
    }
    .boxed()
}

/// Waits for a tree watch to tell something or to be withdrawn.
pub(super) fn tree(
    path: ZkPath,
    id: u64,
    sender: TreeSender,
    mut watcher: zk::PersistentWatcher,
) -> BoxFuture<'static, Signal> {
    async move {
        let events = tokio::select! {
            biased;
            events = told(&mut watcher) => events,
            () = sender.withdrawn() => return Signal::TreeWithdrawn { path, id, watcher },
        };
        Signal::TreeTold { path, id, sender, watcher, events }
    }
    .boxed()
}

/// Waits for a tree watch that is kept for one-shots.
pub(super) fn kept_tree(
    path: ZkPath,
    id: u64,
    mut watcher: zk::PersistentWatcher,
    mut stopped: oneshot::Receiver<()>,
) -> BoxFuture<'static, Signal> {
    async move {
        let events = tokio::select! {
            biased;
            events = told(&mut watcher) => events,
            _ = &mut stopped => return Signal::Nothing,
            () = tokio::time::sleep(KEPT_CHECK) => Vec::new(),
        };
        if events.iter().any(translate::is_end) {
            return Signal::Nothing;
        }
        Signal::KeptTold { path, id, watcher, stopped, events }
    }
    .boxed()
}

/// All that a tree watch has to tell by now, at least one event. Behind the session's end nothing
/// may be asked: the crate panics.
async fn told(watcher: &mut zk::PersistentWatcher) -> Vec<zk::WatchedEvent> {
    let mut events = vec![watcher.changed().await];
    while !events.last().is_some_and(translate::is_end) {
        match watcher.changed().now_or_never() {
            Some(event) => events.push(event),
            None => break,
        }
    }
    events
}

/// Asks for the tree watch on `path` again.
pub(super) fn restore(client: zk::Client, path: ZkPath) -> BoxFuture<'static, Signal> {
    async move {
        let mode = zk::AddWatchMode::PersistentRecursive;
        let answer = client.watch(path.as_str(), mode).await.map_err(Fault::from);
        Signal::TreeRestored { path, answer }
    }
    .boxed()
}

/// Asks what has become of `path`.
pub(super) fn check_feed(client: zk::Client, path: ZkPath) -> BoxFuture<'static, Signal> {
    async move {
        let request = Request::new(Op::Exists(LeaveWatch::No), path.clone());
        let answer = exec::run(client, request.into(), false).await;
        Signal::FeedChecked { path, answer }
    }
    .boxed()
}
