//! Bringing a mirror what it lacks, in the background, for as long as the connection lives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tracing::{info, warn};

use super::bring::Job;
use super::look::Depth;
use super::owed::Debt;
use super::quorum::Quorum;
use super::{Shared, TARGET, who};
use crate::background::KEEPER;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::request::{Op, Read, ReadReply, Reply, Request};

/// The name of the counter of writes that cannot be remembered.
const FORGOTTEN: &str = "zkcells_writes_forgotten_total";

/// The pauses behind failed tries to bring a mirror up.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

impl Shared {
    /// Notes what a mirror may lack, and sees to it.
    pub(super) fn owe(
        self: &Arc<Self>,
        index: usize,
        debts: impl IntoIterator<Item = Debt>,
        why: &Error,
    ) {
        let Some(mirror) = self.mirrors.get(index) else { return };
        let (forgotten, begins) = mirror.owed.add(debts);
        self.news.send_modify(|()| {});
        if forgotten > 0 {
            let (number, count) = (mirror.quorum.number, mirror.owed.forgotten());
            let cell = self.options.home.components().next_back().unwrap_or_default().to_string();
            metrics::counter!(FORGOTTEN, "cell" => cell).increment(forgotten as u64);
            // Not for each: then there are many.
            if count.is_power_of_two() || count == forgotten {
                warn!(
                    target: TARGET,
                    quorum = number,
                    forgotten = count,
                    "mirror lacks more writes than can be remembered; repair finds them"
                );
            }
        }
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

    /// Tries some, and says whether all of them failed; `None` when nothing is left.
    async fn pay(self: &Arc<Self>, index: usize) -> Option<bool> {
        let mirror = self.mirrors.get(index)?;
        let debts = mirror.owed.take();
        if debts.is_empty() {
            self.news.send_modify(|()| {});
            info!(target: TARGET, quorum = mirror.quorum.number, "mirror caught up");
            return None;
        }
        let count = debts.len();
        let paid = join_all(debts.iter().map(|debt| self.pay_one(index, debt))).await;
        let left: Vec<Debt> = debts
            .into_iter()
            .zip(paid)
            .filter_map(|(debt, paid)| paid.is_err().then_some(debt))
            .collect();
        let failed = left.len() == count;
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
            count: None,
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
        let list = async |quorum: &Quorum| -> Result<BTreeSet<String>, Error> {
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
