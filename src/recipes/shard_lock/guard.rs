//! What a worker gets: a range that is held, and the ways to give it back.

use std::ops::Deref;

use super::names::ACK;
use super::shard::{Facts, Shard};
use crate::background::KEEPER;
use crate::error::Error;
use crate::node::{Acl, CreateOptions, Mode};
use crate::path::ZkPath;
use crate::recipes::guard::{Guard, Released};
use crate::recipes::names;
use crate::recipes::owner::Owner;

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
/// Dropping it releases in the background, without a wait, and removes the group behind the last one.
#[derive(Debug)]
#[must_use = "dropping it releases the range"]
pub struct ShardGuard {
    guard: Guard,
    shard: Shard,
    acl: Vec<Acl>,
    // Behind the guard, which gives the node back.
    tidies: Tidies,
}

/// Sees to the group when the range was given back, whichever way.
#[derive(Debug)]
struct Tidies(Shard);

impl Drop for Tidies {
    fn drop(&mut self) {
        let shard = self.0.clone();
        // Without a thread for it, who comes next does it.
        let _ = KEEPER.spawn(async move { shard.tidy().await });
    }
}

impl Deref for ShardGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl ShardGuard {
    pub(super) fn new(guard: Guard, facts: Facts, acl: Vec<Acl>) -> Self {
        let shard = Shard::new(guard.held().clone(), facts);
        let tidies = Tidies(shard.clone());
        ShardGuard { guard, shard, acl, tidies }
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
    /// in the background, for as long as the session lives; behind that, who comes next does.
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
    /// however often a reply is lost. Behind a loss nothing is said: what is not sent by
    /// [`valid_until`](Guard::valid_until) is not sent any more. Where servers refuse the word, as a
    /// group's access list may, the range is released without it.
    ///
    /// # Cancel safety
    ///
    /// It goes on in the background when the future is dropped.
    pub async fn ack(mut self) -> Released {
        if self.guard.is_valid() {
            let id = names::random_id();
            let options = CreateOptions::from(Mode::PersistentSequential)
                .with_acl(self.acl.clone())
                .with_id(id.as_str());
            let (word, by) = (self.shard.group().child(ACK), self.guard.valid_until());
            self.guard.place_mut().leave_node(word, Owner::here(&id).to_json(), options, by);
        }
        self.leave().await
    }

    async fn leave(self) -> Released {
        let ShardGuard { guard, tidies, .. } = self;
        let released = guard.release().await;
        drop(tidies);
        released
    }
}
