//! Histories of what clients asked and were told, and a judge of them.
//!
//! A [`History`] records what passes through its [connections](History::conn), whatever they are
//! made of; [`check`](History::check) says whether it is one that the contract of
//! [`Conn`](crate::Conn) allows. A [`Workload`] makes one: clients that write and read a few nodes
//! at random, while something of yours breaks what they stand on.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use std::sync::Arc;
//! use zkcells::testing::history::Workload;
//! use zkcells::{Conn, Error, MemoryQuorum};
//! let quorum = MemoryQuorum::new();
//! let connect = |_| {
//!     let conn: Arc<dyn Conn> = Arc::new(quorum.connect());
//!     async { Ok::<_, Error>(conn) }
//! };
//! let faults = async { tokio::time::sleep(std::time::Duration::from_millis(50)).await };
//! let (history, ()) = Workload::new(7).run("/registers", connect, faults).await?;
//! let report = history.check();
//! println!("{report}");
//! assert!(report.calls > 0 && report.violations.is_empty());
//! # Ok(()) }
//! ```
//!
//! # What is judged
//!
//! Each node is a register: its data with its version, or nothing.
//!
//! - **Writes are linearizable** ([`Fault::NotLinearizable`]): creates, sets and deletes, whether they
//!   were carried out or refused for the node's state, have one order that agrees with real time and
//!   gives each of them the answer that it got. `OutcomeUnknown`, and no answer at all, leave it
//!   open: the write may have been applied at any time after it was asked for, or never. Any other
//!   error says that it was not applied, and is taken at its word.
//! - **Reads right behind a `sync`** of the same node on the same connection are part of that order;
//!   other reads may be old, as ZooKeeper's are.
//! - **Reads never go back** ([`Fault::WentBack`]) on one connection: neither behind an earlier read
//!   nor behind a write of its own, over all sessions that the connection has.
//! - **Reads show what was written** ([`Fault::NeverWritten`]): data that somebody wrote and was
//!   not told to have failed, and one transaction shows the same to everybody.
//!
//! The order is searched for by [porcupine](https://docs.rs/porcupine-rs). Its search grows with the
//! number of calls on one node that overlap, writes of unknown outcome included; a history that it
//! cannot decide is a violation ([`Fault::Undecided`]), never a pass. Keep below 10 clients and
//! 10,000 calls a node; a [`Workload`] goes on to fresh nodes before that.
//!
//! A history proves something only if there is enough of it, and if the faults did bite: whoever
//! checks one asserts both.

mod check;
mod conn;
mod record;
mod register;
mod report;
mod workload;

pub use conn::HistoryConn;
pub use record::History;
pub use report::{Fault, Report, Violation};
pub use workload::Workload;
