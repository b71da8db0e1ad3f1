//! Reads that compare all quorums.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::tapped::TappedSet;

use super::*;

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

#[tokio::test]
async fn reads_that_differ_are_looked_at_again_together() {
    let plain = TappedSet::new(Duration::from_secs(10)).await;
    let nodes = (0..300).map(|n| (format!("/t/{n:03}"), "1".to_string()));
    zkcells::tree::create_many(&*plain.conn, nodes, Mode::Persistent).await.unwrap();
    let mirror = plain.quorums[1].connect();
    for n in 0..300 {
        mirror.set(format!("/t/{n:03}"), "2", Version::Any).await.unwrap();
    }
    let options = GlobalOptions::default().with_reads(Reads::Compare);
    let set = TappedSet::with(plain.quorums.clone(), options);
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = syncs.clone();
    set.taps[1].hook(move |request| {
        counted.fetch_add(usize::from(matches!(request.op, Op::Sync)), Ordering::SeqCst);
        None
    });
    let reads = (0..300).map(|n| zkcells::Read::Get(ZkPath::new(format!("/t/{n:03}")).unwrap()));
    let err = soon("an answer", set.conn.read_many(reads)).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Diverged, "/t/000"), "{err}");
    // As often as for one of them.
    let before = syncs.load(Ordering::SeqCst);
    soon("an answer", set.conn.get("/t/000")).await.unwrap_err();
    assert_eq!(syncs.load(Ordering::SeqCst), 2 * before);
}

#[tokio::test]
async fn a_list_in_which_an_entry_stands_twice_grants_what_it_grants_once() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let lines = quorums.each_ref().map(|quorum| quorum.connect_as(&[("digest", "bob:secret")]));
    let conns = lines.map(|line| Arc::new(line) as Arc<dyn Conn>);
    let options = GlobalOptions::default().with_reads(Reads::Compare);
    let conn = Arc::new(GlobalConn::new(conns, options));
    conn.init().await.unwrap();
    // Servers drop doubles before they see who that is.
    let acl = vec![Acl::creator(Perms::ALL), Acl::digest(Perms::ALL, "bob", "secret")];
    let options = CreateOptions::from(Mode::Persistent).with_acl(acl);
    conn.create("/a", "1", options).await.unwrap();
    let mut entries = Vec::new();
    for quorum in &quorums {
        let bob = quorum.connect_as(&[("digest", "bob:secret")]);
        entries.push(bob.acl("/a").await.unwrap().0.len());
    }
    assert_eq!(entries, [2, 1, 1]);
    conn.acl("/a").await.unwrap();
    assert!(repair::diff(&conn, "/").unwrap().next().await.is_none());
    conn.set("/a", "2", Version::Any).await.unwrap();
}
