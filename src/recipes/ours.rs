//! The connection of a recipe: what it writes for itself is the first quorum's business.

use std::fmt;
use std::sync::Arc;

use crate::conn::{Conn, Pending};
use crate::request::{Confirm, Reply, Request};

/// What all recipes go through. Where the tree is on several quorums, who waits, holds or is inside is
/// decided on the first alone: a mirror that is away, or far, must not keep a node from being one's own.
/// So none confirms what is written here; they get it behind.
#[derive(Clone, Debug)]
pub(crate) struct Ours(Arc<dyn Conn>);

impl Ours {
    pub(crate) fn new(conn: impl Conn) -> Self {
        Ours(Arc::new(conn))
    }
}

impl Conn for Ours {
    fn call(&self, mut request: Request) -> Pending<Reply> {
        // What users write through a guard says so itself.
        request.confirm.get_or_insert(Confirm::ByFirst);
        self.0.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
