//! The largest, the longest and the oddest: what works, and what is refused before it does harm.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;

use super::Bench;
use crate::conn::{Conn as _, ConnExt as _};
use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Perms, Version};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MAX_REQUEST, Multi, Op, Request};

const MILLION: usize = 1_000_000;

pub async fn a_million_bytes_fit_into_a_node(b: Bench) {
    let first = vec![b'x'; MILLION];
    let (_, stat) = b.ok(b.conn.create(b.at("/a"), &first, Mode::Persistent).await);
    assert_eq!(stat.data_length, 1_000_000, "{b}");
    assert_eq!(b.ok(b.conn.get(b.at("/a")).await).data, first, "{b}");
    let second = vec![b'y'; MILLION];
    b.ok(b.conn.set(b.at("/a"), &second, Version::Any).await);
    assert_eq!(b.ok(b.conn.get(b.at("/a")).await).data, second, "{b}");
    let third = vec![b'z'; MILLION];
    b.ok(b.conn.multi(Multi::new().set(b.at("/a"), &third, Version::Any)).await);
    assert_eq!(b.ok(b.conn.get(b.at("/a")).await).data, third, "{b}");
}

/// Servers hang up on what is too large, and every call under way would be lost with it.
pub async fn what_is_too_large_is_refused_and_harms_nobody(b: Bench) {
    b.make("/a", "kept").await;
    let (_, watch) = b.ok(b.conn.get_watch(b.at("/a")).await);
    let id = b.session().await.id();
    let large = vec![b'x'; MAX_REQUEST + 1];
    let half = vec![b'x'; MAX_REQUEST / 2 + 1];
    let under_way = b.conn.create(b.at("/b"), "", Mode::Persistent);
    let refused = ErrorKind::TooLarge;
    b.refused(b.conn.create(b.at("/c"), &large, Mode::Persistent).await, refused);
    b.refused(b.conn.set(b.at("/a"), &large, Version::Any).await, refused);
    let both = Multi::new().create(b.at("/c"), &half, Mode::Persistent).set(
        b.at("/a"),
        &half,
        Version::Any,
    );
    b.refused(b.conn.multi(both).await, refused);
    let acl = vec![Acl::new(Perms::ALL, "digest", format!("{}:hash", "u".repeat(1000))); 1100];
    b.refused(b.conn.set_acl(b.at("/a"), acl, Version::Any).await, refused);
    b.ok(under_way.await);
    assert_eq!(b.session().await.id(), id, "{b}");
    assert_eq!(b.data("/a").await, "kept", "{b}");
    assert!(!b.is_there("/c").await, "{b}");
    b.set("/a", "x").await;
    b.fires(watch).await;
}

pub async fn odd_names_are_names(b: Bench) {
    let names = [
        "ünïcödé",
        "日本",
        "with space",
        " ",
        ".x",
        "x.",
        "...",
        "a..b",
        "~",
        "%2F",
        "a:b",
        "*",
        "?",
        "[a]",
        "\\",
        "\u{a0}",
        "\u{ffef}",
        "zookeeper",
        "local",
        "-",
        "{}",
        "'\"",
    ];
    for name in names {
        let path = format!("/{name}");
        let (made, _) = b.ok(b.conn.create(b.at(&path), name, Mode::Persistent).await);
        assert_eq!(made, b.path(&path), "{b}");
        b.make(&format!("{path}/child"), "").await;
        assert_eq!(b.data(&path).await, name, "{b}");
        let (_, watch) = b.ok(b.conn.get_watch(b.at(&path)).await);
        b.set(&path, "x").await;
        b.fires(watch).await;
    }
    let listed = b.ok(b.conn.children(b.at("")).await).names;
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(listed, sorted, "{b}");
}

pub async fn long_names_and_deep_paths_work(b: Bench) {
    let long = format!("/{}", "n".repeat(20_000));
    b.make(&long, "x").await;
    assert_eq!(b.data(&long).await, "x", "{b}");
    assert_eq!(b.ok(b.conn.children(b.at("")).await).names, [&long[1..]], "{b}");
    let mut deep = String::new();
    for _ in 0..100 {
        deep += "/deep";
        b.make(&deep, "").await;
    }
    assert!(b.is_there(&deep).await, "{b}");
}

/// The server hears nothing of them: the answer is there at once.
pub async fn bad_paths_are_refused_without_asking(b: Bench) {
    let refused = |answer: Option<Result<(), crate::error::Error>>, path: &str| {
        let answer = answer.unwrap_or_else(|| panic!("{b}: asked a server about {path:?}"));
        b.refused(answer, ErrorKind::BadPath);
    };
    let below = [
        "//a",
        "/a/",
        "/.",
        "/../a",
        "/a/./b",
        "/a\0",
        "/\u{1}",
        "/\u{7f}",
        "/\u{9f}",
        "/\u{e000}",
        "/\u{fff0}",
        "/😀",
    ];
    let paths = below.iter().map(|bad| b.at(bad)).chain(["".into(), "relative".into()]);
    for path in paths {
        let p = path.as_str();
        refused(b.conn.get(p).now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.children(p).now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.exists_watch(p).now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.acl(p).now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.watch_tree(p).now_or_never().map(|r| r.map(drop)), p);
        let create = b.conn.create(p, "", Mode::Persistent);
        refused(create.now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.set(p, "", Version::Any).now_or_never().map(|r| r.map(drop)), p);
        refused(b.conn.delete(p, Version::Any).now_or_never().map(|r| r.map(drop)), p);
        let check = b.conn.multi(Multi::new().check(p, Version::Any));
        refused(check.now_or_never().map(|r| r.map(drop)), p);
    }
}

/// Past the check of texts: such a path is right for one operation only.
pub async fn a_bare_prefix_is_for_sequential_creates_only(b: Bench) {
    b.make("/a", "").await;
    let prefix = ZkPath::sequence_prefix(b.at("/a/")).unwrap();
    let create = Op::Create { data: Bytes::new(), options: Mode::Persistent.into() };
    for op in [
        Op::Get(LeaveWatch::No),
        Op::Children(LeaveWatch::Yes),
        Op::Exists(LeaveWatch::Yes),
        Op::WatchTree,
        Op::Set { data: Bytes::new(), version: Version::Any },
        Op::Delete { version: Version::Any },
        create,
    ] {
        let name = op.name();
        let answer = b.conn.call(Request::new(op, prefix.clone())).await;
        let err = b.refused(answer, ErrorKind::BadPath);
        assert_eq!(err.op(), name, "{b}: {err}");
    }
    assert!(b.is_there("/a").await, "{b}");
}

pub async fn a_call_without_time_is_not_sent(b: Bench) {
    b.make("/a", "old").await;
    let path = b.path("/a");
    let set = Op::Set { data: "new".into(), version: Version::Any };
    let create = Op::Create { data: Bytes::new(), options: Mode::Persistent.into() };
    for (op, path) in [
        (set, path.clone()),
        (create, b.path("/b")),
        (Op::Delete { version: Version::Any }, path.clone()),
        (Op::Get(LeaveWatch::No), path.clone()),
    ] {
        let request = Request::new(op, path).within(Duration::ZERO);
        b.refused(b.conn.call(request).await, ErrorKind::NotSent);
    }
    b.settle(&b.conn).await;
    assert_eq!(b.data("/a").await, "old", "{b}");
    assert!(!b.is_there("/b").await, "{b}");
}
