//! The faults that a recipe goes through, each one line, and what is owed in each.

mod coming;
mod downgrading;
mod holding;
mod operators;
mod waiting;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zkcells::Perms;
use zkcells::fault::Target;
use zkcells::testing::proxy::{Bites, FaultProxy, OpKind};

use self::coming::{directory_gone, entering, joining};
use self::holding::{
    blinked, half_partitioned, kept, partitioned, released_in_a_partition, releasing, session_over,
    session_said_to_be_over, slow,
};
use self::operators::{
    delete_denied, deleted_held, deleted_waiting, denied, directory_deleted, foreign_children,
    predecessor_deleted, quota_reached,
};
use self::waiting::{
    cut_as_the_turn_comes, event, partitioned_waiting, session_over_waiting,
    session_said_to_be_over_waiting, still_waits, turning,
};
use super::rig::Rig;

/// A fault, what it meets, and what must become of it.
pub type Case = fn(Rig) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($name:literal => $case:expr,)+) => {
        vec![$(($name, (|rig| ($case)(rig).boxed()) as Case)),+]
    };
}

/// A fault that meets one request.
pub type Meet = fn(&FaultProxy, Target);
const LOST: Met = (|proxy, of| proxy.swallow_reply(of), |b| b.swallowed);
const DROPPED: Met = (|proxy, of| proxy.drop_request(of), |b| b.dropped);
/// A fault, and how often it has bitten.
pub type Met = (Meet, fn(&Bites) -> u64);

/// What comes, holds and goes through.
pub fn of_holders() -> Vec<(&'static str, Case)> {
    cases![
        "create, reply lost" => |rig: Rig| {
            let makes = rig.recipe.makes();
            entering(rig, makes, LOST)
        },
        "create, request dropped" => |rig: Rig| {
            let makes = rig.recipe.makes();
            entering(rig, makes, DROPPED)
        },
        "release, reply lost" => |rig| releasing(rig, LOST),
        "release, request dropped" => |rig| releasing(rig, DROPPED),
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
pub fn of_lines() -> Vec<(&'static str, Case)> {
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
        "quota reached" => quota_reached,
        "list denied" => |rig| denied(rig, Perms::CREATE | Perms::DELETE),
        "delete denied" => delete_denied,
    ]
}

/// What a writer goes through who goes on as a reader.
pub fn of_downgrades() -> Vec<(&'static str, Case)> {
    use self::downgrading::{
        exchanged_and_deleted, exchanged_and_dropped, exchanging, exchanging_and_looking,
    };
    cases![
        "downgrade, reply lost" => |rig| exchanging(rig, LOST),
        "downgrade, request dropped" => |rig| exchanging(rig, DROPPED),
        "downgrade and the look behind it, replies lost" => |rig| exchanging_and_looking(rig, LOST),
        "downgrade and the look behind it, requests dropped" => |rig| {
            exchanging_and_looking(rig, DROPPED)
        },
        "downgrade, reply lost, node deleted" => |rig| exchanged_and_deleted(rig, LOST),
        "downgrade, request dropped, node deleted" => |rig| exchanged_and_deleted(rig, DROPPED),
        "downgrade, reply lost, dropped" => |rig| exchanged_and_dropped(rig, LOST),
        "downgrade, request dropped, dropped" => |rig| exchanged_and_dropped(rig, DROPPED),
        "session over, downgrading" => downgrading::session_over,
        "session said to be over, downgrading" => downgrading::session_said_to_be_over,
        "partition, downgrading" => downgrading::partitioned,
        "create denied, downgrading" => downgrading::denied,
    ]
}
