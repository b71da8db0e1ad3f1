//! What is asked of a connection and what it answers: every operation as one value.

mod limits;
mod multi;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

pub use limits::MAX_REQUEST;
pub use multi::{Multi, MultiOp, MultiReply};

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Acl, Children, CreateOptions, Node, Stat, Version};
use crate::path::{IntoPath, Rebase, ZkPath};
use crate::session::Session;
use crate::watch::{TreeWatch, Watch};

/// One operation on one path, to be answered by a deadline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// Where. For [`Op::Multi`] and [`Op::ReadMany`] the path of their first part, or `/`.
    pub path: ZkPath,
    /// By when an answer is wanted.
    pub deadline: Deadline,
    /// The session that it belongs to, by its id: in another one it is refused with
    /// `SessionExpired`, and never sent. `None`: whichever serves the path.
    pub session: Option<i64>,
    /// So many steps at the head of a multi only count it: they may be done twice, and what they made may
    /// stay unknown, then answered as `Checked`.
    pub(crate) counting: usize,
    /// Who must have it before it is answered, of several quorums; `None`: whom their set says.
    pub(crate) confirm: Option<Confirm>,
}

/// Who must have a write before it is answered, where the tree is on several quorums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// The first alone; mirrors get it behind.
    ByFirst,
    /// As many mirrors, too, as the set requires.
    BySet,
}

/// Whether a read leaves a [`Watch`] behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LeaveWatch {
    /// Read only.
    #[default]
    No,
    /// Leave a watch in the same session as the read.
    Yes,
}

/// What proves a hold at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HoldFrom {
    /// A check of the node that is committed now.
    #[default]
    Check,
    /// The last write of the session that was committed, if it was sent less than a sixth of the
    /// timeout ago; otherwise a check. For whoever has just seen the node: it costs no round trip.
    LastWrite,
}

/// What can be asked of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// Data and stat of a node.
    Get(LeaveWatch),
    /// The names below a node.
    Children(LeaveWatch),
    /// The stat of a node, if it is there.
    Exists(LeaveWatch),
    /// The access list of a node.
    Acl,
    /// Everything that happens at and below the path from now on.
    WatchTree,
    /// A new node.
    Create {
        /// What it holds.
        data: Bytes,
        /// How it lives and who may touch it.
        options: CreateOptions,
    },
    /// New data for a node.
    Set {
        /// What it holds from now on.
        data: Bytes,
        /// The data version that it must have.
        version: Version,
    },
    /// The end of a node.
    Delete {
        /// The data version that it must have.
        version: Version,
    },
    /// A new access list for a node.
    SetAcl {
        /// Who may do what from now on.
        acl: Vec<Acl>,
        /// The ACL version that it must have.
        version: Version,
    },
    /// The ephemeral nodes of this session at or below the path.
    Ephemerals,
    /// Many reads, answered one by one.
    ReadMany(Vec<Read>),
    /// Many writes, all or none.
    Multi(Vec<MultiOp>),
    /// Reads after it see whatever any client had been told was written.
    Sync,
    /// The session that serves the path.
    Session,
    /// Proof, renewed while it is wanted, that the session and the node are there.
    Hold(HoldFrom),
}

impl Op {
    /// The word for it in errors and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Get(_) => "get",
            Op::Children(_) => "children",
            Op::Exists(_) => "exists",
            Op::Acl => "acl",
            Op::WatchTree => "watch_tree",
            Op::Create { .. } => "create",
            Op::Set { .. } => "set",
            Op::Delete { .. } => "delete",
            Op::SetAcl { .. } => "set_acl",
            Op::Ephemerals => "ephemerals",
            Op::ReadMany(_) => "read_many",
            Op::Multi(_) => "multi",
            Op::Sync => "sync",
            Op::Session => "session",
            Op::Hold(_) => "hold",
        }
    }

    /// Whether it may change a node.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Op::Create { .. }
                | Op::Set { .. }
                | Op::Delete { .. }
                | Op::SetAcl { .. }
                | Op::Multi(_)
        )
    }
}

/// One read of a [`Op::ReadMany`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Read {
    /// Data and stat of a node.
    Get(ZkPath),
    /// The names below a node, sorted. (A multi-read of ZooKeeper tells no stat with them.)
    Children(ZkPath),
    /// The stat of a node, if it is there.
    Exists(ZkPath),
}

impl Read {
    /// The path to read.
    pub fn path(&self) -> &ZkPath {
        match self {
            Read::Get(path) | Read::Children(path) | Read::Exists(path) => path,
        }
    }

    /// The same read of another path.
    #[must_use]
    pub fn with_path(&self, path: ZkPath) -> Read {
        match self {
            Read::Get(_) => Read::Get(path),
            Read::Children(_) => Read::Children(path),
            Read::Exists(_) => Read::Exists(path),
        }
    }

    /// The word for it in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Read::Get(_) => "get",
            Read::Children(_) => "children",
            Read::Exists(_) => "exists",
        }
    }
}

/// What one [`Read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadReply {
    /// Of [`Read::Get`].
    Node(Node),
    /// Of [`Read::Children`]: names in ascending order.
    Children(Vec<String>),
    /// Of [`Read::Exists`].
    Exists(Option<Stat>),
}

/// What a connection answers; which one belongs to which [`Op`] is said at each.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Of [`Op::Get`]; the watch if one was asked for.
    Node(Node, Option<Watch>),
    /// Of [`Op::Children`]; the watch if one was asked for.
    Children(Children, Option<Watch>),
    /// Of [`Op::Exists`]; the watch if one was asked for.
    Exists(Option<Stat>, Option<Watch>),
    /// Of [`Op::Acl`].
    Acl(Vec<Acl>, Stat),
    /// Of [`Op::WatchTree`].
    Tree(TreeWatch),
    /// Of [`Op::Create`]: the path, with its number when it is sequential.
    Created(ZkPath, Stat),
    /// Of [`Op::Set`] and [`Op::SetAcl`].
    Stat(Stat),
    /// Of [`Op::Delete`] and [`Op::Sync`].
    Done,
    /// Of [`Op::Ephemerals`], sorted.
    Paths(Vec<ZkPath>),
    /// Of [`Op::ReadMany`], in the order of the reads.
    Many(Vec<Result<ReadReply, Error>>),
    /// Of [`Op::Multi`], in the order of the steps.
    Multi(Vec<MultiReply>),
    /// Of [`Op::Session`].
    Session(Session),
    /// Of [`Op::Hold`].
    Hold(Hold),
}

impl Request {
    /// `op` on `path`, with the default deadline of 10 s from now.
    pub fn new(op: Op, path: ZkPath) -> Self {
        let deadline = Deadline::after(Deadline::DEFAULT);
        Request { op, path, deadline, session: None, counting: 0, confirm: None }
    }

    /// Another request on behalf of this one: by the same deadline, in the same session.
    pub(crate) fn part(&self, op: Op, path: ZkPath) -> Self {
        let Request { deadline, session, confirm, .. } = *self;
        Request { op, path, deadline, session, counting: 0, confirm }
    }

    /// Whether mirrors need not have it when it is answered.
    pub(crate) fn is_confirmed_by_first(&self) -> bool {
        self.confirm == Some(Confirm::ByFirst)
    }

    /// Why it cannot be sent in session `id`, if it belongs to another one.
    pub(crate) fn check_session(&self, id: i64) -> Result<(), Error> {
        match self.session {
            Some(own) if own != id => Err(self
                .error(ErrorKind::SessionExpired)
                .with_detail(format!("it belongs to session {own:#x}, which is over"))),
            _ => Ok(()),
        }
    }

    /// The same, to be answered within `wait` from now.
    #[must_use]
    pub fn within(mut self, wait: Duration) -> Self {
        self.deadline = Deadline::after(wait);
        self
    }

    /// An error of this request.
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.op.name(), &self.path, kind)
    }

    pub(crate) fn is_sequential_create(&self) -> bool {
        matches!(&self.op, Op::Create { options, .. } if options.mode.is_sequential())
    }

    /// The same request with each path moved; the first that does not move is returned instead.
    pub(crate) fn rebased(mut self, rebase: &Rebase) -> Result<Request, ZkPath> {
        let sequential =
            matches!(&self.op, Op::Create { options, .. } if options.mode.is_sequential());
        self.path = if sequential {
            rebase_prefix(&self.path, rebase)?
        } else {
            rebase.apply(&self.path).ok_or(self.path)?
        };
        match &mut self.op {
            Op::ReadMany(reads) => {
                for read in reads {
                    let path = rebase.apply(read.path()).ok_or_else(|| read.path().clone())?;
                    *read = read.with_path(path);
                }
            }
            Op::Multi(ops) => {
                for op in ops {
                    *op = op.clone().rebased(rebase)?;
                }
            }
            _ => {}
        }
        Ok(self)
    }
}

impl MultiOp {
    pub(crate) fn rebased(mut self, rebase: &Rebase) -> Result<MultiOp, ZkPath> {
        let path = match &self {
            MultiOp::Create { path, options, .. } if options.mode.is_sequential() => {
                rebase_prefix(path, rebase)?
            }
            op => rebase.apply(op.path()).ok_or_else(|| op.path().clone())?,
        };
        *self.path_mut() = path;
        Ok(self)
    }
}

/// A prefix `/` (a bare number as name, at the top) stays a bare number below a mount.
fn rebase_prefix(path: &ZkPath, rebase: &Rebase) -> Result<ZkPath, ZkPath> {
    let moved = rebase.apply(path).ok_or_else(|| path.clone())?;
    if path.is_root() && !moved.is_root() {
        return ZkPath::sequence_prefix(format!("{moved}/")).map_err(|_| path.clone());
    }
    Ok(moved)
}

/// The path of a create: a sequential one may end in a slash.
pub(crate) fn create_path(path: impl IntoPath, options: &CreateOptions) -> Result<ZkPath, Error> {
    if options.mode.is_sequential() { path.into_sequence_prefix() } else { path.into_path() }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.name(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Mode;

    #[test]
    fn a_bare_number_stays_one_below_a_mount() {
        let rebase = Rebase::new(ZkPath::root(), ZkPath::new("/app").unwrap());
        let op = Op::Create { data: Bytes::new(), options: Mode::PersistentSequential.into() };
        let request = Request::new(op, ZkPath::root()).rebased(&rebase).unwrap();
        assert_eq!(request.path.as_str(), "/app/");
    }
}
