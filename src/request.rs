//! What is asked of a connection and what it answers: every operation as one value.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Acl, Children, CreateOptions, Mode, Node, Stat, Version};
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
    Hold,
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
            Op::Hold => "hold",
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

/// One step of a [`Multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiOp {
    /// A new node.
    Create {
        /// Where.
        path: ZkPath,
        /// What it holds.
        data: Bytes,
        /// How it lives and who may touch it.
        options: CreateOptions,
    },
    /// New data for a node.
    Set {
        /// Which.
        path: ZkPath,
        /// What it holds from now on.
        data: Bytes,
        /// The data version that it must have.
        version: Version,
    },
    /// The end of a node.
    Delete {
        /// Which.
        path: ZkPath,
        /// The data version that it must have.
        version: Version,
    },
    /// The node must be there.
    Check {
        /// Which.
        path: ZkPath,
        /// The data version that it must have.
        version: Version,
    },
}

impl MultiOp {
    /// The path of this step.
    pub fn path(&self) -> &ZkPath {
        match self {
            MultiOp::Create { path, .. }
            | MultiOp::Set { path, .. }
            | MultiOp::Delete { path, .. }
            | MultiOp::Check { path, .. } => path,
        }
    }

    fn path_mut(&mut self) -> &mut ZkPath {
        match self {
            MultiOp::Create { path, .. }
            | MultiOp::Set { path, .. }
            | MultiOp::Delete { path, .. }
            | MultiOp::Check { path, .. } => path,
        }
    }

    /// The word for it in errors.
    pub fn name(&self) -> &'static str {
        match self {
            MultiOp::Create { .. } => "create",
            MultiOp::Set { .. } => "set",
            MultiOp::Delete { .. } => "delete",
            MultiOp::Check { .. } => "check",
        }
    }

    /// About how many bytes it takes in a request.
    pub fn wire_size(&self) -> usize {
        MULTI_HEADER
            + match self {
                MultiOp::Create { path, data, options } => create_size(path, data, options),
                MultiOp::Set { path, data, .. } => text_size(path) + 4 + data.len() + 4,
                MultiOp::Delete { path, .. } | MultiOp::Check { path, .. } => text_size(path) + 4,
            }
    }
}

/// What one step of a [`Multi`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiReply {
    /// Of [`MultiOp::Create`].
    Created {
        /// The path, with its number when it is sequential.
        path: ZkPath,
        /// The facts about it, from servers that tell them here (3.8.2 and later).
        stat: Option<Stat>,
    },
    /// Of [`MultiOp::Set`].
    Set(Stat),
    /// Of [`MultiOp::Delete`].
    Deleted,
    /// Of [`MultiOp::Check`].
    Checked,
}

/// Steps that happen all together or not at all, within one cell.
///
/// A path that is no path is kept as an error and told when the whole is sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, ErrorKind, MemoryConn, Mode, Multi, Version};
/// let conn = MemoryConn::new();
/// let both = Multi::new()
///     .create("/a", "1", Mode::Persistent)
///     .check("/missing", Version::Any);
/// let err = conn.multi(both).await.unwrap_err();
/// assert_eq!((err.kind(), err.index()), (ErrorKind::NoNode, Some(1)));
/// assert!(conn.exists("/a").await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Multi {
    ops: Vec<MultiOp>,
    error: Option<Error>,
}

impl Multi {
    /// No steps yet; with none, nothing is sent and nothing answered.
    pub fn new() -> Self {
        Multi::default()
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.error.is_none()
    }

    /// Adds a new node.
    #[must_use]
    pub fn create(
        self,
        path: impl IntoPath,
        data: impl AsRef<[u8]>,
        options: impl Into<CreateOptions>,
    ) -> Self {
        let options = options.into();
        let path = create_path(path, &options);
        let data = Bytes::copy_from_slice(data.as_ref());
        self.push(path.map(|path| MultiOp::Create { path, data, options }))
    }

    /// Adds new data for a node.
    #[must_use]
    pub fn set(self, path: impl IntoPath, data: impl AsRef<[u8]>, version: Version) -> Self {
        let data = Bytes::copy_from_slice(data.as_ref());
        self.push(path.into_path().map(|path| MultiOp::Set { path, data, version }))
    }

    /// Adds the end of a node.
    #[must_use]
    pub fn delete(self, path: impl IntoPath, version: Version) -> Self {
        self.push(path.into_path().map(|path| MultiOp::Delete { path, version }))
    }

    /// Adds the condition that a node is there, at `version`.
    #[must_use]
    pub fn check(self, path: impl IntoPath, version: Version) -> Self {
        self.push(path.into_path().map(|path| MultiOp::Check { path, version }))
    }

    fn push(mut self, op: Result<MultiOp, Error>) -> Self {
        let index = self.ops.len();
        match op {
            Ok(op) if self.error.is_none() => self.ops.push(op),
            Ok(_) => {}
            Err(err) => {
                self.error.get_or_insert(err.with_index(index));
            }
        }
        self
    }

    /// The steps.
    ///
    /// # Errors
    ///
    /// The first `BadPath` among them, with its index.
    pub fn into_ops(self) -> Result<Vec<MultiOp>, Error> {
        match self.error {
            None => Ok(self.ops),
            Some(err) => Err(err),
        }
    }
}

impl From<Vec<MultiOp>> for Multi {
    fn from(ops: Vec<MultiOp>) -> Self {
        Multi { ops, error: None }
    }
}

impl FromIterator<MultiOp> for Multi {
    fn from_iter<I: IntoIterator<Item = MultiOp>>(ops: I) -> Self {
        Multi::from(ops.into_iter().collect::<Vec<_>>())
    }
}

impl Extend<MultiOp> for Multi {
    fn extend<I: IntoIterator<Item = MultiOp>>(&mut self, ops: I) {
        self.ops.extend(ops);
    }
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
        Request { op, path, deadline: Deadline::after(Deadline::DEFAULT) }
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

    /// Refuses what no server takes, before it costs the connection.
    ///
    /// # Errors
    ///
    /// `TooLarge` past [`MAX_REQUEST`], `BadPath` for a bare sequence prefix outside a sequential
    /// create, `InvalidAcl` for an empty list, `BadArguments` for a time to live that is not
    /// between 1 ms and 2^40 − 1 ms.
    pub fn check(&self) -> Result<(), Error> {
        match &self.op {
            Op::Create { options, .. } => self.check_create(&self.path, options)?,
            Op::SetAcl { acl, .. } if acl.is_empty() => {
                return Err(self.error(ErrorKind::InvalidAcl).with_detail("the list is empty"));
            }
            Op::Set { version, .. } | Op::Delete { version } | Op::SetAcl { version, .. } => {
                check_version(self.op.name(), &self.path, *version)?;
            }
            Op::ReadMany(reads) => {
                if let Some(read) = reads.iter().find(|read| read.path().is_bare_prefix()) {
                    return Err(bare_prefix(read.name(), read.path()));
                }
            }
            Op::Multi(ops) => {
                for (index, op) in ops.iter().enumerate() {
                    if let MultiOp::Set { version, .. }
                    | MultiOp::Delete { version, .. }
                    | MultiOp::Check { version, .. } = op
                    {
                        check_version("multi", op.path(), *version)
                            .map_err(|err| err.with_index(index))?;
                    }
                    if let MultiOp::Create { path, options, .. } = op {
                        self.check_create(path, options).map_err(|err| err.with_index(index))?;
                    } else if op.path().is_bare_prefix() {
                        return Err(bare_prefix("multi", op.path()).with_index(index));
                    }
                }
            }
            _ => {}
        }
        if self.path.is_bare_prefix() && !matches!(self.op, Op::Create { .. } | Op::Multi(_)) {
            return Err(bare_prefix(self.op.name(), &self.path));
        }
        let size = self.wire_size();
        // Many reads are sent in as many requests as it takes.
        if size > MAX_REQUEST && !matches!(self.op, Op::ReadMany(_)) {
            return Err(self.error(ErrorKind::TooLarge).with_detail(format!(
                "the request has {size} bytes and servers take {MAX_REQUEST}; store less in one node"
            )));
        }
        Ok(())
    }

    fn check_create(&self, path: &ZkPath, options: &CreateOptions) -> Result<(), Error> {
        let op = self.op.name();
        if options.acl.is_empty() {
            return Err(
                Error::new(op, path, ErrorKind::InvalidAcl).with_detail("the list is empty")
            );
        }
        if path.is_bare_prefix() && !options.mode.is_sequential() {
            return Err(bare_prefix(op, path));
        }
        if path.is_root() && !options.mode.is_sequential() {
            return Err(Error::new(op, path, ErrorKind::NodeExists));
        }
        let longest = (1 << 40) - 1;
        match options.mode.ttl().map(|ttl| ttl.as_millis()) {
            Some(ttl) if ttl == 0 || ttl > longest => {
                let detail = format!("a time to live is 1 to {longest} ms");
                Err(Error::new(op, path, ErrorKind::BadArguments).with_detail(detail))
            }
            _ => Ok(()),
        }
    }

    /// About how many bytes it takes on the wire, never less.
    pub fn wire_size(&self) -> usize {
        let body = match &self.op {
            Op::Create { data, options } => create_size(&self.path, data, options),
            Op::Set { data, .. } => text_size(&self.path) + 4 + data.len() + 4,
            Op::SetAcl { acl, .. } => text_size(&self.path) + acl_size(acl) + 4,
            Op::Multi(ops) => MULTI_HEADER + ops.iter().map(MultiOp::wire_size).sum::<usize>(),
            Op::ReadMany(reads) => {
                let each = |read: &Read| MULTI_HEADER + text_size(read.path()) + 1;
                MULTI_HEADER + reads.iter().map(each).sum::<usize>()
            }
            _ => text_size(&self.path) + 8,
        };
        REQUEST_HEADER + body
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

/// On the wire -1 means any version, so a slip there would write without a condition.
fn check_version(op: &'static str, path: &ZkPath, version: Version) -> Result<(), Error> {
    match version {
        Version::Exact(number) if number < 0 => {
            let detail = format!("no node has version {number}; use Version::Any for any");
            Err(Error::new(op, path, ErrorKind::BadArguments).with_detail(detail))
        }
        _ => Ok(()),
    }
}

fn bare_prefix(op: &'static str, path: &ZkPath) -> Error {
    Error::new(op, path, ErrorKind::BadPath).with_detail("only a sequential create may end in /")
}

/// The path of a create: a sequential one may end in a slash.
pub(crate) fn create_path(path: impl IntoPath, options: &CreateOptions) -> Result<ZkPath, Error> {
    if options.mode.is_sequential() { path.into_sequence_prefix() } else { path.into_path() }
}

/// The largest request that servers take with their default `jute.maxbuffer` of 1 MiB − 1, less
/// what they add when they pass a write on. A larger one would cost the whole connection.
pub const MAX_REQUEST: usize = 1_048_575 - 512;

const REQUEST_HEADER: usize = 4 + 8;
const MULTI_HEADER: usize = 9;

fn text_size(path: &ZkPath) -> usize {
    4 + path.as_str().len()
}

fn acl_size(acl: &[Acl]) -> usize {
    4 + acl.iter().map(|entry| 12 + entry.scheme.len() + entry.id.len()).sum::<usize>()
}

fn create_size(path: &ZkPath, data: &Bytes, options: &CreateOptions) -> usize {
    let ttl = if matches!(options.mode, Mode::Ttl(_) | Mode::TtlSequential(_)) { 8 } else { 0 };
    text_size(path) + 4 + data.len() + acl_size(&options.acl) + 4 + ttl
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.name(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multi_tells_its_first_bad_path() {
        let multi = Multi::new().check("/a", Version::Any).delete("b", Version::Any).set(
            "c",
            "",
            Version::Any,
        );
        let err = multi.into_ops().unwrap_err();
        assert_eq!((err.kind(), err.index(), err.path()), (ErrorKind::BadPath, Some(1), "b"));
    }

    #[test]
    fn a_bare_number_stays_one_below_a_mount() {
        let rebase = Rebase::new(ZkPath::root(), ZkPath::new("/app").unwrap());
        let op = Op::Create { data: Bytes::new(), options: Mode::PersistentSequential.into() };
        let request = Request::new(op, ZkPath::root()).rebased(&rebase).unwrap();
        assert_eq!(request.path.as_str(), "/app/");
    }
}
