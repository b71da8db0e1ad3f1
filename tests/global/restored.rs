//! A first that was restored from an old backup.

use super::*;

/// A set whose first holds what it held before the last write to `/a`.
async fn restored(options: GlobalOptions) -> Set {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let backup = trust::copy(&set.quorums[0]).await;
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    let [_, second, third] = set.quorums.clone();
    Set::over([backup, second, third], options)
}

fn in_order(set: &Set, order: [usize; 3]) -> Set {
    let options = set.conn.options().clone();
    Set::over(order.map(|index| set.quorums[index].clone()), options)
}

#[tokio::test]
async fn wherever_it_stands_in_the_list_it_is_not_promoted_without_a_word() {
    let set = restored(GlobalOptions::default()).await;
    for (number, order) in [(1, [0, 1, 2]), (2, [1, 0, 2]), (3, [2, 1, 0])] {
        let ops = in_order(&set, order);
        let err = ops.conn.promote(number).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        let word = format!("promote global {number} --old-first-is-gone --though-incomplete");
        assert!(err.to_string().contains("old backup") && err.to_string().contains(&word), "{err}");
    }
    assert_eq!(set.data("/a").await, [has("1"), has("2"), has("2")]);
}

#[tokio::test]
async fn a_mirror_that_stands_in_front_of_the_list_is_not_taken_for_one() {
    let set = Set::new(GlobalOptions::default()).await;
    for n in 0..5 {
        set.conn.create(format!("/a{n}"), "1", Mode::Persistent).await.unwrap();
    }
    let ops = in_order(&set, [1, 0, 2]);
    let err = ops.conn.set("/a1", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    ops.conn.promote(1).await.unwrap();
    ops.conn.set("/a1", "2", Version::Any).await.unwrap();
    ops.everywhere("/a1", "2").await;
}

#[tokio::test]
async fn it_is_told_and_promoted_on_a_word_though_a_mirror_is_silent() {
    let options = GlobalOptions::default().with_wait(Duration::from_millis(500));
    let ops = restored(options).await;
    ops.lines[2].lose_connection();
    let status = soon("status", ops.conn.status()).await;
    assert!(status[0].to_string().contains("old backup"), "{}", status[0]);
    let err = soon("an answer", ops.conn.promote(1)).await.unwrap_err();
    assert!(err.to_string().contains("--without 3"), "{err}");
    let word = Promotion::default().though_incomplete().without(3);
    assert_eq!(soon("an answer", ops.conn.promote_with(1, &word)).await.unwrap().epoch, 2);
}

/// A client that has written to `/b`, and is taken to a first that lacks the last write to `/a` then.
async fn taken_there(writes: usize) -> (Set, Arc<GlobalConn>) {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/a", "/b"] {
        set.conn.create(path, "1", Mode::Persistent).await.unwrap();
    }
    let (idle, lines) = trust::moving(&set);
    idle.set("/b", "2", Version::Any).await.unwrap();
    let backup = trust::copy(&set.quorums[0]).await;
    for _ in 0..writes {
        set.conn.set("/a", "2", Version::Any).await.unwrap();
    }
    *lines[0].0.lock().unwrap() = Arc::new(backup.connect());
    let [_, second, third] = set.quorums.clone();
    (Set::over([backup, second, third], GlobalOptions::default()), idle)
}

#[tokio::test]
async fn who_was_idle_does_not_count_it_up_by_writes_to_other_nodes() {
    let (set, idle) = taken_there(1).await;
    // Some wait for their turn already.
    let writes: Vec<_> = (3..8).map(|n| idle.set("/b", n.to_string(), Version::Any)).collect();
    for write in writes {
        let err = soon("an answer", write).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("old backup"), "{err}");
    }
    let err = idle.create("/e", "", Mode::Ephemeral).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/b", "2").await;
    assert_eq!(set.data("/a").await, [has("1"), has("2"), has("2")]);
}

#[tokio::test]
async fn what_belongs_to_a_session_of_it_is_not_written_either() {
    let (set, idle) = taken_there(1).await;
    let session = idle.session("/").await.unwrap();
    let bound = BoundConn::new(idle.clone(), &session);
    let err = bound.set("/b", "3", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/b", "2").await;
}

/// Has the first count far more than it ever did.
async fn count_up(set: &Set) {
    for _ in 0..20 {
        set.quorums[0].connect().set("/zkcells/global/count", "9", Version::Any).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_finds_it_out_has_it_never_believed_again() {
    // By a write, a look, a promotion.
    for way in 0..3 {
        let (set, idle) = taken_there(2).await;
        match way {
            0 => idle.set("/b", "3", Version::Any).await.map(drop).unwrap_err(),
            1 => set.conn.status().await[0].wrong.clone().unwrap(),
            _ => set.conn.promote(1).await.unwrap_err(),
        };
        count_up(&set).await;
        let new = set.another();
        let mut repair = repair::repair(&new.conn, "/").unwrap();
        for err in [
            new.conn.set("/b", "3", Version::Any).await.map(drop).unwrap_err(),
            new.conn.create("/e", "", Mode::Ephemeral).await.map(drop).unwrap_err(),
            new.conn.init().await.map(drop).unwrap_err(),
            new.conn.promote(1).await.map(drop).unwrap_err(),
            repair.next().await.unwrap().map(drop).unwrap_err(),
            new.conn.status().await[0].wrong.clone().unwrap(),
        ] {
            assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{way}: {err}");
            assert!(err.to_string().contains("old backup"), "{way}: {err}");
        }
        assert_eq!(set.data("/a").await, [has("1"), has("2"), has("2")]);
        set.everywhere("/b", "2").await;
        // On the operator's word it is the first again, or a mirror takes its place.
        if way == 0 {
            new.conn.promote(2).await.unwrap();
            continue;
        }
        let word = Promotion::default().though_incomplete();
        new.conn.promote_with(1, &word).await.unwrap();
        new.conn.set("/a", "3", Version::Any).await.unwrap();
        new.everywhere("/a", "3").await;
    }
}
