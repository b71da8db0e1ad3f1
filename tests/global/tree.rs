//! What a set holds: one tree, and never what belongs to sets themselves.

use super::*;

#[tokio::test]
async fn what_belongs_to_sets_is_written_by_no_user_and_mirrored_by_nobody() {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/zkcells/other", "/zkcells/global/x", "/zkcells"] {
        for answer in [
            set.conn.create(path, "", Mode::Persistent).await.map(drop),
            set.conn.set_acl(path, Acl::open(), Version::Any).await.map(drop),
            set.conn.multi(Multi::new().set(path, "x", Version::Any)).await.map(drop),
            set.conn.create(format!("{path}/n-"), "", Mode::EphemeralSequential).await.map(drop),
        ] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::ReadOnly, "{path}");
        }
    }
    // Another set on the first quorum alone.
    let first = set.quorums[0].connect();
    zkcells::tree::create_all(&first, "/zkcells/other/x", "1", Mode::Persistent).await.unwrap();
    assert_eq!(set.diff().await, []);
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    assert!(repair.next().await.is_none());
    assert_eq!(set.data("/zkcells/other/x").await, [has("1"), None, None]);
}

#[tokio::test]
async fn a_cell_with_the_whole_quorum_below_it_does_not_reach_what_belongs_to_sets() {
    let text = r#"{"app": {"quorums": ["memory:", "memory:"], "root": "/"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("app").build().unwrap();
    let conn = MetaConn::new(cells);
    conn.create("/zk/app/a", "1", Mode::Persistent).await.unwrap();
    for path in ["/zk/app/zkcells/app/x", "/zk/app/zkcells/x"] {
        let err = conn.create(path, "", Mode::Persistent).await.unwrap_err();
        assert_eq!((err.kind(), err.path()), (ErrorKind::ReadOnly, path));
        let err = conn.multi(Multi::new().create(path, "", Mode::Persistent)).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ReadOnly);
    }
}

/// A set that holds one cell's tree on quorums that hold others'.
async fn confined() -> Set {
    let options = GlobalOptions::default().with_top(ZkPath::new("/zk/a").unwrap());
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    for (number, quorum) in (1..).zip(&quorums) {
        let conn = quorum.connect();
        // Not the same everywhere, and on one of them not at all.
        if number < 3 {
            conn.create("/zk", number.to_string(), Mode::Persistent).await.unwrap();
            conn.create("/zk/b", number.to_string(), Mode::Persistent).await.unwrap();
        }
    }
    let set = Set::over(quorums, options);
    set.conn.init().await.unwrap();
    set
}

#[tokio::test]
async fn a_set_is_confined_to_its_tree() {
    let set = confined().await;
    let conn = &set.conn;
    let outside = [
        conn.get("/zk/b").await.map(drop),
        conn.children("/zk").await.map(drop),
        conn.exists("/zk/ab").await.map(drop),
        conn.set("/zk/b", "x", Version::Any).await.map(drop),
        conn.delete("/zk/b", Version::Any).await,
        conn.create("/other", "", Mode::Persistent).await.map(drop),
        conn.create("/zk", "", Mode::Ephemeral).await.map(drop),
        conn.multi(Multi::new().check("/zk/a", Version::Any).delete("/zk/b", Version::Any))
            .await
            .map(drop),
        conn.set_acl("/zk", Acl::open(), Version::Any).await.map(drop),
    ];
    for answer in outside {
        let err = answer.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BadPath, "{err}");
    }
    // Many reads are answered one by one.
    let reads = ["/zk/a", "/zk/b", "/zk/a/none", "/other"];
    let reads = reads.map(|path| zkcells::Read::Get(ZkPath::new(path).unwrap()));
    let answers = conn.read_many(reads.clone()).await.unwrap();
    let told: Vec<_> = answers.iter().map(|one| one.as_ref().unwrap_err()).collect();
    let kinds = told.iter().map(|err| (err.kind(), err.op(), err.path()));
    let expected = [
        (ErrorKind::NoNode, "get", "/zk/a"),
        (ErrorKind::BadPath, "get", "/zk/b"),
        (ErrorKind::NoNode, "get", "/zk/a/none"),
        (ErrorKind::BadPath, "get", "/other"),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    let none = conn.read_many(reads[1..2].to_vec()).await.unwrap();
    assert_eq!(none[0].as_ref().unwrap_err().kind(), ErrorKind::BadPath);
    // What its tree stands on is made where it is missing, and never compared.
    conn.create("/zk/a", "", Mode::Persistent).await.unwrap();
    conn.create("/zk/a/x", "1", Mode::Persistent).await.unwrap();
    set.everywhere("/zk/a/x", "1").await;
    assert_eq!(set.data("/zk").await, [has("1"), has("2"), has("")]);
    assert_eq!(set.diff().await, []);
    let mut repair = repair::repair(conn, "/").unwrap();
    assert!(repair.next().await.is_none());
    assert_eq!(set.data("/zk/b").await, [has("1"), has("2"), None]);
}

#[tokio::test]
async fn what_others_hold_on_its_quorums_is_not_its_business_when_it_begins() {
    let set = confined().await;
    let status = set.conn.status().await;
    assert!(status.iter().all(|one| one.identity.as_ref().unwrap().complete), "{status:?}");
}

#[tokio::test]
async fn a_set_in_a_configuration_holds_its_cell_and_no_other() {
    let text = r#"{"a": ["memory:", "memory:"], "b": ["memory:", "memory:"]}"#;
    let cells = Cells::builder().config_json(text).local_cell("a").build().unwrap();
    let conn = MetaConn::new(cells);
    zkcells::tree::create_all(&conn, "/zk/a/x/y", "1", Mode::Persistent).await.unwrap();
    assert_eq!(conn.get("/zk/a/x/y").await.unwrap().data, "1");
    assert_eq!(conn.get("/zk/b/x/y").await.unwrap_err().kind(), ErrorKind::NoNode);
    let both =
        Multi::new().set("/zk/a/x/y", "2", Version::Any).create("/zk/b", "", Mode::Persistent);
    assert!(conn.multi(both).await.is_err());
    assert_eq!(conn.get("/zk/a/x/y").await.unwrap().data, "1");
}
