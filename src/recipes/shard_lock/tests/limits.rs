//! What becomes of it where a session or a tree has no room for more.

use super::*;
use crate::conn::Pending;
use crate::conn::options::SessionOptions;
use crate::request::{LeaveWatch, Op, Reply, Request};

/// A connection whose session has no room for another watch.
#[derive(Debug)]
struct Full(MemoryConn);

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "full({})", self.0)
    }
}

impl Conn for Full {
    fn call(&self, request: Request) -> Pending<Reply> {
        match request.op {
            Op::Children(LeaveWatch::Yes)
            | Op::Get(LeaveWatch::Yes)
            | Op::Exists(LeaveWatch::Yes) => {
                Pending::ready(Err(request.error(ErrorKind::TooManyWatches)))
            }
            _ => self.0.call(request),
        }
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

/// A watch would tell of a reshard, so the looks between which it waits otherwise have to.
#[tokio::test]
async fn a_session_without_room_for_watches_hears_that_a_reshard_is_wanted() {
    for comes_first in [true, false] {
        let quorum = MemoryQuorum::new();
        // Looks come about once in it.
        let options = SessionOptions::default().with_session_timeout(Duration::from_millis(200));
        let full = Full(quorum.connect_with(options));
        let held = ShardLock::new(full, BASE).with_wait_time(WAIT).acquire().await.unwrap();
        let (_other, second) = worker(&quorum);
        let mut newcomer = Box::pin(second.acquire());
        let mut asked = Box::pin(held.requested());
        if !comes_first {
            assert!(asked.as_mut().now_or_never().is_none(), "nobody came yet");
        }
        assert!(newcomer.as_mut().now_or_never().is_none());
        tokio::time::timeout(Duration::from_secs(5), asked).await.expect("it is deaf").unwrap();
        assert_eq!(held.ack().await, Released::Released);
        assert!(newcomer.await.unwrap().is_valid());
    }
}

/// Nor does it keep anybody from getting in.
#[tokio::test]
async fn a_session_without_room_for_watches_comes_to_its_turn() {
    let quorum = MemoryQuorum::new();
    let (_conn, first) = worker(&quorum);
    let held = first.acquire().await.unwrap();
    let full = ShardLock::new(Full(quorum.connect()), BASE).with_wait_time(WAIT);
    let mut waits = Box::pin(full.acquire());
    assert!(waits.as_mut().now_or_never().is_none());
    held.release().await;
    let got = tokio::time::timeout(Duration::from_secs(5), waits).await.expect("it is left out");
    assert_eq!(got.unwrap().of(), 1);
}
