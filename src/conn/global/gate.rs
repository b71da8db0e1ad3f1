//! The gate before the first: nobody writes before it is known who the quorums are.
//!
//! ```text
//!              a write                     they are right
//!   unchecked ─────────▶ checking, calls   ───────────────▶ open
//!      ▲                 wait in order                        │
//!      │                     │ they are not                   │ somebody says otherwise
//!      └─────────────────────┴────────────────────────────────┘
//! ```
//!
//! Calls that only read pass unless they would overtake one that waits.

use std::collections::VecDeque;
use std::sync::Arc;

use super::identity::Identity;
use super::init::{InitOptions, init};
use super::{Busy, Shared, who};
use crate::background::KEEPER;
use crate::conn::{Pending, Responder};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::request::{MultiOp, Op, Reply, Request};

/// Who the quorums are, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Standing,
    /// Calls that go out next, in this order.
    leaving: VecDeque<Waiting>,
    is_closed: bool,
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Unchecked,
    Checking(VecDeque<Waiting>),
    /// Who the first is.
    Open(Identity),
}

/// A call that waits for the check, or for its turn.
#[derive(Debug)]
struct Waiting {
    request: Request,
    responder: Responder<Reply>,
    busy: Busy,
}

/// Whether a request may change something, so that it must know whom it writes to.
fn writes(request: &Request) -> bool {
    match &request.op {
        Op::Multi(ops) => ops.iter().any(|op| !matches!(op, MultiOp::Check { .. })),
        op => op.is_write(),
    }
}

impl Shared {
    /// Lets a call through in its turn.
    pub(super) fn enter(self: &Arc<Self>, request: Request) -> Pending<Reply> {
        if let Err(err) = request.check() {
            return Pending::ready(Err(err));
        }
        // Held while a request goes out: their order is that of the calls.
        let mut gate = self.gate();
        if gate.is_closed {
            return Pending::ready(Err(request.error(ErrorKind::Closed)));
        }
        let is_free = gate.leaving.is_empty() && !matches!(gate.standing, Standing::Checking(_));
        if is_free && !writes(&request) {
            return self.read(request);
        }
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody is left to send it");
        let (responder, pending) = Pending::channel(move || gone);
        let waiting = Waiting { request, responder, busy: self.busy() };
        if let Standing::Checking(queue) = &mut gate.standing {
            queue.push_back(waiting);
            self.queued.notify_one();
            return pending;
        }
        gate.leaving.push_back(waiting);
        if gate.leaving.len() == 1 {
            drop(gate);
            let shared = self.clone();
            // What a write sends to a quorum goes out from the thread on which sessions live, so that
            // it leaves together: one by one, the second packet would wait for an answer to the first.
            if KEEPER.spawn(async move { shared.send_off() }).is_err() {
                self.gate().leaving.clear();
            }
        }
        pending
    }

    /// Sends all that is to leave.
    fn send_off(self: &Arc<Self>) {
        let mut gate = self.gate();
        while let Some(Waiting { request, responder, busy }) = gate.leaving.pop_front() {
            // Dropped before it was sent: withdrawn.
            if responder.is_withdrawn() {
                continue;
            }
            match &gate.standing {
                Standing::Open(first) if writes(&request) => {
                    self.write(request, first.clone(), responder, busy);
                }
                _ if !writes(&request) => forward(self.read(request), responder, busy),
                _ => {
                    let deadline = request.deadline;
                    let first = Waiting { request, responder, busy };
                    let queue = std::iter::once(first).chain(gate.leaving.drain(..)).collect();
                    gate.standing = Standing::Checking(queue);
                    drop(gate);
                    // Without a thread the responders are dropped, and tell it.
                    if KEEPER.spawn(check(self.clone(), deadline)).is_err() {
                        self.gate().standing = Standing::Unchecked;
                    }
                    return;
                }
            }
        }
    }

    /// Who the first is, if that is known.
    pub(super) fn identity(&self) -> Option<Identity> {
        match &self.gate().standing {
            Standing::Open(first) => Some(first.clone()),
            _ => None,
        }
    }

    /// Has everybody asked again before the next write.
    pub(super) fn doubt(&self) {
        let mut gate = self.gate();
        if let Standing::Open(_) = gate.standing {
            gate.standing = Standing::Unchecked;
        }
    }

    /// Lets nobody in any more. Those who wait are still seen to. Whether this is news.
    pub(super) fn shut(&self) -> bool {
        !std::mem::replace(&mut self.gate().is_closed, true)
    }

    /// Sends those away who wait: they have not been sent.
    pub(super) fn clear(&self) {
        let standing = std::mem::take(&mut self.gate().standing);
        if let Standing::Checking(queue) = standing {
            for Waiting { request, responder, .. } in queue {
                responder.send(Err(request.error(ErrorKind::Closed)));
            }
        }
        self.queued.notify_one();
    }

    /// Answers those whose time is over, and says when the next one's is; `None` with nobody left.
    fn expire(&self) -> Option<Deadline> {
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return None };
        let is_late = |waiting: &Waiting| waiting.request.deadline.is_past();
        let (late, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(queue).into_iter().partition(is_late);
        *queue = left;
        let next = queue.iter().map(|waiting| waiting.request.deadline).min();
        drop(gate);
        for Waiting { request, responder, .. } in late {
            let err = request.error(ErrorKind::NotSent);
            let why = "the quorums did not say who they are by the deadline";
            responder.send(Err(err.with_detail(why)));
        }
        next
    }
}

/// Asks who they are, and lets those in who wait.
async fn check(shared: Arc<Shared>, deadline: Deadline) {
    let asked = {
        let mut asking = std::pin::pin!(async {
            if shared.begins {
                init(&shared, InitOptions::default()).await?;
            }
            who::agree(&shared, deadline).await
        });
        loop {
            let Some(next) = shared.expire() else { break None };
            tokio::select! {
                asked = &mut asking => break Some(asked),
                () = tokio::time::sleep(next.remaining()) => {}
                () = shared.queued.notified() => {}
            }
        }
    };
    let mut gate = shared.gate();
    let Standing::Checking(queue) = std::mem::take(&mut gate.standing) else { return };
    let asked = asked.unwrap_or_else(|| Err(Error::new("identity", "", ErrorKind::NotSent)));
    if let Ok(first) = &asked {
        gate.standing = Standing::Open(first.clone());
    }
    for Waiting { request, responder, busy } in queue {
        // Dropped before it was sent: withdrawn.
        if responder.is_withdrawn() {
            continue;
        }
        match &asked {
            _ if !writes(&request) => forward(shared.read(request), responder, busy),
            Ok(first) => shared.write(request, first.clone(), responder, busy),
            Err(err) => {
                let err = request.error(err.kind()).with_detail(err.detail().unwrap_or_default());
                responder.send(Err(err));
            }
        }
    }
    drop(gate);
    if asked.is_ok() {
        // What this comes to, it comes to: writes ask for themselves otherwise.
        let _ = KEEPER.spawn(async move { shared.learn_fences().await });
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
