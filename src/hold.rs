//! A node that is held: proof, renewed while it lasts, that the session and the node are there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::path::ZkPath;
use crate::session::Session;

/// Why a node is no longer held. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The node is gone, by whoever deleted it.
    Deleted,
    /// The session is over.
    SessionEnded,
    /// No proof came in time: servers may have ended the session by now.
    Unproven,
}

/// Proof that a node and the session are there, renewed while this lives.
///
/// While it is held, the session commits one write in every sixth of its timeout: a `multi` of
/// checks on all held nodes. Servers surely keep the session until half a timeout after the last
/// such write was sent, and that is [`valid_until`](Self::valid_until). Reads and pings prove
/// nothing: a follower that is cut off from its leader answers them while the leader expires the
/// session.
///
/// Dropping it ends the renewals; the node stays.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, Loss, MemoryConn, Mode, Version};
/// let conn = MemoryConn::new();
/// conn.create("/lock", "", Mode::Ephemeral).await?;
/// let hold = conn.hold("/lock").await?;
/// assert!(hold.is_valid());
/// conn.delete("/lock", Version::Any).await?;
/// assert_eq!(hold.lost().await, Loss::Deleted);
/// # Ok(()) }
/// ```
#[must_use = "dropping it ends the renewals"]
pub struct Hold {
    path: ZkPath,
    session: Session,
    proof: Arc<Mutex<Proof>>,
    loss: watch::Receiver<Option<Loss>>,
    /// What must be held as well.
    upon: Option<Arc<Hold>>,
}

/// Until when a hold is valid.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Until(Deadline),
    /// For as long as nothing else is said: the quorum is in this process.
    Standing,
}

impl Hold {
    /// A hold and the handle that renews it, for those who implement a connection. `sent` is when
    /// the write was sent that proved it first; `None` where nothing needs a proof.
    pub fn channel(path: ZkPath, session: Session, sent: Option<Deadline>) -> (HoldSender, Hold) {
        let (sender, loss) = watch::channel(None);
        let half = session.timeout() / 2;
        let proof = match sent {
            Some(sent) => Proof::Until(sent.plus(half)),
            None => Proof::Standing,
        };
        let proof = Arc::new(Mutex::new(proof));
        let hold = Hold { path, session, proof: proof.clone(), loss, upon: None };
        (HoldSender { proof, loss: sender, half }, hold)
    }

    /// The node, in the caller's spelling.
    pub fn path(&self) -> &ZkPath {
        &self.path
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Until when servers surely keep the session, by what is proved now.
    pub fn valid_until(&self) -> Deadline {
        let own = match *self.proof.lock().unwrap_or_else(PoisonError::into_inner) {
            Proof::Until(until) => until,
            Proof::Standing => Deadline::after(self.session.timeout() / 2),
        };
        self.upon.as_ref().map_or(own, |upon| own.min(upon.valid_until()))
    }

    /// Whether it is held at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.loss().is_none()
    }

    /// Why it is not held at this moment; `None` if it is. No I/O.
    pub fn loss(&self) -> Option<Loss> {
        let told = *self.loss.borrow();
        let told = told.or_else(|| self.upon.as_ref()?.loss().map(of_ground));
        told.or_else(|| self.valid_until().is_past().then_some(Loss::Unproven))
    }

    /// Waits until it is lost, and says why.
    ///
    /// It needs no word from the network: a proof that does not come in time is enough.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn lost(&self) -> Loss {
        match &self.upon {
            None => self.lost_itself().await,
            Some(upon) => tokio::select! {
                biased;
                loss = self.lost_itself() => loss,
                loss = upon.lost_itself() => of_ground(loss),
            },
        }
    }

    async fn lost_itself(&self) -> Loss {
        let mut loss = self.loss.clone();
        match loss.wait_for(Option::is_some).await {
            Ok(loss) => loss.unwrap_or(Loss::SessionEnded),
            // Whoever renewed it is gone, and took the session along.
            Err(_) => Loss::SessionEnded,
        }
    }

    /// The same, for as long as `ground` is held, too.
    pub(crate) fn upon(mut self, ground: Arc<Hold>) -> Self {
        self.upon = Some(ground);
        self
    }

    pub(crate) fn at(mut self, path: ZkPath) -> Self {
        self.path = path;
        self
    }
}

/// What is lost with what it stands on: the node itself may be there still.
fn of_ground(loss: Loss) -> Loss {
    match loss {
        Loss::SessionEnded => loss,
        Loss::Deleted | Loss::Unproven => Loss::Unproven,
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("path", &self.path)
            .field("session", &self.session)
            .field("loss", &*self.loss.borrow())
            .finish_non_exhaustive()
    }
}

/// Renews a [`Hold`], or says that it is lost. Dropping it tells that the session ended.
#[derive(Debug)]
pub struct HoldSender {
    proof: Arc<Mutex<Proof>>,
    loss: watch::Sender<Option<Loss>>,
    half: Duration,
}

impl HoldSender {
    /// Notes that a check of the node which was sent at `sent` has been committed. What is lost, or
    /// was past when this came, stays so.
    pub fn proved(&self, sent: Deadline) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if let Proof::Until(until) = *proof
            && !until.is_past()
            && self.loss.borrow().is_none()
        {
            *proof = Proof::Until(until.max(sent.plus(self.half)));
        }
    }

    /// Says why it is lost; the first word counts.
    pub fn lose(&self, why: Loss) {
        self.loss.send_if_modified(|loss| {
            let first = loss.is_none();
            loss.get_or_insert(why);
            first
        });
    }

    /// Nothing needed a proof until `since`; from then on it does.
    pub(crate) fn stood_until(&self, since: Deadline) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if let Proof::Standing = *proof {
            *proof = Proof::Until(since.plus(self.half));
        }
    }

    /// Nothing needs a proof any more, unless it came too late.
    pub(crate) fn stands(&self) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if let Proof::Until(until) = *proof
            && !until.is_past()
        {
            *proof = Proof::Standing;
        }
    }

    /// Lets what was proved be older by `by`: a clock that a test holds has moved.
    pub(crate) fn aged(&self, by: Duration) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        if let Proof::Until(until) = *proof {
            *proof = Proof::Until(until.earlier(by));
        }
    }

    /// When it is lost unless a proof comes; `None` where nothing needs one.
    pub fn valid_until(&self) -> Option<Deadline> {
        match *self.proof.lock().unwrap_or_else(PoisonError::into_inner) {
            Proof::Until(until) => Some(until),
            Proof::Standing => None,
        }
    }

    /// Whether the hold was dropped.
    pub fn is_released(&self) -> bool {
        self.loss.receiver_count() == 0
    }
}

impl Drop for HoldSender {
    fn drop(&mut self) {
        self.lose(Loss::SessionEnded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(timeout: Duration, sent: Deadline) -> (HoldSender, Hold) {
        let (_, session) = Session::channel("nyc", 7, timeout, 1, sent);
        Hold::channel(ZkPath::root(), session, Some(sent))
    }

    #[test]
    fn a_proof_counts_from_when_it_was_sent() {
        let start = Deadline::now();
        let (sender, hold) = hold(Duration::from_secs(40), start);
        assert_eq!(hold.valid_until(), start.plus(Duration::from_secs(20)));
        sender.proved(start.plus(Duration::from_secs(1)));
        assert_eq!(hold.valid_until(), start.plus(Duration::from_secs(21)));
        assert!(hold.is_valid());
    }

    #[tokio::test]
    async fn a_proof_that_comes_too_late_revives_nothing() {
        let (sender, hold) = hold(Duration::ZERO, Deadline::now());
        assert!(!hold.is_valid());
        sender.proved(Deadline::after(Duration::from_secs(10)));
        assert!(!hold.is_valid());
        sender.lose(Loss::Unproven);
        sender.lose(Loss::Deleted);
        assert_eq!(hold.lost().await, Loss::Unproven);
    }

    #[tokio::test]
    async fn a_hold_ends_with_whoever_renews_it() {
        let (sender, hold) = hold(Duration::from_secs(40), Deadline::now());
        drop(sender);
        assert_eq!(hold.lost().await, Loss::SessionEnded);
        assert!(!hold.is_valid());
    }
}
