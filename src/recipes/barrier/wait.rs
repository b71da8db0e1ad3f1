//! Waiting at a barrier.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Barrier;
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::look::{self, Hint};
use crate::recipes::passing::{bear_anew, pause_behind};
use crate::recipes::wait::{recheck, session as session_of};

/// What came of the looks of one who waits.
#[derive(Debug, Default)]
struct Looks {
    /// Whether it was seen that it is closed.
    is_closed: bool,
    /// Why nothing has been seen since.
    trouble: Option<Error>,
}

impl Barrier {
    /// Waits until the barrier is open, or has been since this first found it closed.
    ///
    /// At first the quorum is asked, so whoever was told that it is closed does not pass because a
    /// server lags behind. A connection that breaks later, and a session that ends, are borne.
    ///
    /// # Errors
    ///
    /// `NotSent` when no server of the cell can be reached at first, in the time of a request. Those that
    /// no later look would mend: `Closed`, `UnknownCell`, `AuthFailed`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws its watch, and changes nothing else.
    pub async fn wait(&self) -> Result<(), Error> {
        self.reach(None).await?;
        self.wait_telling(&Mutex::default()).await
    }

    /// A cell that goes away is waited for, but not one at which nobody answered at first: its address may
    /// be wrong.
    async fn reach(&self, by: Option<Deadline>) -> Result<(), Error> {
        const VERB: &str = "wait";
        let path = self.path(VERB)?;
        match session_of(&self.conn, &path, by).await {
            Err(err) if pause_behind(err.kind()).is_some() => Err(err.during(VERB)),
            // What else there is, the look tells.
            _ => Ok(()),
        }
    }

    async fn wait_telling(&self, looks: &Mutex<Looks>) -> Result<(), Error> {
        const VERB: &str = "wait";
        let path = self.path(VERB)?;
        let met = |err: &Error| seen(looks).trouble = Some(err.clone());
        let mut closed = None;
        loop {
            let (stat, changed) = match self.look(&path, closed.is_none()).await {
                Ok((None, _)) => return Ok(()),
                Ok((Some(stat), changed)) => (stat, changed),
                Err(err) => {
                    let err = err.during(VERB);
                    met(&err);
                    bear_anew(&self.conn, &path, err).await?;
                    continue;
                }
            };
            *seen(looks) = Looks { is_closed: true, trouble: None };
            if *closed.get_or_insert(stat.czxid) != stat.czxid {
                return Ok(());
            }
            match self.conn.session(&path).await {
                Ok(session) => {
                    tokio::select! {
                        _ = changed.told() => {}
                        () = sleep(recheck(&session)) => {}
                    }
                }
                Err(err) => {
                    let err = err.during(VERB);
                    met(&err);
                    bear_anew(&self.conn, &path, err).await?;
                }
            }
        }
    }

    /// As [`wait`](Self::wait), at most for `wait` in all. With no time at all it looks once, for as long
    /// as that takes.
    ///
    /// # Errors
    ///
    /// `Timeout` when it was closed all the time, as far as servers told; where none told anything,
    /// what kept them from it. And those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_within(&self, wait: Duration) -> Result<(), Error> {
        if wait.is_zero() {
            return self.is_open().await;
        }
        let by = Deadline::after(wait);
        self.reach(Some(by)).await?;
        let looks = Mutex::default();
        tokio::select! {
            biased;
            open = self.wait_telling(&looks) => open,
            () = sleep(by.remaining()) => Err(self.late(std::mem::take(&mut *seen(&looks)))),
        }
    }

    /// The error of somebody whose time is over.
    fn late(&self, looks: Looks) -> Error {
        match looks {
            Looks { is_closed: true, trouble: None } => self.error("wait", ErrorKind::Timeout),
            Looks { is_closed: true, trouble: Some(err) } => {
                let why =
                    format!("it was closed when a server told it last; since then {}", told(&err));
                self.error("wait", ErrorKind::Timeout).with_detail(why)
            }
            Looks { is_closed: false, trouble: Some(err) } => err,
            Looks { is_closed: false, trouble: None } => {
                let why = "no server said in time whether it is open";
                self.error("wait", ErrorKind::NotSent).with_detail(why)
            }
        }
    }

    /// As [`wait`](Self::wait), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_unless(&self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            biased;
            open = self.wait() => open,
            () = stop => Err(self.error("wait", ErrorKind::Cancelled)),
        }
    }

    /// Fails with `Timeout` where it is closed.
    async fn is_open(&self) -> Result<(), Error> {
        const VERB: &str = "wait";
        let path = self.path(VERB)?;
        let (synced, read) = (self.conn.sync(&path), self.conn.exists(&path));
        let closed = async { synced.await.and(read.await) };
        match closed.await.map_err(|err| err.during(VERB))? {
            None => Ok(()),
            Some(_) => Err(self.error(VERB, ErrorKind::Timeout)),
        }
    }

    async fn look(&self, path: &ZkPath, first: bool) -> Result<(Option<Stat>, Hint), Error> {
        let synced = first.then(|| self.conn.sync(path));
        let read = look::exists(&self.conn, path.clone());
        if let Some(synced) = synced {
            synced.await?;
        }
        read.await
    }
}

fn seen(looks: &Mutex<Looks>) -> MutexGuard<'_, Looks> {
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an error says, without where it was met.
fn told(err: &Error) -> String {
    match err.detail() {
        Some(why) => format!("{}: {why}", err.kind()),
        None => err.kind().to_string(),
    }
}
