//! `create_all` and `put`: requests, modes, rights, races.

use super::*;
use crate::conn::MemoryConn;
use crate::node::{Acl, Mode, Perms};
use crate::request::{MAX_REQUEST, Op};
use crate::spy::{Spy, refuse};

#[tokio::test]
async fn with_the_parent_there_it_is_one_request() {
    let spy = Spy::new(MemoryConn::new());
    create_all(&spy, "/a", "1", Mode::Persistent).await.unwrap();
    create_all(&spy, "/a/b", "2", Mode::Persistent).await.unwrap();
    assert_eq!(spy.take(), ["create /a", "create /a/b"]);
}

#[tokio::test]
async fn all_that_is_missing_is_made_by_one_atomic_write() {
    let conn = MemoryConn::new();
    conn.create("/a", "", Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let (path, stat) = create_all(&spy, "/a/b/c/d", "x", Mode::Persistent).await.unwrap();
    assert_eq!(spy.take(), ["create /a/b/c/d", "read_many(3) /a/b/c", "multi(3) /a/b"]);
    let node = spy.get("/a/b/c/d").await.unwrap();
    assert_eq!((path.as_str(), node.stat, &node.data[..]), ("/a/b/c/d", stat, &b"x"[..]));
    assert!(spy.get("/a/b").await.unwrap().data.is_empty());
}

/// The ancestor passed the leaf's flags on, so that the last create failed.
#[tokio::test]
async fn the_mode_of_the_leaf_does_not_leak_into_its_ancestors() {
    let ttl = std::time::Duration::from_secs(1);
    for (mode, expected) in [
        (Mode::Ephemeral, "/a/b/c"),
        (Mode::EphemeralSequential, "/a/b/c0000000000"),
        (Mode::PersistentSequential, "/a/b/c0000000000"),
        (Mode::Container, "/a/b/c"),
        (Mode::Ttl(ttl), "/a/b/c"),
        (Mode::TtlSequential(ttl), "/a/b/c0000000000"),
    ] {
        let conn = MemoryConn::new();
        let (path, stat) = create_all(&conn, "/a/b/c", "", mode).await.unwrap();
        assert_eq!((path.as_str(), stat.is_ephemeral()), (expected, mode.is_ephemeral()));
        for ancestor in ["/a", "/a/b"] {
            let stat = conn.exists(ancestor).await.unwrap().unwrap();
            assert_eq!(stat.ephemeral_owner, 0, "{mode:?}: {ancestor}");
        }
    }
}

#[tokio::test]
async fn a_number_alone_may_be_the_name() {
    let conn = MemoryConn::new();
    let (path, _) = create_all(&conn, "/a/q/", "", Mode::PersistentSequential).await.unwrap();
    assert_eq!(path, "/a/q/0000000000");
    let err = create_all(&conn, "/a/q/", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::BadPath, "create_all"));
}

#[tokio::test]
async fn ancestors_have_the_leafs_identities_and_a_directorys_rights() {
    let conn = MemoryConn::new();
    let leaf = vec![
        Acl::world(Perms::READ),
        Acl::digest(Perms::FILE, "alice", "secret"),
        Acl::digest(Perms::READ, "alice", "secret"),
    ];
    let options = CreateOptions::from(Mode::Ephemeral).with_acl(leaf.clone());
    create_all(&conn, "/a/b", "", options).await.unwrap();
    let alice = Acl::digest(Perms::DIRECTORY, "alice", "secret");
    let entries = |acl: Vec<Acl>| {
        acl.into_iter().map(|entry| (entry.perms, entry.scheme)).collect::<Vec<_>>()
    };
    let expected = entries(vec![Acl::world(Perms::DIRECTORY), alice]);
    assert_eq!(entries(conn.acl("/a").await.unwrap().0), expected);
    assert_eq!(entries(conn.acl("/a/b").await.unwrap().0), entries(leaf));
}

#[tokio::test]
async fn protected_ancestors_are_not_touched() {
    let conn = MemoryConn::new();
    let closed = CreateOptions::default().with_acl(vec![Acl::world(Perms::ADMIN)]);
    conn.create("/p", "", &closed).await.unwrap();
    conn.set_acl("/p", Acl::open(), Version::Any).await.unwrap();
    conn.create("/p/q", "", Mode::Persistent).await.unwrap();
    conn.set_acl("/p", closed.acl, Version::Any).await.unwrap();
    create_all(&conn, "/p/q/r/s", "", Mode::Persistent).await.unwrap();
    let err = create_all(&conn, "/p/x/y", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.to_string().split(':').next(), Some("create_all /p/x"), "{err}");
    assert_eq!(err.kind(), ErrorKind::NoAuth);
}

#[tokio::test]
async fn a_leaf_that_is_there_is_reported() {
    let conn = MemoryConn::new();
    create_all(&conn, "/a/b", "1", Mode::Persistent).await.unwrap();
    let err = create_all(&conn, "/a/b", "2", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.to_string(), "create_all /a/b: node exists");
    assert_eq!(conn.get("/a/b").await.unwrap().data, "1");
}

#[tokio::test]
async fn a_leaf_that_comes_meanwhile_is_reported_too() {
    let spy = Spy::meddling(MemoryConn::new(), |request, other| {
        if matches!(request.op, Op::Multi(_)) {
            drop(other.create("/a", "", Mode::Persistent));
            drop(other.create("/a/b", "", Mode::Persistent));
        }
        None
    });
    let err = create_all(&spy, "/a/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NodeExists, "/a/b"));
}

#[tokio::test]
async fn ancestors_that_come_or_go_meanwhile_are_looked_for_again() {
    let conn = MemoryConn::new();
    conn.create("/a", "", Mode::Persistent).await.unwrap();
    let mut turn = 0;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Multi(_)) {
            turn += 1;
            match turn {
                1 => drop(other.delete("/a", Version::Any)),
                2 => drop(other.create("/a", "theirs", Mode::Persistent)),
                _ => {}
            }
        }
        None
    });
    create_all(&spy, "/a/b/c", "", Mode::Persistent).await.unwrap();
    assert_eq!(spy.get("/a").await.unwrap().data, "theirs");
    assert!(spy.exists("/a/b/c").await.unwrap().is_some());
}

#[tokio::test]
async fn ancestors_that_keep_going_are_contended() {
    let conn = MemoryConn::new();
    let spy = Spy::meddling(conn, |request, other| {
        match request.op {
            Op::ReadMany(_) => drop(other.create("/a", "", Mode::Persistent)),
            Op::Multi(_) => drop(other.delete("/a", Version::Any)),
            _ => {}
        }
        None
    });
    let err = create_all(&spy, "/a/b/c", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Contended, "/a/b/c"), "{err}");
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_again() {
    let spy = Spy::meddling(MemoryConn::new(), |request, _| match request.op {
        Op::Multi(_) => refuse(request, ErrorKind::OutcomeUnknown),
        _ => None,
    });
    let err = create_all(&spy, "/a/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(spy.count("create"), 3);
}

#[tokio::test]
async fn a_path_and_data_too_long_for_one_request_still_go() {
    let conn = MemoryConn::new();
    let deep = format!("/{}", vec!["component"; 600].join("/"));
    create_all(&conn, &deep, "x", Mode::Persistent).await.unwrap();
    assert_eq!(conn.get(&deep).await.unwrap().data, "x");
    let big = vec![b'x'; MAX_REQUEST - 200];
    create_all(&conn, "/some/parents/of/big", &big, Mode::Persistent).await.unwrap();
    let err = create_all(&conn, "/other/huge", vec![0; MAX_REQUEST], Mode::Persistent);
    assert_eq!(err.await.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn put_sets_what_is_there_with_one_request() {
    let conn = MemoryConn::new();
    conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let stat = put(&spy, "/a", "2", Mode::Persistent).await.unwrap();
    assert_eq!((stat.version, spy.take()), (1, vec!["set /a".to_string()]));
}

/// The ancestor ignored both.
#[tokio::test]
async fn put_honours_mode_and_acl_of_a_new_node() {
    let conn = MemoryConn::new();
    let options = CreateOptions::from(Mode::Ephemeral).with_acl(vec![Acl::world(Perms::FILE)]);
    let stat = put(&conn, "/a/b", "1", &options).await.unwrap();
    assert!(stat.is_ephemeral());
    assert_eq!(conn.acl("/a/b").await.unwrap().0, options.acl);
    let err = put(&conn, "/a/s-", "", Mode::PersistentSequential).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::BadArguments, "put"));
}

#[tokio::test]
async fn put_survives_a_node_that_comes_meanwhile() {
    let mut first = true;
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if matches!(request.op, Op::Create { .. }) && std::mem::take(&mut first) {
            drop(other.create("/a", "theirs", Mode::Persistent));
        }
        None
    });
    let stat = put(&spy, "/a", "ours", Mode::Persistent).await.unwrap();
    assert_eq!((stat.version, spy.take().len()), (1, 3));
}

#[tokio::test]
async fn a_missing_mount_is_no_race() {
    let spy = Spy::meddling(MemoryConn::new(), |request, _| refuse(request, ErrorKind::NoNode));
    let err = create_all(&spy, "/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), spy.take().len()), (ErrorKind::NoNode, 1));
}

#[tokio::test]
async fn a_cell_that_was_never_used_gets_its_own_node() {
    let cells = crate::Cells::builder().cell("ny", "memory:").local_cell("ny").build().unwrap();
    let conn = crate::MetaConn::new(cells);
    create_all(&conn, "/zk/local/a/b", "", Mode::Ephemeral).await.unwrap();
    assert!(conn.exists("/zk/ny/a/b").await.unwrap().is_some());
    let err = create_all(&conn, "/zk/none/a/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::UnknownCell, "create_all"));
}
