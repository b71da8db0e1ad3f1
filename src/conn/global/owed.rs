//! What a mirror still lacks: brought there in the background, for as long as the connection lives.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tracing::{info, warn};

use super::look::Depth;
use super::mirror::Job;
use super::{Shared, TARGET, who};
use crate::background::KEEPER;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::request::{Op, Read, ReadReply, Reply, Request};

/// More than this nobody keeps in memory for a mirror that is away; `repair` finds the rest.
const MOST: usize = 64 * 1024;

/// How many are brought up at once.
const AT_ONCE: usize = 8;

/// The pauses behind failed tries to bring a mirror up.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What may not agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Debt {
    Node(ZkPath),
    /// A child whose name is not known.
    ChildOf(ZkPath),
}

/// What one mirror lacks.
#[derive(Debug, Default)]
pub(super) struct Owed {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    debts: BTreeSet<Debt>,
    /// How many of them are being brought there.
    under_way: usize,
    /// How many there was no room for.
    forgotten: usize,
    is_paying: bool,
}

impl Owed {
    /// How many are left.
    pub(super) fn count(&self) -> usize {
        let state = self.state();
        state.debts.len() + state.under_way
    }

    /// How many were too many to be kept.
    pub(super) fn forgotten(&self) -> usize {
        self.state().forgotten
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds them, and says how many were new and whether somebody has to begin to pay.
    fn add(&self, debts: impl IntoIterator<Item = Debt>) -> (usize, bool) {
        let mut state = self.state();
        let before = state.debts.len();
        for debt in debts {
            if state.debts.len() < MOST {
                state.debts.insert(debt);
            } else if !state.debts.contains(&debt) {
                state.forgotten += 1;
            }
        }
        let begins = !state.is_paying && !state.debts.is_empty();
        state.is_paying |= begins;
        (state.debts.len() - before, begins)
    }

    /// Takes some; with none left, whoever pays is done.
    fn take(&self) -> Vec<Debt> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE
            && let Some(debt) = state.debts.pop_first()
        {
            taken.push(debt);
        }
        state.under_way = taken.len();
        state.is_paying = !taken.is_empty();
        taken
    }

    /// What was taken has been tried; these have to be tried again.
    fn settle(&self, left: Vec<Debt>) {
        let mut state = self.state();
        state.under_way = 0;
        state.debts.extend(left);
    }
}

impl Shared {
    /// Notes what a mirror may lack, and sees to it.
    pub(super) fn owe(
        self: &Arc<Self>,
        index: usize,
        debts: impl IntoIterator<Item = Debt>,
        why: &Error,
    ) {
        let Some(mirror) = self.mirrors.get(index) else { return };
        let (_, begins) = mirror.owed.add(debts);
        self.news.send_modify(|()| {});
        if begins {
            let (number, reason) = (mirror.quorum.number, why.to_string());
            warn!(target: TARGET, quorum = number, reason, "mirror behind");
            let shared = Arc::downgrade(self);
            let paying = async move {
                let mut pauses = PAUSES;
                loop {
                    let Some(shared) = shared.upgrade().filter(|shared| !shared.is_over()) else {
                        return;
                    };
                    let Some(failed) = shared.pay(index).await else { return };
                    drop(shared);
                    if failed {
                        tokio::time::sleep(pauses.failed()).await;
                    } else {
                        pauses.succeeded();
                    }
                }
            };
            // Without a thread nobody pays; what is owed stays to be seen.
            let _ = KEEPER.spawn(paying);
        }
    }

    /// Tries some, and says whether one of them failed; `None` when nothing is left.
    async fn pay(self: &Arc<Self>, index: usize) -> Option<bool> {
        let mirror = self.mirrors.get(index)?;
        let debts = mirror.owed.take();
        if debts.is_empty() {
            self.news.send_modify(|()| {});
            info!(target: TARGET, quorum = mirror.quorum.number, "mirror caught up");
            return None;
        }
        let paid = join_all(debts.iter().map(|debt| self.pay_one(index, debt))).await;
        let left: Vec<Debt> = debts
            .into_iter()
            .zip(paid)
            .filter_map(|(debt, paid)| paid.is_err().then_some(debt))
            .collect();
        let failed = !left.is_empty();
        mirror.owed.settle(left);
        self.news.send_modify(|()| {});
        Some(failed)
    }

    async fn pay_one(self: &Arc<Self>, index: usize, debt: &Debt) -> Result<(), Error> {
        let deadline = Deadline::after(self.options.wait);
        let paying = async {
            let paths = match debt {
                Debt::Node(path) => vec![path.clone()],
                Debt::ChildOf(parent) => self.strangers(index, parent, deadline).await?,
            };
            self.bring_up(index, paths, deadline).await
        };
        tokio::time::timeout(deadline.remaining(), paying)
            .await
            .unwrap_or_else(|_| Err(Error::new("mirror", "", ErrorKind::Timeout)))
    }

    /// Brings these paths of a mirror to what the first holds now.
    pub(super) async fn bring_up(
        self: &Arc<Self>,
        index: usize,
        paths: Vec<ZkPath>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(mirror) = self.mirrors.get(index).filter(|_| !paths.is_empty()) else {
            return Ok(());
        };
        let identity = match self.identity() {
            Some(identity) => identity,
            None => who::first(self, deadline).await?,
        };
        let job = Job {
            moment: self.tick(),
            paths,
            first: None,
            left: Default::default(),
            depth: Depth::All,
            identity,
            deadline,
        };
        mirror.bring_up(self, &job, None).await
    }

    /// The children of `parent` that one side has and the other has not.
    async fn strangers(
        &self,
        index: usize,
        parent: &ZkPath,
        deadline: Deadline,
    ) -> Result<Vec<ZkPath>, Error> {
        let list = async |quorum: &super::quorum::Quorum| -> Result<BTreeSet<String>, Error> {
            let call = |op: Op| {
                let mut request = Request::new(op, parent.clone());
                request.deadline = deadline;
                quorum.conn.call(request)
            };
            let synced = call(Op::Sync);
            let listed = call(Op::ReadMany(vec![Read::Children(parent.clone())]));
            synced.await?;
            let Reply::Many(found) = listed.await? else { return Ok(BTreeSet::new()) };
            match found.into_iter().next() {
                Some(Ok(ReadReply::Children(names))) => Ok(names.into_iter().collect()),
                Some(Err(err)) if err.kind() != ErrorKind::NoNode => Err(err),
                _ => Ok(BTreeSet::new()),
            }
        };
        let Some(mirror) = self.mirrors.get(index) else { return Ok(Vec::new()) };
        let (mirror, first) = (list(&mirror.quorum).await?, list(&self.first).await?);
        let differ = mirror.symmetric_difference(&first);
        Ok(differ.map(|name| parent.child(name)).collect())
    }
}
