//! `copy`: data, what is there already, what is left out.

use super::*;
use crate::conn::MemoryConn;
use crate::node::{Acl, Mode, Perms};
use crate::request::Op;
use crate::spy::Spy;
use crate::tree::create_all;

async fn source() -> MemoryConn {
    let conn = MemoryConn::new();
    for (path, data) in [("/from", "top"), ("/from/a", "1"), ("/from/a/b", "2")] {
        conn.create(path, data, Mode::Persistent).await.unwrap();
    }
    conn.create("/from/a/me", "", Mode::Ephemeral).await.unwrap();
    conn
}

#[tokio::test]
async fn data_and_structure_are_copied_and_ephemerals_counted() {
    let conn = source().await;
    let options = CreateOptions::default().with_acl(vec![Acl::world(Perms::READ | Perms::CREATE)]);
    let done = copy(&conn, "/from", "/some/where/to", &options).await.unwrap();
    assert_eq!(done, Copied { created: 3, overwritten: 0, ephemerals: 1 });
    for (path, data) in [("", "top"), ("/a", "1"), ("/a/b", "2")] {
        assert_eq!(conn.get(format!("/some/where/to{path}")).await.unwrap().data, data);
    }
    assert_eq!(walk(&conn, "/some/where/to").await.unwrap().len(), 2);
    assert_eq!(conn.acl("/some/where/to/a").await.unwrap().0, options.acl);
}

#[tokio::test]
async fn what_is_there_gets_the_data_and_keeps_the_rest() {
    let conn = source().await;
    create_all(&conn, "/to/a/other", "", Mode::Persistent).await.unwrap();
    let closed = vec![Acl::world(Perms::ALL), Acl::digest(Perms::READ, "a", "b")];
    conn.set_acl("/to/a", closed.clone(), Version::Any).await.unwrap();
    let done = copy(&conn, "/from", "/to", Mode::Persistent).await.unwrap();
    assert_eq!(done, Copied { created: 1, overwritten: 2, ephemerals: 1 });
    assert_eq!(conn.get("/to/a").await.unwrap().data, "1");
    assert_eq!(conn.acl("/to/a").await.unwrap().0.len(), closed.len());
    assert!(conn.exists("/to/a/other").await.unwrap().is_some());
}

#[tokio::test]
async fn a_tree_cannot_be_copied_into_itself() {
    let conn = source().await;
    for to in ["/from", "/from/a/x"] {
        let err = copy(&conn, "/from", to, Mode::Persistent).await.unwrap_err();
        assert_eq!((err.kind(), err.path()), (ErrorKind::BadArguments, to));
    }
    copy(&conn, "/from", "/from-2", Mode::Persistent).await.unwrap();
    let err = copy(&conn, "/none", "/x", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.path(), err.op()), (ErrorKind::NoNode, "/none", "copy"));
    let err = copy(&conn, "/from", "/x", Mode::Ephemeral).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadArguments);
}

#[tokio::test]
async fn a_large_tree_goes_by_chunks() {
    let conn = MemoryConn::new();
    let nodes = (0..2000).map(|n| (format!("/from/{}/{n}", n % 5), format!("{n}")));
    crate::tree::create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let done = copy(&spy, "/from", "/to", Mode::Persistent).await.unwrap();
    assert_eq!((done.created, spy.count("get")), (2006, 2006));
    assert!(spy.take().len() < 40);
    assert_eq!(spy.get("/to/3/1998").await.unwrap().data, "1998");
    let again = copy(&spy, "/from", "/to", Mode::Persistent).await.unwrap();
    assert_eq!((again.created, again.overwritten), (0, 2006));
}

#[tokio::test]
async fn what_vanishes_meanwhile_is_left_out() {
    let spy = Spy::meddling(source().await, |request, other| {
        if let Op::ReadMany(reads) = &request.op
            && matches!(reads.first(), Some(Read::Get(_)))
        {
            drop(other.delete("/from/a/b", Version::Any));
        }
        None
    });
    let done = copy(&spy, "/from", "/to", Mode::Persistent).await.unwrap();
    assert_eq!(done.created, 2);
}

#[tokio::test]
async fn what_vanishes_from_the_destination_meanwhile_is_made_again() {
    let conn = source().await;
    create_all(&conn, "/to/a/b", "", Mode::Persistent).await.unwrap();
    let mut first = true;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Set { .. }) && std::mem::take(&mut first) {
            drop(other.delete("/to/a/b", Version::Any));
            drop(other.delete("/to/a", Version::Any));
        }
        None
    });
    copy(&spy, "/from", "/to", Mode::Persistent).await.unwrap();
    assert_eq!(spy.get("/to/a").await.unwrap().data, "1");
    assert!(spy.exists("/to/a/b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_subtree_goes_from_cell_to_cell_and_away_again() {
    let cells = crate::Cells::builder()
        .cell("ny", "memory:")
        .cell("nj", "memory:")
        .local_cell("ny")
        .build()
        .unwrap();
    let conn = crate::MetaConn::new(cells);
    let nodes = [("/zk/ny/app/a", "1"), ("/zk/ny/app/b", "2"), ("/zk/nj/x", "3")];
    crate::tree::create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    let done = copy(&conn, "/zk/local/app", "/zk/nj/new/app", Mode::Persistent).await.unwrap();
    assert_eq!(done, Copied { created: 3, overwritten: 0, ephemerals: 0 });
    let all = walk(&conn, "/zk").await.unwrap();
    let of_nj = ["/zk/nj", "/zk/nj/new", "/zk/nj/new/app", "/zk/nj/new/app/a", "/zk/nj/new/app/b"];
    assert_eq!(all[..5], of_nj);
    assert_eq!(crate::tree::remove_all(&conn, "/zk/nj/new").await.unwrap(), 4);
    let err = crate::tree::remove_all(&conn, "/zk").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ReadOnly);
}
