//! A shard lock: the workers of a batch job divide [0, 1) among themselves.
//!
//! ```text
//! <path>                                persistent; made if its parent is there, and never deleted
//! <path>/group-0000000007               persistent; one per generation of ranges
//!     no data                           awaits members
//!     a little-endian int32 for each    published: its members' numbers, in the order of the ranges
//! <path>/group-…/node-0000000003        ephemeral sequential: a member; its owner as JSON
//! <path>/group-…/ack-0000000005         persistent sequential: a member left because it was done
//! ```
//!
//! A generation:
//!
//! ```text
//!   join ──▶ waiting ──▶ published with it ──▶ held ──▶ released, acknowledged, or lost
//!    ▲          │ too late for the list          │ somebody joins the next group,
//!    └──────────┘                                ▼ or leaves this one without a word
//!                                         requested: finish, give back, acquire again
//! ```
//!
//! The first member by name leads: it waits until nobody holds a range of an older group, then for
//! `wait_time`, so that those who come together get into one generation, and publishes the list of
//! members. Of n members the one at place i of the list holds [i/n, (i+1)/n): all go by the list that
//! is stored, nobody by what it has seen itself. A leader that dies is followed by the next member.
//!
//! **Races.** Joining is one transaction with a condition on the group's data version, so nobody gets
//! into a group that is published; publishing is one with conditions that nobody has joined or
//! published since the leader looked. Whoever is not in the list all the same (original leaders know no
//! such conditions) removes its node and joins the next group, within the same call.
//!
//! **Loss.** A node goes with its session, on every way out, and the guard tells by then as every
//! [`Guard`](super::Guard) does: so the next generation starts when each holder has released, has said
//! that it is done, or may surely no longer believe to hold. One who holds and does not look holds
//! everybody up; [`contenders`](ShardLock::contenders) says who that is.
//!
//! **Interoperation.** Layout, list, order and words are those of `shard-lock` 2.0.1 (Node), so both
//! kinds of workers share one system; 1.x wrote its list as text. Not taken over: it deletes the path
//! when nobody is left, and makes it anew, which loses the access list and lets whoever looks at that
//! moment believe to be alone. Others may have made the path, and numbers that go on are worth more
//! than a tidy tree, so here it is never deleted. Children with other names are left in peace, where it
//! takes any child of the path for a group, and any with `node-` in its name for a member. A worker
//! of the original that comes too late may still leave a member that nobody works for, and its
//! generation then lasts as long as that session.
//!
//! **Groups.** A group that awaits members asks nobody to reshard before somebody is in it, and whoever
//! leaves it as the last one, without a range, deletes it. Of two that await members at once, as
//! originals may make, the first by name is published first: who leads a later one moves there. A list
//! that came by a copy of the tree, with the numbers of members elsewhere, is one of those who left.
//!
//! **Limits.** While originals take part, a join under one of their leaders that was delayed past a whole
//! generation, and past a deletion of the path by them, may clear a later list of the same version. An
//! original that joins an empty group before ours, right between our look at that and our publication,
//! publishes beside it: the guard of ours gives way if it is not granted by then, and otherwise the two
//! hold at once until one of them leaves. Such a group is there only where an original has just deleted
//! the path and made it anew.
//!
//! A node with a member's name that is of no session, as a copy of the tree has them, is told by whoever
//! leads its group or waits for it there. Where a list of others names it, it holds its range until
//! somebody deletes it, and [`contenders`](ShardLock::contenders) shows it with the session 0.
//!
//! What the path holds stays as it is, but each publication raises its data version: a compare-and-set
//! on it may have to look again, and one that is tried all the time keeps leaders from publishing.

mod contenders;
mod groups;
mod guard;
mod join;
mod list;
mod member;
mod names;
mod run;
mod shard;
mod stay;

use std::time::Duration;

pub use contenders::{ShardContender, shard_contenders};
pub use guard::ShardGuard;
pub use shard::Shard;

use super::ours::Ours;
use super::wait::{Patience, told};
use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::Acl;
use crate::path::{IntoPath, ZkPath};

/// What errors call it.
const VERB: &str = "acquire";
/// How long a leader waits for others to join, unless told otherwise.
const WAIT_TIME: Duration = Duration::from_millis(500);

/// A system that workers divide among themselves: each holds a range of [0, 1).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::time::Duration;
/// use zkcells::MemoryQuorum;
/// use zkcells::recipes::ShardLock;
/// let quorum = MemoryQuorum::new();
/// let worker = || ShardLock::new(quorum.connect(), "/table").with_wait_time(Duration::from_millis(50));
/// let (one, two) = (worker(), worker());
/// let (a, b) = tokio::try_join!(one.acquire(), two.acquire())?;
/// let first = if a.index() == 0 { &a } else { &b };
/// assert_eq!((first.from(), first.to(), first.of()), (0.0, 0.5, 2));
/// // A third one comes: whoever holds a range finishes, and acquires again.
/// let three = worker();
/// let (third, again) = tokio::join!(three.acquire(), async {
///     a.requested().await?;
///     a.ack().await;
///     b.ack().await;
///     tokio::try_join!(one.acquire(), two.acquire())
/// });
/// assert_eq!((third?.of(), again?.0.of()), (3, 3));
/// # Ok(()) }
/// ```
///
/// Each acquire is a member for itself: one connection may hold several ranges.
/// [`run`](Self::run) is the loop around it, and `cargo run --example shards` shows it at work on a table:
/// one worker dies, one joins, and each row is processed once.
///
/// After `shard-lock` (Manuel Valls, 2017).
#[derive(Clone, Debug)]
pub struct ShardLock {
    conn: Ours,
    path: Result<ZkPath, Error>,
    wait_time: Duration,
    acl: Vec<Acl>,
}

impl ShardLock {
    /// The system at `path`. Nothing is done yet; a bad path is told by the first use.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        let (conn, path) = (Ours::new(conn), path.into_path());
        ShardLock { conn, path, wait_time: WAIT_TIME, acl: Acl::open() }
    }

    /// The same, waiting for `wait_time` instead of 500 ms for others to join, when this worker is the
    /// one who publishes. The shorter, the sooner ranges are assigned; whoever comes later makes all
    /// others go round again.
    #[must_use]
    pub fn with_wait_time(mut self, wait_time: Duration) -> Self {
        self.wait_time = wait_time;
        self
    }

    /// The same with another access list for the nodes that are made. All workers need every right on
    /// the path and on the groups that others make in it, and may read each other's nodes.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Waits for a range, however long older ones are held.
    ///
    /// # Errors
    ///
    /// `NoNode` when the parent of the path does not exist. `SessionExpired` when the session ended
    /// meanwhile, `Revoked` when somebody deleted the own node. `Unexpected`, with the node, where a
    /// group's data is no list of members, or a member is of no session. `Contended` when others came
    /// between a hundred times, as hundreds do who come at once under a leader of the original.
    /// Whatever keeps the own node from being made: `NotSent` when
    /// no server answers, `NoAuth`, and the like. Once it is made, a cell that does not answer is
    /// waited for as long as the session may live.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the group; the own node is removed in the background,
    /// and the group with it if nobody else is in it. So it is behind an error.
    pub async fn acquire(&self) -> Result<ShardGuard, Error> {
        self.acquire_with(Patience::Endless).await
    }

    /// Waits for a range, at most for `wait` in all: for the end of older ranges, and for others to join.
    ///
    /// Whoever leads waits for the [wait time](Self::with_wait_time) behind the end of older ranges, so
    /// with less than that in `wait` nobody gets a range who comes alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use zkcells::recipes::ShardLock;
    /// use zkcells::{ErrorKind, MemoryConn};
    /// let shards = ShardLock::new(MemoryConn::new(), "/table").with_wait_time(Duration::ZERO);
    /// let _slow = shards.acquire().await?;
    /// let err = shards.acquire_within(Duration::from_millis(50)).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::Timeout);
    /// // Who holds it up?
    /// let slow = shards.contenders().await?.into_iter().find(|one| one.holds()).unwrap();
    /// println!("{} on {:?}", err, slow.owner.map(|owner| (owner.hostname, owner.pid)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Timeout` when there was none by then, with a word on what it waited for, and those of
    /// [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, wait: Duration) -> Result<ShardGuard, Error> {
        self.acquire_with(Patience::within(wait)).await
    }

    /// Waits for a range unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn acquire_unless(
        &self,
        stop: impl Future<Output = ()>,
    ) -> Result<ShardGuard, Error> {
        tokio::select! {
            biased;
            guard = self.acquire() => guard,
            () = stop => Err(self.error(ErrorKind::Cancelled)),
        }
    }

    /// Who holds a range, and who waits for one. As [`shard_contenders`].
    ///
    /// # Errors
    ///
    /// As of [`shard_contenders`].
    pub async fn contenders(&self) -> Result<Vec<ShardContender>, Error> {
        let path = self.path.clone().map_err(|err| err.during("contenders"))?;
        shard_contenders(&self.conn, path).await
    }

    async fn acquire_with(&self, patience: Patience) -> Result<ShardGuard, Error> {
        let base = self.path.clone().map_err(|err| err.during(VERB))?;
        let came = async {
            loop {
                // Without one it was too late for its group: it joins another.
                if let Some(guard) = self.join(&base, patience).await?.wait(self, patience).await? {
                    return Ok(guard);
                }
            }
        };
        let late = || self.error(ErrorKind::Timeout).with_detail("no server answered by then");
        let acquired = patience.bounds(late, came).await;
        acquired.map_err(|err| {
            let err = told(err.during(VERB), patience);
            if err.kind() == ErrorKind::Timeout { err.at(&base) } else { err }
        })
    }

    /// An error of the whole.
    fn error(&self, kind: ErrorKind) -> Error {
        match &self.path {
            Ok(path) => Error::new(VERB, path, kind),
            Err(err) => err.clone().during(VERB),
        }
    }
}

#[cfg(test)]
mod tests;
