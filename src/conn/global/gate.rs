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

use super::admin::Rejoin;
use super::identity::Identity;
use super::{Busy, Shared, admin, who};
use crate::conn::{Pending, Responder, io};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::request::{MultiOp, Op, Reply, Request};

/// Who the quorums are, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Standing,
    is_closed: bool,
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Unchecked,
    Checking(VecDeque<Waiting>),
    Open(Pass),
}

/// Who the first is, and the version of the node that says so.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) identity: Identity,
    pub(super) version: i32,
}

/// A call that waits for the check.
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
        // Held while the request goes out: their order is that of the calls.
        let mut gate = self.gate();
        if gate.is_closed {
            return Pending::ready(Err(request.error(ErrorKind::Closed)));
        }
        match &mut gate.standing {
            Standing::Open(pass) if writes(&request) => self.write(request, pass.clone()),
            Standing::Unchecked if writes(&request) => {
                let (responder, pending) = waiting(&request);
                let deadline = request.deadline;
                let busy = self.busy();
                let queue = VecDeque::from([Waiting { request, responder, busy }]);
                gate.standing = Standing::Checking(queue);
                drop(gate);
                // Without a thread the responder is dropped, and tells it.
                if io::spawn(check(self.clone(), deadline)).is_err() {
                    self.gate().standing = Standing::Unchecked;
                }
                pending
            }
            Standing::Checking(queue) => {
                let (responder, pending) = waiting(&request);
                let busy = self.busy();
                queue.push_back(Waiting { request, responder, busy });
                self.queued.notify_one();
                pending
            }
            _ => self.read(request),
        }
    }

    /// Who the first is, if that is known.
    pub(super) fn identity(&self) -> Option<Identity> {
        match &self.gate().standing {
            Standing::Open(pass) => Some(pass.identity.clone()),
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

/// The answer to come of a call that waits.
fn waiting(request: &Request) -> (Responder<Reply>, Pending<Reply>) {
    let gone = request.error(ErrorKind::NotSent).with_detail("nobody is left to send it");
    Pending::channel(move || gone)
}

/// Asks who they are, and lets those in who wait.
async fn check(shared: Arc<Shared>, deadline: Deadline) {
    let asked = {
        let mut asking = std::pin::pin!(async {
            if shared.begins {
                admin::init(&shared, Rejoin::Refuse).await?;
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
    if let Ok((identity, version)) = &asked {
        gate.standing = Standing::Open(Pass { identity: identity.clone(), version: *version });
    }
    for Waiting { request, responder, busy } in queue {
        // Dropped before it was sent: withdrawn.
        if responder.is_withdrawn() {
            continue;
        }
        let answer = match &asked {
            _ if !writes(&request) => shared.read(request),
            Ok((identity, version)) => {
                let pass = Pass { identity: identity.clone(), version: *version };
                shared.write(request, pass)
            }
            Err(err) => {
                let err = request.error(err.kind()).with_detail(err.detail().unwrap_or_default());
                responder.send(Err(err));
                continue;
            }
        };
        forward(answer, responder, busy);
    }
}

/// Gives an answer on; whoever no longer waits withdraws what was asked.
fn forward(answer: Pending<Reply>, mut responder: Responder<Reply>, busy: Busy) {
    // Without a thread the responder is dropped, and tells it.
    let _ = io::spawn(async move {
        let _busy = busy;
        tokio::select! {
            answer = answer => responder.send(answer),
            () = responder.withdrawn() => {}
        }
    });
}
