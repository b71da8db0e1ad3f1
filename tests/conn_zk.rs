//! What `ZkConn` owes beyond the contract: dials, broken connections, limits. On real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use support::{servers, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::testing::wire::OpCode;
use zkcells::{
    Auth, Conn as _, ConnExt as _, ErrorKind, EventKind, LeaveWatch, Loss, Mode, Multi, Op,
    Request, SessionOptions, SessionState, TreeEvent, TreeWatch, Version, Within, ZkConn, ZkPath,
};

fn addrs(cell: &str) -> String {
    LocalCells::up().unwrap().addrs(cell).unwrap()
}

async fn connect(addrs: &str) -> ZkConn {
    ZkConn::connect(addrs, SessionOptions::default()).await.unwrap()
}

/// A connection through a relay, and the path of a fresh node.
async fn relayed() -> (FaultProxy, ZkConn, String) {
    let relay = FaultProxy::to(&addrs("nyc")).await.unwrap();
    let conn = connect(&relay.addr()).await;
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    (relay, conn, root)
}

/// Cuts the connection, waits until `conn` has noticed, lets `meanwhile` happen, and joins it.
async fn outage<F: Future<Output = ()>>(relay: &FaultProxy, conn: &ZkConn, meanwhile: F) {
    let session = conn.session("/").await.unwrap();
    let before = relay.bites().cut;
    relay.down();
    soon("the break", async {
        while session.state() == SessionState::Connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(relay.bites().cut > before, "the cut bit");
    meanwhile.await;
    relay.heal();
    relay.join();
}

async fn gap(tree: &mut TreeWatch) {
    soon("the gap", async { while tree.next().await.unwrap() != TreeEvent::Gap {} }).await;
}

// --- dials ------------------------------------------------------------------------------------

#[tokio::test]
async fn dead_and_unresolvable_hosts_among_good_ones_do_not_matter() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let hosts = format!("127.0.0.1:1,{},no-such-host.invalid:2181,{silent}", addrs("nyc"));
    let start = Instant::now();
    let conn = connect(&hosts).await;
    conn.exists("/").await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_quorum_that_nobody_serves_is_told_at_once_and_in_one_line() {
    let err = ZkConn::connect("127.0.0.1:1", SessionOptions::default()).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "connect 127.0.0.1:1: not sent: no server reached (127.0.0.1:1: connection refused); \
         check the address and that the servers run"
    );
    assert_eq!(err.kind(), ErrorKind::NotSent);
}

#[tokio::test]
async fn a_silent_quorum_costs_a_call_its_deadline_and_no_more() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let conn = ZkConn::new(&addr, SessionOptions::default()).unwrap();
    let get = Request::new(Op::Get(LeaveWatch::No), ZkPath::root());
    let start = Instant::now();
    let err = conn.call(get.within(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent);
    let why = "did not take it by the deadline; check that the servers run and answer";
    assert_eq!(err.to_string(), format!("get /: not sent: {addr} {why}"));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // Nor does a dial under way hold up the end.
    let start = Instant::now();
    conn.close().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// A server that does not say whether it serves: it allows no four-letter words.
async fn reserved(server: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut word = [0; 4];
                let asked = client.peek(&mut word).await.is_ok() && &word == b"srvr";
                if asked {
                    client.read_exact(&mut word).await.unwrap();
                    client.write_all(b"srvr is not in the whitelist.").await.unwrap();
                } else if let Ok(mut server) = tokio::net::TcpStream::connect(server).await {
                    // It ends when either side does, however that is.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_silent_host_does_not_matter_where_servers_do_not_say_that_they_serve() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = reserved(addrs("nyc")).await;
    let conn = connect(&format!("{},{good}", silent.local_addr().unwrap())).await;
    conn.exists("/").await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_caller_may_wait_for_ever() {
    // None of its calls has a deadline that a timer reaches.
    let conn = ZkConn::new(&addrs("nyc"), SessionOptions::default()).unwrap();
    let conn = Within::new(conn, Duration::MAX);
    conn.exists("/").await.unwrap();
    conn.exists("/").await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn servers_grant_the_session_timeout_that_was_asked_for() {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(7));
    let conn = ZkConn::connect(&addrs("nyc"), options).await.unwrap();
    assert_eq!(conn.session("/").await.unwrap().timeout(), Duration::from_secs(7));
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_wrong_digest_is_told_in_one_line() {
    let nyc = addrs("nyc");
    let owner = SessionOptions::default().with_auth(Auth::digest("app", "right"));
    let owner = ZkConn::connect(&nyc, owner).await.unwrap();
    let root = format!("/{}", fresh_root());
    let private = zkcells::CreateOptions::from(Mode::Persistent)
        .with_acl(vec![zkcells::Acl::creator(zkcells::Perms::ALL)]);
    owner.create(&root, "", private).await.unwrap();
    let stranger = SessionOptions::default().with_auth(Auth::digest("app", "wrong"));
    let stranger = ZkConn::connect(&nyc, stranger).await.unwrap();
    let err = stranger.get(&root).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!("get {root}: permission denied: this session authenticated by digest only")
    );
    let path = zkcells::ZkPath::new(&root).unwrap();
    let many = stranger.read_many([zkcells::Read::Get(path)]).await.unwrap();
    assert_eq!(many[0].as_ref().unwrap_err().to_string(), err.to_string());
    let nobody = connect(&nyc).await;
    let err = nobody.get(&root).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        format!(
            "get {root}: permission denied: this session has not authenticated; \
             see \"auth\" of the cell"
        )
    );
    owner.delete(&root, Version::Any).await.unwrap();
}

// --- sessions ---------------------------------------------------------------------------------

#[tokio::test]
async fn close_returns_when_the_server_has_ended_the_session() {
    let nyc = addrs("nyc");
    let (conn, witness) = (connect(&nyc).await, connect(&nyc).await);
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Ephemeral).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    assert!(servers::serves_session(&nyc, id).await);
    conn.close().await.unwrap();
    assert!(!servers::serves_session(&nyc, id).await);
    witness.sync("/").await.unwrap();
    assert_eq!(witness.exists(&root).await.unwrap(), None);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_session() {
    let nyc = addrs("nyc");
    let (conn, witness) = (connect(&nyc).await, connect(&nyc).await);
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Ephemeral).await.unwrap();
    let (_, gone) = witness.exists_watch(&root).await.unwrap();
    drop(conn);
    assert_eq!(soon("the end", gone).await.kind, EventKind::Deleted);
}

#[tokio::test]
async fn whoever_closes_again_waits_for_the_same_end() {
    let (relay, conn, _) = relayed().await;
    relay.black_hole(Direction::Both);
    let first = conn.close();
    let mut second = conn.close();
    // Only after both were taken: a call is refused by then.
    let err = soon("the refusal", conn.exists("/")).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Closed);
    let mut third = conn.close();
    assert!((&mut second).now_or_never().is_none(), "the server has not seen the end");
    assert!((&mut third).now_or_never().is_none(), "the server has not seen the end");
    relay.heal();
    for close in [first, second, third] {
        soon("the end", close).await.unwrap();
    }
    conn.close().await.unwrap();
}

/// A connection of a short session through a relay that lets nothing through to the server, as it is
/// being closed.
async fn closed_in_a_hole() -> (FaultProxy, zkcells::Pending<()>, i64) {
    let relay = FaultProxy::to(&addrs("nyc")).await.unwrap();
    let hasty = SessionOptions::default().with_session_timeout(Duration::from_secs(2));
    let conn = ZkConn::connect(&relay.addr(), hasty).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    relay.black_hole(Direction::ToServer);
    let close = conn.close();
    (relay, close, id)
}

/// A server that takes long over it gets a ping behind the request, which it never answers: the
/// connection ends with something unanswered, and the session has ended all the same.
#[tokio::test]
async fn a_close_that_takes_long_is_confirmed() {
    let (relay, close, id) = closed_in_a_hole().await;
    soon("a ping behind it", async {
        let ops = || relay.log().into_iter().filter_map(|entry| entry.op).collect::<Vec<_>>();
        while !ops().ends_with(&[OpCode::CloseSession, OpCode::Ping]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    relay.heal();
    soon("the end", close).await.unwrap();
    assert!(!servers::serves_session(&addrs("nyc"), id).await);
}

/// Then the request may be carried out right behind the connection that asks again, which the server
/// leaves open and never answers.
#[tokio::test]
async fn a_close_that_arrives_with_the_next_connection_is_confirmed() {
    let (relay, close, id) = closed_in_a_hole().await;
    // What is held first on the old connection, and on the new one.
    relay.until(|bites| bites.held >= 2).await;
    relay.heal();
    soon("the end", close).await.unwrap();
    assert!(!servers::serves_session(&addrs("nyc"), id).await);
}

#[tokio::test]
async fn a_write_that_is_with_a_server_at_the_end_is_not_told_as_refused() {
    let relay = FaultProxy::to(&addrs("nyc")).await.unwrap();
    // So long that the silence is not taken for a break before closing gives up.
    let patient = SessionOptions::default().with_session_timeout(Duration::from_secs(60));
    let conn = ZkConn::connect(&relay.addr(), patient).await.unwrap();
    conn.session("/").await.unwrap();
    let conn = Within::new(conn, Duration::from_secs(60));
    relay.black_hole(Direction::Both);
    let write = conn.set("/zk-no-such-node", "x", Version::Any);
    let read = conn.get("/");
    let err = soon("the end", conn.close()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(write.await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn a_multi_without_steps_proves_nothing() {
    let conn = connect(&addrs("nyc")).await;
    let session = conn.session("/").await.unwrap();
    let before = session.valid_until();
    conn.call(Request::new(Op::Multi(Vec::new()), ZkPath::root())).await.unwrap();
    assert_eq!(session.valid_until(), before);
    conn.sync("/").await.unwrap();
    assert!(session.valid_until() > before);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn deadlines_hold_while_a_server_says_nothing() {
    let (relay, conn, root) = relayed().await;
    relay.black_hole(Direction::Both);
    let conn = Within::new(conn, Duration::from_millis(300));
    let start = Instant::now();
    let (read, write) = (conn.get(&root), conn.set(&root, "x", Version::Any));
    let more: Vec<_> = (0..300).map(|_| conn.set(&root, "y", Version::Any)).collect();
    assert_eq!(soon("a read", read).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(soon("a write", write).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let more = soon("writes", futures::future::join_all(more)).await;
    let not_sent = |answer: &&Result<_, zkcells::Error>| {
        answer.as_ref().is_err_and(|err| err.kind() == ErrorKind::NotSent)
    };
    assert_eq!(more.iter().filter(not_sent).count(), 300 - 254, "256 are sent at once");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    relay.heal();
    // They leave the window when they are answered.
    let again = soon("room", async {
        loop {
            if let Ok(node) = conn.get(&root).await {
                break node;
            }
        }
    });
    assert_eq!(again.await.stat.version, 255);
}

#[tokio::test]
async fn a_blip_keeps_the_session_and_what_it_holds() {
    let (relay, conn, root) = relayed().await;
    let session = conn.session("/").await.unwrap();
    conn.create(format!("{root}/mine"), "", Mode::Ephemeral).await.unwrap();
    outage(&relay, &conn, async {}).await;
    // A read that is asked while nobody answers waits for its deadline, and is answered.
    let stat = conn.exists(format!("{root}/mine")).await.unwrap().unwrap();
    assert!(session.owns(&stat));
    assert_eq!(conn.session("/").await.unwrap().id(), session.id());
    assert_eq!(session.state(), SessionState::Connected);
}

#[tokio::test]
async fn a_session_that_expires_takes_its_watches_along_and_another_one_follows() {
    let (relay, conn, root, witness) = holding(Duration::from_secs(1)).await;
    let session = conn.session("/").await.unwrap();
    let (_, watch) = conn.exists_watch(format!("{root}-other")).await.unwrap();
    let mut tree = conn.watch_tree(format!("{root}-other")).await.unwrap();
    let (_, gone) = witness.exists_watch(&root).await.unwrap();
    outage(&relay, &conn, async {
        assert_eq!(soon("the server's end of it", gone).await.kind, EventKind::Deleted);
        assert_eq!(session.state(), SessionState::Disconnected, "only a server ends a session");
    })
    .await;
    // Without a call of anybody: a session is looked after.
    assert_eq!(soon("the end", session.lost()).await, SessionState::Expired);
    assert_eq!(soon("the end", watch).await.kind, EventKind::SessionEnded);
    assert_eq!(soon("the end", tree.next()).await, Some(TreeEvent::SessionEnded));
    conn.exists("/").await.unwrap();
    let next = conn.session("/").await.unwrap();
    assert_eq!((session.generation(), next.generation()), (1, 2));
    assert_ne!(next.id(), session.id());
    conn.close().await.unwrap();
}

#[tokio::test]
async fn reads_that_are_asked_again_still_come_before_later_writes() {
    let (relay, conn, root) = relayed().await;
    relay.black_hole(Direction::Both);
    // More than are sent at once, so the write is not with the server when the connection breaks.
    let reads: Vec<_> = (0..300).map(|_| conn.get(&root)).collect();
    let write = conn.set(&root, "later", Version::Any);
    // Its deadline passes in the queue, so by then the window is full.
    let last = Request::new(Op::Sync, ZkPath::root()).within(Duration::from_millis(100));
    assert_eq!(conn.call(last).await.unwrap_err().kind(), ErrorKind::NotSent);
    relay.down();
    assert_eq!(relay.bites().cut, 1, "the cut bit");
    relay.heal();
    relay.join();
    for read in reads {
        assert_eq!(soon("a read", read).await.unwrap().data, "");
    }
    soon("the write", write).await.unwrap();
}

#[tokio::test]
async fn reads_under_way_when_the_connection_breaks_are_asked_again() {
    let (relay, conn, root) = relayed().await;
    let reads: Vec<_> = (0..200).map(|_| conn.get(&root)).collect();
    outage(&relay, &conn, async {}).await;
    for read in reads {
        soon("a read", read).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_is_never_told_as_failed_when_it_was_applied() {
    let (relay, conn, root) = relayed().await;
    let witness = connect(&addrs("nyc")).await;
    for round in 0..10 {
        let path = |n| format!("{root}/{round}-{n}");
        let writes: Vec<_> = (0..300).map(|n| conn.create(path(n), "", Mode::Persistent)).collect();
        outage(&relay, &conn, async {}).await;
        for (n, write) in writes.into_iter().enumerate() {
            let answer = soon("a write", write).await;
            witness.sync("/").await.unwrap();
            let applied = witness.exists(path(n)).await.unwrap().is_some();
            match answer.map_err(|err| err.kind()) {
                Ok(_) => assert!(applied, "{n}: told as applied"),
                Err(ErrorKind::OutcomeUnknown) => {}
                Err(kind) => panic!("{n}: {kind:?}, applied: {applied}"),
            }
        }
    }
}

// --- watches ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_one_shot_tells_a_change_that_came_during_a_break() {
    let (relay, conn, root) = relayed().await;
    let witness = connect(&addrs("nyc")).await;
    let (_, data) = conn.get_watch(&root).await.unwrap();
    let (_, absent) = conn.exists_watch(format!("{root}/new")).await.unwrap();
    let (_, children) = conn.children_watch(&root).await.unwrap();
    outage(&relay, &conn, async {
        witness.set(&root, "changed", Version::Any).await.unwrap();
        witness.create(format!("{root}/new"), "", Mode::Persistent).await.unwrap();
    })
    .await;
    assert_eq!(soon("data", data).await.kind, EventKind::DataChanged);
    assert_eq!(soon("created", absent).await.kind, EventKind::Created);
    assert_eq!(soon("children", children).await.kind, EventKind::ChildrenChanged);
}

#[tokio::test]
async fn a_tree_watch_lives_through_breaks_and_says_where_its_gaps_are() {
    let (relay, conn, root) = relayed().await;
    let witness = connect(&addrs("nyc")).await;
    let mut trees = Vec::new();
    for _ in 0..3 {
        trees.push(conn.watch_tree(&root).await.unwrap());
    }
    for round in 0..3 {
        outage(&relay, &conn, async {}).await;
        for tree in &mut trees {
            gap(tree).await;
        }
        let path = format!("{root}/{round}");
        witness.create(&path, "", Mode::Persistent).await.unwrap();
        for tree in &mut trees {
            match soon("an event behind the gap", tree.next()).await.unwrap() {
                TreeEvent::Changed(event) => assert_eq!(event.path.as_str(), path),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_one_shot_beside_a_tree_watch_tells_a_change_that_came_during_a_break() {
    let (relay, conn, root) = relayed().await;
    let witness = connect(&addrs("nyc")).await;
    let mut tree = conn.watch_tree(&root).await.unwrap();
    let (_, changed) = conn.get_watch(&root).await.unwrap();
    let (_, deleted) = conn.exists_watch(&root).await.unwrap();
    outage(&relay, &conn, async {
        witness.set(&root, "changed", Version::Any).await.unwrap();
    })
    .await;
    assert_eq!(soon("the change", changed).await.kind, EventKind::DataChanged);
    assert_eq!(soon("the change", deleted).await.kind, EventKind::DataChanged);
    gap(&mut tree).await;
    let (_, unchanged) = conn.get_watch(&root).await.unwrap();
    outage(&relay, &conn, async {}).await;
    gap(&mut tree).await;
    conn.sync("/").await.unwrap();
    conn.exists(&root).await.unwrap();
    assert!(unchanged.now_or_never().is_none(), "nothing changed, so nothing is told");
}

#[tokio::test]
async fn a_watch_stands_though_a_tree_watch_on_its_path_came_to_nothing() {
    let (relay, conn, root) = relayed().await;
    relay.black_hole(Direction::Both);
    let tree = conn.watch_tree(&root);
    let reads: Vec<_> = (0..10).map(|_| conn.get_watch(&root)).collect();
    // Answered in call order, so all of them are with the server.
    conn.session("/").await.unwrap();
    drop(tree);
    outage(&relay, &conn, async {}).await;
    for read in reads {
        let (_, watch) = soon("a read", read).await.unwrap();
        conn.set(&root, "changed", Version::Any).await.unwrap();
        assert_eq!(soon("the change", watch).await.kind, EventKind::DataChanged);
    }
}

#[tokio::test]
async fn a_children_watch_under_way_when_a_tree_watch_comes_stays_alive() {
    let (relay, conn, root) = relayed().await;
    relay.black_hole(Direction::Both);
    let children = conn.children_watch(&root);
    let tree = conn.watch_tree(&root);
    conn.session("/").await.unwrap();
    relay.heal();
    let (_, watch) = soon("the read", children).await.unwrap();
    let mut tree = soon("the tree watch", tree).await.unwrap();
    conn.create(format!("{root}/new"), "", Mode::Persistent).await.unwrap();
    assert_eq!(soon("the change", watch).await.kind, EventKind::ChildrenChanged);
    assert!(matches!(soon("the event", tree.next()).await, Some(TreeEvent::Changed(_))));
}

#[tokio::test]
async fn what_is_withdrawn_leaves_nothing_with_the_server() {
    let nyc = addrs("nyc");
    let conn = connect(&nyc).await;
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    for _ in 0..100 {
        let tree = conn.watch_tree(&root).await.unwrap();
        let (_, data) = conn.get_watch(&root).await.unwrap();
        let (_, children) = conn.children_watch(&root).await.unwrap();
        drop(tree);
        // By now the tree watch stands for the one-shots only.
        conn.exists(&root).await.unwrap();
        drop((data, children));
    }
    soon("silence", async { while servers::ask(&nyc, "wchp").await.contains(&root) {} }).await;
    conn.delete(&root, Version::Any).await.unwrap();
}

#[tokio::test]
async fn a_session_refuses_more_watched_paths_than_it_can_carry_over_a_break() {
    let (relay, conn, root) = relayed().await;
    let long = format!("{root}/{}", "x".repeat(1000));
    let mut watches = Vec::new();
    let refused = loop {
        match conn.exists_watch(format!("{long}{}", watches.len())).await {
            Ok((_, watch)) => watches.push(watch),
            Err(err) => break err,
        }
        assert!(watches.len() < 1000, "never refused");
    };
    assert_eq!(refused.kind(), ErrorKind::TooManyWatches);
    assert!(refused.to_string().ends_with(
        "too many watches: a session carries 102400 bytes of watched paths; use a tree watch"
    ));
    // It carries what it has.
    outage(&relay, &conn, async {}).await;
    let first = watches.swap_remove(0);
    conn.create(first.path(), "", Mode::Persistent).await.unwrap();
    assert_eq!(soon("the watch", first).await.kind, EventKind::Created);
    // And what is withdrawn makes room.
    drop(watches);
    let mut again = Vec::new();
    soon("room", async {
        while again.len() < 90 {
            again.extend(conn.exists_watch(format!("{long}-again-{}", again.len())).await.ok());
        }
    })
    .await;
}

// --- order and limits -------------------------------------------------------------------------

#[tokio::test]
async fn calls_made_before_there_is_a_session_are_sent_in_call_order() {
    let conn = ZkConn::new(&addrs("nyc"), SessionOptions::default()).unwrap();
    let root = format!("/{}", fresh_root());
    let top = conn.create(&root, "", Mode::Persistent);
    let creates: Vec<_> =
        (0..600).map(|_| conn.create(format!("{root}/"), "", Mode::PersistentSequential)).collect();
    let children = conn.children(&root);
    top.await.unwrap();
    for (n, create) in creates.into_iter().enumerate() {
        assert_eq!(create.await.unwrap().0.as_str(), format!("{root}/{n:010}"));
    }
    assert_eq!(children.await.unwrap().names.len(), 600);
}

#[tokio::test]
async fn a_call_that_was_withdrawn_before_it_was_sent_is_not_sent() {
    let conn = ZkConn::new(&addrs("nyc"), SessionOptions::default()).unwrap();
    let root = format!("/{}", fresh_root());
    // There is no session yet, so nothing is sent before this thread lets go.
    drop(conn.create(&root, "", Mode::Persistent));
    assert_eq!(conn.exists(&root).await.unwrap(), None);
}

#[tokio::test]
async fn values_near_the_limit_go_and_larger_ones_do_not_cost_the_session() {
    let conn = connect(&addrs("global")).await;
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    let id = conn.session("/").await.unwrap().id();
    let most = zkcells::MAX_REQUEST - 64 - root.len();
    conn.set(&root, vec![7; most], Version::Any).await.unwrap();
    assert_eq!(conn.get(&root).await.unwrap().data.len(), most);
    let err = conn.set(&root, vec![7; zkcells::MAX_REQUEST], Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::TooLarge);
    let half = vec![7; zkcells::MAX_REQUEST / 2];
    let both = Multi::new().set(&root, &half, Version::Any).set(&root, &half, Version::Any);
    assert_eq!(conn.multi(both).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let session = conn.session("/").await.unwrap();
    assert_eq!((session.id(), session.generation()), (id, 1));
    conn.delete(&root, Version::Any).await.unwrap();
}

// --- holds ------------------------------------------------------------------------------------

/// A connection through a relay with short sessions, an ephemeral node, and a witness.
async fn holding(timeout: Duration) -> (FaultProxy, ZkConn, String, ZkConn) {
    let relay = FaultProxy::to(&addrs("nyc")).await.unwrap();
    let options = SessionOptions::default().with_session_timeout(timeout);
    let conn = ZkConn::connect(&relay.addr(), options).await.unwrap();
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Ephemeral).await.unwrap();
    (relay, conn, root, connect(&addrs("nyc")).await)
}

#[tokio::test]
async fn a_hold_is_lost_by_its_deadline_before_the_server_ends_the_session() {
    let (relay, conn, root, witness) = holding(Duration::from_secs(2)).await;
    let hold = conn.hold(&root).await.unwrap();
    let (_, gone) = witness.exists_watch(&root).await.unwrap();
    relay.down();
    let last = hold.valid_until();
    assert_eq!(soon("the loss", hold.lost()).await, Loss::Unproven);
    assert!(last.is_past() && !hold.is_valid());
    assert!(relay.bites().cut > 0, "the cut bit");
    assert!(witness.exists(&root).await.unwrap().is_some(), "lost before the server's word");
    assert_eq!(soon("the end", gone).await.kind, EventKind::Deleted);
    // The session ends, and another one takes its place.
    relay.join();
    let before = hold.session().clone();
    assert_eq!(soon("the word of it", before.lost()).await, SessionState::Expired);
    let session = conn.session("/").await.unwrap();
    assert_eq!((before.generation(), session.generation()), (1, 2));
    assert_eq!(conn.exists(&root).await.unwrap(), None);
    assert!(!hold.is_valid(), "final");
}

#[tokio::test]
async fn a_hold_is_renewed_for_as_long_as_it_lives_and_no_longer() {
    let (_relay, conn, root, _witness) = holding(Duration::from_secs(2)).await;
    let hold = conn.hold(&root).await.unwrap();
    let session = hold.session().clone();
    let (first, mut renewed) = (hold.valid_until(), 0);
    soon("renewals", async {
        let mut last = first;
        while renewed < 4 {
            assert!(hold.is_valid());
            if hold.valid_until() > last {
                last = hold.valid_until();
                renewed += 1;
            }
            tokio::task::yield_now().await;
        }
        assert!(last.remaining() <= Duration::from_secs(1), "half a timeout from when it was sent");
    })
    .await;
    drop(hold);
    // One renewal may be under way; behind it there is none.
    conn.sync("/").await.unwrap();
    let proof = session.valid_until();
    soon("its end", async {
        while !proof.is_past() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(session.valid_until().is_past(), "nothing is held, so nothing is proved");
    assert_eq!(session.state(), SessionState::Connected);
}

#[tokio::test]
async fn a_blip_shorter_than_the_deadline_loses_no_hold() {
    let (relay, conn, root, _witness) = holding(Duration::from_secs(10)).await;
    let hold = conn.hold(&root).await.unwrap();
    let before = hold.valid_until();
    outage(&relay, &conn, async {}).await;
    soon("another proof", async {
        while hold.valid_until() <= before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(hold.is_valid());
}

#[tokio::test]
async fn a_hold_learns_that_its_node_was_deleted() {
    let (_relay, conn, root, witness) = holding(Duration::from_secs(2)).await;
    let others = format!("{root}-other");
    witness.create(&others, "", Mode::Persistent).await.unwrap();
    let (hold, other) = (conn.hold(&root).await.unwrap(), conn.hold(&others).await.unwrap());
    witness.delete(&root, Version::Any).await.unwrap();
    assert_eq!(soon("the loss", hold.lost()).await, Loss::Deleted);
    assert!(other.is_valid());
    let err = conn.hold(&root).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoNode);
}
