//! Deletes a subtree.

use std::future::Future;
use std::time::Duration;

use super::batch::{self, Tolerated};
use super::{ROUNDS, walk::walk};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::Version;
use crate::path::{IntoPath, ZkPath};
use crate::pause;
use crate::request::MultiOp;

/// Deletes `path` and everything below it, and returns how many nodes this call deleted.
///
/// A node without children costs one request. Otherwise the subtree is listed and deleted from its
/// leaves up, in batches; ACLs are left alone. Others may delete at the same time: what they took
/// away is done. When they create at the same time, what is new is listed and deleted again, a few
/// times over.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// tree::create_all(&conn, "/app/jobs/next", "7", Mode::Persistent).await?;
/// assert_eq!(tree::remove_all(&conn, "/app/jobs").await?, 2);
/// assert!(conn.exists("/app").await?.is_some());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `NoNode` when there was no node at `path` to begin with. `Contended`, naming one of them, when
/// nodes keep being created below it. Any other failure names the node that could not be deleted;
/// what was deleted before stays so.
///
/// # Cancel safety
///
/// Dropping the future stops between batches; what was sent is not taken back.
#[doc(alias = "DeleteRecursive")]
pub fn remove_all(
    conn: &dyn Conn,
    path: impl IntoPath,
) -> impl Future<Output = Result<usize, Error>> + Send {
    let path = path.into_path();
    async move {
        let path = path.map_err(|err| err.during(VERB))?;
        match conn.delete(&path, Version::Any).await {
            Ok(()) => return Ok(1),
            Err(err) if err.kind() == ErrorKind::NotEmpty => {}
            Err(err) => return Err(err.during(VERB)),
        }
        let mut removed = 0;
        let mut left = path.clone();
        for round in 0..ROUNDS {
            pause::after(round, Duration::MAX).await;
            let below = match walk(conn, &path).await {
                Ok(below) => below,
                // Another deleter was faster.
                Err(err) if err.kind() == ErrorKind::NoNode => return Ok(removed),
                Err(err) => return Err(err.during(VERB)),
            };
            let steps = deepest_first(path.clone(), below);
            let count = steps.len();
            let skipped = batch::write(conn, batch::waves(steps), TOLERATED).await?;
            removed += count - skipped.len();
            // Whoever has a new child keeps its ancestors from going: they come after it.
            match skipped.into_iter().find(|skipped| skipped.kind == ErrorKind::NotEmpty) {
                None => return Ok(removed),
                Some(skipped) => left = skipped.path,
            }
        }
        let why = format!("others keep creating nodes, such as below {left}");
        Err(Error::new(VERB, &path, ErrorKind::Contended).with_detail(why))
    }
}

const VERB: &str = "remove_all";

const TOLERATED: Tolerated = Tolerated {
    verb: VERB,
    kinds: &[ErrorKind::NoNode, ErrorKind::NotEmpty],
    present: None,
    absent: Some(ErrorKind::NoNode),
};

fn deepest_first(top: ZkPath, below: Vec<ZkPath>) -> Vec<(usize, MultiOp)> {
    let mut steps: Vec<(usize, MultiOp)> = below
        .into_iter()
        .chain([top])
        .map(|path| (path.components().count(), MultiOp::Delete { path, version: Version::Any }))
        .collect();
    steps.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    steps
}

#[cfg(test)]
mod tests;
