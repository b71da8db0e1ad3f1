//! A connection of which a test says what becomes of each request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use zkcells::{Conn, Pending, Reply, Request};

use super::soon;

type Alter = Box<dyn Fn(&Arc<dyn Conn>, Request) -> Pending<Reply> + Send + Sync>;

pub struct Altered {
    inner: Arc<dyn Conn>,
    alter: Alter,
}

impl Altered {
    /// Hands each request to `alter`, with the connection that would answer it.
    pub fn of(
        inner: Arc<dyn Conn>,
        alter: impl Fn(&Arc<dyn Conn>, Request) -> Pending<Reply> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Altered { inner, alter: Box::new(alter) })
    }
}

/// What is kept back of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Request,
    Answer,
}

/// What is kept back.
pub struct Kept {
    reached: Arc<Notify>,
    go: Arc<Notify>,
}

impl Kept {
    /// Waits until it is kept.
    pub async fn reached(&self, what: &str) {
        soon(what, self.reached.notified()).await;
    }

    /// Lets it go.
    pub fn go(&self) {
        self.go.notify_one();
    }
}

impl Altered {
    /// Keeps back the first request that `is_it` tells, or its answer, until it is let go.
    pub fn keeping(
        inner: Arc<dyn Conn>,
        back: Back,
        is_it: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> (Arc<Self>, Kept) {
        let (reached, go, first) = (Arc::new(Notify::new()), Arc::default(), AtomicBool::new(true));
        let kept = Kept { reached: reached.clone(), go: Arc::clone(&go) };
        let conn = Altered::of(inner, move |inner, request| {
            if !is_it(&request) || !first.swap(false, Ordering::SeqCst) {
                return inner.call(request);
            }
            let (inner, reached, go) = (inner.clone(), reached.clone(), go.clone());
            Pending::new(async move {
                if back == Back::Request {
                    reached.notify_one();
                    go.notified().await;
                    return inner.call(request).await;
                }
                let answer = inner.call(request).await;
                reached.notify_one();
                go.notified().await;
                answer
            })
        });
        (conn, kept)
    }
}

impl Conn for Altered {
    fn call(&self, request: Request) -> Pending<Reply> {
        (self.alter)(&self.inner, request)
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "altered({})", self.inner)
    }
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Altered({})", self.inner)
    }
}
