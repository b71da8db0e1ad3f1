//! Read, compute, compare-and-set, until it sticks.
//!
//! [`retry_change`] is how several writers share one node: each computes the new data from what it
//! read, and writes only if nobody else did meanwhile.

use std::future::Future;

use bytes::Bytes;

use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Node, Stat, Version};
use crate::path::{IntoPath, ZkPath};
use crate::pause;
use crate::request::{LeaveWatch, Op, Reply, Request};

/// What [`retry_change`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// There was no node, and now there is this one.
    Created(Node),
    /// The node holds new data.
    Set(Node),
    /// Nothing was written; this is what was read, `None` where there is no node.
    Unchanged(Option<Node>),
}

impl Change {
    /// The node as it is after the change; `None` where there is none.
    pub fn into_node(self) -> Option<Node> {
        match self {
            Change::Created(node) | Change::Set(node) => Some(node),
            Change::Unchanged(node) => node,
        }
    }

    /// Whether something was written.
    pub fn is_written(&self) -> bool {
        !matches!(self, Change::Unchanged(_))
    }
}

/// Changes the data of a node to what `compute` makes of it, however many others do the same.
///
/// `compute` gets the node as it was read, or `None` where there is none, and returns the new
/// data, or `None` to leave everything as it is. When another writer comes in between, it is
/// called again with what that one left: it may be called many times. Data equal to what is there
/// writes nothing. `options` matter only where the node is created.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{Error, MemoryConn, Mode, change};
/// let conn = MemoryConn::new();
/// for _ in 0..3 {
///     change::retry_change(&conn, "/visits", Mode::Persistent, |node| {
///         let visits = node.map_or(0, |node| node.data.len());
///         Ok::<_, Error>(Some("x".repeat(visits + 1)))
///     })
///     .await?;
/// }
/// let left = change::retry_change(&conn, "/visits", Mode::Persistent, |_| {
///     Ok::<Option<String>, Error>(None)
/// });
/// assert_eq!(left.await?.into_node().unwrap().data, "xxx");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// What `compute` returned, as it is, with nothing written. `Contended` when others keep changing
/// the node for 10 s. `BadArguments` for a sequential mode. What get, create and set may fail with,
/// except the conflicts: `NoNode` is that of the parent; after `OutcomeUnknown` the data may or may
/// not have been written.
///
/// # Cancel safety
///
/// Dropping the future writes nothing more; a write already sent is not taken back.
#[doc(alias = "RetryChange")]
pub fn retry_change<D, E>(
    conn: &dyn Conn,
    path: impl IntoPath,
    options: impl Into<CreateOptions>,
    compute: impl FnMut(Option<&Node>) -> Result<Option<D>, E>,
) -> impl Future<Output = Result<Change, E>>
where
    D: Into<Bytes>,
    E: From<Error>,
{
    retry_change_by(conn, path, options, Deadline::after(Deadline::DEFAULT), compute)
}

/// As [`retry_change`], with a deadline for the whole.
///
/// # Errors
///
/// As [`retry_change`]; `Contended` when others keep changing the node until `deadline`.
///
/// # Cancel safety
///
/// As [`retry_change`].
pub fn retry_change_by<D, E>(
    conn: &dyn Conn,
    path: impl IntoPath,
    options: impl Into<CreateOptions>,
    deadline: Deadline,
    mut compute: impl FnMut(Option<&Node>) -> Result<Option<D>, E>,
) -> impl Future<Output = Result<Change, E>>
where
    D: Into<Bytes>,
    E: From<Error>,
{
    let path = path.into_path();
    let options = options.into();
    async move {
        let path = path.map_err(|err| err.during(VERB))?;
        if options.mode.is_sequential() {
            let why = "a sequential node has another name each time; create it";
            let err = Error::new(VERB, &path, ErrorKind::BadArguments).with_detail(why);
            return Err(err.into());
        }
        let mut attempt = Attempt { conn, path, options, deadline, conflicts: 0 };
        loop {
            let old = attempt.get().await?;
            let Some(data) = compute(old.as_ref())? else { return Ok(Change::Unchanged(old)) };
            let data: Bytes = data.into();
            let done = match old {
                Some(old) if old.data == data => return Ok(Change::Unchanged(Some(old))),
                Some(old) => attempt.set(data, old.stat).await?,
                None => attempt.create(data).await?,
            };
            if let Some(change) = done {
                return Ok(change);
            }
            attempt.conflicts += 1;
            attempt.pause().await?;
        }
    }
}

const VERB: &str = "retry_change";

struct Attempt<'a> {
    conn: &'a dyn Conn,
    path: ZkPath,
    options: CreateOptions,
    deadline: Deadline,
    /// How often in a row another was first.
    conflicts: u32,
}

impl Attempt<'_> {
    async fn get(&self) -> Result<Option<Node>, Error> {
        match self.call(Op::Get(LeaveWatch::No)).await {
            Ok(Reply::Node(node, _)) => Ok(Some(node)),
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            other => Err(self.odd(other)),
        }
    }

    /// `None` when another was first.
    async fn create(&self, data: Bytes) -> Result<Option<Change>, Error> {
        let op = Op::Create { data: data.clone(), options: self.options.clone() };
        match self.call(op).await {
            Ok(Reply::Created(_, stat)) => Ok(Some(Change::Created(Node { data, stat }))),
            Err(err) if err.kind() == ErrorKind::NodeExists => Ok(None),
            other => Err(self.odd(other)),
        }
    }

    /// `None` when another was first.
    async fn set(&self, data: Bytes, old: Stat) -> Result<Option<Change>, Error> {
        let op = Op::Set { data: data.clone(), version: Version::Exact(old.version) };
        match self.call(op).await {
            Ok(Reply::Stat(stat)) => Ok(Some(Change::Set(Node { data, stat }))),
            Err(err) if matches!(err.kind(), ErrorKind::BadVersion | ErrorKind::NoNode) => Ok(None),
            other => Err(self.odd(other)),
        }
    }

    async fn call(&self, op: Op) -> Result<Reply, Error> {
        let mut request = Request::new(op, self.path.clone());
        request.deadline = request.deadline.min(self.deadline);
        self.conn.call(request).await
    }

    fn odd(&self, answer: Result<Reply, Error>) -> Error {
        match answer {
            // Nothing is wrong with the connection: the others have used up the time.
            Err(err) if err.kind() == ErrorKind::NotSent && self.is_over() => self.contended(),
            Err(err) => err.during(VERB),
            Ok(_) => Error::odd(VERB, &self.path),
        }
    }

    /// Lets the others finish, once it is plain that there are several.
    async fn pause(&self) -> Result<(), Error> {
        pause::after(self.conflicts, self.deadline.remaining()).await;
        if self.is_over() { Err(self.contended()) } else { Ok(()) }
    }

    fn is_over(&self) -> bool {
        self.conflicts > 0 && self.deadline.is_past()
    }

    fn contended(&self) -> Error {
        let seen = format!("others changed it first, {} times in a row", self.conflicts);
        Error::new(VERB, &self.path, ErrorKind::Contended).with_detail(seen)
    }
}

#[cfg(test)]
mod tests;
