//! Writes: who decides, what mirrors get, and what is told when they do not.

use super::*;

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

/// A create with an id, whose reply, or which itself, is lost while others write.
async fn told_exactly(mode: Mode, is_applied: bool) {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/d", "", Mode::Persistent).await.unwrap();
    let rival = set.another().conn;
    rival.create("/warm", "", Mode::Persistent).await.unwrap();
    let line = &set.lines[0];
    line.refuse();
    match is_applied {
        true => line.swallow_reply(OpKind::Multi),
        false => line.drop_request(OpKind::Multi),
    }
    let options = CreateOptions::from(mode).with_id("some-id");
    let create = set.conn.create("/d/some-id-", "x", options);
    let bitten = async {
        while line.bites().swallowed + line.bites().dropped == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the fault", bitten).await;
    // It moves the count of the first, and the directory.
    rival.create("/d/other", "", Mode::Persistent).await.unwrap();
    line.join();
    let (path, stat) = soon("the answer", create).await.unwrap();
    assert_eq!(set.quorums[0].connect().get(&path).await.unwrap().stat, stat);
    assert_eq!(set.quorums[0].connect().children("/d").await.unwrap().names.len(), 2);
    if !mode.is_ephemeral() {
        set.everywhere(path.as_str(), "x").await;
    }
}

#[tokio::test]
async fn a_create_with_an_id_is_told_exactly_while_others_write() {
    for mode in [Mode::Persistent, Mode::PersistentSequential, Mode::EphemeralSequential] {
        for is_applied in [true, false] {
            told_exactly(mode, is_applied).await;
        }
    }
}

#[tokio::test]
async fn a_node_as_large_as_a_set_takes_comes_to_mirrors_with_others() {
    let home = ZkPath::new(format!("/zkcells/{}", "a-cell".repeat(25))).unwrap();
    let set = Set::new(GlobalOptions::default().with_home(home)).await;
    // Fences that keep as much as they ever do.
    let nodes = (0..3000).map(|n| (format!("/warm/{n:04}"), ""));
    zkcells::tree::create_many(&*set.conn, nodes, Mode::Persistent).await.unwrap();
    let mut size = 1024 * 1024;
    loop {
        let data = vec![b'x'; size];
        let few = (0..7).fold(Multi::new().create("/large", data, Mode::Persistent), |few, n| {
            few.create(format!("/s{n}"), "", Mode::Persistent)
        });
        match set.conn.multi(few).await {
            Ok(_) => break,
            Err(err) => assert_eq!(err.kind(), ErrorKind::TooLarge, "{size}: {err}"),
        }
        size -= 128;
    }
    assert!(size > 1_040_000, "{size}");
    assert_eq!(set.diff().await, []);
}

/// Below it are the nodes of the set itself, so mirrors cannot be brought to it like to others.
#[tokio::test]
async fn what_a_sets_own_nodes_stand_on_is_not_written_through_it() {
    let set = Set::new(GlobalOptions::default()).await;
    let err = set.conn.set("/", "root", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ReadOnly);
    let acl = vec![Acl::world(Perms::READ | Perms::ADMIN | Perms::CREATE | Perms::WRITE)];
    let err = set.conn.set_acl("/", acl, Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ReadOnly);
    let multi = Multi::new().check("/", Version::Any).set("/", "root", Version::Any);
    assert_eq!(set.conn.multi(multi).await.unwrap_err().kind(), ErrorKind::ReadOnly);
    set.everywhere("/", "").await;
}
