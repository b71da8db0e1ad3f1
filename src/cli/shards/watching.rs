//! What tells that a system is to be drawn anew.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};

use crate::conn::{Conn, ConnExt as _};
use crate::error::Error;
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::watch::TreeWatch;

/// The pauses before a cell that is away is asked again.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

/// An item whenever something may have changed at `path` or below it, or why nothing tells. It ends
/// where another try would meet the same; a cell that is away is asked again.
pub(super) fn changes(
    conn: Arc<dyn Conn>,
    path: ZkPath,
) -> impl Stream<Item = Result<(), Error>> + Send {
    let watching = Watching { conn, path, tree: None, pause: None, pauses: PAUSES };
    stream::unfold(Some(watching), |watching| async {
        let mut watching = watching?;
        let told = watching.next().await;
        let goes_on = told.as_ref().err().is_none_or(Error::is_away);
        Some((told, goes_on.then_some(watching)))
    })
}

struct Watching {
    conn: Arc<dyn Conn>,
    path: ZkPath,
    tree: Option<TreeWatch>,
    /// Before the next try.
    pause: Option<Duration>,
    pauses: Backoff,
}

impl Watching {
    async fn next(&mut self) -> Result<(), Error> {
        if let Some(tree) = &mut self.tree
            && tree.next().await.is_some()
        {
            return Ok(());
        }
        // Its session is over; the next one shows what came meanwhile.
        self.tree = None;
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        match self.conn.watch_tree(&self.path).await {
            Ok(tree) => {
                self.tree = Some(tree);
                self.pauses.succeeded();
                Ok(())
            }
            Err(err) => {
                self.pause = Some(self.pauses.failed());
                Err(err)
            }
        }
    }
}
