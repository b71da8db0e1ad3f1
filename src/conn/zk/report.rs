//! What a connection tells of its life: events for `tracing`, and the meters that go with them.
//!
//! Events carry the cell, the operation and the session; a path only at debug level, and never data
//! or secrets.

use std::fmt;
use std::sync::Arc;

use metrics::Gauge;
use tracing::{debug, info, warn};

use super::dial::DialError;
use super::meters::Meters;
use crate::hold::Loss;
use crate::hosts::Hosts;
use crate::path::ZkPath;
use crate::request::Request;
use crate::session::Session;

/// The target of all events here, whichever file tells them.
const TARGET: &str = "zkcells::conn::zk";

pub(super) struct Report {
    cell: String,
    meters: Arc<Meters>,
    /// The gauge that counts the session now.
    stands: Option<Gauge>,
}

impl Report {
    pub(super) fn new(cell: String, meters: Arc<Meters>) -> Self {
        Report { cell, meters, stands: None }
    }

    /// The quorum's name.
    pub(super) fn cell(&self) -> &str {
        &self.cell
    }

    pub(super) fn dialling(&self, hosts: &Hosts) {
        debug!(target: TARGET, cell = self.cell, %hosts, "dialling");
    }

    pub(super) fn dial_failed(&self, err: &DialError) {
        debug!(target: TARGET, cell = self.cell, reason = err.why, "dial failed");
    }

    pub(super) fn opened(&mut self, session: &Session) {
        self.stands(Some(self.meters.connected.clone()));
        self.meters.opened.increment(1);
        info!(
            target: TARGET,
            cell = self.cell,
            session = %Id(session),
            generation = session.generation(),
            timeout_ms = millis(session),
            version = session.server_version(),
            "session opened"
        );
    }

    pub(super) fn disconnected(&mut self, session: &Session) {
        self.stands(Some(self.meters.disconnected.clone()));
        debug!(target: TARGET, cell = self.cell, session = %Id(session), "disconnected");
    }

    pub(super) fn attached(&mut self, session: &Session) {
        self.stands(Some(self.meters.connected.clone()));
        debug!(target: TARGET, cell = self.cell, session = %Id(session), "attached again");
    }

    /// A server has ended the session, and so many holds with it.
    pub(super) fn expired(&mut self, session: &Session, holds: usize) {
        self.stands(None);
        warn!(target: TARGET, cell = self.cell, session = %Id(session), "session expired");
        if holds > 0 {
            warn!(
                target: TARGET,
                cell = self.cell,
                session = %Id(session),
                holds,
                reason = ?Loss::SessionEnded,
                "holds lost"
            );
        }
    }

    /// We have ended the session; `confirmed` says whether a server told that it has, too.
    pub(super) fn closed(&mut self, session: &Session, confirmed: bool) {
        self.stands(None);
        info!(
            target: TARGET, cell = self.cell, session = %Id(session), confirmed, "session closed"
        );
    }

    pub(super) fn hold_lost(&self, session: Option<&Session>, path: &ZkPath, why: Loss) {
        let session = session.map(|session| tracing::field::display(Id(session)));
        warn!(target: TARGET, cell = self.cell, session, holds = 1, reason = ?why, "holds lost");
        debug!(target: TARGET, cell = self.cell, session, %path, "this hold was lost");
    }

    /// A request is sent once more.
    pub(super) fn retried(&self, request: &Request) {
        let (op, path) = (request.op.name(), &request.path);
        self.meters.retried(op);
        debug!(target: TARGET, cell = self.cell, op, %path, "asked again");
    }

    /// It is known what became of a write whose reply was lost, or that nobody can know it.
    pub(super) fn settled(&self, request: &Request, outcome: &'static str) {
        let (op, path) = (request.op.name(), &request.path);
        debug!(target: TARGET, cell = self.cell, op, %path, outcome, "write settled");
    }

    fn stands(&mut self, now: Option<Gauge>) {
        if let Some(gauge) = &now {
            gauge.increment(1.0);
        }
        if let Some(before) = std::mem::replace(&mut self.stands, now) {
            before.decrement(1.0);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.stands(None);
    }
}

/// A session's number as servers print it.
#[derive(Clone, Copy)]
struct Id<'a>(&'a Session);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0.id())
    }
}

fn millis(session: &Session) -> u64 {
    session.timeout().as_millis().try_into().unwrap_or(u64::MAX)
}
