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
