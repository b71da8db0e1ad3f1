//! Who leaves, on every way out, and what he leaves behind.

use super::*;
use crate::conn::Pending;
use crate::request::{Op, Reply, Request};

#[tokio::test]
async fn a_word_is_said_once_whatever_becomes_of_the_reply() {
    use crate::fault::OpKind;
    for lost in [true, false] {
        let quorum = MemoryQuorum::new();
        let (conn, lock) = worker(&quorum);
        let (_other, second) = worker(&quorum);
        let (shard, stays) = tokio::try_join!(lock.acquire(), second.acquire()).unwrap();
        match lost {
            true => conn.swallow_reply(OpKind::Multi),
            false => conn.drop_request(OpKind::Multi),
        }
        assert_eq!(shard.ack().await, Released::Released);
        assert_eq!(conn.bites().swallowed + conn.bites().dropped, 1);
        let group = stays.node().parent().unwrap();
        let left = names(&conn, group.as_str()).await;
        assert_eq!(left.iter().filter(|name| name.starts_with("ack-")).count(), 1, "{left:?}");
        assert!(!stays.check().await.unwrap());
    }
}

#[tokio::test]
async fn behind_a_loss_no_word_is_said() {
    let quorum = MemoryQuorum::new();
    let (conn, _) = worker(&quorum);
    let mut shards = shards(&quorum, 2).await;
    let (stays, shard) = (shards.remove(0), shards.remove(0));
    conn.delete(shard.node(), Version::Any).await.unwrap();
    assert_eq!(shard.lost().await, Loss::Deleted);
    assert!(shard.check().await.unwrap(), "what is lost wants to be resharded");
    shard.requested().await.unwrap();
    assert_eq!(shard.ack().await, Released::WasLost);
    assert!(stays.check().await.unwrap());
}

#[tokio::test]
async fn who_has_no_more_patience_is_told_why_and_leaves_nothing() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (_other, second) = worker(&quorum);
    let err = second.acquire_within(3 * WAIT).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "acquire /sys: timed out: 1 in group-0000000000 hold older ranges, one of them \
         node-0000000000"
    );
    let err = second.acquire_unless(std::future::ready(())).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
    // Nor the group that was made for it.
    until(async || names(&conn, BASE).await == ["group-0000000000"]).await;
    assert!(!held.check().await.unwrap());
    held.release().await;
}

/// Less than it waits for others is too little for whoever leads, however often it tries.
#[tokio::test]
async fn who_leads_longer_than_it_has_patience_is_told_what_it_waited_for() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let lock = lock.with_wait_time(Duration::from_secs(7));
    for (patience, why) in [
        (WAIT, "it leads, and waits 7s for others to join"),
        (Duration::ZERO, "there was no time left to join others"),
    ] {
        let err = lock.acquire_within(patience).await.unwrap_err();
        assert_eq!(err.to_string(), format!("acquire /sys: timed out: {why}"));
    }
    until(async || names(&conn, BASE).await.is_empty()).await;
}

/// Somebody holds a range; `leaves` comes to nothing, and nobody is to reshard for it.
async fn asks_nobody(leaves: impl AsyncFnOnce(Arc<MemoryConn>, ShardLock)) {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (other, second) = worker(&quorum);
    leaves(other, second).await;
    until(async || names(&conn, BASE).await == ["group-0000000000"]).await;
    assert!(!held.check().await.unwrap(), "nobody is there");
    assert!(held.requested().now_or_never().is_none(), "nobody is there");
}

#[tokio::test]
async fn who_gives_up_takes_the_group_along() {
    asks_nobody(async |_, lock| {
        lock.acquire_within(2 * WAIT).await.unwrap_err();
    })
    .await;
    asks_nobody(async |conn, lock| {
        let mut acquiring = Box::pin(lock.acquire());
        assert!(acquiring.as_mut().now_or_never().is_none());
        assert_eq!(names(&conn, BASE).await.len(), 2);
    })
    .await;
    asks_nobody(async |conn, lock| {
        let mut acquiring = Box::pin(lock.acquire());
        assert!(acquiring.as_mut().now_or_never().is_none());
        let next = "/sys/group-0000000001";
        let own = format!("{next}/{}", names(&conn, next).await[0]);
        conn.delete(own, Version::Any).await.unwrap();
        assert_eq!(acquiring.await.unwrap_err().kind(), ErrorKind::Revoked);
    })
    .await;
}

#[tokio::test]
async fn who_gives_up_leaves_a_group_to_those_who_wait_in_it() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (conn, second) = worker(&quorum);
    let mut gives_up = Box::pin(second.acquire());
    assert!(gives_up.as_mut().now_or_never().is_none());
    let (_other, third) = worker(&quorum);
    let mut stays = Box::pin(third.acquire());
    assert!(stays.as_mut().now_or_never().is_none());
    drop(gives_up);
    until(async || names(&conn, "/sys/group-0000000001").await.len() == 1).await;
    assert!(held.check().await.unwrap());
    held.ack().await;
    let shard = stays.await.unwrap();
    assert_eq!(shard.node().as_str(), "/sys/group-0000000001/node-0000000001");
}

/// A crash is no way out: then the group stays, and asks nobody either until somebody joins it.
#[tokio::test]
async fn a_group_that_stands_empty_asks_nobody_until_somebody_joins_it() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (conn, second) = worker(&quorum);
    let mut crashes = Box::pin(second.acquire());
    assert!(crashes.as_mut().now_or_never().is_none());
    assert!(held.check().await.unwrap());
    conn.expire();
    crashes.await.unwrap_err();
    assert_eq!(names(&conn, BASE).await.len(), 2);
    assert!(!held.check().await.unwrap(), "nobody is there");
    let mut asked = Box::pin(held.requested());
    assert!(asked.as_mut().now_or_never().is_none(), "nobody is there");
    // That is no change of the base.
    let next = "/sys/group-0000000001/node-";
    conn.create(next, "", Mode::EphemeralSequential).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap().unwrap();
    assert!(held.check().await.unwrap());
}

/// Polls `acquiring` at most so often, and drops it then; whether it came to an end before.
async fn polled(acquiring: impl Future<Output = Result<ShardGuard, Error>>, most: usize) -> bool {
    let mut acquiring = Box::pin(acquiring);
    for _ in 0..most {
        if let std::task::Poll::Ready(done) = futures::poll!(acquiring.as_mut()) {
            drop(done.unwrap());
            return true;
        }
        // Whatever it waits for comes meanwhile, the window for others included.
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn an_acquire_that_is_dropped_anywhere_leaves_nothing() {
    for is_held in [false, true] {
        let (mut dropped, mut ended) = (0, false);
        while !ended && dropped < 60 {
            let quorum = MemoryQuorum::new();
            let spy = Arc::new(Spy::slow(quorum.connect()));
            let (conn, holder) = worker(&quorum);
            let held = match is_held {
                true => Some(holder.acquire().await.unwrap()),
                false => None,
            };
            let lock = ShardLock::new(spy, BASE).with_wait_time(Duration::ZERO);
            ended = polled(lock.acquire(), dropped).await;
            dropped += 1;
            // The path stays, if it was made.
            until(async || match conn.children(BASE).await {
                Ok(listed) => listed.names.len() == usize::from(is_held),
                Err(err) => err.kind() == ErrorKind::NoNode && !is_held,
            })
            .await;
            if let Some(held) = held {
                assert!(!held.check().await.unwrap(), "behind {dropped} polls");
            }
        }
        assert!(dropped >= 8, "it came to an end behind {dropped} polls");
        assert_eq!(ended, !is_held);
    }
}

#[tokio::test]
async fn a_session_that_ended_is_no_end_of_the_lock_and_a_closed_connection_is() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let first = lock.acquire().await.unwrap();
    conn.expire();
    assert_eq!(first.lost().await, Loss::SessionEnded);
    let second = lock.acquire().await.unwrap();
    assert!(*second.token() > *first.token());
    assert_ne!(second.session().id(), first.session().id());
    assert_eq!(first.ack().await, Released::WasLost);
    assert!(second.is_valid());
    conn.close().await.unwrap();
    let err = lock.acquire().await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Closed, "acquire"));
    assert!(!second.is_valid());
}

/// A connection of which no `sync` is answered, nor a watch on a member's node left.
#[derive(Debug)]
struct Silent(MemoryConn);

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "silent({})", self.0)
    }
}

impl Conn for Silent {
    fn call(&self, request: Request) -> Pending<Reply> {
        let is_member = request.path.name().starts_with("node-");
        match request.op {
            Op::Sync => Pending::new(std::future::pending()),
            Op::Exists { .. }
                if is_member && request.path.as_str().contains("group-0000000001") =>
            {
                Pending::new(std::future::pending())
            }
            _ => self.0.call(request),
        }
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

/// Why the own node is gone takes a request to find out, which is not waited for beyond all patience.
#[tokio::test]
async fn who_is_not_listed_is_told_by_the_end_of_patience() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let silent = ShardLock::new(Silent(quorum.connect()), BASE).with_wait_time(WAIT);
    let mut waits = Box::pin(silent.acquire_within(Duration::from_millis(500)));
    assert!(waits.as_mut().now_or_never().is_none());
    let own = "/sys/group-0000000001/node-0000000000";
    conn.delete(own, Version::Any).await.unwrap();
    held.release().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it ends");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
}

/// A connection that breaks before the first transaction gets away, and says when nobody waits for
/// the answer to that any more.
#[derive(Debug)]
struct Breaks(MemoryConn, Mutex<Option<tokio::sync::oneshot::Sender<()>>>);

impl std::fmt::Display for Breaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "breaks({})", self.0)
    }
}

impl Conn for Breaks {
    fn call(&self, request: Request) -> Pending<Reply> {
        let told = match request.op {
            Op::Multi(_) => self.1.lock().unwrap().take(),
            _ => None,
        };
        let Some(told) = told else { return self.0.call(request) };
        self.0.lose_connection();
        let asked = self.0.call(request);
        Pending::new(async move {
            let _told = told;
            asked.await
        })
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

/// Holders would reshard for somebody who is not there any more.
#[tokio::test]
async fn a_join_whose_caller_has_gone_is_not_sent_any_more() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let held = lock.acquire().await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let breaks = Arc::new(Breaks(quorum.connect(), Mutex::new(Some(tell))));
    let before = conn.exists(BASE).await.unwrap().unwrap().cversion;
    let late = ShardLock::new(breaks.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(late.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    let mut asked = Box::pin(held.requested());
    assert!(asked.as_mut().now_or_never().is_none());
    drop(acquiring);
    let gone = tokio::time::timeout(Duration::from_secs(5), told).await;
    assert!(gone.expect("it is still waited for").is_err());
    breaks.0.join();
    breaks.sync(BASE).await.unwrap();
    assert_eq!(conn.exists(BASE).await.unwrap().unwrap().cversion, before, "somebody came");
    assert!(asked.now_or_never().is_none(), "nobody is there");
}

/// Whoever made the group may have kept others from making nodes in it.
#[tokio::test]
async fn a_word_that_is_refused_holds_up_nobody() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let shard = lock.acquire().await.unwrap();
    let group = shard.node().parent().unwrap();
    let some = vec![Acl::world(Perms::READ | Perms::WRITE | Perms::DELETE)];
    conn.set_acl(&group, some, Version::Any).await.unwrap();
    let (node, until) = (shard.node().clone(), shard.valid_until());
    assert_eq!(shard.ack().await, Released::Released);
    assert!(!until.is_past() && conn.exists(node).await.unwrap().is_none());
}

#[tokio::test]
async fn whoever_leaves_last_takes_the_group_along_whichever_way() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    for polls in [None, Some(0), Some(1)] {
        let shard = lock.acquire().await.unwrap();
        match polls {
            None => drop(shard),
            Some(polls) => {
                let mut released = Box::pin(shard.ack());
                for _ in 0..polls {
                    let _ = futures::poll!(released.as_mut());
                }
            }
        }
        until(async || names(&conn, BASE).await.is_empty()).await;
    }
    // Nor is one broken connection a reason to leave it there.
    let shard = lock.acquire().await.unwrap();
    let group = shard.node().parent().unwrap();
    conn.drop_request(crate::fault::OpKind::Multi);
    shard.release().await;
    until(async || conn.bites().dropped == 1 && names(&conn, BASE).await.is_empty()).await;
    assert!(conn.exists(group).await.unwrap().is_none());
}
