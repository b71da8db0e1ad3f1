//! A call that waits for something.

use crate::conn::{Pending, Responder, outcome};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::fault::OpKind;
use crate::request::{MultiOp, Op, Reply, Request};

pub(super) struct Job {
    pub(super) request: Request,
    /// The latest transaction that had been seen when it was carried out.
    pub(super) before: i64,
    /// Whether an earlier try may have been applied and undone by another since.
    pub(super) doubtful: bool,
    /// Gone once it was answered.
    responder: Option<Responder<Reply>>,
}

/// A call that was carried out, and its answer on its way.
pub(super) struct UnderWay {
    pub(super) seq: u64,
    pub(super) job: Job,
    pub(super) answer: Result<Reply, Error>,
    pub(super) due: Deadline,
}

impl Job {
    pub(super) fn new(request: Request) -> (Job, Pending<Reply>) {
        let closed = request.error(ErrorKind::Closed);
        let (responder, pending) = Pending::channel(move || closed);
        (Job { request, before: 0, doubtful: false, responder: Some(responder) }, pending)
    }

    /// Answers the caller, who gets one answer only.
    pub(super) fn answer(&mut self, answer: Result<Reply, Error>) {
        if let Some(responder) = self.responder.take() {
            let answer =
                if self.doubtful { outcome::of_doubtful(&self.request, answer) } else { answer };
            responder.send(answer);
        }
    }

    pub(super) fn fail(&mut self, kind: ErrorKind, detail: impl Into<String>) {
        let err = self.request.error(kind).with_detail(detail);
        self.answer(Err(err));
    }

    pub(super) fn not_sent(&mut self) {
        self.fail(ErrorKind::NotSent, "the connection was lost until the deadline");
    }

    /// The deadline passed after it was carried out, or may have been.
    pub(super) fn unanswered(&mut self) {
        let write = self.request.op.is_write();
        let kind = if write { ErrorKind::OutcomeUnknown } else { ErrorKind::Timeout };
        self.fail(kind, "no answer by the deadline");
    }

    /// Whether nobody waits for an answer any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.responder.as_ref().is_none_or(Responder::is_withdrawn)
    }
}

/// What a request would be on the wire to a server; `None` where nothing is sent.
pub(super) fn kind_of(op: &Op) -> Option<OpKind> {
    Some(match op {
        Op::Create { .. } => OpKind::Create,
        Op::Delete { .. } => OpKind::Delete,
        Op::Set { .. } => OpKind::Set,
        Op::SetAcl { .. } => OpKind::SetAcl,
        Op::Multi(ops) if ops.iter().all(|op| matches!(op, MultiOp::Check { .. })) => OpKind::Check,
        Op::Multi(_) => OpKind::Multi,
        Op::Hold(_) | Op::Sync => OpKind::Check,
        Op::WatchTree => OpKind::Watch,
        Op::Session => return None,
        _ => OpKind::Read,
    })
}

/// Where a request reads or writes.
pub(super) fn paths_of(request: &Request) -> Vec<String> {
    match &request.op {
        Op::Multi(ops) => ops.iter().map(|op| op.path().to_string()).collect(),
        Op::ReadMany(reads) => reads.iter().map(|read| read.path().to_string()).collect(),
        _ => vec![request.path.to_string()],
    }
}
