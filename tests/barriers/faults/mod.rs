//! Each barrier under each fault: nobody passes before its time, whoever cannot pass is told why, and
//! who comes behind the fault passes.
//!
//! All cases of the network and of operators are side by side on one ensemble, each behind a proxy
//! and at a path of its own; those of servers come one after the other, all barriers at once.

#![allow(unreachable_pub, reason = "tests")]

mod arriving;
mod gate;
mod leaving;
mod operators;
mod scene;
mod servers;
mod waiting;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::sleep;
use zkcells::Perms;
use zkcells::fault::Target;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::testing::servers::Ensemble;

use self::gate::Gate;
use self::scene::{MEETINGS, Meeting, PATIENT, SUFFERS, Scene};
use crate::support::random::{random, rounds};
use crate::support::rig::{TIMEOUT, side_by_side};

/// Three servers that the tests below share, one at a time; each finds them mended.
pub(crate) async fn ensemble() -> MutexGuard<'static, Ensemble> {
    static SHARED: OnceCell<Mutex<Ensemble>> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| async { Mutex::new(Ensemble::start(3).await.unwrap()) });
    let ensemble = shared.await.lock().await;
    ensemble.mend().await;
    ensemble
}

/// A fault that meets one request, and how often it has bitten.
type Met = (fn(&FaultProxy, Target), fn(&Bites) -> u64);
const LOST: Met = (|proxy, of| proxy.swallow_reply(of), |b| b.swallowed);
const DROPPED: Met = (|proxy, of| proxy.drop_request(of), |b| b.dropped);

/// A fault, how long the session lasts of the one who meets it, and what must become of it.
struct Case<S> {
    name: &'static str,
    wait: Duration,
    run: fn(S) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($wait:expr; $($name:literal => $case:expr,)+) => {
        [$(Case { name: $name, wait: $wait, run: |scene| ($case)(scene).boxed() }),+]
    };
}

/// What is borne, however long it takes on a busy machine.
fn borne() -> impl IntoIterator<Item = Case<Scene>> {
    cases![PATIENT;
        "arrival, reply lost, first" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, LOST, 0) },
        "arrival, reply lost, second" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, LOST, 1) },
        "arrival, reply lost, last" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, LOST, 2) },
        "arrival, request dropped, first" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, DROPPED, 0) },
        "arrival, request dropped, second" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, DROPPED, 1) },
        "arrival, request dropped, last" => |s: Scene| { let k = s.meeting.arrives(); arriving::arriving(s, k, DROPPED, 2) },
        "look, reply lost, first" => |s| arriving::arriving(s, OpKind::Read, LOST, 0),
        "look, reply lost, last" => |s| arriving::arriving(s, OpKind::Read, LOST, 2),
        "look, request dropped, first" => |s| arriving::arriving(s, OpKind::Read, DROPPED, 0),
        "look, request dropped, last" => |s| arriving::arriving(s, OpKind::Read, DROPPED, 2),
        "answers 300 ms late" => arriving::slow,
        "cut, waiting as the first" => |s| waiting::waits_on(s, |s| s.proxy.cut(), |b| b.cut > 0, 0),
        "cut, waiting as the second" => |s| waiting::waits_on(s, |s| s.proxy.cut(), |b| b.cut > 0, 1),
        "reset, waiting" => |s| waiting::waits_on(s, |s| s.proxy.reset(), |b| b.cut > 0, 1),
        "cut again and again" => waiting::flapping,
        "black hole for a moment" => waiting::blinked,
        "late event, first" => |s| waiting::event(s, |proxy| {
            proxy.late_event(Duration::from_millis(1500));
        }, |b| b.late > 0, 0),
        "late event, second" => |s| waiting::event(s, |proxy| {
            proxy.late_event(Duration::from_millis(1500));
        }, |b| b.late > 0, 1),
        "event twice, first" => |s| waiting::event(s, |proxy| proxy.twice_event(), |b| b.doubled > 0, 0),
        "event twice, second" => |s| waiting::event(s, |proxy| proxy.twice_event(), |b| b.doubled > 0, 1),
        "cut as it opens, first" => |s| waiting::cut_as_it_opens(s, 0),
        "cut as it opens, second" => |s| waiting::cut_as_it_opens(s, 1),
        "own node deleted" => |s| operators::deleted(s, true),
        "another's node deleted" => |s| operators::deleted(s, false),
        "directory deleted" => operators::directory_deleted,
        "foreign children" => operators::foreign_children,
        "create denied" => |s| operators::denied(s, Perms::READ | Perms::WRITE | Perms::DELETE),
        "list denied" => |s| operators::denied(s, Perms::CREATE | Perms::WRITE | Perms::DELETE),
        "delete denied" => operators::delete_denied,
    ]
}

/// What ends a session, or may.
fn endured() -> impl IntoIterator<Item = Case<Scene>> {
    cases![TIMEOUT;
        "session over, waiting" => waiting::session_over,
        "session said to be over, waiting" => waiting::session_said_to_be_over,
        "partition, waiting" => waiting::partitioned,
        "killed, waiting" => waiting::killed,
        "given up in a partition" => waiting::given_up_in_a_partition,
        "nodes written to" => operators::rewritten,
    ]
}

/// What only those go through who are inside.
fn inside() -> impl IntoIterator<Item = Case<Scene>> {
    let borne = cases![PATIENT;
        "ready, reply lost" => |s| arriving::beginning(s, LOST),
        "ready, request dropped" => |s| arriving::beginning(s, DROPPED),
        "making way, reply lost" => |s| arriving::making_way(s, LOST),
        "making way, request dropped" => |s| arriving::making_way(s, DROPPED),
        "making way, reply lost for long" => arriving::making_way_too_late,
        "exit, reply lost" => |s| leaving::leaving(s, SUFFERS, OpKind::Delete, LOST),
        "exit, request dropped" => |s| leaving::leaving(s, SUFFERS, OpKind::Delete, DROPPED),
        "list on the way out, reply lost" => |s| leaving::leaving(s, SUFFERS, OpKind::Read, LOST),
        "list on the way out, request dropped" => |s| leaving::leaving(s, SUFFERS, OpKind::Read, DROPPED),
        "the last one's exit, reply lost" => |s| leaving::leaving(s, "a", OpKind::Multi, LOST),
        "the last one's exit, request dropped" => |s| leaving::leaving(s, "a", OpKind::Multi, DROPPED),
        "cut, waiting to leave" => |s| leaving::waiting_to_leave(s, SUFFERS, |p| p.cut(), |b| b.cut > 0),
        "cut, waiting to leave as the first" => |s| leaving::waiting_to_leave(s, "a", |p| p.cut(), |b| b.cut > 0),
        "late event on the way out" => |s| leaving::waiting_to_leave(s, "a", |p| {
            p.late_event(Duration::from_millis(1500));
        }, |b| b.late > 0),
        "event twice on the way out" => |s| leaving::waiting_to_leave(s, "a", |p| p.twice_event(), |b| b.doubled > 0),
        "own node deleted, inside" => |s| leaving::deleted(s, false),
        "own node deleted, leaving" => |s| leaving::deleted(s, true),
        "session over, inside" => |s| leaving::session_over(s, false),
        "session over, leaving" => |s| leaving::session_over(s, true),
    ];
    let endured = cases![TIMEOUT;
        "proof, reply lost" => |s| arriving::proving(s, LOST),
        "proof, request dropped" => |s| arriving::proving(s, DROPPED),
        "partition, inside" => |s| leaving::lost(s, |s| s.proxy.black_hole(Direction::Both), |b| b.held > 0),
        "half a partition, inside" => |s| leaving::lost(s, |s| s.proxy.black_hole(Direction::ToClient), |b| b.held > 0),
        "killed, inside" => |s| leaving::lost(s, |s| s.proxy.down(), |b| b.cut > 0),
        "session said to be over, inside" => leaving::session_said_to_be_over,
        "left in a partition" => leaving::left_in_a_partition,
    ];
    borne.into_iter().chain(endured)
}

#[tokio::test]
async fn each_barrier_bears_each_fault_of_the_network_and_of_operators() {
    let (ensemble, mut rng) = (ensemble().await, random("network and operators"));
    for _ in 0..rounds(1, 20) {
        let mut all = Vec::new();
        for meeting in MEETINGS {
            let more: Vec<_> = match meeting {
                Meeting::Double => inside().into_iter().collect(),
                Meeting::Strict | Meeting::Tolerant => Vec::new(),
            };
            for case in borne().into_iter().chain(endured()).chain(more) {
                let server = rng.usize(1..=3);
                let at =
                    (ensemble.addr(server).to_owned(), ensemble.addr(server % 3 + 1).to_owned());
                let phase = Duration::from_millis(rng.u64(..700));
                let title = format!("{meeting:?}, {}", case.name);
                let run = async move {
                    let scene = Scene::new(meeting, &at.0, &at.1, case.wait).await;
                    // Faults meet pings at other moments each time.
                    sleep(phase).await;
                    (case.run)(scene).await;
                };
                all.push((title, run.boxed()));
            }
        }
        for case in gate::cases() {
            let server = rng.usize(1..=3);
            let at = (ensemble.addr(server).to_owned(), ensemble.addr(server % 3 + 1).to_owned());
            let phase = Duration::from_millis(rng.u64(..700));
            let run = async move {
                let gate = Gate::new(&at.0, &at.1, case.wait).await;
                sleep(phase).await;
                (case.run)(gate).await;
            };
            all.push((format!("Barrier, {}", case.name), run.boxed()));
        }
        side_by_side(all).await;
    }
}
