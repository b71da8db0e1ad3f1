//! The usual loop of a worker: a range, the work on it, a look, another range.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{Fuse, FusedFuture as _};

use super::guard::ShardGuard;
use super::shard::{Call, Shard};
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
    /// Acquires a range, does `work` on it, looks whether a reshard is wanted, and begins anew until
    /// none is: the loop that the original asks of its users.
    ///
    /// The work is done once on each range, and then says whether this worker is done:
    ///
    /// - `Break(answer)`: it is, if nobody else has left its part undone. Where a reshard is wanted,
    ///   because somebody crashed, left in the middle or came, the range is acknowledged, another one
    ///   acquired, and the work is done on that. Where none is, the range is acknowledged, and the run
    ///   ends with this answer: that of the last range.
    /// - `Continue(())`: it is not, and never will be. The range is held until a reshard is wanted; then
    ///   another one is acquired. Work that is to look for new rows now and then does so itself, until
    ///   [`Shard::stopped`].
    ///
    /// The work is told to end when a reshard is wanted or `stop` comes, and is waited for: two of them
    /// never run at once here, and work that does not listen holds everybody up. Work that was told so
    /// ([`Shard::stopped`], [`Shard::requested`], [`Shard::check`]) may have left something, so its
    /// `Break` ends nothing, and its range is released without a word: it is done again on the next
    /// range, or on the same one if nobody wants a reshard any more. When the range is lost the work is
    /// dropped at its next await, and another range is acquired. What it may not do behind a loss without
    /// an await between it asks [`Shard::is_valid`], does by [`Shard::multi`], or marks with
    /// [`Shard::token`].
    ///
    /// So rows come to the work until they are done, and some of them more than once: it marks what is
    /// done.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::future::pending;
    /// use std::ops::ControlFlow;
    /// use std::sync::Mutex;
    /// use zkcells::MemoryConn;
    /// use zkcells::recipes::ShardLock;
    /// // A table: the position of each row, and whether it is done.
    /// let table = &Mutex::new([(0.1, false), (0.5, false), (0.9, false)]);
    /// let shards = ShardLock::new(MemoryConn::new(), "/table");
    /// shards
    ///     .run(pending(), |shard| async move {
    ///         for (position, is_done) in table.lock().unwrap().iter_mut() {
    ///             if shard.contains(*position) && !*is_done {
    ///                 *is_done = true; // Here is what there is to do.
    ///             }
    ///         }
    ///         ControlFlow::Break(())
    ///     })
    ///     .await?;
    /// assert!(table.lock().unwrap().iter().all(|(_, is_done)| *is_done));
    /// # Ok(()) }
    /// ```
    ///
    /// Whoever crashes when all others have looked and gone leaves its part undone, and nobody is there
    /// to be told. A job that must not end so has a worker that stays, or whoever starts it looks at the
    /// rows behind it.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came before the work was done, after it has ended and the range was
    /// released: others are asked to take it over. Errors of an acquire that another try may not meet
    /// are not told: it is tried again, with a pause. Others, as `NoAuth`, are, and so is what keeps a
    /// worker that holds a range from seeing whether a reshard is wanted: then the range is released
    /// first. `SessionExpired` where the connection is bound to one session, and that is over.
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
        let mut stop = pin!(stop.fuse());
        let mut pauses = PAUSES;
        loop {
            if stop.is_terminated() {
                return Err(self.error(ErrorKind::Cancelled));
            }
            let acquired = tokio::select! {
                biased;
                () = &mut stop => continue,
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
                        () = &mut stop => {}
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

    /// Works on one range until it is given back; the answer of the work, if all is done.
    async fn work_on<T, F: Future<Output = ControlFlow<T>>>(
        &self,
        guard: ShardGuard,
        work: &mut impl FnMut(Shard) -> F,
        mut stop: Pin<&mut Fuse<impl Future<Output = ()>>>,
    ) -> Result<Option<T>, Error> {
        loop {
            let Some((ended, was_told)) = once(&guard, work, stop.as_mut()).await else {
                return Ok(None);
            };
            let is_done = ended.is_break() && !was_told;
            let stays = ended.is_continue() && !was_told;
            let wanted = tokio::select! {
                biased;
                () = std::future::ready(()), if stop.is_terminated() && !is_done => None,
                () = stop.as_mut(), if !is_done => None,
                asked = guard.requested(), if stays => Some(asked.map(|()| true)),
                wanted = is_wanted(&guard), if !stays => Some(wanted),
            };
            // How it is given back is nothing to what was done while it was held.
            match (wanted, ended) {
                // Whoever left something for it, and dies before the next range, did not say it was done.
                (Some(Ok(true)), _) if was_told => {
                    let _ = guard.release().await;
                    return Ok(None);
                }
                (Some(Ok(true)), _) => {
                    let _ = guard.ack().await;
                    return Ok(None);
                }
                (Some(Ok(false)), ControlFlow::Break(answer)) if is_done => {
                    let _ = guard.ack().await;
                    return Ok(Some(answer));
                }
                // Whoever wanted it has gone again: what was left for that is still to be done.
                (Some(Ok(false)), _) => {}
                // The work may have been cut short, so nobody is told that it was done.
                (Some(Err(err)), _) => {
                    let _ = guard.release().await;
                    return Err(err.during(VERB));
                }
                (None, _) => {
                    let _ = guard.release().await;
                    return Err(self.error(ErrorKind::Cancelled));
                }
            }
        }
    }
}

/// Does the work once, telling it if `stop` comes: how it ended, and whether it had been told to.
/// `None` if the range is lost: then it is dropped.
async fn once<T, F: Future<Output = ControlFlow<T>>>(
    guard: &ShardGuard,
    work: &mut impl FnMut(Shard) -> F,
    stop: Pin<&mut Fuse<impl Future<Output = ()>>>,
) -> Option<(ControlFlow<T>, bool)> {
    let (tell, call) = Call::channel();
    let mut working = pin!(work(guard.shard().called_by(call.clone())));
    let mut lost = pin!(guard.lost());
    let ended = tokio::select! {
        biased;
        _ = &mut lost => return None,
        ended = &mut working => ended,
        () = stop => {
            tell.send_replace(true);
            tokio::select! {
                biased;
                _ = lost => return None,
                ended = working => ended,
            }
        }
    };
    Some((ended, call.was_heard()))
}

/// Whether a reshard is wanted. A moment without an answer is no reason to give up a range that is held.
async fn is_wanted(guard: &ShardGuard) -> Result<bool, Error> {
    loop {
        match guard.check().await {
            Err(err) if guard.is_valid() && may_try_again(err.kind()) => sleep(PAUSE).await,
            checked => return checked,
        }
    }
}
