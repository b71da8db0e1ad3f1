//! The loop around an acquire.

use super::*;

#[tokio::test]
async fn a_run_that_goes_on_holds_its_range_until_a_reshard_is_wanted() {
    let quorum = MemoryQuorum::new();
    let (_conn, lock) = worker(&quorum);
    let seen = &Mutex::new(Vec::new());
    let (_other, other) = worker(&quorum);
    let (mut newcomer, holds) = (None, &Mutex::new(None));
    let turns = lock.run(std::future::pending(), |shard| {
        let turn = {
            let mut seen = seen.lock().unwrap();
            seen.push((shard.of(), shard.token().clone()));
            seen.len()
        };
        if turn == 1 {
            let other = other.clone();
            newcomer = Some(tokio::spawn(async move { other.acquire().await.unwrap() }));
            *holds.lock().unwrap() = Some(shard);
        } else {
            assert!(!holds.lock().unwrap().as_ref().unwrap().is_valid(), "one range at a time");
        }
        async move {
            match turn {
                // It neither waits nor listens: the run does.
                1 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(turn),
            }
        }
    });
    assert_eq!(turns.await.unwrap(), 2);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let of: Vec<usize> = seen.iter().map(|(of, _)| *of).collect();
    assert_eq!(of, [1, 2], "once on each range");
    assert!(seen[0].1 < seen[1].1);
    let newcomer = newcomer.unwrap().await.unwrap();
    assert!(!newcomer.check().await.unwrap(), "work that broke was done: a word was said");
}

/// What the original says its users do behind the work: look whether a reshard is needed.
#[tokio::test]
async fn a_run_ends_when_nobody_has_left_a_part_undone() {
    let quorum = MemoryQuorum::new();
    let (_conn, stays) = worker(&quorum);
    let (other, crashes) = worker(&quorum);
    let rows: [f64; 10] = std::array::from_fn(|row| row as f64 / 10.0);
    let done = &Mutex::new([0; 10]);
    let (crashed, has_crashed) = tokio::sync::oneshot::channel::<()>();
    let mut has_crashed = Some(has_crashed);
    let stays = stays.run(std::future::pending(), |shard| {
        let behind = has_crashed.take();
        async move {
            if let Some(behind) = behind {
                assert_eq!(shard.of(), 2);
                drop(behind.await);
            }
            let mut done = done.lock().unwrap();
            for (row, done) in rows.iter().zip(&mut *done) {
                *done += usize::from(shard.contains(*row));
            }
            ControlFlow::Break(shard.of())
        }
    });
    let mut crashed = Some(crashed);
    let crashes = crashes.run::<(), _>(std::future::pending(), |_| {
        let (other, crashed) = (other.clone(), crashed.take());
        async move {
            other.close().await.unwrap();
            drop(crashed);
            std::future::pending().await
        }
    });
    let (stayed, crashed) = tokio::join!(stays, crashes);
    assert_eq!(crashed.unwrap_err().kind(), ErrorKind::Closed);
    let done = done.lock().unwrap();
    assert!(done.iter().all(|times| *times > 0), "{done:?}");
    assert_eq!(stayed.unwrap(), 1, "the answer is that of the last range");
}

/// It may have stopped short, whatever it says.
#[tokio::test]
async fn work_that_was_told_to_end_is_done_again_if_nobody_wants_a_reshard_any_more() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let (_other, second) = worker(&quorum);
    let turns = &Mutex::new(Vec::new());
    let run = lock.run(std::future::pending(), |shard| {
        let (conn, second) = (conn.clone(), second.clone());
        async move {
            let turn = turns.lock().unwrap().len();
            turns.lock().unwrap().push(shard.token().clone());
            if turn == 0 {
                // Somebody comes, and goes again before this ends.
                let mut comes = Box::pin(second.acquire());
                assert!(comes.as_mut().now_or_never().is_none());
                shard.stopped().await;
                drop(comes);
                until(async || names(&conn, BASE).await.len() == 1).await;
            }
            ControlFlow::Break(())
        }
    });
    run.await.unwrap();
    let turns = turns.lock().unwrap();
    assert_eq!(turns.len(), 2, "its part was taken for done");
    assert_eq!(turns[0], turns[1], "nobody was disturbed for it");
}

/// Whoever dies between the ranges leaves what it had not done to those who stay.
#[tokio::test]
async fn work_that_was_cut_short_for_a_reshard_is_not_said_to_be_done() {
    let quorum = MemoryQuorum::new();
    let (conn, stays) = worker(&quorum);
    let (_other, dies) = worker(&quorum);
    let dies = tokio::spawn(async move {
        dies.run(std::future::pending(), |shard| async move {
            shard.stopped().await;
            ControlFlow::Break(())
        })
        .await
    });
    let stays = stays.acquire().await.unwrap();
    assert_eq!(stays.of(), 2);
    let group = stays.node().parent().unwrap();
    let (_third, newcomer) = worker(&quorum);
    let mut newcomer = Box::pin(newcomer.acquire());
    assert!(newcomer.as_mut().now_or_never().is_none());
    let own = stays.node().name().to_owned();
    let alone = async || {
        let left = names(&conn, group.as_str()).await;
        left.iter().filter(|name| name.starts_with("node-")).eq([&own])
    };
    until(alone).await;
    dies.abort();
    drop(newcomer);
    until(async || names(&conn, BASE).await == [group.name()]).await;
    assert!(stays.check().await.unwrap(), "its part was taken for done");
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
async fn work_that_never_waits_is_done_once_and_hides_no_stop() {
    let spy = Arc::new(Spy::new(MemoryConn::new()));
    let lock = ShardLock::new(spy.clone(), BASE).with_wait_time(WAIT);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (mut turns, started) = (0, &tokio::sync::Notify::new());
    let run = lock.run::<(), _>(async { drop(stopped.await) }, |_| {
        turns += 1;
        started.notify_one();
        std::future::ready(ControlFlow::Continue(()))
    });
    let run = tokio::time::timeout(Duration::from_secs(10), run);
    let (ended, asked) = tokio::join!(run, async {
        started.notified().await;
        spy.take();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(stop);
        spy.take().len()
    });
    assert_eq!(ended.expect("it goes on").unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(turns, 1);
    assert!(asked < 20, "{asked} requests");
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

/// What it says was to hand on what it had so far, perhaps; others are to see to the rest.
#[tokio::test]
async fn an_interrupted_run_is_not_done_if_its_work_knew() {
    for knows in [true, false] {
        let quorum = MemoryQuorum::new();
        let (_conn, lock) = worker(&quorum);
        let (_other, second) = worker(&quorum);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut stop = Some(stop);
        let run = lock.run(async { drop(stopped.await) }, |shard| {
            drop(stop.take());
            async move {
                if knows {
                    shard.stopped().await;
                }
                ControlFlow::Break(7)
            }
        });
        let (ran, stays) = tokio::join!(run, second.acquire());
        assert_eq!(stays.unwrap().check().await.unwrap(), knows);
        match knows {
            true => assert_eq!(ran.unwrap_err().kind(), ErrorKind::Cancelled),
            false => assert_eq!(ran.unwrap(), 7),
        }
    }
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
