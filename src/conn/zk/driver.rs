//! The task that serves one connection: it sends in call order within a window, keeps the
//! deadlines, and hands answers and events back in the order in which they came.
//!
//! Everything that the client crate tells (answers, watch events) is polled in one set, which
//! yields in the order of the wake-ups; that is the order of the wire, so an event is told before
//! any answer that shows its change.

mod answers;
mod doubts;
mod end;
mod holds;
mod life;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::task::noop_waker_ref;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use zookeeper_client as zk;

use self::end::Closing;
use self::holds::Holds;
use super::dial::DialError;
use super::exec;
use super::link::{Alive, Link};
use super::meters::Meters;
use super::queue::{Command, Job, Waiting};
use super::report::Report;
use super::signal::Signal;
use super::watches::{List, MAX_BYTES, Watches};
use crate::conn::options::SessionOptions;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hosts::Hosts;
use crate::request::{HoldFrom, LeaveWatch, Op, Reply, Request};

/// How many requests may be with a server at once.
const WINDOW: usize = 256;
/// A caller may wait for ever, but no timer reaches that far.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

pub(super) struct Driver {
    hosts: Arc<Hosts>,
    options: Arc<SessionOptions>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Calls that are not with a server, in call order.
    queue: Waiting,
    /// Calls that are with a server and have not been answered.
    sent: HashMap<u64, Job>,
    /// Writes whose reply was lost, until a server tells what became of them. Nothing is sent
    /// meanwhile: what turns out not to be applied is sent again, in its order.
    doubts: BTreeMap<u64, Job>,
    /// The latest transaction that a reply has shown.
    latest: i64,
    next_seq: u64,
    /// What is under way: answers, and watches that stand.
    running: FuturesUnordered<BoxFuture<'static, Signal>>,
    link: Link,
    /// Whether other servers are to serve us, once calls under way are answered.
    moving: bool,
    /// The session, from when a server first served it until one has ended it.
    alive: Option<Alive>,
    watches: Watches,
    holds: Holds,
    generation: u64,
    /// Whether an answer tells of a break that the link does not know of.
    suspect: bool,
    failed_dials: u32,
    last_failure: Option<DialError>,
    /// When the earliest deadline of what is with a server, held or ending may be past.
    check: Option<Deadline>,
    closing: Option<Closing>,
    report: Report,
}

impl Driver {
    pub(super) fn new(
        hosts: Arc<Hosts>,
        options: Arc<SessionOptions>,
        commands: mpsc::UnboundedReceiver<Command>,
        report: Report,
        meters: &Meters,
    ) -> Self {
        Driver {
            hosts,
            options,
            commands,
            queue: Waiting::default(),
            sent: HashMap::new(),
            doubts: BTreeMap::new(),
            latest: 0,
            next_seq: 0,
            running: FuturesUnordered::new(),
            link: Link::Idle,
            moving: false,
            alive: None,
            watches: Watches::new(meters.watches.clone()),
            holds: Holds::default(),
            generation: 0,
            suspect: false,
            failed_dials: 0,
            last_failure: None,
            check: None,
            closing: None,
            report,
        }
    }

    /// Serves until the connection is closed, or its last owner has gone.
    pub(super) async fn run(mut self) {
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.command(command);
            }
            self.send();
            if self.may_end() {
                return self.end().await;
            }
            let check = self.check.into_iter().chain(self.queue.deadline()).min();
            let check = check.map(|check| Instant::now() + check.remaining().min(LONGEST_SLEEP));
            tokio::select! {
                biased;
                Some(signal) = self.running.next(), if !self.running.is_empty() => {
                    self.signal(signal);
                    self.drain();
                    self.check_suspicion();
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
            Command::Call(mut job) => match self.check_session(&job.request) {
                Ok(()) => {
                    self.next_seq += 1;
                    self.queue.insert(self.next_seq, job);
                }
                Err(err) => job.answer(Err(err)),
            },
            Command::Move(hosts) => self.move_to(hosts),
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
        if self.moving && !self.may_move() {
            return;
        }
        // What is in doubt keeps all else waiting, and nobody but a server can tell.
        if !self.doubts.is_empty() && matches!(self.link, Link::Idle) {
            return self.dial();
        }
        while self.sent.len() < WINDOW && !self.queue.is_empty() && self.doubts.is_empty() {
            let Some(client) = self.link.client().cloned() else {
                if matches!(self.link, Link::Idle) {
                    self.dial();
                }
                return;
            };
            if let Some((seq, job)) = self.queue.pop() {
                self.start(&client, seq, job);
            }
        }
    }

    fn start(&mut self, client: &Arc<zk::Client>, seq: u64, mut job: Job) {
        job.place = None;
        if job.is_withdrawn() {
            return;
        }
        if job.request.deadline.is_past() {
            return self.not_sent(job);
        }
        let request = job.request.clone();
        if let Some(answer) = self.answer_of_ours(&request) {
            return job.answer(answer);
        }
        job.watched = match self.arm(seq, &request) {
            Ok(watched) => watched,
            Err(err) => return job.answer(Err(err)),
        };
        job.before = self.latest;
        let sent = Deadline::now();
        let answered = move |answer| Signal::Answered { seq, sent, answer };
        let answer = exec::run(client, request, job.watched, answered);
        self.check_by(job.request.deadline);
        self.sent.insert(seq, job);
        self.push(answer);
    }

    /// The answer to a request that no server need be asked for.
    fn answer_of_ours(&mut self, request: &Request) -> Option<Result<Reply, Error>> {
        if let Err(err) = self.check_session(request) {
            return Some(Err(err));
        }
        let session = self.alive.as_ref().map(|alive| alive.session.clone())?;
        match request.op {
            Op::Session => Some(Ok(Reply::Session(session))),
            Op::Hold(HoldFrom::LastWrite) => {
                self.held_by_last_write(&session, &request.path).map(Ok)
            }
            _ => None,
        }
    }

    /// Refuses what belongs to a session that is over.
    fn check_session(&self, request: &Request) -> Result<(), Error> {
        request.check_session(self.alive.as_ref().map_or(0, |alive| alive.session.id()))
    }

    /// Makes room for the watch that `request` leaves; tells whether it is left with the server.
    fn arm(&mut self, seq: u64, request: &Request) -> Result<bool, Error> {
        let path = &request.path;
        if matches!(request.op, Op::WatchTree) {
            self.watches.tree_asked(path);
        }
        let Some(list) = list_of(&request.op) else { return Ok(false) };
        if self.watches.has_tree(path) {
            self.watches.feed_asked(path, list, seq);
            return Ok(false);
        }
        if self.watches.reserve(path, list) {
            return Ok(true);
        }
        Err(request.error(ErrorKind::TooManyWatches).with_detail(format!(
            "a session carries {MAX_BYTES} bytes of watched paths; use a tree watch"
        )))
    }

    /// Starts `task` now: the crate sends a request at the first poll, so the order of the calls
    /// is the order of these polls. What is told already is handled at once.
    fn push(&mut self, mut task: BoxFuture<'static, Signal>) {
        match task.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(signal) => self.signal(signal),
            Poll::Pending => self.running.push(task),
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
        self.report.retried(&job.request);
        self.queue.insert(seq, job);
    }

    // --- deadlines ----------------------------------------------------------------------------

    fn expire(&mut self) {
        self.check = None;
        while let Some(job) = self.queue.pop_past() {
            self.not_sent(job);
        }
        let mut next = None;
        let late = self.sent.values_mut().chain(self.doubts.values_mut());
        for job in late.filter(|job| !job.is_withdrawn()) {
            if job.request.deadline.is_past() {
                unanswered(job, &self.hosts);
            } else {
                next = Some(next.unwrap_or(job.request.deadline).min(job.request.deadline));
            }
        }
        let closing = self.closing.as_ref().map(|closing| closing.by);
        let holds = self.look_after_holds();
        for deadline in next.into_iter().chain(closing).chain(holds) {
            self.check_by(deadline);
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
            None => job.request.error(ErrorKind::NotSent).with_detail(format!(
                "{} did not take it by the deadline; check that the servers run and answer",
                self.hosts
            )),
        };
        job.answer(Err(err));
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

/// On which list of the server the watch of `op` stands, if it leaves one.
fn list_of(op: &Op) -> Option<List> {
    match op {
        Op::Get(LeaveWatch::Yes) | Op::Exists(LeaveWatch::Yes) => Some(List::Data),
        Op::Children(LeaveWatch::Yes) => Some(List::Children),
        _ => None,
    }
}
