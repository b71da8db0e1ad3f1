//! Vitess's scenarios, round trips, and cells that fail.

use super::*;
use crate::conn::MemoryConn;
use crate::node::Mode;
use crate::request::Op;
use crate::spy::{Spy, refuse};
use crate::tree;

async fn tree_of(paths: &[&str]) -> MemoryConn {
    let conn = MemoryConn::new();
    for path in paths {
        tree::put(&conn, *path, "", Mode::Persistent).await.unwrap();
    }
    conn
}

async fn paths(conn: &dyn Conn, patterns: &[&str]) -> Vec<ZkPath> {
    resolve(conn, patterns).await.unwrap().complete().unwrap()
}

#[tokio::test]
async fn vitess_scenarios() {
    let nothing: &[&str] = &[];
    let conn = tree_of(&["/zk/nyc/path1", "/zk/nyc/path2"]).await;
    assert_eq!(paths(&conn, &["/zk/nyc/missing"]).await, ["/zk/nyc/missing"]);
    assert_eq!(paths(&conn, &["/zk/nyc/none*"]).await, nothing);
    assert_eq!(paths(&conn, &["/zk/nyc/path1"]).await, ["/zk/nyc/path1"]);
    assert_eq!(paths(&conn, &["/zk/nyc/*"]).await, ["/zk/nyc/path1", "/zk/nyc/path2"]);
    let three = ["/zk/nyc/path2", "/zk/nyc/missing", "/zk/nyc/path1"];
    assert_eq!(paths(&conn, &three).await, three);
    assert_eq!(paths(&conn, &["/zk/nyc/absent/*/actionlog"]).await, nothing);

    let conn = tree_of(&["/zk/nyc/path1/actionlog", "/zk/nyc/path2/actionlog"]).await;
    assert_eq!(
        paths(&conn, &["/zk/nyc/*/actionlog"]).await,
        ["/zk/nyc/path1/actionlog", "/zk/nyc/path2/actionlog"]
    );

    let conn = tree_of(&[
        "/zk/nyc/path1/shards/shard1/actionlog",
        "/zk/nyc/path1/shards/shard2/other",
        "/zk/nyc/path2/shards/shard3/actionlog",
    ])
    .await;
    assert_eq!(
        paths(&conn, &["/zk/nyc/*/shards/*/actionlog"]).await,
        ["/zk/nyc/path1/shards/shard1/actionlog", "/zk/nyc/path2/shards/shard3/actionlog"]
    );
    assert_eq!(paths(&conn, &["/zk/nyc/shards/*/actionlog"]).await, nothing);

    let conn = tree_of(&["/zk/ny/shards", "/zk/nj/shards"]).await;
    assert_eq!(paths(&conn, &["/zk/*/shards"]).await, ["/zk/nj/shards", "/zk/ny/shards"]);

    let conn = tree_of(&[
        "/zk/ny/shards/b/actionlog",
        "/zk/ny/shards/a/actionlog",
        "/zk/nj/shards/d/actionlog",
        "/zk/nj/shards/c/actionlog",
    ])
    .await;
    assert_eq!(
        paths(&conn, &["/zk/*/shards/*/actionlog"]).await,
        [
            "/zk/nj/shards/c/actionlog",
            "/zk/nj/shards/d/actionlog",
            "/zk/ny/shards/a/actionlog",
            "/zk/ny/shards/b/actionlog",
        ]
    );
}

#[tokio::test]
async fn a_second_wildcard_outside_of_zk_lists_no_cells() {
    let conn = tree_of(&["/zk/nyc", "/foo/bar"]).await;
    let spy = Spy::new(conn);
    assert_eq!(paths(&spy, &["/foo/*"]).await, ["/foo/bar"]);
    assert_eq!(spy.take(), ["children /foo"]);
    assert_eq!(paths(&spy, &["/{foo,zk}/*"]).await, ["/foo/bar", "/zk/nyc"]);
}

#[tokio::test]
async fn one_listing_per_cell_and_no_look_at_what_a_listing_proved() {
    let conn =
        tree_of(&["/zk/a/vt/tablets/1", "/zk/a/vt/tablets/2", "/zk/b/vt/tablets/3", "/zk/c"]).await;
    let spy = Spy::new(conn);
    let found = paths(&spy, &["/zk/*/vt/tablets/*"]).await;
    assert_eq!(found, ["/zk/a/vt/tablets/1", "/zk/a/vt/tablets/2", "/zk/b/vt/tablets/3"]);
    assert_eq!((spy.count("children"), spy.count("exists")), (4, 0));
    let mut sent = spy.take();
    sent.sort();
    assert_eq!(
        sent,
        [
            "children /zk",
            "children /zk/a/vt/tablets",
            "children /zk/b/vt/tablets",
            "children /zk/c/vt/tablets"
        ]
    );
    assert_eq!(paths(&spy, &["/zk/*"]).await, ["/zk/a", "/zk/b", "/zk/c"]);
    assert_eq!(spy.take(), ["children /zk"]);
}

#[tokio::test]
async fn what_stands_behind_the_last_wildcard_is_looked_up_at_once() {
    let conn = tree_of(&["/zk/a/1/motd", "/zk/a/2", "/zk/a/3/motd"]).await;
    let spy = Spy::new(conn);
    assert_eq!(paths(&spy, &["/zk/a/*/motd"]).await, ["/zk/a/1/motd", "/zk/a/3/motd"]);
    assert_eq!(spy.take(), ["children /zk/a", "read_many(3) /zk/a/1/motd"]);
    assert_eq!(paths(&spy, &["/zk/a/*/m*"]).await, ["/zk/a/1/motd", "/zk/a/3/motd"]);
    assert_eq!(spy.take(), ["children /zk/a", "read_many(3) /zk/a/1"]);
}

#[tokio::test]
async fn a_request_reads_a_thousand_at_most() {
    let conn = MemoryConn::new();
    let nodes = (0..2500).map(|n| (format!("/d/{n:04}/x"), ""));
    tree::create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    let spy = Spy::new(conn);
    assert_eq!(paths(&spy, &["/d/*/x"]).await.len(), 2500);
    assert_eq!(
        spy.take(),
        [
            "children /d",
            "read_many(1000) /d/0000/x",
            "read_many(1000) /d/1000/x",
            "read_many(500) /d/2000/x"
        ]
    );
}

#[tokio::test]
async fn alternatives_without_wildcards_are_names() {
    let conn = tree_of(&["/zk/local/x1", "/zk/global/x2", "/zk/nyc/x3"]).await;
    let spy = Spy::meddling(conn, |request, _| {
        let hidden = request.path == "/zk" && matches!(request.op, Op::Children(_));
        hidden.then(|| request.error(ErrorKind::NoAuth))
    });
    let found = paths(&spy, &["/zk/{local,global}/x*"]).await;
    assert_eq!(found, ["/zk/global/x2", "/zk/local/x1"]);
    assert_eq!(paths(&spy, &["/zk/{nyc,local}/x3"]).await, ["/zk/nyc/x3"]);
}

#[tokio::test]
async fn a_cell_that_fails_does_not_fail_the_others_and_is_asked_once() {
    let conn =
        tree_of(&["/zk/a/v/1/x", "/zk/a/v/2/x", "/zk/b/v/1/x", "/zk/b/v/2/x", "/zk/c/v/1/x"]).await;
    let dead = ZkPath::new("/zk/b").unwrap();
    let spy = Spy::meddling(conn, move |request, _| {
        if request.path.is_in(&dead) { refuse(request, ErrorKind::NotSent) } else { None }
    });
    let found = resolve(&spy, ["/zk/*/{v,w}/*/x"]).await.unwrap();
    assert_eq!(found.paths, ["/zk/a/v/1/x", "/zk/a/v/2/x", "/zk/c/v/1/x"]);
    assert_eq!(found.failed.len(), 1, "{:?}", found.failed);
    assert_eq!(found.failed[0].prefix, "/zk/b");
    assert_eq!(found.failed[0].error.kind(), ErrorKind::NotSent);
    let asked = spy.take().iter().filter(|line| line.contains(" /zk/b")).count();
    assert_eq!(asked, 1, "a dead cell makes the caller wait once");

    let twice = resolve(&spy, ["/zk/*/v/*", "/zk/b/*"]).await.unwrap();
    assert_eq!((twice.paths.len(), twice.failed.len()), (3, 1));
    let err = twice.complete().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent);
}

#[tokio::test]
async fn cells_that_cannot_be_listed_are_told_with_what_was_found_elsewhere() {
    let conn = tree_of(&["/zk/a/1"]).await;
    let spy = Spy::meddling(conn, |request, _| {
        if request.path == "/zk" { refuse(request, ErrorKind::Timeout) } else { None }
    });
    let found = resolve(&spy, ["/zk/*/1", "/zk/a/*", "/zk/literal"]).await.unwrap();
    assert_eq!(found.paths, ["/zk/a/1", "/zk/literal"]);
    assert_eq!(found.failed.len(), 1);
    assert_eq!(found.failed[0].prefix, "/zk");
}

#[tokio::test]
async fn a_node_that_refuses_costs_only_what_is_below_it() {
    let conn = tree_of(&["/zk/a/open/1", "/zk/a/secret/2", "/zk/a/tail/3"]).await;
    use crate::node::{Acl, Perms, Version};
    conn.set_acl("/zk/a/secret", vec![Acl::world(Perms::ADMIN)], Version::Any).await.unwrap();
    let found = resolve(&conn, ["/zk/a/*/*"]).await.unwrap();
    assert_eq!(found.paths, ["/zk/a/open/1", "/zk/a/tail/3"]);
    assert_eq!(found.failed.len(), 1);
    assert_eq!(found.failed[0].prefix, "/zk/a/secret");
    assert_eq!(found.failed[0].error.kind(), ErrorKind::NoAuth);
}

#[tokio::test]
async fn a_malformed_pattern_is_told_before_anything_is_sent() {
    let spy = Spy::new(MemoryConn::new());
    let err = resolve(&spy, ["/zk/*/x", "/zk/none/[a"]).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::BadPattern);
    assert_eq!(spy.take(), [""; 0]);
}

#[tokio::test]
async fn an_escaped_literal_names_the_node_without_the_backslash() {
    let conn = tree_of(&["/zk/a/what?"]).await;
    assert_eq!(paths(&conn, &["/zk/a/what\\?"]).await, ["/zk/a/what?"]);
    assert_eq!(paths(&conn, &["/zk/*/what\\?"]).await, ["/zk/a/what?"]);
}

#[tokio::test]
async fn the_root_can_be_listed_on_a_bare_quorum() {
    let conn = tree_of(&["/b/x", "/a/x"]).await;
    assert_eq!(paths(&conn, &["/[ab]/x", "/"]).await, ["/a/x", "/b/x", "/"]);
}

/// The ancestor asked all cells at once, however many.
#[tokio::test]
async fn no_more_than_thirty_two_cells_are_asked_at_once() {
    let conn = MemoryConn::new();
    let nodes = (0..100).map(|n| (format!("/zk/c{n}/x"), ""));
    tree::create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    let spy = Spy::slow(conn);
    assert_eq!(paths(&spy, &["/zk/*/*"]).await.len(), 100);
    assert_eq!(spy.most_in_flight(), 32);
    assert_eq!(paths(&spy, &["/zk/*/x"; 10]).await.len(), 1000);
    assert_eq!(spy.most_in_flight(), 32);
}

#[test]
fn the_future_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let conn = MemoryConn::new();
    is_send(resolve(&conn, ["/zk/*"]));
    let shared: std::sync::Arc<dyn Conn> = std::sync::Arc::new(conn);
    is_send(resolve(&shared, ["/zk/*"]));
    is_send(resolve(&*shared, vec!["/zk/*".to_string()]));
}

fn three_cells() -> crate::MetaConn {
    let cells = crate::Cells::builder()
        .cell("ny", "memory:")
        .cell("nj", "memory:")
        .cell("down", "127.0.0.1:1")
        .local_cell("ny")
        .build()
        .unwrap();
    crate::MetaConn::new(cells)
}

#[tokio::test]
async fn a_wildcard_in_the_place_of_the_cell_ranges_over_the_known_cells() {
    let conn = three_cells();
    for path in ["/zk/ny/vt/1", "/zk/local/vt/2", "/zk/nj/vt/3"] {
        tree::create_all(&conn, path, "", Mode::Persistent).await.unwrap();
    }
    assert_eq!(paths(&conn, &["/zk/*"]).await, ["/zk/down", "/zk/nj", "/zk/ny"]);
    let found = paths(&conn, &["/zk/n*/vt/*", "/zk/{local,nj}/vt/*"]).await;
    let expected = ["/zk/nj/vt/3", "/zk/ny/vt/1", "/zk/ny/vt/2"];
    assert_eq!(found[..3], expected);
    assert_eq!(found[3..], ["/zk/local/vt/1", "/zk/local/vt/2", "/zk/nj/vt/3"]);

    let short = crate::Within::new(conn, std::time::Duration::from_millis(500));
    let found = resolve(&short, ["/zk/*/vt/*", "/zk/unknown/*", "/foo/*"]).await.unwrap();
    assert_eq!(found.paths, expected);
    let failed: Vec<_> =
        found.failed.iter().map(|failed| (failed.prefix.as_str(), failed.error.kind())).collect();
    assert_eq!(
        failed[1..],
        [("/zk/unknown", ErrorKind::UnknownCell), ("/foo", ErrorKind::UnknownCell)]
    );
    assert_eq!(failed[0].0, "/zk/down");
}
