//! Waiting until it is known who the quorums are.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::tapped::TappedSet;

use super::*;

#[tokio::test]
async fn a_caller_with_little_time_takes_none_from_the_others() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    late.lines[0].lose_connection();
    let short = briefly(&late.conn).create("/short", "", Mode::Persistent);
    let long = late.conn.create("/long", "", Mode::Persistent);
    let err = soon("an answer", short).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    late.lines[0].join();
    soon("the other", long).await.unwrap();
    late.everywhere("/long", "").await;
    late.nowhere("/short").await;
}

#[tokio::test]
async fn nobody_waits_longer_than_he_said() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    late.lines[0].lose_connection();
    let long = late.conn.create("/long", "", Mode::Persistent);
    let start = std::time::Instant::now();
    let short = briefly(&late.conn).create("/short", "", Mode::Persistent);
    assert_eq!(short.await.unwrap_err().kind(), ErrorKind::NotSent);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(long);
}

/// A connection that counts how often its quorum is asked who it is.
#[derive(Debug)]
struct Asked(MemoryConn, AtomicUsize);

impl Conn for Asked {
    fn call(&self, request: Request) -> Pending<Reply> {
        let home = ZkPath::new("/zkcells/global").unwrap();
        if let Op::ReadMany(reads) = &request.op
            && reads.contains(&zkcells::Read::Children(home))
        {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        self.0.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[tokio::test]
async fn a_mirror_that_stays_wrong_is_no_reason_to_ask_all_again() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "0", Mode::Persistent).await.unwrap();
    let other = Set::new(GlobalOptions::default()).await;
    let first = Arc::new(Asked(set.quorums[0].connect(), AtomicUsize::new(0)));
    let conns: [Arc<dyn Conn>; 3] =
        [first.clone(), Arc::new(set.quorums[1].connect()), Arc::new(other.quorums[1].connect())];
    let conn = GlobalConn::new(conns, set.conn.options().clone());
    for n in 0..20 {
        conn.set("/a", n.to_string(), Version::Any).await.unwrap();
    }
    let asked = first.1.load(Ordering::SeqCst);
    assert!((1..=3).contains(&asked), "{asked} times");
    // What is news is one.
    set.wipe(1).await;
    for _ in 0..2 {
        conn.set("/a", "x", Version::Any).await.unwrap_err();
    }
    assert!(first.1.load(Ordering::SeqCst) > asked);
}

#[tokio::test]
async fn a_new_client_takes_locks_while_all_mirrors_are_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let made = zkcells::recipes::Lock::new(set.conn.clone(), "/lock").acquire().await.unwrap();
    made.release().await;
    let late = set.another();
    (1..3).for_each(|mirror| late.lines[mirror].lose_connection());
    let lock = zkcells::recipes::Lock::new(late.conn.clone(), "/lock");
    let guard = soon("the lock", lock.acquire()).await.unwrap();
    assert!(guard.is_valid());
    guard.release().await;
    soon("a pid node", late.conn.create("/pid", "", Mode::Ephemeral)).await.unwrap();
    let put = soon("new data", late.conn.set("/pid", "2", Version::Any)).await.unwrap();
    assert_eq!(put.version, 1);
    // What mirrors must confirm is not even sent to the first.
    let err = soon("an answer", briefly(&late.conn).create("/a", "", Mode::Persistent)).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::NotSent);
    (1..3).for_each(|mirror| late.lines[mirror].join());
    soon("a write", late.conn.create("/b", "", Mode::Persistent)).await.unwrap();
    set.everywhere("/b", "").await;
    set.nowhere("/a").await;
}

#[tokio::test]
async fn reads_do_not_wait_for_a_mirror_however_many_writes_come() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let late = set.another();
    late.lines[1].lose_connection();
    // One of them always waits.
    let writers = [0, 1].map(|_| {
        let conn = late.conn.clone();
        tokio::spawn(async move {
            loop {
                let late = Within::new(conn.clone(), Duration::from_secs(6));
                let _ = late.set("/a", "2", Version::Any).await;
            }
        })
    });
    // Behind a write of its own.
    let write = late.conn.set("/a", "3", Version::Any);
    for _ in 0..2 {
        let read = Within::new(late.conn.clone(), Duration::from_secs(6)).get("/a");
        assert_eq!(soon("a read", read).await.unwrap().data, "1");
    }
    assert_eq!(soon("an answer", write).await.unwrap_err().kind(), ErrorKind::NotSent);
    writers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn all_that_is_the_firsts_alone_goes_on_while_mirrors_are_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    (1..3).for_each(|mirror| late.lines[mirror].lose_connection());
    let conn = Within::new(late.conn.clone(), Duration::from_secs(5));
    let closed = vec![Acl::world(Perms::READ | Perms::DELETE | Perms::ADMIN)];
    soon("a node", conn.create("/e", "1", Mode::Ephemeral)).await.unwrap();
    soon("new data", conn.set("/e", "2", Version::Any)).await.unwrap();
    soon("a list", conn.set_acl("/e", closed.clone(), Version::Any)).await.unwrap();
    // In their order, also where they wait for one another.
    let calls = (
        conn.set("/e", "3", Version::Any),
        conn.set_acl("/e", Acl::open(), Version::Any),
        conn.set("/e", "4", Version::Any),
        conn.delete("/e", Version::Any),
    );
    assert_eq!(soon("new data", calls.0).await.unwrap_err().kind(), ErrorKind::NoAuth);
    soon("a list", calls.1).await.unwrap();
    soon("new data", calls.2).await.unwrap();
    soon("its end", calls.3).await.unwrap();
    set.nowhere("/e").await;
}

#[tokio::test]
async fn what_was_ephemeral_once_needs_mirrors_when_another_took_its_place() {
    let options = GlobalOptions::default().with_wait(Duration::from_millis(300));
    for is_by_another in [false, true] {
        let set = Set::new(options.clone()).await;
        let late = set.another();
        let session = late.conn.session("/").await.unwrap();
        late.conn.create("/e", "", Mode::Ephemeral).await.unwrap();
        set.quorums[0].expire(session.id());
        let maker = if is_by_another { &set } else { &late };
        maker.conn.create("/e", "lasting", Mode::Persistent).await.unwrap();
        // Who the mirrors are is in doubt, and they do not say.
        (1..3).for_each(|mirror| late.lines[mirror].lose_connection());
        soon("an answer", late.conn.init()).await.unwrap_err();
        // One by one, so that none of them waits for mirrors that another needs.
        let conn = Within::new(late.conn.clone(), Duration::from_millis(400));
        for answer in [
            conn.set("/e", "x", Version::Any).await.map(drop),
            conn.set_acl("/e", Acl::open(), Version::Any).await.map(drop),
            conn.delete("/e", Version::Any).await,
        ] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotSent, "{is_by_another}");
        }
        set.everywhere("/e", "lasting").await;
    }
}

#[tokio::test]
async fn so_many_calls_wait_for_a_set_and_no_more() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    late.lines[0].lose_connection();
    let call = || late.conn.set("/a", "", Version::Any);
    let waiting: Vec<_> = (0..64 * 1024).map(|_| call()).collect();
    let err = soon("an answer", call()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    assert!(err.to_string().contains("65536 requests wait for this set"), "{err}");
    // Others are not held up by them.
    soon("another set", set.conn.create("/a", "", Mode::Persistent)).await.unwrap();
    drop(waiting);
    late.lines[0].join();
    soon("a write", call()).await.unwrap();
}

#[tokio::test]
async fn a_doubt_that_comes_while_the_first_is_asked_is_not_forgotten() {
    let set = TappedSet::new(Duration::from_secs(10)).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // A new access list has the first asked right before it; the answer is late.
    let (came, go, line) =
        (Arc::new(Notify::new()), Arc::new(Notify::new()), set.taps[0].line.clone());
    let (tell, waits) = (came.clone(), go.clone());
    set.taps[0].hook(move |request| {
        let is_check = matches!(&request.op, Op::Multi(ops) if ops.len() == 1);
        is_check.then(|| {
            let (line, request, waits) = (line.clone(), request.clone(), waits.clone());
            tell.notify_one();
            Pending::new(async move {
                waits.notified().await;
                line.call(request).await
            })
        })
    });
    let list = set.conn.set_acl("/a", Acl::open(), Version::Any);
    soon("the question", came.notified()).await;
    // Whoever has given identities has all asked again.
    set.conn.init().await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    set.taps[1].hook(move |request| {
        let is_asked = matches!(&request.op, Op::ReadMany(reads) if reads.len() > 200);
        count.fetch_add(usize::from(is_asked), Ordering::SeqCst);
        None
    });
    go.notify_one();
    list.await.unwrap();
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
