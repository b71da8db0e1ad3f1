//! `zk touch`: makes sure that a node is there, and moves its time.

use std::collections::HashMap;

use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::{Mode, Stat, Version};
use crate::path::ZkPath;
use crate::tree;

use super::args::Touch;
use super::context::Context;
use super::describe::NodeItem;
use super::output::Stop;
use super::target;

const VERB: &str = "touch";

/// How often the node may change, come or go under us before that is worth an error.
const TRIES: usize = 10;

pub(super) async fn run(context: &mut Context, args: Touch) -> Result<(), Stop> {
    // One after the other, as parents come first; so a dead cell is waited for once, not each time.
    let mut away: HashMap<String, Error> = HashMap::new();
    for text in &args.paths {
        let done = match target::literal(text) {
            Ok(path) => {
                let cell = path.components().nth(1).unwrap_or_default().to_string();
                let done = match away.get(&cell) {
                    Some(err) => Err(err.clone().at(&path)),
                    None => touch(&*context.conn, &path, &args).await.map(|stat| (path, stat)),
                };
                if let Err(err) = &done
                    && err.is_away()
                {
                    away.insert(cell, err.clone());
                }
                done
            }
            Err(err) => Err(err),
        };
        match done {
            Ok((path, stat)) => {
                context.done();
                context.out.item(&NodeItem::new(&path).with_stat(&stat))?;
            }
            Err(err) => context.report(VERB, err),
        }
    }
    Ok(())
}

async fn touch(conn: &dyn Conn, path: &ZkPath, args: &Touch) -> Result<Stat, Error> {
    for _ in 0..TRIES {
        // The version keeps what another has written meanwhile from being overwritten.
        let result = match conn.get(path).await {
            Ok(node) => conn.set(path, node.data, Version::Exact(node.stat.version)).await,
            Err(err) if err.kind() == ErrorKind::NoNode && !args.only_existing => {
                create(conn, path, args).await
            }
            Err(err) => return Err(err),
        };
        match result {
            Err(err) if came_between(&err, path) => {}
            result => return result,
        }
    }
    Err(Error::new(VERB, path, ErrorKind::Contended))
}

async fn create(conn: &dyn Conn, path: &ZkPath, args: &Touch) -> Result<Stat, Error> {
    if args.parents {
        return tree::create_all(conn, path, "", Mode::Persistent).await.map(|(_, stat)| stat);
    }
    let created = conn.create(path, "", Mode::Persistent).await;
    created.map(|(_, stat)| stat).map_err(|err| match err.kind() {
        ErrorKind::NoNode => err.with_detail("its parent is missing; -p creates it"),
        _ => err,
    })
}

/// Whether another was quicker: looking again then tells what to do.
fn came_between(err: &Error, path: &ZkPath) -> bool {
    match err.kind() {
        ErrorKind::BadVersion | ErrorKind::NodeExists => true,
        // Of a set only: a create says this of its parent, and looking again will not help.
        ErrorKind::NoNode => err.op() == "set" && err.path() == path.as_str(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryConn;
    use crate::request::Op;
    use crate::spy::Spy;

    fn args(parents: bool) -> Touch {
        Touch { parents, only_existing: false, paths: Vec::new() }
    }

    #[tokio::test]
    async fn what_another_writes_meanwhile_stays() {
        let conn = MemoryConn::new();
        conn.create("/n", "old", Mode::Persistent).await.unwrap();
        let mut first = true;
        let spy = Spy::meddling(conn, move |request, other| {
            if matches!(request.op, Op::Set { .. }) && std::mem::take(&mut first) {
                drop(other.set("/n", "theirs", Version::Any));
            }
            None
        });
        let path = ZkPath::new("/n").unwrap();
        let stat = touch(&spy, &path, &args(false)).await.unwrap();
        assert_eq!((stat.version, spy.get("/n").await.unwrap().data), (2, "theirs".into()));
    }

    #[tokio::test]
    async fn a_node_that_goes_meanwhile_is_made_again_and_a_missing_parent_is_told() {
        let conn = MemoryConn::new();
        conn.create("/n", "old", Mode::Persistent).await.unwrap();
        let mut first = true;
        let spy = Spy::meddling(conn, move |request, other| {
            if matches!(request.op, Op::Set { .. }) && std::mem::take(&mut first) {
                drop(other.delete("/n", Version::Any));
            }
            None
        });
        let path = ZkPath::new("/n").unwrap();
        assert_eq!(touch(&spy, &path, &args(false)).await.unwrap().version, 0);
        let path = ZkPath::new("/none/x").unwrap();
        let err = touch(&spy, &path, &args(false)).await.unwrap_err();
        assert_eq!(err.detail(), Some("its parent is missing; -p creates it"));
        assert_eq!(touch(&spy, &path, &args(true)).await.unwrap().version, 0);
    }
}
