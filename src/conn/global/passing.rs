//! Containers and nodes with a time to live: the first ends them by itself, mirrors do not.
//!
//! A quorum ends such a node when nothing is below it, and cannot know what there is on another: below a
//! directory on the first there may be ephemeral nodes, which are the first's alone. So mirrors hold a
//! persistent node in its place, and whoever made it watches it on the first and has it deleted on the
//! mirrors when it is gone there. Servers tell nobody that a node is of this kind, so nobody else can;
//! what he leaves when he is gone, `repair` deletes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::Shared;
use super::owed::Debt;
use crate::background::KEEPER;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::watch::Watch;

/// How many a connection watches at once: servers bound how much a session may watch, and users want to.
const MOST: usize = 256;

/// The pauses while the first does not answer.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What one look at a node has shown.
enum Seen {
    There(Watch),
    Gone,
    /// Nobody knows.
    Nothing,
    /// It cannot be watched.
    Refused,
}

/// One that is watched, as long as this lives.
struct Minded(Arc<AtomicUsize>);

impl Drop for Minded {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Has mirrors lose the node at `path` when the first has ended it, for as long as this connection
    /// lives.
    pub(super) fn mind(self: &Arc<Self>, path: ZkPath) {
        let is_room = self.minded.fetch_add(1, Ordering::Relaxed) < MOST;
        let minded = Minded(self.minded.clone());
        if !is_room || self.mirrors.is_empty() {
            return;
        }
        let (shared, mut closed) = (Arc::downgrade(self), self.closed.subscribe());
        let minding = async move {
            let _minded = minded;
            let mut pauses = PAUSES;
            loop {
                let Some(shared) = shared.upgrade().filter(|shared| !shared.is_over()) else {
                    return;
                };
                let seen = match shared.seen(&path).await {
                    Seen::Gone => return shared.follow(&path).await,
                    Seen::Refused => return,
                    seen => seen,
                };
                drop(shared);
                let woken = async {
                    match seen {
                        Seen::There(watch) => drop(watch.await),
                        _ => tokio::time::sleep(pauses.failed()).await,
                    }
                };
                tokio::select! {
                    () = woken => {}
                    _ = closed.wait_for(Option::is_some) => return,
                }
            }
        };
        // Without a thread nobody does, and `repair` has more to do.
        let _ = KEEPER.spawn(minding);
    }

    async fn seen(&self, path: &ZkPath) -> Seen {
        let look = Request::new(Op::Exists(LeaveWatch::Yes), path.clone());
        match self.first.conn.call(look).await {
            Ok(Reply::Exists(None, _)) => Seen::Gone,
            Ok(Reply::Exists(Some(_), Some(watch))) => Seen::There(watch),
            Err(err) if matches!(err.kind(), ErrorKind::Closed | ErrorKind::TooManyWatches) => {
                Seen::Refused
            }
            _ => Seen::Nothing,
        }
    }

    /// Brings all mirrors to what the first holds at `path`.
    async fn follow(self: &Arc<Self>, path: &ZkPath) {
        let _busy = self.busy();
        let deadline = Deadline::after(self.options.wait);
        let brought = (0..self.mirrors.len()).map(|index| async move {
            let work = self.bring_up(index, vec![path.clone()], deadline);
            let late = |_| Err(Error::new("mirror", path, ErrorKind::Timeout));
            let done = tokio::time::timeout(deadline.remaining(), work).await.unwrap_or_else(late);
            if let Err(err) = done {
                self.owe(index, [Debt::Node(path.clone())], &err);
            }
        });
        join_all(brought).await;
    }
}
