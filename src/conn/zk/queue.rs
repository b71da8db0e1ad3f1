//! The way into a session: calls wait here, in order, bounded, each with its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::conn::{Pending, Responder};
use crate::error::{Error, ErrorKind};
use crate::hosts::Hosts;
use crate::request::{Reply, Request};

/// How many calls may wait for a session at once; another one is refused as not sent.
const WAITING: usize = 64 * 1024;

/// The callers' end.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    commands: mpsc::UnboundedSender<Command>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(super) enum Command {
    Call(Job),
    Move(Arc<Hosts>),
    Close(Responder<()>),
}

/// One call on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Arc<Request>,
    /// Gone once it was answered, which at its deadline comes before the server's answer.
    responder: Option<Responder<Reply>>,
    /// Held until it is sent.
    pub(super) place: Option<Place>,
    /// Whether a watch of it is left with the server.
    pub(super) watched: bool,
    /// The latest transaction that had been seen when it was sent.
    pub(super) before: i64,
    /// How often a watch that is fed had to be read again.
    pub(super) rereads: u32,
}

impl Job {
    /// Answers the caller, who gets one answer only.
    pub(super) fn answer(&mut self, answer: Result<Reply, Error>) {
        if let Some(responder) = self.responder.take() {
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
    pub(super) fn new() -> (Queue, mpsc::UnboundedReceiver<Command>) {
        let (commands, taken) = mpsc::unbounded_channel();
        (Queue { commands, waiting: Arc::default() }, taken)
    }

    /// Queues `request` before it returns.
    pub(super) fn push(&self, request: Request) -> Pending<Reply> {
        let place = Place(self.waiting.clone());
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            let err = request.error(ErrorKind::NotSent);
            return Pending::ready(Err(err.with_detail(format!(
                "{WAITING} requests wait for this cell already; call it with fewer at once"
            ))));
        }
        let request = Arc::new(request);
        let asked = request.clone();
        let (responder, pending) = Pending::channel(move || asked.error(ErrorKind::Closed));
        let job = Job {
            request,
            responder: Some(responder),
            place: Some(place),
            watched: false,
            before: 0,
            rereads: 0,
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
