use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::*;
use crate::conn::{ConnExt as _, MemoryConn, MemoryQuorum};
use crate::hold::Loss;
use crate::node::{Mode, Version};
use crate::recipes::guard::Released;
use crate::request::Multi;
use crate::spy::Spy;

fn lock(quorum: &MemoryQuorum) -> (Arc<MemoryConn>, Lock) {
    let conn = Arc::new(quorum.connect());
    (conn.clone(), Lock::new(conn, "/app/lock"))
}

#[tokio::test]
async fn an_uncontended_acquire_is_one_flight() {
    let spy = Arc::new(Spy::new(MemoryConn::new()));
    let lock = Lock::new(spy.clone(), "/lock");
    lock.acquire().await.unwrap().release().await;
    spy.take();
    let guard = lock.acquire().await.unwrap();
    // Both requests leave at once; the hold asks nobody.
    assert_eq!(spy.take(), ["create /lock/lock-", "children /lock", "hold /lock/lock-0000000001"]);
    guard.release().await;
    assert_eq!(spy.take(), ["delete /lock/lock-0000000001"]);
}

#[tokio::test]
async fn a_directory_whose_making_is_in_doubt_is_looked_for_again() {
    let mut done = false;
    let spy = Spy::meddling(MemoryConn::new(), move |request, _| {
        let makes = request.op.name() == "create" && request.path == "/lock";
        (makes && !std::mem::replace(&mut done, true))
            .then(|| request.error(ErrorKind::OutcomeUnknown))
    });
    let guard = Lock::new(spy, "/lock").acquire().await.unwrap();
    assert_eq!(guard.release().await, Released::Released);
}

#[tokio::test]
async fn turns_come_in_order_and_tokens_grow() {
    let quorum = MemoryQuorum::new();
    let (_a, first) = lock(&quorum);
    let (_b, second) = lock(&quorum);
    let held = first.acquire().await.unwrap();
    let mut next = Box::pin(second.acquire());
    assert!(next.as_mut().now_or_never().is_none());
    let line = first.contenders().await.unwrap();
    assert_eq!(line.iter().map(|one| one.holds).collect::<Vec<_>>(), [true, false]);
    assert_eq!(line[0].path, *held.path());
    assert_eq!(&line[0].token, held.token());
    let old = held.token().clone();
    assert_eq!(held.release().await, Released::Released);
    let guard = next.await.unwrap();
    assert!(*guard.token() > old);
}

#[tokio::test]
async fn a_guard_s_multi_counts_its_own_steps() {
    let (conn, lock) = lock(&MemoryQuorum::new());
    let guard = lock.acquire().await.unwrap();
    let err = guard.multi(Multi::new().check("/app", Version::Any).check("/none", Version::Any));
    let err = err.await.unwrap_err();
    assert_eq!((err.kind(), err.index()), (ErrorKind::NoNode, Some(1)));
    let done = guard.multi(Multi::new().create("/job", "", Mode::Persistent)).await.unwrap();
    assert_eq!(done.len(), 1);
    assert!(guard.multi(Multi::new()).await.unwrap().is_empty());
    conn.delete(guard.path(), Version::Any).await.unwrap();
    let err = guard.multi(Multi::new().delete("/job", Version::Any)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked);
    assert!(conn.exists("/job").await.unwrap().is_some());
}

#[tokio::test]
async fn a_later_session_does_nothing_in_the_name_of_the_old() {
    let quorum = MemoryQuorum::new();
    let (conn, first) = lock(&quorum);
    let guard = first.acquire().await.unwrap();
    quorum.expire(guard.session().id());
    // The directory is made anew, so the numbers begin again, and the names are the same.
    let other = quorum.connect();
    other.delete("/app/lock", Version::Any).await.unwrap();
    let (_other, second) = lock(&quorum);
    let theirs = second.acquire().await.unwrap();
    assert_eq!(theirs.path(), guard.path());
    // A request of the old guard that knows nothing yet.
    let multi = guard.held().conn.multi(Multi::new().check(guard.path(), Version::Any).create(
        "/job",
        "",
        Mode::Persistent,
    ));
    assert_eq!(multi.await.unwrap_err().kind(), ErrorKind::SessionExpired);
    assert!(conn.exists("/job").await.unwrap().is_none());
    assert_eq!(guard.release().await, Released::WasLost);
    assert!(theirs.is_valid());
    assert!(conn.exists(theirs.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_node_of_the_same_name_is_not_the_own_one() {
    let (conn, lock) = lock(&MemoryQuorum::new());
    let guard = lock.acquire().await.unwrap();
    let path = guard.path().clone();
    conn.multi(Multi::new().delete(&path, Version::Any).create(&path, "", Mode::Ephemeral))
        .await
        .unwrap();
    assert_eq!(guard.lost().await, Loss::Deleted);
    assert_eq!(guard.release().await, Released::WasLost);
    assert!(conn.exists(&path).await.unwrap().is_some(), "another's node was removed");
}

#[tokio::test]
async fn who_has_no_patience_leaves_nothing() {
    let quorum = MemoryQuorum::new();
    let (conn, first) = lock(&quorum);
    let _held = first.acquire().await.unwrap();
    let (_other, second) = lock(&quorum);
    assert!(second.try_acquire().await.unwrap().is_none());
    assert_eq!(conn.children("/app/lock").await.unwrap().names.len(), 1);
    let err = second.acquire_within(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert_eq!(
        err.to_string(),
        "acquire /app/lock: timed out: 1 ahead, the next of them lock-0000000000"
    );
    let err = second.acquire_unless(std::future::ready(())).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn foreign_children_are_passed_over_and_other_systems_waited_for() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = lock(&quorum);
    for name in ["!first", "lock-abc", "read-1"] {
        crate::tree::create_all(&conn, format!("/app/lock/{name}"), "", Mode::Persistent)
            .await
            .unwrap();
    }
    lock.acquire().await.unwrap().release().await;
    for stem in [
        "_c_01234567-89ab-cdef-0123-456789abcdef-lock-",
        "0123456789abcdef0123456789abcdef__lock__",
        "_c_0123456789abcdef0123456789abcdef-write-",
        "_c_0123456789abcdef0123456789abcdef-read-",
        "lock-",
    ] {
        let path = format!("/app/lock/{stem}");
        let (node, _) = conn.create(path, "", Mode::EphemeralSequential).await.unwrap();
        assert!(lock.try_acquire().await.unwrap().is_none(), "{stem}");
        conn.delete(&node, Version::Any).await.unwrap();
        assert!(lock.try_acquire().await.unwrap().is_some(), "{stem}");
    }
}

#[tokio::test]
async fn names_go_on_behind_the_last_number() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = lock(&quorum);
    lock.acquire().await.unwrap().release().await;
    quorum.set_sequence("/app/lock", i32::MAX - 1).unwrap();
    let held = lock.acquire().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    // The wrapped number of whoever comes next, as servers print it.
    let wrapped = "/app/lock/lock--2147483648";
    conn.create(wrapped, "", Mode::Ephemeral).await.unwrap();
    let line = lock.contenders().await.unwrap();
    assert_eq!(line.len(), 2);
    assert_eq!((&line[0].path, line[0].holds), (held.path(), true));
    conn.create("/app/lock/lock-2147483647", "", Mode::Ephemeral).await.unwrap();
    let err = lock.acquire().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NodeExists, "{err}");
    assert!(err.to_string().contains("numbers are used up"), "{err}");
}

#[tokio::test]
async fn a_delay_is_kept_behind_the_dead_only() {
    const DELAY: Duration = Duration::from_millis(300);
    let quorum = MemoryQuorum::new();
    let of = |conn: &Arc<MemoryConn>| Lock::new(conn.clone(), "/app/lock").with_delay(DELAY);
    let conns: Vec<Arc<MemoryConn>> = (0..4).map(|_| Arc::new(quorum.connect())).collect();
    let [a, b, c, d] = &conns[..] else { panic!() };
    // Given back in order: nobody waits.
    of(a).acquire().await.unwrap().release().await;
    let guard = of(b).try_acquire().await.unwrap().unwrap();
    // Dead: the next one waits, and is not ahead of time.
    let start = std::time::Instant::now();
    quorum.expire(guard.session().id());
    let guard = of(c).acquire().await.unwrap();
    assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
    assert!(guard.is_valid());
    // Dropped is given back in order too.
    drop(guard);
    let guard = of(d).acquire_within(DELAY / 2).await.unwrap();
    // Deleted by an operator is not; and the deadline counts.
    a.delete(guard.path(), Version::Any).await.unwrap();
    let err = of(b).acquire_within(DELAY / 10).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert_eq!(of(b).acquire().await.unwrap().release().await, Released::Released);
}

#[test]
fn guards_and_their_futures_may_go_anywhere() {
    fn send<T: Send + 'static>(_: &T) {}
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Lock>();
    shared::<Guard>();
    let lock = Lock::new(MemoryConn::new(), "/lock");
    send(&async move {
        let guard = lock.acquire_within(Duration::from_secs(1)).await;
        if let Ok(guard) = guard {
            guard.lost().await;
            guard.release().await;
        }
    });
}

#[tokio::test]
async fn what_is_dropped_behind_a_break_is_looked_at_before_it_is_removed() {
    let quorum = MemoryQuorum::new();
    let (conn, mine) = lock(&quorum);
    let guard = mine.acquire().await.unwrap();
    conn.lose_connection();
    // The directory is deleted and made anew: numbers begin again.
    let operator = quorum.connect();
    operator.delete(guard.path(), Version::Any).await.unwrap();
    operator.delete("/app/lock", Version::Any).await.unwrap();
    let (_other, theirs) = lock(&quorum);
    let theirs = theirs.acquire().await.unwrap();
    assert_eq!(theirs.path(), guard.path());
    drop(guard);
    conn.join();
    // Behind whatever the keeper asked for.
    for _ in 0..100 {
        conn.sync("/").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(operator.exists(theirs.path()).await.unwrap().is_some(), "another's node is gone");
    assert!(theirs.is_valid());
}

#[tokio::test]
async fn a_delay_outlives_an_empty_directory() {
    let delay = Duration::from_secs(300);
    let quorum = MemoryQuorum::new();
    let of = |conn: MemoryConn| Lock::new(conn, "/app/lock").with_delay(delay);
    let guard = of(quorum.connect()).acquire().await.unwrap();
    quorum.expire(guard.session().id());
    // Servers look for empty containers once a minute.
    quorum.advance(Duration::from_secs(130));
    let next = of(quorum.connect());
    assert!(next.try_acquire().await.unwrap().is_none(), "no patience, and not yet free");
    let err = next.acquire_within(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_lost_guard_does_not_say_that_it_was_given_back() {
    let delay = Duration::from_secs(300);
    let quorum = MemoryQuorum::new();
    let conn = Arc::new(quorum.connect());
    let guard = Lock::new(conn.clone(), "/app/lock").with_delay(delay).acquire().await.unwrap();
    let path = guard.path().clone();
    conn.lose_connection();
    quorum.advance(guard.session().timeout() / 2 + Duration::from_millis(1));
    assert_eq!(guard.lost().await, Loss::Unproven);
    assert_eq!(guard.release().await, Released::WasLost);
    conn.join();
    let (there, gone) = quorum.connect().exists_watch(&path).await.unwrap();
    if there.is_some() {
        gone.await;
    }
    let next = Lock::new(quorum.connect(), "/app/lock").with_delay(delay);
    assert!(next.try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn an_own_node_of_which_too_few_mirrors_were_told_is_removed() {
    let quorum = MemoryQuorum::new();
    let mut done = false;
    let spy = Spy::meddling(quorum.connect(), move |request, _| {
        let makes = request.op.name() == "create" && request.path == "/lock/lock-";
        (makes && !std::mem::replace(&mut done, true))
            .then(|| request.error(ErrorKind::NotMirrored))
    });
    let conn = Arc::new(spy);
    conn.create("/lock", "", Mode::Persistent).await.unwrap();
    let err = Lock::new(conn.clone(), "/lock").acquire().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    // It is looked for, as it may stand.
    tokio::time::timeout(Duration::from_secs(20), async {
        while conn.count("sync") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
