//! Who is refused: quorums that are none, or another, or older.

use support::tapped::{Outcome, TappedSet};

use super::*;

#[tokio::test]
async fn a_set_that_was_never_made_takes_no_write() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let set = Set::over(quorums, GlobalOptions::default());
    let err = set.conn.create("/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.op(), err.path()), (ErrorKind::WrongQuorum, "create", "/a"));
    assert!(err.to_string().contains("zk global init"), "{err}");
    set.nowhere("/a").await;
    let made = set.conn.init().await.unwrap();
    assert_eq!((made.epoch, made.role), (1, Role::First));
    // Done again, it changes nothing.
    assert_eq!(set.conn.init().await.unwrap(), made);
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.everywhere("/a", "1").await;
    assert!(set.conn.status().await.iter().all(|quorum| quorum.wrong.is_none()));
}

#[tokio::test]
async fn two_who_make_a_set_at_once_make_one() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let set = Set::over(quorums, GlobalOptions::default());
    let others: Vec<Set> = (0..5).map(|_| set.another()).collect();
    let made = futures::future::join_all(others.iter().map(|other| other.conn.init())).await;
    let ids: std::collections::BTreeSet<String> =
        made.into_iter().map(|made| made.unwrap().set).collect();
    assert_eq!(ids.len(), 1);
    assert!(set.conn.status().await.iter().all(|quorum| quorum.wrong.is_none()));
}

#[tokio::test]
async fn a_first_that_lost_everything_wipes_nobody() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let [_, second, third] = set.quorums.clone();
    let empty = Set::over([MemoryQuorum::new(), second, third], GlobalOptions::default());
    for answer in [
        empty.conn.create("/b", "", Mode::Persistent).await.map(drop),
        empty.conn.delete("/a", Version::Any).await,
        empty.conn.init().await.map(drop),
        repair::repair(&empty.conn, "/").unwrap().next().await.unwrap().map(drop),
    ] {
        let err = answer.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("zk global promote"), "{err}");
    }
    assert_eq!(empty.data("/a").await, [None, has("1"), has("1")]);
    assert_eq!(empty.data("/b").await, [None, None, None]);
    // Not even the node of the set is there.
    assert!(empty.quorums[0].connect().exists("/zkcells").await.unwrap().is_none());
}

#[tokio::test]
async fn a_first_that_loses_its_identity_takes_nothing_from_then_on() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // As if it had come back empty between two calls of a session that is open all along.
    let first = set.quorums[0].connect();
    zkcells::tree::remove_all(&first, "/zkcells").await.unwrap();
    let err = set.conn.create("/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/a", "1").await;
    set.nowhere("/b").await;
}

#[tokio::test]
async fn a_mirror_of_another_set_is_not_touched() {
    let (set, other) =
        (Set::new(GlobalOptions::default()).await, Set::new(GlobalOptions::default()).await);
    let [first, second, _] = set.quorums.clone();
    let mixed = Set::over([first, second, other.quorums[1].clone()], GlobalOptions::default());
    let err = mixed.conn.create("/a", "", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert!(err.to_string().contains("belongs to another set"), "{err}");
    assert_eq!(mixed.conn.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    mixed.nowhere("/a").await;
    // Even if it comes in while writes go on.
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    imitate(&other.quorums[1], &set.quorums[2]).await;
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
    // The next one is not even begun.
    let err = set.conn.set("/a", "3", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
}

#[tokio::test]
async fn a_mirror_is_made_the_first_and_the_old_one_comes_back() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    // Quorum 1 is away, and has something that nobody else has.
    first.connect().create("/lost", "", Mode::Persistent).await.unwrap();
    let options = GlobalOptions::default().with_wait(Duration::from_millis(200));
    let ops = Set::over(set.quorums.clone(), options);
    ops.lines[0].lose_connection();
    let made = soon("another first", ops.conn.promote(2)).await.unwrap();
    assert_eq!((made.epoch, made.role), (2, Role::First));
    // Whoever has the old order is refused, before and after, with nothing written.
    for old in [&set, &set.another()] {
        let err = old.conn.set("/a", "2", Version::Any).await.unwrap_err();
        assert!(matches!(err.kind(), ErrorKind::WrongQuorum | ErrorKind::NotMirrored), "{err}");
        let err = old.conn.set("/a", "3", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert!(err.to_string().contains("another was made the first"), "{err}");
    }
    // The new order: the old first is of an older epoch, and takes nothing before it is let in.
    let options = GlobalOptions::default().with_require(Require::AtLeast(1));
    let new = Set::over([second, third, first], options);
    new.conn.set("/a", "4", Version::Any).await.unwrap();
    let err = repair::repair(&new.conn, "/").unwrap().next().await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert_eq!(new.conn.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    new.conn.init_with(Rejoin::AsMirrors).await.unwrap();
    let mut repair = repair::repair(&new.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    new.everywhere("/a", "4").await;
    new.nowhere("/lost").await;
    assert_eq!(new.diff().await, []);
}

#[tokio::test]
async fn an_old_first_that_answers_is_stopped_before_there_is_another() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.another().conn.promote(3).await.unwrap();
    let err = set.conn.set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    set.everywhere("/a", "1").await;
    let status = set.conn.status().await;
    let roles: Vec<_> = status.iter().map(|one| one.identity.as_ref().unwrap().role).collect();
    assert_eq!(roles, [Role::Mirror, Role::Mirror, Role::First]);
    assert_eq!(set.conn.promote(4).await.unwrap_err().kind(), ErrorKind::BadArguments);
}

#[tokio::test]
async fn the_nodes_of_the_set_are_not_its_users() {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/zkcells/global", "/zkcells/global/fence-00", "/zkcells/global/x"] {
        let err = set.conn.create(path, "", Mode::Persistent).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ReadOnly, "{path}");
    }
    let err = set.conn.multi(Multi::new().delete("/zkcells/global/fence-00", Version::Any)).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[tokio::test]
async fn a_quorum_that_holds_something_is_taken_over_on_the_operators_word_alone() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "ours", Mode::Persistent).await.unwrap();
    // A quorum of others, by a wrong address.
    let others = MemoryQuorum::new();
    others.connect().create("/a", "theirs", Mode::Persistent).await.unwrap();
    let [first, second, _] = set.quorums.clone();
    let wrong = Set::over([first, second, others], GlobalOptions::default());
    let err = wrong.conn.init().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert!(err.to_string().contains("--take-over"), "{err}");
    wrong.conn.set("/a", "new", Version::Any).await.unwrap_err();
    assert_eq!(wrong.data("/a").await[2], has("theirs"));
    let word = InitOptions::default().with_take_over(TakeOver::Allow);
    wrong.conn.init_with(word).await.unwrap();
    wrong.conn.set("/a", "new", Version::Any).await.unwrap();
    wrong.everywhere("/a", "new").await;
}

#[tokio::test]
async fn a_quorum_whose_server_lags_behind_does_not_pass_for_empty() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    quorums[1].connect().create("/a", "1", Mode::Persistent).await.unwrap();
    let set = TappedSet::over(quorums.clone(), Duration::from_secs(10));
    // What it shows is from before there was anything, until all have agreed to something newer.
    let (early, mut is_synced) = (MemoryQuorum::new().connect(), false);
    set.taps[1].hook(move |request| {
        is_synced |= matches!(request.op, Op::Sync);
        let lags = !is_synced && matches!(request.op, Op::Children(_));
        lags.then(|| early.call(request.clone()))
    });
    let err = set.conn.init().await.unwrap_err();
    assert!(err.to_string().contains("--empty-first"), "{err}");
    assert!(quorums[1].connect().exists("/zkcells").await.unwrap().is_none());
}

#[tokio::test]
async fn all_that_a_set_asks_for_itself_is_to_be_answered_in_its_time() {
    let wait = Duration::from_secs(3);
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let set = TappedSet::over(quorums, wait);
    let longest = Arc::new(Mutex::new((Duration::ZERO, String::new())));
    let watch = || {
        for tap in &set.taps {
            let longest = longest.clone();
            tap.hook(move |request| {
                let (left, mut longest) = (request.deadline.remaining(), longest.lock().unwrap());
                if left > longest.0 {
                    *longest = (left, format!("{request:?}"));
                }
                None
            });
        }
    };
    watch();
    set.conn.init().await.unwrap();
    set.conn.status().await;
    // What users do has its own.
    set.taps.iter().for_each(|tap| tap.unhook());
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.quorums[1].connect().set("/a", "2", Version::Any).await.unwrap();
    watch();
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    set.conn.promote(2).await.unwrap();
    let (left, request) = longest.lock().unwrap().clone();
    assert!(left <= wait, "{left:?}: {request}");
}

/// As one that is listed by another name of its host.
#[tokio::test]
async fn one_quorum_is_not_two_mirrors() {
    let (first, second) = (MemoryQuorum::new(), MemoryQuorum::new());
    let twice = Set::over([first.clone(), second.clone(), second], GlobalOptions::default());
    let err = twice.conn.init().await.unwrap_err();
    assert!(err.to_string().contains("is the same quorum as number 2"), "{err}");
    let options = GlobalOptions::default().with_require(Require::AtLeast(1));
    let [first, second, _] = twice.quorums.clone();
    // Even where one would do.
    let asked = Set::over([first, second.clone(), second], options);
    let err = asked.conn.create("/a", "1", Mode::Persistent).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    let status = asked.conn.status().await;
    assert!(status[1].wrong.is_none(), "{:?}", status[1]);
    assert_eq!(status[2].wrong.as_ref().unwrap().kind(), ErrorKind::WrongQuorum);
    asked.nowhere("/a").await;
    let err = asked.conn.promote(2).await.unwrap_err();
    assert!(err.to_string().contains("is the same quorum as number 2"), "{err}");
}

/// The top of a set is part of what it holds.
#[tokio::test]
async fn mirrors_of_a_set_whose_first_holds_its_top_are_not_complete() {
    let options = GlobalOptions::default().with_top(ZkPath::new("/zk/a").unwrap());
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    zkcells::tree::create_all(&quorums[0].connect(), "/zk/a", "data", Mode::Persistent)
        .await
        .unwrap();
    let set = Set::over(quorums, options);
    set.conn.init().await.unwrap();
    let status = set.conn.status().await;
    let complete: Vec<bool> =
        status.iter().map(|one| one.identity.as_ref().unwrap().complete).collect();
    assert_eq!(complete, [true, false, false]);
}

#[tokio::test]
async fn a_quorum_that_holds_the_top_of_a_set_comes_into_it_on_a_word_alone() {
    let options = GlobalOptions::default().with_top(ZkPath::new("/zk/a").unwrap());
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let [first, second, third] = quorums.clone();
    let pair = [Arc::new(first.connect()) as Arc<dyn Conn>, Arc::new(second.connect())];
    GlobalConn::new(pair, options.clone()).init().await.unwrap();
    zkcells::tree::create_all(&third.connect(), "/zk/a", "theirs", Mode::Persistent).await.unwrap();
    let set = Set::over(quorums, options);
    let err = set.conn.init().await.unwrap_err();
    assert!(err.to_string().contains("--take-over"), "{err}");
    let word = InitOptions::default().with_take_over(TakeOver::Allow);
    set.conn.init_with(word).await.unwrap();
}
