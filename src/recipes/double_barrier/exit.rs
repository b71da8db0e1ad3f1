//! The way out: each takes its node away, and the last one the directory.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::round::Begun;
use super::{DoubleBarrier, READY};
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{Children, Node, Version};
use crate::path::ZkPath;
use crate::recipes::guard::Guard;
use crate::recipes::held::{Held, loss_error};
use crate::recipes::look;
use crate::recipes::passing::{bear, bear_anew, is_over};
use crate::recipes::place::{Place, Removed};
use crate::recipes::wait::recheck;
use crate::request::Multi;

/// What errors call it.
const VERB: &str = "exit";
/// How long a member of another system may take for `ready` behind its own node.
const TIDYING: Duration = Duration::from_millis(500);

/// What a party has that is inside a [`DoubleBarrier`]: a [`Guard`] on its own node, and the way out.
///
/// Its [token](Guard::token) is that of the round: all members have the same, later rounds a greater
/// one. (Where another system began the round and ended it at once, it is that of the own node, which
/// others do not have.)
///
/// Dropping it leaves in the background, and waits for nobody. If everybody does so, or dies, `ready`
/// stays behind, until the next to enter removes it.
#[must_use = "dropping it leaves the barrier"]
pub struct Inside {
    guard: Guard,
    barrier: DoubleBarrier,
    begun: Begun,
}

/// A member on its way out.
struct Leaver {
    barrier: DoubleBarrier,
    dir: ZkPath,
    begun: Begun,
    /// Nodes of the next round, and what is no member's.
    passed_over: HashSet<String>,
}

impl Inside {
    pub(super) fn new(guard: Guard, barrier: DoubleBarrier, begun: Begun) -> Self {
        Inside { guard, barrier, begun }
    }

    /// Leaves, and waits until all others have left or died. Whoever is last removes `ready`, and the
    /// directory if no newcomer is in it.
    ///
    /// # Errors
    ///
    /// `Revoked` or `SessionExpired` when the own node was lost while inside: then the others may have
    /// left before. What no later look would mend, as `Closed`, and `NoAuth` for the list or for the own
    /// node, which is removed in the background as soon as it may be.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves in the background, and waits for nobody.
    pub async fn exit(self) -> Result<(), Error> {
        let Inside { guard, barrier, begun } = self;
        let (held, place) = guard.into_parts();
        if let Some(loss) = held.loss() {
            return Err(loss_error(VERB, &held.path, loss));
        }
        let dir = held.path.parent().unwrap_or_else(ZkPath::root);
        let passed_over = HashSet::new();
        let mut leaver = Leaver { barrier, dir, begun, passed_over };
        leaver.leave(&held, place).await.map_err(|err| err.during(VERB))
    }

    /// As [`exit`](Self::exit), waiting for `wait` at most in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when others were still inside by then; the own node is removed all the same. Those of
    /// [`exit`](Self::exit).
    ///
    /// # Cancel safety
    ///
    /// As of [`exit`](Self::exit).
    pub async fn exit_within(self, wait: Duration) -> Result<(), Error> {
        let (by, barrier) = (Deadline::after(wait), self.barrier.clone());
        tokio::select! {
            biased;
            out = self.exit() => out,
            () = sleep(by.remaining()) => Err(barrier.error(VERB, ErrorKind::Timeout)),
        }
    }

    /// As [`exit`](Self::exit), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first; the own node is removed all the same. Those of
    /// [`exit`](Self::exit).
    ///
    /// # Cancel safety
    ///
    /// As of [`exit`](Self::exit).
    pub async fn exit_unless(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let barrier = self.barrier.clone();
        tokio::select! {
            biased;
            out = self.exit() => out,
            () = stop => Err(barrier.error(VERB, ErrorKind::Cancelled)),
        }
    }
}

impl Leaver {
    async fn leave(&mut self, held: &Held, place: Place) -> Result<(), Error> {
        let conn = &self.barrier.conn.clone();
        // Until the own node is removed.
        let mut place = Some(place);
        // As long as nobody has gone, those are here whom the round was begun for.
        if let Some((first, last)) = self.first_and_last(held.path.name()) {
            self.step(held, &mut place, &first, &last).await?;
        }
        loop {
            if let (Some(_), Some(loss)) = (&place, held.loss()) {
                return Err(loss_error(VERB, &held.path, loss));
            }
            let children = match conn.children(&self.dir).await {
                Ok(children) => children,
                Err(err) if err.kind() == ErrorKind::NoNode && place.is_none() => return Ok(()),
                Err(err) if err.kind() == ErrorKind::NoNode => return Err(self.lost(held, place)),
                Err(err) => {
                    self.bear(held, place.is_some(), err).await?;
                    continue;
                }
            };
            let own = held.path.name();
            let here = children.names.iter().any(|name| name == own);
            if place.is_some() && !here {
                return Err(self.lost(held, place));
            }
            let others: Vec<&String> = self.others(&children, own).collect();
            let (Some(first), Some(last)) = (others.first(), others.last()) else {
                return match place {
                    Some(place) => self.tear_down(held, place, &children).await,
                    None => {
                        self.clean_up(&children).await;
                        Ok(())
                    }
                };
            };
            let (first, last) = (first.to_string(), last.to_string());
            self.step(held, &mut place, &first, &last).await?;
        }
    }

    /// Leaves, or not yet, and waits for who is next to go of those who are not the own one: the one
    /// whose name sorts first is the last.
    async fn step(
        &mut self,
        held: &Held,
        place: &mut Option<Place>,
        first: &str,
        last: &str,
    ) -> Result<(), Error> {
        let next = match &mut *place {
            Some(_) if held.path.name() < first => self.dir.child(last),
            own => {
                if let Some(mut own) = own.take() {
                    // Nobody waits for one who cannot be reached, for longer than it may be inside.
                    let (until, denied) = (held.proof.valid_until(), own.denied());
                    let removed = tokio::select! {
                        biased;
                        removed = own.leave() => removed,
                        () = denied => {
                            return Err(Error::new(VERB, &held.path, ErrorKind::NoAuth));
                        }
                        () = sleep(until.remaining()) => {
                            return Err(loss_error(VERB, &held.path, Loss::Unproven));
                        }
                    };
                    match removed {
                        Removed::ByUs => {}
                        Removed::Absent | Removed::WithSession => {
                            return Err(self.lost(held, None));
                        }
                    }
                }
                self.dir.child(first)
            }
        };
        match self.wait_for(held, place.is_some(), &next).await {
            Ok(()) => Ok(()),
            Err(err) => self.bear(held, place.is_some(), err).await,
        }
    }

    /// Of the other members, if they are known, those whose names sort first and last.
    fn first_and_last(&self, own: &str) -> Option<(String, String)> {
        let others = || self.begun.members.iter().flatten().filter(|name| *name != own);
        Some((others().min()?.clone(), others().max()?.clone()))
    }

    /// Who else may be a member of the own round.
    fn others<'n>(&self, children: &'n Children, own: &str) -> impl Iterator<Item = &'n String> {
        let known = |name: &String| match &self.begun.members {
            Some(members) => members.contains(name),
            None => true,
        };
        children.names.iter().filter(move |name| {
            *name != READY && *name != own && known(name) && !self.passed_over.contains(*name)
        })
    }

    /// Waits until `next` is gone, or something else may have changed.
    async fn wait_for(&mut self, held: &Held, is_here: bool, next: &ZkPath) -> Result<(), Error> {
        let conn = &self.barrier.conn;
        let (Some(stat), gone) = look::exists(conn, next.clone()).await? else { return Ok(()) };
        if !stat.is_ephemeral() || self.begun.by.is_some_and(|begun| stat.czxid > begun) {
            self.passed_over.insert(next.name().to_owned());
            return Ok(());
        }
        let session = conn.session(&self.dir).await?;
        let own_end = async {
            match is_here {
                true => held.lost().await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            loss = own_end => Err(loss_error(VERB, &held.path, loss)),
            _ = gone.told() => Ok(()),
            () = sleep(recheck(&session)) => Ok(()),
        }
    }

    /// The last one out: the own node, `ready` and the directory at once, as far as they can go. A
    /// directory that stays is written, which tells those who are about to make way that the round
    /// is over.
    async fn tear_down(
        &self,
        held: &Held,
        mut place: Place,
        children: &Children,
    ) -> Result<(), Error> {
        let (mut ready, mut dir, mut writes, mut in_doubt) = (true, true, true, false);
        loop {
            let mut ops = Multi::new().delete(&held.path, Version::Any);
            if ready {
                ops = ops.delete(self.dir.child(READY), Version::Any);
            }
            if dir {
                ops = ops.delete(&self.dir, Version::Exact(children.stat.version));
            } else if ready && writes {
                match self.barrier.conn.get(&self.dir).await {
                    Ok(Node { data, stat, .. }) => {
                        ops = ops.set(&self.dir, data, Version::Exact(stat.version));
                    }
                    // The own node is gone with it; the transaction will tell.
                    Err(err) if err.kind() == ErrorKind::NoNode => {}
                    Err(err) if err.kind() == ErrorKind::NoAuth => writes = false,
                    Err(err) => {
                        self.bear(held, !in_doubt, err).await?;
                        continue;
                    }
                }
            }
            let Err(err) = held.conn.multi(ops).await else {
                place.keep();
                return Ok(());
            };
            match err.index() {
                // By what was lost.
                Some(0) if err.kind() == ErrorKind::NoNode && in_doubt => {
                    place.keep();
                    return Ok(());
                }
                Some(0) if err.kind() == ErrorKind::NoNode => {
                    return Err(self.lost(held, Some(place)));
                }
                Some(1) if ready => ready = false,
                Some(_) if dir => dir = false,
                // Somebody wrote to it meanwhile.
                Some(2) if err.kind() == ErrorKind::BadVersion => {}
                Some(2) if err.kind() == ErrorKind::NoAuth => writes = false,
                _ if is_over(err.kind()) || held.session.state().is_over() => {
                    place.keep();
                    if !in_doubt {
                        return Err(self.lost(held, None));
                    }
                    // The own node is gone by now, one way or the other, and it was the last.
                    if let Ok(children) = self.barrier.conn.children(&self.dir).await {
                        self.clean_up(&children).await;
                    }
                    return Ok(());
                }
                _ => {
                    in_doubt |= err.kind() == ErrorKind::OutcomeUnknown;
                    self.bear(held, true, err).await?;
                }
            }
        }
    }

    /// Removes what somebody has left who died as the last one. If it is in use again, nothing is.
    async fn clean_up(&self, children: &Children) {
        if children.names != [READY] {
            return;
        }
        let (conn, ready) = (&self.barrier.conn, self.dir.child(READY));
        // A member of another system takes it away in a moment, and fails if another was faster.
        if let Ok((Some(_), changed)) = look::exists(conn, ready.clone()).await {
            tokio::select! {
                _ = changed.told() => return,
                () = sleep(TIDYING) => {}
            }
        }
        let ops = Multi::new()
            .delete(ready, Version::Any)
            .delete(&self.dir, Version::Exact(children.stat.version));
        // Another does the same, or the next to enter will.
        let _ = conn.multi(ops).await;
    }

    async fn bear(&self, held: &Held, is_here: bool, err: Error) -> Result<(), Error> {
        match is_here {
            true if held.session.state().is_over() => Err(self.lost(held, None)),
            true => bear(err).await,
            // Without an own node another session does as well.
            false => bear_anew(&self.barrier.conn, &self.dir, err).await,
        }
    }

    /// Why the own node is not there. What has its name by now is another's, and stays.
    fn lost(&self, held: &Held, place: Option<Place>) -> Error {
        if let Some(mut place) = place {
            place.keep();
        }
        let over = held.session.state().is_over();
        loss_error(VERB, &held.path, if over { Loss::SessionEnded } else { Loss::Deleted })
    }
}

impl Deref for Inside {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("guard", &self.guard).finish_non_exhaustive()
    }
}
