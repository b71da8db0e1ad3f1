//! Who promotes at the same time as others, or again.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::tapped::TappedSet;
use zkcells::{Error, Identity};

use super::*;

/// Whether a request gives a quorum another identity.
fn is_change(request: &Request) -> bool {
    matches!(&request.op, Op::Multi(ops) if ops.iter().any(|op| {
        matches!(op, MultiOp::Set { path, .. } if path == "/zkcells/global")
    }))
}

/// What becomes of whoever dies right before that.
fn dead(request: &Request) -> Option<Pending<Reply>> {
    is_change(request).then(|| Pending::ready(Err(request.error(ErrorKind::NotSent))))
}

async fn set_of(require: Require) -> Set {
    let set = Set::new(GlobalOptions::default().with_require(require)).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    set
}

/// A client that gives up soon on quorums that are away, as these are, counted from 0.
fn without(set: &Set, away: &[usize]) -> Set {
    let options = set.conn.options().clone().with_wait(Duration::from_millis(300));
    let ops = Set::over(set.quorums.clone(), options);
    away.iter().for_each(|index| ops.lines[*index].lose_connection());
    ops
}

/// Somebody who makes quorum 3 the first: all others are stopped, and have been compared.
struct AboutToRaise {
    promotion: tokio::task::JoinHandle<Result<Identity, Error>>,
    go: Arc<Notify>,
    raised: Arc<Notify>,
}

async fn about_to_raise(set: &Set, away: &[usize]) -> AboutToRaise {
    let ops = TappedSet::with(set.quorums.clone(), without(set, &[]).conn.options().clone());
    away.iter().for_each(|index| ops.taps[*index].line.lose_connection());
    let [came, go, raised] = [(); 3].map(|()| Arc::new(Notify::new()));
    let (tell, waits, done) = (came.clone(), go.clone(), raised.clone());
    let line = ops.taps[2].line.clone();
    ops.taps[2].hook(move |request| {
        is_change(request).then(|| {
            let (line, request) = (line.clone(), request.clone());
            let (waits, done) = (waits.clone(), done.clone());
            tell.notify_one();
            Pending::new(async move {
                waits.notified().await;
                let answer = line.call(request.within(Duration::from_secs(10))).await;
                done.notify_one();
                answer
            })
        })
    });
    let conn = ops.conn.clone();
    let promotion = tokio::spawn(async move { conn.promote(3).await });
    soon("about to raise", came.notified()).await;
    AboutToRaise { promotion, go, raised }
}

/// Has `look` stand before the look at quorum 3 behind the stops of both others.
fn behind_the_stops(
    ops: &TappedSet,
    mut look: impl FnMut(&Request) -> Option<Pending<Reply>> + Send + 'static,
) {
    let stops = Arc::new(AtomicUsize::new(0));
    for tap in &ops.taps[..2] {
        let stops = stops.clone();
        tap.hook(move |request| {
            stops.fetch_add(usize::from(is_change(request)), Ordering::SeqCst);
            None
        });
    }
    ops.taps[2].hook(move |request| {
        let is_look = matches!(request.op, Op::Sync) && stops.load(Ordering::SeqCst) == 2;
        is_look.then(|| look(request)).flatten()
    });
}

/// Somebody who cannot reach quorum 3 writes, if he is let, and all is brought to what quorum 3 holds.
async fn nothing_answered_is_lost(set: &Set) {
    let client = without(set, &[2]);
    let write = Within::new(client.conn.clone(), Duration::from_secs(3));
    let answer = soon("an answer", write.set("/a", "2", Version::Any)).await;
    let finished = set.another().conn.promote(3).await;
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([third, first, second], set.conn.options().clone());
    if finished.is_ok() {
        let mut repair = repair::repair(&new.conn, "/").unwrap();
        while let Some(mended) = repair.next().await {
            mended.unwrap();
        }
    }
    let data = set.data("/a").await;
    assert!(answer.is_err() || data.contains(&has("2")), "{answer:?} {finished:?} {data:?}");
}

#[tokio::test]
async fn who_gives_up_lets_nobody_go_on_that_another_has_stopped() {
    let set = set_of(Require::AtLeast(1)).await;
    let AboutToRaise { promotion, go, .. } = about_to_raise(&set, &[]).await;
    let other = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    behind_the_stops(&other, |request| {
        Some(Pending::ready(Err(request.error(ErrorKind::NotSent))))
    });
    let err = soon("an answer", other.conn.promote(3)).await.unwrap_err();
    for told in ["stopped by somebody else before", "quorum 1", "quorum 2", "zk global promote"] {
        assert!(err.to_string().contains(told), "{err}\nlacks: {told}");
    }
    let err = set.another().conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    go.notify_one();
    let _ = soon("the one", promotion).await.unwrap();
    nothing_answered_is_lost(&set).await;
    // It is finished then.
    let status = set.conn.status().await;
    let epochs: Vec<_> = status.iter().map(|one| one.identity.as_ref().unwrap().epoch).collect();
    assert_eq!(epochs, [2; 3]);
}

#[tokio::test]
async fn of_two_who_promote_none_lets_the_old_first_go_on_behind_the_new_one() {
    let set = set_of(Require::AtLeast(1)).await;
    let AboutToRaise { promotion, go, raised } = about_to_raise(&set, &[]).await;
    // The other one stops all again, and then the first one raises 3.
    let other = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    let (line, mut is_done) = (other.taps[2].line.clone(), false);
    behind_the_stops(&other, move |request| {
        let is_later = std::mem::replace(&mut is_done, true);
        (!is_later).then(|| {
            let (line, request) = (line.clone(), request.clone());
            let (go, raised) = (go.clone(), raised.clone());
            Pending::new(async move {
                go.notify_one();
                raised.notified().await;
                line.call(request).await
            })
        })
    });
    let err = soon("the other", other.conn.promote(3)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Contended, "{err}");
    let _ = soon("the one", promotion).await.unwrap();
    nothing_answered_is_lost(&set).await;
}

#[tokio::test]
async fn who_lets_a_stopped_mirror_in_ends_the_promotion_that_stopped_it() {
    let set = set_of(Require::AtLeast(1)).await;
    // The first is away from whoever promotes, and not from all others.
    let AboutToRaise { promotion, go, .. } = about_to_raise(&set, &[0]).await;
    set.another().conn.init_with(Rejoin::AsMirrors).await.unwrap();
    let client = without(&set, &[2]);
    let write = Within::new(client.conn.clone(), Duration::from_secs(3));
    soon("a write", write.set("/a", "2", Version::Any)).await.unwrap();
    go.notify_one();
    let err = soon("the one", promotion).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Contended, "{err}");
    set.another().conn.set("/a", "3", Version::Any).await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_took_writes_of_the_old_first_since_is_compared_before_it_follows() {
    let set = set_of(Require::AtLeast(1)).await;
    let word = Promotion::default().without(2);
    let ops = without(&set, &[0, 1]);
    soon("a first", ops.conn.promote_with(3, &word)).await.unwrap();
    // Both are back, for somebody who cannot reach the new first.
    let client = without(&set, &[2]);
    let write = Within::new(client.conn.clone(), Duration::from_secs(3));
    soon("a write", write.set("/a", "2", Version::Any)).await.unwrap();
    let err = set.another().conn.promote(3).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    for told in ["differ at /a", "--though-behind", "nothing was changed"] {
        assert!(err.to_string().contains(told), "{err}\nlacks: {told}");
    }
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
    let word = Promotion::default().though_behind();
    let made = set.another().conn.promote_with(3, &word).await.unwrap();
    assert_eq!(made.epoch, 2);
    let status = set.conn.status().await;
    assert!(status.iter().all(|one| one.identity.as_ref().is_ok_and(|own| own.epoch == 2)));
}

#[tokio::test]
async fn a_promotion_that_has_succeeded_changes_nothing_when_it_is_done_again() {
    let set = Set::new(GlobalOptions::default()).await;
    let once = set.conn.promote(2).await.unwrap();
    let told = async || -> Vec<Identity> {
        let status = set.another().conn.status().await;
        status.into_iter().map(|one| one.identity.unwrap()).collect()
    };
    let before = told().await;
    assert_eq!(set.conn.promote(2).await.unwrap(), once);
    assert_eq!(told().await, before);
}

#[tokio::test]
async fn a_promotion_that_is_done_leaves_a_first_that_takes_writes() {
    let set = set_of(Require::All).await;
    // 1 is away while 2 is made the first.
    soon("a first", without(&set, &[0]).conn.promote(2)).await.unwrap();
    // It is back. Somebody makes 3 the first, and dies once the others are stopped.
    let dies = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    dies.taps[2].hook(dead);
    let word = Promotion::default().though_incomplete();
    dies.conn.promote_with(3, &word).await.unwrap_err();
    set.another().conn.promote(2).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([second, first, third], GlobalOptions::default());
    new.conn.set("/a", "2", Version::Any).await.unwrap();
    new.everywhere("/a", "2").await;
}

#[tokio::test]
async fn behind_a_new_first_a_promotion_is_finished_for_that_one_alone() {
    let set = Set::new(GlobalOptions::default()).await;
    let dies = TappedSet::over(set.quorums.clone(), Duration::from_secs(10));
    let mut changes = 0;
    dies.taps[0].hook(move |request| {
        changes += usize::from(is_change(request));
        dead(request).filter(|_| changes == 2)
    });
    dies.conn.promote(2).await.unwrap_err();
    // Who can be told was told.
    let status = set.conn.status().await;
    assert_eq!(status[2].identity.as_ref().unwrap().epoch, 2);
    let all = [set.quorums[0].clone(), set.quorums[1].clone(), MemoryQuorum::new()];
    let word = Promotion::default().without(3);
    let err = Set::over(all, Default::default()).conn.promote_with(1, &word).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert!(err.to_string().contains("zk global promote global 2 "), "{err}");
    assert_eq!(set.another().conn.promote(2).await.unwrap().epoch, 2);
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([second, first, third], GlobalOptions::default());
    new.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    new.everywhere("/a", "1").await;
}

#[tokio::test]
async fn who_says_that_nothing_was_changed_has_changed_nothing() {
    for is_applied in [true, false] {
        let set = set_of(Require::All).await;
        let ops = TappedSet::over(set.quorums.clone(), Duration::from_secs(2));
        let (line, mut changes) = (ops.taps[0].line.clone(), 0);
        ops.taps[0].hook(move |request| {
            changes += usize::from(is_change(request));
            (is_change(request) && changes == 1).then(|| {
                let err = request.error(ErrorKind::OutcomeUnknown);
                let done = is_applied.then(|| line.call(request.clone()));
                Pending::new(async move {
                    if let Some(done) = done {
                        done.await?;
                    }
                    Err(err)
                })
            })
        });
        let err = ops.conn.promote(2).await.unwrap_err();
        assert!(err.to_string().contains("nothing was changed"), "{err}");
        set.another().conn.set("/a", "2", Version::Any).await.unwrap();
    }
}

#[tokio::test]
async fn a_quorum_of_which_nobody_knows_whether_it_was_stopped_is_told() {
    let set = set_of(Require::All).await;
    let ops = TappedSet::over(set.quorums.clone(), Duration::from_millis(300));
    let line = ops.taps[0].line.clone();
    ops.taps[0].hook(move |request| {
        is_change(request).then(|| {
            line.lose_connection();
            Pending::ready(Err(request.error(ErrorKind::OutcomeUnknown)))
        })
    });
    let err = soon("an answer", ops.conn.promote(2)).await.unwrap_err();
    assert!(!err.to_string().contains("nothing was changed"), "{err}");
    assert!(err.to_string().contains("take no writes until"), "{err}");
}
