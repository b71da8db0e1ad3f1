//! How the end of an own node is noticed at once: by a watch on it.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::place::is_over;
use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::hold::Loss;
use crate::path::ZkPath;
use crate::watch::EventKind;

/// Resolves when an own node is gone, or its session. Clones wait for the same.
#[derive(Clone)]
pub(crate) struct Ending(Shared<BoxFuture<'static, Loss>>);

impl Ending {
    /// Of the node at `path` that transaction `czxid` made. The watch is asked for before this
    /// returns; nobody need wait for the answer.
    ///
    /// The watch tells first, the holds' renewals later; `pause` is how long to wait with another
    /// try when no watch can be left.
    pub(crate) fn of(conn: impl Conn, path: ZkPath, czxid: i64, pause: Duration) -> Self {
        let mut asked = conn.exists_watch(&path);
        let ending = async move {
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
        };
        Ending(ending.boxed().shared())
    }

    /// Of what is over already.
    pub(crate) fn over(loss: Loss) -> Self {
        Ending(std::future::ready(loss).boxed().shared())
    }

    /// How it ended, if it has, as far as is known here. No I/O, but for a watch that fired.
    pub(crate) fn told(&self) -> Option<Loss> {
        self.0.clone().now_or_never()
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) -> Loss {
        self.0.clone().await
    }
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ending").field(&self.0.peek()).finish()
    }
}
