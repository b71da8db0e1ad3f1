//! Access lists: no multi can set them, and they may shut us out of a mirror.

use super::*;

/// Connects to three quorums, with a way to the first that can be held up.
fn held_first(set: &Set) -> (Arc<GlobalConn>, Arc<races::Held>) {
    let held = races::Held::of_lists(&set.quorums[0]);
    let conns: [Arc<dyn Conn>; 3] =
        [held.clone(), Arc::new(set.quorums[1].connect()), Arc::new(set.quorums[2].connect())];
    (Arc::new(GlobalConn::new(conns, set.conn.options().clone())), held)
}

fn read_only() -> Vec<Acl> {
    vec![Acl::world(Perms::READ | Perms::ADMIN)]
}

async fn lists(set: &Set, path: &str) -> Vec<Vec<Acl>> {
    let mut lists = Vec::new();
    for quorum in &set.quorums {
        lists.push(quorum.connect().acl(path).await.unwrap().0);
    }
    lists
}

#[tokio::test]
async fn a_first_that_was_demoted_takes_no_new_access_list() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.another().conn.promote(2).await.unwrap();
    let err = set.conn.set_acl("/a", read_only(), Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert_eq!(lists(&set, "/a").await, vec![Acl::open(); 3]);
}

#[tokio::test]
async fn a_list_that_meets_a_demotion_is_not_told_as_done() {
    let set = Set::new(GlobalOptions::default()).await;
    let (conn, held) = held_first(&set);
    conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let (came, go) = held.keep_back();
    let late = conn.set_acl("/a", read_only(), Version::Any);
    soon("the list", came.notified()).await;
    set.conn.promote(2).await.unwrap();
    go.notify_one();
    let err = late.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
    assert!(err.to_string().contains("its identity changed"), "{err}");
    // It is there, and nowhere else, and nobody was told otherwise.
    assert_eq!(lists(&set, "/a").await, [read_only(), Acl::open(), Acl::open()]);
}

#[tokio::test]
async fn calls_behind_a_new_access_list_wait_for_it() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let list = set.conn.set_acl("/a", read_only(), Version::Any);
    let write = set.conn.set("/a", "2", Version::Any);
    let list_again = set.conn.set_acl("/a", Acl::open(), Version::Any);
    let write_again = set.conn.set("/a", "3", Version::Any);
    let read = set.conn.get("/a");
    list.await.unwrap();
    assert_eq!(write.await.unwrap_err().kind(), ErrorKind::NoAuth);
    list_again.await.unwrap();
    write_again.await.unwrap();
    assert_eq!(read.await.unwrap().data, "3");
    set.everywhere("/a", "3").await;
}

#[tokio::test]
async fn a_list_of_a_session_that_is_over_is_not_sent() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let session = set.conn.session("/").await.unwrap();
    let bound = BoundConn::new(set.conn.clone(), &session);
    set.quorums[0].expire(session.id());
    let err = bound.set_acl("/a", read_only(), Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::SessionExpired, "{err}");
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    assert_eq!(lists(&set, "/a").await, vec![Acl::open(); 3]);
}

/// What a mirror misses, with lists that shut us out, comes there all the same.
async fn caught_up(before: &[(&str, Op)], missed: &[(&str, Op)]) {
    let set = Set::new(GlobalOptions::default()).await;
    let request = |path: &str, op: &Op| Request::new(op.clone(), ZkPath::new(path).unwrap());
    for (path, op) in before {
        set.conn.call(request(path, op)).await.unwrap();
    }
    set.lines[1].lose_connection();
    let conn = briefly(&set.conn);
    for (path, op) in missed {
        let err = conn.call(request(path, op)).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotMirrored, "{path}: {err}");
    }
    set.lines[1].join();
    soon("the mirror", set.conn.settled()).await;
    assert_eq!(set.diff().await, []);
}

fn set(data: &'static str) -> Op {
    Op::Set { data: data.into(), version: Version::Any }
}

fn list(acl: Vec<Acl>) -> Op {
    Op::SetAcl { acl, version: Version::Any }
}

fn create(data: &'static str) -> Op {
    Op::Create { data: data.into(), options: Mode::Persistent.into() }
}

#[tokio::test]
async fn data_comes_to_a_mirror_before_a_list_that_forbids_it() {
    caught_up(&[("/a", create("1"))], &[("/a", set("2")), ("/a", list(read_only()))]).await;
}

#[tokio::test]
async fn data_comes_to_a_mirror_behind_a_list_that_allows_it() {
    let before = [("/a", create("1")), ("/a", list(read_only()))];
    caught_up(&before, &[("/a", list(Acl::open())), ("/a", set("2"))]).await;
}

#[tokio::test]
async fn data_comes_to_a_mirror_whose_list_forbids_it_before_and_after() {
    let before = [("/a", create("1")), ("/a", list(read_only()))];
    let missed = [("/a", list(Acl::open())), ("/a", set("2")), ("/a", list(read_only()))];
    caught_up(&before, &missed).await;
}

#[tokio::test]
async fn children_come_and_go_where_the_list_of_their_parent_forbids_it() {
    let before = [("/p", create("")), ("/p/old", create(""))];
    let missed = [
        ("/p/new", create("1")),
        ("/p/old", Op::Delete { version: Version::Any }),
        ("/p", list(read_only())),
    ];
    caught_up(&before, &missed).await;
}

#[tokio::test]
async fn a_repair_mends_below_lists_that_forbid_it() {
    let set = Set::new(GlobalOptions::default()).await;
    for (path, data) in [("/p", "1"), ("/p/a", "2"), ("/p/b", "3")] {
        set.conn.create(path, data, Mode::Persistent).await.unwrap();
    }
    let mirror = set.quorums[1].connect();
    mirror.delete("/p/a", Version::Any).await.unwrap();
    mirror.create("/p/x", "", Mode::Persistent).await.unwrap();
    mirror.set("/p/b", "9", Version::Any).await.unwrap();
    mirror.set("/p", "9", Version::Any).await.unwrap();
    for path in ["/p/b", "/p"] {
        set.conn.set_acl(path, read_only(), Version::Any).await.unwrap();
        mirror.set_acl(path, read_only(), Version::Any).await.unwrap();
    }
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    assert_eq!(set.diff().await, []);
    assert_eq!(lists(&set, "/p").await, vec![read_only(); 3]);
    // Where nobody of us may change the list, nothing is to be done, and it is said.
    let theirs = vec![Acl::world(Perms::READ), Acl::digest(Perms::ALL, "other", "x")];
    mirror.set_acl("/p/b", theirs, Version::Any).await.unwrap();
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let err = soon("the repair", repair.next()).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoAuth, "{err}");
}
