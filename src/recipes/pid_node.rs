//! A node that says that a process is there, for as long as it is.
//!
//! ```text
//! <path>     ephemeral, with the contents of its process
//! ```
//!
//! ```text
//!            session lost, node deleted             made again
//!   held ────────────────────────────────▶ away ────────────────▶ held
//!     │ another's node is there instead       │ the same
//!     ▼                                       ▼
//!   lost ◀──────────── fail, replace ─────────┘      wait: away until it is gone
//! ```
//!
//! Behind a session loss the own former node is known by the session that made it, or by its
//! contents, and is waited out: servers delete it once that session has ended. Another's node is
//! never taken for the own one, and never deleted but by [`PidPolicy::Replace`], which puts the own
//! node in its place in one transaction, so that the displaced process sees its node go.
//!
//! After Vitess's `CreatePidNode`.

mod keep;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use self::keep::{End, Keeping, Now};
use super::guard::Released;
use super::names::random_id;
use super::ours::Ours;
use super::owner::Owner;
use super::token::Token;
use crate::background::{KEEPER, sleep};
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Acl;
use crate::path::{IntoPath, ZkPath};

const VERB: &str = "pid_node";

/// What to do where another process's node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PidPolicy {
    /// Give up.
    #[default]
    Fail,
    /// Wait until it is gone.
    Wait,
    /// Put the own one in its place. A process that was replaced itself gives up: whoever came last
    /// stays.
    Replace,
}

/// Where a [`PidGuard`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PidState {
    /// The node is there, and that is proved.
    Held,
    /// It is not, or that is not proved; it is being made again, or waited for.
    Away,
    /// It was given up; [`PidGuard::lost`] says why. Final.
    Lost,
}

/// Why a pid node was given up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PidLoss {
    /// Another process took the path; these are the contents of its node.
    Taken(Bytes),
    /// It can be made no more.
    Failed(Error),
    /// It was released.
    Released,
}

/// A pid node to be.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::recipes::{PidNode, PidState};
/// use zkcells::{ConnExt, MemoryConn};
/// let conn = Arc::new(MemoryConn::new());
/// let node = PidNode::new(conn.clone(), "/app/tablets/100").with_contents("web-7:8080");
/// let guard = node.hold().await?;
/// assert_eq!(guard.state(), PidState::Held);
/// assert_eq!(conn.get("/app/tablets/100").await?.data, "web-7:8080");
/// guard.release().await;
/// assert!(conn.exists("/app/tablets/100").await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "CreatePidNode")]
pub struct PidNode {
    conn: Ours,
    path: Result<ZkPath, Error>,
    contents: Bytes,
    policy: PidPolicy,
    jitter: Duration,
    acl: Vec<Acl>,
}

/// A pid node that is kept until this is released or dropped.
#[derive(Debug)]
#[must_use = "dropping it releases the node"]
pub struct PidGuard {
    path: ZkPath,
    now: watch::Receiver<Now>,
    stop: Option<oneshot::Sender<()>>,
}

impl PidNode {
    /// A node at `path`, which says host and process as JSON. Nothing is done yet.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        PidNode {
            conn: Ours::new(conn),
            path: path.into_path(),
            contents: Owner::here(&random_id()).to_json().into(),
            policy: PidPolicy::default(),
            jitter: Duration::from_secs(1),
            acl: Acl::open(),
        }
    }

    /// The same with these contents. A node with the same contents is taken for one that this
    /// process had before it was restarted, and is waited out: put in what tells processes apart
    /// that may live at the same time, such as host and port.
    #[must_use]
    pub fn with_contents(mut self, contents: impl Into<Bytes>) -> Self {
        self.contents = contents.into();
        self
    }

    /// The same with another answer to a node of another process.
    #[must_use]
    pub fn with_policy(mut self, policy: PidPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The same, waiting a random time below `jitter` before the node is made again: when a cell
    /// comes back, thousands do that at once. 1 s unless set.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The same with another access list for the node.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Makes the node, with the persistent nodes above it, and keeps it from then on.
    ///
    /// # Errors
    ///
    /// `NodeExists` when another process's node is there and the policy is to fail, with its
    /// contents. Those of a create.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the node in the background.
    pub async fn hold(&self) -> Result<PidGuard, Error> {
        self.start()?.held(None).await
    }

    /// As [`hold`](Self::hold), at most for `wait` in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when it was not there by then, and those of [`hold`](Self::hold).
    ///
    /// # Cancel safety
    ///
    /// As of [`hold`](Self::hold).
    pub async fn hold_within(&self, wait: Duration) -> Result<PidGuard, Error> {
        self.start()?.held(Some(Deadline::after(wait))).await
    }

    fn start(&self) -> Result<PidGuard, Error> {
        let path = self.path.clone().map_err(|err| err.during(VERB))?;
        let (tell, now) = watch::channel(Now::Starting);
        let (stop, stopped) = oneshot::channel();
        let keeping = Keeping::new(self, path.clone(), tell);
        KEEPER
            .spawn(keeping.run(stopped))
            .map_err(|why| Error::new(VERB, &path, ErrorKind::NotSent).with_detail(why))?;
        Ok(PidGuard { path, now, stop: Some(stop) })
    }
}

impl PidGuard {
    /// The node.
    pub fn path(&self) -> &ZkPath {
        &self.path
    }

    /// Where it stands at this moment. No I/O.
    pub fn state(&self) -> PidState {
        match &*self.now.borrow() {
            Now::Held(held) if held.loss().is_none() => PidState::Held,
            Now::Ended(_) => PidState::Lost,
            Now::Starting | Now::Held(_) | Now::Away => PidState::Away,
        }
    }

    /// The mark of the node that is there; `None` while there is none. Another process's later node
    /// has a greater one.
    pub fn token(&self) -> Option<Token> {
        match &*self.now.borrow() {
            Now::Held(held) => Some(held.token.clone()),
            _ => None,
        }
    }

    /// Waits until it stands elsewhere than now, and says where. A state that is over before this is
    /// called is not told.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn changed(&mut self) -> PidState {
        let held = match &*self.now.borrow_and_update() {
            Now::Held(held) => Some(held.clone()),
            _ => None,
        };
        let before = self.state();
        loop {
            let lost = async {
                match &held {
                    Some(held) => held.lost().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = lost, if before == PidState::Held => return self.state(),
                changed = self.now.changed() => {
                    let state = self.state();
                    // Nobody keeps it any more: nothing will change.
                    if changed.is_err() || state != before {
                        return state;
                    }
                }
            }
        }
    }

    /// Waits until it is given up, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn lost(&self) -> PidLoss {
        let mut now = self.now.clone();
        match now.wait_for(|now| matches!(now, Now::Ended(_))).await.as_deref() {
            Ok(Now::Ended(End::Taken(contents))) => PidLoss::Taken(contents.clone()),
            Ok(Now::Ended(End::Failed(err))) => PidLoss::Failed(err.clone()),
            _ => PidLoss::Released,
        }
    }

    /// Removes the node, and says whether it was held until now. It takes 10 s at most; what is left
    /// then is done in the background.
    ///
    /// # Cancel safety
    ///
    /// It goes on in the background when the future is dropped.
    pub async fn release(mut self) -> Released {
        // Whoever kept it may have given up before.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let ended = self.now.wait_for(|now| matches!(now, Now::Ended(_)));
        tokio::select! {
            biased;
            now = ended => match now.as_deref() {
                Ok(Now::Ended(End::Released)) => Released::Released,
                _ => Released::WasLost,
            },
            () = sleep(Deadline::DEFAULT) => Released::WasLost,
        }
    }

    /// Waits until the node is there for the first time.
    async fn held(mut self, by: Option<Deadline>) -> Result<Self, Error> {
        let started = self.now.wait_for(|now| !matches!(now, Now::Starting));
        let late = async {
            match by {
                Some(by) => sleep(by.remaining()).await,
                None => std::future::pending().await,
            }
        };
        let now = tokio::select! {
            biased;
            now = started => now.map(|now| now.clone()),
            () = late => return Err(Error::new(VERB, &self.path, ErrorKind::Timeout)),
        };
        match now {
            Ok(Now::Ended(End::Failed(err))) => Err(err),
            Ok(Now::Ended(End::Taken(contents))) => {
                let shown: String = String::from_utf8_lossy(&contents).chars().take(80).collect();
                Err(Error::new(VERB, &self.path, ErrorKind::NodeExists)
                    .with_detail(format!("of another process: {shown:?}")))
            }
            Ok(Now::Held(_) | Now::Away) => Ok(self),
            Ok(Now::Starting | Now::Ended(End::Released | End::WasLost)) | Err(_) => {
                Err(Error::new(VERB, &self.path, ErrorKind::Closed))
            }
        }
    }
}

#[cfg(test)]
mod tests;
