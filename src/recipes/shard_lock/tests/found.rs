//! What others, copies and operators left in the tree.

use super::*;
use crate::request::Op;

#[tokio::test]
async fn what_the_path_holds_and_allows_stays() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let acl = vec![Acl::world(Perms::ALL), Acl::digest(Perms::READ, "a", "b")];
    let options = crate::node::CreateOptions::from(Mode::Persistent).with_acl(acl.clone());
    conn.create(BASE, "for us", &options).await.unwrap();
    for foreign in ["group-x", "group-7", "readme", "lock-0000000000"] {
        conn.create(format!("{BASE}/{foreign}"), "", Mode::Persistent).await.unwrap();
    }
    let created = conn.exists(BASE).await.unwrap().unwrap().czxid;
    for _ in 0..3 {
        assert_eq!(lock.acquire().await.unwrap().ack().await, Released::Released);
    }
    until(async || names(&conn, BASE).await.len() == 4).await;
    let base = conn.get(BASE).await.unwrap();
    assert_eq!((&base.data[..], base.stat.czxid), (&b"for us"[..], created));
    assert_eq!(conn.acl(BASE).await.unwrap().0, acl);
}

#[tokio::test]
async fn bad_group_data_is_an_error_that_names_the_node() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let shard = lock.acquire().await.unwrap();
    let group = shard.node().parent().unwrap();
    conn.set(&group, "0,1,2", Version::Any).await.unwrap();
    let (_other, second) = worker(&quorum);
    let err = second.acquire().await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, group.as_str()));
    assert!(err.to_string().contains("its data is text"), "{err}");
    let err = second.contenders().await.unwrap_err();
    assert_eq!(err.op(), "contenders");
}

#[tokio::test]
async fn a_group_that_was_left_behind_holds_up_nobody() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    // All members crashed behind a word; and two groups were made where one would do.
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    let group = "/sys/group-0000000000";
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-0000000000"), "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/ack-0000000001"), "", Mode::Persistent).await.unwrap();
    conn.delete(format!("{group}/node-0000000000"), Version::Any).await.unwrap();
    conn.set(group, [0; 4], Version::Any).await.unwrap();
    conn.create("/sys/group-0000000001", "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group-0000000002", "", Mode::Persistent).await.unwrap();
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().as_str(), "/sys/group-0000000001");
    assert_eq!(names(&conn, BASE).await, ["group-0000000001"]);
}

#[tokio::test]
async fn numbers_that_are_used_up_are_told() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group--2147483648", "", Mode::Persistent).await.unwrap();
    let err = lock.acquire().await.unwrap_err();
    assert_eq!(err.path(), "/sys/group--2147483648");
    assert!(err.to_string().contains("used up"), "{err}");
}

/// As many bytes as `numbers` take.
fn list(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A copy of a tree has the lists of its first and not its ephemeral nodes, and counts from 0.
#[tokio::test]
async fn a_list_that_came_by_a_copy_is_over() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    let group = "/sys/group-0000000007";
    conn.create(group, list(&[4, 5, 9]), Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/ack-0000000012"), "", Mode::Persistent).await.unwrap();
    assert!(lock.contenders().await.unwrap().is_empty());
    let shard = lock.acquire().await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 1));
    assert_eq!(names(&conn, BASE).await, [shard.node().parent().unwrap().name()]);
}

/// The number that the next group would get is that of one that cannot be removed.
#[tokio::test]
async fn a_number_that_is_taken_is_passed_over() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    let group = "/sys/group-0000000001";
    conn.create(group, list(&[0]), Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/readme"), "", Mode::Persistent).await.unwrap();
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().name(), "group-0000000002");
    shard.release().await;
    let shard = lock.acquire().await.unwrap();
    assert!(shard.is_valid());
}

/// No server numbered it, and it is where the server's next number leads.
#[tokio::test]
async fn a_member_s_number_that_is_taken_is_an_error_that_says_what_to_do() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-0000000001"), "x", Mode::Persistent).await.unwrap();
    let err = lock.acquire().await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NodeExists, group));
    assert!(err.to_string().contains("delete that"), "{err}");
    conn.delete(format!("{group}/node-0000000001"), Version::Any).await.unwrap();
    assert!(lock.acquire().await.unwrap().is_valid());
}

/// The original takes each of these for a member or for a group: it waits for them for good.
#[tokio::test]
async fn foreign_children_of_every_kind_are_nobody() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    let foreign = ["a-node-0000000000", "a-node-x", "bnode-0000000005", "node-7", "readme"];
    for name in foreign {
        conn.create(format!("{group}/{name}"), "", Mode::Persistent).await.unwrap();
    }
    for name in ["empty", "group-", "group-x", "xgroup-0000000000"] {
        conn.create(format!("{BASE}/{name}"), "", Mode::Persistent).await.unwrap();
    }
    conn.create("/sys/full", "7", Mode::Persistent).await.unwrap();
    let shard = lock.acquire().await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 1));
    assert_eq!(lock.contenders().await.unwrap().len(), 1);
    assert!(!shard.check().await.unwrap());
    // Behind the end of its own it is over, whatever else is in it.
    shard.release().await;
    let shard = lock.acquire().await.unwrap();
    assert_ne!(shard.node().parent().unwrap().as_str(), group);
    let mut left = names(&conn, group).await;
    left.sort();
    assert_eq!(left, foreign);
}

/// An original leader lists whoever has `node-` in its name: nobody works on that range, and nobody
/// waits for its end, but those of the list go round again.
#[tokio::test]
async fn a_foreign_child_that_an_original_listed_is_one_who_left() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    conn.create(format!("{group}/node-"), "", Mode::EphemeralSequential).await.unwrap();
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    conn.create(format!("{group}/x-node-0000000009"), "", Mode::Persistent).await.unwrap();
    conn.set(group, list(&[0, 1, 9]), Version::Any).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (1, 3), "all go by the list that is stored");
    assert!(shard.check().await.unwrap());
    shard.ack().await;
    conn.delete(format!("{group}/node-0000000000"), Version::Any).await.unwrap();
    assert_eq!(lock.acquire().await.unwrap().of(), 1, "nobody waits for it");
}

/// A protected node is somebody's, for the original as well; by its name it leads.
#[tokio::test]
async fn a_protected_member_is_a_member() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    let stem = format!("{group}/_c_0123-node-");
    let (other, _) = conn.create(stem, "", Mode::EphemeralSequential).await.unwrap();
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    assert!(tokio::time::timeout(4 * WAIT, &mut acquiring).await.is_err(), "the other one leads");
    let seen = conn.get(group).await.unwrap().stat.version;
    conn.set(group, list(&[0, 1]), Version::Exact(seen)).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (1, 2));
    let all = lock.contenders().await.unwrap();
    assert_eq!(all[0].path, other);
}

/// Numbers of groups mean nothing behind their end; those of members are stored.
#[tokio::test]
async fn behind_the_last_number_groups_begin_anew_and_members_do_not() {
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create("/sys/group-2147483647", "", Mode::Persistent).await.unwrap();
    let held = lock.acquire().await.unwrap();
    assert_eq!(held.node().parent().unwrap().name(), "group-2147483647");
    // The next number is taken, and there is none behind it.
    quorum.set_sequence(BASE, i32::MAX).unwrap();
    let (_other, second) = worker(&quorum);
    let mut next = Box::pin(second.acquire());
    assert!(next.as_mut().now_or_never().is_none(), "beside the holder");
    assert!(held.check().await.unwrap(), "somebody waits");
    held.ack().await;
    let shard = next.await.unwrap();
    assert_eq!(shard.node().parent().unwrap().name(), "group-0000000000");
    shard.release().await;
    // By now a server would give negative numbers.
    quorum.set_sequence(BASE, i32::MIN + 5).unwrap();
    let shard = lock.acquire().await.unwrap();
    assert_eq!(shard.node().parent().unwrap().name(), "group-0000000005");
    shard.release().await;
    // Of members.
    let quorum = MemoryQuorum::new();
    let (conn, lock) = worker(&quorum);
    let group = "/sys/group-0000000000";
    conn.create(BASE, "", Mode::Persistent).await.unwrap();
    conn.create(group, "", Mode::Persistent).await.unwrap();
    quorum.set_sequence(group, i32::MAX - 1).unwrap();
    let mut first = Box::pin(lock.acquire());
    assert!(first.as_mut().now_or_never().is_none());
    assert_eq!(names(&conn, group).await, ["node-2147483646"]);
    quorum.set_sequence(group, i32::MIN).unwrap();
    let err = second_of(&quorum).acquire().await.unwrap_err();
    assert!(err.to_string().contains("no number that can be listed"), "{err}");
    until(async || names(&conn, group).await.len() == 1).await;
    let shard = first.await.unwrap();
    assert_eq!((shard.index(), shard.of()), (0, 1));
    assert_eq!(conn.get(group).await.unwrap().data, list(&[2_147_483_646]));
}

/// Another worker.
fn second_of(quorum: &MemoryQuorum) -> ShardLock {
    worker(quorum).1
}

#[tokio::test]
async fn who_may_not_do_what_it_needs_is_told_where_and_leaves_nothing() {
    use crate::node::CreateOptions;
    for (perms, op) in [
        (Perms::READ | Perms::WRITE | Perms::DELETE | Perms::ADMIN, "create in the path"),
        (Perms::CREATE | Perms::WRITE | Perms::DELETE | Perms::ADMIN, "list the path"),
    ] {
        let quorum = MemoryQuorum::new();
        let (conn, lock) = worker(&quorum);
        let open = CreateOptions::from(Mode::Persistent).with_acl(vec![Acl::world(perms)]);
        conn.create(BASE, "", &open).await.unwrap();
        let err = lock.acquire().await.unwrap_err();
        assert_eq!((err.kind(), err.op()), (ErrorKind::NoAuth, "acquire"), "{op}: {err}");
        assert!(err.path().starts_with(BASE), "{op}: {err}");
        conn.set_acl(BASE, Acl::open(), Version::Any).await.unwrap();
        assert!(names(&conn, BASE).await.is_empty(), "{op}");
        assert!(lock.acquire().await.unwrap().is_valid(), "{op}");
    }
}

#[tokio::test]
async fn nobody_tries_to_delete_a_group_that_others_keep_something_in() {
    let spy = Arc::new(Spy::new(MemoryConn::new()));
    spy.create(BASE, "", Mode::Persistent).await.unwrap();
    spy.create("/sys/group-0000000000", [0; 4], Mode::Persistent).await.unwrap();
    spy.create("/sys/group-0000000000/readme", "", Mode::Persistent).await.unwrap();
    spy.take();
    let shard = ShardLock::new(spy.clone(), BASE).with_wait_time(WAIT).acquire().await.unwrap();
    let asked = spy.take();
    let multis = asked.iter().filter(|line| line.starts_with("multi")).count();
    assert!(shard.of() == 1 && multis == 2, "it joins and publishes: {asked:#?}");
}

/// Whoever leads would list it, and whoever follows wait for its end: neither ever comes.
#[tokio::test]
async fn a_member_of_no_session_is_told() {
    for number in [0, 7] {
        let quorum = MemoryQuorum::new();
        let (conn, lock) = worker(&quorum);
        let group = "/sys/group-0000000000";
        conn.create(BASE, "", Mode::Persistent).await.unwrap();
        conn.create(group, "", Mode::Persistent).await.unwrap();
        let copied = format!("{group}/node-{number:010}");
        conn.create(&copied, "{}", Mode::Persistent).await.unwrap();
        let (_other, second) = worker(&quorum);
        let both = async { tokio::join!(lock.acquire(), second.acquire()) };
        let (one, other) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        // Behind a leader who gives up, the next one leads.
        for told in [one, other] {
            let err = told.unwrap_err();
            assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, copied.as_str()));
            assert!(err.to_string().contains("delete it"), "{err}");
        }
        assert!(conn.get(group).await.unwrap().data.is_empty(), "it is listed");
        conn.delete(&copied, Version::Any).await.unwrap();
        assert_eq!(lock.acquire().await.unwrap().of(), 1);
    }
}

/// Who has gone since the leader looked is not listed: its range would be nobody's.
#[tokio::test]
async fn who_has_gone_before_the_list_is_stored_is_not_in_it() {
    let gone = "/sys/group-0000000000/node-0000000001";
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if matches!(&request.op, Op::ReadMany(_)) && request.path.as_str() == gone {
            other.delete(gone, Version::Any).now_or_never().unwrap().unwrap();
        }
        None
    });
    let conn = Arc::new(spy);
    let lock = ShardLock::new(conn.clone(), BASE).with_wait_time(WAIT);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(acquiring.as_mut().now_or_never().is_none());
    conn.create("/sys/group-0000000000/node-", "", Mode::EphemeralSequential).await.unwrap();
    let shard = acquiring.await.unwrap();
    assert!(conn.exists(gone).await.unwrap().is_none());
    assert_eq!((shard.of(), shard.check().await.unwrap()), (1, false));
}
