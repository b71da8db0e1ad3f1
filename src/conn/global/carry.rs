//! Carrying out on a mirror what has been planned, on conditions.

use bytes::Bytes;
use futures::future::join;

use super::Shared;
use super::guard::ROOM;
use super::home::Home;
use super::identity::Identity;
use super::mirror::{Held, Mirror};
use super::plan::{List, Plan};
use super::record::Record;
use crate::conn::{Conn as _, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Mode, Version};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MAX_REQUEST, MultiOp, MultiReply, Op, Reply, Request};

/// How many steps one multi has at most.
const STEPS: usize = 500;

/// What they may take, unless one of them takes more; fences need their room, too.
const BYTES: usize = MAX_REQUEST - 32 * ROOM;

/// What one attempt came to.
pub(super) enum Attempt {
    Done,
    Conflict,
    /// The node is not there that bears the mirror's name: it is another by now, or cannot be used.
    Unnamed,
    /// These are concerned, too.
    Wider(Vec<ZkPath>),
    /// The access list there shuts us out.
    Locked(ZkPath, Error),
}

/// What is there when a plan is carried out.
pub(super) struct Brought {
    /// The paths whose data is that of the first, for the fences to keep.
    pub(super) told: Vec<ZkPath>,
    /// Those at which nothing at all is left to do.
    pub(super) agreed: Vec<ZkPath>,
}

/// On which conditions a mirror is written.
pub(super) struct Terms<'a> {
    pub(super) shared: &'a Shared,
    /// Who it is.
    pub(super) identity: Identity,
    /// The versions of the fences that are held.
    pub(super) fences: Vec<i32>,
    /// From when the first's state is.
    pub(super) moment: u64,
    /// The term of the first, and how far it was at least, for the fences to keep.
    pub(super) term: String,
    pub(super) count: i64,
    pub(super) deadline: Deadline,
}

impl Mirror {
    /// Carries out a plan, and moves the fences even if it is empty: what is older must not follow. The
    /// last move has the fences keep what was `brought`.
    pub(super) async fn write(
        &self,
        held: &mut Held<'_>,
        brought: Brought,
        terms: Terms<'_>,
        plan: Plan,
    ) -> Result<Attempt, Error> {
        let Terms { shared, identity, fences, moment, term, count, deadline } = terms;
        let home = &shared.home;
        let ends = Ends { home, identity: &identity, deadline };
        let mut ahead = Ahead { fences, moment, term, count };
        // Where another look is needed, nothing is there yet.
        let told = if plan.again { &[][..] } else { &brought.told };
        // Nobody opens a quorum, nor gives a node there a new list, that is another by now.
        if !plan.opened.is_empty() {
            let moved = self.step(Vec::new(), &[], &mut ahead, held, &ends).await?;
            if let Some(refused) = moved {
                return Ok(refused);
            }
        }
        if let Some(refused) = self.set_lists(plan.opened, &ends).await? {
            return Ok(refused);
        }
        let mut chunks = chunks(plan.ops).into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let is_last = chunks.peek().is_none() && plan.acls.is_empty();
            let told = if is_last { told } else { &[] };
            if let Some(refused) = self.step(chunk, told, &mut ahead, held, &ends).await? {
                return Ok(refused);
            }
        }
        if !plan.acls.is_empty() {
            // Whoever looked before they were set must not believe that look: the fences move again.
            let set = self.set_lists(plan.acls, &ends);
            let moved = self.step(Vec::new(), told, &mut ahead, held, &ends);
            // They leave in this order.
            let (set, moved) = join(set, moved).await;
            if let Some(refused) = set?.or(moved?) {
                return Ok(refused);
            }
        }
        if plan.again {
            return Ok(Attempt::Conflict);
        }
        for path in &brought.agreed {
            let number = Home::fence_of(path);
            if let Some((_, fence)) = held.iter_mut().find(|(held, _)| *held == number) {
                fence.agreed(path, moment);
            }
        }
        Ok(Attempt::Done)
    }

    /// Carries out some steps, and moves the fences, which keep what is `told`; `None` when that was
    /// well.
    async fn step(
        &self,
        chunk: Vec<MultiOp>,
        told: &[ZkPath],
        ahead: &mut Ahead,
        held: &mut Held<'_>,
        ends: &Ends<'_>,
    ) -> Result<Option<Attempt>, Error> {
        let home = ends.home;
        let mut ops = vec![home.check(ends.identity)];
        let records: Vec<Record> = held
            .iter()
            .map(|(number, fence)| {
                let told = told.iter().filter(|path| Home::fence_of(path) == *number);
                Record::behind(fence.record(), &ahead.term, ahead.count, told)
            })
            .collect();
        let fences = held.iter().zip(&ahead.fences).zip(&records);
        ops.extend(fences.map(|(((number, _), version), record)| MultiOp::Set {
            path: home.fence(*number),
            data: record.to_bytes(),
            version: Version::Exact(*version),
        }));
        let first = ops.len();
        ops.extend(chunk.iter().cloned());
        match self.call(Op::Multi(ops), home.path(), ends.deadline).await {
            Ok(Reply::Multi(replies)) => {
                let sets = replies.iter().skip(1).zip(records);
                for ((version, (reply, record)), (_, fence)) in
                    ahead.fences.iter_mut().zip(sets).zip(held.iter_mut())
                {
                    if let MultiReply::Set(stat) = reply {
                        *version = stat.version;
                        fence.moved(stat.version, ahead.moment, record);
                    }
                }
                Ok(None)
            }
            Ok(_) => Err(Error::odd("mirror", "")),
            Err(err) => {
                held.iter_mut().for_each(|(_, fence)| fence.forget());
                if err.index() == Some(0) && err.kind() == ErrorKind::NoNode {
                    return Ok(Some(Attempt::Unnamed));
                }
                let op = err.index().and_then(|index| chunk.get(index.checked_sub(first)?));
                self.refused(err, op, ends).await.map(Some)
            }
        }
    }

    /// Sets access lists, which no multi can, on condition of what was seen there; `None` when that was
    /// well.
    async fn set_lists(&self, lists: Vec<List>, ends: &Ends<'_>) -> Result<Option<Attempt>, Error> {
        let sent: Vec<_> = lists
            .into_iter()
            .map(|List { path, acl, there }| {
                let op = Op::SetAcl { acl, version: Version::Exact(there.aversion) };
                (there, self.call(op, &path, ends.deadline))
            })
            .collect();
        for (there, set) in sent {
            match set.await {
                // If it is another node by now, this was not meant for it.
                Ok(Reply::Stat(stat)) if stat.czxid == there.czxid => {}
                Ok(Reply::Stat(_)) => return Ok(Some(Attempt::Conflict)),
                Ok(_) => return Err(Error::odd("mirror", "")),
                Err(err) => return self.refused(err, None, ends).await.map(Some),
            }
        }
        Ok(None)
    }

    /// What follows when a write was refused, or its outcome is not known; `op` is the step at fault.
    async fn refused(
        &self,
        err: Error,
        op: Option<&MultiOp>,
        ends: &Ends<'_>,
    ) -> Result<Attempt, Error> {
        match (err.kind(), op) {
            // What the set's tree stands on is nobody's, and stays for good.
            (ErrorKind::NoNode, Some(MultiOp::Create { path, .. }))
                if path.parent().is_some_and(|parent| ends.home.is_above(&parent)) =>
            {
                self.make_bottom(path, ends).await?;
                Ok(Attempt::Conflict)
            }
            // The parent is missing here, too.
            (ErrorKind::NoNode, Some(MultiOp::Create { path, .. })) => {
                Ok(Attempt::Wider(path.parent().into_iter().collect()))
            }
            // It must not be an ephemeral one.
            (ErrorKind::NoChildrenForEphemerals, Some(MultiOp::Create { path, .. })) => {
                Ok(Attempt::Wider(path.parent().into_iter().collect()))
            }
            // The first has no node there, so none below it either.
            (ErrorKind::NotEmpty, Some(MultiOp::Delete { path, .. })) => {
                let asked = Op::Children(LeaveWatch::No);
                let names = match self.call(asked, path, ends.deadline).await {
                    Ok(Reply::Children(children, _)) => children.names,
                    Ok(_) => return Err(Error::odd("mirror", "")),
                    Err(err) if err.kind() == ErrorKind::NoNode => Vec::new(),
                    Err(err) => return Err(err),
                };
                Ok(Attempt::Wider(names.iter().map(|name| path.child(name)).collect()))
            }
            (ErrorKind::NoAuth, Some(MultiOp::Set { path, .. })) => {
                Ok(Attempt::Locked(path.clone(), err))
            }
            // Who may come and go, the parent says.
            (
                ErrorKind::NoAuth,
                Some(MultiOp::Create { path, .. } | MultiOp::Delete { path, .. }),
            ) => match path.parent() {
                Some(parent) => Ok(Attempt::Locked(parent, err)),
                None => Err(err),
            },
            (
                ErrorKind::NoNode
                | ErrorKind::NodeExists
                | ErrorKind::BadVersion
                | ErrorKind::NotEmpty
                | ErrorKind::OutcomeUnknown,
                _,
            ) => Ok(Attempt::Conflict),
            _ => Err(err),
        }
    }

    /// Creates what is above the tree of the set, as far as it is missing down to the parent of `path`.
    async fn make_bottom(&self, path: &ZkPath, ends: &Ends<'_>) -> Result<(), Error> {
        let above = std::iter::successors(path.parent(), ZkPath::parent);
        let mut above: Vec<ZkPath> = above.filter(|path| !path.is_root()).collect();
        above.reverse();
        for path in above {
            let op = Op::Create { data: Bytes::new(), options: Mode::Persistent.into() };
            match self.call(op, &path, ends.deadline).await {
                Err(err) if err.kind() != ErrorKind::NodeExists => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    fn call(&self, op: Op, path: &ZkPath, deadline: Deadline) -> Pending<Reply> {
        let mut request = Request::new(op, path.clone());
        request.deadline = deadline;
        self.quorum.conn.call(request)
    }
}

/// What stands before the steps of each multi.
struct Ahead {
    /// Where the fences that are held stand.
    fences: Vec<i32>,
    /// From when the first's state is.
    moment: u64,
    /// The term of the first, and how far it was.
    term: String,
    count: i64,
}

/// What all requests of one attempt share.
struct Ends<'a> {
    home: &'a Home,
    identity: &'a Identity,
    deadline: Deadline,
}

/// What goes into one multi each; at least one, even for nothing.
fn chunks(ops: Vec<MultiOp>) -> Vec<Vec<MultiOp>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for op in ops {
        let size = op.wire_size();
        // Invariant: there is always a last one.
        let full = chunks.last().is_some_and(|chunk| {
            !chunk.is_empty() && (chunk.len() >= STEPS || bytes + size > BYTES)
        });
        if full {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(op);
        }
    }
    chunks
}
