//! A connection to an in-process quorum.

use std::fmt;
use std::sync::Arc;

use super::line::Line;
use super::opening::Opening;
use super::quorum::MemoryQuorum;
use crate::conn::{Conn, Pending};
use crate::request::{Reply, Request};

/// A session on a [`MemoryQuorum`].
///
/// Every call is answered before it returns, unless a test has asked for something else. After the
/// end of a session the next call opens another one, of a higher generation. Dropping the
/// connection closes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryConn, Mode, Version};
/// let conn = MemoryConn::new();
/// let (_, watch) = conn.exists_watch("/motd").await?;
/// conn.create("/motd", "hello", Mode::Persistent).await?;
/// watch.await;
/// let other = conn.quorum().connect();
/// assert_eq!(other.get("/motd").await?.data, "hello");
/// # Ok(()) }
/// ```
///
/// # Faults
///
/// A test breaks it by one line each, in the words of the fault proxy that stands before real
/// servers; [`bites`](Self::bites) counts them. **A test whose fault did not bite proves nothing and
/// must fail.**
///
/// | switch | fault | counter |
/// |---|---|---|
/// | [`cut`](Self::cut) | the connection breaks and is back at once | [`cut`](crate::fault::Bites::cut) |
/// | [`lose_connection`](Self::lose_connection) until [`join`](Self::join) | it breaks and stays away | `cut`, and [`held`](crate::fault::Bites::held) for each call meanwhile |
/// | [`refuse`](Self::refuse) until [`join`](Self::join) | once it breaks, it stays away | `held` |
/// | [`delay`](Self::delay) | answers come later | [`delayed`](crate::fault::Bites::delayed) |
/// | [`swallow_reply`](Self::swallow_reply) | a request is carried out, its answer is lost | [`swallowed`](crate::fault::Bites::swallowed) |
/// | [`drop_request`](Self::drop_request) | a request is lost before it is carried out | [`dropped`](crate::fault::Bites::dropped) |
/// | [`late_event`](Self::late_event) | a watch event comes behind later answers | [`late`](crate::fault::Bites::late) |
/// | [`twice_event`](Self::twice_event) | a watch event comes twice | [`doubled`](crate::fault::Bites::doubled) |
/// | [`expire`](Self::expire) | the session is over | [`ended`](crate::fault::Bites::ended) |
/// | [`MemoryQuorum::advance`] | time passes; a session without a connection ends | `ended` |
pub struct MemoryConn {
    pub(super) line: Arc<Line>,
}

impl MemoryConn {
    /// A connection to a fresh quorum of its own.
    pub fn new() -> Self {
        MemoryQuorum::new().connect()
    }

    pub(super) fn open(quorum: MemoryQuorum, opening: Opening) -> Self {
        MemoryConn { line: Line::open(quorum, opening) }
    }

    /// The quorum behind it.
    pub fn quorum(&self) -> &MemoryQuorum {
        self.line.quorum()
    }
}

impl Conn for MemoryConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.line.call(request)
    }

    fn close(&self) -> Pending<()> {
        Pending::ready(self.line.close())
    }
}

impl Default for MemoryConn {
    fn default() -> Self {
        MemoryConn::new()
    }
}

impl Drop for MemoryConn {
    fn drop(&mut self) {
        // Nobody is left to be told that the quorum did not confirm.
        let _ = self.line.close();
    }
}

impl fmt::Display for MemoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.quorum().fmt(f)
    }
}

impl fmt::Debug for MemoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConn")
            .field("quorum", self.quorum())
            .field("session", &self.line.session())
            .finish_non_exhaustive()
    }
}
