//! An in-process quorum with ZooKeeper's semantics, and a connection to it.
//!
//! [`MemoryQuorum`] is the server: nodes, sessions, watches, and a clock that tests advance. Its
//! reference is ZooKeeper 3.8 with TTL nodes allowed; where the two differ, ZooKeeper is right.
//! [`MemoryConn`] is a session on it.
//!
//! Known differences: quotas are not kept; a `multi` tells the [`Stat`](crate::Stat) of what it
//! created, as servers do from 3.8.2; TTL nodes end when their time is up, and not at a server's
//! next look; a connection that is dropped closes its session at once, unless it is lost. What ends
//! by the clock ends at the next call or [`advance`](MemoryQuorum::advance), and its watches fire
//! then.

mod access;
mod away;
mod clock;
mod conn;
mod ends;
mod events;
mod fill;
mod json;
mod left;
mod line;
mod lives;
mod opening;
mod quorum;
mod refusal;
mod state;
mod switches;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watches;

pub use conn::MemoryConn;
pub use quorum::MemoryQuorum;
