//! Faults that meet a worker who comes, waits or has its turn, each behind a proxy of its own and side by
//! side with the others. Those that meet holders are in `recipes_faults.rs`, with all other recipes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use zkcells::fault::{OpKind, Target};
use zkcells::recipes::{Released, ShardGuard, ShardLock, shard_contenders};
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, LogEntry};
use zkcells::{
    Acl, Conn as _, ConnExt as _, Error, ErrorKind, Loss, Perms, Version, ZkConn, ZkPath, tree,
};

use crate::support::beds::until_children;
use crate::support::random::rounds;
use crate::support::rig::side_by_side;
use crate::{GRACE, TICKS, TIMEOUT, WAIT, connect, on_servers, soon};

/// A holder who is well, and somebody behind a proxy.
struct Rig {
    path: String,
    proxy: FaultProxy,
    faulty: Arc<ZkConn>,
    well: Arc<ZkConn>,
    held: ShardGuard,
}

type Waiter = JoinHandle<Result<ShardGuard, Error>>;
type Case = fn(Rig) -> BoxFuture<'static, ()>;
/// A fault that meets one request, and how often it has bitten.
type Met = (fn(&FaultProxy, Target), fn(&Bites) -> u64);
const LOST: Met = (|proxy, of| proxy.swallow_reply(of), |bites| bites.swallowed);
const DROPPED: Met = (|proxy, of| proxy.drop_request(of), |bites| bites.dropped);

impl Rig {
    async fn new() -> Rig {
        let (addrs, path) = on_servers("nyc").await;
        let proxy = FaultProxy::to(&addrs).await.unwrap();
        let (faulty, well) = (connect(&proxy.addr()).await, connect(&addrs).await);
        let held = lock(&well, &path).acquire().await.unwrap();
        Rig { path, proxy, faulty, well, held }
    }

    fn next(&self) -> String {
        format!("{}/group-0000000001", self.path)
    }

    /// Somebody who waits, behind so many others.
    async fn waits(&self, conn: &Arc<ZkConn>, behind: usize) -> Waiter {
        let lock = lock(conn, &self.path);
        let waiter = tokio::spawn(async move { lock.acquire().await });
        until_children(&self.well, &self.next(), |names| names.len() == behind + 1).await;
        // It watches whomever it waits for.
        let watched = if behind == 0 { self.held.node().clone() } else { self.member(behind - 1) };
        if Arc::ptr_eq(conn, &self.faulty) {
            let watches = async {
                let asked = |log: &[LogEntry]| {
                    let path = watched.to_string();
                    log.iter().any(|entry| entry.paths.contains(&path))
                };
                while !asked(&self.proxy.log()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                self.faulty.sync("/").await
            };
            soon("its watch", watches).await.unwrap();
        }
        waiter
    }

    fn member(&self, number: usize) -> ZkPath {
        ZkPath::new(format!("{}/node-{number:010}", self.next())).unwrap()
    }

    /// The holder is done: the waiter gets in, once, and leaves nothing.
    async fn gets_in(self, waiter: Waiter) -> FaultProxy {
        let (token, conn) = (self.held.token().clone(), self.well.clone());
        assert!(self.held.is_valid() && !waiter.is_finished(), "beside the holder");
        assert_eq!(self.held.release().await, Released::Released);
        let shard = soon("its turn", waiter).await.unwrap().unwrap();
        assert!(*shard.token() > token && shard.is_valid());
        conn.sync(&self.path).await.unwrap();
        let group = shard.node().parent().unwrap();
        let all = shard_contenders(&conn, &self.path).await.unwrap();
        assert!(all.iter().any(|one| one.path == *shard.node()), "{all:?}");
        assert_eq!(conn.get(&group).await.unwrap().stat.mzxid, shard.token().zxid());
        shard.release().await;
        until_children(&conn, &self.path, <[String]>::is_empty).await;
        self.proxy
    }

    /// The waiter fails so, and nobody waits any more.
    async fn fails(self, waiter: Waiter, kind: ErrorKind) {
        let err = soon("the word of it", waiter).await.unwrap().unwrap_err();
        assert_eq!((err.kind(), err.op()), (kind, "acquire"), "{err}");
        let gone = async {
            while self.held.check().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the end of its node", gone).await;
        assert_eq!(self.held.ack().await, Released::Released);
        assert!(soon("another range", lock(&self.faulty, &self.path).acquire()).await.is_ok());
    }
}

fn lock(conn: &Arc<ZkConn>, path: &str) -> ShardLock {
    ShardLock::new(conn.clone(), path).with_wait_time(WAIT)
}

/// A request of somebody who comes fails.
async fn coming(rig: Rig, kind: OpKind, (meet, bites): Met) {
    meet(&rig.proxy, kind.below(&*rig.path));
    let lock = lock(&rig.faulty, &rig.path);
    let waiter = tokio::spawn(async move { lock.acquire().await });
    rig.proxy.until(|met| bites(met) == 1).await;
    let one = async {
        loop {
            let all = shard_contenders(&rig.well, &rig.path).await.unwrap();
            // What a lost reply left goes in the background.
            if all.iter().filter(|one| !one.holds()).count() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("one node of its own", one).await;
    drop(rig.gets_in(waiter).await);
}

/// A request of somebody whose turn has come fails: he leads, or another does and lists him.
async fn turning(rig: Rig, kind: OpKind, leads: bool, (meet, bites): Met) {
    let (leader, own) = match leads {
        true => (None, 0),
        false => (Some(rig.waits(&rig.well, 0).await), 1),
    };
    let waiter = rig.waits(&rig.faulty, own).await;
    meet(&rig.proxy, kind.below(&*rig.path));
    let end = async {
        if let Some(leader) = leader {
            drop(soon("the leader's turn", leader).await.unwrap().unwrap());
        }
    };
    let (proxy, ()) = tokio::join!(rig.gets_in(waiter), end);
    assert_eq!(bites(&proxy.bites()), 1, "the fault did not bite");
}

async fn event(rig: Rig, fault: fn(&FaultProxy), bitten: fn(&Bites) -> bool) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    fault(&rig.proxy);
    let proxy = rig.gets_in(waiter).await;
    proxy.until(bitten).await;
}

async fn cut(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    rig.proxy.cut();
    rig.proxy.until(|bites| bites.cut > 0).await;
    rig.faulty.sync("/").await.unwrap();
    drop(rig.gets_in(waiter).await);
}

async fn session_over(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    rig.fails(waiter, ErrorKind::SessionExpired).await;
}

async fn session_said_to_be_over(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    rig.proxy.tell_expired();
    rig.proxy.until(|bites| bites.told_expired == 1).await;
    rig.fails(waiter, ErrorKind::SessionExpired).await;
}

async fn partitioned(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    rig.proxy.black_hole(Direction::Both);
    let gone = async {
        while rig.held.check().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT + TICKS + GRACE, gone).await.expect("its node stays");
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    rig.proxy.cut();
    rig.proxy.heal();
    rig.fails(waiter, ErrorKind::SessionExpired).await;
}

/// Whom it waits for is deleted by an operator.
async fn leader_deleted(rig: Rig) {
    let first = rig.waits(&rig.well, 0).await;
    let waiter = rig.waits(&rig.faulty, 1).await;
    rig.well.delete(rig.member(0), Version::Any).await.unwrap();
    let err = soon("the word of it", first).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    drop(rig.gets_in(waiter).await);
}

/// Its numbers start again, tokens do not.
async fn path_deleted(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    tree::remove_all(&rig.well, &rig.path).await.unwrap();
    assert_eq!(soon("the loss", rig.held.lost()).await, Loss::Deleted);
    let err = soon("the word of it", waiter).await.unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    let again = soon("a range", lock(&rig.faulty, &rig.path).acquire()).await.unwrap();
    assert_eq!(again.node().parent().unwrap(), rig.held.node().parent().unwrap());
    assert!(*again.token() > *rig.held.token());
    assert_eq!(rig.held.ack().await, Released::WasLost);
    assert!(again.is_valid() && !again.check().await.unwrap());
}

/// The group's list of rights lets nobody leave it: what cannot be removed goes with its session.
async fn delete_denied(rig: Rig) {
    let waiter = rig.waits(&rig.faulty, 0).await;
    let perms = Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN;
    let group = rig.held.node().parent().unwrap();
    rig.well.set_acl(&group, vec![Acl::world(perms)], Version::Any).await.unwrap();
    let until = rig.held.valid_until();
    let released = soon("the release", rig.held.release()).await;
    assert!(released == Released::WasLost && until.is_past(), "{released:?}");
    assert!(!waiter.is_finished(), "its node is still there");
    rig.well.close().await.unwrap();
    assert!(soon("its turn", waiter).await.unwrap().unwrap().is_valid());
}

macro_rules! cases {
    ($($name:literal => $case:expr,)+) => {
        [$(($name, (|rig| ($case)(rig).boxed()) as Case)),+]
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_or_waits_bears_each_fault_or_is_told() {
    use OpKind::{Check, Multi, Read};
    for _ in 0..rounds(1, 10) {
        let cases = cases![
            "join, reply lost" => |rig| coming(rig, Multi, LOST),
            "join, request dropped" => |rig| coming(rig, Multi, DROPPED),
            "look, reply lost" => |rig| coming(rig, Read, LOST),
            "look, request dropped" => |rig| coming(rig, Read, DROPPED),
            "list as the turn comes, reply lost" => |rig| turning(rig, Read, true, LOST),
            "list as the turn comes, request dropped" => |rig| turning(rig, Read, true, DROPPED),
            "publication, reply lost" => |rig| turning(rig, Multi, true, LOST),
            "publication, request dropped" => |rig| turning(rig, Multi, true, DROPPED),
            "list of another, reply lost" => |rig| turning(rig, Read, false, LOST),
            "list of another, request dropped" => |rig| turning(rig, Read, false, DROPPED),
            "proof, reply lost" => |rig| turning(rig, Check, false, LOST),
            "proof, request dropped" => |rig| turning(rig, Check, false, DROPPED),
            "late event" => |rig| event(rig, |proxy| {
                proxy.late_event(Duration::from_millis(700));
            }, |bites| bites.late > 0),
            "event twice" => |rig| event(rig, |proxy| proxy.twice_event(), |bites| bites.doubled > 0),
            "cut" => cut,
            "session over" => session_over,
            "session said to be over" => session_said_to_be_over,
            "partition" => partitioned,
            "leader deleted" => leader_deleted,
            "path deleted" => path_deleted,
            "delete denied" => delete_denied,
        ];
        let each = cases.into_iter().map(|(name, case)| {
            (name.to_owned(), async move { case(Rig::new().await).await }.boxed())
        });
        side_by_side(each.collect()).await;
    }
}
