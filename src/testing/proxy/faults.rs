//! The faults that a proxy has been told, and what its connections share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::connection::{End, Live};
use super::log::Log;
use crate::fault::{Bites, OpKind, Target};
use crate::testing::wire::Request;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClient,
    /// Either way.
    Both,
}

/// What bytes suffer one way.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) hole: bool,
    pub(super) delay: Duration,
}

/// What the proxy does wrong at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) refusing: bool,
    /// New connections wait.
    pub(super) waiting: bool,
    pub(super) to_server: Way,
    pub(super) to_client: Way,
    pub(super) rate: Option<u32>,
    pub(super) swallow: Vec<Target>,
    pub(super) drop: Vec<Target>,
    pub(super) late: VecDeque<Duration>,
    pub(super) twice: usize,
    pub(super) expire: usize,
}

impl Faults {
    pub(super) fn way(&self, direction: Direction) -> &Way {
        if direction == Direction::ToServer { &self.to_server } else { &self.to_client }
    }
}

/// What the commands and all connections of a proxy share.
pub(super) struct Shared {
    pub(super) faults: watch::Sender<Faults>,
    pub(super) bites: watch::Sender<Bites>,
    log: Mutex<Log>,
    live: Mutex<(u64, BTreeMap<u64, Live>)>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            faults: watch::Sender::default(),
            bites: watch::Sender::default(),
            log: Mutex::default(),
            live: Mutex::default(),
        }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    pub(super) fn bite(&self, count: impl FnOnce(&mut Bites)) {
        self.bites.send_modify(count);
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Live>)> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new connection, and says its number.
    pub(super) fn open(&self, live: Live) -> u64 {
        let mut all = self.live();
        all.0 += 1;
        let number = all.0;
        all.1.insert(number, live);
        number
    }

    pub(super) fn closed(&self, number: u64) {
        self.live().1.remove(&number);
    }

    pub(super) fn opened(&self) -> u64 {
        self.live().0
    }

    pub(super) fn connections(&self) -> usize {
        self.live().1.len()
    }

    /// Ends all connections; those with a session count.
    pub(super) fn cut(&self, end: End) {
        let all = std::mem::take(&mut self.live().1);
        let with_session = all.values().filter(|live| live.session().is_some()).count() as u64;
        // First the count, so that who notices the break finds it there.
        self.bite(|bites| bites.cut += with_session);
        for live in all.values() {
            live.kill(end);
        }
    }

    /// The sessions of all connections with their passwords.
    pub(super) fn credentials(&self) -> Vec<(i64, crate::testing::wire::Hidden)> {
        self.live().1.values().filter_map(Live::session).collect()
    }

    pub(super) fn sessions(&self) -> Vec<i64> {
        self.credentials().into_iter().map(|(id, _)| id).collect()
    }
}

/// The most exact kind of a request.
pub(super) fn kind_of(request: &Request) -> OpKind {
    match request {
        Request::Create { .. }
        | Request::Create2 { .. }
        | Request::CreateContainer { .. }
        | Request::CreateTtl { .. } => OpKind::Create,
        Request::Delete { .. } => OpKind::Delete,
        Request::SetData { .. } => OpKind::Set,
        Request::SetAcl { .. } => OpKind::SetAcl,
        Request::Multi { ops } => {
            let checks = ops.0.iter().all(|op| matches!(op, Request::Check { .. }));
            if checks { OpKind::Check } else { OpKind::Multi }
        }
        Request::Check { .. } => OpKind::Check,
        Request::Ping {} => OpKind::Ping,
        Request::SetWatches { .. }
        | Request::SetWatches2 { .. }
        | Request::AddWatch { .. }
        | Request::RemoveWatches { .. }
        | Request::CheckWatches { .. } => OpKind::Watch,
        Request::Auth { .. }
        | Request::Sasl { .. }
        | Request::CloseSession {}
        | Request::Reconfig { .. } => OpKind::Other,
        _ => OpKind::Read,
    }
}
