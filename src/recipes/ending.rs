//! How the end of an own node is noticed at once: by a watch on it.
//!
//! The watch is left a little later than the node is made: what is held for a moment only need not
//! pay for it. Until then a renewal of the hold would tell.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::ours::Ours;
use super::passing::is_over;
use super::proof::now;
use crate::background::{KEEPER, sleep};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::hold::Loss;
use crate::path::ZkPath;
use crate::watch::EventKind;

/// How much later the watch is left.
const SOON: Duration = Duration::from_millis(50);

/// Those whose watch is to be left soon, if they are still there then.
static YOUNG: Mutex<Vec<Weak<Own>>> = Mutex::new(Vec::new());

/// Resolves when an own node is gone, or its session. Clones wait for the same.
#[derive(Clone)]
pub(crate) struct Ending(Arc<Own>);

struct Own {
    conn: BoundConn<Ours>,
    path: ZkPath,
    czxid: i64,
    /// How long to wait with another try when no watch can be left.
    pause: Duration,
    told: OnceLock<Shared<BoxFuture<'static, Loss>>>,
}

impl Ending {
    /// Of the node at `path` that transaction `czxid` made. It is watched soon, or as soon as somebody
    /// waits for it.
    pub(crate) fn of(conn: BoundConn<Ours>, path: ZkPath, czxid: i64, pause: Duration) -> Self {
        let own = Arc::new(Own { conn, path, czxid, pause, told: OnceLock::new() });
        watch_soon(&own);
        Ending(own)
    }

    /// How it ended, if it has, as far as is known here. No I/O, but for a watch that fired.
    pub(crate) fn told(&self) -> Option<Loss> {
        self.0.told.get().and_then(now)
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) -> Loss {
        self.0.watched().await
    }

    /// As [`wait`](Self::wait), for whoever may not wait for long: it leaves the watch soon.
    pub(crate) async fn wait_long(&self) -> Loss {
        if self.0.told.get().is_none() {
            sleep(SOON).await;
        }
        self.wait().await
    }
}

impl Own {
    /// Leaves the watch, unless that is done.
    fn watched(&self) -> Shared<BoxFuture<'static, Loss>> {
        let watch = || {
            let Own { conn, path, czxid, pause, .. } = self;
            end(conn.clone(), path.clone(), *czxid, *pause).boxed().shared()
        };
        self.told.get_or_init(watch).clone()
    }
}

/// Asks for the watch before it returns; nobody need wait for the answer.
fn end(
    conn: impl Conn,
    path: ZkPath,
    czxid: i64,
    pause: Duration,
) -> impl Future<Output = Loss> + Send {
    let mut asked = conn.exists_watch(&path);
    async move {
        loop {
            match asked.await {
                Ok((Some(stat), watch)) if stat.czxid == czxid => match watch.await.kind {
                    EventKind::Deleted => return Loss::Deleted,
                    EventKind::SessionEnded => return Loss::SessionEnded,
                    _ => {}
                },
                // Gone, or another's by now.
                Ok(_) => return Loss::Deleted,
                Err(err) if is_over(err.kind()) => return Loss::SessionEnded,
                Err(_) => sleep(pause).await,
            }
            asked = conn.exists_watch(&path);
        }
    }
}

/// Leaves the watches of all who are still there in a while, all at once.
fn watch_soon(own: &Arc<Own>) {
    let first = {
        let mut young = YOUNG.lock().unwrap_or_else(PoisonError::into_inner);
        young.push(Arc::downgrade(own));
        young.len() == 1
    };
    let leave = async {
        sleep(SOON).await;
        let young = std::mem::take(&mut *YOUNG.lock().unwrap_or_else(PoisonError::into_inner));
        for own in young.iter().filter_map(Weak::upgrade) {
            drop(own.watched());
        }
    };
    // Without a thread for it, whoever waits leaves the watch.
    if first && KEEPER.spawn(leave).is_err() {
        YOUNG.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ending").field(&self.told()).finish()
    }
}
