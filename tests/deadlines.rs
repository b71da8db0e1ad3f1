//! Deadlines and retries: what is not with a server by its deadline never gets there, and who comes
//! back is found at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use support::random::{random, rounds};
use support::soon;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, Fate, FaultProxy, LogEntry, OpKind};
use zkcells::testing::servers::Ensemble;
use zkcells::{
    Conn as _, ConnExt as _, Deadline, ErrorKind, LeaveWatch, Mode, Op, Request, Session,
    SessionOptions, SessionState, Version, ZkConn, ZkPath,
};

/// What a machine that is busy may add to any time.
const SLACK: Duration = Duration::from_millis(700);

fn nyc() -> String {
    LocalCells::up().unwrap().addrs("nyc").unwrap()
}

/// A proxy, a connection through it, one that goes past it, and the path of a fresh node.
async fn through(timeout: Duration) -> (FaultProxy, ZkConn, ZkConn, String) {
    let proxy = FaultProxy::to(&nyc()).await.unwrap();
    let options = SessionOptions::default().with_session_timeout(timeout);
    let conn = ZkConn::connect(&proxy.addr(), options).await.unwrap();
    let witness = ZkConn::connect(&nyc(), SessionOptions::default()).await.unwrap();
    let root = format!("/{}", fresh_root());
    witness.create(&root, "", Mode::Persistent).await.unwrap();
    conn.sync("/").await.unwrap();
    (proxy, conn, witness, root)
}

fn request(op: Op, path: &str) -> Request {
    Request::new(op, ZkPath::new(path).unwrap())
}

fn create(path: &str) -> Request {
    request(Op::Create { data: "".into(), options: Mode::Persistent.into() }, path)
}

/// Breaks all connections and lets nobody in, until `join`; returns when `conn` has noticed.
async fn outage(proxy: &FaultProxy, conn: &ZkConn) {
    let session = conn.session("/").await.unwrap();
    let cut = proxy.bites().cut;
    proxy.refuse();
    proxy.cut();
    proxy.until(|bites| bites.cut > cut).await;
    broken(&session).await;
}

async fn broken(session: &Session) {
    soon("the break", async {
        while session.state() == SessionState::Connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The paths that clients have asked for, whatever for.
fn asked(proxy: &FaultProxy) -> BTreeSet<String> {
    let log = proxy.log();
    let requests = log.iter().filter(|entry| entry.is_request(OpKind::Any));
    requests.flat_map(|entry| entry.paths.clone()).collect()
}

// --- deadlines --------------------------------------------------------------------------------

#[tokio::test]
async fn a_call_without_a_deadline_of_its_own_ends_after_ten_seconds() {
    let (proxy, conn, _, root) = through(Duration::from_secs(60)).await;
    // One that is with a server that says nothing, and one that waits for a server.
    proxy.black_hole(Direction::ToClient);
    let other = FaultProxy::to(&nyc()).await.unwrap();
    other.black_hole(Direction::Both);
    let away = ZkConn::new(&other.addr(), SessionOptions::default()).unwrap();
    let start = Instant::now();
    let timed = async |call: Request, conn: &ZkConn| {
        let answer = conn.call(call).await;
        (answer.unwrap_err().kind(), start.elapsed())
    };
    let get = || request(Op::Get(LeaveWatch::No), &root);
    let set = request(Op::Set { data: "x".into(), version: Version::Any }, &root);
    let brief = Duration::from_millis(400);
    let (read, write, waiting, short) = tokio::join!(
        timed(get(), &conn),
        timed(set, &conn),
        timed(get(), &away),
        timed(get().within(brief), &away),
    );
    assert_eq!([read.0, write.0], [ErrorKind::Timeout, ErrorKind::OutcomeUnknown]);
    assert_eq!([waiting.0, short.0], [ErrorKind::NotSent; 2]);
    for (_, took) in [read, write, waiting] {
        assert!(took >= Deadline::DEFAULT && took < Deadline::DEFAULT + SLACK, "{took:?}");
    }
    assert!(short.1 >= brief && short.1 < brief + SLACK, "{short:?}");
    assert!(proxy.bites().held > 0 && other.bites().held > 0, "the holes bit");
}

// --- what is not sent -------------------------------------------------------------------------

#[tokio::test]
async fn what_was_late_or_withdrawn_during_an_outage_is_never_sent() {
    let (proxy, conn, witness, root) = through(Duration::from_secs(15)).await;
    let mut rng = random("late and withdrawn");
    for round in 0..rounds(3, 60) {
        outage(&proxy, &conn).await;
        proxy.clear_log();
        // Of each kind some, in an order of its own.
        let mut calls: Vec<(u8, String)> =
            (0..60).map(|n| (n % 3, format!("{root}/{}-{round}-{n}", n % 3))).collect();
        rng.shuffle(&mut calls);
        let (mut late, mut wanted) = (Vec::new(), Vec::new());
        for (kind, path) in &calls {
            let wait = Duration::from_millis(rng.u64(1..200));
            match kind {
                0 => late.push(conn.call(create(path).within(wait))),
                1 => drop(conn.call(create(path))),
                _ => wanted.push(conn.call(create(path))),
            }
        }
        for call in late {
            let err = soon("its deadline", call).await.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::NotSent);
        }
        assert_eq!(asked(&proxy), BTreeSet::new(), "nothing goes out meanwhile");
        proxy.join();
        for call in wanted {
            soon("the answer", call).await.unwrap();
        }
        // Requests leave in call order, so by now all others would have left, too.
        conn.sync("/").await.unwrap();
        let sent = asked(&proxy);
        for (kind, path) in &calls {
            assert_eq!(sent.contains(path), *kind == 2, "{path}");
            assert_eq!(witness.exists(path).await.unwrap().is_some(), *kind == 2, "{path}");
        }
    }
    let bites = proxy.bites();
    println!("{} outages, {} dials refused", bites.cut, bites.refused);
}

#[tokio::test]
async fn what_was_with_a_server_that_fell_silent_is_not_sent_again_after_its_deadline() {
    let (proxy, conn, _, root) = through(Duration::from_secs(4)).await;
    proxy.black_hole(Direction::ToServer);
    let brief = Duration::from_millis(300);
    let write = conn.call(create(&format!("{root}/x")).within(brief));
    let read = conn.call(request(Op::Get(LeaveWatch::No), &root).within(brief));
    assert_eq!(write.await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(proxy.bites().held > 0, "the hole bit");
    // What the hole holds is lost with its connection.
    outage(&proxy, &conn).await;
    proxy.heal();
    proxy.clear_log();
    proxy.join();
    soon("service", conn.sync("/")).await.unwrap();
    let log = proxy.log();
    let late = |kind| log.iter().filter(|entry| entry.is_request(kind)).count();
    assert_eq!(late(OpKind::Create), 0, "{log:?}");
    assert!(!asked(&proxy).contains(&root), "{log:?}");
}

#[tokio::test]
async fn no_more_than_256_requests_are_with_a_server() {
    let (proxy, conn, _, root) = through(Duration::from_secs(15)).await;
    proxy.black_hole(Direction::ToClient);
    proxy.clear_log();
    let calls: Vec<_> = (0..2000).map(|_| conn.get(&root)).collect();
    let under_way = |log: &[LogEntry]| {
        let (mut most, mut now) = (0_i32, 0_i32);
        for entry in log.iter().filter(|entry| entry.kind == Some(OpKind::Read)) {
            now += if entry.direction == Direction::ToServer { 1 } else { -1 };
            most = most.max(now);
        }
        most
    };
    // Its deadline passes in the queue, so by then the window is full.
    let last = request(Op::Sync, "/").within(Duration::from_millis(300));
    assert_eq!(conn.call(last).await.unwrap_err().kind(), ErrorKind::NotSent);
    let log = proxy.log();
    let sent = log.iter().filter(|entry| entry.is_request(OpKind::Read)).count();
    assert!(sent == 256 && proxy.bites().held > 0, "{sent}");
    proxy.heal();
    for call in join_all(calls).await {
        call.unwrap();
    }
    let log = proxy.log();
    assert_eq!(log.iter().filter(|entry| entry.is_request(OpKind::Read)).count(), 2000);
    assert!(under_way(&log) <= 256, "{}", under_way(&log));
    assert!(log.iter().all(|entry| entry.fate == Fate::Passed));
}

// --- coming back ------------------------------------------------------------------------------

/// How many dials an outage may cost: the pauses double from 50 to 500 ms and are up to half
/// shorter, and each dial may try its server twice: for the question, and for a session.
fn most_dials(outage: Duration) -> u64 {
    4 + 2 * u64::try_from(outage.as_millis() / 250).unwrap()
}

#[tokio::test]
async fn a_server_that_is_reached_again_is_served_within_a_second_however_long_it_was_away() {
    let mut rng = random("reconnects");
    let lengths = [500, 3000, 8000].into_iter();
    let outages = lengths.flat_map(|millis| [(millis, true), (millis, false)]);
    let outages = outages.map(|(millis, refusing)| {
        let length = Duration::from_millis(millis + rng.u64(..300));
        async move {
            let (proxy, conn, _, _) = through(Duration::from_secs(4)).await;
            if refusing {
                outage(&proxy, &conn).await;
            } else {
                proxy.black_hole(Direction::Both);
                // Dials from here on run into the hole.
                proxy.cut();
            }
            let before = proxy.bites();
            sleep(length).await;
            let during = proxy.bites();
            let dials = during.refused - before.refused;
            proxy.heal();
            proxy.join();
            let back = Instant::now();
            soon("service", conn.sync("/")).await.unwrap();
            let took = back.elapsed();
            println!("away {length:?}, refusing: {refusing}: {took:?}, {dials} dials");
            assert!(took < Duration::from_secs(1) + SLACK, "{took:?} after {length:?}");
            if refusing {
                assert!(dials > 0 && dials <= most_dials(length), "{dials} in {length:?}");
            } else {
                assert!(during.held > 0, "the hole bit: {during:?}");
            }
        }
    });
    join_all(outages).await;
}

#[tokio::test]
async fn a_server_that_runs_again_is_served_within_a_second_however_long_it_was_down() {
    let ensemble = Ensemble::start(1).await.unwrap();
    let conn = ZkConn::connect(&ensemble.addrs(), SessionOptions::default()).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    let lengths = [500, 3000, 8000];
    for millis in &lengths[..rounds(2, 3).min(3)] {
        let session = conn.session("/").await.unwrap();
        ensemble.kill(1);
        broken(&session).await;
        sleep(Duration::from_millis(*millis)).await;
        ensemble.restart(1);
        ensemble.until_serving(1).await;
        let back = Instant::now();
        soon("service", conn.sync("/")).await.unwrap();
        let took = back.elapsed();
        println!("down {millis} ms: {took:?}");
        assert!(took < Duration::from_secs(1) + SLACK, "{took:?} after {millis} ms");
        assert_eq!(conn.session("/").await.unwrap().id(), id, "the same session");
    }
}

/// A door before a server. While it is sick, who comes in hears nothing, then or ever after, as when
/// a host on the way has died.
struct Door {
    addr: String,
    sick: watch::Sender<Option<Sick>>,
    silenced: watch::Receiver<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sick {
    /// Nobody hears anything.
    All,
    /// The question whether it serves is answered, and nobody gets a session.
    Sessions,
}

impl Door {
    async fn to(server: String) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (sick, state) = watch::channel(None);
        let (count, silenced) = watch::channel(0);
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let now = *state.borrow();
                let mut word = [0; 4];
                let asks = now == Some(Sick::Sessions)
                    && client.peek(&mut word).await.is_ok()
                    && &word == b"srvr";
                if now.is_some() && !asks {
                    kept.push(client);
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                let (server, mut state) = (server.clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    let passing = tokio::io::copy_bidirectional(&mut client, &mut server);
                    tokio::select! {
                        // It ends when either side does, however that is.
                        _ = passing => {}
                        _ = state.wait_for(|state| state.is_some() && !asks) => {}
                    }
                });
            }
        });
        Door { addr, sick, silenced }
    }
}

#[tokio::test]
async fn a_connection_that_stays_silent_does_not_keep_a_client_from_a_server_that_is_back() {
    for sick in [Sick::All, Sick::Sessions] {
        let door = Door::to(nyc()).await;
        let conn = ZkConn::connect(&door.addr, SessionOptions::default()).await.unwrap();
        let session = conn.session("/").await.unwrap();
        door.sick.send_replace(Some(sick));
        broken(&session).await;
        let mut silenced = door.silenced.clone();
        // The first one may be of the connection that broke.
        soon("two who hear nothing", silenced.wait_for(|count| *count > 1)).await.unwrap();
        door.sick.send_replace(None);
        let back = Instant::now();
        soon("service", conn.sync("/")).await.unwrap();
        let took = back.elapsed();
        println!("{sick:?} silent: {took:?}");
        assert!(took < Duration::from_secs(1) + SLACK, "{took:?} after {sick:?}");
        assert_eq!(conn.session("/").await.unwrap().id(), session.id());
    }
}

#[tokio::test]
async fn clients_that_lost_the_same_server_do_not_come_back_in_step() {
    let proxy = FaultProxy::to(&nyc()).await.unwrap();
    let addr = proxy.addr();
    let each = (0..8).map(|_| ZkConn::connect(&addr, SessionOptions::default()));
    let conns: Vec<_> = join_all(each).await.into_iter().map(Result::unwrap).collect();
    let start = Instant::now();
    proxy.refuse();
    proxy.cut();
    assert_eq!(proxy.bites().cut, 8);
    // When each was refused: a client without jitter would meet the others each time.
    let mut times = Vec::new();
    while times.len() < 112 {
        let bites = proxy.until(|bites| bites.refused > times.len() as u64).await;
        times.resize(bites.refused as usize, start.elapsed());
    }
    let took = start.elapsed();
    assert!(times.len() as u64 <= 8 * most_dials(took), "{} in {took:?}", times.len());
    let steps: BTreeSet<u128> = times.iter().map(|at| at.as_millis() / 10).collect();
    assert!(steps.len() > 20, "in step: {times:?}");
    proxy.join();
    for conn in conns {
        soon("service", conn.sync("/")).await.unwrap();
    }
}
