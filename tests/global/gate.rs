//! Waiting until it is known who the quorums are.

use std::sync::atomic::{AtomicUsize, Ordering};

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
