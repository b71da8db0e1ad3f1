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
//! # Who shares a path with whom
//!
//! Each recipe has the nodes of the system that it comes from, so clients of both exclude, or wait
//! for, one another on one path. What these do not know, as owners and tokens, is in the data, which
//! none of them reads.
//!
//! | recipe | mixes with | what theirs lack |
//! |---|---|---|
//! | [`RwLock`] | zksync's `RWMutex` by its default names; Curator's `InterProcessReadWriteLock` and Kazoo's `ReadLock` and `WriteLock` by [`LockNames`]; [`Lock`]s, which write | no other child may be there for zksync's clients |
//! | [`Barrier`] | zksync's `Barrier`, Curator's `DistributedBarrier`, Kazoo's `Barrier` | may sleep through an opening that is closed again at once |
//! | [`DoubleBarrier`] | zksync's `DoubleBarrier`; rounds begin and end together with Curator's `DistributedDoubleBarrier` and Kazoo's `DoubleBarrier`, too | a `ready` left by a crash lets them in; Kazoo's take it away when the first of them leaves |
//! | [`CyclicBarrier`] | none: menagerie's two versions do not agree with each other | |

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
mod names;
mod owner;
mod passing;
mod pid_node;
mod place;
mod proof;
mod queue_lock;
mod record;
mod rw_lock;
mod token;
mod wait;

pub use barrier::Barrier;
pub use contenders::{Contender, contenders};
pub use cyclic_barrier::CyclicBarrier;
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
pub use rw_lock::{RwLock, WriteGuard};
pub use token::Token;
