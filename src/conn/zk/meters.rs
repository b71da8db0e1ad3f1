//! What a connection counts and measures: handles of the `metrics` facade, each made once.
//!
//! Labels are `cell` and `op` and nothing else, so their number is bounded whatever callers do; the
//! crate page lists the names.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::error::{Error, ErrorKind};

/// The meters of one connection.
pub(super) struct Meters {
    cell: String,
    pub(super) connected: Gauge,
    pub(super) disconnected: Gauge,
    pub(super) opened: Counter,
    pub(super) watches: WatchGauge,
    /// By kind of operation, made when one of the kind is first answered.
    by_op: Mutex<BTreeMap<&'static str, OfOp>>,
}

/// The meters of one kind of operation.
#[derive(Clone)]
struct OfOp {
    ok: Counter,
    refused: Counter,
    not_sent: Counter,
    unknown: Counter,
    seconds: Histogram,
    retries: Counter,
}

impl Meters {
    pub(super) fn new(cell: &str) -> Self {
        describe();
        let gauge = |name: &'static str| metrics::gauge!(name, "cell" => cell.to_string());
        Meters {
            cell: cell.to_string(),
            connected: gauge("zkcells_sessions_connected"),
            disconnected: gauge("zkcells_sessions_disconnected"),
            opened: metrics::counter!("zkcells_sessions_opened_total", "cell" => cell.to_string()),
            watches: WatchGauge(gauge("zkcells_watches")),
            by_op: Mutex::default(),
        }
    }

    /// An operation got its answer, `took` after it was called.
    pub(super) fn answered<T>(&self, op: &'static str, took: Duration, answer: &Result<T, Error>) {
        self.of(op, |meters| {
            let outcome = match answer {
                Ok(_) => &meters.ok,
                Err(err) => match err.kind() {
                    ErrorKind::NotSent
                    | ErrorKind::AuthFailed
                    | ErrorKind::Closed
                    | ErrorKind::TooManyWatches => return meters.not_sent.increment(1),
                    ErrorKind::Timeout
                    | ErrorKind::ConnectionLoss
                    | ErrorKind::SessionExpired
                    | ErrorKind::OutcomeUnknown => return meters.unknown.increment(1),
                    _ => &meters.refused,
                },
            };
            outcome.increment(1);
            meters.seconds.record(took);
        });
    }

    /// An operation is sent once more.
    pub(super) fn retried(&self, op: &'static str) {
        self.of(op, |meters| meters.retries.increment(1));
    }

    fn of(&self, op: &'static str, moves: impl FnOnce(&OfOp)) {
        // All but refusals of a full queue come from the io thread: nobody waits here.
        let mut by_op = self.by_op.lock().unwrap_or_else(PoisonError::into_inner);
        moves(by_op.entry(op).or_insert_with(|| OfOp::new(&self.cell, op)));
    }
}

impl OfOp {
    fn new(cell: &str, op: &'static str) -> Self {
        let counter =
            |name: &'static str| metrics::counter!(name, "cell" => cell.to_string(), "op" => op);
        OfOp {
            ok: counter("zkcells_operations_ok_total"),
            refused: counter("zkcells_operations_refused_total"),
            not_sent: counter("zkcells_operations_not_sent_total"),
            unknown: counter("zkcells_operations_unknown_total"),
            seconds: metrics::histogram!(
                "zkcells_operation_seconds", "cell" => cell.to_string(), "op" => op
            ),
            retries: counter("zkcells_retries_total"),
        }
    }
}

/// Counts watches that stand.
#[derive(Clone)]
pub(super) struct WatchGauge(Gauge);

/// A watch that stands, as long as the value lives.
pub(super) struct Standing(Gauge);

impl WatchGauge {
    pub(super) fn one(&self) -> Standing {
        self.0.increment(1.0);
        Standing(self.0.clone())
    }
}

impl Default for WatchGauge {
    fn default() -> Self {
        WatchGauge(Gauge::noop())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("zkcells_sessions_connected", "sessions that a server answers");
    gauge!("zkcells_sessions_disconnected", "sessions that no server answers just now");
    counter!("zkcells_sessions_opened_total", "sessions opened");
    gauge!("zkcells_watches", "watches that stand");
    counter!("zkcells_operations_ok_total", "operations that were done");
    counter!("zkcells_operations_refused_total", "operations that a server refused");
    counter!("zkcells_operations_not_sent_total", "operations that no server got");
    counter!("zkcells_operations_unknown_total", "operations whose answer was lost or late");
    counter!("zkcells_retries_total", "operations sent once more");
    metrics::describe_histogram!(
        "zkcells_operation_seconds",
        Unit::Seconds,
        "from the call to a server's answer, queueing and dials included"
    );
}
