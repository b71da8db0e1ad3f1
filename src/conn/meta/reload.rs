//! Another configuration while running: cells come, go, and change their addresses.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::MetaConn;
use crate::background::IO;
use crate::cells::Cells;
use crate::error::{Error, ErrorKind};

/// The target of the events here.
const TARGET: &str = "zkcells::conn::meta";

/// What became of the last reload.
#[derive(Default)]
pub(super) struct Reload {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failed: Option<Error>,
    stopped: bool,
}

impl Reload {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps why one changed nothing, and tells it, but the same thing only once in a row.
    fn failed(&self, err: &Error) {
        let text = err.to_string();
        let before = self.state().failed.replace(err.clone());
        if before.is_none_or(|before| before.to_string() != text) {
            warn!(target: TARGET, error = text, "reload failed; the old configuration stays");
        }
    }

    pub(super) fn stop(&self) {
        self.state().stopped = true;
    }
}

impl MetaConn {
    /// Reads the configuration again, from where it came, and goes over to it.
    ///
    /// Cells that are the same keep their sessions. A cell that has only another address of the
    /// same quorum keeps its session and all that it holds. A cell that has gone, or is configured
    /// otherwise, is closed once what was asked of it is answered; what was held there is told as
    /// lost. Children watches on `/zk` fire when there are other cells.
    ///
    /// # Errors
    ///
    /// `Config`; then everything stays as it was, and [`reload_error`](Self::reload_error) says so
    /// until a later reload works.
    pub fn reload(&self) -> Result<(), Error> {
        match self.cells().reload() {
            Ok(cells) => {
                self.replace(cells);
                Ok(())
            }
            Err(err) => {
                self.reload.failed(&err);
                Err(err)
            }
        }
    }

    /// Goes over to `cells`, as [`reload`](Self::reload) does to what it read.
    pub fn replace(&self, cells: Cells) {
        let before = self.cells().known();
        let after = cells.known();
        let others = before != after;
        self.cache.replace(cells);
        self.reload.state().failed = None;
        info!(target: TARGET, cells = after.len(), "configuration reloaded");
        if others {
            self.top.changed();
        }
    }

    /// Why the last reload changed nothing; `None` when it worked.
    pub fn reload_error(&self) -> Option<Error> {
        self.reload.state().failed.clone()
    }

    /// Reads the configuration again whenever its file changes, for as long as this tree lives:
    /// the file is looked at once in every `period`.
    ///
    /// Written by renaming another file over it, it is never seen half-written. A bad file changes
    /// nothing, and is told once, by [`reload_error`](Self::reload_error).
    ///
    /// # Errors
    ///
    /// `Config` when the configuration came from no file, `NotSent` when this process can start no
    /// thread.
    pub fn reload_when_changed(self: &Arc<Self>, period: Duration) -> Result<(), Error> {
        let Some(file) = self.cells().file().map(Path::to_path_buf) else {
            return Err(Error::new("reload", "", ErrorKind::Config)
                .with_detail("the configuration came from no file; call replace instead"));
        };
        let (tree, seen) = (Arc::downgrade(self), stamp(&file));
        IO.spawn(async move { look_after(&tree, &file, seen, period).await })
            .map_err(|why| Error::new("reload", "", ErrorKind::NotSent).with_detail(why))
    }
}

async fn look_after(tree: &Weak<MetaConn>, file: &Path, mut seen: Stamp, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        let path = file.to_path_buf();
        // A file may lie on a slow disk, and nobody else may wait for it.
        let Ok(now) = tokio::task::spawn_blocking(move || stamp(&path)).await else { return };
        let Some(tree) = tree.upgrade() else { return };
        if tree.reload.state().stopped {
            return;
        }
        if now != seen {
            seen = now;
            // It is kept for whoever asks; the old configuration goes on.
            let _ = tree.reload();
        }
    }
}

/// What tells one state of a file from another; `None` when it cannot be looked at.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let facts = std::fs::metadata(file).ok()?;
    Some((facts.modified().ok()?, facts.len(), facts.ino()))
}
