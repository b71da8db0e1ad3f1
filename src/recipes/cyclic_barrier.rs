//! A barrier at which so many parties wait for each other, over and over.
//!
//! ```text
//! <path>               persistent: the state, as JSON; every move is a write of it at its version
//! <path>/party-<id>    one per party that waits: ephemeral, or persistent where failures are tolerated
//!
//!                arrival          last arrival: generation + 1
//!   generation ◀───────▶ waiting ──────────────────────────────▶ open, and the next one begins
//!                           │ a party gives up, dies, or the barrier is reset
//!                           ▼             reset: generation + 1
//!                         broken ─────────────────────────────▶ the next one begins
//! ```
//!
//! The state says which generation it is, who has arrived in it, whether and why it is broken, and
//! why earlier ones were. An arrival writes it and makes the party's node in one transaction; the last
//! one writes the next generation and deletes the nodes of all. So no generation opens with fewer
//! arrivals than parties, nobody arrives in one that is over, and of two who come at once one comes
//! later. Who has been in a generation that is over reads how it ended, however much later. Whose arrival
//! somebody has written away, or deleted with the node, is told so, and passes with nobody.
//!
//! **Who watches whom.** Each party watches the node of the one before it, the first the newest and the
//! state. When a node goes and the generation has not, its party is gone, and whoever sees that breaks
//! the generation; that too deletes the nodes of all, so everybody wakes. The next to arrive checks the
//! node of the one before it, and the last one deletes them all, so a party that came and died while
//! nobody was there is found as well: nobody waits for ever for somebody who came.
//!
//! **Failures.** Strict, a generation opens only while all its parties are alive. Tolerant, an arrival
//! counts for good: nodes outlive their sessions, and are deleted with the generation. Giving up breaks
//! it either way, as in `java.util.concurrent`: by a deadline, or by dropping the future.
//!
//! menagerie's clients cannot take part: their two versions exclude each other, and each has states
//! in which nobody passes. None of the other libraries has a cyclic barrier.

#[cfg(feature = "cli")]
mod census;
mod party;
mod state;
mod way;

use std::time::Duration;

#[cfg(feature = "cli")]
pub(crate) use self::census::{Census, Waiter, census};
use self::party::Party;
use self::state::State;
use self::way::{Written, write};
use super::directory;
use super::ours::Ours;
use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Mode, Node};
use crate::path::{IntoPath, ZkPath};
use crate::pause;

/// What errors call it.
const VERB: &str = "wait";

/// A barrier at which parties wait until all are there, again and again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::CyclicBarrier;
/// let conn = Arc::new(MemoryConn::new());
/// let barrier = CyclicBarrier::new(conn.clone(), "/app/phase", 2);
/// for _phase in 0..3 {
///     let (first, last) = futures::join!(barrier.wait(), barrier.wait());
///     assert_eq!((first?, last?), (1, 0));
/// }
/// # Ok(()) }
/// ```
///
/// Each call of [`wait`](Self::wait) is a party, whichever object it is of. All parties must be of one
/// mind on how many they are and on whether [failures are tolerated](Self::with_tolerated_failures).
///
/// After menagerie's `ZkCyclicBarrier`, and in its semantics after `java.util.concurrent.CyclicBarrier`.
#[derive(Clone, Debug)]
#[doc(alias = "ZkCyclicBarrier")]
pub struct CyclicBarrier {
    conn: Ours,
    path: Result<ZkPath, Error>,
    parties: usize,
    tolerant: bool,
    acl: Vec<Acl>,
}

impl CyclicBarrier {
    /// The barrier at `path`, for so many parties. Nothing is done yet; what cannot be is told by the
    /// first use.
    pub fn new(conn: impl Conn, path: impl IntoPath, parties: usize) -> Self {
        let (conn, path) = (Ours::new(conn), path.into_path());
        CyclicBarrier { conn, path, parties, tolerant: false, acl: Acl::open() }
    }

    /// The same that tolerates failures: whoever has arrived counts, even if it dies then, so it may
    /// open for fewer than all. Without this a death breaks the barrier.
    #[must_use]
    #[doc(alias = "tolerateFailures")]
    pub fn with_tolerated_failures(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// The same with another access list for its nodes. All parties must be able to read, write and
    /// delete them.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Waits until all parties are there, and returns how many were still to come: one less than there
    /// are parties for the first to arrive, 0 for the last.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::CyclicBarrier;
    /// let alone = CyclicBarrier::new(MemoryConn::new(), "/app/phase", 1);
    /// assert_eq!(alone.wait().await?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Broken`, with the reason, when the barrier is or was broken: a party gave up, or died, or it was
    /// reset. It stays so until [`reset`](Self::reset). `Disagreement` when those who wait take another
    /// number of parties, or think otherwise of failures. `SessionExpired`, which does not happen where
    /// failures are tolerated; `Revoked` when somebody deleted the barrier's node, or wrote over what it
    /// said of this arrival; `BadArguments` for no parties; `Unexpected` when the node holds something
    /// else; whatever keeps an arrival from being written. `OutcomeUnknown` when a reply was lost and
    /// nobody can tell any more who was in that generation: another one has opened since, or 64 were
    /// broken. Whoever fails so after it has arrived breaks the barrier for the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future after it has arrived breaks the barrier, in the background, as an
    /// interrupt does in Java.
    #[doc(alias = "await")]
    pub async fn wait(&self) -> Result<usize, Error> {
        Party::new(self).await?.run().await.map_err(|err| err.during(VERB))
    }

    /// As [`wait`](Self::wait), at most for `wait` in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when not all were there by then: this breaks the barrier, if this party had arrived. It takes a round trip more,
    /// as the last one may have come in time after all; when no server answers, half a second at most,
    /// and it breaks in the background. Those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_within(&self, wait: Duration) -> Result<usize, Error> {
        let by = Deadline::after(wait);
        let mut party = None;
        let waited = async {
            party.insert(Party::new(self).await?).run().await.map_err(|err| err.during(VERB))
        };
        tokio::select! {
            biased;
            opened = waited => return opened,
            () = sleep(by.remaining()) => {}
        }
        self.give_up(party, ErrorKind::Timeout).await
    }

    /// As [`wait`](Self::wait), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first: this breaks the barrier, as a timeout does. Those of
    /// [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_unless(&self, stop: impl Future<Output = ()>) -> Result<usize, Error> {
        let mut party = None;
        let waited = async {
            party.insert(Party::new(self).await?).run().await.map_err(|err| err.during(VERB))
        };
        tokio::select! {
            biased;
            opened = waited => return opened,
            () = stop => {}
        }
        self.give_up(party, ErrorKind::Cancelled).await
    }

    /// Begins anew: whoever waits is told `Broken`, and the next generation can come.
    ///
    /// # Errors
    ///
    /// `Contended` when others keep moving it. Those of reads and of a `multi`, but for `NoNode`:
    /// without a node it is as new.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be done or not.
    pub async fn reset(&self) -> Result<(), Error> {
        const VERB: &str = "reset";
        let reset = async {
            let path = self.path.clone()?;
            let why = format!("{} reset it", state::whoami());
            // Whoever was told that somebody waits must not miss that.
            self.conn.sync(&path).await?;
            let mut first = None;
            for conflicts in 0..100 {
                pause::after(conflicts, Duration::MAX).await;
                let Some((node, state)) = self.read(&path).await? else { return Ok(()) };
                let now = (node.stat.czxid, state.generation);
                // The one that was to end is over, by what was lost or by another, and whoever is
                // here now came behind that.
                if *first.get_or_insert(now) != now {
                    return Ok(());
                }
                let next = state.reset(&why).of(self);
                match write(&self.conn, &path, &node, &state, &next).await? {
                    Written::Yes => return Ok(()),
                    Written::No => {}
                }
            }
            Err(Error::new(VERB, &path, ErrorKind::Contended))
        };
        reset.await.map_err(|err: Error| err.during(VERB))
    }

    /// Whether it is broken, as far as somebody has noticed. Whoever waits then is told so.
    ///
    /// # Errors
    ///
    /// Those of a read, but for `NoNode`: then it is as new.
    pub async fn is_broken(&self) -> Result<bool, Error> {
        let state = self.look("is_broken").await?;
        Ok(state.is_some_and(|state| state.broken.is_some()))
    }

    /// How many parties it takes.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many have arrived in this generation and wait.
    ///
    /// # Errors
    ///
    /// Those of a read, but for `NoNode`: then it is as new.
    #[doc(alias = "getNumberWaiting")]
    pub async fn waiting(&self) -> Result<usize, Error> {
        let state = self.look("waiting").await?;
        Ok(state.filter(|state| state.broken.is_none()).map_or(0, |state| state.arrived.len()))
    }

    async fn look(&self, verb: &'static str) -> Result<Option<State>, Error> {
        let found = async { self.read(&self.path.clone()?).await };
        let found = found.await.map_err(|err: Error| err.during(verb))?;
        Ok(found.map(|(_, state)| state))
    }

    /// The node and the state in it; `None` if there is no node.
    async fn read(&self, path: &ZkPath) -> Result<Option<(Node, State)>, Error> {
        match self.conn.get(path).await {
            Ok(node) => {
                let state = self.state(path, &node)?;
                Ok(Some((node, state)))
            }
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn state(&self, path: &ZkPath, node: &Node) -> Result<State, Error> {
        if node.data.is_empty() {
            return Ok(State::new(self));
        }
        State::parse(&node.data).ok_or_else(|| {
            Error::new(VERB, path, ErrorKind::Unexpected)
                .with_detail("the node holds something else than a cyclic barrier")
        })
    }

    /// Makes the node.
    async fn make(&self, path: &ZkPath) -> Result<(), Error> {
        let state = State::new(self).to_json();
        directory::make(&self.conn, path, state, &self.acl, Mode::Persistent).await
    }

    async fn give_up(&self, party: Option<Party>, kind: ErrorKind) -> Result<usize, Error> {
        let err = match &self.path {
            Ok(path) => Error::new(VERB, path, kind),
            Err(err) => return Err(err.clone().during(VERB)),
        };
        match party {
            Some(party) => party.give_up(err).await,
            None => Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::conn::MemoryQuorum;
    use crate::request::Op;
    use crate::spy::{Spy, refuse};

    /// Nobody tells what became of a reset, and before it looks somebody arrives behind it.
    #[tokio::test]
    async fn a_reset_whose_reply_is_lost_breaks_one_generation() {
        let quorum = MemoryQuorum::new();
        let conn = Arc::new(quorum.connect());
        let ours = CyclicBarrier::new(conn.clone(), "/phase", 2);
        let before = tokio::spawn({
            let before = ours.clone();
            async move { before.wait().await }
        });
        while ours.waiting().await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        let newcomer = Arc::new(std::sync::Mutex::new(Some(ours.clone())));
        let arrived = Arc::new(std::sync::Mutex::new(None));
        let (other, arriving) = (quorum.connect(), arrived.clone());
        let spy = Spy::meddling(quorum.connect(), move |request, _| {
            if !matches!(request.op, Op::Multi(_)) {
                return None;
            }
            let newcomer = newcomer.lock().unwrap().take()?;
            drop(other.call(request.clone()));
            let mut waiting = Box::pin(async move { newcomer.wait().await });
            for _ in 0..100 {
                let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert_eq!(polled.map_err(|err| err.kind()), Poll::Pending);
            }
            *arriving.lock().unwrap() = Some(waiting);
            refuse(request, ErrorKind::OutcomeUnknown)
        });
        CyclicBarrier::new(spy, "/phase", 2).reset().await.unwrap();
        assert_eq!(before.await.unwrap().unwrap_err().kind(), ErrorKind::Broken);
        assert_eq!(ours.waiting().await.unwrap(), 1, "who came behind the reset is there");
        let arrived = arrived.lock().unwrap().take().unwrap();
        let (first, last) = futures::join!(arrived, ours.wait());
        assert_eq!((first.unwrap(), last.unwrap()), (1, 0));
    }
}
