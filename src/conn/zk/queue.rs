//! The way into a session: calls wait here, in order, bounded, each with its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::meters::Meters;
use crate::conn::{Pending, Responder, outcome};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hosts::Hosts;
use crate::request::{Reply, Request};

/// How many calls may wait for a session at once; another one is refused as not sent.
const WAITING: usize = 64 * 1024;

/// The callers' end.
#[derive(Clone)]
pub(super) struct Queue {
    commands: mpsc::UnboundedSender<Command>,
    waiting: Arc<AtomicUsize>,
    meters: Arc<Meters>,
}

pub(super) enum Command {
    Call(Job),
    Move(Arc<Hosts>),
    Close(Responder<()>),
}

/// One call on its way.
pub(super) struct Job {
    pub(super) request: Arc<Request>,
    /// Gone once it was answered, which at its deadline comes before the server's answer.
    responder: Option<Responder<Reply>>,
    called: Instant,
    meters: Arc<Meters>,
    /// Held until it is sent.
    pub(super) place: Option<Place>,
    /// Whether a watch of it is left with the server.
    pub(super) watched: bool,
    /// The latest transaction that had been seen when it was sent.
    pub(super) before: i64,
    /// How often a watch that is fed had to be read again.
    pub(super) rereads: u32,
    /// Whether an earlier try may have been applied and undone by another since.
    pub(super) doubtful: bool,
}

impl Job {
    /// Answers the caller, who gets one answer only.
    pub(super) fn answer(&mut self, answer: Result<Reply, Error>) {
        if let Some(responder) = self.responder.take() {
            let answer =
                if self.doubtful { outcome::of_doubtful(&self.request, answer) } else { answer };
            self.meters.answered(self.request.op.name(), self.called.elapsed(), &answer);
            responder.send(answer);
        }
    }

    /// Whether nobody waits for an answer any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.responder.as_ref().is_none_or(Responder::is_withdrawn)
    }
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    pub(super) fn new(meters: Arc<Meters>) -> (Queue, mpsc::UnboundedReceiver<Command>) {
        let (commands, taken) = mpsc::unbounded_channel();
        (Queue { commands, waiting: Arc::default(), meters }, taken)
    }

    /// Queues `request` before it returns.
    pub(super) fn push(&self, request: Request) -> Pending<Reply> {
        let place = Place(self.waiting.clone());
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            let refusal = Err(request.error(ErrorKind::NotSent).with_detail(format!(
                "{WAITING} requests wait for this cell already; call it with fewer at once"
            )));
            self.meters.answered(request.op.name(), Duration::ZERO, &refusal);
            return Pending::ready(refusal);
        }
        let request = Arc::new(request);
        let asked = request.clone();
        let (responder, pending) = Pending::channel(move || asked.error(ErrorKind::Closed));
        let job = Job {
            request,
            responder: Some(responder),
            called: Instant::now(),
            meters: self.meters.clone(),
            place: Some(place),
            watched: false,
            before: 0,
            rereads: 0,
            doubtful: false,
        };
        // Of a closed connection the responder is gone with the command, and tells it.
        let _ = self.commands.send(Command::Call(job));
        pending
    }

    /// Lets the connection go over to other servers.
    pub(super) fn move_to(&self, hosts: Arc<Hosts>) {
        // A connection that is closed goes nowhere.
        let _ = self.commands.send(Command::Move(hosts));
    }

    /// Asks for the end of the session.
    pub(super) fn close(&self) -> Pending<()> {
        let gone = || Error::new("close", "", ErrorKind::Closed);
        let (responder, pending) = Pending::channel(gone);
        match self.commands.send(Command::Close(responder)) {
            Ok(()) => pending,
            // It was closed before.
            Err(_) => Pending::ready(Ok(())),
        }
    }
}

/// Calls that are not with a server: in call order, and by their deadlines, so that a cell that is
/// down costs the io thread no more than its own calls.
#[derive(Default)]
pub(super) struct Waiting {
    calls: BTreeMap<u64, Job>,
    deadlines: BTreeSet<(Deadline, u64)>,
}

impl Waiting {
    /// Puts a call where its number says.
    pub(super) fn insert(&mut self, seq: u64, job: Job) {
        self.deadlines.insert((job.request.deadline, seq));
        self.calls.insert(seq, job);
    }

    /// The call that is next.
    pub(super) fn pop(&mut self) -> Option<(u64, Job)> {
        let (seq, job) = self.calls.pop_first()?;
        self.deadlines.remove(&(job.request.deadline, seq));
        Some((seq, job))
    }

    /// A call whose deadline is past.
    pub(super) fn pop_past(&mut self) -> Option<Job> {
        let (deadline, seq) = *self.deadlines.first()?;
        if !deadline.is_past() {
            return None;
        }
        self.deadlines.pop_first();
        self.calls.remove(&seq)
    }

    /// When the first deadline will be past.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::ZkPath;
    use crate::request::Op;

    fn job(wait: u64) -> Job {
        let (queue, mut commands) = Queue::new(Arc::new(Meters::new("nyc")));
        drop(queue.push(Request::new(Op::Sync, ZkPath::root()).within(Duration::from_secs(wait))));
        match commands.try_recv() {
            Ok(Command::Call(job)) => job,
            _ => panic!("no call was queued"),
        }
    }

    #[test]
    fn calls_leave_in_call_order_or_when_their_deadline_is_past() {
        let mut waiting = Waiting::default();
        for (seq, wait) in [(3, 0), (1, 60), (4, 30), (2, 0)] {
            waiting.insert(seq, job(wait));
        }
        assert!(waiting.deadline().unwrap().is_past());
        assert!(waiting.pop_past().is_some() && waiting.pop_past().is_some());
        assert!(waiting.pop_past().is_none());
        let left = waiting.deadline().unwrap().remaining();
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30));
        assert_eq!(waiting.pop().map(|(seq, _)| seq), Some(1));
        assert_eq!(waiting.pop().map(|(seq, _)| seq), Some(4));
        assert!(waiting.is_empty() && waiting.deadline().is_none());
    }

    #[test]
    fn a_place_is_given_back_with_its_call() {
        let (queue, mut commands) = Queue::new(Arc::new(Meters::new("nyc")));
        let request = Request::new(Op::Sync, ZkPath::root());
        let _answers: Vec<_> = (0..WAITING).map(|_| queue.push(request.clone())).collect();
        let refused = futures::FutureExt::now_or_never(queue.push(request.clone()));
        assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::NotSent);
        drop(commands.try_recv());
        assert!(futures::FutureExt::now_or_never(queue.push(request)).is_none());
    }
}
