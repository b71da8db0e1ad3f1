//! The gate before the first: nobody writes before it is known who the quorums are.
//!
//! ```text
//!              a write                     they are right
//!   unchecked ─────────▶ checking, calls   ───────────────▶ open ──▶ a new access list: calls wait in
//!      ▲                 wait in order                        │      order until the first has said that
//!      │                     │ they are not                   │      it still is one
//!      └─────────────────────┴────────────────────────────────┘ somebody says otherwise
//! ```
//!
//! What is for the first alone, as ephemeral nodes are, needs the first, and no mirror's word; then the
//! gate is open for that only. That a node is ephemeral is only remembered, so the first is asked for it
//! right before, in the same session, as long as no mirror would get what is written. Calls that only read
//! pass unless they would overtake one that waits. Nobody waits here beyond his own
//! deadline; the quorums are asked for as long as somebody does.
//!
//! What is known of the first holds for the session in which it was asked ([`again`]).

mod again;
mod ask;
mod check;
mod queue;

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use self::queue::{Queue, Turn, Waiting};
use super::agree::Checked;
use super::identity::Identity;
use super::needs::{Guard, Needs};
use super::{Busy, Shared};
use crate::background::KEEPER;
use crate::conn::{Pending, Responder};
use crate::error::ErrorKind;
use crate::request::{Reply, Request};

/// Who the quorums are, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Standing,
    /// Calls that go out next, in this order.
    leaving: VecDeque<Waiting>,
    /// How often there was a doubt. What was asked before the last one counts no more.
    doubts: u64,
    is_closed: bool,
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Unchecked,
    Checking(Queue),
    /// Who the first is; of too many mirrors it is not known whether they are its mirrors.
    Alone(Checked),
    /// Who the first is, and enough mirrors are its mirrors.
    Open(Checked),
}

/// How many calls may wait at once; another one is refused as not sent.
const WAITING: usize = 64 * 1024;

impl Shared {
    /// Whether the first has to be asked right before a call that needs nobody else.
    fn is_asked_before(&self, waiting: &Waiting) -> bool {
        match waiting.guard {
            Guard::Wanted => true,
            Guard::Within => !self.relied(&waiting.request).is_empty(),
            Guard::UnderWay | Guard::Passed => false,
        }
    }

    /// Lets a call through in its turn.
    pub(super) fn enter(self: &Arc<Self>, request: Request) -> Pending<Reply> {
        if let Err(err) = request.check().and_then(|()| self.check_inside(&request)) {
            return Pending::ready(Err(err));
        }
        if let Some(answers) = self.read_inside(&request) {
            return answers;
        }
        // Held while a request goes out: their order is that of the calls.
        let mut gate = self.gate();
        if gate.is_closed {
            return Pending::ready(Err(request.error(ErrorKind::Closed)));
        }
        let needs = self.needs(&request);
        let is_free = gate.leaving.is_empty() && !matches!(gate.standing, Standing::Checking(_));
        if is_free && needs == Needs::Nobody {
            return self.read(request, gate.first());
        }
        if gate.waiting() >= WAITING {
            gate.drop_withdrawn();
        }
        if gate.waiting() >= WAITING {
            let err = request.error(ErrorKind::NotSent);
            return Pending::ready(Err(err.with_detail(format!(
                "{WAITING} requests wait for this set already; call it with fewer at once"
            ))));
        }
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody is left to send it");
        let (responder, pending) = Pending::channel(move || gone);
        let guard = Guard::of(&request);
        let (busy, turn) = (self.busy(), Turn::New);
        let waiting = Waiting { request, responder, busy, needs, guard, turn, is_vouched: false };
        if let Standing::Checking(queue) = &mut gate.standing {
            queue.push(waiting);
            self.queued.notify_one();
            return pending;
        }
        gate.leaving.push_back(waiting);
        self.leave(gate);
        pending
    }

    /// Has those sent off of whom one has just come, unless that is under way.
    fn leave(self: &Arc<Self>, gate: MutexGuard<'_, Gate>) {
        if gate.leaving.len() != 1 {
            return;
        }
        drop(gate);
        let shared = self.clone();
        // What a write sends to a quorum goes out from the thread on which sessions live, so that
        // it leaves together: one by one, the second packet would wait for an answer to the first.
        if KEEPER.spawn(async move { shared.send_off() }).is_err() {
            self.gate().leaving.clear();
        }
    }

    /// Sends all that is to leave.
    fn send_off(self: &Arc<Self>) {
        let mut gate = self.gate();
        while let Some(mut waiting) = gate.leaving.pop_front() {
            // Dropped before it was sent: withdrawn.
            if waiting.responder.is_withdrawn() {
                continue;
            }
            // What it changes may be ephemeral no more.
            waiting.needs = waiting.needs.max(self.needs(&waiting.request));
            let needs = waiting.needs;
            let is_elsewhere = gate.is_elsewhere(&waiting);
            waiting.is_vouched |= is_elsewhere;
            let is_known = needs == Needs::Nobody || (self.knows_the_count() && !is_elsewhere);
            let first = gate.for_who(needs).filter(|_| is_known).cloned();
            let is_asked = match &gate.standing {
                Standing::Alone(_) => self.is_asked_before(&waiting),
                _ => waiting.guard == Guard::Wanted,
            };
            let next = match first {
                first if needs == Needs::Nobody => {
                    let Waiting { request, responder, busy, .. } = waiting;
                    let first = first.as_ref().map(|first| &first.identity);
                    forward(self.read(request, first), responder, busy);
                    continue;
                }
                Some(first) if !is_asked => {
                    let Waiting { request, responder, busy, .. } = waiting;
                    self.write(request, first, responder, busy);
                    continue;
                }
                first => first,
            };
            let request = waiting.request.clone();
            if next.is_some() {
                waiting.guard = Guard::UnderWay;
            }
            let queue = std::iter::once(waiting).chain(gate.leaving.drain(..)).collect();
            let checking = Standing::Checking(Queue::new(queue));
            let standing = std::mem::replace(&mut gate.standing, checking);
            let doubts = gate.doubts;
            drop(gate);
            let shared = self.clone();
            let spawned = match next {
                Some(first) => KEEPER
                    .spawn(async move { shared.guard(standing, first, request, doubts).await }),
                None => KEEPER.spawn(async move { shared.check().await }),
            };
            // Without a thread the responders are dropped, and tell it.
            if spawned.is_err() {
                self.gate().standing = Standing::Unchecked;
            }
            return;
        }
    }

    /// Opens the gate to those who wait, in their order. What was asked behind so many `doubts` counts only if
    /// there was none since.
    fn open(self: &Arc<Self>, mut standing: Standing, doubts: u64) {
        if let Standing::Alone(first) | Standing::Open(first) = &standing {
            self.in_epoch_of(&first.identity);
        }
        let mut gate = self.gate();
        if gate.doubts != doubts {
            standing = Standing::Unchecked;
        }
        let Standing::Checking(queue) = std::mem::replace(&mut gate.standing, standing) else {
            // It was closed meanwhile.
            gate.standing = Standing::Unchecked;
            return;
        };
        gate.leaving = queue.calls;
        drop(gate);
        self.send_off();
    }

    /// Who the first is, if that is known, and that enough mirrors are its mirrors.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.gate().for_who(Needs::Mirrors).map(|first| first.identity.clone())
    }

    /// Has everybody asked again before the next write.
    pub(super) fn doubt(&self) {
        let mut gate = self.gate();
        gate.doubts += 1;
        if let Standing::Open(_) | Standing::Alone(_) = gate.standing {
            gate.standing = Standing::Unchecked;
        }
    }

    /// How often there was a doubt so far.
    fn doubts(&self) -> u64 {
        self.gate().doubts
    }

    /// Lets nobody in any more. Those who wait are still seen to. Whether this is news.
    pub(super) fn shut(&self) -> bool {
        !std::mem::replace(&mut self.gate().is_closed, true)
    }

    /// Sends those away who wait: they have not been sent.
    pub(super) fn clear(&self) {
        let standing = std::mem::take(&mut self.gate().standing);
        if let Standing::Checking(queue) = standing {
            for Waiting { request, responder, .. } in queue.calls {
                responder.send(Err(request.error(ErrorKind::Closed)));
            }
        }
        self.queued.notify_one();
    }
}

impl Gate {
    /// How many calls have not left.
    fn waiting(&self) -> usize {
        let checking = match &self.standing {
            Standing::Checking(queue) => queue.calls.len(),
            _ => 0,
        };
        self.leaving.len() + checking
    }

    /// Gives the places of those back who have left.
    fn drop_withdrawn(&mut self) {
        let is_wanted = |waiting: &Waiting| !waiting.responder.is_withdrawn();
        self.leaving.retain(is_wanted);
        if let Standing::Checking(queue) = &mut self.standing {
            queue.calls.retain(is_wanted);
        }
    }

    /// The first, if it is known.
    fn first(&self) -> Option<&Identity> {
        self.checked().map(|first| &first.identity)
    }

    fn checked(&self) -> Option<&Checked> {
        self.for_who(Needs::First)
    }

    /// The first, if as much is known as whoever needs so much must know.
    fn for_who(&self, needs: Needs) -> Option<&Checked> {
        match &self.standing {
            Standing::Open(first) => Some(first),
            Standing::Alone(first) if needs < Needs::Mirrors => Some(first),
            _ => None,
        }
    }
}

/// Gives an answer on; whoever no longer waits withdraws what was asked.
fn forward(answer: Pending<Reply>, mut responder: Responder<Reply>, busy: Busy) {
    // Without a thread the responder is dropped, and tells it.
    let _ = KEEPER.spawn(async move {
        let _busy = busy;
        tokio::select! {
            answer = answer => responder.send(answer),
            () = responder.withdrawn() => {}
        }
    });
}
