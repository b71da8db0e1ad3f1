//! `read_many`: many reads in one call, answered one by one, in order.

use super::Bench;
use crate::conn::ConnExt as _;
use crate::error::ErrorKind;
use crate::node::{Mode, Version};
use crate::request::{Read, ReadReply};

pub async fn read_many_answers_in_the_order_of_the_reads(b: Bench) {
    b.make("/a", "data").await;
    b.make("/a/2", "").await;
    b.make("/a/1", "").await;
    let node = b.ok(b.conn.get(b.at("/a")).await);
    let reads = [
        Read::Children(b.path("/a")),
        Read::Get(b.path("/a")),
        Read::Exists(b.path("/a")),
        Read::Get(b.path("/a/1")),
        Read::Children(b.path("/a/1")),
    ];
    let found: Vec<_> =
        b.ok(b.conn.read_many(reads).await).into_iter().map(|found| b.ok(found)).collect();
    assert_eq!(found[0], ReadReply::Children(vec!["1".into(), "2".into()]), "{b}");
    assert_eq!(found[1], ReadReply::Node(node.clone()), "{b}");
    assert_eq!(found[2], ReadReply::Exists(Some(node.stat)), "{b}");
    let child = b.ok(b.conn.get(b.at("/a/1")).await);
    assert_eq!(found[3], ReadReply::Node(child), "{b}");
    assert_eq!(found[4], ReadReply::Children(vec![]), "{b}");
}

pub async fn read_many_of_nothing_is_nothing(b: Bench) {
    assert!(b.ok(b.conn.read_many([]).await).is_empty(), "{b}");
}

pub async fn read_many_tells_each_error_at_its_place(b: Bench) {
    b.make("/a", "data").await;
    let reads = [
        Read::Get(b.path("/none")),
        Read::Get(b.path("/a")),
        Read::Children(b.path("/gone")),
        Read::Exists(b.path("/none")),
        Read::Children(b.path("/a")),
    ];
    let mut found = b.ok(b.conn.read_many(reads).await).into_iter();
    let err = b.refused(found.next().unwrap(), ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("get", b.at("/none").as_str()), "{b}");
    assert!(matches!(found.next(), Some(Ok(ReadReply::Node(_)))), "{b}");
    let err = b.refused(found.next().unwrap(), ErrorKind::NoNode);
    assert_eq!((err.op(), err.path()), ("children", b.at("/gone").as_str()), "{b}");
    assert_eq!(b.ok(found.next().unwrap()), ReadReply::Exists(None), "{b}");
    assert_eq!(b.ok(found.next().unwrap()), ReadReply::Children(vec![]), "{b}");
    assert!(found.next().is_none(), "{b}");
}

pub async fn read_many_reads_hundreds_of_nodes(b: Bench) {
    let made: Vec<_> = (0..400)
        .map(|n| b.conn.create(b.at(&format!("/{n:03}")), n.to_string(), Mode::Persistent))
        .collect();
    for pending in made {
        b.ok(pending.await);
    }
    let reads = (0..400).flat_map(|n| {
        let path = b.path(&format!("/{n:03}"));
        [Read::Get(path.clone()), Read::Exists(path)]
    });
    let found = b.ok(b.conn.read_many(reads).await);
    assert_eq!(found.len(), 800, "{b}");
    for (n, found) in found.into_iter().enumerate() {
        match b.ok(found) {
            ReadReply::Node(node) => {
                assert_eq!((n % 2, node.data), (0, (n / 2).to_string().into()), "{b}");
            }
            ReadReply::Exists(stat) => assert!(n % 2 == 1 && stat.is_some(), "{b}"),
            other => panic!("{b}: {other:?}"),
        }
    }
}

pub async fn read_many_may_read_a_node_twice(b: Bench) {
    b.make("/a", "data").await;
    let found = b.ok(b.conn.read_many([Read::Get(b.path("/a")), Read::Get(b.path("/a"))]).await);
    let [Ok(first), Ok(second)] = found.as_slice() else { panic!("{b}: {found:?}") };
    assert_eq!(first, second, "{b}");
}

pub async fn read_many_may_ask_more_than_one_request_holds(b: Bench) {
    let name = "n".repeat(2000);
    b.make(&format!("/{name}"), "x").await;
    let path = b.path(&format!("/{name}"));
    let found = b.ok(b.conn.read_many(vec![Read::Get(path); 700]).await);
    assert_eq!(found.len(), 700, "{b}");
    for found in found {
        assert!(matches!(b.ok(found), ReadReply::Node(node) if node.data == "x"), "{b}");
    }
}

pub async fn read_many_may_find_more_than_one_request_holds(b: Bench) {
    let data = "x".repeat(300_000);
    for n in 0..6 {
        b.make(&format!("/{n}"), &data).await;
    }
    let reads = (0..6).map(|n| Read::Get(b.path(&format!("/{n}"))));
    for found in b.ok(b.conn.read_many(reads).await) {
        assert!(matches!(b.ok(found), ReadReply::Node(node) if node.data == data), "{b}");
    }
}

pub async fn read_many_sees_the_write_called_before_it(b: Bench) {
    b.make("/a", "old").await;
    let set = b.conn.set(b.at("/a"), "new", Version::Any);
    let many = b.conn.read_many([Read::Get(b.path("/a")), Read::Exists(b.path("/a"))]);
    let delete = b.conn.delete(b.at("/a"), Version::Any);
    let found = b.ok(many.await);
    let [Ok(ReadReply::Node(node)), Ok(ReadReply::Exists(Some(_)))] = found.as_slice() else {
        panic!("{b}: {found:?}");
    };
    assert_eq!(node.data, "new", "{b}");
    b.ok(set.await);
    b.ok(delete.await);
}
