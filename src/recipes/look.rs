//! A look that leaves a watch, or says when to look again where the session has no room for one more.
//!
//! A session that watches as much as it can refuses the next watch, and the read with it
//! ([`ErrorKind::TooManyWatches`]). Whoever waits looks without one then, and again a while later:
//! what it waits for comes late, and not never.

use super::passing::LONG_PAUSE;
use crate::background::sleep;
use crate::conn::{Conn, ConnExt, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Node, Stat};
use crate::path::ZkPath;
use crate::watch::{EventKind, Watch};

/// What tells that there may be something new.
#[derive(Debug)]
#[must_use = "dropping it withdraws the watch"]
pub(crate) enum Hint {
    /// Something has happened.
    Watch(Watch),
    /// Nobody will say so; it is time for another look in a while.
    Later,
}

impl Hint {
    /// Waits for it, and says what has happened, if that is known.
    pub(crate) async fn told(self) -> Option<EventKind> {
        match self {
            Hint::Watch(watch) => Some(watch.await.kind),
            Hint::Later => {
                // Not all who have no watch at the same moment.
                sleep(LONG_PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                None
            }
        }
    }
}

/// As [`ConnExt::exists_watch`]: the request is queued before this returns.
pub(crate) fn exists(
    conn: &dyn Conn,
    path: ZkPath,
) -> impl Future<Output = Result<(Option<Stat>, Hint), Error>> + Send {
    or_plain(conn.exists_watch(&path), move || conn.exists(&path))
}

/// As [`ConnExt::get_watch`], likewise.
pub(crate) fn get(
    conn: &dyn Conn,
    path: ZkPath,
) -> impl Future<Output = Result<(Node, Hint), Error>> + Send {
    or_plain(conn.get_watch(&path), move || conn.get(&path))
}

/// As [`ConnExt::children_watch`], likewise.
pub(crate) fn children(
    conn: &dyn Conn,
    path: ZkPath,
) -> impl Future<Output = Result<(Children, Hint), Error>> + Send {
    or_plain(conn.children_watch(&path), move || conn.children(&path))
}

async fn or_plain<T: Send + 'static>(
    watched: Pending<(T, Watch)>,
    plain: impl FnOnce() -> Pending<T> + Send,
) -> Result<(T, Hint), Error> {
    match watched.await {
        Ok((found, watch)) => Ok((found, Hint::Watch(watch))),
        Err(err) if err.kind() == ErrorKind::TooManyWatches => Ok((plain().await?, Hint::Later)),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryConn;
    use crate::node::Mode;
    use crate::request::{LeaveWatch, Op};
    use crate::spy::{Spy, refuse};

    #[tokio::test]
    async fn what_may_not_be_watched_is_read_all_the_same() {
        let full = Spy::meddling(MemoryConn::new(), |request, _| match request.op {
            Op::Exists(LeaveWatch::Yes) | Op::Get(LeaveWatch::Yes) => {
                refuse(request, ErrorKind::TooManyWatches)
            }
            Op::Children(LeaveWatch::Yes) => refuse(request, ErrorKind::TooManyWatches),
            _ => None,
        });
        full.create("/a", "7", Mode::Persistent).await.unwrap();
        let path = ZkPath::new("/a").unwrap();
        let (stat, there) = exists(&full, path.clone()).await.unwrap();
        let (node, got) = get(&full, path.clone()).await.unwrap();
        let (listed, children) = children(&full, path).await.unwrap();
        assert!(stat.is_some() && node.data == "7" && listed.names.is_empty());
        for hint in [there, got, children] {
            assert_eq!(hint.told().await, None);
        }
    }

    #[tokio::test]
    async fn what_is_watched_tells_what_happened() {
        let conn = MemoryConn::new();
        let (stat, made) = exists(&conn, ZkPath::new("/a").unwrap()).await.unwrap();
        conn.create("/a", "", Mode::Persistent).await.unwrap();
        assert_eq!((stat, made.told().await), (None, Some(EventKind::Created)));
    }
}
