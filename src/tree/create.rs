//! Creates one node with whatever is missing above it.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::batch::{self, Tolerated, blame};
use super::{ROUNDS, ancestors};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Stat, Version};
use crate::path::{IntoPath, ZkPath};
use crate::pause;
use crate::request::{MultiOp, MultiReply, create_path};

/// Creates `path` and every missing ancestor, and returns the path (with its number, when it is
/// sequential) and the [`Stat`].
///
/// Ancestors are empty and persistent whatever the mode of the leaf, with the leaf's identities
/// and [`Perms::DIRECTORY`](crate::Perms::DIRECTORY). With the parent there it is one request;
/// otherwise two more: a look for what is missing, and one atomic write of all of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// let (path, _) =
///     tree::create_all(&conn, "/app/queue/job-", "7", Mode::EphemeralSequential).await?;
/// assert_eq!(path, "/app/queue/job-0000000000");
/// assert!(!conn.exists("/app/queue").await?.unwrap().is_ephemeral());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `NodeExists` when `path` itself is there already. `NoAuth` and the like name the node that could
/// not be made. `Contended` when others keep deleting what is made: the ancestors or, before its
/// stat was known, the leaf. A failure leaves nothing behind, except for a path that does not fit
/// into one request.
///
/// # Cancel safety
///
/// Dropping the future sends nothing more; a request already sent is not taken back.
#[doc(alias = "CreateRecursive")]
pub fn create_all(
    conn: &dyn Conn,
    path: impl IntoPath,
    data: impl AsRef<[u8]>,
    options: impl Into<CreateOptions>,
) -> impl Future<Output = Result<(ZkPath, Stat), Error>> + Send {
    let options = options.into();
    let path = create_path(path, &options);
    let data = Bytes::copy_from_slice(data.as_ref());
    async move {
        let path = path.map_err(|err| err.during(VERB))?;
        make(conn, path, data, &options, VERB).await
    }
}

const VERB: &str = "create_all";

async fn make(
    conn: &dyn Conn,
    path: ZkPath,
    data: Bytes,
    options: &CreateOptions,
    verb: &'static str,
) -> Result<(ZkPath, Stat), Error> {
    // Below `/`, a missing parent is a mount that is not there.
    let has_ancestors = ancestors::ancestors(&path).next().is_some();
    let mut last = path.clone();
    for round in 0..ROUNDS {
        pause::after(round, Duration::MAX).await;
        match conn.create(&path, &data, options).await {
            Err(err) if err.kind() == ErrorKind::NoNode && has_ancestors => {}
            other => return other.map_err(|err| err.during(verb)),
        }
        let missing = ancestors::missing(conn, &path, verb).await?;
        let Some(top) = missing.first() else { continue };
        last = top.clone();

        let directory = ancestors::directory(options);
        let mut steps: Vec<MultiOp> =
            missing.into_iter().map(|path| ancestors::create(path, &directory)).collect();
        let leaf =
            MultiOp::Create { path: path.clone(), data: data.clone(), options: options.clone() };
        if !batch::fit(steps.iter().chain([&leaf])) {
            batch::write(conn, batch::waves(steps.into_iter().enumerate()), existing(verb)).await?;
            continue;
        }
        steps.push(leaf);
        match conn.multi(steps.clone()).await {
            Ok(replies) => return created(conn, replies, &path, verb).await,
            Err(err) if is_race(&err, steps.len()) => {}
            Err(err) => return Err(blame(err, &steps, verb)),
        }
    }
    let why = format!("its ancestors keep being deleted, such as {last}");
    Err(Error::new(verb, &path, ErrorKind::Contended).with_detail(why))
}

/// What creates put up with.
pub(super) fn existing(verb: &'static str) -> Tolerated {
    Tolerated {
        verb,
        kinds: &[ErrorKind::NodeExists],
        present: Some(ErrorKind::NodeExists),
        absent: None,
    }
}

/// Whether others created or deleted an ancestor meanwhile, so that it is worth another look.
fn is_race(err: &Error, steps: usize) -> bool {
    match err.kind() {
        ErrorKind::NoNode => true,
        ErrorKind::NodeExists => err.index().is_some_and(|index| index + 1 < steps),
        _ => false,
    }
}

async fn created(
    conn: &dyn Conn,
    mut replies: Vec<MultiReply>,
    path: &ZkPath,
    verb: &'static str,
) -> Result<(ZkPath, Stat), Error> {
    let (path, stat) = match replies.pop() {
        Some(MultiReply::Created { path, stat: Some(stat) }) => return Ok((path, stat)),
        // Servers before 3.8.2 do not tell it here.
        Some(MultiReply::Created { path, stat: None }) => {
            // Whatever keeps us from reading it, it was made.
            let stat = conn.exists(&path).await.map_err(|err| {
                Error::new(verb, &path, ErrorKind::OutcomeUnknown)
                    .with_detail("it was created, and its stat could not be read")
                    .with_cause(err)
            })?;
            (path, stat)
        }
        _ => return Err(Error::new(verb, path, ErrorKind::Unexpected)),
    };
    match stat {
        Some(stat) => Ok((path, stat)),
        None => Err(Error::new(verb, &path, ErrorKind::Contended)
            .with_detail("it was created, and deleted at once by another")),
    }
}

/// Makes the node at `path` hold `data`, whether it is there or not.
///
/// A node that is there keeps its mode and ACL; a missing one is created with `options`, its
/// ancestors as [`create_all`] does. One request for a node that is there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// tree::put(&conn, "/app/motd", "hello", Mode::Persistent).await?;
/// let stat = tree::put(&conn, "/app/motd", "bye", Mode::Persistent).await?;
/// assert_eq!((conn.get("/app/motd").await?.data, stat.version), ("bye".into(), 1));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of set and of [`create_all`], but for `NodeExists`; `BadArguments` for a sequential mode;
/// `Contended` when the node keeps coming and going.
///
/// # Cancel safety
///
/// Dropping the future sends nothing more; a request already sent is not taken back.
#[doc(alias = "CreateOrUpdate")]
pub fn put(
    conn: &dyn Conn,
    path: impl IntoPath,
    data: impl AsRef<[u8]>,
    options: impl Into<CreateOptions>,
) -> impl Future<Output = Result<Stat, Error>> + Send {
    const VERB: &str = "put";
    let options = options.into();
    let path = path.into_path();
    let data = Bytes::copy_from_slice(data.as_ref());
    async move {
        let path = path.map_err(|err| err.during(VERB))?;
        if options.mode.is_sequential() {
            let why = "a sequential node has another name each time; create it";
            return Err(Error::new(VERB, &path, ErrorKind::BadArguments).with_detail(why));
        }
        for round in 0..ROUNDS {
            pause::after(round, Duration::MAX).await;
            match conn.set(&path, &data, Version::Any).await {
                Err(err) if err.kind() == ErrorKind::NoNode => {}
                other => return other.map_err(|err| err.during(VERB)),
            }
            match make(conn, path.clone(), data.clone(), &options, VERB).await {
                Ok((_, stat)) => return Ok(stat),
                Err(err) if err.kind() == ErrorKind::NodeExists && err.path() == path.as_str() => {}
                Err(err) => return Err(err),
            }
        }
        Err(Error::new(VERB, &path, ErrorKind::Contended).with_detail("it keeps coming and going"))
    }
}

#[cfg(test)]
mod tests;
