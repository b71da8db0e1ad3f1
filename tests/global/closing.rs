//! The end of a connection, and what it still owed.

use super::*;

#[tokio::test]
async fn who_closes_it_again_waits_for_the_same_end() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // A write is under way, so that the end takes its time.
    set.lines[1].delay(Duration::from_millis(300));
    let write = set.conn.set("/a", "2", Version::Any);
    while set.data("/a").await[0] != has("2") {
        tokio::task::yield_now().await;
    }
    let mut closes = [set.conn.close(), set.conn.close()];
    for close in &mut closes {
        let early = tokio::time::timeout(Duration::from_millis(100), close).await;
        assert!(early.is_err(), "it ended before the write: {early:?}");
    }
    let err = set.conn.get("/a").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Closed);
    set.quorums[1].advance(Duration::from_millis(300));
    // The second has not cut short what the first waits for.
    soon("the write", write).await.unwrap();
    for close in closes {
        soon("the end", close).await.unwrap();
    }
    soon("once more", set.conn.close()).await.unwrap();
    for answer in [
        set.conn.set("/a", "3", Version::Any).await.map(drop),
        set.conn.session("/").await.map(drop),
        set.conn.set_acl("/a", Acl::open(), Version::Any).await.map(drop),
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Closed);
    }
    set.everywhere("/a", "2").await;
}

#[tokio::test]
async fn it_ends_in_time_with_debts_that_cannot_be_paid() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.lines[1].lose_connection();
    let err = briefly(&set.conn).set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert_eq!(set.conn.owed(), 1);
    // The quorum that is away cannot confirm it, which is told.
    let err = soon("the end", set.conn.close()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
    // Nobody waits for what nobody sees to any more.
    soon("quiet", set.conn.settled()).await;
    assert_eq!(set.conn.owed(), 1);
}

#[tokio::test]
async fn debts_that_cannot_be_paid_do_not_starve_the_others() {
    let set = Set::new(GlobalOptions::default()).await;
    let mirror = set.quorums[1].connect();
    let theirs = vec![Acl::world(Perms::READ), Acl::digest(Perms::ALL, "other", "x")];
    for n in 0..20 {
        let path = format!("/a-{n:02}");
        set.conn.create(&path, "1", Mode::Persistent).await.unwrap();
        mirror.set_acl(&path, theirs.clone(), Version::Any).await.unwrap();
        let err = set.conn.set(&path, "2", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotMirrored, "{err}");
    }
    set.conn.create("/z", "1", Mode::Persistent).await.unwrap();
    set.lines[1].lose_connection();
    briefly(&set.conn).set("/z", "2", Version::Any).await.unwrap_err();
    set.lines[1].join();
    soon("the one that can be paid", async {
        while set.data("/z").await[1] != has("2") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // A moment later, as it counts as owed until its batch is over.
    soon("the count", async {
        while set.conn.owed() != 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
