//! What the read-write lock owes: the order, the faults, and those who share a path with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use support::altered::Altered;
use support::beds::{Bed, until_children};
use support::counted::Counted;
use support::forgetful::Forgetful;
use support::random::random;
use support::soon;
use tokio::sync::Notify;
use zkcells::fault::OpKind;
use zkcells::recipes::{Guard, LockMode, LockNames, Released, RwLock, contenders};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Conn, ConnExt as _, ErrorKind, LeaveWatch, Loss, MemoryConn, MemoryQuorum, Mode, Op, Pending,
    SessionOptions, Version, ZkConn, tree,
};

const MINUTE: Duration = Duration::from_secs(60);

on_each_bed![
    missing_parents_are_made_and_names_are_those_of_zksync,
    readers_do_not_block_each_other,
    a_writer_blocks_readers_until_it_releases,
    writers_go_in_the_order_of_arrival,
    readers_behind_a_waiting_writer_wait_for_it,
    whoever_closes_the_connection_lets_the_next_one_in,
    foreign_and_malformed_children_block_nobody,
    a_holder_whose_node_is_deleted_has_lost_it,
    a_waiter_whose_node_is_deleted_is_told,
    whoever_gives_up_leaves_no_node,
    one_object_may_be_asked_while_it_is_held,
    a_downgrade_keeps_number_token_and_place,
    names_of_all_systems_exclude_one_another,
];

/// A task that acquires, and says so when it has.
fn spawned<G: Send + 'static>(
    acquire: impl Future<Output = Result<G, zkcells::Error>> + Send + 'static,
) -> tokio::task::JoinHandle<Result<G, zkcells::Error>> {
    tokio::spawn(acquire)
}

async fn missing_parents_are_made_and_names_are_those_of_zksync(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("a/b/lock"));
    let lock = RwLock::new(conn.clone(), &dir);
    let reads = lock.read().await.unwrap();
    let id = reads.path().name().strip_prefix("_c_").unwrap();
    let (id, number) = id.split_once("-read-").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()) && number.len() == 10);
    reads.release().await;
    let writes = lock.write().await.unwrap();
    assert!(writes.path().name().contains("-write-0000000001"), "{}", writes.path());
    // A Go writer fails on any other child.
    assert_eq!(conn.children(&dir).await.unwrap().names.len(), 1);
}

async fn readers_do_not_block_each_other(b: Bed) {
    let dir = b.at("lock");
    let mut guards = Vec::new();
    for _ in 0..5 {
        let lock = RwLock::new(b.conn().await, &dir);
        guards.push(soon("a reader", lock.read()).await.unwrap());
    }
    assert!(guards.iter().all(Guard::is_valid));
    let line = contenders(&b.conn().await, &dir).await.unwrap();
    assert!(line.iter().all(|one| one.holds && one.mode == LockMode::Shared));
}

async fn a_writer_blocks_readers_until_it_releases(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let writes = RwLock::new(conn.clone(), &dir).write().await.unwrap();
    let lock = RwLock::new(b.conn().await, &dir);
    assert!(lock.try_read().await.unwrap().is_none());
    assert!(lock.try_write().await.unwrap().is_none());
    let waiting = {
        let lock = lock.clone();
        spawned(async move { lock.read().await })
    };
    until_children(&conn, &dir, |names| names.len() == 2).await;
    let err = lock.read_within(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Timeout, "read"));
    assert!(!waiting.is_finished());
    assert_eq!(writes.release().await, Released::Released);
    let reads = soon("the reader", waiting).await.unwrap().unwrap();
    assert!(reads.is_valid() && reads.token().mode() == LockMode::Shared);
}

async fn writers_go_in_the_order_of_arrival(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let first = RwLock::new(conn.clone(), &dir).write().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..5 {
        let (lock, order) = (RwLock::new(b.conn().await, &dir), order.clone());
        tasks.push(tokio::spawn(async move {
            let guard = lock.write().await.unwrap();
            order.lock().unwrap().push((n, guard.token().clone()));
            guard.release().await;
        }));
        until_children(&conn, &dir, |names| names.len() == n + 2).await;
    }
    first.release().await;
    soon("all writers", join_all(tasks)).await;
    let order = order.lock().unwrap();
    assert!(order.iter().map(|(n, _)| *n).eq(0..5), "{order:?}");
    assert!(order.is_sorted_by(|(_, a), (_, b)| a < b), "{order:?}");
}

async fn readers_behind_a_waiting_writer_wait_for_it(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let lock = RwLock::new(conn.clone(), &dir);
    let reads = lock.read().await.unwrap();
    let writer = RwLock::new(b.conn().await, &dir);
    let waiting = spawned(async move { writer.write().await });
    until_children(&conn, &dir, |names| names.len() == 2).await;
    assert!(lock.try_read().await.unwrap().is_none(), "a reader overtook a writer");
    reads.release().await;
    let writes = soon("the writer", waiting).await.unwrap().unwrap();
    assert!(writes.is_valid());
}

async fn whoever_closes_the_connection_lets_the_next_one_in(b: Bed) {
    let (holder, other, dir) = (b.conn().await, b.conn().await, b.at("lock"));
    let writes = RwLock::new(holder.clone(), &dir).write().await.unwrap();
    let lock = RwLock::new(other.clone(), &dir);
    let waiting = spawned(async move { lock.write().await });
    until_children(&other, &dir, |names| names.len() == 2).await;
    holder.close().await.unwrap();
    let next = soon("the next one", waiting).await.unwrap().unwrap();
    assert!(!writes.is_valid() && next.is_valid());
    assert!(writes.token() < next.token());
    assert_eq!(writes.release().await, Released::WasLost);
}

async fn foreign_and_malformed_children_block_nobody(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let long = format!("_c_{}-write-x", "0".repeat(32));
    let foreign = ["readme", "write-", "read-1", "_c_-write-0000000000", "_c_12", &long];
    for name in foreign {
        tree::create_all(&conn, format!("{dir}/{name}"), "", Mode::Persistent).await.unwrap();
    }
    let lock = RwLock::new(conn.clone(), &dir);
    for _ in 0..2 {
        let writes = soon("a writer", lock.write()).await.unwrap();
        assert!(lock.try_read().await.unwrap().is_none());
        writes.release().await;
        soon("a reader", lock.read()).await.unwrap().release().await;
    }
    assert_eq!(conn.children(&dir).await.unwrap().names.len(), foreign.len());
}

async fn a_holder_whose_node_is_deleted_has_lost_it(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let lock = RwLock::new(b.conn().await, &dir);
    let writes = lock.write().await.unwrap();
    conn.delete(writes.path(), Version::Any).await.unwrap();
    assert_eq!(soon("the loss", writes.lost()).await, Loss::Deleted);
    assert!(!writes.is_valid());
    let next = soon("the next one", lock.write()).await.unwrap();
    // Releasing, or stepping down, what is lost takes nothing from who has it now.
    let err = writes.downgrade().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked);
    assert!(next.is_valid());
    assert_eq!(next.release().await, Released::Released);
}

async fn a_waiter_whose_node_is_deleted_is_told(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let lock = RwLock::new(conn.clone(), &dir);
    let writes = lock.write().await.unwrap();
    let other = RwLock::new(b.conn().await, &dir);
    let waiting = spawned(async move { other.read().await });
    let names = until_children(&conn, &dir, |names| names.len() == 2).await;
    let own = names.iter().find(|name| name.contains("-read-")).unwrap();
    conn.delete(format!("{dir}/{own}"), Version::Any).await.unwrap();
    let err = soon("the waiter", waiting).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked);
    assert!(writes.is_valid());
}

async fn whoever_gives_up_leaves_no_node(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let holder = RwLock::new(conn.clone(), &dir).write().await.unwrap();
    let lock = RwLock::new(b.conn().await, &dir);
    assert!(lock.try_write().await.unwrap().is_none());
    assert_eq!(conn.children(&dir).await.unwrap().names.len(), 1, "a try left its node");
    let short = Duration::from_millis(50);
    assert_eq!(lock.write_within(short).await.unwrap_err().kind(), ErrorKind::Timeout);
    let err = lock.read_unless(tokio::time::sleep(short)).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::Cancelled, "read"));
    drop(tokio::time::timeout(short, lock.read()).await);
    until_children(&conn, &dir, |names| names.len() == 1).await;
    assert!(holder.is_valid());
}

/// The original forgot its first node, and waited for itself for ever.
async fn one_object_may_be_asked_while_it_is_held(b: Bed) {
    let (conn, path) = (b.conn().await, b.at("rw"));
    let lock = RwLock::new(conn.clone(), &path);
    let first = lock.write().await.unwrap();
    let err = lock.write_within(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
    assert!(first.is_valid());
    assert_eq!(first.release().await, Released::Released);
    let second = soon("the next turn", lock.write()).await.unwrap();
    assert_eq!(second.release().await, Released::Released);
    until_children(&conn, &path, <[String]>::is_empty).await;
}

async fn a_downgrade_keeps_number_token_and_place(b: Bed) {
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let writes = RwLock::new(conn.clone(), &dir).write().await.unwrap();
    let (first, node) = (writes.token().clone(), writes.path().clone());
    let (reader, writer) = (RwLock::new(b.conn().await, &dir), RwLock::new(b.conn().await, &dir));
    let reading = spawned(async move { reader.read().await });
    until_children(&conn, &dir, |names| names.len() == 2).await;
    let writing = spawned(async move { writer.write().await });
    let before = until_children(&conn, &dir, |names| names.len() == 3).await;
    let reads = writes.downgrade().await.unwrap();
    assert_eq!(reads.token().zxid(), first.zxid());
    assert_eq!(reads.token().mode(), LockMode::Shared);
    assert_eq!(number(reads.path().name()), number(node.name()));
    let other = soon("the reader behind it", reading).await.unwrap().unwrap();
    // A Go client finds what it knows: a reader with the old number, and nothing else.
    let after = conn.children(&dir).await.unwrap().names;
    assert_eq!(after.len(), before.len());
    assert!(go_may_read(&after, other.path().name()));
    let line = contenders(&conn, &dir).await.unwrap();
    assert_eq!((line[0].path.as_str(), &line[0].token), (reads.path().as_str(), reads.token()));
    assert!(line[0].holds && line[1].holds && !line[2].holds && !writing.is_finished());
    assert!(!go_may_write(&after, line[2].path.name()));
    // It is fenced as the writer was.
    reads.multi(zkcells::Multi::new().check(&dir, Version::Any)).await.unwrap();
    other.release().await;
    assert!(!writing.is_finished(), "a writer came in beside a downgraded reader");
    assert_eq!(reads.release().await, Released::Released);
    let next = soon("the writer", writing).await.unwrap().unwrap();
    assert!(next.is_valid() && *next.token() > first);
}

async fn names_of_all_systems_exclude_one_another(b: Bed) {
    let dir = b.at("lock");
    let systems = [LockNames::Zksync, LockNames::Curator, LockNames::Kazoo];
    for names in systems {
        let conn = b.conn().await;
        let writes = RwLock::new(conn.clone(), &dir).with_names(names).write().await.unwrap();
        for others in systems {
            let lock = RwLock::new(conn.clone(), &dir).with_names(others);
            assert!(lock.try_read().await.unwrap().is_none(), "{others:?} beside {names:?}");
        }
        let reads = writes.downgrade().await.unwrap();
        for others in systems {
            let lock = RwLock::new(conn.clone(), &dir).with_names(others);
            assert!(lock.try_write().await.unwrap().is_none(), "{others:?} beside {names:?}");
            lock.try_read().await.unwrap().unwrap().release().await;
        }
        let line = contenders(&conn, &dir).await.unwrap();
        assert_eq!((line[0].names, line[0].mode), (names, LockMode::Shared));
        reads.release().await;
    }
}

fn number(name: &str) -> &str {
    &name[name.len() - 10..]
}

/// What zksync reads from a name: what stands behind the last `read-`, else behind the last
/// `write-`; it fails on any other child.
fn go_number(name: &str) -> i32 {
    let (_, number) = name.rsplit_once("read-").or_else(|| name.rsplit_once("write-")).unwrap();
    number.parse().unwrap()
}

fn go_may_read(names: &[String], own: &str) -> bool {
    let writers = names.iter().filter(|name| name.contains("write-") && !name.contains("read-"));
    writers.map(|name| go_number(name)).all(|lowest| go_number(own) <= lowest)
}

fn go_may_write(names: &[String], own: &str) -> bool {
    names.iter().all(|name| go_number(own) <= go_number(name))
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_node() {
    for (swallowed, op) in [(true, OpKind::Create), (false, OpKind::Create)] {
        let conn = Arc::new(MemoryConn::new());
        conn.create("/lock", "", Mode::Persistent).await.unwrap();
        if swallowed {
            conn.swallow_reply(op)
        } else {
            conn.drop_request(op)
        }
        let writes = soon("a writer", RwLock::new(conn.clone(), "/lock").write()).await.unwrap();
        assert_eq!(conn.children("/lock").await.unwrap().names, [writes.path().name()]);
        assert_eq!(conn.bites().swallowed + conn.bites().dropped, 1);
    }
}

#[tokio::test]
async fn a_release_whose_reply_is_lost_is_a_release() {
    let conn = Arc::new(MemoryConn::new());
    let lock = RwLock::new(conn.clone(), "/lock");
    let writes = lock.write().await.unwrap();
    conn.swallow_reply(OpKind::Delete);
    assert_eq!(soon("the release", writes.release()).await, Released::Released);
    assert_eq!(conn.bites().swallowed, 1);
    assert!(lock.try_write().await.unwrap().is_some());
}

#[tokio::test]
async fn a_downgrade_whose_reply_is_lost_is_found_again() {
    for swallowed in [true, false] {
        let conn = Arc::new(MemoryConn::new());
        let lock = RwLock::new(conn.clone(), "/lock");
        let writes = lock.write().await.unwrap();
        let token = writes.token().clone();
        if swallowed {
            conn.swallow_reply(OpKind::Multi);
        } else {
            conn.drop_request(OpKind::Multi);
        }
        let reads = soon("the downgrade", writes.downgrade()).await.unwrap();
        assert_eq!(conn.bites().swallowed + conn.bites().dropped, 1);
        assert_eq!((reads.token().zxid(), reads.is_valid()), (token.zxid(), true));
        assert_eq!(conn.children("/lock").await.unwrap().names, [reads.path().name()]);
        assert!(lock.try_read().await.unwrap().is_some());
        assert!(lock.try_write().await.unwrap().is_none());
        assert_eq!(reads.release().await, Released::Released);
    }
}

/// Where nobody can tell whether it was done, both nodes are looked for.
#[tokio::test]
async fn a_downgrade_of_unknown_outcome_is_looked_up() {
    for carried_out in [true, false] {
        let inner = Arc::new(MemoryConn::new());
        let conn = Forgetful::of(inner.clone(), 1, carried_out);
        let lock = RwLock::new(conn.clone(), "/lock");
        let writes = lock.write().await.unwrap();
        let reads = soon("the downgrade", writes.downgrade()).await.unwrap();
        assert!(conn.is_done() && reads.is_valid());
        assert_eq!(inner.children("/lock").await.unwrap().names, [reads.path().name()]);
        assert_eq!(reads.release().await, Released::Released);
    }
}

/// Polls a downgrade so many times with answers that are late, and drops it.
#[tokio::test]
async fn a_downgrade_that_is_dropped_anywhere_leaves_no_node() {
    let late = Duration::from_secs(1);
    let mut ended = false;
    for polls in 0..20 {
        let quorum = MemoryQuorum::new();
        let options = SessionOptions::default().with_session_timeout(10 * MINUTE);
        let conn = Arc::new(quorum.connect_with(options));
        let writes = RwLock::new(conn.clone(), "/lock").write().await.unwrap();
        conn.delay(late);
        let mut downgrade = Box::pin(writes.downgrade());
        for _ in 0..polls {
            if let std::task::Poll::Ready(reads) = futures::poll!(&mut downgrade) {
                ended = reads.unwrap().is_valid();
                break;
            }
            quorum.advance(late);
        }
        drop(downgrade);
        conn.delay(Duration::ZERO);
        let other = Arc::new(quorum.connect());
        let gone = async {
            while !other.children("/lock").await.unwrap().names.is_empty() {
                quorum.advance(late);
                tokio::task::yield_now().await;
            }
        };
        soon("the end of the node", gone).await;
        if ended {
            return assert!(polls > 2, "answers were not late");
        }
    }
    panic!("the downgrade never ended");
}

#[tokio::test]
async fn an_end_of_the_session_ends_all_that_hangs_on_it() {
    let quorum = MemoryQuorum::new();
    let (holder, waiter) = (Arc::new(quorum.connect()), Arc::new(quorum.connect()));
    let writes = RwLock::new(holder.clone(), "/lock").write().await.unwrap();
    let lock = RwLock::new(waiter.clone(), "/lock");
    let waiting = spawned(async move { lock.read().await });
    until_children(&*holder, "/lock", |names| names.len() == 2).await;
    waiter.expire();
    let err = soon("the waiter", waiting).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::SessionExpired);
    holder.expire();
    assert_eq!(soon("the loss", writes.lost()).await, Loss::SessionEnded);
    let err = writes.downgrade().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::SessionExpired);
    let names = quorum.connect().children("/lock").await.unwrap().names;
    assert!(names.is_empty(), "{names:?}");
}

/// Whoever waits looks at the list now and then, and comes in a moment late.
#[tokio::test]
async fn a_waiter_whose_session_has_no_room_for_a_watch_comes_in() {
    let quorum = MemoryQuorum::new();
    let holder = Arc::new(quorum.connect());
    let crowded = Altered::of(Arc::new(quorum.connect()), |inner, request| match request.op {
        Op::Exists(LeaveWatch::Yes) => {
            Pending::ready(Err(request.error(ErrorKind::TooManyWatches)))
        }
        _ => inner.call(request),
    });
    let writes = RwLock::new(holder.clone(), "/lock").write().await.unwrap();
    let lock = RwLock::new(crowded, "/lock");
    let waiting = spawned(async move { lock.read().await });
    until_children(&*holder, "/lock", |names| names.len() == 2).await;
    writes.release().await;
    let reads = soon("the reader", waiting).await.unwrap().unwrap();
    assert!(reads.is_valid());
}

/// The holder's proxy goes away: the waiter gets the lock within three session timeouts, and the
/// holder knows before.
#[tokio::test]
async fn a_holder_who_is_cut_off_has_lost_before_the_next_one_holds() {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let (mine, other) =
        (FaultProxy::to(&addrs).await.unwrap(), FaultProxy::to(&addrs).await.unwrap());
    let timeout = Duration::from_secs(4);
    let connect = async |at: String| {
        let options = SessionOptions::default().with_session_timeout(timeout).with_label("nyc");
        Arc::new(ZkConn::connect(&at, options).await.unwrap())
    };
    let (holder, waiter) = (connect(mine.addr()).await, connect(other.addr()).await);
    let dir = format!("/{}/lock", fresh_root());
    let writes = RwLock::new(holder, &dir).write().await.unwrap();
    let lock = RwLock::new(waiter.clone(), &dir);
    let waiting = spawned(async move { lock.write().await });
    until_children(&*waiter, &dir, |names| names.len() == 2).await;
    mine.down();
    let cut = Instant::now();
    let lost = async { (writes.lost().await, Instant::now()) };
    let next = async { (waiting.await.unwrap().unwrap(), Instant::now()) };
    let ((loss, lost), (next, held)) =
        soon("the next one", futures::future::join(lost, next)).await;
    assert_eq!(loss, Loss::Unproven);
    assert!(lost <= held, "both held for {:?}", lost - held);
    assert!(held - cut < 3 * timeout && next.is_valid());
    assert!(writes.token() < next.token());
    assert!(mine.bites().cut == 1 && mine.bites().refused > 0, "{:?}", mine.bites());
}

/// zksync's drain of 20 writers took 414 packets: each release woke all who waited.
#[tokio::test]
async fn twenty_queued_writers_wake_one_another_one_by_one() {
    let (b, count) = (Bed::memory(), Arc::new(AtomicUsize::new(0)));
    let (conn, dir) = (b.conn().await, b.at("lock"));
    let first = RwLock::new(conn.clone(), &dir).write().await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..20 {
        let lock = RwLock::new(Counted::before(b.conn().await, &count), &dir);
        tasks.push(tokio::spawn(async move { lock.write().await.unwrap().release().await }));
        until_children(&conn, &dir, |names| names.len() == n + 2).await;
    }
    tokio::task::yield_now().await;
    let queued = count.swap(0, Ordering::SeqCst);
    first.release().await;
    let released = soon("all of them", join_all(tasks)).await;
    assert!(released.into_iter().all(|how| how.unwrap() == Released::Released));
    let drained = count.load(Ordering::SeqCst);
    println!("{queued} requests to queue 20 writers, {drained} to drain them");
    assert!(queued <= 20 * 6 && drained <= 20 * 5, "{queued} and {drained} requests");
}

/// Readers and writers at random, some of whom step down: at no moment is a writer with another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_writer_overlaps_anybody() {
    let b = Bed::quorum();
    let (dir, mut rng) = (b.at("lock"), random("readers and writers"));
    // Writers count as 100, readers as 1.
    let inside = Arc::new(AtomicI32::new(0));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (lock, inside) = (RwLock::new(b.conn().await, &dir), inside.clone());
        let mut rng = rng.fork();
        tasks.push(tokio::spawn(async move {
            let enter = |weight: i32| {
                let before = inside.fetch_add(weight, Ordering::SeqCst);
                let alone = if weight == 100 { before == 0 } else { before < 100 };
                assert!(alone, "{before} were inside when {weight} came");
            };
            for _ in 0..25 {
                let reads = match rng.u8(..3) {
                    0 => {
                        let reads = lock.read().await.unwrap();
                        enter(1);
                        reads
                    }
                    how => {
                        let writes = lock.write().await.unwrap();
                        enter(100);
                        tokio::task::yield_now().await;
                        if how == 1 {
                            inside.fetch_sub(100, Ordering::SeqCst);
                            writes.release().await;
                            continue;
                        }
                        // A reader from before the exchange on: others may read as soon as it is done.
                        inside.fetch_sub(99, Ordering::SeqCst);
                        writes.downgrade().await.unwrap()
                    }
                };
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                reads.release().await;
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(MINUTE, task).await.unwrap().unwrap();
    }
    assert_eq!(inside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nothing_is_renewed_for_a_writer_who_waits_behind_a_downgrade() {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(2));
    let holds = Arc::new(ZkConn::connect(&addrs, options.clone()).await.unwrap());
    let waits = Arc::new(ZkConn::connect(&addrs, options).await.unwrap());
    let session = waits.session("/").await.unwrap();
    let path = format!("/{}", fresh_root());
    let writes = RwLock::new(holds, &path).write().await.unwrap();
    let (watches, before) = (Arc::new(Notify::new()), writes.path().clone());
    let looks = Arc::new(AtomicUsize::new(0));
    let watching = Altered::of(waits.clone(), {
        let (watches, looks) = (watches.clone(), looks.clone());
        move |inner, request| {
            looks.fetch_add(matches!(request.op, Op::Children(_)).into(), Ordering::SeqCst);
            let answer = inner.call(request.clone());
            if matches!(request.op, Op::Exists(LeaveWatch::Yes)) && request.path == before {
                watches.notify_one();
            }
            answer
        }
    });
    let waiting = spawned(async move { RwLock::new(watching, path).write().await });
    // Alone behind the writer, it asks for a proof as soon as the writer's node goes.
    soon("its watch", watches.notified()).await;
    let reads = writes.downgrade().await.unwrap();
    let ends = async {
        while !session.valid_until().is_past() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of what proves its session", ends).await;
    assert!(!waiting.is_finished());
    // When it came, and when the writer's node went. With the next look a proof would go in any case.
    assert_eq!(looks.load(Ordering::SeqCst), 2, "its session was proved until it looked again");
    reads.release().await;
    soon("its turn", waiting).await.unwrap().unwrap().release().await;
}

#[tokio::test]
async fn who_waited_for_a_node_that_no_session_ends_is_told_so() {
    let conn = Arc::new(MemoryConn::new());
    conn.create("/lock", "", Mode::Persistent).await.unwrap();
    let left = "_c_0123456789abcdef0123456789abcdef-write-0000000000";
    conn.create(format!("/lock/{left}"), "", Mode::Persistent).await.unwrap();
    conn.create("/lock/n-", "", Mode::PersistentSequential).await.unwrap();
    let lock = RwLock::new(conn.clone(), "/lock");
    let err = lock.read_within(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    let why = err.detail().unwrap();
    assert!(why.contains(left) && why.contains("which no session ends"), "{err}");
    // Of others it is not said.
    conn.delete(format!("/lock/{left}"), Version::Any).await.unwrap();
    let _writes = lock.write().await.unwrap();
    let err = lock.read_within(Duration::from_millis(50)).await.unwrap_err();
    assert!(!err.detail().unwrap().contains("which no session ends"), "{err}");
}
