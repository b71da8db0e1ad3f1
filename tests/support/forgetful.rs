//! A connection that cannot tell what became of its first writes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zkcells::{Conn, ErrorKind, MultiOp, Op, Pending, Reply, Request};

/// Answers `OutcomeUnknown` to the first multis that write something, carried out or not.
#[derive(Debug)]
pub struct Forgetful {
    inner: Arc<dyn Conn>,
    left: AtomicUsize,
    carried_out: bool,
}

impl Forgetful {
    pub fn of(inner: Arc<dyn Conn>, multis: usize, carried_out: bool) -> Arc<Self> {
        Arc::new(Forgetful { inner, left: multis.into(), carried_out })
    }

    /// Whether all that was to be forgotten has been.
    pub fn is_done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

impl Conn for Forgetful {
    fn call(&self, request: Request) -> Pending<Reply> {
        let writes = matches!(&request.op, Op::Multi(ops)
            if ops.iter().any(|op| !matches!(op, MultiOp::Check { .. })));
        let forgets = |left: usize| left.checked_sub(1);
        let (seq, cst) = (Ordering::SeqCst, Ordering::SeqCst);
        if !writes || self.left.fetch_update(seq, cst, forgets).is_err() {
            return self.inner.call(request);
        }
        let unknown = request.error(ErrorKind::OutcomeUnknown);
        if !self.carried_out {
            return Pending::ready(Err(unknown));
        }
        let answer = self.inner.call(request);
        Pending::new(async move {
            drop(answer.await);
            Err(unknown)
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forgetful({})", self.inner)
    }
}
