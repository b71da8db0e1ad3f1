//! What `MetaConn` and `ConnCache` owe beyond the contract: one session for each cell however it is
//! spelled, the caller's spelling, cells that are down, closed or empty.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::soon;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Acl, CellConfig, CellName, Cells, Conn, ConnCache, ConnExt as _, Dialer, Dialled, Error,
    ErrorKind, EventKind, MemoryConn, MemoryQuorum, MetaConn, Mode, Multi, Pending, Perms, Read,
    ReadReply, Reply, Request, TreeEvent, Version, ZkPath,
};

/// Dials quorums in memory, one for each cell, and writes down what is asked of them.
#[derive(Debug, Default)]
struct Memories {
    quorums: Mutex<Vec<(CellName, MemoryQuorum)>>,
    dials: AtomicUsize,
    fails: AtomicBool,
    log: Arc<Mutex<Vec<String>>>,
}

impl Memories {
    fn quorum(&self, cell: &CellName) -> MemoryQuorum {
        let mut quorums = self.quorums.lock().unwrap();
        if let Some((_, quorum)) = quorums.iter().find(|(name, _)| name == cell) {
            return quorum.clone();
        }
        quorums.push((cell.clone(), MemoryQuorum::new()));
        quorums.last().unwrap().1.clone()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl Dialer for Memories {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Some(Err(Error::new("dial", cell.name.as_str(), ErrorKind::NotSent)));
        }
        let inner = self.quorum(&cell.name).connect();
        Some(Ok(Dialled::new(Logged { inner, log: self.log.clone() })))
    }
}

#[derive(Debug)]
struct Logged {
    inner: MemoryConn,
    log: Arc<Mutex<Vec<String>>>,
}

impl Conn for Logged {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.log.lock().unwrap().push(request.to_string());
        self.inner.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The cells `nyc` (the local one) and `sjc`, in memory.
fn two_cells() -> Cells {
    let cells = Cells::builder().cell("nyc", "memory:").cell("sjc", "memory:");
    cells.local_cell("nyc").build().unwrap()
}

fn meta() -> (Arc<Memories>, MetaConn) {
    let dialer = Arc::<Memories>::default();
    (dialer.clone(), MetaConn::with_dialers(two_cells(), vec![dialer]))
}

/// `nyc` mounted from `root`.
fn mounted(root: &str) -> (Arc<Memories>, MetaConn) {
    let dialer = Arc::<Memories>::default();
    let text = format!(r#"{{"nyc": {{"addrs": "memory:", "root": "{root}"}}}}"#);
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    (dialer.clone(), MetaConn::with_dialers(cells, vec![dialer]))
}

fn path(text: &str) -> ZkPath {
    ZkPath::new(text).unwrap()
}

fn nyc() -> CellName {
    CellName::new("nyc").unwrap()
}

// --- sessions ---------------------------------------------------------------------------------

#[tokio::test]
async fn every_operation_on_local_goes_to_the_one_session_of_its_cell() {
    let (dialer, conn) = meta();
    let at = path("/zk/local/a");
    conn.create(&at, "1", Mode::Persistent).await.unwrap();
    let written = path("/zk/nyc/a");
    assert_eq!(conn.get(&written).await.unwrap().data, "1");
    conn.set(&at, "2", Version::Any).await.unwrap();
    let (_, _data) = conn.get_watch(&at).await.unwrap();
    let (_, _children) = conn.children_watch(&at).await.unwrap();
    let (_, _exists) = conn.exists_watch(&at).await.unwrap();
    let _tree = conn.watch_tree(&at).await.unwrap();
    assert_eq!(conn.get(&at).await.unwrap().data, "2");
    assert!(conn.children(&at).await.unwrap().names.is_empty());
    assert!(conn.exists(&at).await.unwrap().is_some());
    assert_eq!(conn.acl(&at).await.unwrap().0, [Acl::world(Perms::ALL)]);
    let readable = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    conn.set_acl(&at, readable.clone(), Version::Any).await.unwrap();
    assert_eq!(conn.acl(&written).await.unwrap().0, readable);
    assert!(conn.ephemerals(&at).await.unwrap().is_empty());
    conn.sync(&at).await.unwrap();
    let reads = [Read::Exists(at.clone()), Read::Exists(written.clone())];
    for found in conn.read_many(reads).await.unwrap() {
        assert!(matches!(found, Ok(ReadReply::Exists(Some(_)))), "{found:?}");
    }
    conn.multi(Multi::new().check(&at, Version::Any).check(&written, Version::Any)).await.unwrap();
    let (local, nyc) = (conn.session(&at).await.unwrap(), conn.session(&written).await.unwrap());
    assert_eq!(local.id(), nyc.id());
    conn.delete(&at, Version::Any).await.unwrap();
    assert_eq!(dialer.dials(), 1);
    let log = dialer.take();
    assert!(log.len() > 18 && log.iter().all(|line| !line.contains("local")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_first_callers_share_one_session() {
    let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let relay = FaultProxy::to(&nyc).await.unwrap();
    let cells = Cells::builder().cell("nyc", relay.addr()).local_cell("nyc").build().unwrap();
    let conn = Arc::new(MetaConn::new(cells));
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let conn = conn.clone();
            let path = if n % 2 == 0 { "/zk/local/x" } else { "/zk/nyc/x" };
            tokio::spawn(async move { conn.session(path).await.unwrap().id() })
        })
        .collect();
    let mut ids = Vec::new();
    for caller in callers {
        ids.push(soon("a session", caller).await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // One asks whether the server serves, the other is the session.
    assert_eq!(relay.opened(), 2);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_somebody_closed_is_replaced() {
    let dialer = Arc::<Memories>::default();
    let cache = ConnCache::with_dialers(two_cells(), vec![dialer.clone()]);
    let conn = MetaConn::over(cache.clone());
    conn.create("/zk/nyc/a", "", Mode::Persistent).await.unwrap();
    let taken = cache.conn(&CellName::local()).unwrap();
    taken.close().await.unwrap();
    assert_eq!(taken.exists("/zk/nyc/a").await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(conn.exists("/zk/nyc/a").await.unwrap().is_some());
    assert!(conn.exists("/zk/local/a").await.unwrap().is_some());
    assert_eq!(dialer.dials(), 2);
    // Closing the old one again leaves the new one alone.
    taken.close().await.unwrap();
    assert!(cache.conn(&nyc()).unwrap().exists("/zk/nyc/a").await.unwrap().is_some());
    assert_eq!(dialer.dials(), 2);
}

#[tokio::test]
async fn a_connection_that_could_not_be_made_is_not_kept() {
    let (dialer, conn) = meta();
    dialer.fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let err = conn.get("/zk/nyc").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotSent);
    }
    dialer.fails.store(false, Ordering::SeqCst);
    assert!(conn.exists("/zk/nyc").await.unwrap().is_none());
    assert_eq!(dialer.dials(), 3);
}

#[tokio::test]
async fn after_closing_every_call_says_so_and_nothing_is_dialled() {
    let (dialer, conn) = meta();
    conn.exists("/zk/nyc").await.unwrap();
    let (_, top) = conn.children_watch("/zk").await.unwrap();
    conn.close().await.unwrap();
    assert_eq!(soon("the end", top).await.kind, EventKind::SessionEnded);
    for at in ["/zk", "/zk/nyc", "/zk/sjc", "/zk/local"] {
        assert_eq!(conn.exists(at).await.unwrap_err().kind(), ErrorKind::Closed, "{at}");
    }
    assert_eq!(dialer.dials(), 1);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn two_trees_over_the_same_cells_know_nothing_of_each_other() {
    let dialer = Arc::<Memories>::default();
    let tree = || MetaConn::with_dialers(two_cells(), vec![dialer.clone()]);
    let (one, other) = (tree(), tree());
    let id = one.session("/zk/nyc").await.unwrap().id();
    assert_ne!(other.session("/zk/nyc").await.unwrap().id(), id);
    one.close().await.unwrap();
    other.exists("/zk/nyc").await.unwrap();
}

#[tokio::test]
async fn a_dial_under_way_does_not_hold_up_the_end_nor_another_cell() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cells = Cells::builder().cell("sjc", silent.local_addr().unwrap().to_string());
    let cells = cells.cell("nyc", "memory:").local_cell("nyc").build().unwrap();
    let conn = MetaConn::new(cells);
    let start = Instant::now();
    let waits = conn.get("/zk/sjc/a");
    conn.create("/zk/nyc/a", "", Mode::Persistent).await.unwrap();
    conn.close().await.unwrap();
    assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

// --- cells that are down, and empty ones ------------------------------------------------------

#[tokio::test]
async fn reads_over_a_dead_cell_return_the_others() {
    let cells = Cells::builder().cell("nyc", "memory:").cell("sjc", "127.0.0.1:1");
    let conn = MetaConn::new(cells.local_cell("nyc").build().unwrap());
    conn.create("/zk/nyc/a", "1", Mode::Persistent).await.unwrap();
    let reads = ["/zk/sjc/a", "/zk/nyc/a", "/zk/nowhere/a", "/zk/local/a", "/zk/sjc/b", "/zk"];
    let start = Instant::now();
    let found = conn.read_many(reads.map(|at| Read::Get(path(at)))).await.unwrap();
    // A cell that nobody serves costs no waiting, not even between tries.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let short: Vec<_> = found
        .into_iter()
        .map(|found| match found {
            Ok(ReadReply::Node(node)) => Ok(node.data),
            Ok(other) => panic!("{other:?}"),
            Err(err) => Err((err.kind(), err.path().to_string())),
        })
        .collect();
    let failed = |kind, at: &str| Err((kind, at.to_string()));
    assert_eq!(
        short,
        [
            failed(ErrorKind::NotSent, "/zk/sjc/a"),
            Ok("1".into()),
            failed(ErrorKind::UnknownCell, "/zk/nowhere/a"),
            Ok("1".into()),
            failed(ErrorKind::NotSent, "/zk/sjc/b"),
            Ok("".into()),
        ]
    );
}

#[tokio::test]
async fn creating_in_a_cell_works_on_an_empty_quorum() {
    for root in [None, Some("/"), Some("/apps/zkcells")] {
        let fresh = || root.map_or_else(meta, mounted).1;
        let create = |at: &'static str, mode: Mode| async move {
            let conn = fresh();
            let (made, _) = conn.create(at, "", mode).await.unwrap();
            assert!(conn.exists(&made).await.unwrap().is_some(), "{root:?}: {made}");
            made.to_string()
        };
        assert_eq!(create("/zk/nyc/x", Mode::Persistent).await, "/zk/nyc/x");
        assert_eq!(create("/zk/local/x", Mode::Ephemeral).await, "/zk/local/x");
        let numbered = create("/zk/local/", Mode::PersistentSequential).await;
        assert_eq!(numbered, "/zk/local/0000000000");
        let numbered = create("/zk/nyc/x-", Mode::EphemeralSequential).await;
        assert_eq!(numbered, "/zk/nyc/x-0000000000");
        let conn = fresh();
        let both = Multi::new().create("/zk/local/x", "", Mode::Persistent).create(
            "/zk/nyc/x/y",
            "",
            Mode::Persistent,
        );
        conn.multi(both).await.unwrap();
        assert!(conn.exists("/zk/nyc/x/y").await.unwrap().is_some());
        // The cell's own node can be made too, where it is not the top of its servers.
        if root != Some("/") {
            assert_eq!(create("/zk/nyc", Mode::Persistent).await, "/zk/nyc");
            let conn = fresh();
            let both = Multi::new().create("/zk/nyc", "mine", Mode::Persistent).create(
                "/zk/nyc/x",
                "",
                Mode::Persistent,
            );
            conn.multi(both).await.unwrap();
            assert_eq!(conn.get("/zk/local").await.unwrap().data, "mine");
        }
    }
}

#[tokio::test]
async fn a_missing_node_elsewhere_makes_no_cell() {
    let (dialer, conn) = meta();
    let ops = Multi::new()
        .create("/zk/nyc/x", "", Mode::Persistent)
        .check("/zk/nyc/missing", Version::Any);
    conn.create("/zk/nyc/there", "", Mode::Persistent).await.unwrap();
    dialer.take();
    let err = conn.multi(ops).await.unwrap_err();
    assert_eq!((err.kind(), err.index()), (ErrorKind::NoNode, Some(1)));
    let err = conn.create("/zk/nyc/a/b", "", Mode::Persistent).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::NoNode, "/zk/nyc/a/b"));
    assert_eq!(dialer.take(), ["multi /zk/nyc/x", "create /zk/nyc/a/b"]);
}

#[tokio::test]
async fn a_cells_own_node_gets_no_number() {
    for root in [None, Some("/"), Some("/app")] {
        let (dialer, conn) = root.map_or_else(meta, mounted);
        conn.exists("/zk/nyc").await.unwrap();
        dialer.take();
        let mode = Mode::PersistentSequential;
        let err = conn.create("/zk/nyc", "", mode).await.unwrap_err();
        assert_eq!((err.kind(), err.path()), (ErrorKind::BadPath, "/zk/nyc"));
        let err = conn.multi(Multi::new().create("/zk/local", "", mode)).await.unwrap_err();
        assert_eq!(
            (err.kind(), err.path(), err.index()),
            (ErrorKind::BadPath, "/zk/local", Some(0))
        );
        assert!(dialer.take().is_empty());
    }
}

// --- spelling ---------------------------------------------------------------------------------

#[tokio::test]
async fn results_events_and_errors_come_in_the_callers_spelling() {
    for (root, cell) in [(None, "local"), (Some("/"), "nyc"), (Some("/app"), "local")] {
        let (_, conn) = root.map_or_else(meta, mounted);
        let at = |rest: &str| format!("/zk/{cell}{rest}");
        conn.create(at("/a"), "", Mode::Persistent).await.unwrap();
        let mut tree = conn.watch_tree(at("")).await.unwrap();
        let (_, watch) = conn.children_watch(at("/a")).await.unwrap();
        let mode = Mode::EphemeralSequential;
        let (made, _) = conn.create(at("/a/n-"), "", mode).await.unwrap();
        assert_eq!(made.as_str(), at("/a/n-0000000000"));
        assert_eq!(soon("the event", watch).await.path.as_str(), at("/a"));
        match soon("the event", tree.next()).await.unwrap() {
            TreeEvent::Changed(event) => assert_eq!(event.path, made),
            other => panic!("{other:?}"),
        }
        assert_eq!(conn.ephemerals(at("")).await.unwrap(), std::slice::from_ref(&made));
        let missing = at("/missing");
        let one = |answer: Error| (answer.kind(), answer.path().to_string());
        let no_node = (ErrorKind::NoNode, missing.clone());
        assert_eq!(one(conn.get(&missing).await.unwrap_err()), no_node);
        assert_eq!(one(conn.children(&missing).await.unwrap_err()), no_node);
        assert_eq!(one(conn.acl(&missing).await.unwrap_err()), no_node);
        assert_eq!(one(conn.set(&missing, "", Version::Any).await.unwrap_err()), no_node);
        assert_eq!(one(conn.delete(&missing, Version::Any).await.unwrap_err()), no_node);
        let found = conn.read_many([Read::Get(path(&missing))]).await.unwrap().remove(0);
        assert_eq!(one(found.unwrap_err()), no_node);
        let ops = Multi::new().check("/zk/nyc/a", Version::Any).check(&missing, Version::Any);
        let err = conn.multi(ops).await.unwrap_err();
        assert_eq!(err.index(), Some(1));
        assert_eq!(one(err), no_node);
        let ops = Multi::new().create("/zk/nyc/b", "", Mode::Persistent).create(
            at("/c"),
            "",
            Mode::Persistent,
        );
        let made: Vec<_> = conn.multi(ops).await.unwrap();
        let made: Vec<_> = made
            .into_iter()
            .map(|reply| match reply {
                zkcells::MultiReply::Created { path, .. } => path.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(made, ["/zk/nyc/b".to_string(), at("/c")]);
    }
}

#[tokio::test]
async fn a_multi_over_two_cells_is_refused_before_anything_is_sent() {
    let (dialer, conn) = meta();
    let ops = Multi::new()
        .create("/zk/local/a", "", Mode::Persistent)
        .create("/zk/nyc/b", "", Mode::Persistent)
        .create("/zk/sjc/c", "", Mode::Persistent);
    let err = conn.multi(ops).await.unwrap_err();
    assert_eq!((err.kind(), err.index(), err.path()), (ErrorKind::CrossCell, Some(2), "/zk/sjc/c"));
    assert!(dialer.take().is_empty());
}

#[tokio::test]
async fn the_top_lists_the_cells_and_cannot_be_written() {
    let (dialer, conn) = meta();
    let children = conn.children("/zk").await.unwrap();
    assert_eq!((children.names, children.stat.num_children), (vec!["nyc".into(), "sjc".into()], 2));
    assert!(conn.exists("/zk").await.unwrap().is_some());
    let refused = [
        conn.create("/zk", "", Mode::Persistent).await.unwrap_err(),
        conn.set("/zk", "", Version::Any).await.unwrap_err(),
        conn.delete("/zk", Version::Any).await.unwrap_err(),
        conn.set_acl("/zk", vec![Acl::world(Perms::ALL)], Version::Any).await.unwrap_err(),
        conn.multi(Multi::new().delete("/zk", Version::Any)).await.unwrap_err(),
    ];
    for err in refused {
        assert_eq!((err.kind(), err.path()), (ErrorKind::ReadOnly, "/zk"), "{err}");
    }
    for at in ["/", "/other", "/zk/", "/zk//a", "/zk/No", "/zk/unknown/a"] {
        let err = conn.get(at).await.unwrap_err();
        assert!(matches!(err.kind(), ErrorKind::UnknownCell | ErrorKind::BadPath), "{at}: {err}");
    }
    assert_eq!(dialer.dials(), 0);
}

#[tokio::test]
async fn a_real_quorum_mounted_below_a_chroot_is_one_tree() {
    let sjc = LocalCells::up().unwrap().addrs("sjc").unwrap();
    let top = fresh_root();
    let plain = Cells::builder()
        .config_json(format!(r#"{{"sjc": {{"addrs": "{sjc}", "root": "/"}}}}"#))
        .local_cell("sjc");
    let plain = MetaConn::new(plain.build().unwrap());
    plain.create(format!("/zk/sjc/{top}"), "", Mode::Persistent).await.unwrap();
    let text = format!(r#"{{"sjc": {{"addrs": "{sjc}/{top}", "root": "/in/here"}}}}"#);
    let cells = Cells::builder().config_json(text).local_cell("sjc").build().unwrap();
    let conn = MetaConn::new(cells);
    let (made, _) = conn.create("/zk/local/", "1", Mode::PersistentSequential).await.unwrap();
    assert_eq!(made.as_str(), "/zk/local/0000000000");
    let below = format!("/zk/sjc/{top}/in/here");
    assert_eq!(plain.children(&below).await.unwrap().names, ["0000000000"]);
    let mut tree = conn.watch_tree("/zk/local").await.unwrap();
    plain.create(format!("{below}/x"), "", Mode::Persistent).await.unwrap();
    match soon("the event", tree.next()).await.unwrap() {
        TreeEvent::Changed(event) => assert_eq!(event.path.as_str(), "/zk/local/x"),
        other => panic!("{other:?}"),
    }
    conn.set("/zk/sjc", "own", Version::Any).await.unwrap();
    assert_eq!(plain.get(&below).await.unwrap().data, "own");
    let err = conn.get("/zk/local/none").await.unwrap_err();
    assert_eq!(err.path(), "/zk/local/none");
}
