//! Another configuration while running, on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{servers, soon};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{
    Cells, Conn as _, ConnExt as _, ErrorKind, EventKind, Loss, MetaConn, Mode, Version,
};

fn addrs(cell: &str) -> String {
    LocalCells::up().unwrap().addrs(cell).unwrap()
}

/// A configuration in a file of its own.
struct Config(std::path::PathBuf);

impl Config {
    fn new(text: &str) -> Config {
        let dir = std::env::temp_dir().join(fresh_root());
        std::fs::create_dir_all(&dir).unwrap();
        let config = Config(dir.join("zk_client.json"));
        config.write(text);
        config
    }

    /// As an operator should do it: whole or not at all.
    fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    fn tree(&self) -> Arc<MetaConn> {
        let cells = Cells::builder().config_file(&self.0).local_cell("nyc").build().unwrap();
        Arc::new(MetaConn::new(cells))
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // What is left of it in a temporary directory hurts nobody.
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[tokio::test]
async fn cells_come_and_go() {
    let (nyc, sjc) = (addrs("nyc"), addrs("sjc"));
    let config = Config::new(&format!(r#"{{"nyc": "{nyc}"}}"#));
    let tree = config.tree();
    let (children, changed) = tree.children_watch("/zk").await.unwrap();
    assert_eq!(children.names, ["nyc"]);
    assert_eq!(tree.exists("/zk/sjc/x").await.unwrap_err().kind(), ErrorKind::UnknownCell);
    let kept = tree.session("/zk/nyc").await.unwrap();

    config.write(&format!(r#"{{"nyc": "{nyc}", "sjc": "{sjc}"}}"#));
    tree.reload().unwrap();
    assert_eq!(soon("the change", changed).await.kind, EventKind::ChildrenChanged);
    assert_eq!(tree.children("/zk").await.unwrap().names, ["nyc", "sjc"]);
    let going = tree.session("/zk/sjc").await.unwrap();

    let path = format!("/zk/sjc/{}", fresh_root());
    tree.create(&path, "", Mode::Ephemeral).await.unwrap();
    let hold = tree.hold(&path).await.unwrap();
    let (_, watch) = tree.get_watch(&path).await.unwrap();
    config.write(&format!(r#"{{"nyc": "{nyc}"}}"#));
    tree.reload().unwrap();
    assert_eq!(soon("the loss", hold.lost()).await, Loss::SessionEnded);
    assert_eq!(soon("the end", watch).await.kind, EventKind::SessionEnded);
    soon("the end of the session", async {
        while servers::serves_session(&sjc, going.id()).await {}
    })
    .await;
    assert_eq!(tree.get(&path).await.unwrap_err().kind(), ErrorKind::UnknownCell);
    assert_eq!(tree.session("/zk/nyc").await.unwrap().id(), kept.id());
    tree.close().await.unwrap();
}

#[tokio::test]
async fn another_address_of_the_same_quorum_keeps_the_session_and_what_it_holds() {
    let nyc = addrs("nyc");
    let (first, second) =
        (FaultProxy::to(&nyc).await.unwrap(), FaultProxy::to(&nyc).await.unwrap());
    let config = Config::new(&format!(r#"{{"nyc": "{}"}}"#, first.addr()));
    let tree = config.tree();
    let path = format!("/zk/nyc/{}", fresh_root());
    tree.create(&path, "", Mode::Ephemeral).await.unwrap();
    let session = tree.session(&path).await.unwrap();
    let hold = tree.hold(&path).await.unwrap();
    let (_, watch) = tree.get_watch(&path).await.unwrap();
    let mut subtree = tree.watch_tree(&path).await.unwrap();
    let under_way: Vec<_> = (0..500).map(|_| tree.exists(&path)).collect();

    config.write(&format!(r#"{{"nyc": "{}"}}"#, second.addr()));
    tree.reload().unwrap();
    for read in under_way {
        assert!(soon("a read under way", read).await.unwrap().is_some());
    }
    let stat = tree.exists(&path).await.unwrap().unwrap();
    assert!(session.owns(&stat));
    first.down();
    tree.set(&path, "moved", Version::Any).await.unwrap();
    assert_eq!(soon("the change", watch).await.kind, EventKind::DataChanged);
    assert_eq!(soon("the gap", subtree.next()).await, Some(zkcells::TreeEvent::Gap));
    assert!(hold.is_valid());
    assert_eq!(tree.session(&path).await.unwrap().id(), session.id());
    assert!(tree.to_string().contains(&second.addr()), "{tree}");
    tree.close().await.unwrap();
}

#[tokio::test]
async fn an_address_of_another_quorum_is_another_session() {
    let config = Config::new(&format!(r#"{{"nyc": "{}"}}"#, addrs("nyc")));
    let tree = config.tree();
    let path = format!("/zk/nyc/{}", fresh_root());
    tree.create(&path, "", Mode::Ephemeral).await.unwrap();
    let (session, hold) = (tree.session(&path).await.unwrap(), tree.hold(&path).await.unwrap());
    config.write(&format!(r#"{{"nyc": "{}"}}"#, addrs("sjc")));
    tree.reload().unwrap();
    assert_eq!(tree.exists(&path).await.unwrap(), None);
    assert_eq!(soon("the loss", hold.lost()).await, Loss::SessionEnded);
    assert_ne!(tree.session(&path).await.unwrap().id(), session.id());
    tree.close().await.unwrap();
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_cells_and_says_so() {
    let nyc = addrs("nyc");
    let config = Config::new(&format!(r#"{{"nyc": "{nyc}"}}"#));
    let tree = config.tree();
    let before = tree.session("/zk/nyc").await.unwrap();
    config.write(r#"{"nyc": 7}"#);
    let err = tree.reload().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Config);
    assert_eq!(tree.reload_error().unwrap().to_string(), err.to_string());
    assert_eq!(tree.session("/zk/nyc").await.unwrap().id(), before.id());
    config.write(&format!(r#"{{"nyc": "{nyc}", "sjc": "memory:"}}"#));
    tree.reload().unwrap();
    assert!(tree.reload_error().is_none());
    tree.close().await.unwrap();
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let nyc = addrs("nyc");
    let config = Config::new(&format!(r#"{{"nyc": "{nyc}"}}"#));
    let tree = config.tree();
    tree.reload_when_changed(Duration::from_millis(20)).unwrap();
    let (_, changed) = tree.children_watch("/zk").await.unwrap();
    config.write(r#"{"nyc": "#);
    soon("the complaint", async {
        while tree.reload_error().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    config.write(&format!(r#"{{"nyc": "{nyc}", "sjc": "memory:"}}"#));
    assert_eq!(soon("the change", changed).await.kind, EventKind::ChildrenChanged);
    assert!(tree.reload_error().is_none());
    tree.close().await.unwrap();
}

#[tokio::test]
async fn swaps_under_load_lose_no_event_and_leak_no_session() {
    let (nyc, sjc) = (addrs("nyc"), addrs("sjc"));
    let (first, second) =
        (FaultProxy::to(&nyc).await.unwrap(), FaultProxy::to(&nyc).await.unwrap());
    let text = |relay: &FaultProxy, sjc: &str| format!(r#"{{"nyc": "{}"{sjc}}}"#, relay.addr());
    let config = Config::new(&text(&first, ""));
    let tree = config.tree();
    let path = format!("/zk/nyc/{}", fresh_root());
    tree.create(&path, "0", Mode::Ephemeral).await.unwrap();
    let session = tree.session(&path).await.unwrap();
    let mut others = Vec::new();
    let swaps = if std::env::var_os("ZKCELLS_LONG").is_some() { 1000 } else { 99 };
    for round in 1..=swaps {
        let (_, watch) = tree.get_watch(&path).await.unwrap();
        let reads: Vec<_> = (0..50).map(|_| tree.get(&path)).collect();
        let set = tree.set(&path, round.to_string(), Version::Any);
        let with_sjc = format!(r#", "sjc": "{sjc}""#);
        let relay = if round % 2 == 0 { &first } else { &second };
        config.write(&text(relay, if round % 3 == 0 { &with_sjc } else { "" }));
        tree.reload().unwrap();
        if round % 3 == 0 {
            others.push(tree.session("/zk/sjc").await.unwrap().id());
        }
        soon("a write", set).await.unwrap();
        for read in reads {
            soon("a read", read).await.unwrap();
        }
        assert_eq!(soon("the event", watch).await.kind, EventKind::DataChanged, "{round}");
    }
    assert_eq!(tree.session(&path).await.unwrap().id(), session.id());
    assert_eq!(others.len(), swaps / 3);
    tree.close().await.unwrap();
    soon("the end of all sessions", async {
        for id in others {
            while servers::serves_session(&sjc, id).await {}
        }
        while servers::serves_session(&nyc, session.id()).await {}
    })
    .await;
}
