//! What connections tell of themselves: events and metrics, and that neither shows a secret.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use support::soon;
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{
    Acl, Auth, Cells, Conn, ConnExt as _, CreateOptions, ErrorKind, GlobalConn, GlobalOptions,
    Loss, MemoryQuorum, MetaConn, Mode, Multi, Perms, Read, SessionOptions, SessionState, Version,
    Within, ZkConn, ZkPath,
};

fn nyc() -> String {
    LocalCells::up().unwrap().addrs("nyc").unwrap()
}

// --- events -------------------------------------------------------------------------------------

/// One event, of whichever crate.
#[derive(Clone, Debug)]
struct Told {
    level: Level,
    target: String,
    fields: BTreeMap<String, String>,
}

impl Told {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    /// The level and the message.
    fn line(&self) -> String {
        format!("{} {}", self.level, self.get("message"))
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_string(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_string(), value.to_string());
    }
}

struct Capture;

static ALL: Mutex<Vec<Told>> = Mutex::new(Vec::new());

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut told = Told {
            level: *metadata.level(),
            target: metadata.target().to_string(),
            fields: BTreeMap::new(),
        };
        event.record(&mut told);
        ALL.lock().unwrap().push(told);
    }

    fn on_new_span(
        &self,
        span: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        let metadata = span.metadata();
        let mut told = Told {
            level: *metadata.level(),
            target: metadata.target().to_string(),
            fields: BTreeMap::new(),
        };
        span.record(&mut told);
        ALL.lock().unwrap().push(told);
    }
}

/// From here on everything at every level is captured; sessions live on a thread of the process.
fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let all = tracing_subscriber::registry().with(Capture);
        tracing::subscriber::set_global_default(all).unwrap();
    });
}

/// What was told of one cell.
fn told(cell: &str) -> Vec<Told> {
    let all = ALL.lock().unwrap();
    all.iter().filter(|told| told.get("cell") == cell).cloned().collect()
}

fn lines(cell: &str) -> Vec<String> {
    let mut lines: Vec<String> = told(cell).iter().map(Told::line).collect();
    // How often it was tried in vain is a matter of time.
    lines.retain(|line| line != "DEBUG dial failed");
    lines.dedup();
    lines
}

async fn relayed(options: SessionOptions) -> (FaultProxy, ZkConn) {
    listen();
    let relay = FaultProxy::to(&nyc()).await.unwrap();
    let conn = ZkConn::connect(&relay.addr(), options).await.unwrap();
    (relay, conn)
}

/// Cuts the connection and waits until `conn` has noticed. What was asked before is with the server
/// then, as far as `conn` knows: it leaves in the order of the calls.
async fn cut(relay: &FaultProxy, conn: &ZkConn) {
    let session = conn.session("/").await.unwrap();
    relay.down();
    soon("the break", async {
        while session.state() == SessionState::Connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(relay.bites().cut > 0, "the cut bit");
}

#[tokio::test]
async fn a_life_is_told_from_the_dial_to_the_end() {
    let (relay, conn) = relayed(SessionOptions::default().with_label("life")).await;
    let id = format!("{:#x}", conn.session("/").await.unwrap().id());
    cut(&relay, &conn).await;
    relay.heal();
    relay.join();
    conn.sync("/").await.unwrap();
    conn.close().await.unwrap();
    let expected = [
        "DEBUG dialling",
        "INFO session opened",
        "DEBUG disconnected",
        "DEBUG dialling",
        "DEBUG attached again",
        "INFO session closed",
    ];
    assert_eq!(lines("life"), expected);
    for event in told("life") {
        assert_eq!(event.target, "zkcells::conn::zk");
        if !event.get("message").starts_with("dial") {
            assert_eq!(event.get("session"), id, "{event:?}");
        }
    }
    let opened = told("life").into_iter().find(|event| event.get("message") == "session opened");
    let opened = opened.unwrap();
    assert_eq!((opened.get("generation"), opened.get("timeout_ms")), ("1", "15000"));
    assert!(opened.get("version").starts_with("3."), "{opened:?}");
}

#[tokio::test]
async fn what_is_asked_again_is_told_with_its_operation() {
    let (relay, conn) = relayed(SessionOptions::default().with_label("again")).await;
    let path = format!("/{}", fresh_root());
    conn.create(&path, "", Mode::Persistent).await.unwrap();
    relay.black_hole(Direction::ToServer);
    let (read, write) = (conn.exists("/"), conn.set(&path, "x", Version::Exact(0)));
    cut(&relay, &conn).await;
    relay.heal();
    relay.join();
    read.await.unwrap();
    write.await.unwrap();
    conn.delete(&path, Version::Any).await.unwrap();
    conn.close().await.unwrap();
    let events = told("again");
    let has = |message: &str, op: &str| {
        events.iter().any(|event| {
            event.get("message") == message && event.get("op") == op && event.level == Level::DEBUG
        })
    };
    assert!(has("asked again", "exists"), "{events:#?}");
    assert!(has("write settled", "set"), "{events:#?}");
    let settled = events.iter().find(|event| event.get("message") == "write settled").unwrap();
    assert_eq!((settled.get("outcome"), settled.get("path")), ("not applied", &*path));
    assert!(has("asked again", "set"), "{events:#?}");
}

#[tokio::test]
async fn an_end_that_the_server_made_is_a_warning() {
    let options = SessionOptions::default().with_session_timeout(Duration::from_millis(500));
    let (relay, conn) = relayed(options.with_label("expiry")).await;
    let path = format!("/{}", fresh_root());
    conn.create(&path, "", Mode::Ephemeral).await.unwrap();
    let hold = conn.hold(&path).await.unwrap();
    let (witness, path) =
        (ZkConn::connect(&nyc(), SessionOptions::default()).await.unwrap(), path.as_str());
    let (_, gone) = witness.exists_watch(path).await.unwrap();
    cut(&relay, &conn).await;
    assert_eq!(soon("the loss", hold.lost()).await, Loss::Unproven);
    soon("the end of the session", gone).await;
    relay.heal();
    relay.join();
    assert_eq!(conn.exists(path).await.unwrap(), None);
    conn.close().await.unwrap();
    witness.close().await.unwrap();
    let lines = lines("expiry");
    for line in ["WARN holds lost", "WARN session expired", "INFO session opened"] {
        assert!(lines.iter().any(|told| told == line), "{line}: {lines:#?}");
    }
    let events = told("expiry");
    let opened = events.iter().rfind(|told| told.get("message") == "session opened");
    assert_eq!(opened.unwrap().get("generation"), "2");
}

#[tokio::test]
async fn a_dial_that_failed_says_why() {
    listen();
    let conn = ZkConn::new("127.0.0.1:1", SessionOptions::default().with_label("nobody")).unwrap();
    assert_eq!(conn.exists("/").await.unwrap_err().kind(), ErrorKind::NotSent);
    let failed = told("nobody").into_iter().find(|told| told.get("message") == "dial failed");
    let failed = failed.unwrap();
    assert_eq!(failed.level, Level::DEBUG);
    assert_eq!(failed.get("reason"), "127.0.0.1:1: connection refused");
    let unnamed = ZkConn::new("127.0.0.1:1,127.0.0.1:2", SessionOptions::default()).unwrap();
    unnamed.exists("/").await.unwrap_err();
    assert_eq!(lines("127.0.0.1:1,127.0.0.1:2"), ["DEBUG dialling"]);
}

#[tokio::test]
async fn a_reload_that_fails_is_told_once() {
    listen();
    let dir = std::env::temp_dir().join(fresh_root());
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("zk_client.json");
    std::fs::write(&file, r#"{"nyc": "memory:"}"#).unwrap();
    let cells = Cells::builder().config_file(&file).local_cell("nyc").build().unwrap();
    let tree = MetaConn::new(cells);
    std::fs::write(&file, r#"{"nyc": 7}"#).unwrap();
    tree.reload().unwrap_err();
    tree.reload().unwrap_err();
    std::fs::write(&file, r#"{"nyc": "memory:", "sjc": "memory:"}"#).unwrap();
    tree.reload().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let all = ALL.lock().unwrap();
    let told: Vec<_> = all.iter().filter(|told| told.target == "zkcells::conn::meta").collect();
    let lines: Vec<String> = told.iter().map(|told| told.line()).collect();
    let kept = "WARN reload failed; the old configuration stays";
    assert_eq!(lines, [kept, "INFO configuration reloaded"]);
    assert!(told[0].get("error").contains("found the number 7"), "{:?}", told[0]);
    assert_eq!(told[1].get("cells"), "2");
}

#[tokio::test]
async fn no_event_of_any_level_shows_data_or_a_secret() {
    let options = SessionOptions::default().with_label("canary-free");
    let options = options.with_auth(Auth::digest("app", "canary-secret"));
    let (relay, conn) = relayed(options).await;
    let root = format!("/{}", fresh_root());
    let data = "canary-data";
    let private = CreateOptions::from(Mode::Persistent).with_acl(vec![Acl::creator(Perms::ALL)]);
    conn.create(&root, data, private).await.unwrap();
    let path = ZkPath::new(&root).unwrap();
    let mut tree = conn.watch_tree(&path).await.unwrap();
    let (_, watch) = conn.get_watch(&path).await.unwrap();
    conn.set(&path, data, Version::Exact(0)).await.unwrap();
    conn.set(&path, data, Version::Exact(0)).await.unwrap_err();
    soon("the change", watch).await;
    soon("the event", tree.next()).await.unwrap();
    conn.create(&path, data, Mode::Persistent).await.unwrap_err();
    conn.read_many(vec![Read::Get(path.clone())]).await.unwrap();
    conn.acl(&path).await.unwrap();
    conn.multi(Multi::new().set(&path, data, Version::Any)).await.unwrap();
    let hold = conn.hold(&path).await.unwrap();
    relay.black_hole(Direction::ToServer);
    let written = conn.set(&path, data, Version::Exact(2));
    cut(&relay, &conn).await;
    relay.heal();
    relay.join();
    written.await.unwrap();
    drop(hold);
    let stranger = SessionOptions::default().with_label("canary-free");
    let stranger = ZkConn::connect(&nyc(), stranger).await.unwrap();
    stranger.get(&path).await.unwrap_err();
    stranger.close().await.unwrap();
    conn.delete(&path, Version::Any).await.unwrap();
    conn.close().await.unwrap();
    let all = ALL.lock().unwrap();
    for told in all.iter() {
        for (field, text) in &told.fields {
            let text = text.replace("canary-free", "");
            assert!(!text.contains("canary"), "{field} of {told:?}");
            let ours = told.target.starts_with("zkcells");
            let shown = text.contains(root.trim_start_matches('/'));
            assert!(!(ours && shown && told.level < Level::DEBUG), "{field} of {told:?}");
        }
    }
    // The client crate was listened to as well.
    assert!(all.iter().any(|told| told.target.starts_with("zookeeper_client")));
    assert!(all.iter().any(|told| told.get("path") == root));
}

// --- metrics ------------------------------------------------------------------------------------

#[tokio::test]
async fn meters_count_by_cell_and_operation_and_never_by_path() {
    listen();
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let relay = FaultProxy::to(&nyc()).await.unwrap();
    // What is made when an operation is first answered needs the recorder of the whole process.
    recorder.install().unwrap();
    let options = SessionOptions::default().with_label("metered");
    let conn = ZkConn::connect(&relay.addr(), options).await.unwrap();
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    for _ in 0..3 {
        conn.get(&root).await.unwrap();
    }
    conn.get(format!("{root}/none")).await.unwrap_err();
    let (_, watch) = conn.get_watch(&root).await.unwrap();
    let (_, fires) = conn.exists_watch(format!("{root}/x")).await.unwrap();
    let tree = conn.watch_tree(&root).await.unwrap();
    conn.create(format!("{root}/x"), "", Mode::Ephemeral).await.unwrap();
    soon("the change", fires).await;
    relay.black_hole(Direction::ToServer);
    let read = conn.exists(&root);
    cut(&relay, &conn).await;
    relay.heal();
    relay.join();
    read.await.unwrap();
    conn.delete(format!("{root}/x"), Version::Any).await.unwrap();

    let mut meters: BTreeMap<(String, String), DebugValue> = BTreeMap::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let (name, labels) = key.key().clone().into_parts();
        let label = |name: &str| labels.iter().find(|label| label.key() == name);
        assert!(name.as_str().starts_with("zkcells_"), "{name:?}");
        assert!(labels.iter().all(|label| ["cell", "op"].contains(&label.key())), "{labels:?}");
        assert!(labels.iter().all(|label| !label.value().contains('/')), "{labels:?}");
        if label("cell").is_some_and(|cell| cell.value() == "metered") {
            let op = label("op").map_or("", |op| op.value()).to_string();
            meters.insert((name.as_str().to_string(), op), value);
        }
    }
    let meter = |name: &str, op: &str| &meters[&(format!("zkcells_{name}"), op.to_string())];
    let counter = |name: &str, op: &str| match meter(name, op) {
        DebugValue::Counter(count) => *count,
        other => panic!("{name}: {other:?}"),
    };
    let gauge = |name: &str| match meter(name, "") {
        DebugValue::Gauge(value) => value.0,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(counter("operations_ok_total", "get"), 4);
    assert_eq!(counter("operations_refused_total", "get"), 1);
    assert_eq!(counter("operations_not_sent_total", "get"), 0);
    assert_eq!(counter("operations_unknown_total", "get"), 0);
    assert_eq!(counter("operations_ok_total", "create"), 2);
    assert_eq!(counter("operations_ok_total", "watch_tree"), 1);
    assert_eq!(counter("retries_total", "exists"), 1);
    assert_eq!(counter("sessions_opened_total", ""), 1);
    assert_eq!((gauge("sessions_connected"), gauge("sessions_disconnected")), (1.0, 0.0));
    // One get and the tree; the other one fired.
    assert_eq!(gauge("watches"), 2.0);
    match meter("operation_seconds", "get") {
        DebugValue::Histogram(seconds) => {
            assert_eq!(seconds.len(), 5);
            assert!(seconds.iter().all(|took| (0.0..5.0).contains(&took.0)), "{seconds:?}");
        }
        other => panic!("{other:?}"),
    }
    drop((watch, tree));
    conn.delete(&root, Version::Any).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn what_a_mirror_lacks_is_told_once_when_a_set_is_closed_and_dropped() {
    listen();
    let quorums = [MemoryQuorum::new(), MemoryQuorum::new()];
    let lines = quorums.each_ref().map(|quorum| Arc::new(quorum.connect()));
    let conns = lines.clone().map(|line| line as Arc<dyn Conn>);
    let set = Arc::new(GlobalConn::new(conns, GlobalOptions::default()));
    set.init().await.unwrap();
    set.create("/a", "", Mode::Persistent).await.unwrap();
    lines[1].lose_connection();
    // So many that nobody else has as many, and one more that is under way.
    let briefly = Within::new(set.clone(), Duration::from_millis(100));
    let writes = (0..37).map(|n| briefly.create(format!("/{n}"), "", Mode::Persistent));
    for write in futures::future::join_all(writes).await {
        assert_eq!(write.unwrap_err().kind(), ErrorKind::NotMirrored);
    }
    let late = Within::new(set.clone(), Duration::from_millis(500)).delete("/a", Version::Any);
    soon("the first", async {
        while quorums[0].connect().exists("/a").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let closed = set.close();
    drop((briefly, set));
    soon("the end", closed).await.unwrap_err();
    drop(late);
    let all = ALL.lock().unwrap().clone();
    let debts = all.iter().filter(|told| {
        let message = told.get("message");
        message.contains("closed while a mirror is behind")
            && told.get("owed").parse::<usize>().unwrap() >= 37
    });
    assert_eq!(debts.count(), 1);
}
