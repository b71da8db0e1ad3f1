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

#[cfg(test)]
mod tests {
    use futures::stream::StreamExt as _;

    use super::*;
    use crate::conn::MemoryConn;
    use crate::error::ErrorKind;
    use crate::node::Mode;
    use crate::request::Op;
    use crate::spy::Spy;

    /// What is told of a cell whose first watch meets an error of this kind.
    fn told(kind: ErrorKind) -> (Arc<Spy>, impl Stream<Item = Result<(), Error>> + Send) {
        let mut first = true;
        let spy = Arc::new(Spy::meddling(MemoryConn::new(), move |request, _| {
            let meets = matches!(request.op, Op::WatchTree) && std::mem::take(&mut first);
            meets.then(|| request.error(kind))
        }));
        (spy.clone(), changes(spy, ZkPath::new("/sys").unwrap()))
    }

    #[tokio::test]
    async fn a_cell_that_was_away_is_watched_when_it_is_back() {
        let (conn, told) = told(ErrorKind::NotSent);
        let mut told = std::pin::pin!(told);
        assert_eq!(told.next().await.unwrap().unwrap_err().kind(), ErrorKind::NotSent);
        told.next().await.unwrap().unwrap();
        conn.create("/sys", "", Mode::Persistent).await.unwrap();
        told.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_another_try_would_meet_as_well_is_told_once() {
        let (_conn, told) = told(ErrorKind::NoAuth);
        let told: Vec<_> = told.collect().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].as_ref().unwrap_err().kind(), ErrorKind::NoAuth);
    }
}
