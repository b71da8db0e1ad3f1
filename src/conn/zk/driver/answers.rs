//! What comes back from a server: answers and events.

use zookeeper_client as zk;

use super::{Driver, list_of};
use crate::conn::outcome;
use crate::conn::zk::exec::{Answer, Fault, Watcher};
use crate::conn::zk::queue::Job;
use crate::conn::zk::signal::{self, Signal};
use crate::conn::zk::translate::{self, Failure};
use crate::conn::zk::watches::{OnceId, Seen, missed, seen};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{Op, ReadReply, Reply};
use crate::watch::{Event, EventKind, TreeSender, TreeWatch, Watch};

/// How often a watch that is fed is read again before it is simply fired.
const REREADS: u32 = 3;

impl Driver {
    pub(super) fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Answered { seq, sent, answer } => self.answered(seq, sent, answer),
            Signal::Fired { id, event } => {
                self.watches.release(&id.path, id.list);
                if let Some(kind) = translate::event(&event) {
                    self.fire(&id, kind);
                }
            }
            Signal::Withdrawn { id, rest } => {
                self.watches.take(&id);
                // Taking it from the server would take a tree watch along.
                if let Some(rest) = self.watches.park(&id, rest) {
                    drop(rest);
                    self.watches.release(&id.path, id.list);
                }
            }
            Signal::Forgotten { id } => drop(self.watches.take(&id)),
            Signal::Left { id, answer } => self.left(id, answer),
            Signal::TreeTold { path, id, sender, watcher, events } => {
                self.tree_told(path, id, sender, watcher, &events);
            }
            Signal::TreeWithdrawn { path, id, watcher } => {
                if let Some(stopped) = self.watches.tree_withdrawn(&path, id) {
                    self.push(signal::kept_tree(path, id, watcher, stopped));
                }
            }
            Signal::KeptTold { path, id, watcher, stopped, events } => {
                for event in &events {
                    if let Some(kind) = translate::event(event) {
                        self.watches.tree_told(&path, id, kind, &event.path);
                    }
                }
                self.push(signal::kept_tree(path, id, watcher, stopped));
            }
            Signal::TreeLeft { path, id, sender, answer } => {
                match answer {
                    Ok(Answer { watcher: Some(Watcher::Tree(watcher)), .. }) => {
                        sender.gap();
                        self.push(signal::tree(path, id, sender, watcher));
                    }
                    // After another break it is left again.
                    Err(Fault { failure: Failure::Broken(_), .. }) => {}
                    // It tells its end, and what it fed must look for itself.
                    _ => self.watches.tree_lost(&path, id),
                }
            }
            Signal::FeedChecked { path, answer } => {
                if let Ok(Answer { reply, .. }) = answer {
                    self.watches.checked(&path, seen_in(&reply));
                }
            }
            Signal::Renewed { sent, paths, answer } => self.renewed(sent, paths, answer),
            Signal::Settled { seq, answer } => self.settled(seq, answer),
            Signal::Nothing => {}
        }
    }

    fn fire(&mut self, id: &OnceId, kind: EventKind) {
        if let Some(sender) = self.watches.take(id) {
            sender.fire(kind);
        }
    }

    fn answered(&mut self, seq: u64, sent: Deadline, answer: Result<Answer, Fault>) {
        let Some(mut job) = self.sent.remove(&seq) else { return };
        let path = job.request.path.clone();
        let fed = !job.watched && list_of(&job.request.op).is_some();
        let raced = fed && self.watches.feed_answered(&path, seq);
        if job.watched
            && !matches!(&answer, Ok(Answer { watcher: Some(_), .. }))
            && let Some(list) = list_of(&job.request.op)
        {
            self.watches.release(&path, list);
        }
        match answer {
            Ok(_) if raced && job.rereads < REREADS => {
                job.rereads += 1;
                self.requeue(seq, job);
            }
            Ok(answer) => {
                self.latest = self.latest.max(outcome::latest(&answer.reply));
                if is_committed(&job.request.op)
                    && let Some(alive) = &self.alive
                {
                    alive.sender.proved(sent);
                }
                // Nobody there to take it: then a watch in it is withdrawn as it is dropped.
                let mut reply = match job.request.op {
                    Op::Hold(_) => self.held(&path, sent),
                    _ => self.with_watch(&job, answer, fed, raced),
                };
                if let Reply::Many(found) = &mut reply {
                    self.explain_denials(found);
                }
                job.answer(Ok(reply));
            }
            Err(Fault { failure, index }) => {
                self.suspect |= matches!(failure, Failure::Broken(_));
                if matches!(job.request.op, Op::WatchTree) {
                    self.watches.tree_failed(&path);
                }
                self.failed(seq, job, failure, index);
            }
        }
    }

    /// Puts the watch into a reply that was read for one.
    fn with_watch(&mut self, job: &Job, answer: Answer, fed: bool, raced: bool) -> Reply {
        let Answer { reply, watcher } = answer;
        let path = job.request.path.clone();
        if let Some(Watcher::Tree(watcher)) = watcher {
            let (sender, tree) = TreeWatch::channel(path.clone());
            let id = self.watches.tree_stands(&path, sender.clone());
            self.push(signal::tree(path.clone(), id, sender, watcher));
            self.check_feed(path);
            return Reply::Tree(tree);
        }
        let Some(list) = list_of(&job.request.op) else { return reply };
        let (sender, watch) = Watch::channel(path.clone());
        let withdrawal = sender.withdrawal();
        let id = self.watches.wait(&path, list, sender, seen_in(&reply));
        match watcher {
            Some(Watcher::Once(watcher)) => {
                self.push(signal::once(id, withdrawal, watcher));
                // A tree watch came while it was read.
                if self.watches.has_tree(&path) {
                    self.check_feed(path);
                }
            }
            // It changes faster than it can be read: to say so once more is no lie.
            _ if fed && raced => self.fire(&id, list.any_change()),
            _ => self.push(signal::fed(id, withdrawal)),
        }
        attach(reply, watch)
    }

    /// One-shots on the path of a tree watch may be lost in the server by now. It feeds them from
    /// here on; what happened since each was left shows in another read.
    fn check_feed(&mut self, path: ZkPath) {
        if self.watches.is_awaited(&path)
            && let Some(client) = self.link.client().cloned()
        {
            self.push(signal::check_feed(&client, path));
        }
    }

    /// A one-shot was left again after a reconnect: tells what its owner missed.
    fn left(&mut self, id: OnceId, answer: Result<Answer, Fault>) {
        let now = match &answer {
            Ok(answer) => seen_in(&answer.reply),
            Err(Fault { failure: Failure::Refused(ErrorKind::NoNode, _), .. }) => None,
            // After a break it is left again.
            Err(Fault { failure: Failure::Broken(_), .. }) => return,
            Err(_) => {
                // It can no longer be read: that is a change, and all that there is to tell.
                self.watches.release(&id.path, id.list);
                return self.fire(&id, id.list.any_change());
            }
        };
        let missed = match self.watches.waiting(&id) {
            None => Some(None),
            Some((before, _)) => missed(id.list, before, now).map(Some),
        };
        match (missed, answer) {
            (None, Ok(Answer { watcher: Some(Watcher::Once(watcher)), .. })) => {
                if let Some((_, withdrawal)) = self.watches.waiting(&id) {
                    self.push(signal::once(id, withdrawal, watcher));
                }
            }
            (missed, answer) => {
                // Dropping the crate's watcher takes it from the server.
                drop(answer);
                self.watches.release(&id.path, id.list);
                match missed.flatten() {
                    Some(kind) => self.fire(&id, kind),
                    None => drop(self.watches.take(&id)),
                }
            }
        }
    }

    fn tree_told(
        &mut self,
        path: ZkPath,
        id: u64,
        sender: TreeSender,
        watcher: zk::PersistentWatcher,
        events: &[zk::WatchedEvent],
    ) {
        for event in events {
            if translate::is_end(event) {
                return;
            }
            let Some(kind) = translate::event(event) else { continue };
            // A path that our rule refuses was made by another client; it still changed the tree.
            match ZkPath::new(&event.path) {
                Ok(at) => sender.changed(Event::new(kind, at)),
                Err(_) => sender.gap(),
            }
            self.watches.tree_told(&path, id, kind, &event.path);
        }
        self.push(signal::tree(path, id, sender, watcher));
    }

    pub(super) fn failed(
        &mut self,
        seq: u64,
        mut job: Job,
        failure: Failure,
        index: Option<usize>,
    ) {
        let request = &job.request;
        let err = match failure {
            Failure::Broken(_) if !request.op.is_write() => return self.requeue(seq, job),
            Failure::Broken(_) => return self.doubt(seq, job),
            Failure::Refused(kind, detail) => {
                let mut err = Error::new(request.op.name(), blamed(&job, index), kind);
                if let Some(index) = index {
                    err = err.with_index(index);
                }
                match detail.or_else(|| self.explain(&job, index, kind)) {
                    Some(detail) => err.with_detail(detail),
                    None => err,
                }
            }
        };
        job.answer(Err(err));
    }

    /// What a person needs to know about a refusal that the server tells in one word.
    fn explain(&self, job: &Job, index: Option<usize>, kind: ErrorKind) -> Option<String> {
        match kind {
            ErrorKind::NoAuth => Some(self.explain_denial()),
            ErrorKind::BadVersion => crate::conn::zk::expected_version(&job.request.op, index)
                .map(|version| format!("expected version {version}")),
            _ => None,
        }
    }

    fn explain_denial(&self) -> String {
        let schemes: Vec<&str> =
            self.options.auth.iter().map(|auth| auth.scheme.as_str()).collect();
        if schemes.is_empty() {
            "this session has not authenticated; see \"auth\" of the cell".into()
        } else {
            format!("this session authenticated by {} only", schemes.join(", "))
        }
    }

    /// The same for the reads of a multi-read, which the server refuses one by one.
    fn explain_denials(&self, found: &mut [Result<ReadReply, Error>]) {
        for reply in found {
            if let Err(err) = reply
                && err.kind() == ErrorKind::NoAuth
            {
                *err = err.clone().with_detail(self.explain_denial());
            }
        }
    }
}

/// Whether an answer to `op` tells that the quorum has committed it. (Of a multi without steps the
/// crate tells so without asking anybody.)
fn is_committed(op: &Op) -> bool {
    match op {
        Op::Multi(ops) => !ops.is_empty(),
        op => op.is_write() || matches!(op, Op::Sync | Op::Hold(_)),
    }
}

/// The state of the node that a reply shows.
fn seen_in(reply: &Reply) -> Seen {
    match reply {
        Reply::Node(node, _) => seen(Some(&node.stat)),
        Reply::Children(children, _) => seen(Some(&children.stat)),
        Reply::Exists(stat, _) => seen(stat.as_ref()),
        _ => None,
    }
}

fn attach(reply: Reply, watch: Watch) -> Reply {
    match reply {
        Reply::Node(node, _) => Reply::Node(node, Some(watch)),
        Reply::Children(children, _) => Reply::Children(children, Some(watch)),
        Reply::Exists(stat, _) => Reply::Exists(stat, Some(watch)),
        other => other,
    }
}

/// The path to name in an error: in a multi, that of the step to blame.
fn blamed(job: &Job, index: Option<usize>) -> &ZkPath {
    match (&job.request.op, index) {
        (Op::Multi(ops), Some(index)) => ops.get(index).map_or(&job.request.path, |op| op.path()),
        _ => &job.request.path,
    }
}
