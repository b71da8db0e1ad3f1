//! An in-process quorum: sessions, requests and events, behind one lock.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::away::Away;
use super::conn::MemoryConn;
use super::json;
use super::line::Line;
use super::opening::Opening;
use super::state::State;
use super::watches::Watcher;
use crate::auth::{Auth, Secret};
use crate::conn::options::SessionOptions;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::{IntoPath, ZkPath};
use crate::request::{Op, Reply};
use crate::session::{Session, SessionState};

/// A quorum in this process, with ZooKeeper's semantics.
///
/// Cloning gives another handle on the same quorum. Its nodes live as long as a handle or a
/// connection does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, MemoryQuorum, Mode};
/// let quorum = MemoryQuorum::from_json(r#"{"/zk/nyc/motd": "hello"}"#)?;
/// let (alice, bob) = (quorum.connect(), quorum.connect());
/// alice.create("/zk/nyc/alice", "", Mode::Ephemeral).await?;
/// assert_eq!(bob.children("/zk/nyc").await?.names, ["alice", "motd"]);
/// alice.expire();
/// assert_eq!(bob.children("/zk/nyc").await?.names, ["motd"]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryQuorum(Arc<Shared>);

struct Shared {
    /// What tells it from others in messages: a number, or the file it was loaded from.
    name: String,
    /// The last session that was opened.
    last_session: AtomicI64,
    state: Mutex<State>,
    /// The connections to it.
    lines: Mutex<Vec<Weak<Line>>>,
}

impl MemoryQuorum {
    /// A fresh quorum: `/` and `/zookeeper`, nothing else.
    pub fn new() -> Self {
        Self::named(None)
    }

    /// A quorum that holds what a JSON object says, path to value.
    ///
    /// A string is stored as its text, any other value as compact JSON. Parents that are not named
    /// are empty. Paths are those of the server, such as `/zk/nyc/vt/tablets/100`.
    ///
    /// # Errors
    ///
    /// `Input`, with the key and what was expected.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::filled(None, text, "JSON text")
    }

    /// As [`from_json`](Self::from_json), from a file.
    ///
    /// # Errors
    ///
    /// `Input`, with the file, the key and what was expected.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = file.as_ref();
        let source = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|err| {
            Error::new("load", source.as_str(), ErrorKind::Input)
                .with_detail(
                    "expected a readable file with JSON such as {\"/zk/nyc/motd\": \"hello\"}",
                )
                .with_cause(err)
        })?;
        Self::filled(Some(source.clone()), &text, &source)
    }

    fn named(file: Option<String>) -> Self {
        static QUORUMS: AtomicI64 = AtomicI64::new(0);
        let number = QUORUMS.fetch_add(1, Ordering::Relaxed) + 1;
        MemoryQuorum(Arc::new(Shared {
            name: file.unwrap_or_else(|| format!("#{number}")),
            // No two quorums of a process have sessions in common: whoever takes a session of one
            // cell for that of another is found out.
            last_session: AtomicI64::new((1 << 56) | ((number & 0xff_ffff) << 32)),
            state: Mutex::new(State::new()),
            lines: Mutex::default(),
        }))
    }

    fn filled(file: Option<String>, text: &str, source: &str) -> Result<Self, Error> {
        let nodes = json::read(text, source)?;
        let quorum = Self::named(file);
        quorum.state().fill(nodes).map_err(|err| {
            let detail = format!("key {:?}: {err}", err.path());
            Error::new("load", source, ErrorKind::Input).with_detail(detail)
        })?;
        Ok(quorum)
    }

    /// A connection to it, with a session of its own.
    pub fn connect(&self) -> MemoryConn {
        self.connect_with(SessionOptions::default())
    }

    /// As [`connect`](Self::connect), with identities: schemes and secrets, such as
    /// `("digest", "alice:secret")`.
    ///
    /// With a scheme that the quorum does not know, all calls fail with `AuthFailed`.
    pub fn connect_as(&self, auth: &[(&str, &str)]) -> MemoryConn {
        let auth = auth.iter().map(|(scheme, secret)| Auth::new(*scheme, Secret::new(*secret)));
        self.connect_with(auth.fold(SessionOptions::default(), SessionOptions::with_auth))
    }

    /// As [`connect`](Self::connect), with identities and a session timeout.
    pub fn connect_with(&self, options: SessionOptions) -> MemoryConn {
        MemoryConn::open(self.clone(), options.into())
    }

    /// Moves the quorum's clock on, and deletes the containers and TTL nodes whose time is over
    /// by then.
    ///
    /// Sessions whose connection is lost end when their timeout is over, holds of such when half of
    /// it is, and what a connection [delays](MemoryConn::delay) comes when it is due. Sessions that
    /// are connected do not run out.
    ///
    /// The clock is real time and all that was advanced. The deadlines of calls stand on real time
    /// alone.
    pub fn advance(&self, by: Duration) {
        self.state().advance(by);
        let lines: Vec<_> = self.lines().iter().filter_map(Weak::upgrade).collect();
        for line in lines {
            line.aged(by);
        }
    }

    /// Ends a session as servers do that heard nothing of it for its timeout: its ephemeral nodes
    /// go and its watches tell `SessionEnded`. Later calls of its connection get a new session, of a
    /// higher generation. A connection that is [lost](MemoryConn::lose_connection) learns of it when
    /// it is back.
    ///
    /// Returns whether there was such a session.
    pub fn expire(&self, session: i64) -> bool {
        self.end(session, SessionState::Expired)
    }

    /// Makes `next` the number of the next sequential node below `parent`, as if that many
    /// children had been created there. For tests of what happens at the end of the numbers:
    /// behind `i32::MAX` they wrap within one multi only, else they stay (as in 3.8.0).
    ///
    /// # Errors
    ///
    /// `BadPath`, `NoNode`.
    #[doc(hidden)]
    pub fn set_sequence(&self, parent: impl IntoPath, next: i32) -> Result<(), Error> {
        let parent = parent.into_path()?;
        self.state().set_sequence(&parent, next).map_err(|err| err.of("set_sequence", &parent))
    }

    /// Opens a session.
    pub(crate) fn open(&self, opening: &Opening, generation: u64) -> Session {
        let id = self.0.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        let timeout = opening.session_timeout;
        let cell = opening.label.clone().unwrap_or_else(|| format!("memory({})", self.0.name));
        let (sender, session) = Session::channel(cell, id, timeout, generation, Deadline::now());
        self.state().open(id, opening.identities.clone(), timeout, sender);
        session
    }

    /// Enters a connection that wants to know when the clock moves.
    pub(super) fn enter(&self, line: &Arc<Line>) {
        let mut lines = self.lines();
        if lines.len() == lines.capacity() {
            lines.retain(|line| line.strong_count() > 0);
        }
        lines.push(Arc::downgrade(line));
    }

    /// Loses the connection of a session; `None` if there is no such session.
    pub(super) fn part(&self, session: i64) -> Option<Away> {
        self.state().part(session)
    }

    /// Attaches a session again; if it is over, what was kept of it comes back.
    pub(super) fn rejoin(&self, session: i64, away: Away) -> Result<(), Away> {
        self.state().rejoin(session, away)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a session; false if there is none such.
    pub(crate) fn end(&self, session: i64, how: SessionState) -> bool {
        self.state().end(session, how)
    }

    /// Answers one operation of a session at once. The watcher is kept if the operation leaves a
    /// watch, and told before anybody can see the change; the reply's own room for a watch is
    /// left empty.
    pub(crate) fn execute(
        &self,
        session: i64,
        op: &Op,
        path: &ZkPath,
        watcher: Option<Box<dyn Watcher>>,
    ) -> Result<Reply, Error> {
        self.state().execute(session, op, path, watcher)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many watches are kept, withdrawn ones included.
    #[cfg(test)]
    pub(super) fn watch_count(&self) -> usize {
        self.state().watch_count()
    }
}

impl Default for MemoryQuorum {
    fn default() -> Self {
        MemoryQuorum::new()
    }
}

impl fmt::Display for MemoryQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory({})", self.0.name)
    }
}

impl fmt::Debug for MemoryQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQuorum").field("name", &self.0.name).finish_non_exhaustive()
    }
}
