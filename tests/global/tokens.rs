//! Fencing tokens across firsts that follow one another.

use zkcells::recipes::{FencedRegister, Lock, contenders};

use support::tapped::TappedSet;

use super::*;

/// Clients of quorums that all are the same cell.
fn client(quorums: [&MemoryQuorum; 3]) -> Arc<GlobalConn> {
    let options = SessionOptions::default().with_label("global");
    let conns =
        quorums.map(|quorum| Arc::new(quorum.connect_with(options.clone())) as Arc<dyn Conn>);
    Arc::new(GlobalConn::new(conns, GlobalOptions::default()))
}

#[tokio::test]
async fn what_a_new_first_grants_is_later_than_all_that_the_old_one_granted() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let [first, second, third] = &quorums;
    let old = client([first, second, third]);
    old.init().await.unwrap();
    // The numbers of the old one are far ahead.
    let busy = first.connect();
    for _ in 0..100 {
        busy.set("/", "", Version::Any).await.unwrap();
    }
    assert_eq!(old.session("/").await.unwrap().epoch(), 1);
    let register = FencedRegister::new(old.clone(), "/register");
    let guard = Lock::new(old.clone(), "/lock").acquire().await.unwrap();
    let before = guard.token().clone();
    register.write(&before, "old").await.unwrap();
    client([first, second, third]).promote(2).await.unwrap();
    let new = client([second, first, third]);
    assert_eq!(new.session("/").await.unwrap().epoch(), 2);
    let lock = Lock::new(new.clone(), "/lock");
    let guard = soon("the lock", lock.acquire()).await.unwrap();
    let after = guard.token().clone();
    assert_eq!((before.epoch(), after.epoch()), (1, 2));
    assert!(after.zxid() < before.zxid(), "{after} and {before}");
    assert!(after > before, "{after} and {before}");
    assert_eq!(contenders(&*new, "/lock").await.unwrap()[0].token, after);
    // So the resource follows the new holder, and refuses the old one.
    let register = FencedRegister::new(new.clone(), "/register");
    register.write(&after, "new").await.unwrap();
    let err = register.write(&before, "late").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::StaleToken, "{err}");
    assert_eq!(register.read().await.unwrap().unwrap().data, "new");
}

#[tokio::test]
async fn a_session_of_one_quorum_has_no_epoch_and_none_is_told_of_a_wrong_first() {
    let set = Set::new(GlobalOptions::default()).await;
    assert_eq!(set.lines[0].session("/").await.unwrap().epoch(), 0);
    // The first thing that this client asks for, too.
    assert_eq!(set.another().conn.session("/").await.unwrap().epoch(), 1);
    set.conn.promote(2).await.unwrap();
    for old in [&set, &set.another()] {
        let err = old.conn.session("/").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    }
}

#[tokio::test]
async fn a_guard_is_lost_when_another_was_made_the_first() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let [first, second, third] = &quorums;
    let old = client([first, second, third]);
    old.init().await.unwrap();
    let guard = Lock::new(old.clone(), "/lock").acquire().await.unwrap();
    // Whatever else is held there, one after the other.
    let other = Lock::new(old.clone(), "/other").acquire().await.unwrap();
    assert!(guard.is_valid() && other.is_valid());
    client([first, second, third]).promote(2).await.unwrap();
    soon("the loss of a guard", guard.lost()).await;
    soon("the loss of the other", other.lost()).await;
    assert!(!guard.is_valid() && !other.is_valid());
    let new = Lock::new(client([second, first, third]), "/lock");
    assert!(soon("the lock", new.acquire()).await.unwrap().is_valid());
    // Nobody is granted anything there any more.
    let err = soon("an answer", old.hold("/lock")).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::NotSent | ErrorKind::WrongQuorum), "{err}");
    let err = soon("an answer", old.hold("/lock")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
}

#[tokio::test]
async fn a_quorum_that_is_made_the_first_again_grants_later_tokens_to_those_who_stay() {
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
    let [first, second, third] = &quorums;
    let [a, b] = [(); 2].map(|()| client([first, second, third]));
    a.init().await.unwrap();
    let lock = Lock::new(a.clone(), "/lock");
    lock.acquire().await.unwrap().release().await;
    // Somebody makes 2 the first, and dies once all others are stopped.
    let dies = TappedSet::over(quorums.clone(), Duration::from_secs(10));
    dies.taps[1].hook(|request| {
        let is_change = matches!(&request.op, Op::Multi(_));
        is_change.then(|| Pending::ready(Err(request.error(ErrorKind::NotSent))))
    });
    dies.conn.promote(2).await.unwrap_err();
    client([first, second, third]).promote(1).await.unwrap();
    let guard = soon("the lock", Lock::new(b, "/lock").acquire()).await.unwrap();
    let before = guard.token().clone();
    assert_eq!(before.epoch(), 2);
    guard.release().await;
    // A write that was barred tells whoever stayed.
    let guard = match soon("an answer", lock.acquire()).await {
        Ok(guard) => guard,
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
            soon("the lock", lock.acquire()).await.unwrap()
        }
    };
    assert!(guard.token() > &before, "{} and {before}", guard.token());
}
