//! Own nodes that stand, whatever was said of the request for them.

use std::fmt;

use super::*;
use crate::conn::Pending;
use crate::request::{MultiOp, Op, Reply, Request};

/// Answers the first transaction that makes an own node with an error, and has it carried out.
fn told_otherwise(quorum: &MemoryQuorum, kind: ErrorKind) -> Arc<Told> {
    Arc::new(Told { inner: quorum.connect(), kind, left: AtomicUsize::new(1) })
}

#[derive(Debug)]
struct Told {
    inner: MemoryConn,
    kind: ErrorKind,
    left: AtomicUsize,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "told({})", self.inner)
    }
}

impl Conn for Told {
    fn call(&self, request: Request) -> Pending<Reply> {
        let makes = |op: &MultiOp| matches!(op, MultiOp::Create { options, .. } if options.mode.is_ephemeral());
        let joins = matches!(&request.op, Op::Multi(ops) if ops.iter().any(makes));
        let (cst, less) = (Ordering::SeqCst, |left: usize| left.checked_sub(1));
        let err = request.error(self.kind);
        let answer = self.inner.call(request);
        if !joins || self.left.fetch_update(cst, cst, less).is_err() {
            return answer;
        }
        Pending::new(async move {
            drop(answer.await);
            Err(err)
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

#[tokio::test]
async fn an_own_node_that_stands_whatever_was_said_is_used() {
    for kind in [ErrorKind::NotMirrored, ErrorKind::Contended, ErrorKind::OutcomeUnknown] {
        let quorum = MemoryQuorum::new();
        let conn = told_otherwise(&quorum, kind);
        let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
        let shard = lock.acquire().await.unwrap();
        assert_eq!(conn.left.load(Ordering::SeqCst), 0);
        assert_eq!(names(&conn.inner, "/sys/group-0000000000").await.len(), 1, "{kind:?}");
        shard.release().await;
    }
}

#[tokio::test]
async fn an_own_node_that_stands_whatever_was_said_goes_with_whoever_waited() {
    for kind in [ErrorKind::NotMirrored, ErrorKind::Contended, ErrorKind::OutcomeUnknown] {
        let quorum = MemoryQuorum::new();
        let conn = told_otherwise(&quorum, kind);
        let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
        // Dropped as soon as the request was sent.
        drop(Box::pin(async { lock.acquire().await.map(drop) }).now_or_never());
        until(async || conn.left.load(Ordering::SeqCst) == 0).await;
        let other = quorum.connect();
        until(async || other.children("/sys/group-0000000000").await.is_err()).await;
    }
}
