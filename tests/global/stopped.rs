//! Quorums that take no writes while another is made the first: so that no write is answered behind the
//! look at what would be lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::tapped::TappedSet;

use super::*;

/// Whether a request gives a quorum another identity.
fn is_change(request: &Request) -> bool {
    matches!(&request.op, Op::Multi(ops) if ops.iter().any(|op| {
        matches!(op, MultiOp::Set { path, .. } if path == "/zkcells/global")
    }))
}

/// A set that requires one mirror, of which `ops` cannot reach the first, and in which a write is on its
/// way to mirror 2 alone.
struct OnItsWay {
    set: Set,
    ops: TappedSet,
    write: Pending<zkcells::Stat>,
    lets_go: Arc<Notify>,
    /// The way of whoever writes to mirror 3, on which nothing passes.
    line: Arc<MemoryConn>,
}

async fn on_its_way() -> OnItsWay {
    let options = GlobalOptions::default().with_require(Require::AtLeast(1));
    let set = Set::new(options.clone()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    let (held, line) = (races::Held::new(&set.quorums[1]), Arc::new(set.quorums[2].connect()));
    let conns: [Arc<dyn Conn>; 3] =
        [Arc::new(set.quorums[0].connect()), held.clone(), line.clone()];
    let writer = GlobalConn::new(conns, options.clone());
    writer.create("/warm", "", Mode::Persistent).await.unwrap();
    writer.settled().await;
    line.lose_connection();
    let (came, lets_go) = held.keep_back();
    let write = writer.set("/a", "2", Version::Any);
    soon("the write", came.notified()).await;
    let options = options.with_wait(Duration::from_millis(300));
    let ops = TappedSet::with(set.quorums.clone(), options);
    ops.taps[0].line.lose_connection();
    OnItsWay { set, ops, write, lets_go, line }
}

#[tokio::test]
async fn a_write_that_is_answered_while_it_is_looked_who_lacks_what_is_not_lost() {
    let OnItsWay { set, ops, write, lets_go, .. } = on_its_way().await;
    // At the latest moment at which it can be answered: all has been looked at.
    let (line, write) = (ops.taps[1].line.clone(), Arc::new(tokio::sync::Mutex::new(Some(write))));
    let (answered, answer) = tokio::sync::watch::channel(None);
    let (begun, looks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let changes = begun.clone();
    ops.taps[1].hook(move |request| {
        if !is_change(request) || changes.fetch_add(1, Ordering::SeqCst) > 0 {
            looks.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        let (line, request, write) = (line.clone(), request.clone(), write.clone());
        let (lets_go, answered) = (lets_go.clone(), answered.clone());
        Some(Pending::new(async move {
            lets_go.notify_one();
            if let Some(write) = write.lock().await.take() {
                answered.send_replace(Some(write.await.is_ok()));
            }
            line.call(request).await
        }))
    });
    let err = soon("an answer", ops.conn.promote(3)).await.unwrap_err();
    assert_eq!(*answer.borrow(), Some(true));
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    for part in ["differ at /a", "choose quorum 2", "nothing was changed"] {
        assert!(err.to_string().contains(part), "{err}\nlacks: {part}");
    }
    // It was stopped, and goes on.
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    set.conn.set("/a", "3", Version::Any).await.unwrap();
    soon("the mirrors", set.conn.settled()).await;
    set.everywhere("/a", "3").await;
}

#[tokio::test]
async fn a_write_that_comes_behind_the_look_is_not_answered() {
    let OnItsWay { set, ops, write, lets_go, line } = on_its_way().await;
    soon("another first", ops.conn.promote(3)).await.unwrap();
    line.join();
    lets_go.notify_one();
    let err = soon("an answer", write).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored, "{err}");
    assert_eq!(set.data("/a").await, [has("2"), has("1"), has("1")]);
}

/// A set in which a promotion of quorum 2 has ended as soon as all others were stopped.
async fn half_way() -> Set {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let ops = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    ops.taps[1].hook(|request| {
        let dead = || Pending::ready(Err(request.error(ErrorKind::NotSent)));
        is_change(request).then(dead)
    });
    let err = ops.conn.promote(2).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    set
}

#[tokio::test]
async fn a_set_that_is_stopped_takes_no_writes_and_says_what_to_do() {
    let set = half_way().await;
    for conn in [&set.conn, &set.another().conn] {
        let mut repair = repair::repair(conn, "/").unwrap();
        for answer in [
            conn.set("/a", "2", Version::Any).await.map(drop),
            conn.set_acl("/a", Acl::open(), Version::Any).await.map(drop),
            conn.create("/e", "", Mode::Ephemeral).await.map(drop),
            conn.init_with(Rejoin::AsMirrors).await.map(drop),
            repair.next().await.unwrap().map(drop),
        ] {
            let err = answer.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
            assert!(err.to_string().contains("takes no writes"), "{err}");
        }
    }
    let status = set.conn.status().await;
    let wrong: Vec<bool> = status.iter().map(|one| one.wrong.is_some()).collect();
    assert_eq!(wrong, [true, false, true], "{status:?}");
    set.everywhere("/a", "1").await;
    set.nowhere("/e").await;
}

#[tokio::test]
async fn a_promotion_that_ended_half_way_is_finished_for_whichever_quorum() {
    for (chosen, order) in [(1, [0, 1, 2]), (2, [1, 0, 2]), (3, [2, 0, 1])] {
        let set = half_way().await;
        let made = set.another().conn.promote(chosen).await.unwrap();
        assert_eq!(made.epoch, 2);
        let new =
            Set::over(order.map(|index| set.quorums[index].clone()), GlobalOptions::default());
        new.conn.set("/a", "2", Version::Any).await.unwrap();
        new.everywhere("/a", "2").await;
    }
}

#[tokio::test]
async fn a_mirror_that_stayed_stopped_comes_in_again_behind_the_first_that_there_is() {
    let OnItsWay { set, ops, write, lets_go, .. } = on_its_way().await;
    let (line, changes) = (ops.taps[1].line.clone(), AtomicUsize::new(0));
    let write = Mutex::new(Some(write));
    ops.taps[1].hook(move |request| match is_change(request) {
        true if changes.fetch_add(1, Ordering::SeqCst) == 0 => {
            let (line, request, lets_go) = (line.clone(), request.clone(), lets_go.clone());
            let write = write.lock().unwrap().take();
            Some(Pending::new(async move {
                lets_go.notify_one();
                if let Some(write) = write {
                    write.await?;
                }
                line.call(request).await
            }))
        }
        // It cannot be told that it may go on.
        true => Some(Pending::ready(Err(request.error(ErrorKind::NotSent)))),
        false => None,
    });
    let err = soon("an answer", ops.conn.promote(3)).await.unwrap_err();
    assert!(err.to_string().contains("take no writes until"), "{err}");
    // The others are enough for those who require one.
    set.conn.set("/a", "3", Version::Any).await.unwrap();
    let err = set.another().conn.init().await.unwrap_err();
    assert!(err.to_string().contains("--rejoin"), "{err}");
    set.another().conn.init_with(Rejoin::AsMirrors).await.unwrap();
    assert!(!set.conn.status().await[1].identity.as_ref().unwrap().complete);
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    set.everywhere("/a", "3").await;
}

#[tokio::test]
async fn of_two_who_promote_at_once_one_lets_nothing_go_on_that_the_other_has_stopped() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    // One has stopped all others when the chosen quorum fails it, and gives up at the worst moment.
    let one = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    let (came, go, mut syncs) = (Arc::new(Notify::new()), Arc::new(Notify::new()), 0);
    let (told, waits) = (came.clone(), go.clone());
    let has_stopped = Arc::new(AtomicUsize::new(0));
    let stopped = has_stopped.clone();
    one.taps[2].hook(move |request| {
        stopped.fetch_add(usize::from(is_change(request)), Ordering::SeqCst);
        None
    });
    one.taps[1].hook(move |request| {
        let is_look = matches!(request.op, Op::Sync) && has_stopped.load(Ordering::SeqCst) > 0;
        syncs += usize::from(is_look);
        (is_look && syncs == 1).then(|| {
            told.notify_one();
            let (waits, err) = (waits.clone(), request.error(ErrorKind::NotSent));
            Pending::new(async move {
                waits.notified().await;
                Err(err)
            })
        })
    });
    let first = one.conn.clone();
    let giving_up = tokio::spawn(async move { first.promote(2).await });
    soon("the stop", came.notified()).await;
    // The other has seen all that it wants when that happens.
    let other = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    let (line, giving_up) = (other.taps[1].line.clone(), Mutex::new(Some(giving_up)));
    let conn = set.conn.clone();
    other.taps[1].hook(move |request| {
        let giving_up = giving_up.lock().unwrap().take_if(|_| is_change(request))?;
        let (line, request) = (line.clone(), request.clone());
        let (go, conn) = (go.clone(), conn.clone());
        Some(Pending::new(async move {
            go.notify_one();
            giving_up.await.unwrap().unwrap_err();
            let late = conn.set("/a", "late", Version::Any).await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::WrongQuorum);
            line.call(request).await
        }))
    });
    let made = soon("another first", other.conn.promote(2)).await.unwrap();
    assert_eq!(made.epoch, 2);
    set.everywhere("/a", "1").await;
}

#[tokio::test]
async fn what_changes_all_the_time_is_looked_at_when_nobody_writes_any_more() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/hot", "0", Mode::Persistent).await.unwrap();
    let ops = TappedSet::over(set.quorums.clone(), Duration::from_millis(500));
    let (is_stopped, count) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(1));
    let (direct, stopped) = (set.quorums[1].connect(), is_stopped.clone());
    ops.taps[1].hook(move |request| {
        let data = match stopped.load(Ordering::SeqCst) {
            0 => (count.fetch_add(1, Ordering::SeqCst) % 9 + 1).to_string(),
            _ => "0".to_string(),
        };
        if matches!(request.op, Op::Acl) && request.path == "/hot" {
            drop(direct.set("/hot", data, Version::Any));
        }
        None
    });
    ops.taps[2].hook(move |request| {
        is_stopped.fetch_add(usize::from(is_change(request)), Ordering::SeqCst);
        None
    });
    soon("another first", ops.conn.promote(2)).await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_was_stopped_is_told_so_though_the_first_is_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let ops = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    ops.taps[1].hook(|request| {
        let dead = || Pending::ready(Err(request.error(ErrorKind::NotSent)));
        is_change(request).then(dead)
    });
    ops.conn.promote(2).await.unwrap_err();
    let options = GlobalOptions::default().with_wait(Duration::from_millis(300));
    let away = Set::over(set.quorums.clone(), options);
    away.lines[0].lose_connection();
    let status = soon("status", away.conn.status()).await;
    assert!(status[2].wrong.as_ref().unwrap().to_string().contains("takes no writes"));
}
