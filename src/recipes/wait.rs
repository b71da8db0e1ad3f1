//! Waiting for a turn: for the end of one node, and for anything that makes waiting vain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ending::Ending;
use super::held::loss_error;
use super::ours::Ours;
use super::passing::{LONG_PAUSE, is_over, pause_behind};
use crate::background::sleep;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::{Hold, Loss};
use crate::path::ZkPath;
use crate::request::{Op, Reply, Request};
use crate::session::Session;

/// How much later whoever says less of it says that it is too late.
const GRACE: Duration = Duration::from_millis(100);

/// How long to wait for a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Deadline),
    /// For as long as the session lives.
    Endless,
}

impl Patience {
    /// For `wait` from now.
    pub(crate) fn within(wait: Duration) -> Self {
        Patience::Until(Deadline::after(wait))
    }

    /// When it ends, if it does.
    pub(crate) fn deadline(self) -> Option<Deadline> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Endless => None,
        }
    }

    /// How long it lasts at most from now.
    pub(crate) fn remaining(self) -> Duration {
        self.deadline().map_or(Duration::MAX, Deadline::remaining)
    }

    /// Does `work`, and gives it up when there is no patience any more, whatever it waits for then.
    ///
    /// # Errors
    ///
    /// Those of the work; a little behind the end of patience, so that the work may say more of it,
    /// that of `late`.
    pub(crate) async fn bounds<T>(
        self,
        late: impl FnOnce() -> Error,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let over = async {
            self.end().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            done = work => done,
            () = over => Err(late()),
        }
    }

    /// Waits until it ends.
    async fn end(self) {
        match self {
            Patience::Until(by) => sleep(by.remaining()).await,
            Patience::None | Patience::Endless => std::future::pending().await,
        }
    }
}

/// Why somebody who waited looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The node is gone.
    ByEnd,
    /// Something may have changed.
    ByChance,
}

/// Somebody who waits, with an own node.
pub(crate) struct Waiting<'a> {
    pub(crate) conn: &'a BoundConn<Ours>,
    pub(crate) session: &'a Session,
    pub(crate) own: &'a ZkPath,
    /// The end of the own node, if that is watched yet.
    pub(crate) ending: Option<&'a Ending>,
    pub(crate) patience: Patience,
    pub(crate) verb: &'static str,
}

impl Waiting<'_> {
    /// Waits for the end of `next`, the nearest of those that are `ahead`.
    ///
    /// A lost watch costs no more than about a session timeout: then it is looked again.
    ///
    /// # Errors
    ///
    /// The own node is gone, the session over, or patience at an end.
    pub(crate) async fn for_end_of(&self, next: &ZkPath, ahead: usize) -> Result<Woken, Error> {
        let watched = self.conn.exists_watch(next);
        let stays = AtomicBool::new(false);
        let gone = async {
            match watched.await {
                Ok((None, _)) => Ok(()),
                Ok((Some(stat), watch)) => {
                    stays.store(!stat.is_ephemeral(), Ordering::Relaxed);
                    watch.await;
                    Ok(())
                }
                Err(err) => Err(err),
            }
        };
        let late = || {
            // Those of other systems wait for it, too.
            let stays = match stays.load(Ordering::Relaxed) {
                true => ", which no session ends: if nobody is to have it, delete it",
                false => "",
            };
            format!("{ahead} ahead, the next of them {}{stays}", next.name())
        };
        self.for_word(gone, late).await
    }

    /// Waits for `word`, or for about a session timeout: then it is looked again. `late` says what was
    /// waited for.
    ///
    /// # Errors
    ///
    /// The own node is gone, the session over, or patience at an end.
    pub(crate) async fn for_word(
        &self,
        word: impl Future<Output = Result<(), Error>>,
        late: impl FnOnce() -> String,
    ) -> Result<Woken, Error> {
        let err = tokio::select! {
            biased;
            loss = self.own_end() => return Err(loss_error(self.verb, self.own, loss)),
            _ = self.session.lost() => return Err(self.error(ErrorKind::SessionExpired)),
            word = word => match word {
                Ok(()) => return Ok(Woken::ByEnd),
                Err(err) => err,
            },
            () = self.patience.end() => {
                return Err(self.error(ErrorKind::Timeout).with_detail(late()));
            }
            () = sleep(recheck(self.session)) => return Ok(Woken::ByChance),
        };
        // What may not be watched is waited for all the same, by looking at the list.
        self.bear(err).await?;
        Ok(Woken::ByChance)
    }

    /// Waits, as long as that makes sense.
    ///
    /// # Errors
    ///
    /// The own node is gone, the session over, or patience at an end.
    pub(crate) async fn pause(&self, wait: Duration) -> Result<(), Error> {
        tokio::select! {
            biased;
            loss = self.own_end() => Err(loss_error(self.verb, self.own, loss)),
            _ = self.session.lost() => Err(self.error(ErrorKind::SessionExpired)),
            () = sleep(wait) => Ok(()),
            () = self.patience.end() => Err(self.error(ErrorKind::Timeout)),
        }
    }

    async fn own_end(&self) -> Loss {
        match self.ending {
            Some(ending) => ending.wait_long().await,
            None => std::future::pending().await,
        }
    }

    /// Bears an error that a later try may not meet, and pauses.
    ///
    /// # Errors
    ///
    /// Any other one.
    pub(crate) async fn bear(&self, err: Error) -> Result<(), Error> {
        let pause = match err.kind() {
            // The list must be read; the node before us need not.
            ErrorKind::NoAuth if err.op() == "exists" => LONG_PAUSE,
            // The directory is gone, and the own node went before it.
            ErrorKind::NoNode => return Err(self.missing().await),
            kind => pause_behind(kind).ok_or(err)?,
        };
        self.in_time()?;
        sleep(pause.min(self.patience.remaining())).await;
        Ok(())
    }

    /// Whether waiting still makes sense.
    ///
    /// # Errors
    ///
    /// The own node is gone, the session over, or patience at an end.
    pub(crate) fn in_time(&self) -> Result<(), Error> {
        if let Some(loss) = self.ending.and_then(Ending::told) {
            return Err(loss_error(self.verb, self.own, loss));
        }
        if self.session.state().is_over() {
            return Err(self.error(ErrorKind::SessionExpired));
        }
        match self.patience {
            Patience::Until(by) if by.is_past() => Err(self.error(ErrorKind::Timeout)),
            _ => Ok(()),
        }
    }

    /// Proof that the own node is there, for whoever has just seen it.
    ///
    /// # Errors
    ///
    /// Whatever makes waiting vain.
    pub(crate) async fn hold(&self) -> Result<Hold, Error> {
        loop {
            match self.conn.hold_seen(self.own).await {
                Ok(hold) if hold.is_valid() => return Ok(hold),
                // It came too late to prove anything.
                Ok(_) => self.in_time()?,
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    return Err(loss_error(self.verb, self.own, Loss::Deleted));
                }
                Err(err) => self.bear(err).await?,
            }
        }
    }

    /// Why the own node is not listed: the session is over, or somebody deleted it.
    pub(crate) async fn missing(&self) -> Error {
        let asked = self.conn.clone().by(None).sync(self.own).await;
        let over = self.session.state().is_over() || asked.is_err_and(|err| is_over(err.kind()));
        self.error(if over { ErrorKind::SessionExpired } else { ErrorKind::Revoked })
    }

    /// Without a place in the queue what is told is the queue.
    fn error(&self, kind: ErrorKind) -> Error {
        match kind {
            ErrorKind::Timeout => {
                Error::new(self.verb, self.own.parent().unwrap_or_else(ZkPath::root), kind)
            }
            kind => Error::new(self.verb, self.own, kind),
        }
    }
}

/// The session that serves `path`, in time.
pub(crate) async fn session(
    conn: &Ours,
    path: &ZkPath,
    by: Option<Deadline>,
) -> Result<Session, Error> {
    let mut request = Request::new(Op::Session, path.clone());
    request.deadline = by.map_or(request.deadline, |by| by.min(request.deadline));
    match conn.call(request).await? {
        Reply::Session(session) => Ok(session),
        _ => Err(Error::new("session", path, ErrorKind::Unexpected)),
    }
}

/// The error as whoever waited is to see it: what no server answered in time came too late.
pub(crate) fn told(err: Error, patience: Patience) -> Error {
    let late = patience.deadline().is_some_and(Deadline::is_past);
    match err.kind() {
        ErrorKind::NotSent | ErrorKind::OutcomeUnknown | ErrorKind::ConnectionLoss if late => {
            let timeout = Error::new(err.op(), err.path(), ErrorKind::Timeout);
            match err.detail() {
                Some(why) => timeout.with_detail(why),
                None => timeout,
            }
        }
        _ => err,
    }
}

/// How long to wait at most between two looks at what a watch should have told.
pub(crate) fn recheck(session: &Session) -> Duration {
    session.timeout().mul_f64(0.75 + fastrand::f64() / 2.0)
}
