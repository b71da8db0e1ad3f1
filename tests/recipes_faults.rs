//! Each recipe under each fault: who holds, waits or comes while it bites is told the truth, and the
//! next one gets in.
//!
//! All cases of the network and of operators are side by side on one ensemble, each behind a proxy
//! and at a path of its own; those of servers come one after the other, all recipes at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use support::random::{random, rounds};
use support::recipes::all;
use support::rig::{GRACE, Rig, SOON, TIMEOUT, connect, gets_in, side_by_side, soon};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{sleep, timeout};
use zkcells::fault::Target;
use zkcells::recipes::Released;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::testing::servers::Ensemble;
use zkcells::{
    Acl, Conn as _, ConnExt as _, Deadline, ErrorKind, Loss, Mode, Perms, Version, tree,
};

type Case = fn(Rig) -> BoxFuture<'static, ()>;

/// Three servers that the tests below share, one at a time; each finds them mended.
async fn ensemble() -> MutexGuard<'static, Ensemble> {
    static SHARED: OnceCell<Mutex<Ensemble>> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| async { Mutex::new(Ensemble::start(3).await.unwrap()) });
    let ensemble = shared.await.lock().await;
    ensemble.mend().await;
    ensemble
}

macro_rules! cases {
    ($($name:literal => $case:expr,)+) => {
        vec![$(($name, (|rig| ($case)(rig).boxed()) as Case)),+]
    };
}

/// A fault that meets one request.
type Meet = fn(&FaultProxy, Target);
const LOST: (Meet, fn(&Bites) -> u64) = (|proxy, of| proxy.swallow_reply(of), |b| b.swallowed);
const DROPPED: (Meet, fn(&Bites) -> u64) = (|proxy, of| proxy.drop_request(of), |b| b.dropped);
type Met = (Meet, fn(&Bites) -> u64);

/// What comes, holds and goes through.
fn of_holders() -> Vec<(&'static str, Case)> {
    cases![
        "create, reply lost" => |rig| entering(rig, OpKind::Create, LOST),
        "create, request dropped" => |rig| entering(rig, OpKind::Create, DROPPED),
        "delete, reply lost" => |rig| releasing(rig, LOST),
        "delete, request dropped" => |rig| releasing(rig, DROPPED),
        "cut, held" => |rig| kept(rig, |rig| rig.proxy.cut(), |b| b.cut > 0),
        "reset, held" => |rig| kept(rig, |rig| rig.proxy.reset(), |b| b.cut > 0),
        "renewal, reply lost" => |rig| kept(rig, |rig| {
            rig.proxy.swallow_reply(OpKind::Check.below(rig.dir()));
        }, |b| b.swallowed > 0),
        "renewal, request dropped" => |rig| kept(rig, |rig| {
            rig.proxy.drop_request(OpKind::Check.below(rig.dir()));
        }, |b| b.dropped > 0),
        "answers 300 ms late, held" => |rig| kept(rig, |rig| {
            rig.proxy.round_trip(Duration::from_millis(300));
        }, |b| b.delayed > 0),
        "black hole for a moment, held" => blinked,
        "session over, held" => session_over,
        "session said to be over, held" => session_said_to_be_over,
        "partition, held" => partitioned,
        "half a partition, held" => half_partitioned,
        "answers later than a proof is good for, held" => slow,
        "released in a partition" => released_in_a_partition,
        "own node deleted, held" => deleted_held,
        "create denied" => |rig| denied(rig, Perms::READ | Perms::DELETE),
    ]
}

/// What only those go through who stand in a line.
fn of_lines() -> Vec<(&'static str, Case)> {
    cases![
        "list, reply lost" => |rig| entering(rig, OpKind::Read, LOST),
        "list, request dropped" => |rig| entering(rig, OpKind::Read, DROPPED),
        "create, reply lost, directory gone" => directory_gone,
        "create, reply lost, as a waiter" => |rig| joining(rig, OpKind::Create, LOST),
        "create, request dropped, as a waiter" => |rig| joining(rig, OpKind::Create, DROPPED),
        "list, reply lost, as a waiter" => |rig| joining(rig, OpKind::Read, LOST),
        "cut, waiting" => |rig| still_waits(rig, |rig| rig.proxy.cut(), |b| b.cut > 0),
        "list as the turn comes, reply lost" => |rig| turning(rig, OpKind::Read, LOST),
        "list as the turn comes, request dropped" => |rig| turning(rig, OpKind::Read, DROPPED),
        "proof as the turn comes, reply lost" => |rig: Rig| {
            let proof = rig.recipe.proof();
            turning(rig, proof, LOST)
        },
        "proof as the turn comes, request dropped" => |rig: Rig| {
            let proof = rig.recipe.proof();
            turning(rig, proof, DROPPED)
        },
        "late event" => |rig| event(rig, |proxy| {
            proxy.late_event(Duration::from_millis(1500));
        }, |b| b.late > 0),
        "event twice" => |rig| event(rig, |proxy| proxy.twice_event(), |b| b.doubled > 0),
        "cut as the turn comes" => cut_as_the_turn_comes,
        "session over, waiting" => session_over_waiting,
        "session said to be over, waiting" => session_said_to_be_over_waiting,
        "partition, waiting" => partitioned_waiting,
        "own node deleted, waiting" => deleted_waiting,
        "predecessor deleted" => predecessor_deleted,
        "directory deleted" => directory_deleted,
        "foreign children" => foreign_children,
        "list denied" => |rig| denied(rig, Perms::CREATE | Perms::DELETE),
        "delete denied" => delete_denied,
    ]
}

// --- coming -----------------------------------------------------------------------------------

/// A request of somebody who comes alone fails.
async fn entering(rig: Rig, kind: OpKind, (meet, bites): Met) {
    meet(&rig.proxy, kind.below(rig.dir()));
    let held = rig.take(&rig.faulty).await;
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    let id = rig.session().await.id();
    assert_eq!(rig.nodes_of(id).await, [held.path().clone()], "one node of its own");
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

/// The directory goes before the one who came knows whether his node was in it.
async fn directory_gone(rig: Rig) {
    rig.proxy.refuse();
    rig.proxy.swallow_reply(OpKind::Create.below(rig.dir()));
    let taking = tokio::spawn(rig.recipe.acquire(rig.faulty.clone(), &rig.path));
    rig.bitten(|bites| bites.swallowed == 1 && bites.refused > 0).await;
    tree::remove_all(&rig.third, rig.dir()).await.unwrap();
    rig.recipe.prepare(rig.third.clone(), &rig.path).await;
    rig.proxy.join();
    let held = gets_in(taking, SOON).await;
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

/// A request of somebody who comes while another holds it fails.
async fn joining(rig: Rig, kind: OpKind, (meet, bites): Met) {
    let holder = rig.take(&rig.well).await;
    meet(&rig.proxy, kind.below(rig.dir()));
    let contender = rig.contend(&rig.faulty).await;
    rig.bitten(|b| bites(b) == 1).await;
    rig.comes_to_its_turn(holder, contender).await;
}

// --- going ------------------------------------------------------------------------------------

async fn releasing(rig: Rig, (meet, bites): Met) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    meet(&rig.proxy, OpKind::Delete.below(rig.dir()));
    assert_eq!(soon("the release", held.release()).await, Released::Released);
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    gets_in(next, SOON).await;
    rig.nothing_left_of(id, SOON).await;
}

async fn released_in_a_partition(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    let until = held.valid_until();
    rig.proxy.black_hole(Direction::ToServer);
    // Nobody confirms it, so nobody waits for longer than it is held; or, without a promise until
    // when that is, for longer than for an answer.
    let bound = if rig.recipe.is_line() { TIMEOUT } else { Deadline::DEFAULT + TIMEOUT };
    let released = timeout(bound, held.release()).await.unwrap();
    assert!(released == Released::WasLost && until.is_past(), "{released:?}");
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    rig.proxy.heal();
    gets_in(next, SOON).await;
    rig.nothing_left_of(id, SOON).await;
}

// --- holding ----------------------------------------------------------------------------------

async fn kept(rig: Rig, fault: fn(&Rig), bitten: fn(&Bites) -> bool) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    fault(&rig);
    rig.bitten(bitten).await;
    rig.proved_again(&*held).await;
    assert!(!next.is_finished(), "two are in");
    rig.passes_on(held, next).await;
}

async fn blinked(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    rig.proxy.black_hole(Direction::Both);
    rig.bitten(|bites| bites.held > 0).await;
    sleep(Duration::from_millis(200)).await;
    rig.proxy.heal();
    rig.proved_again(&*held).await;
    rig.passes_on(held, next).await;
}

async fn session_over(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    // The proxy does it before its time, and no deadline could know of it: what is owed is that
    // the word is passed on.
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    let loss = soon("the word of it", held.lost()).await;
    let told = matches!(loss, Loss::SessionEnded | Loss::Deleted) || !rig.recipe.tells_why();
    assert!(told, "{loss:?}");
    assert!(!held.is_valid());
    let next = gets_in(next, SOON).await;
    assert_eq!(held.release().await, Released::WasLost);
    assert!(next.is_valid());
    rig.nothing_left_of(id, SOON).await;
}

async fn session_said_to_be_over(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.proxy.tell_expired();
    rig.bitten(|bites| bites.told_expired == 1).await;
    rig.loses(held, next, &[Loss::SessionEnded], id).await;
}

async fn partitioned(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.proxy.black_hole(Direction::Both);
    rig.loses(held, next, &[Loss::Unproven], id).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
}

/// Requests come through and no answer does: the session lives, and nobody knows it.
async fn half_partitioned(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let (next, id) = (rig.contend(&rig.well).await, rig.session().await.id());
    rig.proxy.black_hole(Direction::ToClient);
    rig.loses(held, next, &[Loss::Unproven], id).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
}

/// Proofs count from when they were sent.
async fn slow(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.proxy.round_trip(TIMEOUT / 2 + Duration::from_millis(200));
    let loss = soon("the loss", held.lost()).await;
    assert!(loss == Loss::Unproven || !rig.recipe.tells_why(), "{loss:?}");
    assert!(!held.is_valid());
    assert!(rig.proxy.bites().delayed > 0, "the fault did not bite");
    // Its session may well live on, so the place is given up.
    drop(held);
    assert!(!next.is_finished(), "its session is not over");
    rig.proxy.round_trip(Duration::ZERO);
    gets_in(next, TIMEOUT + GRACE).await;
    rig.nothing_left_of(id, TIMEOUT + GRACE).await;
}

// --- waiting ----------------------------------------------------------------------------------

async fn still_waits(rig: Rig, fault: fn(&Rig), bitten: fn(&Bites) -> bool) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    fault(&rig);
    rig.bitten(bitten).await;
    rig.faulty.sync("/").await.unwrap();
    rig.comes_to_its_turn(holder, contender).await;
}

/// The event that tells the waiter of its turn is not as it should be.
async fn event(rig: Rig, fault: fn(&FaultProxy), bitten: fn(&Bites) -> bool) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    let last = rig.contend(&rig.third).await;
    fault(&rig.proxy);
    assert_eq!(holder.release().await, Released::Released);
    rig.bitten(bitten).await;
    let held = gets_in(contender, TIMEOUT + GRACE).await;
    assert!(!last.is_finished(), "two are in");
    rig.passes_on(held, last).await;
}

/// A request that the waiter makes when its turn has come fails.
async fn turning(rig: Rig, kind: OpKind, (meet, bites): Met) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    // Its last write proves nothing any more, so there must be another proof.
    let session = rig.session().await;
    sleep(session.valid_until().remaining()).await;
    meet(&rig.proxy, kind.below(rig.dir()));
    assert_eq!(holder.release().await, Released::Released);
    let held = gets_in(contender, TIMEOUT + GRACE).await;
    assert_eq!(bites(&rig.proxy.bites()), 1, "the fault did not bite");
    let next = rig.contend(&rig.third).await;
    rig.passes_on(held, next).await;
}

async fn cut_as_the_turn_comes(rig: Rig) {
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend_and_watch().await;
    rig.proxy.down();
    assert_eq!(holder.release().await, Released::Released);
    rig.bitten(|bites| bites.cut == 1 && bites.refused > 0).await;
    rig.proxy.join();
    let held = gets_in(contender, SOON).await;
    let next = rig.contend(&rig.third).await;
    rig.passes_on(held, next).await;
}

async fn session_over_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}

async fn session_said_to_be_over_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    rig.proxy.tell_expired();
    rig.bitten(|bites| bites.told_expired == 1).await;
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}

async fn partitioned_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    rig.proxy.black_hole(Direction::Both);
    rig.nothing_left_of(id, TIMEOUT + GRACE).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    // What ran into the hole is lost, or it would come out as of now.
    rig.proxy.cut();
    rig.proxy.heal();
    rig.fails(holder, contender, ErrorKind::SessionExpired, (id, SOON)).await;
}

// --- operators --------------------------------------------------------------------------------

async fn deleted_held(rig: Rig) {
    let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
    let next = rig.contend(&rig.well).await;
    rig.third.delete(held.path(), Version::Any).await.unwrap();
    let loss = soon("the word of it", held.lost()).await;
    assert!(loss == Loss::Deleted || !rig.recipe.tells_why(), "{loss:?}");
    assert!(!held.is_valid());
    let next = gets_in(next, SOON).await;
    assert_eq!(held.release().await, Released::WasLost);
    assert!(next.is_valid());
    rig.nothing_left_of(id, SOON).await;
}

async fn deleted_waiting(rig: Rig) {
    let (holder, id) = (rig.take(&rig.well).await, rig.session().await.id());
    let contender = rig.contend_and_watch().await;
    let own = rig.nodes_of(id).await;
    assert_eq!(own.len(), 1);
    rig.third.delete(&own[0], Version::Any).await.unwrap();
    rig.fails(holder, contender, ErrorKind::Revoked, (id, SOON)).await;
}

async fn predecessor_deleted(rig: Rig) {
    let holder = rig.take(&rig.well).await;
    let id = rig.third.session("/").await.unwrap().id();
    let first = rig.contend(&rig.third).await;
    let contender = rig.contend_and_watch().await;
    let ahead = rig.nodes_of(id).await;
    assert_eq!(ahead.len(), 1);
    rig.well.delete(&ahead[0], Version::Any).await.unwrap();
    let err = soon("the word of it", first).await.unwrap().err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    rig.comes_to_its_turn(holder, contender).await;
}

async fn directory_deleted(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    tree::remove_all(&rig.third, rig.dir()).await.unwrap();
    assert_eq!(soon("the word of it", held.lost()).await, Loss::Deleted);
    let err = soon("the word of it", next).await.unwrap().err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Revoked, "{err}");
    rig.recipe.prepare(rig.well.clone(), &rig.path).await;
    let again = rig.take(&rig.faulty).await;
    assert!(*again.token() > *held.token(), "numbers start again, tokens do not");
    drop(held);
    let next = rig.contend(&rig.well).await;
    rig.passes_on(again, next).await;
}

async fn foreign_children(rig: Rig) {
    for name in rig.recipe.foreign().into_iter().skip(1) {
        let path = format!("{}/{name}", rig.dir());
        rig.third.create(path, "", Mode::Persistent).await.unwrap();
    }
    let holder = rig.take(&rig.well).await;
    let contender = rig.contend(&rig.faulty).await;
    rig.comes_to_its_turn(holder, contender).await;
}

/// A directory in which not everything is allowed.
async fn restrict(rig: &Rig, perms: Perms) {
    let everybody = Acl { perms, ..Acl::open().remove(0) };
    rig.third.set_acl(rig.dir(), vec![everybody], Version::Any).await.unwrap();
    // The leader goes by the old list until it has applied the change, which is a moment behind a
    // follower's word that it is done.
    for _ in 0..3 {
        rig.third.sync(rig.dir()).await.unwrap();
    }
}

async fn denied(rig: Rig, perms: Perms) {
    restrict(&rig, perms | Perms::ADMIN).await;
    let err = soon("the word of it", rig.recipe.acquire(rig.faulty.clone(), &rig.path)).await;
    let err = err.err().unwrap();
    assert_eq!(err.kind(), ErrorKind::NoAuth, "{err}");
    assert!(err.to_string().contains(&rig.path), "{err}");
    restrict(&rig, Perms::ALL).await;
    rig.nothing_left_of(rig.session().await.id(), SOON).await;
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    rig.passes_on(held, next).await;
}

async fn delete_denied(rig: Rig) {
    let held = rig.take(&rig.faulty).await;
    let next = rig.contend(&rig.well).await;
    restrict(&rig, Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN).await;
    let (until, released) = (held.valid_until(), soon("the release", held.release()).await);
    assert!(released == Released::WasLost && until.is_past(), "{released:?}");
    // The keeper tries on; what it may not do at all goes with the session.
    rig.faulty.close().await.unwrap();
    gets_in(next, SOON).await;
}

// --- servers ----------------------------------------------------------------------------------

/// What one recipe goes through while a fault of a server bites: who has to do with `server` is
/// behind the proxy.
struct Suffering {
    rig: Rig,
    id: i64,
    held: Box<dyn support::recipes::Held>,
    next: support::rig::Contender,
}

async fn held_at(ensemble: &Ensemble, server: usize, healthy: usize) -> Vec<Suffering> {
    let each = all().into_iter().map(|recipe| async move {
        let rig = Rig::new(recipe, ensemble.addr(server), ensemble.addr(healthy)).await;
        let rig = rig.prepared().await;
        let (held, id) = (rig.take(&rig.faulty).await, rig.session().await.id());
        let next = rig.contend(&rig.well).await;
        Suffering { rig, id, held, next }
    });
    join_all(each).await
}

async fn all_lose(suffering: Vec<Suffering>) {
    side_by_side(
        suffering
            .into_iter()
            .map(|Suffering { rig, id, held, next }| {
                let name = rig.recipe.name().to_owned();
                (name, async move { rig.loses(held, next, &[Loss::Unproven], id).await }.boxed())
            })
            .collect(),
    )
    .await;
}

async fn all_go_on(suffering: Vec<Suffering>) {
    side_by_side(
        suffering
            .into_iter()
            .map(|Suffering { rig, held, next, .. }| {
                let name = rig.recipe.name().to_owned();
                let goes_on = async move {
                    rig.proved_again(&*held).await;
                    rig.passes_on(held, next).await;
                };
                (name, goes_on.boxed())
            })
            .collect(),
    )
    .await;
}

#[tokio::test]
async fn each_recipe_bears_each_fault_of_the_network_and_of_operators() {
    let (ensemble, mut rng) = (ensemble().await, random("network and operators"));
    for _ in 0..rounds(1, 20) {
        let mut cases = Vec::new();
        for recipe in all() {
            let lines = if recipe.is_line() { of_lines() } else { Vec::new() };
            for (name, case) in of_holders().into_iter().chain(lines) {
                let (recipe, server) = (recipe.clone(), rng.usize(1..=3));
                let at =
                    (ensemble.addr(server).to_owned(), ensemble.addr(server % 3 + 1).to_owned());
                let phase = Duration::from_millis(rng.u64(..700));
                let title = format!("{}, {name}", recipe.name());
                let case = async move {
                    let rig = Rig::new(recipe, &at.0, &at.1).await.prepared().await;
                    // Faults meet renewals and pings at other moments each time.
                    sleep(phase).await;
                    case(rig).await;
                };
                cases.push((title, case.boxed()));
            }
        }
        side_by_side(cases).await;
    }
}

#[tokio::test]
async fn each_recipe_bears_a_server_that_stands_still() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let short = held_at(&ensemble, server, healthy).await;
        ensemble.stop(server);
        sleep(TIMEOUT / 10).await;
        ensemble.cont(server);
        all_go_on(short).await;
        let long = held_at(&ensemble, server, healthy).await;
        ensemble.stop(server);
        all_lose(long).await;
        ensemble.cont(server);
        ensemble.mend().await;
    }
}

#[tokio::test]
async fn each_recipe_bears_a_follower_that_is_cut_off_and_answers() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let leader = ensemble.until_one_leads().await;
        let (server, healthy) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let suffering = held_at(&ensemble, server, healthy).await;
        let before = ensemble.held();
        ensemble.cut_from_peers(server);
        all_lose(suffering).await;
        assert!(ensemble.held() > before, "the fault did not bite");
        ensemble.mend().await;
    }
}

#[tokio::test]
async fn each_recipe_bears_a_killed_leader_and_a_restarted_server() {
    let ensemble = ensemble().await;
    for _ in 0..rounds(1, 20) {
        let lines = all().into_iter().filter(|recipe| recipe.is_line());
        let each = lines.map(|recipe| {
            let ensemble = &ensemble;
            async move {
                // Whoever waits knows but one server, which will be gone for a while with its watches.
                let leader = ensemble.until_one_leads().await;
                let rig = Rig::new(recipe, ensemble.addr(leader), &ensemble.addrs()).await;
                let rig = rig.prepared().await;
                let holder = rig.take(&rig.well).await;
                let contender = rig.contend_and_watch().await;
                (rig, holder, contender)
            }
        });
        let suffering = join_all(each).await;
        let old = ensemble.kill_leader().await;
        let new = ensemble.until_another_leads(old).await;
        let (at, mut free) = (ensemble.addr(new).to_owned(), Vec::new());
        for (rig, holder, contender) in suffering {
            // It moved to another server in time, or lost it: either way it tells the truth.
            let released = soon("the release", holder.release()).await;
            println!("{}: {released:?}", rig.recipe.name());
            free.push((rig, contender));
        }
        // What the waiter waits for is gone, and its server did not see it go.
        let witness = connect(&at, TIMEOUT).await;
        witness.sync("/").await.unwrap();
        ensemble.restart(old);
        side_by_side(
            free.into_iter()
                .map(|(rig, contender)| {
                    let name = rig.recipe.name().to_owned();
                    let ends = async move {
                        // It was away for longer than its session may, or was not.
                        let waited =
                            timeout(Duration::from_secs(30), contender).await.unwrap().unwrap();
                        match waited {
                            Ok(held) => drop(held),
                            Err(err) => assert_eq!(err.kind(), ErrorKind::SessionExpired, "{err}"),
                        }
                        let held = rig.take(&rig.well).await;
                        let next = rig.contend(&rig.third).await;
                        held.release().await;
                        gets_in(next, SOON).await;
                    };
                    (name, ends.boxed())
                })
                .collect(),
        )
        .await;
        ensemble.mend().await;
    }
}
