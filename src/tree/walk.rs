//! Lists a subtree, level by level.

use std::cmp::Ordering;
use std::future::Future;

use futures::stream::{self, StreamExt};

use super::{IN_FLIGHT, READS_AT_ONCE};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::{IntoPath, ZkPath};
use crate::request::{Read, ReadReply};

/// Every node below `path`, without `path` itself: each before its descendants, and siblings in
/// ascending order of their names' bytes.
///
/// Each level is listed by a thousand reads a request. What comes meanwhile may or may not be
/// there; a node that is gone when its turn comes is left out.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// tree::create_all(&conn, "/app/jobs/next", "", Mode::Persistent).await?;
/// tree::create_all(&conn, "/app/jobs-done", "", Mode::Persistent).await?;
/// let found = tree::walk(&conn, "/app").await?;
/// assert_eq!(found, ["/app/jobs", "/app/jobs/next", "/app/jobs-done"]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `NoNode` when there is no node at `path`; otherwise the first failure, naming the node that could
/// not be listed.
///
/// # Cancel safety
///
/// It only reads.
#[doc(alias = "ChildrenRecursive")]
pub fn walk(
    conn: &dyn Conn,
    path: impl IntoPath,
) -> impl Future<Output = Result<Vec<ZkPath>, Error>> + Send {
    let walking = walk_partial(conn, path);
    async move { walking.await?.complete() }
}

/// What of a subtree could be listed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Walked {
    /// Every node that was found, in the order of [`walk`].
    pub paths: Vec<ZkPath>,
    /// Why some of them could not be listed: what is below those is missing.
    pub failed: Vec<Error>,
}

impl Walked {
    /// All nodes.
    ///
    /// # Errors
    ///
    /// The first failure, if there is one.
    pub fn complete(self) -> Result<Vec<ZkPath>, Error> {
        match self.failed.into_iter().next() {
            None => Ok(self.paths),
            Some(err) => Err(err),
        }
    }
}

/// As [`walk`], and goes on past nodes that cannot be listed.
///
/// # Errors
///
/// When `path` itself cannot be listed.
///
/// # Cancel safety
///
/// It only reads.
pub fn walk_partial(
    conn: &dyn Conn,
    path: impl IntoPath,
) -> impl Future<Output = Result<Walked, Error>> + Send {
    let path = path.into_path();
    async move {
        let top = path.map_err(|err| err.during(VERB))?;
        let mut walked = Walked::default();
        let mut found: Vec<ZkPath> = Vec::new();
        let mut level: Vec<ZkPath> = below(conn, top).await?;
        while !level.is_empty() {
            let chunks: Vec<_> =
                level.chunks(READS_AT_ONCE).map(|paths| list(conn, paths)).collect();
            let mut chunks = stream::iter(chunks).buffered(IN_FLIGHT);
            let mut next = Vec::new();
            while let Some(listed) = chunks.next().await {
                let Listed { there, below, failed } = listed?;
                found.extend(there);
                walked.failed.extend(failed);
                next.extend(below);
            }
            drop(chunks);
            level = next;
        }
        found.sort_unstable_by(depth_first);
        walked.paths = found;
        Ok(walked)
    }
}

const VERB: &str = "walk";

async fn below(conn: &dyn Conn, top: ZkPath) -> Result<Vec<ZkPath>, Error> {
    let children = conn.children(&top).await.map_err(|err| err.during(VERB))?;
    Ok(children.names.iter().map(|name| top.child(name)).collect())
}

/// Those of a level that are still there, and what is below them.
#[derive(Default)]
struct Listed {
    there: Vec<ZkPath>,
    below: Vec<ZkPath>,
    failed: Vec<Error>,
}

async fn list(conn: &dyn Conn, paths: &[ZkPath]) -> Result<Listed, Error> {
    let answers = conn.read_many(paths.iter().cloned().map(Read::Children)).await;
    let mut listed = Listed::default();
    for (path, answer) in paths.iter().zip(answers.map_err(|err| err.during(VERB))?) {
        match answer {
            Ok(ReadReply::Children(names)) => {
                listed.there.push(path.clone());
                listed.below.extend(names.iter().map(|name| path.child(name)));
            }
            Err(err) if err.kind() == ErrorKind::NoNode => {}
            Err(err) => {
                listed.there.push(path.clone());
                listed.failed.push(err.during(VERB));
            }
            Ok(_) => return Err(Error::new(VERB, path, ErrorKind::Unexpected)),
        }
    }
    Ok(listed)
}

/// Component by component: plain text would put `/a-b` between `/a` and `/a/b`.
fn depth_first(one: &ZkPath, other: &ZkPath) -> Ordering {
    // No path holds the byte 0.
    let slash_first = |byte| if byte == b'/' { 0 } else { byte };
    one.as_str().bytes().map(slash_first).cmp(other.as_str().bytes().map(slash_first))
}

#[cfg(test)]
mod tests;
