//! Operations on whole subtrees.
//!
//! ZooKeeper creates and deletes one node at a time and wants the parent first. These functions do
//! what `mkdir -p`, `rm -r`, `find` and `cp -r` do, in few round trips: reads go out by the
//! thousand, writes in atomic batches of some hundred. A batch is atomic; the whole is not, and
//! each function says what a failure leaves behind.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use zkcells::{MemoryConn, Mode, tree};
//! let conn = MemoryConn::new();
//! tree::create_all(&conn, "/app/jobs/next", "7", Mode::Persistent).await?;
//! tree::copy(&conn, "/app", "/backup", Mode::Persistent).await?;
//! assert_eq!(tree::walk(&conn, "/backup").await?, ["/backup/jobs", "/backup/jobs/next"]);
//! assert_eq!(tree::remove_all(&conn, "/app").await?, 3);
//! # Ok(()) }
//! ```

mod ancestors;
mod batch;
mod copy;
mod create;
mod create_many;
mod remove;
mod walk;

pub use copy::{Copied, copy};
pub use create::{create_all, put};
pub use create_many::{Created, create_many};
pub use remove::remove_all;
pub use walk::{Walked, walk, walk_partial};

/// How often something is begun anew because others changed the tree meanwhile.
const ROUNDS: u32 = 10;

/// How many requests of one call are under way at once.
const IN_FLIGHT: usize = 8;

/// How many reads go into one request.
const READS_AT_ONCE: usize = 1000;
