//! What a holder gets: a guard that says it is held only as long as that is proved.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::held::{GuardState, Held, loss_error};
use super::place::{Place, Removed};
use super::token::Token;
use crate::background::sleep;
use crate::conn::Pending;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::hold::Loss;
use crate::path::ZkPath;
use crate::request::{Multi, MultiReply};
use crate::session::Session;

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
    held: Arc<Held>,
    place: Place,
    /// Whether somebody else looks after the own node by now.
    parted: bool,
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

impl Guard {
    pub(crate) fn new(held: Held, place: Place) -> Self {
        Guard { held: Arc::new(held), place, parted: false }
    }

    /// What is known of it, and the own node: it goes on being held, by whoever has them.
    pub(crate) fn into_parts(mut self) -> (Arc<Held>, Place) {
        self.parted = true;
        (self.held.clone(), self.place.take())
    }

    /// What is known of it, also for others than its owner.
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// The own node, and how it is left.
    pub(crate) fn place_mut(&mut self) -> &mut Place {
        &mut self.place
    }

    /// The own node.
    pub fn path(&self) -> &ZkPath {
        &self.held.path
    }

    /// The mark of this grant, for resources that refuse older ones.
    pub fn token(&self) -> &Token {
        &self.held.token
    }

    /// The session that it hangs on.
    pub fn session(&self) -> &Session {
        &self.held.session
    }

    /// Until when it is surely held, by what is proved now, unless somebody deletes the own node.
    /// Past, if it is lost.
    pub fn valid_until(&self) -> Deadline {
        self.held.valid_until()
    }

    /// Whether it is held at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Where it stands at this moment. No I/O.
    pub fn state(&self) -> GuardState {
        self.held.state()
    }

    /// Waits until it is lost, and says why: the own node is gone, the session over, or no proof
    /// came in time. It needs no word from the network.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn lost(&self) -> Loss {
        self.held.lost().await
    }

    /// Writes that are done only if it is still held when the servers do them: a `multi` with a
    /// check of the own node before the first step, in the own session.
    ///
    /// Servers know the own node by its name. Where names have no id in them, as Vitess's and those of
    /// shards, another's node passes for it if somebody deleted the directory of a lock in use and others made it anew,
    /// until the watch on the own node has told of it.
    ///
    /// # Errors
    ///
    /// `Revoked` or `SessionExpired` when it is lost, by what is known here or by what the servers
    /// say. Otherwise as [`ConnExt::multi`](crate::ConnExt::multi), with the indexes of `ops`: so
    /// `NotMirrored` on a set of quorums says that it was done, and that too few mirrors have it yet.
    pub fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        self.held.multi(ops.into())
    }

    /// Gives back what is held, and says whether it was held until then.
    ///
    /// It takes no longer than the guard is valid: what is not confirmed by then was lost.
    ///
    /// # Cancel safety
    ///
    /// The release goes on in the background when the future is dropped.
    pub async fn release(mut self) -> Released {
        if self.held.loss().is_some() {
            return Released::WasLost;
        }
        // Later proofs do not count: a node that we removed ourselves is not lost.
        let until = self.held.proof.valid_until();
        // Whoever else looks at it must not believe in it while the node may be gone.
        self.held.proof.give_back();
        tokio::select! {
            biased;
            removed = self.place.leave() => match removed {
                Removed::ByUs => Released::Released,
                Removed::Absent | Removed::WithSession => Released::WasLost,
            },
            () = sleep(until.remaining()) => Released::WasLost,
        }
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

impl Drop for Guard {
    fn drop(&mut self) {
        // By now there may be another's node of the same name.
        if self.parted || self.held.proof.is_given_back() {
            return;
        }
        match self.held.loss() {
            Some(Loss::Deleted) => self.place.keep(),
            // What the holder had under way may go on.
            Some(_) => self.place.forget_word(),
            None => {}
        }
        self.held.proof.give_back();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("path", self.path())
            .field("token", &format_args!("{}", self.token()))
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryConn;
    use crate::recipes::{Election, Lock};

    #[tokio::test]
    async fn a_guard_is_waited_for_in_a_task_of_its_own() {
        let conn = Arc::new(MemoryConn::new());
        let guard = Lock::new(conn.clone(), "/lock").acquire().await.unwrap();
        let leader = Election::new(conn.clone(), "/election").campaign().await.unwrap();
        let session = guard.session().id();
        let waits = tokio::spawn(async move { (guard.lost().await, leader.lost().await) });
        conn.quorum().expire(session);
        assert_eq!(waits.await.unwrap(), (Loss::SessionEnded, Loss::SessionEnded));
        let guard = Lock::new(conn, "/other").acquire().await.unwrap();
        assert_eq!(tokio::spawn(with(guard, async { 7 })).await.unwrap().unwrap(), 7);
    }
}
