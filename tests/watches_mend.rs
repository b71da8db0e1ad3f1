//! Watches live through restarts of their server, and lose no change meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::join_all;
use support::random::{random, rounds};
use support::{broken, soon};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::testing::servers::Ensemble;
use zkcells::{
    ConnExt as _, ErrorKind, EventKind, Mode, Read, ReadReply, SessionOptions, TreeEvent,
    TreeWatch, Version, Watch, ZkConn, ZkPath,
};

const NODES: usize = 500;
/// One on the data and one on the children of each node.
const ONE_SHOTS: usize = 2 * NODES;
const TREES: usize = 20;

async fn connect(addrs: &str) -> ZkConn {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(30));
    ZkConn::connect(addrs, options).await.unwrap()
}

/// What a node is like, as far as watches tell.
type Seen = BTreeMap<String, i64>;

/// Nodes in `TREES` directories, a one-shot on the data and on the children of each, a tree watch on
/// each directory, and what their owner has seen.
struct Watched {
    conn: ZkConn,
    root: String,
    once: BTreeMap<(usize, bool), Watch>,
    trees: Vec<(TreeWatch, Seen)>,
}

/// What is to be told.
#[derive(Default)]
struct Changes {
    once: BTreeSet<(usize, bool)>,
    trees: BTreeSet<usize>,
}

fn directory(root: &str, n: usize) -> String {
    format!("{root}/{n}")
}

fn node(root: &str, n: usize) -> String {
    format!("{root}/{}/{n}", n % TREES)
}

impl Watched {
    async fn new(conn: ZkConn, witness: &ZkConn) -> Watched {
        let root = format!("/{}", fresh_root());
        let made = std::iter::once(root.clone())
            .chain((0..TREES).map(|n| directory(&root, n)))
            .chain((0..NODES).map(|n| node(&root, n)))
            .map(|path| witness.create(path, "", Mode::Persistent));
        for made in join_all(made).await {
            made.unwrap();
        }
        conn.sync("/").await.unwrap();
        let mut watched = Watched { conn, root, once: BTreeMap::new(), trees: Vec::new() };
        let all: Vec<_> = (0..NODES).flat_map(|n| [(n, false), (n, true)]).collect();
        watched.leave(all).await;
        for n in 0..TREES {
            let tree = watched.conn.watch_tree(directory(&watched.root, n)).await.unwrap();
            let seen = watched.read(n).await;
            watched.trees.push((tree, seen));
        }
        watched
    }

    /// Leaves one-shots: on the children of a node, or on its data.
    async fn leave(&mut self, which: Vec<(usize, bool)>) {
        let left = which.into_iter().map(|(n, of_children)| {
            let path = node(&self.root, n);
            let (children, data) = match of_children {
                true => (Some(self.conn.children_watch(path)), None),
                false => (None, Some(self.conn.get_watch(path))),
            };
            async move {
                let watch = match (children, data) {
                    (Some(children), _) => children.await.unwrap().1,
                    (_, Some(data)) => data.await.unwrap().1,
                    _ => unreachable!(),
                };
                ((n, of_children), watch)
            }
        });
        self.once.extend(join_all(left).await);
    }

    /// All nodes below directory `n`, each with the last transaction that set it.
    async fn read(&self, n: usize) -> Seen {
        let mut seen = Seen::new();
        let mut todo = vec![ZkPath::new(directory(&self.root, n)).unwrap()];
        while !todo.is_empty() {
            let reads = todo
                .iter()
                .flat_map(|path| [Read::Exists(path.clone()), Read::Children(path.clone())]);
            let found = self.conn.read_many(reads.collect::<Vec<_>>()).await.unwrap();
            let mut next = Vec::new();
            for (path, found) in todo.iter().zip(found.chunks(2)) {
                let [Ok(ReadReply::Exists(Some(stat))), Ok(ReadReply::Children(names))] = found
                else {
                    panic!("{path}: {found:?}");
                };
                seen.insert(path.to_string(), stat.mzxid);
                let child = |name: &String| ZkPath::new(format!("{path}/{name}")).unwrap();
                next.extend(names.iter().map(child));
            }
            todo = next;
        }
        seen
    }

    /// Changes some nodes at random: sets their data, or gives them a child.
    async fn change(&self, witness: &ZkConn, rng: &mut Rng) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..rng.usize(20..60) {
            let n = rng.usize(..NODES);
            let path = node(&self.root, n);
            let of_children = rng.bool();
            if of_children {
                let mode = Mode::PersistentSequential;
                witness.create(format!("{path}/"), "", mode).await.unwrap();
            } else {
                witness.set(&path, rng.u32(..).to_string(), Version::Any).await.unwrap();
            }
            changes.once.insert((n, of_children));
            changes.trees.insert(n % TREES);
        }
        changes
    }

    /// Every watch that is to tell something tells it, and no other; then all is as before.
    async fn told(&mut self, changes: &Changes, witness: &ZkConn, gaps: bool) {
        // A read behind the changes: what it shows has been told.
        witness.sync("/").await.unwrap();
        for at in &changes.once {
            let watch = self.once.remove(at).unwrap();
            let kind = soon("a change", watch).await.kind;
            let expected = if at.1 { EventKind::ChildrenChanged } else { EventKind::DataChanged };
            assert_eq!(kind, expected, "{at:?}");
        }
        self.conn.sync("/").await.unwrap();
        self.conn.exists("/").await.unwrap();
        for (at, watch) in &mut self.once {
            let fired = tokio::task::unconstrained(watch).now_or_never();
            assert!(fired.is_none(), "{at:?} fired, and nothing changed: {fired:?}");
        }
        self.leave(changes.once.iter().copied().collect()).await;
        assert_eq!(self.once.len(), ONE_SHOTS);
        for n in 0..TREES {
            self.tree_told(n, changes.trees.contains(&n), gaps).await;
        }
    }

    /// What a tree watch told leads to the tree as it is now.
    async fn tree_told(&mut self, n: usize, changed: bool, gap: bool) {
        let (mut read_again, mut told) = (false, BTreeSet::new());
        let tree = &mut self.trees[n].0;
        if gap {
            // What came before the break is part of the gap.
            let gap = async { while tree.next().await.unwrap() != TreeEvent::Gap {} };
            soon("the gap", gap).await;
            read_again = true;
        }
        while let Some(event) = tokio::task::unconstrained(tree.next()).now_or_never() {
            match event.unwrap() {
                TreeEvent::Gap => read_again = true,
                TreeEvent::Changed(event) => {
                    told.insert(event.path.to_string());
                }
                other => panic!("tree {n}: {other:?}"),
            }
        }
        let now = self.read(n).await;
        let before = std::mem::replace(&mut self.trees[n].1, now.clone());
        let differs: BTreeSet<_> =
            now.iter().filter(|(path, set)| before.get(*path) != Some(set)).collect();
        assert_eq!(!differs.is_empty(), changed, "tree {n}: what was changed shows");
        for (path, _) in differs {
            assert!(read_again || told.contains(path), "tree {n}: {path} was not told");
        }
    }
}

#[tokio::test]
async fn a_thousand_one_shots_and_twenty_tree_watches_live_through_restarts() {
    let mut rng = random("restarts");
    let ensemble = Ensemble::start(3).await.unwrap();
    // The witness is with a server that stays; the watches are with one that goes.
    let witness = connect(ensemble.addr(1)).await;
    let mut watched = Watched::new(connect(ensemble.addr(2)).await, &witness).await;
    let id = watched.conn.session("/").await.unwrap().id();
    let (mut changed, restarts) = (0, rounds(3, 10));
    for _ in 0..restarts {
        // Asked for while there is a server to answer.
        let session = watched.conn.session("/").await.unwrap();
        ensemble.kill(2);
        let during = async {
            broken(&session).await;
            watched.change(&witness, &mut rng).await
        };
        let during = soon("changes during the outage", during).await;
        ensemble.restart(2);
        soon("service", watched.conn.sync("/")).await.unwrap();
        watched.told(&during, &witness, true).await;
        let after = watched.change(&witness, &mut rng).await;
        watched.told(&after, &witness, false).await;
        changed += during.once.len() + after.once.len();
    }
    let session = watched.conn.session("/").await.unwrap();
    assert_eq!((session.id(), session.generation()), (id, 1), "one session all along");
    println!("{restarts} restarts, {changed} one-shots fired, none lost, none for nothing");
}

#[tokio::test]
async fn events_that_come_late_or_twice_change_nothing() {
    let mut rng = random("late and twice");
    let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&nyc).await.unwrap();
    let witness = connect(&nyc).await;
    let mut watched = Watched::new(connect(&proxy.addr()).await, &witness).await;
    let (mut late, mut twice) = (0, 0);
    for _ in 0..rounds(3, 100) {
        for _ in 0..10 {
            if rng.bool() {
                proxy.twice_event();
                twice += 1;
            } else {
                proxy.late_event(Duration::from_millis(rng.u64(1..50)));
                late += 1;
            }
        }
        let changes = watched.change(&witness, &mut rng).await;
        let bites = proxy.until(|bites| bites.late == late && bites.doubled == twice).await;
        assert_eq!((bites.late, bites.doubled), (late, twice));
        watched.told(&changes, &witness, false).await;
    }
    println!("{late} events late, {twice} twice");
}

#[tokio::test]
async fn one_shots_past_the_limit_are_refused_and_the_rest_live_through_a_break() {
    let mut rng = random("too many watches");
    let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&nyc).await.unwrap();
    let (conn, witness) = (connect(&proxy.addr()).await, connect(&nyc).await);
    let root = format!("/{}", fresh_root());
    witness.create(&root, "", Mode::Persistent).await.unwrap();
    // Paths of all lengths, up to the limit and not a byte past it.
    let (mut watches, mut bytes) = (Vec::new(), 0);
    let (refused, length) = loop {
        let fill = "x".repeat(rng.usize(..400));
        let path = format!("{root}/{}-{fill}", watches.len());
        let length = path.len();
        match conn.exists_watch(path).await {
            Ok((_, watch)) => watches.push(watch),
            Err(err) => break (err, length),
        }
        bytes += length;
    };
    assert_eq!(refused.kind(), ErrorKind::TooManyWatches);
    assert!(bytes <= 100 * 1024 && bytes + length > 100 * 1024, "{bytes} and {length}");
    proxy.cut();
    assert_eq!(proxy.bites().cut, 1);
    conn.sync("/").await.unwrap();
    let all = watches.len();
    rng.shuffle(&mut watches);
    for watch in watches.drain(..all / 2) {
        witness.create(watch.path(), "", Mode::Persistent).await.unwrap();
        assert_eq!(soon("the watch", watch).await.kind, EventKind::Created);
    }
    for watch in &mut watches {
        assert!(tokio::task::unconstrained(watch).now_or_never().is_none(), "nothing changed");
    }
}
