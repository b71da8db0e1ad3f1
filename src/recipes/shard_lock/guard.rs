//! What a worker gets: a range, and what tells of its end.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::groups::{self, Nodes, View};
use crate::background::{KEEPER, sleep};
use crate::conn::{ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{Acl, CreateOptions, Mode};
use crate::path::ZkPath;
use crate::recipes::guard::{Guard, Released};
use crate::recipes::held::Held;
use crate::recipes::names;
use crate::recipes::owner::Owner;
use crate::recipes::place::is_over;
use crate::recipes::token::Token;
use crate::recipes::wait::recheck;
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// The pause behind a look that failed while the session lives.
const PAUSE: Duration = Duration::from_millis(100);

/// Which of how many equal ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) index: usize,
    pub(super) of: usize,
}

impl Range {
    /// Where it starts.
    pub(super) fn from(self) -> f64 {
        edge(self.index, self.of)
    }

    /// Where it ends, which is to the bit where the next one starts.
    pub(super) fn to(self) -> f64 {
        edge(self.index + 1, self.of)
    }
}

fn edge(index: usize, of: usize) -> f64 {
    // Exact: a group's data has room for far fewer than 2^53 members.
    #[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
    let edge = index as f64 / of as f64;
    edge
}

/// A range of a system as seen by whoever works on it. Clones are of the same range; none of them
/// keeps it.
#[derive(Clone)]
pub struct Shard {
    held: Arc<Held>,
    facts: Arc<Facts>,
    stop: Option<watch::Receiver<bool>>,
}

#[derive(Debug)]
struct Facts {
    base: ZkPath,
    group: ZkPath,
    members: Vec<i32>,
    range: Range,
    acl: Vec<Acl>,
}

/// A range that is held: a [`Guard`], until it is released, acknowledged, dropped or lost.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::MemoryConn;
/// use zkcells::recipes::{Released, ShardLock};
/// let shard = ShardLock::new(MemoryConn::new(), "/table").acquire().await?;
/// for position in [0.0, 0.5, 0.999] {
///     assert!(shard.contains(position));
/// }
/// assert!(!shard.check().await?, "nobody came or went");
/// assert_eq!(shard.ack().await, Released::Released);
/// # Ok(()) }
/// ```
///
/// Dropping it releases in the background, without a wait.
#[derive(Debug)]
#[must_use = "dropping it releases the range"]
pub struct ShardGuard {
    guard: Guard,
    shard: Shard,
}

impl Deref for ShardGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl ShardGuard {
    pub(super) fn new(
        guard: Guard,
        base: ZkPath,
        group: ZkPath,
        members: Vec<i32>,
        range: Range,
        acl: Vec<Acl>,
    ) -> Self {
        let facts = Arc::new(Facts { base, group, members, range, acl });
        let shard = Shard { held: guard.held().clone(), facts, stop: None };
        ShardGuard { guard, shard }
    }

    /// Where the range starts, itself included: in [0, 1).
    pub fn from(&self) -> f64 {
        self.shard.from()
    }

    /// Where the range ends, itself excluded: in (0, 1]. It is the start of the next range.
    pub fn to(&self) -> f64 {
        self.shard.to()
    }

    /// Whether `position` is in the range.
    pub fn contains(&self, position: f64) -> bool {
        self.shard.contains(position)
    }

    /// The system that the range is a part of. The own node is [`node`](Self::node).
    pub fn path(&self) -> &ZkPath {
        self.shard.path()
    }

    /// The own node.
    pub fn node(&self) -> &ZkPath {
        self.guard.path()
    }

    /// Which of the ranges it is, from 0.
    ///
    /// Together with the [`token`](Guard::token) it names the range for good: all ranges of one
    /// generation have one token, and no two of them an index; any range of a later generation has a
    /// greater token. So what belongs to a position takes the token alone for a fence.
    pub fn index(&self) -> usize {
        self.shard.index()
    }

    /// How many ranges there are.
    pub fn of(&self) -> usize {
        self.shard.of()
    }

    /// The range for those who work on it, to be cloned and taken along.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Whether a reshard is wanted, as [`Shard::check`].
    ///
    /// # Errors
    ///
    /// As of [`Shard::check`].
    pub async fn check(&self) -> Result<bool, Error> {
        self.shard.check().await
    }

    /// Waits until a reshard is wanted, as [`Shard::requested`].
    ///
    /// # Errors
    ///
    /// As of [`Shard::requested`].
    ///
    /// # Cancel safety
    ///
    /// As of [`Shard::requested`].
    pub async fn requested(&self) -> Result<(), Error> {
        self.shard.requested().await
    }

    /// Gives back the range in the middle of things, and says whether it was held until then. The
    /// others of the group are asked to reshard.
    ///
    /// It takes no longer than the guard is valid. Whoever leaves a group as the last one removes it,
    /// in the background.
    ///
    /// # Cancel safety
    ///
    /// It goes on in the background when the future is dropped.
    pub async fn release(self) -> Released {
        self.leave().await
    }

    /// Gives back the range because the work on it is done, and says whether it was held until then.
    /// Nobody is asked to reshard because of it.
    ///
    /// The word of it and the end of the own node are one transaction, so it is said once at most,
    /// however often a reply is lost. Behind a loss nothing is said.
    ///
    /// # Cancel safety
    ///
    /// It goes on in the background when the future is dropped.
    pub async fn ack(mut self) -> Released {
        if self.guard.is_valid() {
            let id = names::random_id();
            let (_, stem) = groups::stems();
            let options = CreateOptions::from(Mode::PersistentSequential)
                .with_acl(self.shard.facts.acl.clone())
                .with_id(id.as_str());
            let word = self.shard.facts.group.child(stem);
            self.guard.place_mut().leave_node(word, Owner::here(&id).to_json(), options);
        }
        self.leave().await
    }

    async fn leave(self) -> Released {
        let ShardGuard { guard, shard } = self;
        let released = guard.release().await;
        if released == Released::Released {
            let tidy = async move { shard.tidy().await };
            // Without a thread for it, who comes next does it.
            let _ = KEEPER.spawn(tidy);
        }
        released
    }
}

impl Shard {
    /// Where the range starts, itself included: in [0, 1).
    pub fn from(&self) -> f64 {
        self.facts.range.from()
    }

    /// Where the range ends, itself excluded: in (0, 1]. It is the start of the next range.
    pub fn to(&self) -> f64 {
        self.facts.range.to()
    }

    /// Whether `position` is in the range.
    pub fn contains(&self, position: f64) -> bool {
        (self.from()..self.to()).contains(&position)
    }

    /// The system that the range is a part of.
    pub fn path(&self) -> &ZkPath {
        &self.facts.base
    }

    /// Which of the ranges it is, from 0.
    pub fn index(&self) -> usize {
        self.facts.range.index
    }

    /// How many ranges there are.
    pub fn of(&self) -> usize {
        self.facts.range.of
    }

    /// The mark of this generation of ranges, for resources that refuse older ones.
    pub fn token(&self) -> &Token {
        &self.held.token
    }

    /// The session that it hangs on.
    pub fn session(&self) -> &Session {
        &self.held.session
    }

    /// Whether it is held at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Until when it is surely held, by what is proved now. Past, if it is lost.
    pub fn valid_until(&self) -> Deadline {
        self.held.valid_until()
    }

    /// Waits until it is lost, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn lost(&self) -> Loss {
        self.held.lost().await
    }

    /// Writes that are done only if it is still held when the servers do them. As [`Guard::multi`].
    ///
    /// # Errors
    ///
    /// As of [`Guard::multi`].
    pub fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        self.held.multi(ops.into())
    }

    /// Whether a reshard is wanted: somebody waits for a range, or one of the group is gone without
    /// a word. `true` as well when the range is lost.
    ///
    /// # Errors
    ///
    /// Those of a listing, as long as it is held.
    pub async fn check(&self) -> Result<bool, Error> {
        let told = async {
            let listed = self.held.conn.children(&self.facts.group).await?;
            if self.is_left(&listed.names)? {
                return Ok(true);
            }
            let view = View::of(&self.held.conn, &self.facts.base, Some(&self.facts.group)).await?;
            Ok(view.is_none_or(|view| view.awaiting().is_some()))
        };
        self.or_lost(told.await)
    }

    /// Waits until a reshard is wanted, or the range is lost.
    ///
    /// A lost watch costs no more than about a session timeout: then it is looked again. What a
    /// connection loses meanwhile is borne.
    ///
    /// # Errors
    ///
    /// What another try would meet as well, such as `NoAuth`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn requested(&self) -> Result<(), Error> {
        loop {
            let waited = tokio::select! {
                biased;
                _ = self.lost() => return Ok(()),
                waited = self.wait_for_change() => self.or_lost(waited),
            };
            match waited {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(err) => match err.kind() {
                    ErrorKind::NotSent
                    | ErrorKind::Timeout
                    | ErrorKind::ConnectionLoss
                    | ErrorKind::TooManyWatches => sleep(PAUSE).await,
                    _ => return Err(err),
                },
            }
        }
    }

    /// Waits until the work is to come to an end: a reshard is wanted, the range is lost, or the
    /// [run](super::ShardLock::run) was interrupted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped(&self) {
        let told = async {
            match self.stop.clone() {
                // Whoever could tell is gone: then the run was dropped.
                Some(mut stop) => drop(stop.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        };
        let requested = async {
            if self.requested().await.is_err() {
                // Nobody may know; then it ends by a loss or a word.
                self.lost().await;
            }
        };
        tokio::select! {
            () = told => {}
            () = requested => {}
        }
    }

    pub(super) fn told_by(&self, stop: watch::Receiver<bool>) -> Self {
        Shard { stop: Some(stop), ..self.clone() }
    }

    /// Looks, and if nothing is wanted waits for the next change. `true` if a reshard is wanted.
    async fn wait_for_change(&self) -> Result<bool, Error> {
        let Facts { base, group, .. } = &*self.facts;
        let conn = &self.held.conn;
        let (members, groups) = (conn.children_watch(group), conn.children_watch(base));
        let ((listed, member), (_, other)) = (members.await?, groups.await?);
        if self.is_left(&listed.names)? {
            return Ok(true);
        }
        // The watch stands, so whatever comes behind this look is told.
        let view = View::of(conn, base, Some(group)).await?;
        if view.is_none_or(|view| view.awaiting().is_some()) {
            return Ok(true);
        }
        tokio::select! {
            _ = member => {}
            _ = other => {}
            () = sleep(recheck(&self.held.session)) => {}
        }
        Ok(false)
    }

    /// Whether more of the group are gone than said so. Nodes of those who came too late hide nobody.
    fn is_left(&self, names: &[String]) -> Result<bool, Error> {
        let Facts { group, members, .. } = &*self.facts;
        let nodes = Nodes::of(group, names)?;
        let there = members.iter().filter(|number| nodes.has(**number)).count();
        Ok(there + nodes.acks.len() < members.len())
    }

    /// What is lost wants to be resharded, whatever a look at it said.
    fn or_lost(&self, looked: Result<bool, Error>) -> Result<bool, Error> {
        match looked {
            _ if !self.is_valid() => Ok(true),
            Err(err) if err.kind() == ErrorKind::NoNode || is_over(err.kind()) => Ok(true),
            looked => looked.map_err(|err| err.during("check")),
        }
    }

    /// Removes the group, if nobody is left in it.
    async fn tidy(&self) {
        let Facts { group, .. } = &*self.facts;
        let conn = &self.held.conn;
        let Ok(listed) = conn.children(group).await else { return };
        let Ok(nodes) = Nodes::of(group, &listed.names) else { return };
        if nodes.members.is_empty() {
            groups::delete(conn, group, listed.stat.version, &nodes.acks).await;
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("path", self.path())
            .field("range", &format_args!("[{}, {})", self.from(), self.to()))
            .field("token", &format_args!("{}", self.token()))
            .field("state", &self.held.state())
            .finish_non_exhaustive()
    }
}
