//! A TCP proxy before one server that understands what passes, and breaks it on command.
//!
//! It runs on a thread of its own and in real time, so that neither a test that blocks nor a paused
//! clock holds it up. One command is one fault; each fault has a counter in [`Bites`] that says how
//! often it bit. **A test whose fault did not bite proves nothing and must fail**: wait for the bite
//! with [`until`](FaultProxy::until), or assert it at the end.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use zkcells::testing::proxy::{FaultProxy, OpKind};
//! use zkcells::{ConnExt, Mode, SessionOptions, ZkConn};
//! let proxy = FaultProxy::to("127.0.0.1:2181").await?;
//! let conn = ZkConn::connect(&proxy.addr(), SessionOptions::default()).await?;
//! proxy.swallow_reply(OpKind::Create);
//! let outcome = conn.create("/motd", "hello", Mode::Persistent).await;
//! assert_eq!(proxy.bites().swallowed, 1);
//! println!("the server has it, and we know: {outcome:?}");
//! # Ok(()) }
//! ```
//!
//! # What it can do
//!
//! | command | fault | counter |
//! |---|---|---|
//! | [`cut`](FaultProxy::cut), [`reset`](FaultProxy::reset) | every connection breaks, new ones do not | [`cut`](Bites::cut) |
//! | [`refuse`](FaultProxy::refuse) until [`join`](FaultProxy::join) | new connections break at once | [`refused`](Bites::refused) |
//! | [`down`](FaultProxy::down) until [`join`](FaultProxy::join) | both | [`cut`](Bites::cut), [`refused`](Bites::refused) |
//! | [`black_hole`](FaultProxy::black_hole) until [`heal`](FaultProxy::heal) | bytes stop, connections stay open | [`held`](Bites::held) |
//! | [`delay`](FaultProxy::delay), [`round_trip`](FaultProxy::round_trip) | everything comes later | [`delayed`](Bites::delayed) |
//! | [`throttle`](FaultProxy::throttle) | everything comes slower | [`throttled`](Bites::throttled) |
//! | [`swallow_reply`](FaultProxy::swallow_reply) | a request reaches the server, its answer is lost | [`swallowed`](Bites::swallowed) |
//! | [`drop_request`](FaultProxy::drop_request) | a request does not reach the server | [`dropped`](Bites::dropped) |
//! | [`late_event`](FaultProxy::late_event) | a watch event comes behind later answers | [`late`](Bites::late) |
//! | [`twice_event`](FaultProxy::twice_event) | a watch event comes twice | [`doubled`](Bites::doubled) |
//! | [`tell_expired`](FaultProxy::tell_expired) | a client is told that its session is over, and it is not | [`told_expired`](Bites::told_expired) |
//! | [`end_sessions`](FaultProxy::end_sessions) | sessions are over, really | [`ended`](Bites::ended) |
//!
//! A [`MemoryConn`](crate::MemoryConn) has switches of the same names, for tests without servers.
//!
//! Four-letter words pass too, under the faults that need no knowledge of frames; they count as
//! nothing but connections refused.

mod connection;
mod end;
mod faults;
mod line;
mod log;
mod talk;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use crate::fault::{Bites, OpKind, Target};
pub use faults::Direction;
pub use log::{Fate, LogEntry};

use crate::error::{Error, ErrorKind};
use faults::Shared;

/// How long [`FaultProxy::until`] waits before it gives up.
const UNTIL: Duration = Duration::from_secs(30);

/// A proxy on 127.0.0.1 before one server. Dropping it breaks all connections and ends it.
#[must_use = "dropping it ends it"]
pub struct FaultProxy {
    addr: SocketAddr,
    server: SocketAddr,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl FaultProxy {
    /// A proxy without faults before `server`, `host:port`.
    ///
    /// The server need not be up: clients are refused as long as it is not.
    ///
    /// # Errors
    ///
    /// `Config` when `server` is no address, or this machine has no port or thread for us.
    pub async fn to(server: &str) -> Result<FaultProxy, Error> {
        let wrong = |why, err| {
            Error::new("proxy", server, ErrorKind::Config).with_detail(why).with_cause(err)
        };
        let mut found =
            tokio::net::lookup_host(server).await.map_err(|err| wrong("no such address", err))?;
        let server_addr = found.next().ok_or_else(|| {
            Error::new("proxy", server, ErrorKind::Config).with_detail("no such address")
        })?;
        let shared = Arc::new(Shared::new());
        let start = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let addr = listener.local_addr()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (end, ended) = oneshot::channel();
            let shared = shared.clone();
            let thread =
                std::thread::Builder::new().name("fault-proxy".into()).spawn(move || {
                    runtime.block_on(async {
                        tokio::select! {
                            _ = ended => {}
                            () = accept(listener, server_addr, shared) => {}
                        }
                    });
                })?;
            Ok((addr, (end, thread)))
        };
        let (addr, running) = start().map_err(|err| wrong("cannot listen", err))?;
        Ok(FaultProxy { addr, server: server_addr, shared, running: Some(running) })
    }

    /// Where clients find it, as a connect string.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// How often each fault has bitten so far.
    pub fn bites(&self) -> Bites {
        self.shared.bites.borrow().clone()
    }

    /// Waits until the faults have bitten as `enough` says.
    ///
    /// ```no_run
    /// # async fn f(proxy: zkcells::testing::proxy::FaultProxy) {
    /// proxy.down();
    /// proxy.until(|bites| bites.cut == 1 && bites.refused > 0).await;
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When it takes more than 30 s: the fault does not bite.
    pub async fn until(&self, enough: impl Fn(&Bites) -> bool) -> Bites {
        let mut bites = self.shared.bites.subscribe();
        let waited = tokio::time::timeout(UNTIL, bites.wait_for(|bites| enough(bites))).await;
        match waited {
            // The sender lives as long as we do.
            Ok(Ok(bites)) => bites.clone(),
            _ => panic!("{self}: the fault did not bite within {UNTIL:?}: {:?}", self.bites()),
        }
    }

    /// What has passed, or should have: the latest 10,000 frames, oldest first.
    ///
    /// A frame is entered when it reaches the proxy, so what is not here was not sent.
    pub fn log(&self) -> Vec<LogEntry> {
        self.shared.log().entries()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.shared.log().clear();
    }

    /// How many connections clients have made so far, those of four-letter words included and those
    /// that were refused not.
    pub fn opened(&self) -> u64 {
        self.shared.opened()
    }

    /// How many connections are open, with a session or without.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// The sessions of the connections that are open.
    pub fn sessions(&self) -> Vec<i64> {
        self.shared.sessions()
    }

    // --- connections

    /// Breaks all connections, in the middle of whatever passes. New ones are taken as before.
    pub fn cut(&self) {
        self.shared.cut(connection::End::Close);
    }

    /// As [`cut`](Self::cut), with a TCP reset each way, as when a host has restarted.
    pub fn reset(&self) {
        self.shared.cut(connection::End::Reset);
    }

    /// Breaks new connections as soon as they are made, until [`join`](Self::join). Those that are
    /// open stay; see [`down`](Self::down).
    pub fn refuse(&self) {
        self.shared.set(|faults| faults.refusing = true);
    }

    /// Breaks all connections and every new one, until [`join`](Self::join): the server is gone.
    pub fn down(&self) {
        self.refuse();
        self.cut();
    }

    /// Takes new connections again.
    pub fn join(&self) {
        self.shared.set(|faults| faults.refusing = false);
    }

    /// Stops all bytes one way or both, ends of connections included, until [`heal`](Self::heal).
    /// Connections stay open, new ones are made and hear nothing.
    ///
    /// As in a network, what was stopped is not lost: it goes on when the hole is healed, even that
    /// of a client that has hung up since. [`cut`](Self::cut) loses it.
    pub fn black_hole(&self, direction: Direction) {
        self.shared.set(|faults| {
            faults.to_server.hole |= direction != Direction::ToClient;
            faults.to_client.hole |= direction != Direction::ToServer;
        });
    }

    /// Lets bytes go on, both ways.
    pub fn heal(&self) {
        self.shared.set(|faults| {
            faults.to_server.hole = false;
            faults.to_client.hole = false;
        });
    }

    /// Delivers each frame this much later, each way, in its order. Zero ends it for new frames.
    pub fn delay(&self, delay: Duration) {
        self.shared.set(|faults| {
            faults.to_server.delay = delay;
            faults.to_client.delay = delay;
        });
    }

    /// Adds this much to the time between a request and its answer: half of it each way, in place
    /// of what [`delay`](Self::delay) said.
    pub fn round_trip(&self, time: Duration) {
        self.delay(time / 2);
    }

    /// Lets at most so many bytes a second pass, each way and on each connection; `None` ends it.
    pub fn throttle(&self, bytes_per_second: Option<u32>) {
        self.shared.set(|faults| faults.rate = bytes_per_second.filter(|rate| *rate > 0));
    }

    // --- requests

    /// Lets the next request of this kind reach the server, swallows its answer, then breaks the
    /// connection: the request was carried out, or refused, and nobody was told.
    ///
    /// Answers before it are delivered. Said twice, it meets two requests.
    pub fn swallow_reply(&self, of: impl Into<Target>) {
        let of = of.into();
        self.shared.set(|faults| faults.swallow.push(of));
    }

    /// Breaks the connection instead of passing the next request of this kind on: it was not
    /// carried out, and nobody was told.
    ///
    /// Requests before it are passed on, but their answers may be lost with the connection. Said
    /// twice, it meets two requests.
    pub fn drop_request(&self, of: impl Into<Target>) {
        let of = of.into();
        self.shared.set(|faults| faults.drop.push(of));
    }

    // --- events

    /// Delivers the next watch event this much later; everything behind it goes before it.
    ///
    /// Said twice, it meets two events.
    pub fn late_event(&self, delay: Duration) {
        self.shared.set(|faults| faults.late.push_back(delay));
    }

    /// Delivers the next watch event twice. Said twice, it meets two events.
    pub fn twice_event(&self) {
        self.shared.set(|faults| faults.twice += 1);
    }

    // --- sessions

    /// Breaks all connections, and tells the next client that wants its session back that it is
    /// over. The server knows nothing of this: the session's nodes stay until it times out.
    ///
    /// Said twice, it meets two clients.
    pub fn tell_expired(&self) {
        self.shared.set(|faults| faults.expire += 1);
        self.cut();
    }

    /// Ends the sessions of all connections, as if they had timed out, and returns how many.
    ///
    /// It does to servers what they do themselves on a timeout: ephemeral nodes go, and clients
    /// learn that their session is over when they come back. New connections wait meanwhile.
    ///
    /// # Errors
    ///
    /// `ConnectionLoss` when the server does not answer; some sessions may have ended then.
    pub async fn end_sessions(&self) -> Result<usize, Error> {
        end::end_sessions(&self.shared, self.server).await.map_err(|err| {
            Error::new("end_sessions", self.server.to_string(), ErrorKind::ConnectionLoss)
                .with_cause(err)
        })
    }
}

async fn accept(listener: std::net::TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            // It ends with its sockets, and at the latest with the runtime.
            Ok((client, _)) => {
                tokio::spawn(connection::serve(client, server, shared.clone()));
            }
            // No file to be had, or a client that has gone already: the next one may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // It panicked, if at all, without us: a drop is no place to tell.
            let _ = thread.join();
        }
    }
}

impl fmt::Display for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy({} to {})", self.addr, self.server)
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("addr", &self.addr)
            .field("server", &self.server)
            .field("bites", &self.bites())
            .finish_non_exhaustive()
    }
}
