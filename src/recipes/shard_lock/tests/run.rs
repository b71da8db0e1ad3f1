//! The loop around an acquire.

use super::*;

#[tokio::test]
async fn a_run_works_on_until_it_breaks_and_reshards_when_that_is_wanted() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let seen = &Mutex::new(Vec::new());
    let (_other, other) = worker(&quorum);
    let mut newcomer = None;
    let sum = lock.run(std::future::pending(), |shard| {
        let turn = {
            let mut seen = seen.lock().unwrap();
            seen.push((shard.of(), shard.token().clone()));
            seen.len()
        };
        if turn == 2 {
            let other = other.clone();
            newcomer = Some(tokio::spawn(async move { other.acquire().await.unwrap() }));
        }
        async move {
            match turn {
                1 => ControlFlow::Continue(()),
                2 => {
                    shard.stopped().await;
                    assert!(shard.is_valid(), "a request is no loss");
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(turn),
            }
        }
    });
    assert_eq!(sum.await.unwrap(), 3);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let of: Vec<usize> = seen.iter().map(|(of, _)| *of).collect();
    assert_eq!(of, [1, 1, 2]);
    assert!(seen[0].1 == seen[1].1 && seen[1].1 < seen[2].1, "one range twice, then another");
    let newcomer = newcomer.unwrap().await.unwrap();
    assert!(!newcomer.check().await.unwrap(), "work that broke was done: a word was said");
}

#[tokio::test]
async fn a_run_goes_on_behind_a_loss_and_never_twice_at_once() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let (running, starts) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let run = lock.run(std::future::pending(), |_| {
        let conn = conn.clone();
        async move {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            let _over = Over(running);
            match starts.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    conn.expire();
                    // It does not listen: it is dropped here.
                    std::future::pending().await
                }
                _ => ControlFlow::Break(()),
            }
        }
    });
    run.await.unwrap();
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

/// Counts one less when it goes.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn work_that_never_waits_does_not_hide_a_stop() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (mut stop, mut turns) = (Some(stop), 0);
    let run = lock.run::<(), _>(async { drop(stopped.await) }, |_| {
        turns += 1;
        if turns == 3 {
            drop(stop.take());
        }
        std::future::ready(ControlFlow::Continue(()))
    });
    let ended = tokio::time::timeout(Duration::from_secs(10), run).await;
    assert_eq!(ended.expect("it goes on").unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(turns, 3);
}

#[tokio::test]
async fn an_interrupted_run_ends_behind_its_work_and_asks_the_others() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let (_other, second) = worker(&quorum);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = &AtomicUsize::new(0);
    let mut stop = Some(stop);
    let run = lock.run::<(), _>(async { drop(stopped.await) }, |shard| {
        drop(stop.take());
        async move {
            shard.stopped().await;
            assert!(shard.is_valid(), "an interrupt is no loss");
            ended.fetch_add(1, Ordering::SeqCst);
            ControlFlow::Continue(())
        }
    });
    let (ran, stays) = tokio::join!(run, second.acquire());
    assert_eq!(ran.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert!(stays.unwrap().check().await.unwrap());
}

/// Whoever only listens for the end of the work would never hear of it.
#[tokio::test]
async fn a_run_that_cannot_see_what_is_wanted_says_why_and_not_that_it_was_done() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let (_other, second) = worker(&quorum);
    let (came, has_come) = tokio::sync::oneshot::channel::<()>();
    let mut has_come = Some(has_come);
    let run = lock.run::<(), _>(std::future::pending(), |shard| {
        let (conn, has_come) = (conn.clone(), has_come.take());
        async move {
            has_come.unwrap().await.unwrap();
            conn.create("/sys/group-0000000009", "0,1", Mode::Persistent).await.unwrap();
            shard.stopped().await;
            ControlFlow::Continue(())
        }
    });
    let run = tokio::time::timeout(Duration::from_secs(20), run);
    let (ran, stays) = tokio::join!(run, async {
        let stays = second.acquire().await.unwrap();
        came.send(()).unwrap();
        stays
    });
    let err = ran.expect("it is never told").unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, "/sys/group-0000000009"), "{err}");
    conn.delete("/sys/group-0000000009", Version::Any).await.unwrap();
    assert!(stays.of() == 2 && stays.check().await.unwrap(), "the other one left without a word");
}

#[tokio::test]
async fn a_run_ends_with_the_session_that_its_connection_is_bound_to() {
    use crate::conn::bound::BoundConn;
    let quorum = MemoryQuorum::new();
    let conn = Arc::new(quorum.connect());
    let session = conn.session("/").await.unwrap();
    let bound = BoundConn::new(conn.clone(), &session);
    let lock = ShardLock::new(bound, BASE).with_wait_time(WAIT);
    let run = lock.run::<(), _>(std::future::pending(), |_| {
        let conn = conn.clone();
        async move {
            conn.expire();
            std::future::pending().await
        }
    });
    let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
    assert_eq!(ended.expect("it tries for good").unwrap_err().kind(), ErrorKind::SessionExpired);
}
