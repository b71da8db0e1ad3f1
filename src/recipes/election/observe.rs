//! Who leads, as those see it who do not.

use std::time::Duration;

use super::{Leader, LeaderRecord};
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::contenders::contenders;
use crate::recipes::names::LockMode;
use crate::recipes::ours::Ours;
use crate::recipes::token::Token;
use crate::watch::Watch;

/// How long an observer trusts its watches.
const RECHECK: Duration = Duration::from_secs(30);
/// The pause behind a look that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks at an election.
#[derive(Debug)]
pub(super) struct Observer {
    conn: Ours,
    leader: ZkPath,
    candidates: ZkPath,
    last: Option<Option<Leader>>,
    /// The newest leadership that was told.
    newest: Option<Token>,
    failed: bool,
}

/// What was seen, and what tells of a change.
pub(super) struct Seen {
    pub(super) leader: Option<Leader>,
    said: Watch,
    candidate: Option<Watch>,
}

impl Observer {
    pub(super) fn new(conn: Ours, leader: ZkPath, candidates: ZkPath) -> Self {
        Observer { conn, leader, candidates, last: None, newest: None, failed: false }
    }

    /// The leader now, at first, and then whenever it is another.
    pub(super) async fn next(&mut self) -> Result<Option<Leader>, Error> {
        if std::mem::take(&mut self.failed) {
            sleep(PAUSE).await;
        }
        loop {
            let seen = match self.look().await {
                Ok(seen) => seen,
                Err(err) => {
                    self.failed = true;
                    return Err(err);
                }
            };
            if self.last.as_ref() != Some(&seen.leader) && !self.goes_back(&seen.leader) {
                self.last = Some(seen.leader.clone());
                let token = seen.leader.as_ref().map(|leader| leader.token.clone());
                self.newest = token.or(self.newest.take());
                return Ok(seen.leader);
            }
            seen.changed().await;
        }
    }

    /// Whether a server that is behind tells of an earlier leader.
    fn goes_back(&self, leader: &Option<Leader>) -> bool {
        match (&self.newest, leader) {
            (Some(newest), Some(leader)) => leader.token < *newest,
            _ => false,
        }
    }

    pub(super) async fn look(&self) -> Result<Seen, Error> {
        let told = |err: Error| err.during("observe");
        let (said, data) = loop {
            match self.conn.get_watch(&self.leader).await {
                Ok((node, watch)) => break (watch, node.data),
                Err(err) if err.kind() == ErrorKind::NoNode => {}
                Err(err) => return Err(told(err)),
            }
            // Unless it comes just now, its creation is waited for.
            if let (None, said) = self.conn.exists_watch(&self.leader).await.map_err(told)? {
                return Ok(Seen { leader: None, said, candidate: None });
            }
        };
        let Ok(record) = serde_json::from_slice::<LeaderRecord>(&data) else {
            return Ok(Seen { leader: None, said, candidate: None });
        };
        let found = match (&record.candidate, record.token.as_deref().map(str::parse::<Token>)) {
            (Some(name), Some(Ok(token))) => {
                self.candidates.join(name).ok().map(|candidate| (candidate, token))
            }
            // A leader of Vitess says no more than host and process.
            _ => self.first_of(&record).await?,
        };
        let Some((path, token)) = found else {
            return Ok(Seen { leader: None, said, candidate: None });
        };
        let (stat, watch) = self.conn.exists_watch(&path).await.map_err(told)?;
        let leads = stat.is_some_and(|stat| stat.czxid == token.zxid());
        let LeaderRecord { owner, info, .. } = record;
        let leader = leads.then_some(Leader { owner, info, token, candidate: path });
        Ok(Seen { leader, said, candidate: Some(watch) })
    }

    /// The first candidate, if it is of the host and process that lead.
    async fn first_of(&self, record: &LeaderRecord) -> Result<Option<(ZkPath, Token)>, Error> {
        let line = contenders(&self.conn, &self.candidates).await;
        let first = line.map_err(|err| err.during("observe"))?.into_iter().next();
        Ok(first.and_then(|first| {
            let owner = first.owner.as_ref()?;
            let same = owner.hostname == record.owner.hostname && owner.pid == record.owner.pid;
            let token = Token::new(
                first.token.cell(),
                first.token.epoch(),
                LockMode::Exclusive,
                first.stat.czxid,
            );
            same.then_some((first.path, token))
        }))
    }
}

impl Seen {
    async fn changed(self) {
        let candidate = async {
            match self.candidate {
                Some(watch) => watch.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.said => {}
            _ = candidate => {}
            // A lost watch costs that long, and no more.
            () = sleep(RECHECK.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
        }
    }
}
