//! What a holder gets: a guard that says it is held only as long as that is proved.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::ending::Ending;
use super::place::{Place, Removed};
use super::token::Token;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::{Hold, Loss};
use crate::node::Version;
use crate::path::ZkPath;
use crate::request::{Multi, MultiOp, MultiReply};
use crate::session::{Session, SessionState};

/// What is held, until it is released, dropped or lost.
///
/// ```text
///            no proof for a while           no proof in time, session over, node deleted
///   held ◀──────────────────────▶ in jeopardy ─────────────────▶ lost
///     └──────────────────────────────────────────────────────────┘
/// ```
///
/// It is held while the own node is there and the session commits: one write in every sixth of the
/// session timeout, for all that is held in the cell together. Servers keep the session for at least
/// half a timeout behind such a write, so until [`valid_until`](Self::valid_until) nobody else holds
/// it, whatever the network does. Once lost it stays lost.
///
/// Nothing on this side knows of a pause between a look at the guard and what is done next, be it a
/// stopped process or a paused machine. What must not happen twice is told the
/// [`token`](Self::token), or done by [`multi`](Self::multi), which the servers refuse when the own
/// node is gone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::recipes::{Lock, Released};
/// use zkcells::{ConnExt, MemoryConn, Mode, Multi};
/// let conn = Arc::new(MemoryConn::new());
/// let guard = Lock::new(conn.clone(), "/app/leader").acquire().await?;
/// assert!(guard.is_valid());
/// // Done only if the lock is still held when the servers do it.
/// guard.multi(Multi::new().create("/app/job", "7", Mode::Persistent)).await?;
/// assert_eq!(guard.release().await, Released::Released);
/// # Ok(()) }
/// ```
///
/// Dropping it releases in the background, without a wait.
#[must_use = "dropping it releases what is held"]
pub struct Guard {
    conn: BoundConn<Arc<dyn Conn>>,
    place: Place,
    path: ZkPath,
    session: Session,
    hold: Hold,
    ending: Ending,
    token: Token,
}

/// Where a [`Guard`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuardState {
    /// Proved lately.
    Held,
    /// Still held, but the last proof has been a while, or no server answers: unless one comes
    /// before [`Guard::valid_until`], it is lost.
    Jeopardy,
    /// No longer held. Final.
    Lost,
}

/// How a release went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Released {
    /// It was held until now, and is free.
    Released,
    /// It had been lost before, or was lost meanwhile. Whatever is left of it goes on being
    /// cleared up in the background for as long as the session lives.
    WasLost,
}

/// What a guard is made of.
pub(crate) struct Parts {
    pub(crate) conn: BoundConn<Arc<dyn Conn>>,
    pub(crate) place: Place,
    pub(crate) path: ZkPath,
    pub(crate) hold: Hold,
    pub(crate) ending: Ending,
    pub(crate) token: Token,
}

impl Guard {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { conn, place, path, hold, ending, token } = parts;
        let session = hold.session().clone();
        Guard { conn, place, path, session, hold, ending, token }
    }

    /// The own node.
    pub fn path(&self) -> &ZkPath {
        &self.path
    }

    /// The mark of this grant, for resources that refuse older ones.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The session that it hangs on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Until when it is surely held, by what is proved now, unless somebody deletes the own node.
    /// Past, if it is lost.
    pub fn valid_until(&self) -> Deadline {
        let until = self.hold.valid_until();
        if self.loss().is_some() { until.min(Deadline::now()) } else { until }
    }

    /// Whether it is held at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.loss().is_none()
    }

    /// Where it stands at this moment. No I/O.
    pub fn state(&self) -> GuardState {
        if self.loss().is_some() {
            return GuardState::Lost;
        }
        // Renewals come every sixth of a timeout, and a proof lasts three sixths.
        let late = self.hold.valid_until().remaining() < self.session.timeout() / 6;
        if late || self.session.state() != SessionState::Connected {
            return GuardState::Jeopardy;
        }
        GuardState::Held
    }

    /// Why it is lost, if it is. The clock is read last.
    fn loss(&self) -> Option<Loss> {
        self.ending.told().or_else(|| (!self.hold.is_valid()).then_some(Loss::Unproven))
    }

    /// Waits until it is lost, and says why: the own node is gone, the session over, or no proof
    /// came in time. It needs no word from the network.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn lost(&self) -> Loss {
        tokio::select! {
            biased;
            loss = self.ending.wait() => loss,
            loss = self.hold.lost() => loss,
        }
    }

    /// Writes that are done only if it is still held when the servers do them: a `multi` with a
    /// check of the own node before the first step, in the own session.
    ///
    /// # Errors
    ///
    /// `Revoked` or `SessionExpired` when it is lost, by what is known here or by what the servers
    /// say. Otherwise as [`ConnExt::multi`](crate::ConnExt::multi), with the indexes of `ops`.
    pub fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        if let Some(loss) = self.loss() {
            return Pending::ready(Err(loss_error("multi", &self.path, loss)));
        }
        let ops = match ops.into().into_ops() {
            Ok(ops) => ops,
            Err(err) => return Pending::ready(Err(err.during("multi"))),
        };
        let check = MultiOp::Check { path: self.path.clone(), version: Version::Any };
        let ops: Multi = std::iter::once(check).chain(ops).collect();
        let path = self.path.clone();
        let written = self.conn.multi(ops).map_err(move |err| match err.index() {
            Some(0) if err.kind() == ErrorKind::NoNode => loss_error("multi", &path, Loss::Deleted),
            Some(index) => err.with_index(index.saturating_sub(1)),
            None => err,
        });
        written.and_then(|mut replies| {
            if !replies.is_empty() {
                replies.remove(0);
            }
            Ok(replies)
        })
    }

    /// Gives back what is held, and says whether it was held until then.
    ///
    /// It takes no longer than the guard is valid: what is not confirmed by then was lost.
    ///
    /// # Cancel safety
    ///
    /// The release goes on in the background when the future is dropped.
    pub async fn release(mut self) -> Released {
        if self.loss().is_some() {
            return Released::WasLost;
        }
        tokio::select! {
            biased;
            removed = self.place.leave() => match removed {
                Removed::ByUs => Released::Released,
                Removed::Absent | Removed::WithSession => Released::WasLost,
            },
            _ = self.hold.lost() => Released::WasLost,
        }
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

/// Does `work` while `guard` is held, releases it, and returns what came of the work. The work is
/// dropped at its next await when the guard is lost.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::MemoryConn;
/// use zkcells::recipes::{Lock, with};
/// let guard = Lock::new(MemoryConn::new(), "/app/lock").acquire().await?;
/// let sum = with(guard, async { 3 + 4 }).await?;
/// assert_eq!(sum, 7);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `Revoked` or `SessionExpired` when the guard was lost before the work was done.
///
/// # Cancel safety
///
/// Dropping the future drops the work and releases.
pub async fn with<T>(guard: Guard, work: impl Future<Output = T>) -> Result<T, Error> {
    let done = tokio::select! {
        biased;
        loss = guard.lost() => Err(loss_error("with", guard.path(), loss)),
        done = work => Ok(done),
    };
    // The work was done while it was held; how the release goes is nothing to it.
    let _ = guard.release().await;
    done
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("path", &self.path)
            .field("token", &format_args!("{}", self.token))
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// How long to wait at most between two looks at what a watch should have told: a lost watch costs
/// that much, and no more.
pub(crate) fn recheck(session: &Session) -> Duration {
    session.timeout().mul_f64(0.75 + fastrand::f64() / 2.0)
}
