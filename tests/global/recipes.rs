//! Recipes on a set: what they write for themselves is the first's business, and mirrors get it behind.

use futures::FutureExt as _;
use support::tapped::TappedSet;
use zkcells::recipes::{
    Barrier, CyclicBarrier, DoubleBarrier, Election, FencedRegister, Lock, PidNode, PidState,
    QueueLock, Released, RwLock, ShardLock,
};

use zkcells::{CellConfig, Dialer, Dialled, Error, tree};

use super::*;

/// What a request has, so that none waits for a mirror, and a busy machine does not matter.
const WAIT: Duration = Duration::from_secs(2);

/// Each recipe once, from nothing, by one client of whose set a mirror does not answer, which has it at
/// `top`.
async fn all_recipes(conn: Arc<dyn Conn>, top: &str, first: &MemoryQuorum) {
    let at = |path: &str| format!("{top}{path}");
    for lock in [
        Lock::new(conn.clone(), at("/locks/one")),
        Lock::new(conn.clone(), at("/locks/two")).with_delay(Duration::from_millis(1)),
    ] {
        let guard = soon("the lock", lock.acquire()).await.unwrap();
        assert_eq!(guard.release().await, Released::Released);
    }

    let lock = RwLock::new(conn.clone(), at("/rw/lock"));
    let guard = soon("to read", lock.read()).await.unwrap();
    assert_eq!(guard.release().await, Released::Released);
    let guard = soon("to write", lock.write()).await.unwrap();
    let guard = guard.downgrade().await.unwrap();
    assert_eq!(guard.release().await, Released::Released);

    // The queue is its user's, and so is what is in it.
    tree::create_all(&first.connect(), at("/queue"), "", Mode::Persistent).await.unwrap();
    conn.create(at("/queue/me"), "", Mode::Ephemeral).await.unwrap();
    let turn = QueueLock::new(conn.clone(), at("/queue/me"));
    let guard = soon("the turn", turn.wait()).await.unwrap();
    assert_eq!(guard.release().await, Released::Released);

    let election = Election::new(conn.clone(), at("/elections/one")).with_info("me");
    let guard = soon("the election", election.campaign()).await.unwrap();
    assert_eq!(election.leader().await.unwrap().unwrap().info.as_deref(), Some("me"));
    assert_eq!(guard.resign().await, Released::Released);

    let node = PidNode::new(conn.clone(), at("/pids/me")).with_contents("me");
    let guard = soon("the pid node", node.hold()).await.unwrap();
    assert_eq!(guard.state(), PidState::Held);
    assert_eq!(guard.release().await, Released::Released);

    let barrier = Barrier::new(conn.clone(), at("/barriers/one"));
    soon("the closing", barrier.set()).await.unwrap();
    let mut waiting = Box::pin(barrier.wait());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(barrier.set().await.unwrap_err().kind(), ErrorKind::NodeExists);
    soon("the opening", barrier.unset()).await.unwrap();
    soon("the way", waiting).await.unwrap();

    let parties =
        ["a", "b"].map(|id| DoubleBarrier::new(conn.clone(), at("/barriers/double"), id, 2));
    let (a, b) = soon("both", async { tokio::join!(parties[0].enter(), parties[1].enter()) }).await;
    let out = async { tokio::join!(a.unwrap().exit(), b.unwrap().exit()) };
    let (a, b) = soon("both out", out).await;
    a.and(b).unwrap();

    let party = CyclicBarrier::new(conn.clone(), at("/barriers/cyclic"), 2);
    for _ in 0..2 {
        let (a, b) = soon("all", async { tokio::join!(party.wait(), party.wait()) }).await;
        assert_eq!(a.unwrap() + b.unwrap(), 1);
    }

    let shards =
        ShardLock::new(conn.clone(), at("/shards")).with_wait_time(Duration::from_millis(20));
    for _ in 0..2 {
        let range = soon("the range", shards.acquire()).await.unwrap();
        assert_eq!(soon("the word", range.ack()).await, Released::Released);
    }
}

#[tokio::test]
async fn every_recipe_works_from_nothing_while_a_mirror_is_away() {
    for knows_all in [true, false] {
        let set = Set::new(GlobalOptions::default()).await;
        set.conn.create("/warm", "", Mode::Persistent).await.unwrap();
        let client = if knows_all { set } else { set.another() };
        client.lines[2].lose_connection();
        all_recipes(Arc::new(Within::new(client.conn.clone(), WAIT)), "", &client.quorums[0]).await;
    }
}

#[tokio::test]
async fn what_recipes_left_while_a_mirror_was_away_is_brought_there() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    late.lines[2].lose_connection();
    all_recipes(Arc::new(Within::new(late.conn.clone(), WAIT)), "", &set.quorums[0]).await;
    late.lines[2].join();
    soon("the mirror", late.conn.settled()).await;
    // The queue was made behind the back of the set.
    let queue = |path: &str| path == "/queue" || path.starts_with("/queue/");
    let mut diff = set.diff().await;
    diff.retain(|(path, _, _)| !queue(path));
    assert_eq!(diff, []);
}

#[tokio::test]
async fn every_recipe_works_from_nothing_while_mirrors_are_silent() {
    let set = TappedSet::new(Duration::from_secs(10)).await;
    let silent = set.another();
    let (keep, kept) = tokio::sync::watch::channel(());
    for mirror in 1..3 {
        let kept = kept.clone();
        silent.taps[mirror].hook(move |request| {
            let (gone, mut kept) = (request.error(ErrorKind::ConnectionLoss), kept.clone());
            Some(Pending::new(async move {
                let _ = kept.changed().await;
                Err(gone)
            }))
        });
    }
    all_recipes(Arc::new(Within::new(silent.conn.clone(), WAIT)), "", &set.quorums[0]).await;
    drop(keep);
}

/// Gives a set that is there for whichever cell.
#[derive(Debug)]
struct There(Arc<GlobalConn>);

impl Dialer for There {
    fn dial(&self, _: &CellConfig) -> Option<Result<Dialled, Error>> {
        Some(Ok(Dialled::new(Within::new(self.0.clone(), WAIT))))
    }
}

#[tokio::test]
async fn every_recipe_works_through_the_whole_tree_while_all_mirrors_are_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let late = set.another();
    (1..3).for_each(|mirror| late.lines[mirror].lose_connection());
    let cells = Cells::builder().config_json(r#"{"nyc": "memory:"}"#).local_cell("nyc");
    let dialers: Vec<Arc<dyn Dialer>> = vec![Arc::new(There(late.conn.clone()))];
    let whole = MetaConn::with_dialers(cells.build().unwrap(), dialers);
    all_recipes(Arc::new(whole), "/zk/nyc", &set.quorums[0]).await;
}

#[tokio::test]
async fn what_a_user_writes_through_a_guard_mirrors_confirm_as_ever() {
    let set = Set::new(GlobalOptions::default()).await;
    let conn = Arc::new(Within::new(set.conn.clone(), WAIT));
    let guard = Lock::new(conn.clone(), "/lock").acquire().await.unwrap();
    let leader = Election::new(conn.clone(), "/election").campaign().await.unwrap();
    let shards = ShardLock::new(conn.clone(), "/shards").with_wait_time(Duration::from_millis(20));
    let shard = shards.acquire().await.unwrap();
    let write = |path: &str| Multi::new().create(path, "1", Mode::Persistent);
    guard.multi(write("/x")).await.unwrap();
    set.everywhere("/x", "1").await;
    set.lines[2].lose_connection();
    let errs = tokio::join!(
        guard.multi(write("/by-guard")),
        leader.multi(write("/by-leader")),
        shard.multi(write("/by-shard")),
    );
    for (path, err) in [("/by-guard", errs.0), ("/by-leader", errs.1), ("/by-shard", errs.2)] {
        let err = err.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotMirrored, "{path}: {err}");
        assert!(err.detail().unwrap().contains("the write stands on"), "{err}");
        assert_eq!(set.data(path).await[0].as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_register_says_not_mirrored_of_its_value_and_of_nothing_else() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/warm", "", Mode::Persistent).await.unwrap();
    let conn = Arc::new(Within::new(set.conn.clone(), WAIT));
    let guard = Lock::new(conn.clone(), "/lock").acquire().await.unwrap();
    set.lines[2].lose_connection();
    let register = FencedRegister::new(conn, "/values/of/mine");
    // Neither of the nodes above it is on that mirror, and the value is written all the same.
    let err = soon("the write", register.write(guard.token(), "1")).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NotMirrored, "/values/of/mine"), "{err}");
    assert!(err.detail().unwrap().contains("the write stands on"), "{err}");
    assert_eq!(register.read().await.unwrap().unwrap().data, "1");
}
