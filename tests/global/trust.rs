//! What is known of a quorum ends with what it was: emptied, exchanged, let in again, restored.

use support::tapped::{Outcome, TappedSet};

use super::*;

#[tokio::test]
async fn who_has_not_looked_since_writes_to_no_first_that_became_a_mirror() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // It loses its data, another takes its place, and it comes in again: its new identity has the
    // versions of the old one.
    set.wipe(0).await;
    let ops = set.another();
    ops.conn.promote(2).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([second, first, third], GlobalOptions::default());
    new.conn.init().await.unwrap();
    for answer in [
        set.conn.create("/b", "", Mode::Persistent).await.map(drop),
        set.conn.create("/c", "", Mode::Ephemeral).await.map(drop),
        set.conn.set_acl("/a", Acl::open(), Version::Any).await.map(drop),
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::WrongQuorum);
    }
    set.nowhere("/b").await;
    set.nowhere("/c").await;
}

#[tokio::test]
async fn a_late_write_overwrites_nothing_newer_on_a_mirror_that_was_let_in_again() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = races::slow_client(&set);
    slow.create("/a", "0", Mode::Persistent).await.unwrap();
    let (came, go) = held.keep_back();
    let late = slow.set("/a", "late", Version::Any);
    soon("the late write", came.notified()).await;
    // The mirror begins anew, and its fence and its node get the versions that they had.
    set.wipe(1).await;
    set.conn.init().await.unwrap();
    set.conn.set("/a", "newer", Version::Any).await.unwrap();
    go.notify_one();
    late.await.unwrap();
    set.everywhere("/a", "newer").await;
}

/// A connection that can be taken elsewhere, as a reloaded configuration does.
#[derive(Debug)]
pub(super) struct Moving(pub(super) Mutex<Arc<MemoryConn>>);

impl Conn for Moving {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.0.lock().unwrap().call(request)
    }

    fn close(&self) -> Pending<()> {
        self.0.lock().unwrap().close()
    }
}

impl fmt::Display for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lock().unwrap().fmt(f)
    }
}

/// A client whose connections can be taken to other quorums.
pub(super) fn moving(set: &Set) -> (Arc<GlobalConn>, [Arc<Moving>; 3]) {
    let lines = set.quorums.each_ref().map(|quorum| {
        let conn = Arc::new(quorum.connect());
        Arc::new(Moving(Mutex::new(conn)))
    });
    let conns = lines.clone().map(|line| line as Arc<dyn Conn>);
    (Arc::new(GlobalConn::new(conns, set.conn.options().clone())), lines)
}

#[tokio::test]
async fn a_quorum_of_another_set_in_the_place_of_one_takes_no_write() {
    let set = Set::new(GlobalOptions::default()).await;
    let other = Set::new(GlobalOptions::default()).await;
    for set in [&set, &other] {
        set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    }
    let (conn, lines) = moving(&set);
    conn.set("/a", "2", Version::Any).await.unwrap();
    for (index, line) in lines.iter().enumerate() {
        let own = {
            let mut line = line.0.lock().unwrap();
            std::mem::replace(&mut *line, Arc::new(other.quorums[index].connect()))
        };
        let err = conn.set("/a", "3", Version::Any).await.unwrap_err();
        let expected = if index == 0 { ErrorKind::WrongQuorum } else { ErrorKind::NotMirrored };
        assert_eq!(err.kind(), expected, "{err}");
        let err = conn.set("/a", "4", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        other.everywhere("/a", "1").await;
        *line.0.lock().unwrap() = own;
        conn.set("/a", "5", Version::Any).await.unwrap();
        set.everywhere("/a", "5").await;
    }
}

/// A quorum with the nodes that another has now, each set as often as there.
pub(super) async fn copy(of: &MemoryQuorum) -> MemoryQuorum {
    let (from, quorum) = (of.connect(), MemoryQuorum::new());
    let to = quorum.connect();
    for path in zkcells::tree::walk(&from, "/").await.unwrap() {
        let is_own = path.as_str() == "/" || path.as_str().starts_with("/zookeeper");
        if is_own {
            continue;
        }
        let node = from.get(&path).await.unwrap();
        to.create(&path, &node.data, Mode::Persistent).await.unwrap();
        for _ in 0..node.stat.version {
            to.set(&path, &node.data, Version::Any).await.unwrap();
        }
    }
    quorum
}

#[tokio::test]
async fn a_first_that_was_restored_from_an_old_backup_is_not_believed() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let backup = copy(&set.quorums[0]).await;
    let (conn, lines) = moving(&set);
    conn.set("/a", "2", Version::Any).await.unwrap();
    conn.create("/b", "2", Mode::Persistent).await.unwrap();
    let [_, second, third] = set.quorums.clone();
    let restored = Set::over([backup.clone(), second, third], GlobalOptions::default());
    // Nothing is written, deleted or repaired by whoever comes now.
    let mut repair = repair::repair(&restored.conn, "/").unwrap();
    for answer in [
        restored.conn.set("/a", "3", Version::Any).await.map(drop),
        restored.conn.promote(1).await.map(drop),
        repair.next().await.unwrap().map(drop),
    ] {
        let err = answer.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("old backup"), "{err}");
    }
    assert_eq!(restored.data("/a").await, [has("1"), has("2"), has("2")]);
    assert!(restored.conn.status().await[0].wrong.is_some());
    // Nor by who was there all the time.
    *lines[0].0.lock().unwrap() = Arc::new(backup.connect());
    for _ in 0..2 {
        let err = conn.set("/a", "3", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    }
    assert_eq!(restored.data("/a").await, [has("1"), has("2"), has("2")]);
    // The operator decides which state is the right one.
    let word = Promotion::default().though_incomplete();
    restored.conn.promote_with(1, &word).await.unwrap();
    restored.conn.set("/a", "5", Version::Any).await.unwrap();
    restored.everywhere("/a", "5").await;
}

#[tokio::test]
async fn what_is_written_by_hand_beside_an_identity_makes_it_unusable() {
    let set = Set::new(GlobalOptions::default()).await;
    let first = set.quorums[0].connect();
    let node = first.get("/zkcells/global").await.unwrap();
    let other = String::from_utf8(node.data.to_vec()).unwrap().replace(":1,", ":7,");
    first.set("/zkcells/global", other, Version::Any).await.unwrap();
    let err = set.another().conn.create("/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert!(err.to_string().contains("bears its name"), "{err}");
}

#[tokio::test]
async fn who_was_idle_brings_nothing_of_a_restored_first_to_mirrors() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "0", Mode::Persistent).await.unwrap();
    let (idle, lines) = moving(&set);
    idle.create("/idle", "", Mode::Persistent).await.unwrap();
    let backup = copy(&set.quorums[0]).await;
    for n in 1..10 {
        set.conn.set("/a", n.to_string(), Version::Any).await.unwrap();
    }
    *lines[0].0.lock().unwrap() = Arc::new(backup.connect());
    // It counts more than when this one looked last.
    for _ in 0..2 {
        let err = idle.set("/a", "old", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("old backup"), "{err}");
    }
    let backup = backup.connect().get("/a").await.unwrap();
    assert_eq!(backup.data, "0");
    set.everywhere("/a", "9").await;
}

#[tokio::test]
async fn a_first_that_is_emptied_while_it_is_looked_at_takes_nothing_from_a_mirror() {
    let set = TappedSet::new(Duration::from_secs(1)).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.quorums[1].connect().set("/a", "2", Version::Any).await.unwrap();
    // It says who it is, and comes back empty before it says what it holds; its sessions are over then.
    let (full, empty) = (set.taps[0].line.clone(), Arc::new(MemoryQuorum::new().connect()));
    let mut is_empty = false;
    set.taps[0].hook(move |request| {
        let shown = ZkPath::new("/a").unwrap();
        let is_meant = |op: &Op| {
            matches!(op, Op::ReadMany(reads)
                if reads.iter().any(|read| read == &zkcells::Read::Exists(shown.clone())))
        };
        if is_empty {
            let mut request = request.clone();
            request.session = None;
            return Some(empty.call(request));
        }
        if !is_meant(&request.op) {
            return None;
        }
        is_empty = true;
        if request.session.is_some() {
            return Some(Pending::ready(Err(request.error(ErrorKind::SessionExpired))));
        }
        let (before, after) = (full.call(request.clone()), empty.call(request.clone()));
        let Op::ReadMany(reads) = request.op.clone() else { return None };
        Some(Pending::new(async move {
            let (Reply::Many(before), Reply::Many(after)) = (before.await?, after.await?) else {
                panic!("many answers");
            };
            let each = reads.iter().zip(before).zip(after);
            let found =
                each.map(
                    |((read, before), after)| {
                        if read.path().as_str().starts_with("/zkcells") { before } else { after }
                    },
                );
            Ok(Reply::Many(found.collect()))
        }))
    });
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let outcome = Outcome::of(&mut repair).await;
    assert!(!outcome.errors.is_empty(), "{outcome:?}");
    assert_eq!(set.quorums[1].connect().get("/a").await.unwrap().data, "2");
}
