//! A connection for tests that writes down what goes through it and lets others come in between.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::conn::{Conn, MemoryConn, Pending};
use crate::error::{Error, ErrorKind};
use crate::request::{Op, Reply, Request};

/// What happens before a request goes through: it gets a connection of somebody else to the same
/// quorum, and may answer in the quorum's stead.
type Meddler = Box<dyn FnMut(&Request, &MemoryConn) -> Option<Error> + Send>;

/// A session on an in-process quorum, with a log and a meddler.
pub(crate) struct Spy {
    inner: MemoryConn,
    other: MemoryConn,
    log: Mutex<Vec<Request>>,
    meddler: Mutex<Meddler>,
    in_flight: Option<Arc<InFlight>>,
}

/// How many requests wait for their answer, now and at most.
#[derive(Default)]
struct InFlight {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Spy {
    /// Logs what goes through to `inner`.
    pub(crate) fn new(inner: MemoryConn) -> Self {
        Spy::meddling(inner, |_, _| None)
    }

    /// Calls `meddler` before each request.
    pub(crate) fn meddling(
        inner: MemoryConn,
        meddler: impl FnMut(&Request, &MemoryConn) -> Option<Error> + Send + 'static,
    ) -> Self {
        let other = inner.quorum().connect();
        let meddler: Meddler = Box::new(meddler);
        let meddler = Mutex::new(meddler);
        Spy { inner, other, log: Mutex::default(), meddler, in_flight: None }
    }

    /// Gives each answer only after everything else had its turn.
    pub(crate) fn slow(inner: MemoryConn) -> Self {
        Spy { in_flight: Some(Arc::default()), ..Spy::new(inner) }
    }

    /// How many requests to a slow connection waited at once, at most.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.in_flight.as_ref().unwrap().most.load(Ordering::SeqCst)
    }

    /// The requests so far, in order, such as `get /a`, `read_many(3) /a`; forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap()).iter().map(line).collect()
    }

    /// The requests so far of one operation, each alone or as part of a `read_many` or `multi`.
    pub(crate) fn count(&self, op: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter()
            .map(|request| match &request.op {
                Op::ReadMany(reads) => reads.iter().filter(|read| read.name() == op).count(),
                Op::Multi(ops) => ops.iter().filter(|step| step.name() == op).count(),
                single => usize::from(single.name() == op),
            })
            .sum()
    }
}

fn line(request: &Request) -> String {
    match &request.op {
        Op::ReadMany(reads) => format!("read_many({}) {}", reads.len(), request.path),
        Op::Multi(ops) => format!("multi({}) {}", ops.len(), request.path),
        op => format!("{} {}", op.name(), request.path),
    }
}

fn delayed(answer: Pending<Reply>, in_flight: Option<Arc<InFlight>>) -> Pending<Reply> {
    let Some(in_flight) = in_flight else { return answer };
    let now = in_flight.now.fetch_add(1, Ordering::SeqCst) + 1;
    in_flight.most.fetch_max(now, Ordering::SeqCst);
    Pending::new(async move {
        tokio::task::yield_now().await;
        in_flight.now.fetch_sub(1, Ordering::SeqCst);
        answer.await
    })
}

/// The answer of a request that was never sent.
pub(crate) fn refuse(request: &Request, kind: ErrorKind) -> Option<Error> {
    Some(request.error(kind))
}

impl Conn for Spy {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.log.lock().unwrap().push(request.clone());
        match (self.meddler.lock().unwrap())(&request, &self.other) {
            Some(err) => Pending::ready(Err(err)),
            None => delayed(self.inner.call(request), self.in_flight.clone()),
        }
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spy({})", self.inner)
    }
}

impl fmt::Debug for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spy({})", self.inner)
    }
}
