//! The contract of a connection, and what callers enjoy on top of it.

pub(crate) mod bound;
pub(crate) mod cache;
pub(crate) mod dialer;
mod ext;
pub(crate) mod global;
mod memory;
pub(crate) mod meta;
pub(crate) mod options;
pub(crate) mod outcome;
mod pending;
pub(crate) mod rebase;
pub(crate) mod within;
pub(crate) mod zk;

use std::fmt::{Debug, Display};
use std::sync::Arc;

pub use ext::ConnExt;
pub use memory::{MemoryConn, MemoryQuorum};
pub use pending::{Pending, Responder};

use crate::request::{Reply, Request};

/// A connection: it takes requests and answers them.
///
/// One method carries all operations, so that routing, deadlines and faults are each one function.
/// Callers use [`ConnExt`], which every connection has.
///
/// # Contract
///
/// What whoever implements this owes, and the suite in `testing` holds every connection to:
///
/// - **Order.** `call` queues the request before it returns, without waiting. Requests to one cell
///   leave in the order of the calls, across a dial and across a bounded window.
/// - **Ownership.** The returned [`Pending`] borrows nothing. Dropped before its request was sent,
///   it withdraws it; after that the request runs on.
/// - **Deadline.** The answer comes by `request.deadline`, dial included, whatever the server does.
/// - **Outcome.** `NotSent` says that a request was surely not applied. A write that was sent and
///   not answered is `OutcomeUnknown`; a read, `ConnectionLoss` or `Timeout`.
/// - **Spelling.** Paths in replies, events and errors are in the caller's spelling.
/// - **Watches.** A watch and the read it guards use one session. It fires once, for the change or
///   when the session ends, and never later than a reply that shows the change. It survives a
///   reconnect. Dropping it withdraws it.
/// - **Limits.** What servers refuse by closing the connection is refused here
///   ([`Request::check`]).
/// - **Reply.** The reply is of the variant that [`Reply`] names for the operation. An operation
///   that a wrapper does not know goes through unchanged.
/// - **Close.** `close` ends the session and resolves when the server has seen it; calls made
///   before are answered, later calls fail with `Closed`, and watches tell `SessionEnded`. It never
///   waits for a dial.
///
/// `Display` nests, as in `meta(nyc=zk(127.0.0.1:2181))`, so that a message names its connection.
pub trait Conn: Debug + Display + Send + Sync + 'static {
    /// Queues `request` and returns the answer to come.
    fn call(&self, request: Request) -> Pending<Reply>;

    /// Ends the sessions of this connection.
    fn close(&self) -> Pending<()>;
}

impl<C: Conn + ?Sized> Conn for Arc<C> {
    fn call(&self, request: Request) -> Pending<Reply> {
        (**self).call(request)
    }

    fn close(&self) -> Pending<()> {
        (**self).close()
    }
}
