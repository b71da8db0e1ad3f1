//! Subtrees, changes and wildcards over real servers, where others are at work too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::collections::HashSet;
use std::time::Duration;

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{
    Acl, Cells, ConnExt as _, CreateOptions, Error, ErrorKind, MetaConn, Mode, Perms, Version,
    Within, ZkPath, change, tree, wildcard,
};

/// A session of its own on each cell that is used, and `down`, which nobody serves.
fn connect() -> MetaConn {
    let local = LocalCells::up().unwrap();
    let cells = Cells::builder()
        .cell("nyc", local.addrs("nyc").unwrap())
        .cell("sjc", local.addrs("sjc").unwrap())
        .cell("down", "127.0.0.1:1")
        .local_cell("nyc")
        .build()
        .unwrap();
    MetaConn::new(cells)
}

#[tokio::test]
async fn a_subtree_is_made_listed_copied_to_another_cell_and_removed() {
    let (conn, root) = (connect(), fresh_root());
    let nodes = (0..5000).map(|n| (format!("/zk/nyc/{root}/{}/{n}", n % 10), format!("{n}")));
    let done = tree::create_many(&conn, nodes, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.existed.len()), (5000, 0));
    tree::create_all(&conn, format!("/zk/nyc/{root}/3/me"), "", Mode::Ephemeral).await.unwrap();

    let (from, to) = (format!("/zk/local/{root}"), format!("/zk/sjc/{root}/new/place"));
    let done = tree::copy(&conn, &from, &to, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.overwritten, done.ephemerals), (5011, 0, 1));
    let done = tree::copy(&conn, &from, &to, Mode::Persistent).await.unwrap();
    assert_eq!((done.created, done.overwritten, done.ephemerals), (0, 5011, 1));

    let names = |paths: Vec<ZkPath>, top: &str| -> HashSet<String> {
        paths.iter().map(|path| path.as_str()[top.len()..].to_string()).collect()
    };
    let mut copied = names(tree::walk(&conn, &to).await.unwrap(), &to);
    copied.insert("/3/me".into());
    assert_eq!(copied, names(tree::walk(&conn, &from).await.unwrap(), &from));
    assert_eq!(conn.get(format!("{to}/7/4567")).await.unwrap().data, "4567");

    assert_eq!(tree::remove_all(&conn, &from).await.unwrap(), 5012);
    assert_eq!(tree::remove_all(&conn, format!("/zk/sjc/{root}")).await.unwrap(), 5013);
}

#[tokio::test]
async fn of_two_creators_and_two_removers_each_node_is_counted_once() {
    let (one, two, root) = (connect(), connect(), fresh_root());
    let nodes = || (0..3000).map(|n| (format!("/zk/nyc/{root}/{}/{n}", n % 7), ""));
    let (first, second) = tokio::join!(
        tree::create_many(&one, nodes(), Mode::Persistent),
        tree::create_many(&two, nodes(), Mode::Persistent),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.created + second.created, 3000);
    assert_eq!(first.existed.len() + second.existed.len(), 3000);

    let top = format!("/zk/nyc/{root}");
    let (first, second) = tokio::join!(tree::remove_all(&one, &top), tree::remove_all(&two, &top));
    // Whoever comes when all is over finds nothing to remove.
    let removed = |result: Result<usize, Error>| match result {
        Err(err) if err.kind() == ErrorKind::NoNode => 0,
        other => other.unwrap(),
    };
    assert_eq!(removed(first) + removed(second), 3008);
    assert_eq!(one.exists(&top).await.unwrap(), None);
}

#[tokio::test]
async fn parents_and_leaves_survive_a_remover_or_say_why_not() {
    let (maker, taker, root) = (connect(), connect(), fresh_root());
    let top = format!("/zk/nyc/{root}/top");
    let make = async {
        for n in 0..300 {
            let made = tree::create_all(&maker, format!("{top}/a/b/{n}"), "", Mode::Persistent);
            if let Err(err) = made.await {
                assert_eq!(err.kind(), ErrorKind::Contended, "{err}");
            }
        }
    };
    let take = async {
        for _ in 0..30 {
            if let Err(err) = tree::remove_all(&taker, &top).await {
                let expected = [ErrorKind::Contended, ErrorKind::NoNode];
                assert!(expected.contains(&err.kind()), "{err}");
            }
        }
    };
    tokio::join!(make, take);
    tree::remove_all(&taker, format!("/zk/nyc/{root}")).await.unwrap();
}

#[tokio::test]
async fn protected_ancestors_are_left_alone_and_named() {
    let (conn, root) = (connect(), fresh_root());
    let top = format!("/zk/nyc/{root}");
    tree::create_all(&conn, format!("{top}/q"), "", Mode::Persistent).await.unwrap();
    conn.set_acl(&top, vec![Acl::world(Perms::ADMIN)], Version::Any).await.unwrap();
    let options = CreateOptions::from(Mode::Ephemeral).with_acl(vec![Acl::world(Perms::FILE)]);
    tree::create_all(&conn, format!("{top}/q/r/s"), "", &options).await.unwrap();
    assert_eq!(conn.acl(format!("{top}/q/r")).await.unwrap().0, Acl::open());
    let err = tree::create_all(&conn, format!("{top}/x/y"), "", &options).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NoAuth, format!("{top}/x").as_str()));
    let err = tree::remove_all(&conn, &top).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NoAuth, top.as_str()));
    conn.set_acl(&top, Acl::open(), Version::Any).await.unwrap();
    tree::remove_all(&conn, &top).await.unwrap();
}

#[tokio::test]
async fn eight_writers_lose_no_increment() {
    let root = fresh_root();
    let path = format!("/zk/nyc/{root}");
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (conn, path) = (connect(), path.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    change::retry_change(&conn, &path, Mode::Persistent, |old| {
                        let count = old.map_or(0, |node| node.data.len());
                        Ok::<_, Error>(Some("x".repeat(count + 1)))
                    })
                    .await
                    .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let conn = connect();
    assert_eq!(conn.get(&path).await.unwrap().data.len(), 200);
    tree::remove_all(&conn, &path).await.unwrap();
}

#[tokio::test]
async fn a_wildcard_finds_what_is_there_and_tells_which_cell_is_down() {
    let (conn, root) = (connect(), fresh_root());
    for path in ["nyc/{}/b/x", "nyc/{}/a/x", "sjc/{}/c/x", "sjc/{}/d"] {
        let path = format!("/zk/{}", path.replace("{}", &root));
        tree::create_all(&conn, path, "", Mode::Persistent).await.unwrap();
    }
    let short = Within::new(conn, Duration::from_secs(3));
    let found = wildcard::resolve(&short, [format!("/zk/*/{root}/[a-d]/x")]).await.unwrap();
    let expected = ["nyc/{}/a/x", "nyc/{}/b/x", "sjc/{}/c/x"];
    let spelled = |path: &str| ZkPath::new(format!("/zk/{}", path.replace("{}", &root))).unwrap();
    assert_eq!(found.paths, expected.map(spelled));
    assert_eq!(found.failed.len(), 1);
    assert_eq!(found.failed[0].prefix, "/zk/down");
    for cell in ["nyc", "sjc"] {
        tree::remove_all(&short, format!("/zk/{cell}/{root}")).await.unwrap();
    }
}
