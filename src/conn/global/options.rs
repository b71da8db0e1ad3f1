//! What a [`GlobalConn`](super::GlobalConn) asks of its mirrors, and where it keeps its own nodes.

use std::time::Duration;

use crate::cells::{Reads, Require};
use crate::deadline::Deadline;
use crate::path::ZkPath;

/// How n quorums are made to hold one tree.
///
/// ```
/// use zkcells::{GlobalOptions, Reads, Require, ZkPath};
/// let options = GlobalOptions::default()
///     .with_require(Require::AtLeast(1))
///     .with_reads(Reads::Compare)
///     .with_home(ZkPath::new("/zkcells/topology")?);
/// assert_eq!(GlobalOptions::default().require, Require::All);
/// # assert_eq!(options.home, "/zkcells/topology");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GlobalOptions {
    /// How many mirrors must confirm a write. For what recipes write for themselves none need to.
    pub require: Require,
    /// Which quorums answer reads.
    pub reads: Reads,
    /// The node on each quorum that says who it is, with the fences below it. It belongs to the
    /// connection: users cannot write it, and it is not part of the tree that is mirrored. Neither is
    /// anything else below `/zkcells`, where such nodes are by default.
    pub home: ZkPath,
    /// The tree that the set holds: this node and all below it. Requests for anything else are
    /// refused, so that several sets, and cells of their own, can share a quorum.
    pub top: ZkPath,
    /// How long it may take what the set itself asks of its quorums: who they are, to be made one,
    /// to be brought up in the background. Writes have their own deadlines.
    pub wait: Duration,
}

impl Default for GlobalOptions {
    fn default() -> Self {
        let home = ZkPath::root().child("zkcells").child("global");
        let wait = Deadline::DEFAULT;
        let top = ZkPath::root();
        GlobalOptions { require: Require::All, reads: Reads::First, home, top, wait }
    }
}

/// How many of `mirrors` must confirm.
pub(super) fn required(require: Require, mirrors: usize) -> usize {
    match require {
        Require::AtLeast(count) => count.min(mirrors),
        Require::All => mirrors,
    }
}

impl GlobalOptions {
    /// The same, with so many mirrors to confirm.
    #[must_use]
    pub fn with_require(mut self, require: Require) -> Self {
        self.require = require;
        self
    }

    /// The same, with reads answered so.
    #[must_use]
    pub fn with_reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// The same, with so much time for what the set asks of its quorums itself.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The same, with the identities of the quorums kept there. All connections to one tree must
    /// agree on it, and two trees on one quorum need two.
    #[must_use]
    pub fn with_home(mut self, home: ZkPath) -> Self {
        self.home = home;
        self
    }

    /// The same, holding only what is at and below `top`, which must not lie in the tree of another set on
    /// the same quorums. All connections to one tree must agree on it.
    #[must_use]
    pub fn with_top(mut self, top: ZkPath) -> Self {
        self.top = top;
        self
    }
}
