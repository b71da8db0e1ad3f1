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
        assert!(err.to_string().contains("old backup"), "{err}");
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
