//! The fault tools do what they say, on real servers and as `ZkConn` sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use support::shared::ensemble;
use support::{broken, soon};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, Fate, FaultProxy, OpKind};
use zkcells::testing::servers::{self, Ensemble};
use zkcells::testing::wire::ErrorCode;
use zkcells::{
    Acl, Conn as _, ConnExt as _, Error, ErrorKind, EventKind, LeaveWatch, Mode, Multi, Op,
    Pending, Reply, Request, Session, SessionOptions, TreeEvent, Version, ZkConn, ZkPath,
};

fn nyc() -> String {
    LocalCells::up().unwrap().addrs("nyc").unwrap()
}

async fn connect(addrs: &str) -> ZkConn {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(4));
    ZkConn::connect(addrs, options).await.unwrap()
}

/// A proxy, a connection through it, one that goes past it, and the path of a fresh node.
async fn through() -> (FaultProxy, ZkConn, ZkConn, String) {
    let proxy = FaultProxy::to(&nyc()).await.unwrap();
    let (conn, witness) = (connect(&proxy.addr()).await, connect(&nyc()).await);
    let root = format!("/{}", fresh_root());
    witness.create(&root, "", Mode::Persistent).await.unwrap();
    (proxy, conn, witness, root)
}

fn within(op: Op, path: &str, wait: Duration) -> Request {
    Request::new(op, ZkPath::new(path).unwrap()).within(wait)
}

// --- connections ------------------------------------------------------------------------------

#[tokio::test]
async fn a_cut_breaks_connections_and_lets_new_ones_be_made() {
    let (proxy, conn, _, root) = through().await;
    let id = conn.session("/").await.unwrap().id();
    assert_eq!(proxy.sessions(), [id]);
    proxy.cut();
    assert_eq!(proxy.bites().cut, 1);
    conn.get(&root).await.unwrap();
    proxy.reset();
    assert_eq!(proxy.bites().cut, 2);
    conn.get(&root).await.unwrap();
    assert_eq!(conn.session("/").await.unwrap().id(), id);
}

#[tokio::test]
async fn a_reset_is_one() {
    let proxy = FaultProxy::to(&nyc()).await.unwrap();
    let stream = tokio::net::TcpStream::connect(proxy.addr()).await.unwrap();
    soon("the connection", async {
        while proxy.connections() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    proxy.reset();
    let end = soon("the end", async {
        stream.readable().await.unwrap();
        stream.try_read(&mut [0; 1])
    });
    assert_eq!(end.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_is_refused_comes_in_after_join() {
    let (proxy, conn, _, root) = through().await;
    proxy.refuse();
    conn.get(&root).await.unwrap();
    assert_eq!(proxy.bites().refused, 0, "open connections stay");
    proxy.cut();
    proxy.until(|bites| bites.cut == 1 && bites.refused > 0).await;
    let get = within(Op::Get(LeaveWatch::No), &root, Duration::from_millis(50));
    conn.call(get).await.unwrap_err();
    proxy.join();
    conn.get(&root).await.unwrap();
}

#[tokio::test]
async fn a_black_hole_to_the_server_holds_requests() {
    let (proxy, conn, witness, root) = through().await;
    proxy.black_hole(Direction::ToServer);
    let made = conn.create(format!("{root}/x"), "", Mode::Persistent);
    proxy.until(|bites| bites.held > 0).await;
    assert_eq!(witness.exists(format!("{root}/x")).await.unwrap(), None);
    proxy.heal();
    soon("the answer", made).await.unwrap();
}

#[tokio::test]
async fn a_black_hole_to_the_client_holds_answers() {
    let (proxy, conn, witness, root) = through().await;
    let path = format!("{root}/x");
    let (_, made) = witness.exists_watch(&path).await.unwrap();
    proxy.black_hole(Direction::ToClient);
    let get = within(Op::Get(LeaveWatch::No), &root, Duration::from_millis(50));
    assert_eq!(conn.call(get).await.unwrap_err().kind(), ErrorKind::Timeout);
    let create = conn.create(&path, "", Mode::Persistent);
    soon("the node", made).await;
    proxy.until(|bites| bites.held > 0).await;
    proxy.heal();
    soon("the answer", create).await.unwrap();
}

#[tokio::test]
async fn what_ran_into_a_black_hole_comes_out_even_of_those_who_have_gone() {
    let (proxy, conn, witness, root) = through().await;
    let path = format!("{root}/x");
    let (_, made) = witness.exists_watch(&path).await.unwrap();
    // A session that is taken up elsewhere ends the connection that it had.
    proxy.refuse();
    proxy.black_hole(Direction::Both);
    let session = conn.session("/").await.unwrap();
    let create = conn.create(&path, "", Mode::Persistent);
    broken(&session).await;
    assert_eq!(witness.exists(&path).await.unwrap(), None);
    proxy.heal();
    soon("the node", made).await;
    drop(create);
}

#[tokio::test]
async fn delays_keep_the_order_and_make_a_round_trip_longer() {
    let (proxy, conn, _, root) = through().await;
    let start = Instant::now();
    proxy.round_trip(Duration::from_millis(200));
    let both = [conn.set(&root, "1", Version::Any), conn.set(&root, "2", Version::Any)];
    let [one, two] = both.map(|set| async { set.await.unwrap().version });
    assert_eq!((one.await, two.await), (1, 2));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(proxy.bites().delayed >= 4, "{:?}", proxy.bites());
}

#[tokio::test]
async fn a_throttle_slows_large_values_down() {
    let (proxy, conn, _, root) = through().await;
    proxy.throttle(Some(100_000));
    let start = Instant::now();
    conn.set(&root, vec![7; 20_000], Version::Any).await.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(proxy.bites().throttled > 0);
    proxy.throttle(None);
}

#[tokio::test]
async fn dropping_a_proxy_ends_it() {
    let (proxy, conn, ..) = through().await;
    let (addr, session) = (proxy.addr(), conn.session("/").await.unwrap());
    drop(proxy);
    broken(&session).await;
    tokio::net::TcpStream::connect(addr).await.unwrap_err();
}

// --- requests ---------------------------------------------------------------------------------

/// A write on `root`, and what shows that it was carried out.
type Write = (OpKind, fn(&ZkConn, &str) -> Pending<Reply>, fn(&ZkConn, &str) -> Pending<bool>);

fn call(conn: &ZkConn, op: Op, path: &str) -> Pending<Reply> {
    conn.call(Request::new(op, ZkPath::new(path).unwrap()))
}

const WRITES: [Write; 5] = [
    (
        OpKind::Create,
        |conn, root| {
            let op = Op::Create { data: "".into(), options: Mode::Persistent.into() };
            call(conn, op, &format!("{root}/new"))
        },
        |conn, root| {
            let found = conn.exists(format!("{root}/new"));
            Pending::new(async move { Ok(found.await?.is_some()) })
        },
    ),
    (
        OpKind::Set,
        |conn, root| {
            let op = Op::Set { data: "x".into(), version: Version::Any };
            call(conn, op, root)
        },
        |conn, root| {
            let found = conn.get(root);
            Pending::new(async move { Ok(found.await?.data == "x") })
        },
    ),
    (
        OpKind::SetAcl,
        |conn, root| {
            let op = Op::SetAcl { acl: Acl::open(), version: Version::Any };
            call(conn, op, root)
        },
        |conn, root| {
            let found = conn.acl(root);
            Pending::new(async move { Ok(found.await?.1.aversion > 0) })
        },
    ),
    (
        OpKind::Multi,
        |conn, root| {
            let ops = Multi::new().check("/", Version::Any);
            let ops = ops.create(format!("{root}/by-multi"), "", Mode::Persistent);
            call(conn, Op::Multi(ops.into_ops().unwrap()), "/")
        },
        |conn, root| {
            let found = conn.exists(format!("{root}/by-multi"));
            Pending::new(async move { Ok(found.await?.is_some()) })
        },
    ),
    (
        OpKind::Delete,
        |conn, root| {
            let op = Op::Delete { version: Version::Any };
            call(conn, op, &format!("{root}/old"))
        },
        |conn, root| {
            let found = conn.exists(format!("{root}/old"));
            Pending::new(async move { Ok(found.await?.is_none()) })
        },
    ),
];

#[tokio::test]
async fn a_swallowed_reply_is_of_a_write_that_was_carried_out() {
    let (proxy, conn, witness, root) = through().await;
    witness.create(format!("{root}/old"), "", Mode::Persistent).await.unwrap();
    for (n, (kind, write, done)) in WRITES.into_iter().enumerate() {
        proxy.clear_log();
        proxy.swallow_reply(kind.below(&root));
        let outcome = write(&conn, &root);
        let bites = proxy.until(|bites| bites.swallowed == n as u64 + 1).await;
        assert_eq!(bites.dropped, 0);
        assert!(done(&witness, &root).await.unwrap(), "{kind:?} is done");
        let log = proxy.log();
        let lost = log.iter().find(|entry| entry.fate == Fate::Withheld).unwrap();
        assert_eq!((lost.direction, lost.kind), (Direction::ToClient, Some(kind)));
        // What the connection makes of it is its business; that it ends is ours.
        soon("the outcome", outcome).await.ok();
        conn.get(&root).await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_request_is_of_a_write_that_was_not_carried_out() {
    let (proxy, conn, witness, root) = through().await;
    witness.create(format!("{root}/old"), "", Mode::Persistent).await.unwrap();
    for (n, (kind, write, done)) in WRITES.into_iter().enumerate() {
        // It must not come back before we have looked.
        proxy.refuse();
        proxy.drop_request(OpKind::Write);
        let outcome = write(&conn, &root);
        proxy.until(|bites| bites.dropped == n as u64 + 1).await;
        assert!(!done(&witness, &root).await.unwrap(), "{kind:?} is not done");
        proxy.join();
        soon("the outcome", outcome).await.ok();
        conn.get(&root).await.unwrap();
    }
    assert_eq!(proxy.bites().swallowed, 0);
}

#[tokio::test]
async fn the_log_says_what_was_asked_and_answered() {
    let (proxy, conn, _, root) = through().await;
    let path = format!("{root}/none");
    conn.get(&path).await.unwrap_err();
    let steps = Multi::new().create(&path, "", Mode::Persistent).delete(&path, Version::Exact(7));
    conn.multi(steps).await.unwrap_err();
    let log = proxy.log();
    let get = log.iter().find(|entry| entry.is_request(OpKind::Read)).unwrap();
    assert_eq!(get.paths, std::slice::from_ref(&path));
    let reply = log.iter().find(|e| e.direction == Direction::ToClient && e.xid == get.xid);
    assert_eq!(reply.unwrap().error, Some(ErrorCode::NO_NODE));
    assert_eq!(reply.unwrap().op, get.op);
    let multi = log.iter().filter(|entry| entry.kind == Some(OpKind::Multi));
    let multi: Vec<_> = multi.map(|entry| (entry.paths.len(), entry.error)).collect();
    assert_eq!(multi, [(2, None), (2, Some(ErrorCode::BAD_VERSION))]);
    proxy.clear_log();
    conn.exists(&path).await.unwrap();
    assert!(!proxy.log().iter().any(|entry| entry.is_request(OpKind::Write)));
}

// --- events -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_late_event_comes_behind_an_answer_that_shows_its_change() {
    let (proxy, conn, witness, root) = through().await;
    let (_, mut watch) = conn.get_watch(&root).await.unwrap();
    proxy.late_event(Duration::from_millis(500));
    witness.set(&root, "new", Version::Any).await.unwrap();
    assert_eq!(conn.get(&root).await.unwrap().data, "new");
    assert!((&mut watch).now_or_never().is_none(), "not yet");
    assert_eq!(proxy.bites().late, 0);
    assert_eq!(soon("the event", watch).await.kind, EventKind::DataChanged);
    assert_eq!(proxy.bites().late, 1);
}

#[tokio::test]
async fn an_event_comes_twice() {
    let (proxy, conn, witness, root) = through().await;
    let mut tree = conn.watch_tree(&root).await.unwrap();
    proxy.twice_event();
    witness.set(&root, "new", Version::Any).await.unwrap();
    for _ in 0..2 {
        match soon("the event", tree.next()).await.unwrap() {
            TreeEvent::Changed(event) => assert_eq!(event.kind, EventKind::DataChanged),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(proxy.bites().doubled, 1);
}

// --- sessions ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_is_told_that_its_session_is_over_and_it_is_not() {
    let (proxy, conn, witness, root) = through().await;
    let path = format!("{root}/mine");
    conn.create(&path, "", Mode::Ephemeral).await.unwrap();
    let old = conn.session("/").await.unwrap();
    proxy.tell_expired();
    proxy.until(|bites| bites.told_expired == 1).await;
    assert!(witness.exists(&path).await.unwrap().is_some(), "the server knows nothing of it");
    let new = soon("a new session", another(&conn, old.id())).await.unwrap();
    assert_eq!(new.generation(), old.generation() + 1);
}

#[tokio::test]
async fn sessions_are_ended_as_if_they_had_timed_out() {
    let (proxy, conn, witness, root) = through().await;
    let path = format!("{root}/mine");
    conn.create(&path, "", Mode::Ephemeral).await.unwrap();
    let old = conn.session("/").await.unwrap();
    assert_eq!(proxy.end_sessions().await.unwrap(), 1);
    assert_eq!(proxy.bites().ended, 1);
    assert_eq!(witness.exists(&path).await.unwrap(), None);
    let new = soon("a new session", another(&conn, old.id())).await.unwrap();
    assert_eq!(new.generation(), old.generation() + 1);
}

/// The session that follows session `id`.
async fn another(conn: &ZkConn, id: i64) -> Result<Session, Error> {
    loop {
        match conn.session("/").await {
            Ok(session) if session.id() == id => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

// --- servers ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_server_that_is_stopped_is_silent_until_it_goes_on() {
    let ensemble = ensemble().await;
    let conn = connect(ensemble.addr(1)).await;
    ensemble.stop(1);
    let get = within(Op::Get(LeaveWatch::No), "/", Duration::from_millis(50));
    assert_eq!(conn.call(get).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(ensemble.ask(1, "srvr").await.is_none());
    ensemble.cont(1);
    conn.get("/").await.unwrap();
    ensemble.until_serving(1).await;
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_another_and_comes_back_as_a_follower() {
    let ensemble = ensemble().await;
    let conn = connect(&ensemble.addrs()).await;
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Ephemeral).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    let old = ensemble.kill_leader().await;
    assert!(!ensemble.serves(old).await);
    let new = ensemble.until_another_leads(old).await;
    assert_ne!(new, old);
    conn.set(&root, "still here", Version::Any).await.unwrap();
    assert_eq!(conn.session("/").await.unwrap().id(), id);
    assert!(ensemble.sessions().await.unwrap().contains(&id));
    ensemble.restart(old);
    ensemble.until_serving(old).await;
    assert_eq!(ensemble.info(old).await.unwrap().mode, servers::Mode::Follower);
    let back = connect(ensemble.addr(old)).await;
    back.sync("/").await.unwrap();
    assert_eq!(back.get(&root).await.unwrap().data, "still here");
}

#[tokio::test]
async fn a_follower_cut_off_from_its_leader_answers_reads_of_sessions_that_are_over() {
    let ensemble = ensemble().await;
    let leader = ensemble.until_one_leads().await;
    let follower = leader % 3 + 1;
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(1));
    let conn = ZkConn::connect(ensemble.addr(follower), options).await.unwrap();
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Ephemeral).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    assert_eq!(ensemble.connected(follower).await, [id]);
    let witness = connect(ensemble.addr(leader)).await;
    witness.sync("/").await.unwrap();
    let (_, gone) = witness.exists_watch(&root).await.unwrap();
    ensemble.cut_from_peers(follower);
    ensemble.until_ended(id).await;
    assert_eq!(soon("the end", gone).await.kind, EventKind::Deleted);
    assert!(conn.exists(&root).await.unwrap().is_some(), "and seen all the same");
    assert!(ensemble.held() > 0);
    ensemble.join_peers(follower);
}

#[tokio::test]
async fn a_leader_cut_off_from_its_followers_is_replaced() {
    let ensemble = ensemble().await;
    let old = ensemble.until_one_leads().await;
    let held = ensemble.held();
    ensemble.cut_from_peers(old);
    let new = ensemble.until_another_leads(old).await;
    connect(ensemble.addr(new)).await.sync("/").await.unwrap();
    assert!(ensemble.held() > held);
    ensemble.join_peers(old);
    ensemble.until_serving(old).await;
    assert_eq!(ensemble.leader().await, Some(new));
}

#[tokio::test]
async fn servers_count_watches_and_connections() {
    let ensemble = ensemble().await;
    let conn = connect(ensemble.addr(2)).await;
    let before = ensemble.watches(2).await.unwrap();
    let (_, watch) = conn.exists_watch("/none").await.unwrap();
    assert_eq!(ensemble.watches(2).await.unwrap(), before + 1);
    drop(watch);
    let id = conn.session("/").await.unwrap().id();
    assert_eq!(ensemble.connected(2).await.iter().filter(|own| **own == id).count(), 1);
    conn.close().await.unwrap();
    ensemble.until_ended(id).await;
}

#[tokio::test]
async fn dropping_an_ensemble_ends_its_servers() {
    let ensemble = Ensemble::start(1).await.unwrap();
    assert_eq!(ensemble.leader().await, Some(1));
    let addr = ensemble.addrs();
    ensemble.stop(1);
    drop(ensemble);
    servers::ask(&addr, "srvr").await.unwrap_err();
}

/// Whoever starts cells under a lock, or reads what their starter prints, need not wait for their end.
#[test]
fn servers_keep_nothing_open_of_whoever_starts_them() {
    let run = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh_root());
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("map"), "one 1").unwrap();
    let script = |line: &str| {
        let mut script = std::process::Command::new("bash");
        script.args(["-c", line]).current_dir(env!("CARGO_MANIFEST_DIR"));
        script.env("ZKCELLS_RUN", &run).env("ZKCELLS_MAP", run.join("map"));
        script.output().unwrap()
    };
    let up = script(r#"exec 7>"$ZKCELLS_RUN/held"; cells/up"#);
    let pid = std::fs::read_to_string(run.join("one/1/pid")).unwrap();
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", pid.trim()))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .collect();
    let down = script("cells/down");
    std::fs::remove_dir_all(&run).unwrap();
    assert!(up.status.success() && down.status.success(), "{up:?} {down:?}");
    let log = run.join("one/1/server.log");
    assert!(open.contains(&log), "{open:?}");
    let theirs = ["held", "lock"].map(|name| run.join(name));
    assert!(!open.iter().any(|file| theirs.contains(file)), "{open:?}");
}
