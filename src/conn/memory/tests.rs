//! What is the memory quorum's own: loading, expiry, its clock, and that nothing grows.
//!
//! What it shares with ZooKeeper, the contract suite holds it to.

use std::time::Duration;

use super::*;
use crate::conn::options::SessionOptions;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Perms, Version};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Multi, MultiReply, Op, Request};
use crate::session::SessionState;
use crate::watch::{Event, EventKind, TreeEvent};

const MINUTE: Duration = Duration::from_secs(60);

fn path(text: &str) -> ZkPath {
    ZkPath::new(text).unwrap()
}

#[tokio::test]
async fn json_gives_nodes_and_their_parents() {
    let text = r#"{
        "/zk/nyc/vt/shards": {"count": 2, "names": ["-80", "80-"]},
        "/zk/nyc": "the city",
        "/zk/nyc/vt/empty": null,
        "/": "top"
    }"#;
    let conn = MemoryQuorum::from_json(text).unwrap().connect();
    let get = async |path: &str| conn.get(path).await.unwrap();
    assert_eq!(get("/zk/nyc").await.data, "the city");
    assert_eq!(get("/zk/nyc/vt/shards").await.data, r#"{"count":2,"names":["-80","80-"]}"#);
    assert_eq!(get("/zk/nyc/vt/empty").await.data, "null");
    assert_eq!(get("/").await.data, "top");
    let parent = get("/zk/nyc/vt").await;
    assert_eq!((parent.data.len(), parent.stat.num_children), (0, 2));
    assert_eq!(get("/zk/nyc").await.stat.version, 0);
}

#[test]
fn bad_json_is_refused_with_key_and_expectation() {
    let line = |text: &str| MemoryQuorum::from_json(text).unwrap_err().to_string();
    for (text, expected) in [
        ("[]", "expected an object of paths and values"),
        ("{\"/a\": 1", "EOF while parsing"),
        (r#"{"zk/nyc": 1}"#, r#"key "zk/nyc": it must start with /; expected a whole path"#),
        (r#"{"/a/": 1}"#, r#"key "/a/": it must not end with /"#),
        (r#"{"/a": 1, "/a": 2}"#, r#"key "/a" is there twice"#),
    ] {
        let line = line(text);
        assert!(line.starts_with("load JSON text: cannot be used: "), "{line}");
        assert!(line.contains(expected), "{line}");
    }
    let large = format!(r#"{{"/a": "{}"}}"#, "x".repeat(1 << 20));
    assert!(line(&large).contains("key \"/a\": "), "{}", line(&large));
}

#[tokio::test]
async fn a_file_is_named_in_errors_and_in_the_connection() {
    let missing = MemoryQuorum::load("no/such/tree.json").unwrap_err();
    assert_eq!((missing.kind(), missing.path()), (ErrorKind::Input, "no/such/tree.json"));
    let file = std::env::temp_dir().join(format!("zkcells-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"/zk/nyc/motd": "hello"}"#).unwrap();
    let conn = MemoryQuorum::load(&file).unwrap().connect();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(conn.get("/zk/nyc/motd").await.unwrap().data, "hello");
    assert_eq!(conn.to_string(), format!("memory({})", file.display()));
}

#[tokio::test]
async fn expiry_ends_nodes_and_watches() {
    let conn = MemoryConn::new();
    let other = conn.quorum().connect();
    let session = conn.session("/").await.unwrap();
    conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    let (stat, own) = conn.exists_watch("/mine").await.unwrap();
    assert!(session.owns(&stat.unwrap()));
    let (_, seen) = other.exists_watch("/mine").await.unwrap();
    let mut tree = conn.watch_tree("/").await.unwrap();
    conn.expire();
    assert_eq!(own.await.kind, EventKind::SessionEnded);
    assert_eq!(seen.await.kind, EventKind::Deleted);
    assert_eq!(tree.next().await, Some(TreeEvent::SessionEnded));
    assert_eq!(session.lost().await, SessionState::Expired);
    assert!(!other.quorum().expire(session.id()));
    conn.close().await.unwrap();
    assert_eq!(conn.get("/").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_dropped_connection_is_closed() {
    let conn = MemoryConn::new();
    let other = conn.quorum().connect();
    conn.create("/mine", "", Mode::Ephemeral).await.unwrap();
    let session = conn.session("/").await.unwrap();
    let (_, watch) = conn.exists_watch("/mine").await.unwrap();
    drop(conn);
    assert_eq!(session.state(), SessionState::Closed);
    assert_eq!(watch.await.kind, EventKind::SessionEnded);
    assert_eq!(other.exists("/mine").await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_gives_times() {
    let conn = MemoryConn::new();
    let (_, first) = conn.create("/a", "", Mode::Persistent).await.unwrap();
    conn.quorum().advance(MINUTE);
    let second = conn.set("/a", "x", Version::Any).await.unwrap();
    assert_eq!(second.ctime, first.ctime);
    assert!(second.mtime >= first.mtime + 60_000);
}

#[tokio::test]
async fn the_clock_has_an_end() {
    let conn = MemoryConn::new();
    conn.create("/ttl", "", Mode::Ttl(MINUTE)).await.unwrap();
    conn.quorum().advance(Duration::MAX);
    conn.quorum().advance(Duration::MAX);
    assert_eq!(conn.exists("/ttl").await.unwrap(), None);
}

#[tokio::test]
async fn an_emptied_container_goes_at_the_next_check() {
    let conn = MemoryConn::new();
    conn.create("/fresh", "", Mode::Container).await.unwrap();
    conn.create("/used", "", Mode::Container).await.unwrap();
    conn.create("/used/inner", "", Mode::Container).await.unwrap();
    conn.create("/used/inner/child", "", Mode::Persistent).await.unwrap();
    conn.quorum().advance(MINUTE);
    let (_, watch) = conn.exists_watch("/used").await.unwrap();
    conn.delete("/used/inner/child", Version::Any).await.unwrap();
    assert!(conn.exists("/used/inner").await.unwrap().is_some());
    conn.quorum().advance(MINUTE);
    assert!(conn.exists("/used/inner").await.unwrap().is_none());
    assert!(conn.exists("/used").await.unwrap().is_some());
    conn.quorum().advance(MINUTE);
    assert_eq!(watch.await.kind, EventKind::Deleted);
    conn.quorum().advance(MINUTE * 60 * 24 * 365);
    let names = conn.children("/").await.unwrap().names;
    assert_eq!(names, ["fresh", "zookeeper"]);
}

#[tokio::test]
async fn a_ttl_node_goes_when_idle_and_childless() {
    let conn = MemoryConn::new();
    conn.create("/ttl", "", Mode::Ttl(MINUTE)).await.unwrap();
    conn.quorum().advance(MINUTE / 2);
    conn.set("/ttl", "busy", Version::Any).await.unwrap();
    conn.quorum().advance(MINUTE / 2 + Duration::from_secs(10));
    conn.create("/ttl/child", "", Mode::Persistent).await.unwrap();
    conn.quorum().advance(MINUTE);
    conn.delete("/ttl/child", Version::Any).await.unwrap();
    assert!(conn.exists("/ttl").await.unwrap().is_none());
}

// Measured on 3.8.0 with the count set as it is here.
#[tokio::test]
async fn sequence_numbers_stay_at_their_end_and_wrap_in_a_multi() {
    let conn = MemoryConn::new();
    conn.create("/q", "", Mode::Persistent).await.unwrap();
    conn.quorum().set_sequence("/q", i32::MAX - 1).unwrap();
    for expected in ["/q/n-2147483646", "/q/n-2147483647"] {
        let (path, _) = conn.create("/q/n-", "", Mode::PersistentSequential).await.unwrap();
        assert_eq!(path.as_str(), expected);
    }
    let before = conn.exists("/q").await.unwrap().unwrap();
    let err = conn.create("/q/n-", "", Mode::PersistentSequential).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NodeExists);
    let steps: Multi =
        (0..3).fold(Multi::new(), |it, _| it.create("/q/t-", "", Mode::PersistentSequential));
    let replies = conn.multi(steps).await.unwrap();
    let made = replies.iter().map(|reply| match reply {
        MultiReply::Created { path, .. } => path.as_str(),
        _ => panic!("{reply:?}"),
    });
    let made: Vec<_> = made.collect();
    assert_eq!(made, ["/q/t-2147483647", "/q/t--2147483648", "/q/t--2147483647"]);
    let after = conn.exists("/q").await.unwrap().unwrap();
    assert_eq!((before.cversion, after.cversion), (-4, -7));
    assert_eq!(after.pzxid, before.pzxid);
    conn.quorum().set_sequence("/q", i32::MIN).unwrap();
    let (path, _) = conn.create("/q/", "", Mode::EphemeralSequential).await.unwrap();
    assert_eq!(path.as_str(), "/q/-2147483648");
}

#[tokio::test]
async fn dropped_watches_do_not_accumulate() {
    let conn = MemoryConn::new();
    for n in 0..1000 {
        let _ = conn.children_watch("/").await.unwrap();
        let _ = conn.exists_watch(format!("/absent-{n}")).await.unwrap();
        let _ = conn.watch_tree("/").await.unwrap();
    }
    assert!(conn.quorum().watch_count() <= 3 * 64, "{}", conn.quorum().watch_count());
    let (_, kept) = conn.exists_watch("/absent-0").await.unwrap();
    conn.create("/absent-0", "", Mode::Persistent).await.unwrap();
    assert_eq!(kept.await.kind, EventKind::Created);
}

#[tokio::test]
async fn a_failed_multi_leaves_no_trace() {
    let conn = MemoryConn::new();
    conn.create("/a", "old", Mode::Persistent).await.unwrap();
    conn.create("/a/child", "", Mode::Ephemeral).await.unwrap();
    let before = (conn.get("/a").await.unwrap(), conn.children("/").await.unwrap());
    let mut tree = conn.watch_tree("/").await.unwrap();
    let failing = Multi::new()
        .set("/a", "new", Version::Any)
        .delete("/a/child", Version::Any)
        .delete("/a", Version::Exact(1))
        .create("/b", "", Mode::Ephemeral)
        .check("/b", Version::Exact(7));
    let err = conn.multi(failing).await.unwrap_err();
    assert_eq!((err.kind(), err.index()), (ErrorKind::BadVersion, Some(4)));
    assert_eq!(err.detail(), Some("expected version 7, found 0"));
    assert_eq!((conn.get("/a").await.unwrap(), conn.children("/").await.unwrap()), before);
    assert_eq!(conn.ephemerals("/").await.unwrap(), [path("/a/child")]);
    conn.create("/c", "", Mode::Persistent).await.unwrap();
    let event = Event::new(EventKind::Created, path("/c"));
    assert_eq!(tree.next().await, Some(TreeEvent::Changed(event)));
}

#[tokio::test]
async fn a_multi_is_one_transaction_and_sees_itself() {
    let conn = MemoryConn::new();
    let (_, before) = conn.create("/a", "", Mode::Persistent).await.unwrap();
    let steps = Multi::new()
        .create("/a/", "", Mode::PersistentSequential)
        .set("/a/0000000000", "x", Version::Exact(0))
        .delete("/a/0000000000", Version::Exact(1))
        .check("/a", Version::Any);
    let replies = conn.multi(steps).await.unwrap();
    let [MultiReply::Created { path, stat: Some(stat) }, MultiReply::Set(set), ..] = &replies[..]
    else {
        panic!("{replies:?}")
    };
    assert_eq!(path.as_str(), "/a/0000000000");
    assert_eq!((stat.czxid, set.mzxid), (before.czxid + 1, before.czxid + 1));
    let after = conn.exists("/a").await.unwrap().unwrap();
    assert_eq!((after.pzxid, after.cversion), (before.czxid + 1, 2));
}

#[tokio::test]
async fn an_unknown_scheme_is_refused_at_each_call() {
    let conn = MemoryQuorum::new().connect_as(&[("sasl", "alice")]);
    let err = conn.get("/").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AuthFailed);
    assert!(!err.to_string().contains("alice"), "{err}");
}

#[tokio::test]
async fn identities_open_what_is_theirs() {
    let quorum = MemoryQuorum::new();
    let alice = quorum.connect_as(&[("digest", "alice:secret")]);
    let nobody = quorum.connect();
    let private = crate::node::CreateOptions::default().with_acl(vec![Acl::creator(Perms::ALL)]);
    alice.create("/private", "", &private).await.unwrap();
    let mut tree = nobody.watch_tree("/").await.unwrap();
    let err = nobody.get("/private").await.unwrap_err();
    assert_eq!(err.to_string(), "get /private: permission denied: needs READ");
    let stored = vec![Acl::digest(Perms::ALL, "alice", "secret")];
    assert_eq!(alice.acl("/private").await.unwrap().0, stored);
    alice.set("/private", "x", Version::Any).await.unwrap();
    alice.create("/public", "", Mode::Persistent).await.unwrap();
    let event = Event::new(EventKind::Created, path("/public"));
    assert_eq!(tree.next().await, Some(TreeEvent::Changed(event)));
}

// Measured on Debian's 3.8.0, which carries the fix of CVE-2024-23944: the server takes the watch
// away and says nothing, now or at a later change.
#[tokio::test]
async fn a_watch_on_what_one_may_not_read_is_used_up_in_silence() {
    let quorum = MemoryQuorum::new();
    let alice = quorum.connect_as(&[("digest", "alice:secret")]);
    let nobody = quorum.connect();
    let private = crate::node::CreateOptions::default().with_acl(vec![Acl::creator(Perms::ALL)]);
    alice.create("/private", "", &private).await.unwrap();
    let (_, watch) = nobody.exists_watch("/private").await.unwrap();
    alice.set("/private", "x", Version::Any).await.unwrap();
    alice.set_acl("/private", Acl::open(), Version::Any).await.unwrap();
    alice.set("/private", "y", Version::Any).await.unwrap();
    nobody.expire();
    assert_eq!(watch.await.kind, EventKind::SessionEnded);
}

#[tokio::test]
async fn a_late_request_is_not_sent() {
    let conn = MemoryConn::new();
    let late = Request::new(Op::Get(LeaveWatch::No), ZkPath::root()).within(Duration::ZERO);
    assert_eq!(conn.call(late).await.unwrap_err().kind(), ErrorKind::NotSent);
}

#[tokio::test]
async fn a_sync_proves_the_session() {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(4));
    let conn = MemoryQuorum::new().connect_with(options);
    let session = conn.session("/").await.unwrap();
    assert_eq!(session.timeout(), Duration::from_secs(4));
    let before = Deadline::now();
    conn.sync("/").await.unwrap();
    assert!(session.valid_until() >= before.plus(Duration::from_secs(2)));
}

#[tokio::test]
async fn a_large_directory_is_listed_in_order() {
    let conn = MemoryConn::new();
    for n in (0..10_000).rev() {
        conn.create(format!("/{n:05}"), "", Mode::Persistent).await.unwrap();
    }
    let names = conn.children("/").await.unwrap().names;
    assert_eq!((names.len(), names[0].as_str()), (10_001, "00000"));
    assert!(names.is_sorted());
}
