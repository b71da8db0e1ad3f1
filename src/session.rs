//! A session: who we are to one quorum, and whether we still are.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::deadline::Deadline;
use crate::node::Stat;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// A server answers it.
    Connected,
    /// No server answers it just now; it may yet survive.
    Disconnected,
    /// It is over, with its ephemeral nodes and watches.
    Expired,
    /// We ended it.
    Closed,
}

impl SessionState {
    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, SessionState::Expired | SessionState::Closed)
    }
}

/// One session with one quorum.
///
/// Cloning gives another handle on the same session; no handle keeps it alive.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    id: i64,
    timeout: Duration,
    generation: u64,
    epoch: Arc<AtomicU64>,
    cell: Arc<str>,
    state: watch::Receiver<SessionState>,
    proof: Arc<Mutex<Deadline>>,
    version: Arc<Mutex<Option<String>>>,
}

impl Session {
    /// A session and the handle that moves it, for those who implement a connection.
    ///
    /// `cell` is the name of the quorum, `since` when the request was sent that opened it.
    pub fn channel(
        cell: impl Into<Arc<str>>,
        id: i64,
        timeout: Duration,
        generation: u64,
        since: Deadline,
    ) -> (SessionSender, Session) {
        let (sender, state) = watch::channel(SessionState::Connected);
        let proof = Arc::new(Mutex::new(since));
        let version = Arc::<Mutex<_>>::default();
        let (mover, shown) = (proof.clone(), Arc::clone(&version));
        let cell = cell.into();
        let epoch = Arc::default();
        let shared = Shared { id, timeout, generation, epoch, cell, state, proof, version: shown };
        (SessionSender { state: sender, proof: mover, version }, Session(Arc::new(shared)))
    }

    /// ZooKeeper's number for it, unique in its cell.
    pub fn id(&self) -> i64 {
        self.0.id
    }

    /// The quorum that it is with: the name of the cell in the configuration; for a connection made
    /// by hand its [label](crate::SessionOptions::with_label), or else its servers as they were
    /// given. What compares within one cell only, as tokens do, is told apart by it.
    pub fn cell(&self) -> &str {
        &self.0.cell
    }

    /// How long servers wait for a sign of life, as they granted it.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Which session of its connection this is, counted from 1.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// How often the quorum took the place of another that was the first of its set, as far as the
    /// connection knows now: what is granted in a later epoch is later, whatever number it has. 0 for a
    /// quorum that is no first of a set ([`GlobalConn`](crate::GlobalConn)).
    pub fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::SeqCst)
    }

    /// The same session, with a quorum that is the first of its set, in the epoch that `epoch` holds.
    pub(crate) fn in_epoch(&self, epoch: Arc<AtomicU64>) -> Session {
        Session(Arc::new(Shared { epoch, ..Shared::clone(&self.0) }))
    }

    /// What the servers say their version is, as in `3.8.0`; several, with commas between, where
    /// they differ. `None` where they do not say.
    pub fn server_version(&self) -> Option<String> {
        self.0.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it stands, as far as this process knows.
    pub fn state(&self) -> SessionState {
        *self.0.state.borrow()
    }

    /// Whether the node that has this `stat` is an ephemeral node of this session.
    pub fn owns(&self, stat: &Stat) -> bool {
        stat.ephemeral_owner == self.0.id && stat.is_ephemeral()
    }

    /// Until when servers surely keep it: half a timeout after the last committed write was sent.
    ///
    /// Reads and pings prove nothing: a follower that is cut off from its leader answers them
    /// while the leader expires the session.
    pub fn valid_until(&self) -> Deadline {
        let proof = *self.0.proof.lock().unwrap_or_else(PoisonError::into_inner);
        proof.plus(self.0.timeout / 2)
    }

    /// When the last write was sent that has been committed, or the request that opened it.
    pub(crate) fn proved(&self) -> Deadline {
        *self.0.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no server serves the session, be it for a moment.
    pub(crate) async fn interrupted(&self) {
        let mut state = self.0.state.clone();
        state.mark_unchanged();
        if self.state() == SessionState::Connected {
            // Whoever moved it is gone, and took the session along.
            let _ = state.changed().await;
        }
    }

    /// Waits until the session is over, and says how it ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn lost(&self) -> SessionState {
        let mut state = self.0.state.clone();
        match state.wait_for(|state| state.is_over()).await {
            Ok(state) => *state,
            // Whoever moved it is gone, and took the session along.
            Err(_) => SessionState::Closed,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &format_args!("{:#x}", self.0.id))
            .field("timeout", &self.0.timeout)
            .field("generation", &self.0.generation)
            .field("state", &self.state())
            .finish()
    }
}

/// Moves a [`Session`] from state to state.
#[derive(Debug)]
pub struct SessionSender {
    state: watch::Sender<SessionState>,
    proof: Arc<Mutex<Deadline>>,
    version: Arc<Mutex<Option<String>>>,
}

impl SessionSender {
    /// Says where the session stands; an end is final.
    pub fn set(&self, next: SessionState) {
        self.state.send_if_modified(|state| {
            let moves = *state != next && !state.is_over();
            if moves {
                *state = next;
            }
            moves
        });
    }

    /// Notes what the servers that serve it now say their version is.
    pub fn served_by(&self, version: Option<String>) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// Notes that a write which was sent at `sent` has been committed.
    pub fn proved(&self, sent: Deadline) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        *proof = sent.max(*proof);
    }

    /// Lets what was proved be older by `by`: a clock that a test holds has moved.
    pub(crate) fn aged(&self, by: Duration) {
        let mut proof = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        *proof = proof.earlier(by);
    }
}

impl Drop for SessionSender {
    fn drop(&mut self) {
        self.set(SessionState::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_final() {
        let (sender, session) =
            Session::channel("nyc", 7, Duration::from_secs(4), 1, Deadline::now());
        sender.set(SessionState::Disconnected);
        assert_eq!(session.state(), SessionState::Disconnected);
        sender.set(SessionState::Expired);
        sender.set(SessionState::Connected);
        assert_eq!(session.lost().await, SessionState::Expired);
        drop(sender);
        assert_eq!(session.state(), SessionState::Expired);
    }

    #[test]
    fn a_proof_counts_from_when_it_was_sent() {
        let start = Deadline::now();
        let (sender, session) = Session::channel("nyc", 7, Duration::from_secs(4), 1, start);
        assert_eq!(session.valid_until(), start.plus(Duration::from_secs(2)));
        sender.proved(start.plus(Duration::from_secs(1)));
        sender.proved(start);
        assert_eq!(session.valid_until(), start.plus(Duration::from_secs(3)));
    }

    #[test]
    fn only_ephemeral_nodes_are_owned() {
        let (_sender, session) =
            Session::channel("nyc", 0, Duration::from_secs(4), 1, Deadline::now());
        assert!(!session.owns(&Stat::default()));
    }
}
