//! Calls that wait, in their order; and how their deadlines are kept while quorums are asked.

use std::collections::VecDeque;

use super::Standing;
use crate::background;
use crate::conn::Responder;
use crate::conn::global::needs::{Guard, Needs};
use crate::conn::global::{Busy, Shared};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::request::{Reply, Request};

/// Calls that wait for the check, in their order.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) calls: VecDeque<Waiting>,
    /// When none of them is late yet.
    pub(super) soonest: Deadline,
}

impl Queue {
    pub(super) fn new(calls: VecDeque<Waiting>) -> Self {
        let soonest = calls.iter().map(|waiting| waiting.request.deadline).min();
        Queue { calls, soonest: soonest.unwrap_or(Deadline::now()) }
    }

    /// Puts a call back that comes again, behind those that were sent before it.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.soonest = self.soonest.min(waiting.request.deadline);
        put_back(&mut self.calls, waiting);
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.soonest = self.soonest.min(waiting.request.deadline);
        self.calls.push_back(waiting);
    }
}

/// A call that waits for the check, or for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) responder: Responder<Reply>,
    pub(super) busy: Busy,
    pub(super) needs: Needs,
    pub(super) guard: Guard,
    pub(super) turn: Turn,
    /// Whether all were asked again because it belongs to another session than the one in which the first was.
    pub(super) is_vouched: bool,
}

/// Where a call stands. What was sent was called before all that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// It was sent at that moment, in a session that was over.
    Again(u64),
    New,
}

pub(super) fn put_back(calls: &mut VecDeque<Waiting>, waiting: Waiting) {
    let place = calls.partition_point(|one| one.turn <= waiting.turn);
    calls.insert(place, waiting);
}

/// What those want who wait.
pub(super) struct Wanted {
    pub(super) soonest: Deadline,
    pub(super) latest: Deadline,
    pub(super) needs: Needs,
}

impl Shared {
    /// Carries out `work` while the deadlines of those who wait are kept; `None` once nobody is left.
    pub(super) async fn attend<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let next = self.expire()?;
            tokio::select! {
                done = &mut work => return Some(done),
                () = background::sleep(next.remaining()) => {}
                () = self.queued.notified() => {}
            }
        }
    }

    /// Who must be known for those who wait to write, and by when they want an answer: whoever waits
    /// least, and whoever waits longest.
    pub(super) fn waits(&self) -> Option<Wanted> {
        let Standing::Checking(queue) = &self.gate().standing else { return None };
        let waiting = || queue.calls.iter().filter(|waiting| waiting.needs > Needs::Nobody);
        let deadlines = || waiting().map(|waiting| waiting.request.deadline);
        let needs = waiting().map(|waiting| waiting.needs).max()?;
        Some(Wanted { soonest: deadlines().min()?, latest: deadlines().max()?, needs })
    }

    /// Whether somebody who needs no mirror stands behind one who does.
    pub(super) fn is_holding_up(&self) -> bool {
        let Standing::Checking(queue) = &self.gate().standing else { return false };
        let mut behind = queue.calls.iter().skip_while(|waiting| waiting.needs < Needs::Mirrors);
        behind.any(|waiting| waiting.needs < Needs::Mirrors)
    }

    /// Answers those whose time is over, and says when the next one's is; `None` with nobody left.
    pub(super) fn expire(&self) -> Option<Deadline> {
        if let Standing::Checking(queue) = &self.gate().standing
            && !queue.calls.is_empty()
            && !queue.soonest.is_past()
        {
            return Some(queue.soonest);
        }
        let late = self.take_out(|waiting| waiting.request.deadline.is_past());
        for Waiting { request, responder, .. } in late {
            let err = request.error(ErrorKind::NotSent);
            let why = "the quorums did not say who they are by the deadline";
            responder.send(Err(err.with_detail(why)));
        }
        match &self.gate().standing {
            Standing::Checking(queue) if !queue.calls.is_empty() => Some(queue.soonest),
            _ => None,
        }
    }

    /// Tells those who were there when the quorums were asked until `asked`, and need at least so much, what
    /// came of it.
    pub(super) fn refuse(&self, err: &Error, needs: Needs, asked: Deadline) {
        let is_meant =
            |waiting: &Waiting| waiting.needs >= needs && waiting.request.deadline <= asked;
        for Waiting { request, responder, .. } in self.take_out(is_meant) {
            let err = request.error(err.kind()).with_detail(err.detail().unwrap_or_default());
            responder.send(Err(err));
        }
    }

    pub(super) fn take_out(&self, is_meant: impl Fn(&Waiting) -> bool) -> VecDeque<Waiting> {
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return VecDeque::new() };
        let (out, left) = std::mem::take(&mut queue.calls).into_iter().partition(is_meant);
        *queue = Queue::new(left);
        out
    }
}
