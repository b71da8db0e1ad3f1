//! One quorum, through the crate `zookeeper-client`, which serves as transport only.
//!
//! Its gaps are closed here and nowhere else, and nothing outside this folder names it:
//!
//! | the crate | here |
//! |---|---|
//! | queues requests without end, also while disconnected, and executes them later | a bounded queue with deadlines in front of it; it gets requests only while connected, 256 at once |
//! | reconnects by itself, with pauses that double without a limit | it serves one connection; sessions are attached again from here, within half a second of a server's return |
//! | does not put tree watches back after a reconnect, and can never reconnect past 128 KiB of watched paths | every watch is left again from here; `TooManyWatches` past 100 KiB |
//! | gives a session up after 7/5 of its timeout | only a server ends a session |
//! | tells a broken connection in many words | every one of them leaves a write's outcome open |
//! | lets a request of more than 1 MiB cost the connection | `TooLarge`, before it is sent |
//! | tries a silent host for 2/5 of a session timeout | all hosts are asked at once first |

mod dial;
mod driver;
mod exec;
mod link;
mod meters;
mod nodelay;
mod outcome;
mod queue;
mod read_many;
mod report;
mod signal;
mod translate;
mod transport;
mod watches;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::background::IO;
use crate::conn::options::SessionOptions;
use crate::conn::{Conn, ConnExt as _, Pending, rebase};
use crate::error::{Error, ErrorKind};
use crate::hosts::Hosts;
use crate::node::Version;
use crate::path::{Rebase, ZkPath};
use crate::request::{MultiOp, Op, Reply, Request};
use driver::Driver;
use meters::Meters;
use queue::Queue;
use report::Report;

/// A connection to one quorum.
///
/// It dials when it is first used, and again when a session has ended. Its session lives on an io
/// thread of this process, so callers may await on any runtime. Dropping the last clone of it ends
/// the session in the background; [`close`](Conn::close) waits for that.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{Conn, ConnExt, ZkConn, SessionOptions};
/// let conn = ZkConn::connect("zk1:2181,zk2:2181/app", SessionOptions::default()).await?;
/// println!("{:?}", conn.get("/motd").await?.data);
/// conn.close().await?;
/// # Ok(()) }
/// ```
#[doc(alias = "DialZk")]
#[derive(Clone)]
pub struct ZkConn {
    hosts: Arc<Mutex<Arc<Hosts>>>,
    chroot: Option<Rebase>,
    queue: Queue,
}

impl ZkConn {
    /// A connection that dials when it is first used.
    ///
    /// # Errors
    ///
    /// `Config` when `hosts` is no connect string, `NotSent` when this process can start no thread.
    pub fn new(hosts: &str, options: SessionOptions) -> Result<Self, Error> {
        Self::with_hosts(hosts.parse()?, options)
    }

    /// As [`new`](Self::new), from a connect string that was read before.
    ///
    /// # Errors
    ///
    /// `NotSent` when this process can start no thread.
    pub fn with_hosts(hosts: Hosts, options: SessionOptions) -> Result<Self, Error> {
        let hosts = Arc::new(hosts);
        let chroot = (!hosts.chroot().is_root())
            .then(|| Rebase::new(ZkPath::root(), hosts.chroot().clone()));
        let shown = hosts.to_string();
        let cell = options.label.clone().unwrap_or_else(|| shown.clone());
        let meters = Arc::new(Meters::new(&cell));
        let (queue, commands) = Queue::new(meters.clone());
        let report = Report::new(cell, meters.clone());
        let driver = Driver::new(hosts.clone(), Arc::new(options), commands, report, &meters);
        IO.spawn(driver.run())
            .map_err(|why| Error::new("dial", shown, ErrorKind::NotSent).with_detail(why))?;
        Ok(ZkConn { hosts: Arc::new(Mutex::new(hosts)), chroot, queue })
    }

    /// A connection with a session.
    ///
    /// A dead or unresolvable host among good ones does not matter.
    ///
    /// # Errors
    ///
    /// `Config` when `hosts` is no connect string, `NotSent` when no server takes us within 10 s,
    /// `AuthFailed` when one refuses our identity.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the dial, and a session that came of it.
    pub async fn connect(hosts: &str, options: SessionOptions) -> Result<Self, Error> {
        let conn = Self::new(hosts, options)?;
        conn.session("/").await.map_err(|err| err.during("connect").at(hosts))?;
        Ok(conn)
    }

    /// Goes over to `hosts`, other servers of the same quorum: calls under way are answered, the
    /// session is attached again there and keeps what it holds.
    ///
    /// If they are another quorum's servers after all, the session is over, and a new one begins.
    /// `false`: with another chroot every path would mean another node, so nothing is done.
    pub fn move_to(&self, hosts: Hosts) -> bool {
        let mut current = self.current();
        if hosts.chroot() != current.chroot() {
            return false;
        }
        *current = Arc::new(hosts);
        self.queue.move_to(current.clone());
        true
    }

    fn current(&self) -> MutexGuard<'_, Arc<Hosts>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn for ZkConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        match &self.chroot {
            None => self.queued(request),
            Some(chroot) => rebase::call(chroot, request, |request| self.queued(request)),
        }
    }

    fn close(&self) -> Pending<()> {
        self.queue.close()
    }
}

impl ZkConn {
    fn queued(&self, request: Request) -> Pending<Reply> {
        if let Err(err) = request.check() {
            return Pending::ready(Err(err));
        }
        match &request.op {
            Op::ReadMany(reads) => {
                read_many::read_many(self.queue.clone(), reads.clone(), &request)
            }
            _ => self.queue.push(request),
        }
    }
}

/// Which version a write, or a step of a multi, expected to find.
fn expected_version(op: &Op, index: Option<usize>) -> Option<Version> {
    match (op, index) {
        (Op::Set { version, .. } | Op::Delete { version } | Op::SetAcl { version, .. }, _) => {
            Some(*version)
        }
        (Op::Multi(ops), Some(index)) => match ops.get(index)? {
            MultiOp::Set { version, .. }
            | MultiOp::Delete { version, .. }
            | MultiOp::Check { version, .. } => Some(*version),
            MultiOp::Create { .. } => None,
        },
        _ => None,
    }
}

impl fmt::Display for ZkConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zk({})", self.current())
    }
}

impl fmt::Debug for ZkConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZkConn").field("hosts", &*self.current()).finish_non_exhaustive()
    }
}
