//! How much a recipe asks of servers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zkcells::{Conn, Op, Pending, Reply, Request};

/// A connection that counts the requests that go through it.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Conn>,
    count: Arc<AtomicUsize>,
}

impl Counted {
    pub fn before(inner: Arc<dyn Conn>, count: &Arc<AtomicUsize>) -> Arc<dyn Conn> {
        Arc::new(Counted { inner, count: count.clone() })
    }
}

impl Conn for Counted {
    fn call(&self, request: Request) -> Pending<Reply> {
        // Nobody is asked for the session.
        if !matches!(request.op, Op::Session) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counted({})", self.inner)
    }
}
