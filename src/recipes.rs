//! Recipes: what people coordinate with, on any connection.
//!
//! First a [`Lock`], next its [`Guard`], now the work:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use zkcells::MemoryConn;
//! use zkcells::recipes::{Lock, with};
//! let conn = Arc::new(MemoryConn::new());
//! let guard = Lock::new(conn.clone(), "/app/lock").acquire_within(Duration::from_secs(5)).await?;
//! with(guard, async { /* ends early if the lock is lost */ }).await?;
//! # Ok(()) }
//! ```
//!
//! # Which one
//!
//! | recipe | what you get | its nodes | shares a path with |
//! |---|---|---|---|
//! | [`Lock`] | one holder at a time, in the order of arrival | `<path>/lock-N`, or another system's | Vitess, menagerie; Curator, Kazoo and zksync's writers with their [`LockNames`] |
//! | [`RwLock`] | one writer or many readers, in the order of arrival | `<path>/_c_<id>-read-N`, `…-write-N`, or another system's | zksync; Curator and Kazoo with their [`LockNames`]; any [`Lock`], which writes |
//! | [`QueueLock`] | one holder at a time, in the order of names, on nodes that you made | `<queue>/<any>` | Vitess, as long as no name sorts before those that are there |
//! | [`Election`] | one leader at a time, whom everybody can observe, and a task done while leading | `<path>/candidates/lock-N`, `<path>/leader` | Vitess's `ZElector` |
//! | [`Barrier`] | a gate that one closes and anybody opens | `<path>` | zksync, Curator, Kazoo, which may sleep through an opening that is closed again at once |
//! | [`DoubleBarrier`] | parties that begin together and leave together | `<path>/<id>`, `<path>/ready` | zksync, Curator, Kazoo, whose parties let themselves in by a `ready` that a crash has left |
//! | [`CyclicBarrier`] | parties that wait for each other, again and again | `<path>`, `<path>/party-<id>` | nobody else |
//! | [`ShardLock`] | a range of [0, 1) for each of those who divide a job, and a word when they should divide it anew | `<path>/group-N/node-N` | `shard-lock` 2.0.1 (Node) |
//! | [`PidNode`] | a node that is there as long as this process | `<path>` | whoever reads it |
//! | [`FencedRegister`] | a value that holders of older tokens cannot write | `<path>` | nobody else |
//!
//! [`contenders`] shows who holds and who waits, whichever of these systems they are of; for ranges,
//! [`shard_contenders`] does.
//!
//! # Clients of other libraries
//!
//! | | zksync (Go) | Curator (Java) | Kazoo (Python) | menagerie (Java) |
//! |---|---|---|---|---|
//! | [`RwLock`] | its own names; its writers fail on any other child | [`LockNames::Curator`] | [`LockNames::Kazoo`], but for its `Lock`, which passes readers over | no, other names |
//! | [`Barrier`] | yes | `DistributedBarrier` | `Barrier` | has none |
//! | [`DoubleBarrier`] | yes | `DistributedDoubleBarrier` | `DoubleBarrier` | has none |
//! | [`CyclicBarrier`] | has none | has none | has none | no: its two versions exclude each other |
//!
//! Those of Curator and Kazoo are run against these by the tests; zksync's share the layout. What
//! theirs lack, theirs lack here too: they do not say how many they wait for, do not count again when
//! the one has died who had counted all, and go by a `ready` that others have left. So where they
//! take part in a double barrier, a round begins when the last one is out of the one before. A
//! `DoubleBarrier` of Kazoo looks for its path once, and says nothing when it does not get in: make
//! another for each round, and look at its `participating`.
//!
//! # What a guard promises
//!
//! Until [`Guard::valid_until`] nobody else holds the same thing, whatever the network and the
//! servers do: that is half a session timeout behind the last committed write of the session, and
//! servers keep a session for longer than that. No word from the network is needed to lose it; once
//! lost it stays lost. What it cannot know is a pause of this process between a look at the guard
//! and what is done next. For that there are, from the strongest to the weakest:
//!
//! 1. [`Guard::multi`], where what is done is a write in the same cell: the servers check.
//! 2. [`Guard::token`], where the resource can remember the newest token it has seen:
//!    [`FencedRegister`] is such a resource, and three lines make another.
//! 3. [`Lock::with_delay`], where it cannot.
//!
//! # What it costs
//!
//! An uncontended lock costs three requests in two round trips: the own node and the list in one
//! flight, and the deletion. A waiter costs two watches and is woken once, when its turn comes. A
//! guard costs one committed write in every sixth of the session timeout, for all guards of the same
//! session together: with the default of 15 s, 0.4 writes a second for each process and cell that
//! holds anything. Nothing is renewed while nothing is held.
//!
//! # Rules of all
//!
//! - A lost reply is no failure: the own node is found again by the random id that it carries, and
//!   is believed to be ours only if this session owns it.
//! - A watch is a hint to look again. A lost one costs those who wait about a session timeout, and
//!   observers half a minute, not for ever. Where a session has no room for another watch, those who wait
//!   look about once a second.
//! - Whoever leaves, by whatever way, leaves no node: dropped futures and guards are cleared up
//!   behind on a thread of their own, for as long as the session lives.
//! - A session's end ends what hangs on it; nothing goes on in the next session in its name.
//! - What is dropped is removed while the process goes on; if it ends at once, its nodes go with their
//!   session. Each guard that is older than a moment watches its node, so one session carries some
//!   1,900 of them ([`TooManyWatches`](crate::ErrorKind::TooManyWatches)).
//! - Other children of a directory are passed over; what an operator deletes is lost, and told.
//! - On a set of quorums ([`GlobalConn`](crate::GlobalConn)) the first decides, and mirrors that are away
//!   hold up nobody: they get behind what a recipe writes for itself. What users write through a guard is
//!   confirmed as the set requires.

mod barrier;
mod contenders;
mod cyclic_barrier;
mod delay;
mod directory;
mod double_barrier;
mod election;
mod ending;
mod fence;
mod guard;
mod held;
mod line;
mod lock;
mod look;
mod names;
mod ours;
mod owner;
mod passing;
mod pid_node;
mod place;
mod proof;
mod queue_lock;
mod record;
mod rw_lock;
mod shard_lock;
mod token;
mod wait;

pub use barrier::Barrier;
#[cfg(feature = "cli")]
pub(crate) use barrier::closing;
pub use contenders::{Contender, contenders};
pub use cyclic_barrier::CyclicBarrier;
#[cfg(feature = "cli")]
pub(crate) use cyclic_barrier::{Census, Waiter, census};
#[cfg(feature = "cli")]
pub(crate) use double_barrier::{Attendee, Roster, roster};
pub use double_barrier::{DoubleBarrier, Inside};
pub use election::{Election, Leader, LeaderGuard, Leadership};
pub use fence::{FencedRegister, FencedValue};
pub use guard::{Guard, Released, with};
pub use held::GuardState;
pub use lock::Lock;
pub use names::{LockMode, LockNames};
pub use owner::Owner;
pub use pid_node::{PidGuard, PidLoss, PidNode, PidPolicy, PidState};
pub use queue_lock::QueueLock;
#[cfg(feature = "cli")]
pub(crate) use record::Record;
pub use rw_lock::{RwLock, WriteGuard};
pub use shard_lock::{Shard, ShardContender, ShardGuard, ShardLock, shard_contenders};
pub use token::Token;
