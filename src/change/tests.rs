//! gozk's scenarios, and what the ancestor had wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::conn::{ConnExt, MemoryConn};
use crate::node::{Acl, Mode, Perms};
use crate::spy::Spy;

type Never = Result<Option<&'static str>, Error>;

fn file() -> CreateOptions {
    CreateOptions::from(Mode::Ephemeral).with_acl(vec![Acl::world(Perms::FILE)])
}

#[tokio::test]
async fn an_absent_node_is_none_and_is_created_with_the_options() {
    let conn = MemoryConn::new();
    let change = retry_change(&conn, "/n", file(), |old| {
        // The ancestor's callback got a stat that was not nil.
        assert_eq!(old, None);
        Ok::<_, Error>(Some("new"))
    })
    .await
    .unwrap();
    let Change::Created(node) = change else { panic!("{change:?}") };
    assert_eq!(node, conn.get("/n").await.unwrap());
    assert!(node.stat.is_ephemeral());
    assert_eq!(conn.acl("/n").await.unwrap().0, file().acl);
}

#[tokio::test]
async fn a_node_that_is_there_is_set_and_keeps_its_acl() {
    let conn = MemoryConn::new();
    conn.create("/n", "old", Mode::Persistent).await.unwrap();
    let change = retry_change(&conn, "/n", file(), |old| {
        let old = old.unwrap();
        assert_eq!((&old.data[..], old.stat.version), (&b"old"[..], 0));
        Ok::<_, Error>(Some("new"))
    })
    .await
    .unwrap();
    assert!(change.is_written());
    let Change::Set(node) = change else { panic!("{change:?}") };
    assert_eq!((node.data.as_ref(), node.stat.version), (&b"new"[..], 1));
    assert_eq!(conn.acl("/n").await.unwrap().0, Acl::open());
}

#[tokio::test]
async fn an_unchanged_value_writes_nothing() {
    let conn = MemoryConn::new();
    conn.create("/n", "old", Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    let change = retry_change(&spy, "/n", file(), |_| Ok::<_, Error>(Some("old"))).await.unwrap();
    assert!(!change.is_written());
    assert_eq!(change.into_node().unwrap().stat.version, 0);
    assert_eq!(spy.take(), ["get /n"]);
}

#[tokio::test]
async fn none_leaves_all_as_it_is() {
    let spy = Spy::new(MemoryConn::new());
    let change = retry_change(&spy, "/n", file(), |_| -> Never { Ok(None) }).await.unwrap();
    assert_eq!(change, Change::Unchanged(None));
    assert_eq!(spy.take(), ["get /n"]);
}

#[tokio::test]
async fn a_conflict_on_create_computes_again() {
    let mut first = true;
    let spy = Spy::meddling(MemoryConn::new(), move |request, other| {
        if matches!(request.op, Op::Create { .. }) && std::mem::take(&mut first) {
            drop(other.create("/n", "theirs", Mode::Persistent));
        }
        None
    });
    let change = retry_change(&spy, "/n", file(), |old| {
        let theirs = old.map_or(0, |node| node.data.len());
        Ok::<_, Error>(Some(format!("after {theirs}")))
    })
    .await
    .unwrap();
    assert_eq!(change.into_node().unwrap().data, "after 6");
    assert_eq!(spy.take(), ["get /n", "create /n", "get /n", "set /n"]);
}

#[tokio::test]
async fn a_conflict_on_set_due_to_a_change_computes_again() {
    let conn = MemoryConn::new();
    conn.create("/n", "old", Mode::Persistent).await.unwrap();
    let mut first = true;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Set { .. }) && std::mem::take(&mut first) {
            drop(other.set("/n", "theirs", Version::Any));
        }
        None
    });
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let change = retry_change(&spy, "/n", file(), move |old| {
        log.lock().unwrap().push(old.unwrap().data.clone());
        Ok::<_, Error>(Some("ours"))
    })
    .await
    .unwrap();
    assert_eq!(change.into_node().unwrap().stat.version, 2);
    assert_eq!(*seen.lock().unwrap(), ["old", "theirs"]);
}

#[tokio::test]
async fn a_conflict_on_set_due_to_a_delete_creates_with_the_options() {
    let conn = MemoryConn::new();
    conn.create("/n", "old", Mode::Persistent).await.unwrap();
    let mut first = true;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Set { .. }) && std::mem::take(&mut first) {
            drop(other.delete("/n", Version::Any));
        }
        None
    });
    let change = retry_change(&spy, "/n", file(), |old| {
        Ok::<_, Error>(Some(if old.is_some() { "first" } else { "second" }))
    })
    .await
    .unwrap();
    let Change::Created(node) = change else { panic!("{change:?}") };
    assert_eq!(node.data, "second");
    assert_eq!(spy.acl("/n").await.unwrap().0, file().acl);
}

#[derive(Debug, PartialEq)]
enum Mine {
    Refused,
    Conn(ErrorKind),
}

impl From<Error> for Mine {
    fn from(err: Error) -> Self {
        Mine::Conn(err.kind())
    }
}

#[tokio::test]
async fn an_error_of_the_callback_comes_back_as_it_is_and_nothing_is_written() {
    let spy = Spy::new(MemoryConn::new());
    let refused = retry_change(&spy, "/n", file(), |_| Err::<Option<String>, _>(Mine::Refused));
    assert_eq!(refused.await, Err(Mine::Refused));
    assert_eq!(spy.take(), ["get /n"]);
    spy.close().await.unwrap();
    let closed = retry_change(&spy, "/n", file(), |_| Ok::<Option<String>, Mine>(None));
    assert_eq!(closed.await, Err(Mine::Conn(ErrorKind::Closed)));
}

async fn with_rights(perms: Perms) -> (MemoryConn, Arc<AtomicUsize>) {
    let conn = MemoryConn::new();
    let options = CreateOptions::default().with_acl(vec![Acl::world(perms)]);
    conn.create("/n", "old", options).await.unwrap();
    (conn, Arc::default())
}

#[tokio::test]
async fn without_the_right_to_read_the_callback_is_not_called() {
    let (conn, calls) = with_rights(Perms::WRITE | Perms::CREATE).await;
    let err = retry_change(&conn, "/n", file(), |_| -> Never {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(Some("new"))
    })
    .await
    .unwrap_err();
    assert_eq!((err.kind(), calls.load(Ordering::Relaxed)), (ErrorKind::NoAuth, 0));
}

#[tokio::test]
async fn without_the_right_to_write_the_error_is_told_once() {
    let (conn, calls) = with_rights(Perms::READ).await;
    for path in ["/n", "/n/child"] {
        let err = retry_change(&conn, path, file(), |_| -> Never {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(Some("new"))
        })
        .await
        .unwrap_err();
        assert_eq!((err.kind(), err.path()), (ErrorKind::NoAuth, path));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(conn.get("/n").await.unwrap().data, "old");
}

#[tokio::test]
async fn a_missing_parent_is_an_error() {
    let conn = MemoryConn::new();
    let err =
        retry_change(&conn, "/a/b", file(), |_| -> Never { Ok(Some("x")) }).await.unwrap_err();
    assert_eq!((err.kind(), err.op(), err.path()), (ErrorKind::NoNode, "retry_change", "/a/b"));
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_again() {
    let spy = Spy::meddling(MemoryConn::new(), |request, _| {
        let write = request.op.is_write();
        write.then(|| request.error(ErrorKind::OutcomeUnknown))
    });
    let err = retry_change(&spy, "/n", file(), |_| -> Never { Ok(Some("x")) }).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(spy.take(), ["get /n", "create /n"]);
}

#[tokio::test]
async fn a_node_that_keeps_changing_is_contended_and_not_hammered() {
    let conn = MemoryConn::new();
    conn.create("/n", "old", Mode::Persistent).await.unwrap();
    let mut turn = 0;
    let spy = Spy::meddling(conn, move |request, other| {
        if matches!(request.op, Op::Set { .. }) {
            turn += 1;
            drop(other.set("/n", format!("{turn}"), Version::Any));
        }
        None
    });
    let deadline = Deadline::after(Duration::from_millis(60));
    let err = retry_change_by(&spy, "/n", file(), deadline, |_| -> Never { Ok(Some("ours")) })
        .await
        .unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Contended, "/n"), "{err}");
    assert!(err.detail().unwrap().contains("times in a row"), "{err}");
    assert!(spy.count("set") < 200, "tried {} times", spy.count("set"));
}

#[tokio::test]
async fn a_sequential_node_cannot_be_changed_so() {
    let spy = Spy::new(MemoryConn::new());
    let mode = Mode::PersistentSequential;
    let err = retry_change(&spy, "/n", mode, |_| -> Never { Ok(Some("x")) }).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadArguments);
    assert_eq!(spy.take(), [""; 0]);
}

#[tokio::test]
async fn many_writers_lose_no_increment() {
    let quorum = MemoryConn::new().quorum().clone();
    let writers = (0..8).map(|_| {
        let conn = quorum.connect();
        tokio::spawn(async move {
            for _ in 0..25 {
                retry_change(&conn, "/count", Mode::Persistent, |old| {
                    let text =
                        old.map_or("0".into(), |n| String::from_utf8_lossy(&n.data).into_owned());
                    let count: u32 = text.parse().unwrap();
                    Ok::<_, Error>(Some((count + 1).to_string()))
                })
                .await
                .unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(quorum.connect().get("/count").await.unwrap().data, "200");
}
