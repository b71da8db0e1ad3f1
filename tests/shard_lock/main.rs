//! The shard lock in memory, on servers and over all cells: the original's behaviours, its flaws that
//! are none here, workers of both kinds in one system, and what history says under churn and faults.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[allow(dead_code, unreachable_pub, reason = "its main is for those who start it")]
#[path = "../../examples/shards.rs"]
mod example;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod both_kinds;
mod churn;
mod controls;
mod faults;
mod history;
mod limits;
mod mixed;
mod waiting;
mod whole;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use support::beds::Bed;
use support::soon;
use tokio::time::timeout;
use zkcells::recipes::{ShardGuard, ShardLock};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{
    Conn, ConnExt as _, ErrorKind, MemoryConn, MemoryQuorum, Mode, Pending, Reply, Request,
    SessionOptions, ZkConn, tree,
};

const WAIT: Duration = Duration::from_millis(50);

/// A tree of its own, and a path in it that is not there yet.
async fn system(bed: &Bed) -> (Arc<dyn Conn>, String) {
    let (conn, path) = (bed.conn().await, bed.at("sys"));
    let root = path.rsplit_once('/').unwrap().0;
    tree::create_all(&conn, root, "", Mode::Persistent).await.unwrap();
    (conn, path)
}

/// A worker of its own session.
async fn worker(bed: &Bed) -> (Arc<dyn Conn>, ShardLock) {
    let conn = bed.conn().await;
    (conn.clone(), ShardLock::new(conn, bed.at("sys")).with_wait_time(WAIT))
}

/// So many of one generation, in the order of their ranges, with their connections.
async fn shards(bed: &Bed, count: usize) -> Vec<(Arc<dyn Conn>, ShardLock, ShardGuard)> {
    let workers = join_all((0..count).map(|_| worker(bed))).await;
    let asked = workers.iter().map(|(_, lock)| lock.acquire());
    let guards = soon("their ranges", try_join_all(asked)).await.unwrap();
    let mut shards: Vec<_> =
        workers.into_iter().zip(guards).map(|((conn, lock), guard)| (conn, lock, guard)).collect();
    shards.sort_by_key(|(_, _, shard)| shard.index());
    shards
}

async fn names(conn: &dyn Conn, path: &str) -> Vec<String> {
    conn.sync(path).await.unwrap();
    conn.children(path).await.unwrap().names
}

/// The session timeout of those who suffer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Two ticks of the servers.
const TICKS: Duration = Duration::from_millis(500);
/// What a busy machine takes besides: in ten minutes of churn beside four builds it was 75 ms at most.
const GRACE: Duration = Duration::from_millis(500);

async fn connect(addrs: &str) -> Arc<ZkConn> {
    let options = SessionOptions::default().with_session_timeout(TIMEOUT).with_label("cell");
    Arc::new(ZkConn::connect(addrs, options).await.unwrap())
}

/// A path on servers, and their addresses.
async fn on_servers(cell: &str) -> (String, String) {
    let addrs = LocalCells::up().unwrap().addrs(cell).unwrap();
    let root = format!("/{}", fresh_root());
    let conn = connect(&addrs).await;
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    conn.close().await.unwrap();
    (addrs, format!("{root}/sys"))
}

/// Five workers, one killed, one added: the example says itself whether every row was processed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_processes_each_row_once_in_each_pass() {
    let done = timeout(Duration::from_secs(60), example::run()).await;
    done.expect("the example comes to its end").unwrap();
}

/// A connection to servers that are far away.
#[derive(Debug)]
struct Far(MemoryConn);

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "far({})", self.0)
    }
}

impl Conn for Far {
    fn call(&self, request: Request) -> Pending<Reply> {
        let gone = request.error(ErrorKind::ConnectionLoss);
        let (give, pending) = Pending::channel(|| gone);
        let answer = self.0.call(request);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(80)).await;
            give.send(answer.await);
        });
        pending
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

/// However long it takes until a worker is there, or hears that another one is.
#[tokio::test]
async fn the_example_s_verdict_is_no_matter_of_time() {
    let quorum = MemoryQuorum::new();
    let connect: example::Connect = Box::new(move || {
        let conn: Arc<dyn Conn> = Arc::new(Far(quorum.connect()));
        Box::pin(async move { Ok(conn) })
    });
    let done = timeout(Duration::from_secs(60), example::three_passes(connect, "/table")).await;
    done.expect("the example comes to its end").unwrap();
}
