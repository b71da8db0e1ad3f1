//! The usual loop of a worker: a range, the work on it, a look, another range.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::watch;

use super::guard::ShardGuard;
use super::shard::Shard;
use super::{ShardLock, VERB};
use crate::background::sleep;
use crate::conn::ConnExt as _;
use crate::error::{Error, ErrorKind};
use crate::pause::Backoff;
use crate::recipes::passing::may_try_again;

/// The pause behind a look that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The pauses behind a failed acquire.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

impl ShardLock {
    /// Acquires a range and does `work` on it, over and over, until the work breaks or `stop` comes.
    ///
    /// When the work ends with `Continue` and a reshard is wanted, the range is acknowledged and
    /// another one acquired; if none is, the work goes on with the same range. When it breaks, the
    /// range is acknowledged. The work is told to end ([`Shard::stopped`]) when a reshard is wanted or
    /// `stop` comes, and is waited for: two of them never run at once here, and work that does not
    /// listen holds everybody up. When the range is lost it is dropped at its next await, and another
    /// range is acquired. What it may not do behind a loss without an await between it asks
    /// [`Shard::is_valid`], does by [`Shard::multi`], or marks with [`Shard::token`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::future::pending;
    /// use std::ops::ControlFlow;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::ShardLock;
    /// let positions = [0.1, 0.5, 0.9];
    /// let shards = ShardLock::new(MemoryConn::new(), "/table");
    /// let done = shards
    ///     .run(pending(), |shard| async move {
    ///         let rows = positions.iter().filter(|position| shard.contains(**position));
    ///         ControlFlow::Break(rows.count())
    ///     })
    ///     .await?;
    /// assert_eq!(done, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came, after the work has ended and the range was released: others are
    /// asked to take it over. Errors of an acquire that another try may not meet are not told: it is
    /// tried again, with a pause. Others, as `NoAuth`, are, and so is what keeps a worker that holds a
    /// range from seeing whether a reshard is wanted: then the range is released first.
    /// `SessionExpired` where the connection is bound to one session, and that is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work and releases in the background.
    pub async fn run<T, F>(
        &self,
        stop: impl Future<Output = ()>,
        mut work: impl FnMut(Shard) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = ControlFlow<T>>,
    {
        let mut stop = pin!(stop);
        let mut pauses = PAUSES;
        loop {
            let acquired = tokio::select! {
                biased;
                () = &mut stop => return Err(self.error(ErrorKind::Cancelled)),
                acquired = self.acquire() => acquired,
            };
            match acquired {
                Ok(guard) => {
                    pauses.succeeded();
                    if let Some(answer) = self.work_on(guard, &mut work, stop.as_mut()).await? {
                        return Ok(answer);
                    }
                }
                Err(err) if may_try_again(err.kind()) => {
                    let again = async {
                        if self.ends_with(&err).await {
                            return Err(err.during(VERB));
                        }
                        sleep(pauses.failed()).await;
                        Ok(())
                    };
                    tokio::select! {
                        again = again => again?,
                        () = &mut stop => return Err(self.error(ErrorKind::Cancelled)),
                    }
                }
                Err(err) => return Err(err.during(VERB)),
            }
        }
    }

    /// Whether the connection is bound to a session that is over: it gets no other one.
    async fn ends_with(&self, err: &Error) -> bool {
        let Ok(path) = &self.path else { return true };
        err.kind() == ErrorKind::SessionExpired
            && (self.conn.session(path).await)
                .is_err_and(|again| again.kind() == ErrorKind::SessionExpired)
    }

    /// Does the work on one range until a reshard is wanted; its answer, if it broke.
    async fn work_on<T, F: Future<Output = ControlFlow<T>>>(
        &self,
        guard: ShardGuard,
        work: &mut impl FnMut(Shard) -> F,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<T>, Error> {
        loop {
            let ended = tokio::select! {
                biased;
                // Before anything: work that never waits must not keep a stop from being seen.
                () = stop.as_mut() => Ended::Interrupted,
                () = std::future::ready(()) => once(&guard, work, stop.as_mut()).await,
            };
            // How it is given back is nothing to what was done while it was held.
            match ended {
                Ended::Broke(answer) => {
                    let _ = guard.ack().await;
                    return Ok(Some(answer));
                }
                Ended::Interrupted => {
                    let _ = guard.release().await;
                    return Err(self.error(ErrorKind::Cancelled));
                }
                Ended::Lost => return Ok(None),
                Ended::Continued => {}
            }
            loop {
                let checked = tokio::select! {
                    biased;
                    () = stop.as_mut() => {
                        let _ = guard.release().await;
                        return Err(self.error(ErrorKind::Cancelled));
                    }
                    checked = guard.check() => checked,
                };
                match checked {
                    Ok(false) => break,
                    // A moment without an answer is no reason to give up a range that is held.
                    Err(err) if guard.is_valid() && may_try_again(err.kind()) => {
                        sleep(PAUSE).await;
                    }
                    Ok(true) => {
                        let _ = guard.ack().await;
                        return Ok(None);
                    }
                    // The work may have been cut short, so nobody is told that it was done.
                    Err(err) => {
                        let _ = guard.release().await;
                        return Err(err.during(VERB));
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// How the work on a range ended.
enum Ended<T> {
    Continued,
    Broke(T),
    /// By `stop`.
    Interrupted,
    /// With the range: it was dropped.
    Lost,
}

/// Does the work once, telling it if `stop` comes, and drops it if the range is lost.
async fn once<T, F: Future<Output = ControlFlow<T>>>(
    guard: &ShardGuard,
    work: &mut impl FnMut(Shard) -> F,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Ended<T> {
    let (tell, told) = watch::channel(false);
    let mut working = pin!(work(guard.shard().told_by(told)));
    let mut lost = pin!(guard.lost());
    tokio::select! {
        biased;
        _ = &mut lost => return Ended::Lost,
        ended = &mut working => return match ended {
            ControlFlow::Continue(()) => Ended::Continued,
            ControlFlow::Break(answer) => Ended::Broke(answer),
        },
        () = stop => {}
    }
    tell.send_replace(true);
    tokio::select! {
        biased;
        _ = lost => Ended::Interrupted,
        ended = working => match ended {
            ControlFlow::Continue(()) => Ended::Interrupted,
            ControlFlow::Break(answer) => Ended::Broke(answer),
        },
    }
}
