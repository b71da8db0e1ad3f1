//! What `GlobalConn` owes beyond the contract, on quorums in memory: who decides, what mirrors get, what
//! is told when they do not, and who is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "../support/mod.rs"]
mod support;

mod cell;
mod closing;
mod gate;
mod identity;
mod lacking;
mod lists;
mod owned;
mod passing;
mod pipelines;
mod promotion;
mod races;
mod reads;
mod recipes;
mod repairs;
mod restored;
mod stopped;
mod together;
mod tokens;
mod tree;
mod trips;
mod trust;
mod word;
mod writes;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::soon;
use tokio::sync::Notify;
use zkcells::fault::OpKind;
use zkcells::repair::{self, Kind};
use zkcells::{
    Acl, BoundConn, Cells, Conn, ConnExt as _, CreateOptions, EmptyFirst, ErrorKind, GlobalConn,
    GlobalOptions, InitOptions, MemoryConn, MemoryQuorum, MetaConn, Mode, Multi, MultiOp, Op,
    Pending, Perms, Promotion, Reads, Rejoin, Reply, Request, Require, Role, SessionOptions,
    TakeOver, Version, Within, ZkPath,
};

/// Three quorums, and the connections of one client to them.
struct Set {
    quorums: [MemoryQuorum; 3],
    lines: Vec<Arc<MemoryConn>>,
    conn: Arc<GlobalConn>,
}

impl Set {
    async fn new(options: GlobalOptions) -> Set {
        let set =
            Set::over([MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()], options);
        set.conn.init().await.unwrap();
        set
    }

    fn over(quorums: [MemoryQuorum; 3], options: GlobalOptions) -> Set {
        let lines: Vec<_> = quorums.iter().map(|quorum| Arc::new(quorum.connect())).collect();
        let conns = lines.iter().map(|line| line.clone() as Arc<dyn Conn>);
        let conn = Arc::new(GlobalConn::new(conns, options));
        Set { quorums, lines, conn }
    }

    /// Another client of the same quorums.
    fn another(&self) -> Set {
        Set::over(self.quorums.clone(), self.conn.options().clone())
    }

    /// What each of them holds at `path`.
    async fn data(&self, path: &str) -> [Option<String>; 3] {
        let mut found = [None, None, None];
        for (found, quorum) in found.iter_mut().zip(&self.quorums) {
            let node = quorum.connect().get(path).await.ok();
            *found = node.map(|node| String::from_utf8(node.data.to_vec()).unwrap());
        }
        found
    }

    async fn everywhere(&self, path: &str, data: &str) {
        let data = Some(data.to_string());
        assert_eq!(self.data(path).await, [data.clone(), data.clone(), data]);
    }

    async fn nowhere(&self, path: &str) {
        assert_eq!(self.data(path).await, [None, None, None]);
    }

    /// One of them loses everything.
    async fn wipe(&self, index: usize) {
        let conn = self.quorums[index].connect();
        for name in conn.children("/").await.unwrap().names {
            if name != "zookeeper" {
                zkcells::tree::remove_all(&conn, format!("/{name}")).await.unwrap();
            }
        }
    }

    async fn diff(&self) -> Vec<(String, usize, Kind)> {
        let mut diff = repair::diff(&self.conn, "/").unwrap();
        let mut found = Vec::new();
        while let Some(one) = diff.next().await {
            let one = one.unwrap();
            found.push((one.path.to_string(), one.quorum, one.kind));
        }
        found
    }
}

/// So little time that a quorum which is away costs a test nothing.
fn briefly(conn: &Arc<GlobalConn>) -> Within<Arc<GlobalConn>> {
    Within::new(conn.clone(), Duration::from_millis(200))
}

/// Gives a quorum the identity of another, which it had not before.
async fn imitate(other: &MemoryQuorum, quorum: &MemoryQuorum) {
    const HOME: &str = "/zkcells/global";
    let name = async |conn: &MemoryConn| {
        let names = conn.children(HOME).await.unwrap().names;
        let name = names.into_iter().find(|name| name.starts_with("is-")).unwrap();
        format!("{HOME}/{name}")
    };
    let (other, quorum) = (other.connect(), quorum.connect());
    let data = other.get(HOME).await.unwrap().data;
    let multi = Multi::new()
        .set(HOME, data, Version::Any)
        .delete(name(&quorum).await, Version::Any)
        .create(name(&other).await, "", Mode::Persistent);
    quorum.multi(multi).await.unwrap();
}

fn has(data: &str) -> Option<String> {
    Some(data.to_string())
}
