//! Copies a subtree.

use std::collections::HashMap;
use std::future::Future;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{create_many, put, walk::walk};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Version};
use crate::path::{IntoPath, Rebase, ZkPath};
use crate::request::{Read, ReadReply};

/// What [`copy`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// How many nodes were created.
    pub created: usize,
    /// How many were there already and got new data.
    pub overwritten: usize,
    /// How many ephemeral nodes were left out.
    pub ephemerals: usize,
}

/// Copies the node `from` and everything below it to `to`, in the same cell or another.
///
/// As `cp -r` does: `to` and its missing ancestors are created, a node that is there already keeps
/// its ACL and its other children and gets the copied data. New nodes get `options`; ACLs are not
/// copied, as identities of one cell need not mean anything in another. Ephemeral nodes belong to a
/// session and are left out. Unlike `cp`, `to` is always the copy itself, never a place to put it.
///
/// The copy is no snapshot: what changes meanwhile is copied as it was, as it is, or not at all.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// tree::create_all(&conn, "/zk/nyc/app/motd", "hello", Mode::Persistent).await?;
/// let done = tree::copy(&conn, "/zk/nyc/app", "/zk/lax/app", Mode::Persistent).await?;
/// assert_eq!(done.created, 2);
/// assert_eq!(conn.get("/zk/lax/app/motd").await?.data, "hello");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `NoNode` when there is nothing at `from`; `BadArguments` when `to` is `from` or lies below it, or
/// for a mode other than persistent. Otherwise the first failure, with the node's path; what was
/// copied before stays.
///
/// # Cancel safety
///
/// Dropping the future stops between batches; what was sent is not taken back.
pub fn copy(
    conn: &dyn Conn,
    from: impl IntoPath,
    to: impl IntoPath,
    options: impl Into<CreateOptions>,
) -> impl Future<Output = Result<Copied, Error>> + Send {
    let paths = from.into_path().and_then(|from| Ok((from, to.into_path()?)));
    let options = options.into();
    async move {
        let (from, to) = paths.map_err(|err| err.during(VERB))?;
        if let Some(why) = why_not(&from, &to, &options) {
            return Err(Error::new(VERB, &to, ErrorKind::BadArguments).with_detail(why));
        }
        let mut nodes = walk(conn, &from).await.map_err(|err| err.during(VERB))?;
        nodes.insert(0, from.clone());
        let place = Rebase::new(from, to);
        let mut done = Copied::default();
        let reads: Vec<_> = nodes.chunks(NODES_AT_ONCE).map(|chunk| read(conn, chunk)).collect();
        let mut reads = stream::iter(reads).buffered(CHUNKS_AT_ONCE);
        while let Some(chunk) = reads.next().await {
            let chunk = chunk?;
            done.ephemerals += chunk.ephemerals;
            write(conn, chunk.nodes, &place, &options, &mut done).await?;
        }
        Ok(done)
    }
}

const VERB: &str = "copy";

/// How many nodes are read, with their data, by one request. Two chunks are in memory at a time.
const NODES_AT_ONCE: usize = 250;
const CHUNKS_AT_ONCE: usize = 2;

/// How many nodes get new data at once.
const SETS_AT_ONCE: usize = 64;

fn why_not(from: &ZkPath, to: &ZkPath, options: &CreateOptions) -> Option<String> {
    if to.is_in(from) {
        return Some(format!("it lies in {from}, which would be copied into itself"));
    }
    if options.mode != crate::node::Mode::Persistent {
        return Some("copies are persistent nodes".into());
    }
    None
}

struct Chunk {
    nodes: Vec<(ZkPath, Bytes)>,
    ephemerals: usize,
}

async fn read(conn: &dyn Conn, paths: &[ZkPath]) -> Result<Chunk, Error> {
    let answers = conn.read_many(paths.iter().cloned().map(Read::Get)).await;
    let mut chunk = Chunk { nodes: Vec::with_capacity(paths.len()), ephemerals: 0 };
    for (path, answer) in paths.iter().zip(answers.map_err(|err| err.during(VERB))?) {
        match answer {
            Ok(ReadReply::Node(node)) if node.stat.is_ephemeral() => chunk.ephemerals += 1,
            Ok(ReadReply::Node(node)) => chunk.nodes.push((path.clone(), node.data)),
            // It vanished since the listing.
            Err(err) if err.kind() == ErrorKind::NoNode => {}
            Err(err) => return Err(err.during(VERB)),
            Ok(_) => return Err(Error::new(VERB, path, ErrorKind::Unexpected)),
        }
    }
    Ok(chunk)
}

async fn write(
    conn: &dyn Conn,
    nodes: Vec<(ZkPath, Bytes)>,
    place: &Rebase,
    options: &CreateOptions,
    done: &mut Copied,
) -> Result<(), Error> {
    let nodes: Vec<(ZkPath, Bytes)> =
        nodes.into_iter().filter_map(|(path, data)| Some((place.apply(&path)?, data))).collect();
    let data: HashMap<ZkPath, Bytes> = nodes.iter().cloned().collect();
    let created = create_many::write(conn, nodes, options, VERB).await?;
    done.created += created.created;
    done.overwritten += created.existed.len();
    let sets: Vec<_> = created
        .existed
        .into_iter()
        .filter_map(|path| Some((data.get(&path)?.clone(), path)))
        .map(|(data, path)| overwrite(conn, path, data, options))
        .collect();
    let mut sets = stream::iter(sets).buffer_unordered(SETS_AT_ONCE);
    while let Some(set) = sets.next().await {
        set?;
    }
    Ok(())
}

async fn overwrite(
    conn: &dyn Conn,
    path: ZkPath,
    data: Bytes,
    options: &CreateOptions,
) -> Result<(), Error> {
    match conn.set(&path, &data, Version::Any).await {
        // It was there a moment ago.
        Err(err) if err.kind() == ErrorKind::NoNode => put(conn, &path, &data, options).await,
        other => other,
    }
    .map(drop)
    .map_err(|err| err.during(VERB))
}

#[cfg(test)]
mod tests;
