//! One method for each operation, on every connection.

use bytes::Bytes;

use super::{Conn, Pending};
use crate::error::Error;
use crate::hold::Hold;
use crate::node::{Acl, Children, CreateOptions, Node, Stat, Version};
use crate::path::{IntoPath, ZkPath};
use crate::request::{
    HoldFrom, LeaveWatch, Multi, MultiReply, Op, Read, ReadReply, Reply, Request, create_path,
};
use crate::session::Session;
use crate::watch::{TreeWatch, Watch};

/// The operations, one method each. Every [`Conn`] has them.
///
/// Each method queues its request before it returns, and the future it returns borrows nothing, so
/// several can be under way at once: call them all, then await. Each has a deadline of 10 s; wrap
/// the connection in [`Within`](crate::Within) for another one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, Version};
/// let conn = MemoryConn::new();
/// let created = conn.create("/motd", "hello", Mode::Persistent).await?;
/// let node = conn.get("/motd").await?;
/// assert_eq!(node.data, "hello");
/// conn.set("/motd", "bye", Version::Exact(created.1.version)).await?;
/// conn.delete("/motd", Version::Any).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Every method may fail with `BadPath`, `UnknownCell`, `Closed`, `NotSent` (no server took it by
/// the deadline: surely not applied), `AuthFailed` and `SessionExpired`; reads also with `Timeout`
/// and `ConnectionLoss`, writes with `OutcomeUnknown`. What else, each method says.
pub trait ConnExt: Conn {
    /// The data and the [`Stat`] of a node.
    ///
    /// # Errors
    ///
    /// `NoNode`, `NoAuth` without `READ`.
    fn get(&self, path: impl IntoPath) -> Pending<Node> {
        send(self, Op::Get(LeaveWatch::No), path.into_path(), |reply| match reply {
            Reply::Node(node, _) => Some(node),
            _ => None,
        })
    }

    /// As [`get`](Self::get), and leaves a watch for the next change of the data or the node's end.
    ///
    /// # Errors
    ///
    /// `NoNode` (no watch is left then), `NoAuth` without `READ`, `TooManyWatches`.
    fn get_watch(&self, path: impl IntoPath) -> Pending<(Node, Watch)> {
        send(self, Op::Get(LeaveWatch::Yes), path.into_path(), |reply| match reply {
            Reply::Node(node, Some(watch)) => Some((node, watch)),
            _ => None,
        })
    }

    /// The names below a node, in ascending order of their bytes, and the node's [`Stat`].
    ///
    /// # Errors
    ///
    /// `NoNode`, `NoAuth` without `READ`.
    fn children(&self, path: impl IntoPath) -> Pending<Children> {
        send(self, Op::Children(LeaveWatch::No), path.into_path(), |reply| match reply {
            Reply::Children(children, _) => Some(children),
            _ => None,
        })
    }

    /// As [`children`](Self::children), and leaves a watch for the next child that comes or goes,
    /// or the node's end.
    ///
    /// # Errors
    ///
    /// `NoNode` (no watch is left then), `NoAuth` without `READ`, `TooManyWatches`.
    fn children_watch(&self, path: impl IntoPath) -> Pending<(Children, Watch)> {
        send(self, Op::Children(LeaveWatch::Yes), path.into_path(), |reply| match reply {
            Reply::Children(children, Some(watch)) => Some((children, watch)),
            _ => None,
        })
    }

    /// The [`Stat`] of a node, or `None` when there is no such node.
    ///
    /// ZooKeeper 3.8 answers this to anybody, whatever the ACL.
    fn exists(&self, path: impl IntoPath) -> Pending<Option<Stat>> {
        send(self, Op::Exists(LeaveWatch::No), path.into_path(), |reply| match reply {
            Reply::Exists(stat, _) => Some(stat),
            _ => None,
        })
    }

    /// As [`exists`](Self::exists), and leaves a watch, also where there is no node: for its
    /// creation, the next change of its data, or its end.
    ///
    /// # Errors
    ///
    /// `TooManyWatches`.
    fn exists_watch(&self, path: impl IntoPath) -> Pending<(Option<Stat>, Watch)> {
        send(self, Op::Exists(LeaveWatch::Yes), path.into_path(), |reply| match reply {
            Reply::Exists(stat, Some(watch)) => Some((stat, watch)),
            _ => None,
        })
    }

    /// The access list of a node and its [`Stat`]. Password hashes are shown to administrators of
    /// the node only.
    ///
    /// # Errors
    ///
    /// `NoNode`, `NoAuth` without `READ` or `ADMIN`.
    fn acl(&self, path: impl IntoPath) -> Pending<(Vec<Acl>, Stat)> {
        send(self, Op::Acl, path.into_path(), |reply| match reply {
            Reply::Acl(acl, stat) => Some((acl, stat)),
            _ => None,
        })
    }

    /// Replaces the access list of a node. `version` is the ACL version, [`Stat::aversion`].
    ///
    /// No watch tells of it: that is ZooKeeper's way.
    ///
    /// # Errors
    ///
    /// `NoNode`, `BadVersion`, `NoAuth` without `ADMIN`, `InvalidAcl`.
    fn set_acl(
        &self,
        path: impl IntoPath,
        acl: impl Into<Vec<Acl>>,
        version: Version,
    ) -> Pending<Stat> {
        let op = Op::SetAcl { acl: acl.into(), version };
        send(self, op, path.into_path(), stat)
    }

    /// Everything that happens at and below `path` from now on. There need be no node yet.
    ///
    /// # Errors
    ///
    /// `Unsupported` before ZooKeeper 3.6.
    fn watch_tree(&self, path: impl IntoPath) -> Pending<TreeWatch> {
        send(self, Op::WatchTree, path.into_path(), |reply| match reply {
            Reply::Tree(tree) => Some(tree),
            _ => None,
        })
    }

    /// Creates a node, and returns its path (with the number, when it is sequential) and [`Stat`].
    ///
    /// The path of a sequential create may end in `/`: then the number is the whole name.
    ///
    /// # Errors
    ///
    /// `NodeExists`, `NoNode` when the parent is missing, `NoChildrenForEphemerals`, `NoAuth`
    /// without `CREATE` on the parent, `InvalidAcl`, `TooLarge`, `Unsupported` for a time to live
    /// that servers do not allow, `QuotaExceeded`.
    fn create(
        &self,
        path: impl IntoPath,
        data: impl AsRef<[u8]>,
        options: impl Into<CreateOptions>,
    ) -> Pending<(ZkPath, Stat)> {
        let options = options.into();
        let path = create_path(path, &options);
        let op = Op::Create { data: Bytes::copy_from_slice(data.as_ref()), options };
        send(self, op, path, |reply| match reply {
            Reply::Created(path, stat) => Some((path, stat)),
            _ => None,
        })
    }

    /// Replaces the data of a node, and returns its new [`Stat`].
    ///
    /// # Errors
    ///
    /// `NoNode`, `BadVersion`, `NoAuth` without `WRITE`, `TooLarge`, `QuotaExceeded`.
    fn set(&self, path: impl IntoPath, data: impl AsRef<[u8]>, version: Version) -> Pending<Stat> {
        let op = Op::Set { data: Bytes::copy_from_slice(data.as_ref()), version };
        send(self, op, path.into_path(), stat)
    }

    /// Deletes a node that has no children.
    ///
    /// # Errors
    ///
    /// `NoNode`, `NotEmpty`, `BadVersion`, `NoAuth` without `DELETE` on the parent, `BadArguments`
    /// for `/`.
    fn delete(&self, path: impl IntoPath, version: Version) -> Pending<()> {
        send(self, Op::Delete { version }, path.into_path(), done)
    }

    /// The ephemeral nodes of this connection's session at or below `path`, sorted.
    ///
    /// # Errors
    ///
    /// `Unsupported` before ZooKeeper 3.6.
    fn ephemerals(&self, path: impl IntoPath) -> Pending<Vec<ZkPath>> {
        send(self, Op::Ephemerals, path.into_path(), |reply| match reply {
            Reply::Paths(paths) => Some(paths),
            _ => None,
        })
    }

    /// Many reads in few round trips, over any cells: results and errors one by one, in order.
    ///
    /// A server that has multi-read answers some 30 times as many as one by one. They are not one
    /// snapshot: another write may fall between any two of them.
    ///
    /// # Errors
    ///
    /// The errors of single reads are in the list. A cell that is down fails its own reads only.
    fn read_many(
        &self,
        reads: impl IntoIterator<Item = Read>,
    ) -> Pending<Vec<Result<ReadReply, Error>>> {
        let reads: Vec<Read> = reads.into_iter().collect();
        let Some(first) = reads.first() else { return Pending::ready(Ok(Vec::new())) };
        let path = first.path().clone();
        send(self, Op::ReadMany(reads), Ok(path), |reply| match reply {
            Reply::Many(results) => Some(results),
            _ => None,
        })
    }

    /// Many writes, all or none, within one cell.
    ///
    /// # Errors
    ///
    /// Of the first step that failed, with its [`index`](Error::index); `CrossCell`, before
    /// anything is sent; `TooLarge`.
    fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        let ops = match ops.into().into_ops() {
            Err(err) => return Pending::ready(Err(err.during("multi"))),
            Ok(ops) => ops,
        };
        let Some(first) = ops.first() else { return Pending::ready(Ok(Vec::new())) };
        let path = first.path().clone();
        send(self, Op::Multi(ops), Ok(path), |reply| match reply {
            Reply::Multi(replies) => Some(replies),
            _ => None,
        })
    }

    /// Waits until this connection sees all that any client had been told was written in the cell
    /// of `path`. There need be no node.
    ///
    /// ZooKeeper's own `sync` does not do that on the leader; this takes the quorum's agreement.
    fn sync(&self, path: impl IntoPath) -> Pending<()> {
        send(self, Op::Sync, path.into_path(), done)
    }

    /// Proof that the node and this connection's session are there, renewed for as long as the
    /// [`Hold`] lives: one committed write in every sixth of the session timeout, for all holds of
    /// the cell together.
    ///
    /// # Errors
    ///
    /// `NoNode`, `NoAuth` without `READ`.
    fn hold(&self, path: impl IntoPath) -> Pending<Hold> {
        send(self, Op::Hold(HoldFrom::Check), path.into_path(), held)
    }

    /// As [`hold`](Self::hold), for whoever has just seen the node in this session: while the
    /// session writes anyway, its last committed write is proof enough, and no server is asked.
    ///
    /// # Errors
    ///
    /// As those of [`hold`](Self::hold), where a check is needed.
    fn hold_seen(&self, path: impl IntoPath) -> Pending<Hold> {
        send(self, Op::Hold(HoldFrom::LastWrite), path.into_path(), held)
    }

    /// The session that serves the cell of `path`, opened if there is none.
    fn session(&self, path: impl IntoPath) -> Pending<Session> {
        send(self, Op::Session, path.into_path(), |reply| match reply {
            Reply::Session(session) => Some(session),
            _ => None,
        })
    }
}

impl<C: Conn + ?Sized> ConnExt for C {}

fn stat(reply: Reply) -> Option<Stat> {
    match reply {
        Reply::Stat(stat) => Some(stat),
        _ => None,
    }
}

fn held(reply: Reply) -> Option<Hold> {
    match reply {
        Reply::Hold(hold) => Some(hold),
        _ => None,
    }
}

fn done(reply: Reply) -> Option<()> {
    match reply {
        Reply::Done => Some(()),
        _ => None,
    }
}

fn send<C: Conn + ?Sized, T: Send + 'static>(
    conn: &C,
    op: Op,
    path: Result<ZkPath, Error>,
    open: impl FnOnce(Reply) -> Option<T> + Send + 'static,
) -> Pending<T> {
    let name = op.name();
    let path = match path {
        Ok(path) => path,
        Err(err) => return Pending::ready(Err(err.during(name))),
    };
    let shown = path.clone();
    conn.call(Request::new(op, path))
        .and_then(move |reply| open(reply).ok_or_else(|| Error::odd(name, &shown)))
}
