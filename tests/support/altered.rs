//! A connection of which a test says what becomes of each request.

use std::fmt;
use std::sync::Arc;

use zkcells::{Conn, Pending, Reply, Request};

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
