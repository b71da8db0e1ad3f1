//! The simple barrier under each fault.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinHandle;
use zkcells::recipes::Barrier;
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::testing::wire::OpCode;
use zkcells::{Acl, ConnExt as _, Error, ErrorKind, Mode, Perms, Version, ZkConn, tree};

use super::scene::{PATIENT, is_told_why, session_ends};
use super::{Case, DROPPED, LOST, Met};
use crate::support::all_answered;
use crate::support::rig::{GRACE, TIMEOUT, connect, soon, turn};

/// A barrier, somebody behind a proxy, and somebody who is well.
pub struct Gate {
    pub proxy: FaultProxy,
    pub faulty: Arc<ZkConn>,
    pub well: Arc<ZkConn>,
    pub path: String,
}

pub type Waiter = JoinHandle<Result<(), Error>>;

impl Gate {
    pub async fn new(server: &str, healthy: &str, wait: Duration) -> Gate {
        let proxy = FaultProxy::to(server).await.unwrap();
        let addr = proxy.addr();
        let (faulty, well) = tokio::join!(connect(&addr, wait), connect(healthy, PATIENT));
        let root = format!("/{}", fresh_root());
        well.create(&root, "", Mode::Persistent).await.unwrap();
        faulty.sync(&root).await.unwrap();
        proxy.clear_log();
        Gate { proxy, faulty, well, path: format!("{root}/gate") }
    }

    pub fn ours(&self) -> Barrier {
        Barrier::new(self.faulty.clone(), &self.path)
    }

    pub fn theirs(&self) -> Barrier {
        Barrier::new(self.well.clone(), &self.path)
    }

    async fn is_closed(&self) -> bool {
        self.well.sync(&self.path).await.unwrap();
        self.well.exists(&self.path).await.unwrap().is_some()
    }

    /// A node that is there as long as the session of the one behind the proxy.
    async fn sign_of_life(&self) -> String {
        let path = format!("{}-lives", self.path);
        self.faulty.create(&path, "", Mode::Ephemeral).await.unwrap();
        path
    }

    pub fn waiter(&self) -> Waiter {
        let barrier = self.ours();
        tokio::spawn(async move { barrier.wait().await })
    }

    /// One who waits, and has left its watch.
    pub async fn waiting(&self) -> Waiter {
        self.theirs().set().await.unwrap();
        let waiter = self.waiter();
        let watched = async {
            loop {
                let log = self.proxy.log();
                let looked = log.iter().any(|entry| {
                    entry.op == Some(OpCode::Exists) && entry.paths.contains(&self.path)
                });
                if looked && all_answered(&log) {
                    break;
                }
                turn().await;
            }
        };
        soon("its watch", watched).await;
        assert!(!waiter.is_finished(), "it passed a barrier that is closed");
        waiter
    }

    /// It passes when the barrier is opened, and not before.
    async fn opens_for(&self, waiter: Waiter, within: Duration) {
        assert!(!waiter.is_finished(), "it passed a barrier that is closed");
        self.theirs().unset().await.unwrap();
        passes(waiter, within).await;
    }
}

pub async fn passes(waiter: Waiter, within: Duration) {
    let passed = tokio::time::timeout(within, waiter).await;
    passed.unwrap_or_else(|_| panic!("not through within {within:?}")).unwrap().unwrap();
}

macro_rules! cases {
    ($wait:expr; $($name:literal => $case:expr,)+) => {
        [$(Case { name: $name, wait: $wait, run: |gate| ($case)(gate).boxed() }),+]
    };
}

/// A session timeout and more: a look by chance comes by then.
const LATE: Duration = Duration::from_millis(1500 + 4000 * 2);

pub fn cases() -> impl IntoIterator<Item = Case<Gate>> {
    let borne = cases![PATIENT;
        "set, reply lost" => |g| setting(g, LOST),
        "set, request dropped" => |g| setting(g, DROPPED),
        "unset, reply lost" => |g| unsetting(g, LOST),
        "unset, request dropped" => |g| unsetting(g, DROPPED),
        "look, reply lost" => |g| looking(g, LOST),
        "look, request dropped" => |g| looking(g, DROPPED),
        "cut, waiting" => |g| waits_on(g, |g| g.proxy.cut(), |b| b.cut > 0),
        "reset, waiting" => |g| waits_on(g, |g| g.proxy.reset(), |b| b.cut > 0),
        "event twice" => |g| event(g, |proxy| proxy.twice_event(), |b| b.doubled > 0),
        "late event" => |g| event(g, |proxy| {
            proxy.late_event(Duration::from_millis(1500));
        }, |b| b.late > 0),
        "cut as it opens" => cut_as_it_opens,
        "closed again while away" => closed_again_while_away,
        "node deleted by an operator" => deleted,
        "directory deleted" => directory_deleted,
        "children in it" => foreign_children,
        "node written to" => rewritten,
        "create denied" => create_denied,
        "delete denied" => delete_denied,
    ];
    let endured = cases![TIMEOUT;
        "session over, waiting" => session_over,
        "session said to be over, waiting" => session_said_to_be_over,
        "partition, waiting" => partitioned,
        "owner's session over" => owner_gone,
        "owner killed" => owner_killed,
        "one that stays, owner killed" => stays,
    ];
    borne.into_iter().chain(endured)
}

async fn setting(gate: Gate, (meet, bites): Met) {
    meet(&gate.proxy, OpKind::Create.below(&*gate.path));
    let ours = gate.ours();
    soon("the closing", ours.set()).await.unwrap();
    assert_eq!(bites(&gate.proxy.bites()), 1, "the fault did not bite");
    assert!(gate.is_closed().await);
    // It is closed once: another one, also by whoever did it, is told so.
    for barrier in [gate.theirs(), ours] {
        assert_eq!(barrier.set().await.unwrap_err().kind(), ErrorKind::NodeExists);
    }
    let waiter = gate.waiter();
    gate.opens_for(waiter, LATE).await;
}

async fn unsetting(gate: Gate, (meet, bites): Met) {
    gate.theirs().set().await.unwrap();
    meet(&gate.proxy, OpKind::Delete.below(&*gate.path));
    soon("the opening", gate.ours().unset()).await.unwrap();
    assert_eq!(bites(&gate.proxy.bites()), 1, "the fault did not bite");
    assert!(!gate.is_closed().await);
    assert_eq!(gate.ours().unset().await.unwrap_err().kind(), ErrorKind::NoNode);
}

async fn looking(gate: Gate, (meet, bites): Met) {
    gate.theirs().set().await.unwrap();
    meet(&gate.proxy, OpKind::Read.below(&*gate.path));
    let waiter = gate.waiter();
    gate.proxy.until(|b| bites(b) == 1).await;
    gate.faulty.sync(&gate.path).await.unwrap();
    gate.opens_for(waiter, LATE).await;
}

async fn waits_on(gate: Gate, fault: fn(&Gate), bitten: fn(&Bites) -> bool) {
    let waiter = gate.waiting().await;
    fault(&gate);
    gate.proxy.until(bitten).await;
    gate.faulty.sync("/").await.unwrap();
    gate.opens_for(waiter, LATE).await;
}

async fn event(gate: Gate, fault: fn(&FaultProxy), bitten: fn(&Bites) -> bool) {
    let waiter = gate.waiting().await;
    fault(&gate.proxy);
    gate.opens_for(waiter, LATE).await;
    gate.proxy.until(bitten).await;
}

async fn cut_as_it_opens(gate: Gate) {
    let waiter = gate.waiting().await;
    gate.proxy.down();
    gate.theirs().unset().await.unwrap();
    gate.proxy.until(|bites| bites.cut == 1 && bites.refused > 0).await;
    assert!(!waiter.is_finished(), "nobody can have told it");
    gate.proxy.join();
    passes(waiter, LATE).await;
}

/// The node that it finds when it is back is another one.
async fn closed_again_while_away(gate: Gate) {
    let waiter = gate.waiting().await;
    gate.proxy.down();
    let theirs = gate.theirs();
    theirs.unset().await.unwrap();
    theirs.set().await.unwrap();
    gate.proxy.until(|bites| bites.cut == 1 && bites.refused > 0).await;
    gate.proxy.join();
    passes(waiter, LATE).await;
    assert!(gate.is_closed().await);
}

async fn deleted(gate: Gate) {
    let waiter = gate.waiting().await;
    gate.well.delete(&gate.path, Version::Any).await.unwrap();
    passes(waiter, LATE).await;
}

async fn directory_deleted(gate: Gate) {
    let waiter = gate.waiting().await;
    tree::remove_all(&gate.well, gate.path.rsplit_once('/').unwrap().0).await.unwrap();
    passes(waiter, LATE).await;
    // It is made again with all that is missing above it.
    gate.ours().set().await.unwrap();
    assert!(gate.is_closed().await);
}

async fn foreign_children(gate: Gate) {
    let waiter = gate.waiting().await;
    let child = format!("{}/foreign", gate.path);
    gate.well.create(&child, "", Mode::Persistent).await.unwrap();
    let err = gate.ours().unset().await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotEmpty, "{err}");
    assert!(err.to_string().contains(&gate.path), "{err}");
    gate.well.delete(child, Version::Any).await.unwrap();
    gate.opens_for(waiter, LATE).await;
}

async fn rewritten(gate: Gate) {
    let waiter = gate.waiting().await;
    gate.well.set(&gate.path, "something else", Version::Any).await.unwrap();
    gate.faulty.sync("/").await.unwrap();
    gate.opens_for(waiter, LATE).await;
}

async fn allow(gate: &Gate, perms: Perms) {
    let dir = gate.path.rsplit_once('/').unwrap().0;
    let everybody = Acl { perms, ..Acl::open().remove(0) };
    gate.well.set_acl(dir, vec![everybody], Version::Any).await.unwrap();
    for _ in 0..3 {
        gate.well.sync(dir).await.unwrap();
        gate.faulty.sync(dir).await.unwrap();
    }
}

async fn create_denied(gate: Gate) {
    allow(&gate, Perms::READ | Perms::DELETE | Perms::ADMIN).await;
    let ours = gate.ours();
    let err = soon("word of it", ours.set()).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::NoAuth, "set"), "{err}");
    assert!(err.to_string().contains(&gate.path), "{err}");
    assert!(!gate.is_closed().await);
    allow(&gate, Perms::ALL).await;
    ours.set().await.unwrap();
}

async fn delete_denied(gate: Gate) {
    let waiter = gate.waiting().await;
    allow(&gate, Perms::READ | Perms::CREATE | Perms::ADMIN).await;
    let err = soon("word of it", gate.ours().unset()).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::NoAuth, "unset"), "{err}");
    assert!(err.to_string().contains(&gate.path), "{err}");
    allow(&gate, Perms::ALL).await;
    gate.opens_for(waiter, LATE).await;
}

async fn session_over(gate: Gate) {
    let waiter = gate.waiting().await;
    assert_eq!(gate.proxy.end_sessions().await.unwrap(), 1);
    soon("another session", gate.faulty.sync("/")).await.unwrap();
    gate.opens_for(waiter, LATE).await;
}

async fn session_said_to_be_over(gate: Gate) {
    let waiter = gate.waiting().await;
    gate.proxy.tell_expired();
    gate.proxy.until(|bites| bites.told_expired == 1).await;
    gate.opens_for(waiter, LATE).await;
}

/// It is opened, and closed again, while nothing comes through; by then the session is over.
async fn partitioned(gate: Gate) {
    let waiter = gate.waiting().await;
    let sign = gate.sign_of_life().await;
    gate.proxy.black_hole(Direction::Both);
    let theirs = gate.theirs();
    theirs.unset().await.unwrap();
    theirs.set().await.unwrap();
    session_ends(&gate.well, &sign).await;
    assert!(!waiter.is_finished(), "nobody can have told it");
    assert!(gate.proxy.bites().held > 0, "the fault did not bite");
    gate.proxy.cut();
    gate.proxy.heal();
    passes(waiter, LATE).await;
    assert!(gate.is_closed().await);
}

/// A waiter who is well, at a barrier that the other has closed for as long as it lives.
async fn bound(gate: &Gate, mode: Mode) -> Waiter {
    let barrier = gate.ours().with_mode(mode);
    barrier.set().await.unwrap();
    let theirs = gate.theirs();
    let waiter = tokio::spawn(async move { theirs.wait().await });
    gate.well.sync("/").await.unwrap();
    waiter
}

async fn owner_gone(gate: Gate) {
    let waiter = bound(&gate, Mode::Ephemeral).await;
    assert!(!waiter.is_finished());
    assert_eq!(gate.proxy.end_sessions().await.unwrap(), 1);
    passes(waiter, LATE).await;
    // Another session's: it can be closed again.
    gate.ours().with_mode(Mode::Ephemeral).set().await.unwrap();
}

async fn owner_killed(gate: Gate) {
    let waiter = bound(&gate, Mode::Ephemeral).await;
    gate.proxy.down();
    gate.proxy.until(|bites| bites.cut == 1).await;
    passes(waiter, TIMEOUT + GRACE).await;
}

async fn stays(gate: Gate) {
    let waiter = bound(&gate, Mode::Persistent).await;
    let sign = gate.sign_of_life().await;
    gate.proxy.down();
    session_ends(&gate.well, &sign).await;
    gate.well.sync("/").await.unwrap();
    assert!(gate.is_closed().await);
    gate.opens_for(waiter, LATE).await;
    let err = is_told_why(gate.theirs().unset()).await;
    assert_eq!(err.kind(), ErrorKind::NoNode);
}
