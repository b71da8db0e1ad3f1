//! The task that serves one connection: it dials, sends in call order within a window, keeps the
//! deadlines, and hands answers and events back in the order in which they came.
//!
//! Everything that the client crate tells (answers, watch events) is polled in one set, which
//! yields in the order of the wake-ups; that is the order of the wire, so an event is told before
//! any answer that shows its change.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::task::noop_waker_ref;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use zookeeper_client as zk;

use super::dial::{DialError, dial};
use super::exec::{self, Answer, Fault, Watcher};
use super::link::{Link, LinkEvent, Up};
use super::queue::{Command, Job, Waiting};
use super::signal::{self, Firing, Signal};
use super::translate::{self, Failure};
use super::watches::{List, MAX_BYTES, Seen, Watches, seen};
use crate::conn::Responder;
use crate::conn::options::SessionOptions;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hosts::Hosts;
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::session::SessionState;
use crate::watch::{EventKind, TreeSender, TreeWatch, Watch, WatchSender};

/// How many requests may be with a server at once.
const WINDOW: usize = 256;
/// A caller may wait for ever, but no timer reaches that far.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// How often a watch that is fed is read again before it is simply fired.
const REREADS: u32 = 3;

pub(super) struct Driver {
    hosts: Arc<Hosts>,
    options: Arc<SessionOptions>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Calls that are not with a server, in call order.
    queue: Waiting,
    /// Calls that are with a server and have not been answered.
    sent: HashMap<u64, Job>,
    next_seq: u64,
    /// Requests that are with a server, also those that nobody waits for any more.
    in_flight: usize,
    running: FuturesUnordered<BoxFuture<'static, Signal>>,
    link: Link,
    watches: Watches,
    generation: u64,
    failed_dials: u32,
    last_failure: Option<DialError>,
    /// When the earliest deadline of what is with a server, or of the end, may be past.
    check: Option<Deadline>,
    closing: Option<Closing>,
}

struct Closing {
    by: Deadline,
    waiting: Vec<Responder<()>>,
}

impl Driver {
    pub(super) fn new(
        hosts: Arc<Hosts>,
        options: Arc<SessionOptions>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Driver {
            hosts,
            options,
            commands,
            queue: Waiting::default(),
            sent: HashMap::new(),
            next_seq: 0,
            in_flight: 0,
            running: FuturesUnordered::new(),
            link: Link::Idle,
            watches: Watches::default(),
            generation: 0,
            failed_dials: 0,
            last_failure: None,
            check: None,
            closing: None,
        }
    }

    /// Serves until the connection is closed, or its last owner has gone.
    pub(super) async fn run(mut self) {
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.command(command);
            }
            self.send();
            if let Some(closing) = &self.closing
                && (self.in_flight == 0 || closing.by.is_past() || self.link.connected().is_none())
            {
                return self.shut_down().await;
            }
            let check = self.check.into_iter().chain(self.queue.deadline()).min();
            let check = check.map(|check| Instant::now() + check.remaining().min(LONGEST_SLEEP));
            tokio::select! {
                biased;
                Some(signal) = self.running.next(), if !self.running.is_empty() => {
                    self.signal(signal);
                    self.drain();
                }
                command = self.commands.recv(), if self.closing.is_none() => match command {
                    Some(command) => self.command(command),
                    None => self.start_closing(),
                },
                event = self.link.next() => self.link_event(event),
                () = sleep_until(check.unwrap_or_else(Instant::now)), if check.is_some() => {
                    self.expire();
                }
            }
        }
    }

    /// Handles all that has been told already.
    fn drain(&mut self) {
        while let Some(Some(signal)) = self.running.next().now_or_never() {
            self.signal(signal);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call(mut job) if self.closing.is_some() => {
                let err = job.request.error(ErrorKind::Closed);
                job.answer(Err(err));
            }
            Command::Call(job) => {
                self.next_seq += 1;
                self.queue.insert(self.next_seq, job);
            }
            Command::Close(responder) => {
                self.start_closing();
                if let Some(closing) = &mut self.closing {
                    closing.waiting.push(responder);
                }
            }
        }
    }

    fn check_by(&mut self, deadline: Deadline) {
        self.check = Some(self.check.map_or(deadline, |check| check.min(deadline)));
    }

    // --- sending ------------------------------------------------------------------------------

    /// Sends what may be sent; without a session, starts a dial for it.
    fn send(&mut self) {
        while self.in_flight < WINDOW && !self.queue.is_empty() {
            let Some(up) = self.link.connected() else {
                if matches!(self.link, Link::Idle) {
                    self.dial();
                }
                return;
            };
            let client = up.client.clone();
            if let Some((seq, job)) = self.queue.pop() {
                self.start(client, seq, job);
            }
        }
    }

    fn start(&mut self, client: zk::Client, seq: u64, mut job: Job) {
        job.place = None;
        if job.is_withdrawn() {
            return;
        }
        if job.request.deadline.is_past() {
            return self.not_sent(job);
        }
        let request = job.request.clone();
        if matches!(request.op, Op::Session) {
            if let Link::Up(up) = &self.link {
                job.answer(Ok(Reply::Session(up.session.clone())));
            }
            return;
        }
        job.watched = match self.arm(seq, &request) {
            Ok(watched) => watched,
            Err(err) => return job.answer(Err(err)),
        };
        let sent = Deadline::now();
        let answer = exec::run(client, request, job.watched);
        self.in_flight += 1;
        self.check_by(job.request.deadline);
        self.sent.insert(seq, job);
        self.push(answer.map(move |answer| Signal::Answered { seq, sent, answer }).boxed());
    }

    /// Makes room for the watch that `request` leaves; tells whether it is left with the server.
    fn arm(&mut self, seq: u64, request: &Request) -> Result<bool, Error> {
        let path = &request.path;
        if matches!(request.op, Op::WatchTree) && !self.watches.tree_asked(path) {
            return Err(too_many(request, "use one tree watch above them"));
        }
        let Some(list) = list_of(&request.op) else { return Ok(false) };
        if self.watches.has_tree(path) {
            self.watches.feed_asked(path, list, seq);
            return Ok(false);
        }
        if self.watches.reserve(path, list) {
            return Ok(true);
        }
        Err(too_many(request, "use a tree watch"))
    }

    /// Starts `task` now: the crate sends a request at the first poll, so the order of the calls
    /// is the order of these polls. What is told already is handled at once.
    fn push(&mut self, mut task: BoxFuture<'static, Signal>) {
        match task.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(signal) => self.signal(signal),
            Poll::Pending => self.running.push(task),
        }
    }

    // --- what comes back ----------------------------------------------------------------------

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Answered { seq, sent, answer } => self.answered(seq, sent, answer),
            Signal::Fired { path, list, sender, event } => {
                self.watches.release(&path, list);
                // Events of a one-shot are about its path or its session; others do not exist.
                sender.fire(translate::event(&event).unwrap_or(EventKind::SessionEnded));
            }
            Signal::Withdrawn { path, list, rest } => {
                // Taking it from the server would take a tree watch along.
                if let Some(rest) = self.watches.park(&path, list, rest) {
                    drop(rest);
                    self.watches.release(&path, list);
                }
            }
            Signal::Moved { path, list, sender, seen, rest } => {
                self.move_over(path, list, sender, seen, rest);
            }
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
                self.watches.settle(&path);
                self.push(signal::kept_tree(path, id, watcher, stopped));
            }
            Signal::Nothing => {}
            Signal::TreeRestored { path, answer } => self.tree_restored(path, answer),
            Signal::FeedChecked { path, answer } => {
                if let Ok(Answer { reply: Reply::Exists(stat, _), .. }) = answer {
                    self.watches.feed_checked(&path, seen(stat.as_ref()));
                }
            }
        }
    }

    fn answered(&mut self, seq: u64, sent: Deadline, answer: Result<Answer, Fault>) {
        self.in_flight -= 1;
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
                if is_committed(&job.request.op)
                    && let Link::Up(up) = &self.link
                {
                    up.sender.proved(sent);
                }
                // Nobody there to take it: then a watch in it is withdrawn as it is dropped.
                let reply = self.with_watch(&job, answer, fed, raced);
                job.answer(Ok(reply));
            }
            Err(Fault { failure, index }) => {
                if matches!(job.request.op, Op::WatchTree) {
                    self.watches.tree_failed(&path);
                }
                self.failed(seq, job, failure, index);
            }
        }
        if fed {
            self.watches.settle(&path);
        }
    }

    /// Puts the watch into a reply that was read for one.
    fn with_watch(&mut self, job: &Job, answer: Answer, fed: bool, raced: bool) -> Reply {
        let Answer { reply, watcher } = answer;
        let path = job.request.path.clone();
        match watcher {
            Some(Watcher::Tree(watcher)) => {
                let (sender, tree) = TreeWatch::channel(path.clone());
                let id = self.watches.tree_stands(&path, sender.clone());
                self.push(signal::tree(path, id, sender, watcher));
                Reply::Tree(tree)
            }
            Some(Watcher::Once(watcher)) => {
                let (sender, watch) = Watch::channel(path.clone());
                let now = seen_in(&reply);
                if let Some(list) = list_of(&job.request.op) {
                    if self.watches.has_tree(&path) {
                        self.move_over(path, list, sender, now, watcher.changed().boxed());
                    } else {
                        let moving = self.watches.moving(&path, list);
                        self.push(signal::once(path, list, sender, now, watcher, moving));
                    }
                }
                attach(reply, watch)
            }
            None if fed => {
                let (sender, watch) = Watch::channel(path.clone());
                if let Some(list) = list_of(&job.request.op) {
                    if raced {
                        // It changes faster than it can be read: to say so once more is no lie.
                        sender.fire(list.any_change());
                    } else {
                        self.watches.feed(&path, list, sender, seen_in(&reply));
                    }
                }
                attach(reply, watch)
            }
            None => reply,
        }
    }

    /// Lets the tree watch on `path` feed a one-shot that was left with the server, where it may be
    /// lost by now. What happened since it was left shows in another read.
    fn move_over(
        &mut self,
        path: ZkPath,
        list: List,
        sender: WatchSender,
        seen: Seen,
        rest: Firing,
    ) {
        self.watches.feed(&path, list, sender, seen);
        if let Some(rest) = self.watches.park(&path, list, rest) {
            // The tree watch has gone meanwhile, and the one-shot with it.
            drop(rest);
            self.watches.release(&path, list);
        }
        self.check_feed(path);
    }

    fn check_feed(&mut self, path: ZkPath) {
        if self.watches.feeds(&path)
            && let Some(up) = self.link.connected()
        {
            let client = up.client.clone();
            self.push(signal::check_feed(client, path));
        }
    }

    fn failed(&mut self, seq: u64, mut job: Job, failure: Failure, index: Option<usize>) {
        let request = &job.request;
        let err = match failure {
            Failure::Broken(_) if !request.op.is_write() => return self.requeue(seq, job),
            Failure::Broken(why) => request.error(ErrorKind::OutcomeUnknown).with_detail(why),
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
            ErrorKind::NoAuth => {
                let schemes: Vec<&str> =
                    self.options.auth.iter().map(|auth| auth.scheme.as_str()).collect();
                Some(if schemes.is_empty() {
                    "this session has not authenticated; see \"auth\" of the cell".into()
                } else {
                    format!("this session authenticated by {} only", schemes.join(", "))
                })
            }
            ErrorKind::BadVersion => super::expected_version(&job.request.op, index)
                .map(|version| format!("expected version {version}")),
            _ => None,
        }
    }

    /// Puts a call back where its order says.
    fn requeue(&mut self, seq: u64, mut job: Job) {
        if job.is_withdrawn() {
            return;
        }
        if self.closing.is_some() {
            let err = job.request.error(ErrorKind::Closed);
            return job.answer(Err(err));
        }
        self.queue.insert(seq, job);
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
            let Some(kind) = translate::event(event) else { continue };
            if translate::is_end(event) {
                return;
            }
            // A path that our rule refuses was made by another client; it still changed the tree.
            match ZkPath::new(&event.path) {
                Ok(at) => sender.changed(crate::watch::Event::new(kind, at)),
                Err(_) => sender.gap(),
            }
            self.watches.tree_told(&path, id, kind, &event.path);
        }
        self.push(signal::tree(path, id, sender, watcher));
    }

    // --- the session --------------------------------------------------------------------------

    fn dial(&mut self) {
        let (hosts, options) = (self.hosts.clone(), self.options.clone());
        // The first session of a connection has nothing behind which it could fall back.
        let again = self.generation > 0;
        self.link = Link::dial(async move { dial(hosts.hosts(), &options, again).await });
    }

    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::PauseOver => self.link = Link::Idle,
            LinkEvent::Dialled(Ok(dialled)) => {
                self.generation += 1;
                self.failed_dials = 0;
                self.last_failure = None;
                self.link = Link::Up(Up::new(dialled, self.generation));
            }
            LinkEvent::Dialled(Err(err)) => self.dial_failed(err),
            LinkEvent::State(state) => self.state(state),
        }
    }

    /// A cell that never answered fails its callers at once when nobody listens there; one that has
    /// answered before is waited for until their deadlines.
    fn dial_failed(&mut self, err: DialError) {
        self.failed_dials += 1;
        self.link = Link::pause(self.failed_dials);
        let give_up = err.kind == ErrorKind::AuthFailed || (err.is_final && self.generation == 0);
        self.last_failure = Some(err);
        if give_up {
            while let Some((_, job)) = self.queue.pop() {
                self.not_sent(job);
            }
        }
    }

    fn state(&mut self, state: zk::SessionState) {
        let Link::Up(up) = &mut self.link else { return };
        match state {
            zk::SessionState::Disconnected => {
                up.connected = false;
                up.sender.set(SessionState::Disconnected);
            }
            zk::SessionState::SyncConnected => {
                up.connected = true;
                up.sender.set(SessionState::Connected);
                let client = up.client.clone();
                self.restore_trees(&client);
            }
            state if state.is_terminated() => self.session_over(),
            _ => up.connected = false,
        }
    }

    /// The crate does not put tree watches back after a reconnect; the requests for it leave before
    /// any call that waited.
    fn restore_trees(&mut self, client: &zk::Client) {
        for path in self.watches.tree_paths() {
            self.push(signal::restore(client.clone(), path));
        }
    }

    fn tree_restored(&mut self, path: ZkPath, answer: Result<zk::PersistentWatcher, Fault>) {
        // Only a broken connection fails this, and then the next one restores it.
        if answer.is_err() {
            return;
        }
        self.watches.tree_restored(&path);
        self.check_feed(path);
    }

    /// The session has ended: what was with a server is answered as broken, watches tell the end.
    fn session_over(&mut self) {
        self.drain();
        if let Link::Up(up) = std::mem::take(&mut self.link) {
            up.sender.set(SessionState::Expired);
        }
        self.running = FuturesUnordered::new();
        self.watches = Watches::default();
        self.in_flight = 0;
        for (seq, job) in std::mem::take(&mut self.sent) {
            self.failed(seq, job, Failure::Broken("the session ended".into()), None);
        }
    }

    // --- deadlines ----------------------------------------------------------------------------

    fn expire(&mut self) {
        self.check = None;
        while let Some(job) = self.queue.pop_past() {
            self.not_sent(job);
        }
        let mut next = None;
        for job in self.sent.values_mut().filter(|job| !job.is_withdrawn()) {
            if job.request.deadline.is_past() {
                unanswered(job, &self.hosts);
            } else {
                next = Some(next.unwrap_or(job.request.deadline).min(job.request.deadline));
            }
        }
        if let Some(next) = next {
            self.check_by(next);
        }
        if let Some(closing) = &self.closing {
            let by = closing.by;
            self.check_by(by);
        }
    }

    /// A call that no server got.
    fn not_sent(&self, mut job: Job) {
        let err = match &self.last_failure {
            Some(DialError { kind: ErrorKind::AuthFailed, why, .. }) => {
                job.request.error(ErrorKind::AuthFailed).with_detail(why.clone())
            }
            Some(failure) => job.request.error(ErrorKind::NotSent).with_detail(format!(
                "no server reached ({}); check the address and that the servers run",
                failure.why
            )),
            None => job
                .request
                .error(ErrorKind::NotSent)
                .with_detail(format!("{} did not take it by the deadline", self.hosts)),
        };
        job.answer(Err(err));
    }

    // --- the end ------------------------------------------------------------------------------

    fn start_closing(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let by = Deadline::after(Deadline::DEFAULT);
        self.closing = Some(Closing { by, waiting: Vec::new() });
        self.check_by(by);
        // Calls made before are sent, if they can be.
        if self.link.connected().is_none() {
            self.refuse_queued();
        }
    }

    fn refuse_queued(&mut self) {
        while let Some((_, mut job)) = self.queue.pop() {
            let err = job.request.error(ErrorKind::Closed);
            job.answer(Err(err));
        }
    }

    async fn shut_down(mut self) {
        self.refuse_queued();
        self.drain();
        // Watches go before the session does; each tells its end as it is dropped.
        self.running.clear();
        self.watches = Watches::default();
        for (seq, job) in std::mem::take(&mut self.sent) {
            self.failed(seq, job, Failure::Broken("closed before it was answered".into()), None);
        }
        let Some(by) = self.closing.as_ref().map(|closing| closing.by) else { return };
        let link = std::mem::take(&mut self.link);
        let end = async move {
            match link {
                Link::Up(up) => timeout(by.remaining().max(GOODBYE), up.close()).await.is_ok(),
                _ => true,
            }
        };
        futures::pin_mut!(end);
        // Whoever closes meanwhile waits too, whoever calls is told.
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                Some(command) = self.commands.recv() => self.command(command),
            }
        };
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
        }
        for responder in self.closing.into_iter().flat_map(|closing| closing.waiting) {
            responder.send(if ended {
                Ok(())
            } else {
                Err(Error::new("close", "", ErrorKind::Timeout).with_detail(format!(
                    "{} did not confirm; its session ends by its timeout",
                    self.hosts
                )))
            });
        }
    }
}

/// Answers a call whose deadline passed while it was with a server. It stays in the window until the
/// server answers or the connection breaks.
fn unanswered(job: &mut Job, hosts: &Hosts) {
    let kind =
        if job.request.op.is_write() { ErrorKind::OutcomeUnknown } else { ErrorKind::Timeout };
    let detail = format!("{hosts} did not answer by the deadline");
    let err = job.request.error(kind).with_detail(detail);
    job.answer(Err(err));
}

fn too_many(request: &Request, instead: &str) -> Error {
    request
        .error(ErrorKind::TooManyWatches)
        .with_detail(format!("a session carries {MAX_BYTES} bytes of watched paths; {instead}"))
}

/// What a server always gets to confirm the end of a session.
const GOODBYE: Duration = Duration::from_millis(100);

/// Whether an answer to `op` tells that the quorum has committed it. (Of a multi without steps the
/// crate tells so without asking anybody.)
fn is_committed(op: &Op) -> bool {
    match op {
        Op::Multi(ops) => !ops.is_empty(),
        op => op.is_write() || matches!(op, Op::Sync),
    }
}

/// On which list of the server the watch of `op` stands, if it leaves one.
fn list_of(op: &Op) -> Option<List> {
    match op {
        Op::Get(LeaveWatch::Yes) | Op::Exists(LeaveWatch::Yes) => Some(List::Data),
        Op::Children(LeaveWatch::Yes) => Some(List::Children),
        _ => None,
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
