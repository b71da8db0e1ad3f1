//! The faults that a proxy has been told, and what its connections share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::bites::Bites;
use super::connection::{End, Live};
use super::log::Log;
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

/// Kinds of requests, as faults tell them apart.
///
/// ```
/// use zkcells::testing::proxy::OpKind;
/// let _any = OpKind::Create;
/// let _some = OpKind::Create.below("/app");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// A new node, of whatever mode.
    Create,
    /// The end of a node.
    Delete,
    /// New data for a node.
    Set,
    /// A new access list for a node.
    SetAcl,
    /// A multi that writes something.
    Multi,
    /// A multi of nothing but checks: it commits without a change.
    Check,
    /// Any of those that write: all of the above but [`Check`](OpKind::Check).
    Write,
    /// Anything that reads, with a watch or without, `sync` and multi-reads included.
    Read,
    /// Setting, finding, removing and carrying over watches, but for those that reads leave.
    Watch,
    /// Any request but pings.
    Any,
    /// A ping.
    Ping,
    /// Proving an identity, ending the session, changing members.
    Other,
}

impl OpKind {
    /// Only those at or below `path`; a multi is where one of its steps is.
    pub fn below(self, path: impl Into<String>) -> Target {
        Target { kind: self, below: Some(path.into()) }
    }

    /// The most exact kind of a request.
    pub(super) fn of(request: &Request) -> OpKind {
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

    /// Whether a request whose most exact kind is `exact` is one of this kind.
    pub fn includes(self, exact: OpKind) -> bool {
        match self {
            OpKind::Any => exact != OpKind::Ping,
            OpKind::Write => matches!(
                exact,
                OpKind::Create | OpKind::Delete | OpKind::Set | OpKind::SetAcl | OpKind::Multi
            ),
            kind => kind == exact,
        }
    }
}

/// Which requests a fault waits for: a kind, perhaps within a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    kind: OpKind,
    below: Option<String>,
}

impl From<OpKind> for Target {
    fn from(kind: OpKind) -> Self {
        Target { kind, below: None }
    }
}

impl Target {
    fn meets(&self, kind: OpKind, paths: &[String]) -> bool {
        let is_below = |path: &String, top: &str| {
            let rest = path.strip_prefix(top.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.kind.includes(kind)
            && self.below.as_ref().is_none_or(|top| paths.iter().any(|path| is_below(path, top)))
    }
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

/// Takes the first target that a request meets out of `targets`.
pub(super) fn take(targets: &mut Vec<Target>, kind: OpKind, paths: &[String]) -> bool {
    match targets.iter().position(|target| target.meets(kind, paths)) {
        Some(place) => {
            targets.remove(place);
            true
        }
        None => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_kind_and_a_tree() {
        let paths = |path: &str| vec![path.to_string()];
        let target = OpKind::Write.below("/app");
        assert!(target.meets(OpKind::Create, &paths("/app/x")));
        assert!(target.meets(OpKind::Multi, &["/other".into(), "/app".into()]));
        assert!(!target.meets(OpKind::Create, &paths("/apple")));
        assert!(!target.meets(OpKind::Read, &paths("/app")));
        assert!(OpKind::Set.below("/").meets(OpKind::Set, &paths("/x")));
        assert!(Target::from(OpKind::Any).meets(OpKind::Check, &[]));
        assert!(!Target::from(OpKind::Any).meets(OpKind::Ping, &[]));
    }

    #[test]
    fn a_target_is_met_once() {
        let mut targets = vec![OpKind::Create.into(), OpKind::Create.into()];
        assert!(!take(&mut targets, OpKind::Delete, &[]));
        assert!(take(&mut targets, OpKind::Create, &[]));
        assert!(take(&mut targets, OpKind::Create, &[]));
        assert!(!take(&mut targets, OpKind::Create, &[]));
    }
}
