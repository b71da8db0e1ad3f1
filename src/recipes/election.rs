//! An election: one leader at a time, and everybody may know who it is.
//!
//! ```text
//! <path>/candidates                    as a lock's directory
//! <path>/candidates/lock-0000000007    one per candidate: ephemeral sequential
//! <path>/leader                        who leads, as JSON; stays behind when nobody does
//! ```
//!
//! The candidate with the lowest number leads. It writes `leader` by its guard's `multi`, so nobody
//! writes it who does not lead by then. Whoever observes believes `leader` as long as the candidate
//! that it names is there. Session loss, an operator's delete, and a missing proof end a leadership
//! as they end a lock. Candidates of Vitess's `ZElector` and these exclude one another.
//!
//! After Vitess's `ZElector`, with the lock of this crate.

mod observe;
mod run;

use std::ops::Deref;
use std::time::Duration;

use futures_core::Stream;
use serde::{Deserialize, Serialize};

pub use run::Leadership;

use self::observe::Observer;
use super::contenders::{Contender, contenders};
use super::guard::{Guard, Released};
use super::line::{Form, Line};
use super::names::{self, LockMode, LockNames};
use super::ours::Ours;
use super::owner::Owner;
use super::token::Token;
use super::wait::Patience;
use crate::background::sleep;
use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Version};
use crate::path::{IntoPath, ZkPath};
use crate::request::Multi;

const VERB: &str = "campaign";
/// The pause behind a failed try to say who leads.
const PAUSE: Duration = Duration::from_millis(100);

/// An election at a path.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::Election;
/// let conn = Arc::new(MemoryConn::new());
/// let election = Election::new(conn.clone(), "/app/election").with_info("web-7:8080");
/// let leader = election.campaign().await?;
/// let seen = election.leader().await?.unwrap();
/// assert_eq!(seen.info.as_deref(), Some("web-7:8080"));
/// assert_eq!(&seen.token, leader.token());
/// leader.resign().await;
/// assert!(election.leader().await?.is_none());
/// # Ok(()) }
/// ```
///
/// [`run`](Self::run) does a task while it leads, and campaigns again behind a loss.
#[derive(Clone, Debug)]
#[doc(alias = "ZElector")]
#[doc(alias = "LeaderSelector")]
pub struct Election {
    line: Line,
    leader: Result<ZkPath, Error>,
    info: Option<String>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// Host, process and id.
    pub owner: Owner,
    /// What it says of itself ([`Election::with_info`]).
    pub info: Option<String>,
    /// The mark of its leadership; later ones have greater ones.
    pub token: Token,
    /// Its node.
    pub candidate: ZkPath,
}

/// What `leader` holds; Vitess's has the owner only.
#[derive(Debug, Serialize, Deserialize)]
struct LeaderRecord {
    #[serde(flatten)]
    owner: Owner,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<String>,
}

/// A leadership: a [`Guard`], until it is resigned, dropped or lost.
#[derive(Debug)]
#[must_use = "dropping it resigns"]
pub struct LeaderGuard {
    guard: Guard,
}

impl LeaderGuard {
    /// Gives up the leadership, and says whether it lasted until then. As
    /// [`Guard::release`].
    ///
    /// # Cancel safety
    ///
    /// It goes on in the background when the future is dropped.
    pub async fn resign(self) -> Released {
        self.guard.release().await
    }
}

impl From<LeaderGuard> for Guard {
    /// The same leadership, for what takes a guard, such as [`with`](super::with).
    fn from(leader: LeaderGuard) -> Guard {
        leader.guard
    }
}

impl Deref for LeaderGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl Election {
    /// The election at `path`. Nothing is done yet; a bad path is told by the first use.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        let path = path.into_path();
        let form = Form {
            names: LockNames::Vitess,
            mode: LockMode::Exclusive,
            stem: names::stem,
            waits_for: |_| true,
        };
        let dir = path.clone().map(|path| path.child("candidates"));
        let line = Line::new(Ours::new(conn), dir, form, VERB);
        Election { line, leader: path.map(|path| path.child("leader")), info: None }
    }

    /// The same, telling `info` of this process when it leads, such as its address.
    #[must_use]
    pub fn with_info(mut self, info: impl Into<String>) -> Self {
        self.info = Some(info.into());
        self
    }

    /// The same with another access list for the nodes that are made.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.line.acl = acl;
        self
    }

    /// Waits until this candidate leads, however long others do.
    ///
    /// # Errors
    ///
    /// As of [`Lock::acquire`](super::Lock::acquire); and those of a set or a create of `leader`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the candidate.
    pub async fn campaign(&self) -> Result<LeaderGuard, Error> {
        self.campaign_with(Patience::Endless).await
    }

    /// Waits until this candidate leads, at most for `wait` in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when it did not by then, and those of [`campaign`](Self::campaign).
    ///
    /// # Cancel safety
    ///
    /// As of [`campaign`](Self::campaign).
    pub async fn campaign_within(&self, wait: Duration) -> Result<LeaderGuard, Error> {
        self.campaign_with(Patience::within(wait)).await
    }

    /// Waits until this candidate leads unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`campaign`](Self::campaign).
    ///
    /// # Cancel safety
    ///
    /// As of [`campaign`](Self::campaign).
    pub async fn campaign_unless(
        &self,
        stop: impl Future<Output = ()>,
    ) -> Result<LeaderGuard, Error> {
        tokio::select! {
            biased;
            leader = self.campaign() => leader,
            () = stop => Err(self.line.error(ErrorKind::Cancelled)),
        }
    }

    /// Leads if nobody does; `None` if somebody stands already. The own candidate is gone when this
    /// returns so.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::Election;
    /// let election = Election::new(MemoryConn::new(), "/app/election");
    /// let leader = election.try_campaign().await?.unwrap();
    /// assert!(election.try_campaign().await?.is_none());
    /// assert_eq!(election.contenders().await?.len(), 1);
    /// leader.resign().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`campaign`](Self::campaign).
    ///
    /// # Cancel safety
    ///
    /// As of [`campaign`](Self::campaign).
    pub async fn try_campaign(&self) -> Result<Option<LeaderGuard>, Error> {
        let Some(guard) = self.line.stand(Patience::None).await? else { return Ok(None) };
        self.announce(&guard, Patience::None).await?;
        Ok(Some(LeaderGuard { guard }))
    }

    /// Who leads now; `None` while nobody does. As old as any read.
    ///
    /// # Errors
    ///
    /// Those of a get.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        self.observer()?.look().await.map(|seen| seen.leader)
    }

    /// Who leads, now and after each change, for as long as it is listened to.
    ///
    /// If somebody deletes or overwrites `leader`, nobody is seen to lead until the next one does.
    /// Its tokens never go back; leaderships that were over before they could be seen are left out.
    /// It outlives sessions.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::pin::pin;
    /// use std::sync::Arc;
    /// use futures::StreamExt;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::Election;
    /// let conn = Arc::new(MemoryConn::new());
    /// let election = Election::new(conn.clone(), "/app/election");
    /// let mut leaders = pin!(election.observe());
    /// assert!(leaders.next().await.unwrap()?.is_none());
    /// let guard = election.campaign().await?;
    /// assert_eq!(&leaders.next().await.unwrap()?.unwrap().token, guard.token());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of a get, as items; behind one it looks again.
    pub fn observe(&self) -> impl Stream<Item = Result<Option<Leader>, Error>> + Send + use<> {
        futures::stream::unfold(self.observer(), |observer| async {
            match observer {
                Ok(mut observer) => {
                    let next = observer.next().await;
                    Some((next, Ok(observer)))
                }
                // A bad path stays one: it is told once.
                Err(err) if err.op().is_empty() => None,
                Err(err) => Some((Err(err.clone()), Err(err.during("")))),
            }
        })
    }

    /// Who leads and who stands, in the order of their turns.
    ///
    /// # Errors
    ///
    /// As of [`Lock::contenders`](super::Lock::contenders).
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        let dir = self.line.dir.clone().map_err(|err| err.during("contenders"))?;
        contenders(&self.line.conn, dir).await
    }

    fn observer(&self) -> Result<Observer, Error> {
        let leader = self.leader.clone().map_err(|err| err.during("observe"))?;
        let candidates = self.line.dir.clone().map_err(|err| err.during("observe"))?;
        Ok(Observer::new(self.line.conn.clone(), leader, candidates))
    }

    async fn campaign_with(&self, patience: Patience) -> Result<LeaderGuard, Error> {
        let late = || self.line.error(ErrorKind::Timeout);
        let campaign = async {
            let guard = self.line.stand(patience).await?.ok_or_else(late)?;
            self.announce(&guard, patience).await?;
            Ok(LeaderGuard { guard })
        };
        patience.bounds(late, campaign).await
    }

    /// Says who leads, as long as it does.
    async fn announce(&self, guard: &Guard, patience: Patience) -> Result<(), Error> {
        let leader = self.leader.clone().map_err(|err| err.during(VERB))?;
        let record = LeaderRecord {
            owner: Owner::here(""),
            candidate: Some(guard.path().name().to_owned()),
            token: Some(guard.token().to_string()),
            info: self.info.clone(),
        };
        // Strings and numbers always become JSON.
        let data = serde_json::to_vec(&record).unwrap_or_default();
        let options = CreateOptions::from(Mode::Persistent).with_acl(self.line.acl.clone());
        let set = || Multi::new().set(&leader, &data, Version::Any);
        let create = || Multi::new().create(&leader, &data, &options);
        let mut missing = false;
        loop {
            let said = if missing { create() } else { set() };
            let err = match guard.held().own_multi(said).await {
                Ok(_) => return Ok(()),
                Err(err) => err.during(VERB),
            };
            match err.kind() {
                ErrorKind::NoNode if !missing => missing = true,
                ErrorKind::NodeExists if missing => missing = false,
                ErrorKind::NotSent | ErrorKind::OutcomeUnknown | ErrorKind::ConnectionLoss => {
                    if patience.remaining().is_zero() {
                        return Err(self.line.error(ErrorKind::Timeout));
                    }
                    sleep(PAUSE).await;
                }
                _ => return Err(err),
            }
        }
    }
}

#[cfg(test)]
mod tests;
