//! Judges a history, node by node.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use porcupine_rs::{CheckResult, Operation, check_operations_timeout};

use super::record::{Asked, Call, Told};
use super::register::{End, Register, Step};
use super::report::{Fault, Report, Violation};
use crate::error::ErrorKind;
use crate::path::ZkPath;

/// How long the search for an order may take for one node.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls on one node the search is asked to order.
const MAX_CALLS: usize = 10_000;

pub(super) fn check(calls: &[Call]) -> Report {
    let mut report = counted(calls);
    let fresh = fresh(calls);
    let mut keys: BTreeMap<&ZkPath, Vec<usize>> = BTreeMap::new();
    for (place, call) in calls.iter().enumerate() {
        keys.entry(&call.key).or_default().push(place);
    }
    // A node that was only synced is none.
    keys.retain(|_, places| places.iter().any(|at| calls[*at].asked != Asked::Sync));
    report.keys = keys.len();
    for (key, places) in keys {
        let of_key: Vec<&Call> = places.iter().map(|at| &calls[*at]).collect();
        let is_fresh: Vec<bool> = places.iter().map(|at| fresh[*at]).collect();
        report.fresh += is_fresh.iter().filter(|fresh| **fresh).count();
        let mut found = |fault, shown| {
            report.violations.push(Violation { key: key.clone(), fault, shown });
        };
        if let Some(odd) = of_key.iter().find(|call| matches!(call.asked, Asked::Other(_))) {
            found(Fault::NotUnderstood, odd.to_string());
        }
        written(&of_key, &mut found);
        forward(&of_key, &mut found);
        linearizable(&of_key, &is_fresh, &mut found);
    }
    report
}

fn counted(calls: &[Call]) -> Report {
    let mut report = Report { calls: calls.len(), ..Report::default() };
    for call in calls {
        let is_write = call.is_write();
        report.writes += usize::from(is_write);
        report.unknown += usize::from(call.is_unknown());
        match &call.told {
            Told::Seen(_) => report.reads += 1,
            Told::Done(_) if is_write => report.done += 1,
            Told::Failed(kind) if is_write && is_refusal(*kind) => report.refused += 1,
            Told::Failed(_) if is_write && !call.is_unknown() => report.failed += 1,
            _ => {}
        }
    }
    report
}

/// Whether it tells what the node was when the write came.
/// Whether an error leaves it open, to those who judge, when a write was applied, if it was.
/// `NotMirrored` and `Contended` say that it was, and nothing of the version that it made.
pub(super) fn leaves_open(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::NotMirrored | ErrorKind::Contended)
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NoNode | ErrorKind::NodeExists | ErrorKind::BadVersion)
}

/// Which calls are answered reads right behind a sync of the same node that was answered too.
fn fresh(calls: &[Call]) -> Vec<bool> {
    let mut last: HashMap<usize, &Call> = HashMap::new();
    calls
        .iter()
        .map(|call| {
            let before = last.insert(call.connection, call);
            matches!(call.told, Told::Seen(_))
                && before.is_some_and(|before| {
                    before.asked == Asked::Sync
                        && before.key == call.key
                        && matches!(before.told, Told::Done(_))
                })
        })
        .collect()
}

/// Each read shows what a write may have left, and all show the same of one transaction.
fn written(calls: &[&Call], found: &mut impl FnMut(Fault, String)) {
    let mut shown: HashMap<i64, (i32, Option<&Bytes>, &Call)> = HashMap::new();
    for call in calls {
        let (data, stat) = match &call.told {
            // A create whose reply was lost may tell of the node as it is now.
            Told::Done(Some(stat)) if !matches!(call.asked, Asked::Create { .. }) => {
                (call.data(), stat)
            }
            Told::Seen(Some((data, stat))) => (data.as_ref(), stat),
            _ => continue,
        };
        let (version, before, who) = shown.entry(stat.mzxid).or_insert((stat.version, data, call));
        let differs = before.is_some_and(|before| data.is_some_and(|data| data != before));
        if *version != stat.version || differs {
            found(Fault::NeverWritten, format!("{who} but {call}"));
        }
        *before = before.or(data);
        let Told::Seen(Some((Some(data), _))) = &call.told else { continue };
        let wrote = |write: &&&Call| write.data() == Some(data) && Some(write.start) < call.end;
        if !calls.iter().filter(wrote).any(|write| write.may_be_applied()) {
            let told = calls.iter().find(wrote).map(|write| format!("{write} and "));
            found(Fault::NeverWritten, format!("{}{call}", told.unwrap_or_default()));
        }
    }
}

/// What a connection has seen of a node.
#[derive(Default)]
struct Latest {
    /// The transaction that made it, and the one that set it last.
    node: Option<(i64, i64)>,
    /// It was seen to be gone since.
    gone: bool,
}

/// No connection sees something older than before.
fn forward(calls: &[&Call], found: &mut impl FnMut(Fault, String)) {
    let mut latest: HashMap<usize, Latest> = HashMap::new();
    for call in calls {
        let seen = match &call.told {
            Told::Done(Some(stat)) | Told::Seen(Some((_, stat))) => Some(stat),
            Told::Seen(None) => None,
            Told::Done(None) if matches!(call.asked, Asked::Delete { .. }) => None,
            _ => continue,
        };
        let latest = latest.entry(call.connection).or_default();
        let back = match (latest.node, seen) {
            (Some((made, set)), Some(stat)) => {
                stat.mzxid < set || (latest.gone && stat.czxid <= made)
            }
            (Some((made, _)), None) => !latest.gone && !may_be_deleted(calls, made, call),
            (None, _) => false,
        };
        if back {
            let node = latest.node.unwrap_or_default();
            let gone = if latest.gone { ", which was gone again" } else { "" };
            found(
                Fault::WentBack,
                format!("{call} behind made {:#x}, set {:#x}{gone}", node.0, node.1),
            );
        }
        match seen {
            Some(stat) => *latest = Latest { node: Some((stat.czxid, stat.mzxid)), gone: false },
            None => latest.gone = true,
        }
    }
}

/// Whether a delete explains that a node, made by transaction `made`, is gone for `reader`.
fn may_be_deleted(calls: &[&Call], made: i64, reader: &Call) -> bool {
    let maker = calls.iter().find(|call| {
        matches!(call.asked, Asked::Create { .. })
            && matches!(&call.told, Told::Done(Some(stat)) if stat.czxid == made)
    });
    let since = maker.map_or(i64::MIN, |maker| maker.start);
    calls.iter().any(|call| {
        matches!(call.asked, Asked::Delete { .. })
            && call.may_be_applied()
            && Some(call.start) < reader.end
            && (call.is_unknown() || call.end.is_none_or(|end| end > since))
    })
}

fn linearizable(calls: &[&Call], fresh: &[bool], found: &mut impl FnMut(Fault, String)) {
    let mut numbers: HashMap<&Bytes, usize> = HashMap::new();
    let mut number = |data| {
        let next = numbers.len();
        *numbers.entry(data).or_insert(next)
    };
    let mut operations: Vec<Operation<Register>> = Vec::new();
    for (place, (call, fresh)) in calls.iter().zip(fresh).enumerate() {
        let end = match &call.told {
            Told::Done(stat) => End::Done(match call.asked {
                Asked::Set { .. } => stat.map(|stat| stat.version),
                _ => None,
            }),
            Told::Failed(kind) if is_refusal(*kind) => End::Refused(*kind),
            Told::Nothing => End::Maybe,
            Told::Failed(kind) if leaves_open(*kind) => End::Maybe,
            // It tells nothing of the node, and the node nothing of it.
            Told::Failed(_) => continue,
            Told::Seen(_) if *fresh => End::Maybe,
            Told::Seen(_) => continue,
        };
        let step = match (&call.asked, &call.told) {
            (Asked::Create { data }, _) => Step::Create { data: number(data), end },
            (Asked::Set { data, version }, _) => {
                Step::Set { data: number(data), version: *version, end }
            }
            (Asked::Delete { version }, _) => Step::Delete { version: *version, end },
            (_, Told::Seen(seen)) => match seen {
                Some((Some(data), stat)) => Step::Read { seen: Some((stat.version, number(data))) },
                Some((None, stat)) => Step::Look { seen: Some(stat.version) },
                None => Step::Look { seen: None },
            },
            _ => continue,
        };
        let call_time = match &step {
            // It may show the node as it was when the sync began.
            Step::Read { .. } | Step::Look { .. } => sync_before(calls, place),
            _ => call.start,
        };
        let return_time = match call.end {
            Some(end) if !call.is_unknown() => end,
            _ => shown_by(calls, call).unwrap_or(i64::MAX),
        };
        operations.push(Operation {
            client_id: u32::try_from(call.connection).ok(),
            call_time,
            return_time,
            op: step,
            metadata: None,
        });
    }
    if operations.len() > MAX_CALLS {
        return found(Fault::Undecided, format!("{} calls are too many", operations.len()));
    }
    match check_operations_timeout::<Register>(&operations, PATIENCE) {
        CheckResult::Ok => {}
        CheckResult::Unknown => {
            found(Fault::Undecided, format!("no order of {} calls yet", operations.len()));
        }
        CheckResult::Illegal => {
            found(Fault::NotLinearizable, format!("{} calls have no order", operations.len()));
        }
    }
}

/// When the sync began that stands before the fresh read at `place`.
fn sync_before(calls: &[&Call], place: usize) -> i64 {
    let read = calls[place];
    let before = calls[..place].iter().rev().find(|call| call.connection == read.connection);
    before.map_or(read.start, |sync| sync.start)
}

/// When a write of unknown outcome had surely been applied: its data, which nobody else wrote, had
/// been read by then.
fn shown_by(calls: &[&Call], write: &Call) -> Option<i64> {
    let data = write.data()?;
    if calls.iter().filter(|call| call.data() == Some(data)).count() > 1 {
        return None;
    }
    let saw =
        |call: &&&Call| matches!(&call.told, Told::Seen(Some((Some(seen), _))) if seen == data);
    calls.iter().filter(saw).filter_map(|call| call.end).min()
}

#[cfg(test)]
mod tests;
