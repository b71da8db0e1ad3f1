//! A connection whose requests have another deadline than the usual 10 s.

use std::fmt;
use std::time::Duration;

use super::{Conn, Pending};
use crate::request::{Reply, Request};

/// A connection that gives each request passing through it `wait` from its call.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::time::Duration;
/// use zkcells::{ConnExt, MemoryConn, Within};
/// let conn = Within::new(MemoryConn::new(), Duration::from_secs(2));
/// assert!(conn.exists("/motd").await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Within<C> {
    inner: C,
    wait: Duration,
}

impl<C: Conn> Within<C> {
    /// Lets the requests of `inner` take `wait` each.
    pub fn new(inner: C, wait: Duration) -> Self {
        Within { inner, wait }
    }
}

impl<C: Conn> Conn for Within<C> {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.inner.call(request.within(self.wait))
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl<C: Conn> fmt::Display for Within<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "within({:?}, {})", self.wait, self.inner)
    }
}
