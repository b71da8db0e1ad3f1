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
//! ZooKeeper's own nodes and those of the set. A difference is told only if neither side has changed
//! for a moment, and both agreed to something newer meanwhile: writes that are on their way are none.
//! A node that changes whenever it is looked at, and never agrees, is an error
//! ([`Contended`](crate::ErrorKind::Contended)): nobody can say.
//!
//! Whatever could not be compared, or mended, is told as an error. With no error the answer is
//! complete: as of the moment when it began, or later.
//!
//! # What a repair may do
//!
//! Before it reads, and before each batch that it writes, it asks the quorums who they are. As soon as
//! one of them has no identity, is of another set or epoch, or says that it is the first, too, the
//! repair ends, with nothing more written. A mirror that does not answer is left out; it needs another
//! repair.
//!
//! Each write to a mirror is that of [`GlobalConn`]: bound to the mirror's fences, with what the first
//! holds at that moment. So clients may go on meanwhile, and so may other repairs.
//!
//! A repair of the whole tree (`/`) in one go that ends without an error notes on each mirror that it is
//! complete: it may be made the first.
//!
//! # How it deletes
//!
//! Nodes that only a mirror has are deleted last: after the first was listed completely, and then
//! each only if the first, asked afresh, who is still the first of the set, has no such node. If a
//! part of the first could not be listed, nothing is deleted.
//!
//! # What it cannot do
//!
//! - Servers do not tell which nodes are containers or have a time to live. Mirrors hold persistent nodes
//!   in their place; one that ended on the first is deleted like any other.
//! - What this identity may not read or write it can neither compare nor mend, and says so. A mirror's
//!   access list that shuts it out is mended where the list may be set (`ADMIN`).

mod compare;
mod mend;
mod place;
mod promote;
mod quorums;
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
use walk::{Verb, Walk};

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
    /// How many errors were told. With none, all was compared; a repair has mended it, too.
    pub failed: usize,
    /// Everything before this path, in the order of [`tree::walk`](crate::tree::walk), is done:
    /// [`Repair::from`] goes on there. `None` once all is. What is to be deleted comes last, so this
    /// is the first of such paths while there are any, and where a quorum failed if one did.
    pub next: Option<ZkPath>,
}

/// The differences below a path, one by one; with [`repair`], each is told when it is mended.
///
/// An error is told in its place and concerns one quorum or one path; the rest goes on, unless it is
/// the first that failed, or a quorum is not who it should be.
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
    verb: Verb,
    is_whole: bool,
}

/// Tells in what the mirrors of `conn` differ from the first, at `path` and below. Nothing is
/// written, and nobody is asked who he is: so quorums can be compared before they are made a set.
///
/// # Errors
///
/// `BadPath`. In the stream, each for what was not compared: `NotSent` and the like for a quorum that
/// does not answer (a mirror is left out then, with the first it ends), `NoAuth` for a path that may
/// not be read on one of them, `Contended` for one that keeps changing.
///
/// # Cancel safety
///
/// It only reads.
pub fn diff(conn: &Arc<GlobalConn>, path: impl IntoPath) -> Result<Repair, Error> {
    Repair::new(conn, path, Verb::Diff)
}

/// Brings the mirrors of `conn` to what the first holds, at `path` and below. What is told is
/// mended. [`diff`] shows beforehand what it would do.
///
/// # Errors
///
/// `BadPath`. In the stream: `WrongQuorum` when the identity of a quorum is not right, which ends it;
/// `NotSent` and the like for one that does not answer (a mirror is left out then, with the first it
/// ends); `NoAuth` for a path that may not be read or written; `Cancelled` for what was not deleted.
///
/// # Cancel safety
///
/// Dropping the stream stops between batches; what was sent is not taken back. Another one may
/// [go on](Repair::from) at [`Progress::next`].
pub fn repair(conn: &Arc<GlobalConn>, path: impl IntoPath) -> Result<Repair, Error> {
    Repair::new(conn, path, Verb::Repair)
}

impl Repair {
    fn new(conn: &Arc<GlobalConn>, top: impl IntoPath, verb: Verb) -> Result<Self, Error> {
        let top = top.into_path().map_err(|err| err.during(verb.name()))?;
        let progress = Progress { next: Some(top.clone()), waiting: 1, ..Progress::default() };
        let is_whole = conn.options().top.is_in(&top);
        let start = Start { conn: conn.clone(), top, from: None, verb, is_whole };
        let stream = futures::stream::empty().boxed();
        Ok(Repair { stream, progress: Arc::new(Mutex::new(progress)), start: Some(start) })
    }

    /// The same, beginning at [`Progress::next`] of one that was ended early.
    ///
    /// If that is not at or below the path that is to be compared, the stream holds nothing but
    /// `BadArguments`.
    pub fn from(mut self, path: ZkPath) -> Self {
        if let Some(start) = &mut self.start {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.next = Some(path.clone());
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
            let Start { conn, top, from, verb, is_whole } = start;
            let walk = Walk::new(&conn, top, from, verb, is_whole);
            let state = (walk, VecDeque::new(), self.progress.clone());
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
            self.stream = steps.fuse().boxed();
        }
        self.stream.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
