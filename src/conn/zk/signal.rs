//! What a driver waits for, besides calls: answers, and watches in all their states.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use zookeeper_client as zk;

use super::exec::{self, Answer, Fault};
use super::outcome;
use super::translate;
use super::watches::{Firing, List, OnceId};
use crate::conn::outcome::Verdict;
use crate::deadline::Deadline;
use crate::node::Version;
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MultiOp, Op, Request};
use crate::watch::TreeSender;

pub(super) enum Signal {
    /// A request came to its end.
    Answered { seq: u64, sent: Deadline, answer: Result<Answer, Fault> },
    /// The server fired a one-shot.
    Fired { id: OnceId, event: zk::WatchedEvent },
    /// The owner of a one-shot is gone; dropping `rest` takes it from the server.
    Withdrawn { id: OnceId, rest: Firing },
    /// The owner of a one-shot that is fed is gone.
    Forgotten { id: OnceId },
    /// A one-shot was left again after a reconnect, or not.
    Left { id: OnceId, answer: Result<Answer, Fault> },
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
    /// A tree watch that is kept for one-shots told something.
    KeptTold {
        path: ZkPath,
        id: u64,
        watcher: zk::PersistentWatcher,
        stopped: oneshot::Receiver<()>,
        events: Vec<zk::WatchedEvent>,
    },
    /// A tree watch was left again after a reconnect, or not.
    TreeLeft { path: ZkPath, id: u64, sender: TreeSender, answer: Result<Answer, Fault> },
    /// What one-shots that are fed may have missed.
    FeedChecked { path: ZkPath, answer: Result<Answer, Fault> },
    /// The held nodes were checked, or not.
    Renewed { sent: Deadline, paths: Vec<ZkPath>, answer: Result<Answer, Fault> },
    /// What became of a write whose reply was lost.
    Settled { seq: u64, answer: Result<Verdict, Fault> },
    /// Something came to its end that nobody waits for.
    Nothing,
}

/// Waits for a one-shot to fire, or for its owner to go.
pub(super) fn once(
    id: OnceId,
    withdrawal: impl Future<Output = ()> + Send + 'static,
    watcher: zk::OneshotWatcher,
) -> BoxFuture<'static, Signal> {
    async move {
        let mut firing: Firing = watcher.changed().boxed();
        tokio::select! {
            biased;
            event = &mut firing => Signal::Fired { id, event },
            () = withdrawal => Signal::Withdrawn { id, rest: firing },
        }
    }
    .boxed()
}

/// Waits for the owner of a one-shot that is fed to go.
pub(super) fn fed(
    id: OnceId,
    withdrawal: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Signal> {
    async move {
        withdrawal.await;
        Signal::Forgotten { id }
    }
    .boxed()
}

/// Leaves a one-shot again, by another read.
pub(super) fn leave(client: &Arc<zk::Client>, id: OnceId) -> BoxFuture<'static, Signal> {
    let op = match id.list {
        // A look also tells of what is not there, and needs no right.
        List::Data => Op::Exists(LeaveWatch::Yes),
        List::Children => Op::Children(LeaveWatch::Yes),
    };
    let request = Arc::new(Request::new(op, id.path.clone()));
    exec::run(client, request, true, |answer| Signal::Left { id, answer })
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

/// Leaves the tree watch `id` on `path` again.
pub(super) fn leave_tree(
    client: &Arc<zk::Client>,
    path: ZkPath,
    id: u64,
    sender: TreeSender,
) -> BoxFuture<'static, Signal> {
    let request = Arc::new(Request::new(Op::WatchTree, path.clone()));
    exec::run(client, request, true, move |answer| Signal::TreeLeft { path, id, sender, answer })
}

/// Checks the held nodes by a write that the quorum must agree to.
pub(super) fn renew(client: &Arc<zk::Client>, paths: Vec<ZkPath>) -> BoxFuture<'static, Signal> {
    let check = |path: &ZkPath| MultiOp::Check { path: path.clone(), version: Version::Any };
    let op = Op::Multi(paths.iter().map(check).collect());
    let request = Arc::new(Request::new(op, ZkPath::root()));
    let sent = Deadline::now();
    exec::run(client, request, false, move |answer| Signal::Renewed { sent, paths, answer })
}

/// Asks what became of a write.
pub(super) fn settle(
    client: &Arc<zk::Client>,
    seq: u64,
    request: Arc<Request>,
    before: i64,
) -> BoxFuture<'static, Signal> {
    let client = client.clone();
    async move {
        let answer = outcome::look_up(&client, &request, before).await;
        Signal::Settled { seq, answer }
    }
    .boxed()
}

/// Asks what has become of `path`.
pub(super) fn check_feed(client: &Arc<zk::Client>, path: ZkPath) -> BoxFuture<'static, Signal> {
    let request = Arc::new(Request::new(Op::Exists(LeaveWatch::No), path.clone()));
    exec::run(client, request, false, |answer| Signal::FeedChecked { path, answer })
}
