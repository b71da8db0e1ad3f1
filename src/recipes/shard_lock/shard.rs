//! A range as seen by whoever works on it, and when it is to be given back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::groups::{self, Nodes, View};
use crate::background::sleep;
use crate::conn::{ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::path::ZkPath;
use crate::recipes::held::Held;
use crate::recipes::look;
use crate::recipes::passing::{bear, is_over};
use crate::recipes::token::Token;
use crate::recipes::wait::recheck;
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// Which of how many equal ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) index: usize,
    pub(super) of: usize,
}

impl Range {
    /// Where it starts.
    pub(super) fn from(self) -> f64 {
        edge(self.index, self.of)
    }

    /// Where it ends, which is to the bit where the next one starts.
    pub(super) fn to(self) -> f64 {
        edge(self.index + 1, self.of)
    }
}

fn edge(index: usize, of: usize) -> f64 {
    // Exact: a group's data has room for far fewer than 2^53 members.
    index as f64 / of as f64
}

/// A range of a system as seen by whoever works on it. Clones are of the same range; none of them
/// keeps it.
#[derive(Clone)]
pub struct Shard {
    held: Arc<Held>,
    facts: Arc<Facts>,
    /// Of the run that it is worked on in.
    call: Option<Call>,
}

/// The call to end that a run has for the work on a range, and whether that has heard it.
#[derive(Clone)]
pub(super) struct Call {
    stop: watch::Receiver<bool>,
    heard: Arc<AtomicBool>,
}

impl Call {
    /// A call, and how to make it.
    pub(super) fn channel() -> (watch::Sender<bool>, Self) {
        let (tell, stop) = watch::channel(false);
        (tell, Call { stop, heard: Arc::default() })
    }

    /// Whether the work was told to end, by the run or by whoever wants a reshard.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst)
    }
}

/// Where a range is, and who shares its generation.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) base: ZkPath,
    pub(super) group: ZkPath,
    pub(super) members: Vec<i32>,
    pub(super) range: Range,
}

impl Shard {
    pub(super) fn new(held: Arc<Held>, facts: Facts) -> Self {
        Shard { held, facts: Arc::new(facts), call: None }
    }

    /// The group that it is of.
    pub(super) fn group(&self) -> &ZkPath {
        &self.facts.group
    }

    /// Where the range starts, itself included: in [0, 1).
    pub fn from(&self) -> f64 {
        self.facts.range.from()
    }

    /// Where the range ends, itself excluded: in (0, 1]. It is the start of the next range.
    pub fn to(&self) -> f64 {
        self.facts.range.to()
    }

    /// Whether `position` is in the range.
    pub fn contains(&self, position: f64) -> bool {
        (self.from()..self.to()).contains(&position)
    }

    /// The system that the range is a part of.
    pub fn path(&self) -> &ZkPath {
        &self.facts.base
    }

    /// Which of the ranges it is, from 0.
    pub fn index(&self) -> usize {
        self.facts.range.index
    }

    /// How many ranges there are.
    pub fn of(&self) -> usize {
        self.facts.range.of
    }

    /// The mark of this generation of ranges, for resources that refuse older ones.
    pub fn token(&self) -> &Token {
        &self.held.token
    }

    /// The session that it hangs on.
    pub fn session(&self) -> &Session {
        &self.held.session
    }

    /// Whether it is held at this moment. No I/O.
    pub fn is_valid(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Until when it is surely held, by what is proved now. Past, if it is lost.
    pub fn valid_until(&self) -> Deadline {
        self.held.valid_until()
    }

    /// Waits until it is lost, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn lost(&self) -> Loss {
        self.held.lost().await
    }

    /// Writes that are done only if it is still held when the servers do them. As
    /// [`Guard::multi`](crate::recipes::Guard::multi).
    ///
    /// # Errors
    ///
    /// As of [`Guard::multi`](crate::recipes::Guard::multi).
    pub fn multi(&self, ops: impl Into<Multi>) -> Pending<Vec<MultiReply>> {
        self.held.multi(ops.into())
    }

    /// Whether a reshard is wanted: somebody waits for a range, or one of the group is gone without
    /// a word. `true` as well when the range is lost.
    ///
    /// # Errors
    ///
    /// Those of a listing, as long as it is held.
    pub async fn check(&self) -> Result<bool, Error> {
        let wanted = self.or_lost(self.look().await)?;
        if wanted {
            self.heard();
        }
        Ok(wanted)
    }

    /// Waits until a reshard is wanted, or the range is lost.
    ///
    /// A lost watch costs no more than about a session timeout: then it is looked again. So it is where
    /// the session has no room for more watches. What a connection loses meanwhile is borne.
    ///
    /// # Errors
    ///
    /// What another try would meet as well, such as `NoAuth`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a later call waits again.
    pub async fn requested(&self) -> Result<(), Error> {
        loop {
            let waited = tokio::select! {
                biased;
                _ = self.lost() => Ok(true),
                waited = self.wait_for_change() => self.or_lost(waited),
            };
            match waited {
                Ok(true) => break,
                Ok(false) => {}
                Err(err) => bear(err).await?,
            }
        }
        self.heard();
        Ok(())
    }

    /// Waits until the work is to come to an end: a reshard is wanted, the range is lost, the
    /// [run](super::ShardLock::run) was interrupted, or nobody can tell any more whether a reshard is
    /// wanted, as where a group's data is no list: [`check`](Self::check) says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped(&self) {
        let called = async {
            match self.call.clone() {
                // Whoever could call is gone: then the run was dropped.
                Some(mut call) => drop(call.stop.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = called => {}
            // Whatever keeps a reshard from being told is met by a look at it behind the work.
            _ = self.requested() => {}
        }
        self.heard();
    }

    pub(super) fn called_by(&self, call: Call) -> Self {
        Shard { call: Some(call), ..self.clone() }
    }

    /// Notes that whoever works on it knows that it is to end.
    fn heard(&self) {
        if let Some(call) = &self.call {
            call.heard.store(true, Ordering::SeqCst);
        }
    }

    /// Looks, and if nothing is wanted waits until there may be something new.
    /// `true` if a reshard is wanted.
    async fn wait_for_change(&self) -> Result<bool, Error> {
        let Facts { base, group, .. } = &*self.facts;
        let conn = &self.held.conn;
        let members = look::children(conn, group.clone());
        let groups = look::children(conn, base.clone());
        let ((listed, member), (names, other)) = (members.await?, groups.await?);
        if self.is_left(&listed.names)? {
            return Ok(true);
        }
        // A watch stands, so whatever comes behind this look is told.
        let view = View::listed(conn, base, names, Some(group)).await?;
        if view.is_awaited() {
            return Ok(true);
        }
        // Whoever joins a group that stands empty changes nothing at the base.
        let joined = match view.awaiting() {
            Some(vacant) => match look::children(conn, vacant.path.clone()).await {
                Ok((found, joined)) if Nodes::of(&vacant.path, &found.names)?.is_empty() => {
                    Some(joined)
                }
                Ok(_) => return Ok(false),
                Err(err) if err.kind() == ErrorKind::NoNode => return Ok(false),
                Err(err) => return Err(err),
            },
            None => None,
        };
        let joined = async {
            match joined {
                Some(joined) => joined.told().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = member.told() => {}
            _ = other.told() => {}
            _ = joined => {}
            () = sleep(recheck(&self.held.session)) => {}
        }
        Ok(false)
    }

    /// Whether a reshard is wanted now, as far as the tree tells.
    async fn look(&self) -> Result<bool, Error> {
        let Facts { base, group, .. } = &*self.facts;
        let conn = &self.held.conn;
        let listed = conn.children(group).await?;
        if self.is_left(&listed.names)? {
            return Ok(true);
        }
        let view = View::of(conn, base, Some(group)).await?;
        Ok(view.is_none_or(|view| view.is_awaited()))
    }

    /// Whether more of the group are gone than said so. Nodes of those who came too late hide nobody.
    fn is_left(&self, names: &[String]) -> Result<bool, Error> {
        let Facts { group, members, .. } = &*self.facts;
        let nodes = Nodes::of(group, names)?;
        let there = members.iter().filter(|number| nodes.has(**number)).count();
        Ok(there + nodes.acks.len() < members.len())
    }

    /// What is lost wants to be resharded, whatever a look at it said.
    fn or_lost(&self, looked: Result<bool, Error>) -> Result<bool, Error> {
        match looked {
            _ if !self.is_valid() => Ok(true),
            Err(err) if err.kind() == ErrorKind::NoNode || is_over(err.kind()) => Ok(true),
            looked => looked.map_err(|err| err.during("check")),
        }
    }

    /// Removes the group behind the own node, if nobody is left in it.
    pub(super) async fn tidy(&self) {
        let Held { conn, session, path, .. } = &*self.held;
        groups::clear(conn, session, &self.facts.group, Some(path)).await;
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("path", self.path())
            .field("range", &format_args!("[{}, {})", self.from(), self.to()))
            .field("token", &format_args!("{}", self.token()))
            .field("state", &self.held.state())
            .finish_non_exhaustive()
    }
}
