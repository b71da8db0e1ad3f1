//! What is known of a thing that is held: proof, loss, token.

use super::ending::Ending;
use super::ours::Ours;
use super::proof::Proof;
use super::token::Token;
use crate::conn::bound::BoundConn;
use crate::conn::{ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::Version;
use crate::path::ZkPath;
use crate::request::{Confirm, Multi, MultiOp, MultiReply};
use crate::session::{Session, SessionState};

/// Where a [`Guard`](super::Guard) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuardState {
    /// Proved lately.
    Held,
    /// Still held, but the last proof has been a while, or no server answers: unless one comes
    /// before [`Guard::valid_until`](super::Guard::valid_until), it is lost.
    Jeopardy,
    /// No longer held. Final.
    Lost,
}

/// All of a guard but the way to give it back.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) conn: BoundConn<Ours>,
    pub(crate) path: ZkPath,
    pub(crate) session: Session,
    pub(crate) proof: Proof,
    pub(crate) ending: Ending,
    pub(crate) token: Token,
}

impl Held {
    /// Why it is lost, if it is. The clock is read last.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.ending.told().or_else(|| self.proof.loss())
    }

    pub(crate) fn valid_until(&self) -> Deadline {
        let until = self.proof.valid_until();
        if self.loss().is_some() { until.min(Deadline::now()) } else { until }
    }

    pub(crate) fn state(&self) -> GuardState {
        if self.loss().is_some() {
            return GuardState::Lost;
        }
        let session = &self.session;
        // Renewals come every sixth of a timeout, and a proof lasts three sixths.
        let late = self.proof.valid_until().remaining() < session.timeout() / 6;
        if late || session.state() != SessionState::Connected {
            return GuardState::Jeopardy;
        }
        GuardState::Held
    }

    pub(crate) async fn lost(&self) -> Loss {
        tokio::select! {
            biased;
            loss = self.ending.wait() => loss,
            loss = self.proof.lost() => loss,
        }
    }

    /// Writes of the user, behind a check of the own node: of several quorums as many have them as for
    /// any other write of theirs.
    pub(crate) fn multi(&self, ops: Multi) -> Pending<Vec<MultiReply>> {
        self.checked(self.conn.clone().confirmed(Confirm::BySet), ops)
    }

    /// Writes of the recipe itself, behind the same check.
    pub(crate) fn own_multi(&self, ops: Multi) -> Pending<Vec<MultiReply>> {
        self.checked(self.conn.clone(), ops)
    }

    fn checked(&self, conn: BoundConn<Ours>, ops: Multi) -> Pending<Vec<MultiReply>> {
        if let Some(loss) = self.loss() {
            return Pending::ready(Err(loss_error("multi", &self.path, loss)));
        }
        let ops = match ops.into_ops() {
            Ok(ops) => ops,
            Err(err) => return Pending::ready(Err(err.during("multi"))),
        };
        let check = MultiOp::Check { path: self.path.clone(), version: Version::Any };
        let ops: Multi = std::iter::once(check).chain(ops).collect();
        let path = self.path.clone();
        let written = conn.multi(ops).map_err(move |err| match err.index() {
            Some(0) if err.kind() == ErrorKind::NoNode => loss_error("multi", &path, Loss::Deleted),
            Some(0) => Error::new("multi", &path, err.kind()),
            Some(index) => err.with_index(index - 1),
            None => err,
        });
        written.and_then(|mut replies| {
            if !replies.is_empty() {
                replies.remove(0);
            }
            Ok(replies)
        })
    }
}

/// The error of somebody who lost what they held, or waited for.
pub(crate) fn loss_error(op: &'static str, path: &ZkPath, loss: Loss) -> Error {
    match loss {
        Loss::Deleted => Error::new(op, path, ErrorKind::Revoked),
        Loss::SessionEnded => Error::new(op, path, ErrorKind::SessionExpired),
        Loss::Unproven => Error::new(op, path, ErrorKind::SessionExpired)
            .with_detail("no server confirmed it in time, so it may be over"),
    }
}
