//! What barriers owe: the simple one, the double one, the cyclic one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "../support/mod.rs"]
mod support;

mod crowded;
mod cyclic;
mod cyclic_moments;
mod double;
mod double_faults;
mod double_moments;
mod faults;
mod herds;
mod history;
mod interleaved;
mod kazoo;
mod mixed;
mod simple;

use std::sync::Arc;
use std::time::Duration;

use zkcells::{
    Conn, Error, ErrorKind, MemoryConn, MemoryQuorum, MultiOp, Op, Request, SessionOptions,
};

/// Starts something, and lets it run beside the test.
fn spawned<T: Send + 'static>(
    future: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, Error>> {
    tokio::spawn(future)
}

/// What a task came to, soon.
async fn end<T>(
    what: &str,
    task: tokio::task::JoinHandle<Result<T, Error>>,
) -> Result<T, ErrorKind> {
    support::soon(what, task).await.unwrap().map_err(|err| err.kind())
}

fn connect(quorum: &MemoryQuorum, timeout: Duration) -> Arc<MemoryConn> {
    Arc::new(quorum.connect_with(SessionOptions::default().with_session_timeout(timeout)))
}

/// Lets whoever can go on do so: what waits behind this waits for somebody.
async fn settled(conn: &dyn Conn, path: &str) {
    use zkcells::ConnExt as _;
    for _ in 0..20 {
        conn.sync(path).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Whether a transaction deletes a node.
fn deletes(request: &Request, path: &str) -> bool {
    let of_path = |op: &MultiOp| matches!(op, MultiOp::Delete { path: of, .. } if of == path);
    matches!(&request.op, Op::Multi(ops) if ops.iter().any(of_path))
}

/// Whether a transaction creates a node.
fn creates(request: &Request, path: &str) -> bool {
    let of_path = |op: &MultiOp| matches!(op, MultiOp::Create { path: of, .. } if of == path);
    matches!(&request.op, Op::Multi(ops) if ops.iter().any(of_path))
}
