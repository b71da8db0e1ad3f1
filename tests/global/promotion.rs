//! Making another quorum the first: what is checked, and what only the operator's word allows.

use super::*;

/// A client that gives up soon on quorums that are away.
fn hasty(set: &Set, order: [usize; 3]) -> Set {
    let options = set.conn.options().clone().with_wait(Duration::from_millis(300));
    Set::over(order.map(|index| set.quorums[index].clone()), options)
}

async fn epochs(set: &Set) -> Vec<u64> {
    let status = set.conn.status().await;
    status.iter().map(|one| one.identity.as_ref().unwrap().epoch).collect()
}

#[tokio::test]
async fn a_mirror_that_is_silent_may_know_of_another_first() {
    let set = Set::new(GlobalOptions::default()).await;
    let ops = hasty(&set, [0, 1, 2]);
    ops.lines[2].lose_connection();
    let err = soon("an answer", ops.conn.promote(2)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    assert!(err.to_string().contains("--without 3"), "{err}");
    assert_eq!(epochs(&set).await, [1, 1, 1]);
    let word = Promotion::default().without(3);
    soon("another first", ops.conn.promote_with(2, &word)).await.unwrap();
    assert_eq!(epochs(&set).await, [2, 2, 1]);
}

/// Quorums 2 and 3 were both made the first in epoch 2, each while the other was away.
async fn two_firsts() -> Set {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    for (chosen, away) in [(2, [0, 2]), (3, [0, 1])] {
        let ops = hasty(&set, [0, 1, 2]);
        away.iter().for_each(|index| ops.lines[*index].lose_connection());
        let word = Promotion::default().without(5 - chosen);
        soon("a first", ops.conn.promote_with(chosen, &word)).await.unwrap();
    }
    assert_eq!(epochs(&set).await, [1, 2, 2]);
    set
}

#[tokio::test]
async fn two_firsts_of_one_epoch_stop_everything() {
    let set = two_firsts().await;
    let loose = GlobalOptions::default().with_require(Require::AtLeast(0));
    for order in [[1, 2, 0], [2, 1, 0]] {
        let client = Set::over(order.map(|index| set.quorums[index].clone()), loose.clone());
        let mut repair = repair::repair(&client.conn, "/").unwrap();
        for answer in [
            client.conn.set("/a", "2", Version::Any).await.map(drop),
            client.conn.delete("/a", Version::Any).await,
            client.conn.init_with(Rejoin::AsMirrors).await.map(drop),
            client.conn.promote(1).await.map(drop),
            repair.next().await.unwrap().map(drop),
        ] {
            let err = answer.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
            assert!(err.to_string().contains("--over-rivals"), "{err}");
        }
        let status = client.conn.status().await;
        assert!(status[0].wrong.is_some() && status[1].wrong.is_some(), "{status:?}");
    }
    set.everywhere("/a", "1").await;
}

#[tokio::test]
async fn of_two_firsts_the_operator_chooses_one() {
    let set = two_firsts().await;
    // What each has taken alone.
    for index in [1, 2] {
        let conn = set.quorums[index].connect();
        conn.create(format!("/only-{}", index + 1), "", Mode::Persistent).await.unwrap();
    }
    let word = Promotion::default().over_rivals();
    set.conn.promote_with(3, &word).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([third, second, first], GlobalOptions::default());
    assert_eq!(new.conn.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    new.conn.init_with(Rejoin::AsMirrors).await.unwrap();
    let mut repair = repair::repair(&new.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    new.conn.set("/a", "2", Version::Any).await.unwrap();
    new.everywhere("/a", "2").await;
    new.everywhere("/only-3", "").await;
    new.nowhere("/only-2").await;
}

#[tokio::test]
async fn a_quorum_of_another_set_is_never_promoted_nor_changed() {
    let set = Set::new(GlobalOptions::default()).await;
    let other = Set::new(GlobalOptions::default()).await;
    let [first, second, _] = set.quorums.clone();
    let mixed = Set::over([first, second, other.quorums[2].clone()], GlobalOptions::default());
    let word = Promotion::default().without(2).without(3).though_incomplete().over_rivals();
    for number in 1..=3 {
        let err = mixed.conn.promote_with(number, &word).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("check the addresses"), "{err}");
    }
    assert_eq!((epochs(&set).await, epochs(&other).await), (vec![1; 3], vec![1; 3]));
    other.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    other.everywhere("/a", "1").await;
}

#[tokio::test]
async fn a_mirror_that_came_back_empty_does_not_take_the_firsts_place() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.wipe(1).await;
    set.conn.init().await.unwrap();
    let complete = async || {
        let status = set.conn.status().await;
        status.iter().map(|one| one.identity.as_ref().unwrap().complete).collect::<Vec<_>>()
    };
    assert_eq!(complete().await, [true, false, true]);
    let err = set.conn.promote(2).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert!(err.to_string().contains("--though-incomplete"), "{err}");
    assert_eq!(epochs(&set).await, [1; 3]);
    // It takes writes, which make it no more complete.
    set.conn.create("/b", "2", Mode::Persistent).await.unwrap();
    assert_eq!(set.data("/b").await, [has("2"), has("2"), has("2")]);
    assert_eq!(complete().await, [true, false, true]);
    set.another().conn.promote(3).await.unwrap();
    // Whoever follows a new first may lack something of what that has.
    assert_eq!(complete().await, [false, false, true]);
    let word = Promotion::default().though_incomplete();
    assert_eq!(set.conn.promote_with(2, &word).await.unwrap().epoch, 3);
}

#[tokio::test]
async fn an_incomplete_mirror_confirms_only_for_want_of_a_complete_one() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.wipe(1).await;
    set.conn.init().await.unwrap();
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    soon("both", set.conn.settled()).await;
    // Quorum 2 has it then, and cannot take the first's place; quorum 3 could, and has it not.
    set.lines[2].lose_connection();
    let err = briefly(&set.conn).set("/a", "3", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert!(err.to_string().contains("(which is not complete)"), "{err}");
    set.lines[2].join();
    soon("both", set.conn.settled()).await;
    set.lines[1].lose_connection();
    briefly(&set.conn).set("/a", "4", Version::Any).await.unwrap();
    // With none that is complete, it is better than nothing.
    set.lines[1].join();
    set.wipe(2).await;
    set.conn.init().await.unwrap();
    set.conn.set("/a", "4", Version::Any).await.unwrap();
    soon("both", set.conn.settled()).await;
    set.lines[2].lose_connection();
    soon("a write", briefly(&set.conn).set("/a", "5", Version::Any)).await.unwrap();
}

#[tokio::test]
async fn a_set_does_not_begin_with_an_empty_first_before_full_mirrors() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    quorums[2].connect().create("/a", "1", Mode::Persistent).await.unwrap();
    let set = Set::over(quorums.clone(), GlobalOptions::default());
    let err = set.conn.init().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    for part in ["quorum 3", "holds nothing", "--empty-first"] {
        assert!(err.to_string().contains(part), "{err}\nlacks: {part}");
    }
    for quorum in &quorums {
        assert!(quorum.connect().exists("/zkcells").await.unwrap().is_none());
    }
    // With the full one in front, and on the operator's word, it does; nobody is complete then.
    let [first, second, third] = quorums;
    let right = Set::over([third.clone(), second, first], GlobalOptions::default());
    right.conn.init().await.unwrap();
    let status = right.conn.status().await;
    assert!(status[1..].iter().all(|one| !one.identity.as_ref().unwrap().complete));
    let mirror = MemoryQuorum::new();
    mirror.connect().create("/b", "", Mode::Persistent).await.unwrap();
    let other = Set::over([MemoryQuorum::new(), mirror, MemoryQuorum::new()], Default::default());
    let word = InitOptions::default().with_empty_first(EmptyFirst::Allow);
    other.conn.init_with(word).await.unwrap();
}

/// A set whose second quorum lacks what the third has, though it must confirm nothing.
async fn one_behind(require: Require) -> Set {
    let set = Set::new(GlobalOptions::default().with_require(require)).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    set
}

#[tokio::test]
async fn a_mirror_that_lacks_what_another_has_is_not_made_the_first() {
    let set = one_behind(Require::AtLeast(1)).await;
    set.lines[1].lose_connection();
    soon("a write", briefly(&set.conn).set("/a", "2", Version::Any)).await.unwrap();
    assert_eq!(set.data("/a").await, [has("2"), has("1"), has("2")]);
    let ops = hasty(&set, [0, 1, 2]);
    ops.lines[0].lose_connection();
    let err = soon("an answer", ops.conn.promote(2)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    for told in ["choose quorum 3", "--though-behind"] {
        assert!(err.to_string().contains(told), "{err}");
    }
    assert_eq!(epochs(&set.another()).await, [1, 1, 1]);
    soon("a first", ops.conn.promote(3)).await.unwrap();
    assert_eq!(set.data("/a").await[2], has("2"));
}

#[tokio::test]
async fn what_only_another_mirror_has_is_lost_on_the_operators_word_alone() {
    let set = one_behind(Require::AtLeast(1)).await;
    set.lines[1].lose_connection();
    soon("a write", briefly(&set.conn).set("/a", "2", Version::Any)).await.unwrap();
    let word = Promotion::default().though_behind();
    set.another().conn.promote_with(2, &word).await.unwrap();
    assert_eq!(epochs(&set.another()).await, [2, 2, 2]);
}

#[tokio::test]
async fn mirrors_that_have_the_same_may_follow_each_of_them() {
    for chosen in [2, 3] {
        let set = one_behind(Require::All).await;
        set.conn.set("/a", "2", Version::Any).await.unwrap();
        set.conn.promote(chosen).await.unwrap();
    }
}

/// A connection that does not send so many multis.
#[derive(Debug)]
struct Broken(MemoryConn, std::sync::atomic::AtomicUsize);

impl Conn for Broken {
    fn call(&self, request: Request) -> Pending<Reply> {
        let less = |left: usize| left.checked_sub(1);
        let order = std::sync::atomic::Ordering::SeqCst;
        if matches!(request.op, Op::Multi(_)) && self.1.fetch_update(order, order, less).is_ok() {
            return Pending::ready(Err(request.error(ErrorKind::NotSent)));
        }
        self.0.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[tokio::test]
async fn a_promotion_that_ended_halfway_is_finished_when_it_is_done_again() {
    for broken in 0..3 {
        let set = Set::new(GlobalOptions::default()).await;
        set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
        let conns = set.quorums.iter().zip(0..).map(|(quorum, index)| {
            let fails = usize::from(index == broken) * 2;
            Arc::new(Broken(quorum.connect(), fails.into())) as Arc<dyn Conn>
        });
        let ops = GlobalConn::new(conns, GlobalOptions::default());
        let mut tries = 0;
        while let Err(err) = ops.promote(2).await {
            assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
            tries += 1;
        }
        assert_eq!(tries, 2);
        assert_eq!(epochs(&set).await, [2; 3], "with quorum {} broken", broken + 1);
        // Nobody is left behind.
        let [first, second, third] = set.quorums.clone();
        let new = Set::over([second, first, third], GlobalOptions::default());
        new.conn.set("/a", "2", Version::Any).await.unwrap();
        set.everywhere("/a", "2").await;
    }
}
