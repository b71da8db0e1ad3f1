//! Calls of a session that is over: the first may be another quorum by now, such as one that was restored or
//! exchanged. So each write belongs to the session in which the first was asked. When that is over, the
//! connection refuses all that it has not sent yet, all are asked anew, and the calls come again. A session that
//! goes on costs nothing.

use std::sync::Arc;

use super::queue::{Turn, Waiting, put_back};
use super::{Gate, Standing};
use crate::conn::Responder;
use crate::conn::global::needs::Guard;
use crate::conn::global::{Busy, Shared};
use crate::request::{Reply, Request};

impl Shared {
    /// Lets a call come again that was to go out at `moment` in `session`, which is over: then all are asked
    /// anew. The connection tells all such calls of it in one go, so they stand in their order again.
    pub(in crate::conn::global) fn readmit(
        self: &Arc<Self>,
        request: Request,
        responder: Responder<Reply>,
        busy: Busy,
        session: i64,
        moment: u64,
    ) {
        let (needs, guard) = (self.needs(&request), Guard::of(&request));
        let turn = Turn::Again(moment);
        let waiting = Waiting { request, responder, busy, needs, guard, turn, is_vouched: false };
        let mut gate = self.gate();
        if gate.checked().is_some_and(|checked| checked.session == session) {
            gate.standing = Standing::Unchecked;
        }
        if let Standing::Checking(queue) = &mut gate.standing {
            queue.put_back(waiting);
            return self.queued.notify_one();
        }
        put_back(&mut gate.leaving, waiting);
        self.leave(gate);
    }
}

impl Gate {
    /// Whether a call belongs to a session of which it is not known whether the first was asked before it: a
    /// later one, or one that is over. Behind the next check it is one that is over.
    pub(super) fn is_elsewhere(&self, waiting: &Waiting) -> bool {
        let own = waiting.request.session.filter(|_| !waiting.is_vouched);
        let checked = self.checked().map(|first| first.session);
        own.is_some_and(|own| checked.is_some_and(|session| session != own))
    }
}
