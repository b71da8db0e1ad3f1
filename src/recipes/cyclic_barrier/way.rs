//! How a party looks at the barrier, writes to it, and breaks it.

use std::time::Duration;

use super::state::{Arrival, Fate, State};
use super::{CyclicBarrier, VERB};
use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Mode, Node, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::pause::Backoff;
use crate::recipes::look;
use crate::recipes::ours::Ours;
use crate::recipes::owner::Owner;
use crate::recipes::passing::{bear, bear_anew, is_over};
use crate::recipes::wait::recheck;
use crate::request::Multi;
use crate::session::Session;

/// The pause behind a failed try to break what was left, at first and at most.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// How the barrier is reached, and the party known there.
#[derive(Clone)]
pub(super) struct Way {
    /// With a connection of one session, unless failures are tolerated.
    pub(super) barrier: CyclicBarrier,
    pub(super) session: Session,
    pub(super) path: ZkPath,
    pub(super) arrival: Arrival,
}

/// How a write of the state went.
pub(super) enum Written {
    Yes,
    /// The state is not as it was, or a node is gone that was to be deleted.
    No,
}

impl Arrival {
    pub(super) fn gone(&self) -> String {
        format!("{} is gone: its session ended, or its node was deleted", self.who)
    }
}

impl Way {
    pub(super) fn conn(&self) -> &Ours {
        &self.barrier.conn
    }

    pub(super) async fn look(&self) -> Result<Option<(Node, State)>, Error> {
        self.barrier.read(&self.path).await
    }

    pub(super) fn node(&self, arrival: &Arrival) -> ZkPath {
        self.path.child(&arrival.node())
    }

    pub(super) fn index(&self, place: usize) -> usize {
        (self.barrier.parties - 1).saturating_sub(place)
    }

    /// One more arrival, with its node, behind one who is there.
    pub(super) fn arriving(&self, node: &Node, state: &State, next: &State) -> Multi {
        let mode = if self.barrier.tolerant { Mode::Persistent } else { Mode::Ephemeral };
        let options = CreateOptions::from(mode)
            .with_acl(self.barrier.acl.clone())
            .with_id(self.arrival.id.as_str());
        let owner = Owner::here(&self.arrival.id);
        let mut ops = Multi::new()
            .set(&self.path, next.to_json(), Version::Exact(node.stat.version))
            .create(self.node(&self.arrival), owner.to_json(), options);
        if let Some(last) = state.arrived.last().filter(|_| !self.barrier.tolerant) {
            ops = ops.check(self.node(last), Version::Any);
        }
        ops
    }

    /// The last arrival. Strict, each of the others must be there.
    pub(super) async fn opening(
        &self,
        node: &Node,
        state: &State,
        next: &State,
    ) -> Result<Multi, Error> {
        let mut ops =
            Multi::new().set(&self.path, next.to_json(), Version::Exact(node.stat.version));
        let nodes = match self.barrier.tolerant {
            true => nodes(self.conn(), &self.path, state).await?,
            false => state.arrived.iter().map(|arrival| self.node(arrival)).collect(),
        };
        for node in nodes {
            ops = ops.delete(node, Version::Any);
        }
        Ok(ops)
    }

    /// Breaks a generation in which `one` has died, and tells so; whether it is gone.
    pub(super) async fn bury(
        &self,
        node: &Node,
        state: &State,
        one: Option<&Arrival>,
    ) -> Result<bool, Error> {
        let Some(one) = one else { return Ok(false) };
        // It was there at the version that was read, or that version is no more.
        if self.conn().exists(self.node(one)).await?.is_some() {
            return Ok(false);
        }
        let why = one.gone();
        match write(self.conn(), &self.path, node, state, &state.break_off(&why)).await? {
            Written::Yes => Err(self.broken(&why)),
            Written::No => Ok(true),
        }
    }

    /// Waits until the node of the one `before` is gone, or a while; that one, if it was gone at once.
    pub(super) async fn watch_before(&self, before: &Arrival) -> Result<Option<Arrival>, Error> {
        let (there, gone) = look::exists(self.conn(), self.node(before)).await?;
        if there.is_none() {
            return Ok(Some(before.clone()));
        }
        tokio::select! {
            biased;
            _ = gone.told() => Ok(None),
            over = self.over() => Err(over),
            () = sleep(recheck(&self.session)) => Ok(None),
        }
    }

    /// Waits until the state changes or the newest of those who wait is gone; that one, if it was gone
    /// at once.
    pub(super) async fn watch_state(&self, generation: u64) -> Result<Option<Arrival>, Error> {
        let (node, changed) = match look::get(self.conn(), self.path.clone()).await {
            Ok(found) => found,
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
            Err(err) => return Err(err),
        };
        let state = self.barrier.state(&self.path, &node)?;
        if state.fate(generation) != Fate::Waiting {
            return Ok(None);
        }
        let newest = state.arrived.last().filter(|newest| newest.id != self.arrival.id);
        let gone = match newest.filter(|_| !self.barrier.tolerant) {
            None => None,
            Some(newest) => match look::exists(self.conn(), self.node(newest)).await? {
                (None, _) => return Ok(Some(newest.clone())),
                (Some(_), gone) => Some(gone),
            },
        };
        let gone = async {
            match gone {
                Some(gone) => gone.told().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = changed.told() => Ok(None),
            _ = gone => Ok(None),
            over = self.over() => Err(over),
            () = sleep(recheck(&self.session)) => Ok(None),
        }
    }

    /// Waits for the end of the session, where that ends all.
    pub(super) async fn over(&self) -> Error {
        match self.barrier.tolerant {
            true => std::future::pending().await,
            false => {
                self.session.lost().await;
                Error::new(VERB, &self.path, ErrorKind::SessionExpired)
            }
        }
    }

    /// Bears what a later look may not meet.
    pub(super) async fn bear(&self, err: Error) -> Result<(), Error> {
        match self.barrier.tolerant {
            true => bear_anew(self.conn(), &self.path, err).await,
            false => bear(err).await,
        }
    }

    /// Breaks the generation in which the own party waits, if it does; the state then, and its node.
    pub(super) async fn break_off(&self, why: &str) -> Result<(Node, State), Error> {
        let mut conflicts = 0;
        loop {
            pause::after(conflicts, Duration::MAX).await;
            // An arrival that was on its way has come by then, or never will.
            self.conn().sync(&self.path).await?;
            let Some((node, state)) = self.look().await? else {
                return Err(Error::new(VERB, &self.path, ErrorKind::Revoked));
            };
            if state.place(&self.arrival.id).is_none() || state.broken.is_some() {
                return Ok((node, state));
            }
            let next = state.break_off(why);
            match write(self.conn(), &self.path, &node, &state, &next).await? {
                Written::Yes => return Ok((node, next)),
                Written::No => conflicts += 1,
            }
        }
    }

    /// Breaks it however long that takes, unless others will.
    pub(super) async fn break_off_at_last(&self, why: &str) {
        let mut pauses = PAUSES;
        loop {
            match self.break_off(why).await {
                Ok((_, state)) if state.place(&self.arrival.id).is_some() => return,
                // Whoever wrote its arrival away has left its node.
                Ok(_) => match self.remove().await {
                    Err(err) if err.kind() != ErrorKind::NoAuth => {}
                    _ => return,
                },
                // Where failures are tolerated another session does as well.
                Err(err) if self.barrier.tolerant && err.kind() == ErrorKind::SessionExpired => {}
                Err(err) if is_over(err.kind()) || err.kind() == ErrorKind::Revoked => return,
                Err(_) if !self.barrier.tolerant && self.session.state().is_over() => return,
                // The state cannot be moved; without the own node others see that somebody is gone.
                Err(err) if matches!(err.kind(), ErrorKind::Unexpected | ErrorKind::NoAuth) => {
                    if self.remove().await.is_ok() {
                        return;
                    }
                }
                Err(_) => {}
            }
            sleep(pauses.failed()).await;
        }
    }

    /// Removes the own node, unless it is gone.
    async fn remove(&self) -> Result<(), Error> {
        match self.conn().delete(self.node(&self.arrival), Version::Any).await {
            Err(err) if err.kind() != ErrorKind::NoNode => Err(err),
            _ => Ok(()),
        }
    }

    pub(super) fn broken(&self, why: &str) -> Error {
        Error::new(VERB, &self.path, ErrorKind::Broken).with_detail(why)
    }

    pub(super) fn disagreement(&self, state: &State) -> Error {
        let say = |parties: usize, tolerant: bool| {
            let failures = if tolerant { "tolerated" } else { "not tolerated" };
            format!("{parties} parties with failures {failures}")
        };
        let ours = say(self.barrier.parties, self.barrier.tolerant);
        let theirs = say(state.parties, state.tolerate_failures);
        Error::new(VERB, &self.path, ErrorKind::Disagreement)
            .with_detail(format!("expected {ours}, and those who wait expect {theirs}"))
    }
}

/// The nodes of those who have arrived, as far as they are there. Of a barrier that is gone whoever
/// writes it is told so.
async fn nodes(conn: &dyn Conn, path: &ZkPath, state: &State) -> Result<Vec<ZkPath>, Error> {
    let names = match conn.children(path).await {
        Err(err) if err.kind() == ErrorKind::NoNode => Vec::new(),
        listed => listed?.names,
    };
    let of = |arrival: &Arrival| names.binary_search(&arrival.node()).ok();
    Ok(state.arrived.iter().filter_map(of).map(|at| path.child(&names[at])).collect())
}

/// Writes `next` in the place of `state`, which ends its generation: the nodes of those who wait go
/// with it.
pub(super) async fn write(
    conn: &dyn Conn,
    path: &ZkPath,
    node: &Node,
    state: &State,
    next: &State,
) -> Result<Written, Error> {
    let mut ops = Multi::new().set(path, next.to_json(), Version::Exact(node.stat.version));
    for party in nodes(conn, path, state).await? {
        ops = ops.delete(party, Version::Any);
    }
    match conn.multi(ops).await {
        Ok(_) => Ok(Written::Yes),
        Err(err) => match err.kind() {
            ErrorKind::BadVersion | ErrorKind::NoNode | ErrorKind::OutcomeUnknown => {
                Ok(Written::No)
            }
            _ => Err(err),
        },
    }
}
