//! What `GlobalConn` owes beyond the contract, on quorums in memory: who decides, what mirrors get, what
//! is told when they do not, and who is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::soon;
use tokio::sync::Notify;
use zkcells::repair::{self, Kind};
use zkcells::{
    Acl, Cells, Conn, ConnExt as _, CreateOptions, ErrorKind, GlobalConn, GlobalOptions,
    MemoryConn, MemoryQuorum, MetaConn, Mode, Multi, MultiOp, Op, Pending, Perms, Reads, Rejoin,
    Reply, Request, Require, Role, SessionOptions, Version, Within, ZkPath,
};

/// Three quorums, and the connections of one client to them.
struct Set {
    quorums: [MemoryQuorum; 3],
    lines: Vec<Arc<MemoryConn>>,
    conn: Arc<GlobalConn>,
}

impl Set {
    async fn new(options: GlobalOptions) -> Set {
        let set =
            Set::over([MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()], options);
        set.conn.init().await.unwrap();
        set
    }

    fn over(quorums: [MemoryQuorum; 3], options: GlobalOptions) -> Set {
        let lines: Vec<_> = quorums.iter().map(|quorum| Arc::new(quorum.connect())).collect();
        let conns = lines.iter().map(|line| line.clone() as Arc<dyn Conn>);
        let conn = Arc::new(GlobalConn::new(conns, options));
        Set { quorums, lines, conn }
    }

    /// Another client of the same quorums.
    fn another(&self) -> Set {
        Set::over(self.quorums.clone(), self.conn.options().clone())
    }

    /// What each of them holds at `path`.
    async fn data(&self, path: &str) -> [Option<String>; 3] {
        let mut found = [None, None, None];
        for (found, quorum) in found.iter_mut().zip(&self.quorums) {
            let node = quorum.connect().get(path).await.ok();
            *found = node.map(|node| String::from_utf8(node.data.to_vec()).unwrap());
        }
        found
    }

    async fn everywhere(&self, path: &str, data: &str) {
        let data = Some(data.to_string());
        assert_eq!(self.data(path).await, [data.clone(), data.clone(), data]);
    }

    async fn nowhere(&self, path: &str) {
        assert_eq!(self.data(path).await, [None, None, None]);
    }

    async fn diff(&self) -> Vec<(String, usize, Kind)> {
        let mut diff = repair::diff(&self.conn, "/").unwrap();
        let mut found = Vec::new();
        while let Some(one) = diff.next().await {
            let one = one.unwrap();
            found.push((one.path.to_string(), one.quorum, one.kind));
        }
        found
    }
}

/// So little time that a quorum which is away costs a test nothing.
fn briefly(conn: &Arc<GlobalConn>) -> Within<Arc<GlobalConn>> {
    Within::new(conn.clone(), Duration::from_millis(200))
}

/// Gives a quorum the identity of another, which it had not before.
async fn imitate(other: &MemoryQuorum, quorum: &MemoryQuorum) {
    const HOME: &str = "/zkcells/global";
    let name = async |conn: &MemoryConn| {
        let names = conn.children(HOME).await.unwrap().names;
        let name = names.into_iter().find(|name| name.starts_with("is-")).unwrap();
        format!("{HOME}/{name}")
    };
    let (other, quorum) = (other.connect(), quorum.connect());
    let data = other.get(HOME).await.unwrap().data;
    let multi = Multi::new()
        .set(HOME, data, Version::Any)
        .delete(name(&quorum).await, Version::Any)
        .create(name(&other).await, "", Mode::Persistent);
    quorum.multi(multi).await.unwrap();
}

fn has(data: &str) -> Option<String> {
    Some(data.to_string())
}

// --- writes -----------------------------------------------------------------------------------

#[tokio::test]
async fn every_kind_of_write_comes_to_all_quorums() {
    let set = Set::new(GlobalOptions::default()).await;
    let conn = &set.conn;
    let acl = vec![Acl::world(Perms::READ | Perms::WRITE | Perms::ADMIN)];
    let options = CreateOptions::from(Mode::Persistent).with_acl(acl.clone());
    conn.create("/a", "1", options).await.unwrap();
    set.everywhere("/a", "1").await;
    conn.set("/a", "2", Version::Exact(0)).await.unwrap();
    set.everywhere("/a", "2").await;
    conn.set_acl("/a", Acl::open(), Version::Exact(0)).await.unwrap();
    for quorum in &set.quorums {
        assert_eq!(quorum.connect().acl("/a").await.unwrap().0, Acl::open());
    }
    let (numbered, _) = conn.create("/a/n-", "x", Mode::PersistentSequential).await.unwrap();
    assert_eq!(numbered, "/a/n-0000000000");
    set.everywhere("/a/n-0000000000", "x").await;
    let all = Multi::new()
        .create("/b", "b", Mode::Persistent)
        .create("/b/c", "c", Mode::Persistent)
        .set("/a", "3", Version::Any)
        .delete(&numbered, Version::Any);
    conn.multi(all).await.unwrap();
    set.everywhere("/b/c", "c").await;
    set.everywhere("/a", "3").await;
    set.nowhere("/a/n-0000000000").await;
    conn.delete("/a", Version::Exact(2)).await.unwrap();
    set.nowhere("/a").await;
    assert_eq!(set.diff().await, []);
}

#[tokio::test]
async fn the_first_decides_whatever_mirrors_hold() {
    let set = Set::new(GlobalOptions::default()).await;
    let conn = &set.conn;
    // Leftovers on a mirror, and a directory that counts otherwise.
    let mirror = set.quorums[1].connect();
    for path in ["/a", "/a/extra", "/n", "/n/1", "/n/2"] {
        mirror.create(path, "old", Mode::Persistent).await.unwrap();
    }
    conn.create("/a", "new", Mode::Persistent).await.unwrap();
    set.everywhere("/a", "new").await;
    conn.create("/n", "", Mode::Persistent).await.unwrap();
    let (path, _) = conn.create("/n/", "", Mode::PersistentSequential).await.unwrap();
    assert_eq!(path, "/n/0000000000");
    set.everywhere("/n/0000000000", "").await;
    // What the first refuses changes nothing.
    let err = conn.set("/a", "x", Version::Exact(7)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadVersion);
    set.everywhere("/a", "new").await;
    // The mirror has a child there that the first has not.
    conn.delete("/a", Version::Any).await.unwrap();
    set.nowhere("/a").await;
}

#[tokio::test]
async fn what_a_mirror_lost_above_a_node_comes_along_with_it() {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/a", "/a/b", "/a/b/c"] {
        set.conn.create(path, path, Mode::Persistent).await.unwrap();
    }
    let mirror = set.quorums[2].connect();
    for path in ["/a/b/c", "/a/b", "/a"] {
        mirror.delete(path, Version::Any).await.unwrap();
    }
    set.conn.create("/a/b/c/d", "d", Mode::Persistent).await.unwrap();
    for path in ["/a", "/a/b", "/a/b/c"] {
        set.everywhere(path, path).await;
    }
    assert_eq!(set.diff().await, []);
}

#[tokio::test]
async fn ephemerals_are_the_firsts_alone() {
    let set = Set::new(GlobalOptions::default()).await;
    // The mirrors need not even be there for it.
    set.conn.create("/dir", "", Mode::Persistent).await.unwrap();
    set.lines[1].lose_connection();
    set.lines[2].lose_connection();
    let conn = briefly(&set.conn);
    let session = conn.session("/").await.unwrap();
    let (path, stat) = conn.create("/dir/e-", "1", Mode::EphemeralSequential).await.unwrap();
    assert!(session.owns(&stat));
    conn.set(&path, "2", Version::Any).await.unwrap();
    let hold = conn.hold(&path).await.unwrap();
    assert!(hold.is_valid());
    drop(hold);
    assert_eq!(set.data(path.as_str()).await, [has("2"), None, None]);
    conn.set_acl(&path, Acl::open(), Version::Any).await.unwrap();
    let steps = Multi::new()
        .create("/dir/e", "", Mode::Ephemeral)
        .delete(&path, Version::Any)
        .check("/dir", Version::Any);
    conn.multi(steps).await.unwrap();
    conn.delete("/dir/e", Version::Any).await.unwrap();
    assert_eq!(set.conn.owed(), 0);
    set.lines[1].join();
    set.lines[2].join();
    assert_eq!(set.diff().await, []);
}

#[tokio::test]
async fn a_node_that_may_only_be_written_is_mirrored_all_the_same() {
    let set = Set::new(GlobalOptions::default()).await;
    let bob = Acl::digest(Perms::ALL, "bob", "secret");
    let acl = vec![Acl::world(Perms::WRITE), bob];
    let options = CreateOptions::from(Mode::Persistent).with_acl(acl.clone());
    set.conn.create("/w", "1", options).await.unwrap();
    set.conn.set("/w", "2", Version::Any).await.unwrap();
    for quorum in &set.quorums {
        let bob = quorum.connect_as(&[("digest", "bob:secret")]);
        assert_eq!(bob.get("/w").await.unwrap().data, "2");
        assert_eq!(bob.acl("/w").await.unwrap().0, acl);
    }
}

#[tokio::test]
async fn while_the_first_is_away_nothing_is_written_anywhere() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.lines[0].lose_connection();
    let conn = briefly(&set.conn);
    for answer in [
        conn.set("/a", "2", Version::Any).await.map(drop),
        conn.create("/b", "", Mode::Persistent).await.map(drop),
        conn.delete("/a", Version::Any).await,
        conn.set_acl("/a", vec![Acl::world(Perms::READ)], Version::Any).await.map(drop),
        conn.multi(Multi::new().delete("/a", Version::Any)).await.map(drop),
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotSent);
    }
    // A client that comes now does not even get that far.
    let late = set.another();
    late.lines[0].lose_connection();
    let err = briefly(&late.conn).set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent);
    assert_eq!((set.conn.owed(), late.conn.owed()), (0, 0));
    set.lines[0].join();
    set.everywhere("/a", "1").await;
    set.nowhere("/b").await;
    assert_eq!(set.diff().await, []);
}

#[tokio::test]
async fn an_error_says_who_has_a_write_and_who_has_not() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.lines[2].lose_connection();
    let err = briefly(&set.conn).set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!((err.kind(), err.op(), err.path()), (ErrorKind::NotMirrored, "set", "/a"));
    let (first, mirror, away) = (&set.quorums[0], &set.quorums[1], &set.quorums[2]);
    let text = err.to_string();
    for part in [
        format!("stands on quorum 1, the first, {first} and quorum 2, a mirror, {mirror};"),
        format!("not on quorum 3, a mirror, {away}: "),
        "zk global repair".into(),
    ] {
        assert!(text.contains(&part), "{text}\nlacks: {part}");
    }
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
    // It is brought there as soon as it is back.
    assert_eq!(set.conn.owed(), 1);
    set.lines[2].join();
    soon("the mirror", set.conn.settled()).await;
    set.everywhere("/a", "2").await;
}

#[tokio::test]
async fn as_many_mirrors_as_are_required_confirm() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    soon("the other mirror", set.conn.settled()).await;
    set.lines[1].lose_connection();
    let conn = briefly(&set.conn);
    soon("a write", conn.set("/a", "2", Version::Any)).await.unwrap();
    set.lines[2].lose_connection();
    let err = conn.set("/a", "3", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert_eq!(set.data("/a").await, [has("3"), has("1"), has("2")]);
    // A client that comes now finds too few who say who they are.
    let late = set.another();
    late.lines[1].lose_connection();
    late.lines[2].lose_connection();
    let err = briefly(&late.conn).set("/a", "4", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent);
    set.lines[1].join();
    set.lines[2].join();
    soon("both mirrors", set.conn.settled()).await;
    set.everywhere("/a", "3").await;
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_cleared_up_on_the_mirrors() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let writes: [(&str, Op); 2] = [
        ("/a", Op::Set { data: "2".into(), version: Version::Any }),
        ("/n-", Op::Create { data: "3".into(), options: Mode::PersistentSequential.into() }),
    ];
    for (path, op) in writes {
        // The first has it, nobody is told, and the connection stays away.
        set.lines[0].refuse();
        set.lines[0].swallow_reply(zkcells::fault::OpKind::Multi);
        let request = Request::new(op, ZkPath::new(path).unwrap());
        let err = briefly(&set.conn).call(request).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
        assert!(set.conn.owed() > 0);
        set.lines[0].join();
        soon("the mirrors", set.conn.settled()).await;
    }
    set.everywhere("/a", "2").await;
    let names = set.conn.children("/").await.unwrap().names;
    let numbered = names.iter().find(|name| name.starts_with("n-")).unwrap();
    set.everywhere(&format!("/{numbered}"), "3").await;
    assert_eq!(set.lines[0].bites().swallowed, 2);
    assert_eq!(set.diff().await, []);
}

// --- racing writers ---------------------------------------------------------------------------

/// A connection that keeps the next write back until it is let go.
struct Held {
    inner: Arc<MemoryConn>,
    next: Mutex<Option<(Arc<Notify>, Arc<Notify>)>>,
}

impl Held {
    fn new(quorum: &MemoryQuorum) -> Arc<Held> {
        Arc::new(Held { inner: Arc::new(quorum.connect()), next: Mutex::default() })
    }

    /// Told when a write is there, and what lets it go.
    fn keep_back(&self) -> (Arc<Notify>, Arc<Notify>) {
        let both = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.next.lock().unwrap() = Some(both.clone());
        both
    }
}

impl Conn for Held {
    fn call(&self, request: Request) -> Pending<Reply> {
        let writes = matches!(&request.op, Op::Multi(ops)
            if ops.iter().any(|op| !matches!(op, MultiOp::Check { .. })));
        match self.next.lock().unwrap().take_if(|_| writes) {
            None => self.inner.call(request),
            Some((came, go)) => {
                let inner = self.inner.clone();
                came.notify_one();
                Pending::new(async move {
                    go.notified().await;
                    inner.call(request).await
                })
            }
        }
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A client whose way to the first mirror can be held up.
fn slow_client(set: &Set) -> (GlobalConn, Arc<Held>) {
    let held = Held::new(&set.quorums[1]);
    let conns: [Arc<dyn Conn>; 3] =
        [Arc::new(set.quorums[0].connect()), held.clone(), Arc::new(set.quorums[2].connect())];
    (GlobalConn::new(conns, set.conn.options().clone()), held)
}

#[tokio::test]
async fn a_write_that_comes_late_to_a_mirror_overwrites_nothing_newer() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/warm", "", Mode::Persistent).await.unwrap();
    let (slow, held) = slow_client(&set);
    slow.create("/a", "0", Mode::Persistent).await.unwrap();
    // Once with a look of its own at the first, once with what it saw along with the write.
    for round in 0..2 {
        let (came, go) = held.keep_back();
        let late = slow.set("/a", format!("late-{round}"), Version::Any);
        soon("the late write", came.notified()).await;
        set.conn.set("/a", format!("newer-{round}"), Version::Any).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.everywhere("/a", &format!("newer-{round}")).await;
    }
}

#[tokio::test]
async fn a_create_that_comes_late_to_a_mirror_brings_nothing_back() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    for _ in 0..2 {
        let (came, go) = held.keep_back();
        let late = slow.create("/a", "late", Mode::Persistent);
        soon("the late create", came.notified()).await;
        // Nothing has come to the mirror: there is nothing to delete, and yet it must not come.
        set.conn.delete("/a", Version::Any).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.nowhere("/a").await;
    }
}

#[tokio::test]
async fn a_delete_that_comes_late_to_a_mirror_takes_nothing_new() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    for _ in 0..2 {
        set.conn.create("/a", "old", Mode::Persistent).await.unwrap();
        let (came, go) = held.keep_back();
        let late = slow.delete("/a", Version::Any);
        soon("the late delete", came.notified()).await;
        // The new node has the versions of the old one.
        set.conn.create("/a", "new", Mode::Persistent).await.unwrap();
        set.quorums[1].connect().delete("/a", Version::Any).await.unwrap();
        set.quorums[1].connect().create("/a", "new", Mode::Persistent).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.everywhere("/a", "new").await;
        set.conn.delete("/a", Version::Any).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_comes_late_to_a_mirror_of_another_epoch_is_refused() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    slow.create("/a", "1", Mode::Persistent).await.unwrap();
    let (came, go) = held.keep_back();
    let late = slow.set("/a", "late", Version::Any);
    soon("the late write", came.notified()).await;
    set.conn.promote(2).await.unwrap();
    go.notify_one();
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::NotMirrored);
    assert_eq!(set.data("/a").await[1], has("1"));
}

#[tokio::test]
async fn writes_of_one_caller_end_in_their_order_on_all_quorums() {
    let set = Set::new(GlobalOptions::default()).await;
    let mut calls = vec![];
    drop(set.conn.create("/a", "", Mode::Persistent).await.unwrap());
    for n in 0..300 {
        calls.push(set.conn.set("/a", n.to_string(), Version::Exact(n)));
    }
    for call in calls {
        call.await.unwrap();
    }
    set.everywhere("/a", "299").await;
}

#[tokio::test]
async fn a_caller_who_leaves_leaves_no_mirror_behind() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // Sent, and not answered yet.
    set.lines[0].delay(Duration::from_secs(60));
    let call = set.conn.set("/a", "2", Version::Any);
    while set.data("/a").await[0] != has("2") {
        tokio::task::yield_now().await;
    }
    drop(call);
    set.lines[0].delay(Duration::ZERO);
    set.quorums[0].advance(Duration::from_secs(60));
    while set.data("/a").await[1] != has("2") {
        soon("the mirrors", set.conn.settled()).await;
        tokio::task::yield_now().await;
    }
    set.everywhere("/a", "2").await;
}

#[tokio::test]
async fn a_mirror_that_is_silent_costs_no_more_than_the_deadline() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.lines[1].delay(Duration::from_secs(3600));
    let start = std::time::Instant::now();
    let err = briefly(&set.conn).set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

// --- identity ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_set_that_was_never_made_takes_no_write() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let set = Set::over(quorums, GlobalOptions::default());
    let err = set.conn.create("/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.op(), err.path()), (ErrorKind::WrongQuorum, "create", "/a"));
    assert!(err.to_string().contains("zk global init"), "{err}");
    set.nowhere("/a").await;
    let made = set.conn.init().await.unwrap();
    assert_eq!((made.epoch, made.role), (1, Role::First));
    // Done again, it changes nothing.
    assert_eq!(set.conn.init().await.unwrap(), made);
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.everywhere("/a", "1").await;
    assert!(set.conn.status().await.iter().all(|quorum| quorum.wrong.is_none()));
}

#[tokio::test]
async fn two_who_make_a_set_at_once_make_one() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let set = Set::over(quorums, GlobalOptions::default());
    let others: Vec<Set> = (0..5).map(|_| set.another()).collect();
    let made = futures::future::join_all(others.iter().map(|other| other.conn.init())).await;
    let ids: std::collections::BTreeSet<String> =
        made.into_iter().map(|made| made.unwrap().set).collect();
    assert_eq!(ids.len(), 1);
    assert!(set.conn.status().await.iter().all(|quorum| quorum.wrong.is_none()));
}

#[tokio::test]
async fn a_first_that_lost_everything_wipes_nobody() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let [_, second, third] = set.quorums.clone();
    let empty = Set::over([MemoryQuorum::new(), second, third], GlobalOptions::default());
    for answer in [
        empty.conn.create("/b", "", Mode::Persistent).await.map(drop),
        empty.conn.delete("/a", Version::Any).await,
        empty.conn.init().await.map(drop),
        repair::repair(&empty.conn, "/").unwrap().next().await.unwrap().map(drop),
    ] {
        let err = answer.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("zk global promote"), "{err}");
    }
    assert_eq!(empty.data("/a").await, [None, has("1"), has("1")]);
    assert_eq!(empty.data("/b").await, [None, None, None]);
    // Not even the node of the set is there.
    assert!(empty.quorums[0].connect().exists("/zkcells").await.unwrap().is_none());
}

#[tokio::test]
async fn a_first_that_loses_its_identity_takes_nothing_from_then_on() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // As if it had come back empty between two calls of a session that is open all along.
    let first = set.quorums[0].connect();
    zkcells::tree::remove_all(&first, "/zkcells").await.unwrap();
    let err = set.conn.create("/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/a", "1").await;
    set.nowhere("/b").await;
}

#[tokio::test]
async fn a_mirror_of_another_set_is_not_touched() {
    let (set, other) =
        (Set::new(GlobalOptions::default()).await, Set::new(GlobalOptions::default()).await);
    let [first, second, _] = set.quorums.clone();
    let mixed = Set::over([first, second, other.quorums[1].clone()], GlobalOptions::default());
    let err = mixed.conn.create("/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert!(err.to_string().contains("belongs to another set"), "{err}");
    assert_eq!(mixed.conn.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    mixed.nowhere("/a").await;
    // Even if it comes in while writes go on.
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    imitate(&other.quorums[1], &set.quorums[2]).await;
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
    // The next one is not even begun.
    let err = set.conn.set("/a", "3", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
}

#[tokio::test]
async fn a_mirror_is_made_the_first_and_the_old_one_comes_back() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    // Quorum 1 is away, and has something that nobody else has.
    first.connect().create("/lost", "", Mode::Persistent).await.unwrap();
    let options = GlobalOptions::default().with_wait(Duration::from_millis(200));
    let ops = Set::over(set.quorums.clone(), options);
    ops.lines[0].lose_connection();
    let made = soon("another first", ops.conn.promote(2)).await.unwrap();
    assert_eq!((made.epoch, made.role), (2, Role::First));
    // Whoever has the old order is refused, before and after, with nothing written.
    for old in [&set, &set.another()] {
        let err = old.conn.set("/a", "2", Version::Any).await.unwrap_err();
        assert!(matches!(err.kind(), ErrorKind::WrongQuorum | ErrorKind::NotMirrored), "{err}");
        let err = old.conn.set("/a", "3", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("another was made the first"), "{err}");
    }
    // The new order: the old first is of an older epoch, and takes nothing before it is let in.
    let options = GlobalOptions::default().with_require(Require::AtLeast(1));
    let new = Set::over([second, third, first], options);
    new.conn.set("/a", "4", Version::Any).await.unwrap();
    let err = repair::repair(&new.conn, "/").unwrap().next().await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert_eq!(new.conn.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    new.conn.init_with(Rejoin::AsMirrors).await.unwrap();
    let mut repair = repair::repair(&new.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    new.everywhere("/a", "4").await;
    new.nowhere("/lost").await;
    assert_eq!(new.diff().await, []);
}

#[tokio::test]
async fn an_old_first_that_answers_is_stopped_before_there_is_another() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.another().conn.promote(3).await.unwrap();
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/a", "1").await;
    let status = set.conn.status().await;
    let roles: Vec<_> = status.iter().map(|one| one.identity.as_ref().unwrap().role).collect();
    assert_eq!(roles, [Role::Mirror, Role::Mirror, Role::First]);
    assert_eq!(set.conn.promote(4).await.unwrap_err().kind(), ErrorKind::BadArguments);
}

#[tokio::test]
async fn the_nodes_of_the_set_are_not_its_users() {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/zkcells/global", "/zkcells/global/fence-00", "/zkcells/global/x"] {
        let err = set.conn.create(path, "", Mode::Persistent).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ReadOnly, "{path}");
    }
    let err = set.conn.multi(Multi::new().delete("/zkcells/global/fence-00", Version::Any)).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::ReadOnly);
}

// --- reads ------------------------------------------------------------------------------------

#[tokio::test]
async fn comparing_reads_tell_in_what_quorums_differ() {
    let set = Set::new(GlobalOptions::default().with_reads(Reads::Compare)).await;
    let conn = &set.conn;
    conn.create("/a", "the same 1", Mode::Persistent).await.unwrap();
    conn.create("/a/b", "", Mode::Persistent).await.unwrap();
    conn.create("/a/e", "", Mode::Ephemeral).await.unwrap();
    // What agrees, ephemerals being the first's alone.
    assert_eq!(conn.get("/a").await.unwrap().data, "the same 1");
    assert_eq!(conn.children("/a").await.unwrap().names, ["b", "e"]);
    assert!(conn.exists("/a/e").await.unwrap().is_some());
    assert!(conn.exists("/none").await.unwrap().is_none());
    assert_eq!(conn.get("/none").await.unwrap_err().kind(), ErrorKind::NoNode);
    conn.acl("/a").await.unwrap();
    let (_, watch) = conn.get_watch("/a").await.unwrap();
    // What does not.
    let mirror = set.quorums[1].connect();
    mirror.set("/a", "the same 2", Version::Any).await.unwrap();
    mirror.delete("/a/b", Version::Any).await.unwrap();
    mirror.create("/a/x", "", Mode::Persistent).await.unwrap();
    mirror
        .set_acl(
            "/a",
            vec![Acl::world(Perms::ALL), Acl::digest(Perms::ALL, "u", "p")],
            Version::Any,
        )
        .await
        .unwrap();
    let told = |err: zkcells::Error, parts: &[&str]| {
        assert_eq!(err.kind(), ErrorKind::Diverged, "{err}");
        for part in parts {
            assert!(err.to_string().contains(part), "{err}\nlacks: {part}");
        }
    };
    told(conn.get("/a").await.unwrap_err(), &["byte 9", "\"1\"", "\"2\"", "quorum 2"]);
    told(conn.children("/a").await.unwrap_err(), &["only the first has the children b", "has x"]);
    told(conn.exists("/a/b").await.unwrap_err(), &["the first has a node"]);
    told(conn.acl("/a").await.unwrap_err(), &["digest:u:"]);
    let reads = [zkcells::Read::Exists(ZkPath::new("/a/x").unwrap())];
    told(conn.read_many(reads).await.unwrap_err(), &["quorum 2"]);
    // Who asks the first only is told nothing; a write mends what it writes.
    let plain = Set::over(set.quorums.clone(), GlobalOptions::default());
    assert_eq!(plain.conn.get("/a").await.unwrap().data, "the same 1");
    conn.set("/a", "3", Version::Any).await.unwrap();
    assert_eq!(conn.get("/a").await.unwrap().data, "3");
    watch.await;
    // A quorum that does not answer fails the read.
    set.lines[2].lose_connection();
    let err = briefly(conn).get("/a").await.unwrap_err();
    assert!(err.to_string().contains("quorum 3"), "{err}");
}

#[tokio::test]
async fn comparing_reads_do_not_mistake_a_write_on_its_way() {
    let set = Set::new(GlobalOptions::default().with_reads(Reads::Compare)).await;
    set.conn.create("/a", "0", Mode::Persistent).await.unwrap();
    let writer = set.another();
    let writes = async {
        for n in 0..300 {
            writer.conn.set("/a", n.to_string(), Version::Any).await.unwrap();
        }
    };
    let reads = async {
        for _ in 0..300 {
            set.conn.get("/a").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    soon("all of them", futures::future::join(writes, reads)).await;
}

// --- diff and repair --------------------------------------------------------------------------

/// Spoils a tree of some hundred nodes on both mirrors, in all ways.
async fn spoilt() -> Set {
    let set = Set::new(GlobalOptions::default()).await;
    let nodes = (0..300).map(|n| (format!("/t/{}/{n:03}", n % 7), n.to_string()));
    zkcells::tree::create_many(&*set.conn, nodes, Mode::Persistent).await.unwrap();
    set.conn.create("/t/e", "", Mode::Ephemeral).await.unwrap();
    let mirror = set.quorums[1].connect();
    zkcells::tree::remove_all(&mirror, "/t/3").await.unwrap();
    mirror.set("/t/4/004", "x", Version::Any).await.unwrap();
    mirror.set_acl("/t/4/011", vec![Acl::world(Perms::ALL); 1], Version::Any).await.unwrap();
    mirror
        .set_acl("/t/4/018", vec![Acl::world(Perms::READ | Perms::ADMIN)], Version::Any)
        .await
        .unwrap();
    let other = set.quorums[2].connect();
    zkcells::tree::create_all(&other, "/u/extra/deep", "", Mode::Persistent).await.unwrap();
    other.create("/t/5/extra", "", Mode::Persistent).await.unwrap();
    set
}

#[tokio::test]
async fn a_diff_tells_each_difference_and_writes_nothing() {
    let set = spoilt().await;
    let found = set.diff().await;
    let missing = found.iter().filter(|(path, quorum, kind)| {
        path.starts_with("/t/3") && *quorum == 2 && *kind == Kind::Missing
    });
    assert_eq!(missing.count(), 1 + 43);
    let rest: Vec<_> = found.iter().filter(|(path, ..)| !path.starts_with("/t/3")).collect();
    let expected = [
        ("/t/4/004", 2, Kind::Data),
        ("/t/4/018", 2, Kind::Acl),
        ("/t/5/extra", 3, Kind::Extra),
        ("/u", 3, Kind::Extra),
        ("/u/extra", 3, Kind::Extra),
        ("/u/extra/deep", 3, Kind::Extra),
    ];
    for (path, quorum, kind) in expected {
        assert!(rest.contains(&&(path.to_string(), quorum, kind)), "{path}: {rest:?}");
    }
    assert_eq!(rest.len(), expected.len(), "{rest:?}");
    assert_eq!(set.diff().await, found);
}

#[tokio::test]
async fn a_repair_mends_all_of_it_and_says_what() {
    let set = spoilt().await;
    let mut found = set.diff().await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let mut mended = Vec::new();
    while let Some(one) = repair.next().await {
        let one = one.unwrap();
        mended.push((one.path.to_string(), one.quorum, one.kind));
    }
    found.sort();
    mended.sort();
    assert_eq!(mended, found);
    assert_eq!(set.diff().await, []);
    assert!(repair.progress().compared > 300);
    assert_eq!(repair.progress().next, None);
    let of = |quorum: &MemoryQuorum| {
        let conn = quorum.connect();
        async move { conn.get("/t/3/003").await.unwrap().data }
    };
    assert_eq!(of(&set.quorums[1]).await, of(&set.quorums[0]).await);
}

#[tokio::test]
async fn a_repair_that_was_ended_goes_on_where_it_was() {
    let set = spoilt().await;
    let all = set.diff().await;
    let (mut told, mut from, mut legs) = (Vec::new(), None, 0);
    // Ended again and again before it is through.
    loop {
        let mut diff = repair::diff(&set.conn, "/").unwrap();
        if let Some(from) = from.take() {
            diff = diff.from(from);
        }
        legs += 1;
        let mut is_over = false;
        for _ in 0..legs * 10 {
            let Some(one) = diff.next().await else {
                is_over = true;
                break;
            };
            let one = one.unwrap();
            told.push((one.path.to_string(), one.quorum, one.kind));
        }
        if is_over {
            break;
        }
        from = diff.progress().next;
    }
    assert!(legs > 2);
    told.sort();
    told.dedup();
    let mut all = all;
    all.sort();
    assert_eq!(told, all);
}

#[tokio::test]
async fn nothing_is_deleted_when_the_first_cannot_be_listed() {
    let set = spoilt().await;
    set.conn
        .set_acl(
            "/t/6",
            vec![Acl::digest(Perms::ALL, "other", "x"), Acl::world(Perms::CREATE)],
            Version::Any,
        )
        .await
        .unwrap();
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let (mut failed, mut mended) = (Vec::new(), Vec::new());
    while let Some(one) = repair.next().await {
        match one {
            Ok(one) => mended.push(one.kind),
            Err(err) => failed.push(err.to_string()),
        }
    }
    assert!(!mended.contains(&Kind::Extra) && mended.contains(&Kind::Missing), "{mended:?}");
    assert!(failed.iter().any(|err| err.contains("could not be listed completely")), "{failed:?}");
    assert_eq!(set.data("/t/5/extra").await, [None, None, has("")]);
}

// --- as a cell --------------------------------------------------------------------------------

#[tokio::test]
async fn a_cell_that_is_a_list_is_such_a_tree() {
    let text = r#"{"global": ["memory:", "memory:", "memory:"], "nyc": "memory:",
                   "app": {"quorums": ["memory:", "memory:"], "root": "/app"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    let conn = MetaConn::new(cells);
    conn.create("/zk/global/a", "1", Mode::Persistent).await.unwrap();
    conn.create("/zk/app/a", "2", Mode::Persistent).await.unwrap();
    assert_eq!(conn.get("/zk/global/a").await.unwrap().data, "1");
    assert_eq!(conn.get("/zk/app/a").await.unwrap().data, "2");
    assert_eq!(conn.children("/zk").await.unwrap().names, ["app", "global", "nyc"]);
    let shown = conn.to_string();
    assert_eq!(shown.matches("global(memory(").count(), 2, "{shown}");
    let (_, watch) = conn.exists_watch("/zk/global/b").await.unwrap();
    zkcells::tree::create_all(&conn, "/zk/global/b/c", "", Mode::Persistent).await.unwrap();
    assert_eq!(soon("the watch", watch).await.path, "/zk/global/b");
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_session_timeout_of_the_cell_is_that_of_its_quorums() {
    let text = r#"{"nyc": {"quorums": ["memory:", "memory:"], "session_timeout": "7s"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    let session = MetaConn::new(cells).session("/zk/nyc").await.unwrap();
    assert_eq!(session.timeout(), Duration::from_secs(7));
    let _ = SessionOptions::default();
}
