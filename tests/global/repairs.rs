//! Finding differences, and mending them.

use super::*;

/// Spoils a tree of some hundred nodes on both mirrors, in all ways.
async fn spoilt() -> Set {
    let set = Set::new(GlobalOptions::default()).await;
    let nodes = (0..300).map(|n| (format!("/t/{}/{n:03}", n % 7), n.to_string()));
    zkcells::tree::create_many(&*set.conn, nodes, Mode::Persistent).await.unwrap();
    set.conn.create("/t/e", "", Mode::Ephemeral).await.unwrap();
    let mirror = set.quorums[1].connect();
    zkcells::tree::remove_all(&mirror, "/t/3").await.unwrap();
    mirror.set("/t/4/004", "x", Version::Any).await.unwrap();
    mirror.set_acl("/t/4/011", vec![Acl::world(Perms::ALL); 1], Version::Any).await.unwrap();
    mirror
        .set_acl("/t/4/018", vec![Acl::world(Perms::READ | Perms::ADMIN)], Version::Any)
        .await
        .unwrap();
    let other = set.quorums[2].connect();
    zkcells::tree::create_all(&other, "/u/extra/deep", "", Mode::Persistent).await.unwrap();
    other.create("/t/5/extra", "", Mode::Persistent).await.unwrap();
    set
}

#[tokio::test]
async fn a_diff_tells_each_difference_and_writes_nothing() {
    let set = spoilt().await;
    let found = set.diff().await;
    let missing = found.iter().filter(|(path, quorum, kind)| {
        path.starts_with("/t/3") && *quorum == 2 && *kind == Kind::Missing
    });
    assert_eq!(missing.count(), 1 + 43);
    let rest: Vec<_> = found.iter().filter(|(path, ..)| !path.starts_with("/t/3")).collect();
    let expected = [
        ("/t/4/004", 2, Kind::Data),
        ("/t/4/018", 2, Kind::Acl),
        ("/t/5/extra", 3, Kind::Extra),
        ("/u", 3, Kind::Extra),
        ("/u/extra", 3, Kind::Extra),
        ("/u/extra/deep", 3, Kind::Extra),
    ];
    for (path, quorum, kind) in expected {
        assert!(rest.contains(&&(path.to_string(), quorum, kind)), "{path}: {rest:?}");
    }
    assert_eq!(rest.len(), expected.len(), "{rest:?}");
    assert_eq!(set.diff().await, found);
}

#[tokio::test]
async fn a_repair_mends_all_of_it_and_says_what() {
    let set = spoilt().await;
    let mut found = set.diff().await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let mut mended = Vec::new();
    while let Some(one) = repair.next().await {
        let one = one.unwrap();
        mended.push((one.path.to_string(), one.quorum, one.kind));
    }
    found.sort();
    mended.sort();
    assert_eq!(mended, found);
    assert_eq!(set.diff().await, []);
    assert!(repair.progress().compared > 300);
    assert_eq!(repair.progress().next, None);
    let of = |quorum: &MemoryQuorum| {
        let conn = quorum.connect();
        async move { conn.get("/t/3/003").await.unwrap().data }
    };
    assert_eq!(of(&set.quorums[1]).await, of(&set.quorums[0]).await);
}

#[tokio::test]
async fn a_repair_that_was_ended_goes_on_where_it_was() {
    let set = spoilt().await;
    let all = set.diff().await;
    let (mut told, mut from, mut legs) = (Vec::new(), None, 0);
    // Ended again and again before it is through.
    loop {
        let mut diff = repair::diff(&set.conn, "/").unwrap();
        if let Some(from) = from.take() {
            diff = diff.from(from);
        }
        legs += 1;
        let mut is_over = false;
        for _ in 0..legs * 10 {
            let Some(one) = diff.next().await else {
                is_over = true;
                break;
            };
            let one = one.unwrap();
            told.push((one.path.to_string(), one.quorum, one.kind));
        }
        if is_over {
            break;
        }
        from = diff.progress().next;
    }
    assert!(legs > 2);
    told.sort();
    told.dedup();
    let mut all = all;
    all.sort();
    assert_eq!(told, all);
}

#[tokio::test]
async fn nothing_is_deleted_when_the_first_cannot_be_listed() {
    let set = spoilt().await;
    set.conn
        .set_acl(
            "/t/6",
            vec![Acl::digest(Perms::ALL, "other", "x"), Acl::world(Perms::CREATE)],
            Version::Any,
        )
        .await
        .unwrap();
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let (mut failed, mut mended) = (Vec::new(), Vec::new());
    while let Some(one) = repair.next().await {
        match one {
            Ok(one) => mended.push(one.kind),
            Err(err) => failed.push(err.to_string()),
        }
    }
    assert!(!mended.contains(&Kind::Extra) && mended.contains(&Kind::Missing), "{mended:?}");
    assert!(failed.iter().any(|err| err.contains("could not be listed completely")), "{failed:?}");
    assert_eq!(set.data("/t/5/extra").await, [None, None, has("")]);
}

#[tokio::test]
async fn a_mirror_is_complete_though_another_is_away() {
    let options = GlobalOptions::default().with_require(Require::AtLeast(1));
    let set = Set::new(options.clone()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    set.conn.promote(2).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    let options = options.with_wait(Duration::from_millis(300));
    let new = Set::over([second, third, first], options);
    new.lines[2].lose_connection();
    let mut repair = repair::repair(&new.conn, "/").unwrap();
    let mut failed = Vec::new();
    while let Some(one) = soon("an item", repair.next()).await {
        failed.extend(one.err().map(|err| err.to_string()));
    }
    assert!(failed.len() == 1 && failed[0].contains("left out"), "{failed:?}");
    let status = soon("status", new.conn.status()).await;
    assert!(status[1].identity.as_ref().unwrap().complete);
    let status = soon("status", new.another().conn.status()).await;
    assert!(!status[2].identity.as_ref().unwrap().complete);
}
