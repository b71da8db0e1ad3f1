//! Where the quorums of a [`GlobalConn`] differ, and how they are made to agree again.
//!
//! A quorum that was away, or came back empty, lacks writes. [`diff`] finds all of it, without
//! writing; [`repair`] brings the mirrors to what the first holds. Both are streams: they tell each
//! difference as it is found, or mended, and how far they are; what has been told is done, so they can
//! be ended at any time and [go on](Repair::from) from there.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use std::sync::Arc;
//! use zkcells::repair::{self, Kind};
//! use zkcells::{Conn, ConnExt, GlobalConn, GlobalOptions, MemoryQuorum, Mode, Version};
//! let quorums = [MemoryQuorum::new(), MemoryQuorum::new()];
//! let conns = quorums.iter().map(|quorum| Arc::new(quorum.connect()) as Arc<dyn Conn>);
//! let conn = Arc::new(GlobalConn::new(conns, GlobalOptions::default()));
//! conn.init().await?;
//! conn.create("/motd", "hello", Mode::Persistent).await?;
//! // Somebody meddles with the mirror.
//! quorums[1].connect().set("/motd", "bye", Version::Any).await?;
//!
//! let mut diff = repair::diff(&conn, "/")?;
//! let found = diff.next().await.unwrap()?;
//! assert_eq!((found.path.as_str(), found.quorum, found.kind), ("/motd", 2, Kind::Data));
//! let mut repair = repair::repair(&conn, "/")?;
//! while let Some(mended) = repair.next().await {
//!     mended?;
//! }
//! assert_eq!(quorums[1].connect().get("/motd").await?.data, "hello");
//! # Ok(()) }
//! ```
//!
//! What is the first's alone is no difference: ephemeral nodes, versions, times. Neither are
//! ZooKeeper's own nodes and those of the set. A difference is told only if it is still there after
//! both sides agreed to something newer, so writes that are on their way are none.
//!
//! # How it deletes
//!
//! Nodes that only a mirror has are deleted last: after the first was listed completely, and then
//! each only if the first, asked afresh, who is still the first of the set, has no such node. If a
//! part of the first could not be listed, nothing is deleted.

mod compare;
mod walk;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::stream::{BoxStream, StreamExt as _};
use futures_core::Stream;

use crate::conn::global::GlobalConn;
use crate::error::Error;
use crate::path::{IntoPath, ZkPath};
use walk::Walk;

/// In what a mirror differs from the first at one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Only the first has the node.
    Missing,
    /// Only the mirror has it.
    Extra,
    /// The data.
    Data,
    /// The access list.
    Acl,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Missing => "missing",
            Kind::Extra => "extra",
            Kind::Data => "data",
            Kind::Acl => "acl",
        })
    }
}

/// A path at which a mirror differs from the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Difference {
    /// Where.
    pub path: ZkPath,
    /// Which mirror, by its place in the set; 1 is the first.
    pub quorum: usize,
    /// In what.
    pub kind: Kind,
}

/// How far a [`Repair`] is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many paths were compared.
    pub compared: usize,
    /// How many are known and not compared yet; more may come to light.
    pub waiting: usize,
    /// Everything before this path, in the order of [`tree::walk`](crate::tree::walk), is done:
    /// [`Repair::from`] goes on there. `None` once all is.
    pub next: Option<ZkPath>,
}

/// The differences below a path, one by one; with [`repair`], each is told when it is mended.
///
/// An error is told in its place and concerns one quorum or one path; the rest goes on.
#[must_use = "a stream does nothing until it is read"]
pub struct Repair {
    stream: BoxStream<'static, Result<Difference, Error>>,
    progress: Arc<Mutex<Progress>>,
    start: Option<Start>,
}

/// What is to be done, as long as nothing is.
struct Start {
    conn: Arc<GlobalConn>,
    top: ZkPath,
    from: Option<ZkPath>,
    verb: &'static str,
}

/// Tells in what the mirrors of `conn` differ from the first, at `path` and below. Nothing is
/// written.
///
/// # Errors
///
/// `BadPath`. In the stream: `NotSent` and the like for a quorum that does not answer (a mirror is
/// left out then), `NoAuth` for a path that may not be read.
///
/// # Cancel safety
///
/// It only reads.
pub fn diff(conn: &Arc<GlobalConn>, path: impl IntoPath) -> Result<Repair, Error> {
    Ok(Repair::new(conn, path.into_path().map_err(|err| err.during("diff"))?, "diff"))
}

/// Brings the mirrors of `conn` to what the first holds, at `path` and below. What is told is
/// mended. [`diff`] shows beforehand what it would do.
///
/// # Errors
///
/// `BadPath`. In the stream: `WrongQuorum` for a quorum whose identity is not right, as for writes;
/// `NotSent` and the like for one that does not answer; `NoAuth` for a path that may not be read or
/// written.
///
/// # Cancel safety
///
/// Dropping the stream stops between batches; what was sent is not taken back.
pub fn repair(conn: &Arc<GlobalConn>, path: impl IntoPath) -> Result<Repair, Error> {
    Ok(Repair::new(conn, path.into_path().map_err(|err| err.during("repair"))?, "repair"))
}

impl Repair {
    fn new(conn: &Arc<GlobalConn>, top: ZkPath, verb: &'static str) -> Self {
        let start = Start { conn: conn.clone(), top, from: None, verb };
        let stream = futures::stream::empty().boxed();
        Repair { stream, progress: Arc::default(), start: Some(start) }
    }

    /// The same, beginning at [`Progress::next`] of one that was ended early.
    pub fn from(mut self, path: ZkPath) -> Self {
        if let Some(start) = &mut self.start {
            start.from = Some(path);
        }
        self
    }

    /// The next difference; `None` when all is done.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Difference, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Stream for Repair {
    type Item = Result<Difference, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(start) = self.start.take() {
            let Start { conn, top, from, verb } = start;
            let state = (Walk::new(conn, top, from, verb), VecDeque::new(), self.progress.clone());
            let steps = futures::stream::unfold(state, |(mut walk, mut told, progress)| async {
                loop {
                    let one = told.pop_front();
                    // Only what has been told is done.
                    if told.is_empty() {
                        let mut shown = progress.lock().unwrap_or_else(PoisonError::into_inner);
                        *shown = walk.progress.clone();
                    }
                    if let Some(one) = one {
                        return Some((one, (walk, told, progress)));
                    }
                    told.extend(walk.step().await?);
                }
            });
            self.stream = steps.boxed();
        }
        self.stream.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
