//! A task that is done while this process leads.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Election, LeaderGuard};
use crate::background::sleep;
use crate::conn::Pending;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::pause::Backoff;
use crate::recipes::held::Held;
use crate::recipes::passing::may_try_again;
use crate::recipes::token::Token;
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// The pauses behind a failed campaign.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// A leadership as the task of [`Election::run`] sees it. Clones are of the same leadership; none
/// of them keeps it.
#[derive(Clone, Debug)]
pub struct Leadership {
    held: Arc<Held>,
    stop: watch::Receiver<bool>,
}

impl Leadership {
    /// The mark of this leadership, for resources that refuse older ones.
    pub fn token(&self) -> &Token {
        &self.held.token
    }

    /// The session that it hangs on.
    pub fn session(&self) -> &Session {
        &self.held.session
    }

    /// Whether it lasts at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Until when it surely lasts, by what is proved now. Past, if it is lost.
    pub fn valid_until(&self) -> Deadline {
        self.held.valid_until()
    }

    /// Waits until it is lost, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn lost(&self) -> Loss {
        self.held.lost().await
    }

    /// Waits until the task is to stop: the leadership is lost, or the run was interrupted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // Whoever could tell is gone: then the run was dropped.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Writes that are done only if it still lasts when the servers do them. As
    /// [`Guard::multi`](super::super::Guard::multi).
    ///
    /// # Errors
    ///
    /// As of [`Guard::multi`](super::super::Guard::multi).
    pub fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        self.held.multi(ops.into())
    }
}

impl Election {
    /// Does `task` whenever this process leads, until the task breaks or `stop` comes.
    ///
    /// The task is started when elected. It is told to stop ([`Leadership::stopped`]) when the
    /// leadership is lost or `stop` comes, and is waited for: two of them never run at once here,
    /// and a task that does not listen holds everything up, so what it may not do behind a loss it
    /// asks [`Leadership::is_valid`] or does by [`Leadership::multi`]. When it ends with `Continue`
    /// the leadership is resigned and sought again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::future::pending;
    /// use std::ops::ControlFlow;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::Election;
    /// let election = Election::new(MemoryConn::new(), "/app/election");
    /// let answer = election
    ///     .run(pending(), |leadership| async move {
    ///         assert!(leadership.is_valid());
    ///         ControlFlow::Break(42)
    ///     })
    ///     .await?;
    /// assert_eq!(answer, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came, after the task has ended. Errors of a campaign that another try
    /// may not meet are not told: it is tried again, with a pause. Others, as `NoAuth`, are.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the task and resigns in the background.
    #[doc(alias = "RunTask")]
    pub async fn run<T, F>(
        &self,
        stop: impl Future<Output = ()>,
        mut task: impl FnMut(Leadership) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = ControlFlow<T>>,
    {
        let mut stop = pin!(stop);
        let mut pauses = PAUSES;
        loop {
            let leader = tokio::select! {
                biased;
                () = &mut stop => return Err(self.line.error(ErrorKind::Cancelled)),
                leader = self.campaign() => leader,
            };
            match leader {
                Ok(leader) => {
                    pauses.succeeded();
                    let (ended, interrupted) = lead(&leader, &mut task, stop.as_mut()).await;
                    // Whether it lasted until here is nothing to what comes.
                    let _ = leader.resign().await;
                    if let ControlFlow::Break(answer) = ended {
                        return Ok(answer);
                    }
                    if interrupted {
                        return Err(self.line.error(ErrorKind::Cancelled));
                    }
                }
                Err(err) if may_try_again(err.kind()) => {
                    tokio::select! {
                        () = sleep(pauses.failed()) => {}
                        () = &mut stop => return Err(self.line.error(ErrorKind::Cancelled)),
                    }
                }
                Err(err) => return Err(err),
            }
        }
    }
}

/// Does the task, telling it once to stop. Says what it returned, and whether `stop` came.
async fn lead<T, F: Future<Output = ControlFlow<T>>>(
    leader: &LeaderGuard,
    task: &mut impl FnMut(Leadership) -> F,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> (ControlFlow<T>, bool) {
    let (tell, told) = watch::channel(false);
    let mut working = pin!(task(Leadership { held: leader.held().clone(), stop: told }));
    let interrupted = tokio::select! {
        biased;
        ended = &mut working => return (ended, false),
        _ = leader.lost() => false,
        () = stop.as_mut() => true,
    };
    tell.send_replace(true);
    if interrupted {
        return (working.await, true);
    }
    // It may be interrupted while it is on its way to an end.
    tokio::select! {
        biased;
        ended = &mut working => (ended, false),
        () = stop => (working.await, true),
    }
}
