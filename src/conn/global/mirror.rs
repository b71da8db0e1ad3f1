//! A mirror, and how it is brought to what the first holds.
//!
//! ```text
//!          look at the mirror: its identity, fences, nodes
//!                │                                    ▲
//!                ▼                                    │ the fence, the identity or a node moved
//!          look at the first, synced: its identity, nodes
//!                │                                    │
//!                ▼                                    │
//!          one multi on the mirror: identity unchanged? fences unchanged, and moved on; the difference
//! ```
//!
//! A look at the mirror goes out together with the write to the first, and the first's answer tells
//! what it holds. If the fences have not moved since before the write was called, that order is as good
//! as the one above, and the multi can follow at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, MutexGuard};

use super::Shared;
use super::fence::Fence;
use super::guard::ROOM;
use super::home::{FenceNo, Home};
use super::identity::{Identity, Wrong};
use super::look::{Depth, Found, Freshness, Look, What, look};
use super::owed::Owed;
use super::plan::{Left, Pair, Plan, plan};
use super::quorum::Quorum;
use crate::conn::{Conn as _, ConnExt as _};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Mode, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::request::{MAX_REQUEST, MultiOp, MultiReply, Op, Reply, Request};

/// How many steps one multi has at most.
const STEPS: usize = 500;

/// What they may take, unless one of them takes more; fences need their room, too.
const BYTES: usize = MAX_REQUEST - 32 * ROOM;

/// How many paths go together once others have come in between, and how many such groups at once.
const FEW: usize = 8;
const AT_ONCE: usize = 4;

/// How many paths may turn out to be concerned by bringing up one.
const PATHS: usize = 1000;

/// What is to be brought up.
#[derive(Debug)]
pub(super) struct Job {
    /// When the write was called whose outcome is to be there.
    pub(super) moment: u64,
    pub(super) paths: Vec<ZkPath>,
    /// What the first held when it had carried out that write, if its answer tells it.
    pub(super) first: Option<BTreeMap<ZkPath, Found>>,
    /// What the write left, where that may not be read.
    pub(super) left: BTreeMap<ZkPath, Left>,
    /// How much the look at a mirror shows that went out along with the write.
    pub(super) depth: Depth,
    /// Who the first is.
    pub(super) identity: Identity,
    pub(super) deadline: Deadline,
}

impl Job {
    /// Whether a look that went out along with the write tells enough: of a node that should not have
    /// been there, the access list would have to be known, too.
    fn suits(&self, seen: &Look) -> bool {
        let is_there = |path| seen.nodes.get(path).is_some_and(|found| found.stat.is_some());
        self.depth == Depth::All
            || !self.left.iter().any(|(path, left)| left.acl.is_some() && is_there(path))
    }
}

/// A mirror with its fences.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) quorum: Quorum,
    fences: Vec<Mutex<Fence>>,
    /// Who it said it is, when it was asked last.
    said: std::sync::Mutex<Option<Identity>>,
    pub(super) owed: Owed,
}

/// Fences that are ours for the moment, in the order of their numbers.
type Held<'a> = Vec<(FenceNo, MutexGuard<'a, Fence>)>;

/// What one attempt came to.
enum Attempt {
    Done,
    Conflict,
    /// These are concerned, too.
    Wider(Vec<ZkPath>),
}

impl Mirror {
    pub(super) fn new(quorum: Quorum) -> Self {
        let fences = (FenceNo::MIN..=FenceNo::MAX).map(|_| Mutex::default()).collect();
        Mirror { quorum, fences, said: Default::default(), owed: Owed::default() }
    }

    /// Brings all paths of `job` to what the first holds, or held after `job.moment`. `early` is a
    /// look at this mirror that was asked for when the write was.
    ///
    /// Many paths go together if that works at once. Otherwise they go a few at a time: each has a
    /// fence that others may move, and all of many never stand still.
    ///
    /// # Errors
    ///
    /// Why it could not be done by the deadline.
    pub(super) async fn bring_up(
        &self,
        shared: &Shared,
        job: &Job,
        early: Option<Look>,
    ) -> Result<(), Error> {
        if job.paths.len() <= FEW {
            let early = early.or_else(|| self.assumed(job));
            return self.bring(shared, job, &job.paths, early).await;
        }
        if let Some(early) = early.filter(|early| job.suits(early)) {
            let paths: BTreeSet<ZkPath> = job.paths.iter().cloned().collect();
            let mut held = self.hold(paths.iter().map(Home::fence_of).collect()).await;
            match self.at_once(shared, &mut held, job, &job.paths, &early, &paths).await {
                Ok(Some(Attempt::Done)) => return Ok(()),
                // With all their fences they may be more than one request holds.
                Err(err) if err.kind() != ErrorKind::TooLarge => return Err(err),
                _ => {}
            }
        }
        let some: Vec<_> =
            job.paths.chunks(FEW).map(|some| self.bring(shared, job, some, None)).collect();
        stream::iter(some).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn bring(
        &self,
        shared: &Shared,
        job: &Job,
        wanted: &[ZkPath],
        mut early: Option<Look>,
    ) -> Result<(), Error> {
        let mut paths: BTreeSet<ZkPath> = wanted.iter().cloned().collect();
        let mut round = 0;
        loop {
            pause::after(round, job.deadline.remaining()).await;
            round += 1;
            if job.deadline.is_past() {
                let err = Error::new("mirror", "", ErrorKind::Timeout);
                return Err(err.with_detail("others kept writing there"));
            }
            let numbers: BTreeSet<FenceNo> = paths.iter().map(Home::fence_of).collect();
            let mut held = self.hold(numbers).await;
            if has_all(&held, wanted, job.moment) {
                return Ok(());
            }
            let seen = early.take().filter(|seen| job.suits(seen));
            let at_once = match &seen {
                Some(seen) => self.at_once(shared, &mut held, job, wanted, seen, &paths).await?,
                None => None,
            };
            let attempt = match at_once {
                Some(attempt) => attempt,
                None => {
                    // What was only assumed is not good enough for this.
                    let seen = seen.filter(|seen| !seen.fences.is_empty());
                    self.afresh(shared, &mut held, job, wanted, seen, &paths).await?
                }
            };
            match attempt {
                Attempt::Done => return Ok(()),
                Attempt::Conflict => {}
                Attempt::Wider(more) => {
                    paths.extend(more.into_iter().filter(|path| shared.home.is_mirrored(path)));
                    if paths.len() > PATHS {
                        let err = Error::new("mirror", "", ErrorKind::NotEmpty);
                        return Err(err.with_detail(
                            "it has a large tree there that the first has not; see `zk global \
                             diff`, and run `zk global repair`",
                        ));
                    }
                }
            }
        }
    }

    /// Learns where all fences stand that are not known, so that the first write behind each of them
    /// need not ask.
    pub(super) async fn learn_fences(&self, shared: &Shared, deadline: Deadline) {
        let numbers: Vec<FenceNo> = (FenceNo::MIN..=FenceNo::MAX).collect();
        let what = What {
            home: &shared.home,
            fences: &numbers,
            paths: &[],
            depth: Depth::Stats,
            freshness: Freshness::AsItIs,
            deadline,
        };
        let Ok(seen) = look(&self.quorum, what).await else { return };
        self.note(&seen);
        let now = shared.tick();
        for (number, version) in seen.fences {
            // Whoever holds one learns more of it.
            if let Some(Ok(mut fence)) = self.fences.get(usize::from(number)).map(Mutex::try_lock)
                && fence.now().is_none()
            {
                fence.learn(version, now);
            }
        }
    }

    /// Waits until the fences are ours: within a process, one write at a time moves a fence.
    async fn hold(&self, numbers: BTreeSet<FenceNo>) -> Held<'_> {
        let mut held = Vec::with_capacity(numbers.len());
        // All take them in the same order, so nobody waits in a circle.
        for number in numbers {
            // Invariant: there is a fence for each number.
            held.push((number, self.fences[usize::from(number)].lock().await));
        }
        held
    }

    /// With what was seen along with the write; `None` if that will not do.
    async fn at_once(
        &self,
        shared: &Shared,
        held: &mut Held<'_>,
        job: &Job,
        wanted: &[ZkPath],
        seen: &Look,
        paths: &BTreeSet<ZkPath>,
    ) -> Result<Option<Attempt>, Error> {
        let Some(first) = &job.first else { return Ok(None) };
        let identity = self.is_right(seen, job).inspect_err(|_| shared.doubt())?;
        let mut fences = Vec::with_capacity(held.len());
        for (number, fence) in held.iter() {
            // Where nobody looked, the write itself will tell.
            let seen = seen.fences.get(number).copied().or_else(|| fence.now());
            match seen.and_then(|seen| fence.admits(job.moment, seen)) {
                Some(version) => fences.push(version),
                None => return Ok(None),
            }
        }
        let pairs: Vec<Pair<'_>> =
            paths.iter().map(|path| pair(job, path, first, &seen.nodes)).collect();
        // What could not be read may be readable by now.
        let Ok(plan) = plan(&pairs, job.depth) else { return Ok(None) };
        let moment = job.moment;
        let terms = Terms { home: &shared.home, identity, fences, moment };
        self.write(held, job, wanted, terms, plan).await.map(Some)
    }

    /// With a fresh look at the first, after one at the mirror.
    async fn afresh(
        &self,
        shared: &Shared,
        held: &mut Held<'_>,
        job: &Job,
        wanted: &[ZkPath],
        seen: Option<Look>,
        paths: &BTreeSet<ZkPath>,
    ) -> Result<Attempt, Error> {
        let numbers: Vec<FenceNo> = held.iter().map(|(number, _)| *number).collect();
        let asked: Vec<ZkPath> = paths.iter().cloned().collect();
        let what = What {
            home: &shared.home,
            fences: &numbers,
            paths: &asked,
            depth: Depth::All,
            freshness: Freshness::AsItIs,
            deadline: job.deadline,
        };
        let (mirror, depth) = match seen {
            Some(seen) => (seen, job.depth),
            None => (look(&self.quorum, what).await?, Depth::All),
        };
        self.note(&mirror);
        let identity = self.is_right(&mirror, job).inspect_err(|_| shared.doubt())?;
        let mut fences = Vec::with_capacity(held.len());
        let now = shared.tick();
        for (number, fence) in held.iter_mut() {
            let Some(version) = mirror.fences.get(number) else {
                return Err(self.quorum.wrong(&Wrong::Unreadable("its fences are gone".into())));
            };
            fence.learn(*version, now);
            fences.push(*version);
        }
        let moment = shared.tick();
        let what = What { fences: &[], freshness: Freshness::Synced, ..what };
        let first = look(&shared.first, what).await.map_err(|err| shared.first.told(err))?;
        shared.still_first(&first, &job.identity)?;
        let pairs: Vec<Pair<'_>> =
            asked.iter().map(|path| pair(job, path, &first.nodes, &mirror.nodes)).collect();
        let plan = plan(&pairs, depth)?;
        let terms = Terms { home: &shared.home, identity, fences, moment };
        self.write(held, job, wanted, terms, plan).await
    }

    fn note(&self, seen: &Look) {
        if let Ok(said) = &seen.identity {
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
        }
    }

    /// What a look would show if all is as it was and there is no node yet that the first has just
    /// made. The write will be refused if that is wrong.
    fn assumed(&self, job: &Job) -> Option<Look> {
        let is_new = |path| job.left.get(path).is_some_and(|left| left.acl.is_some());
        if job.first.is_none() || job.depth == Depth::All || !job.paths.iter().all(is_new) {
            return None;
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(Look { identity: Ok(said), fences: BTreeMap::new(), nodes: BTreeMap::new() })
    }

    /// Who this mirror is, if that is right.
    fn is_right(&self, look: &Look, job: &Job) -> Result<Identity, Error> {
        let identity = look.identity.as_ref().map_err(Clone::clone)?;
        match identity.wrong_as_mirror_of(&job.identity) {
            Some(wrong) => Err(self.quorum.wrong(&wrong)),
            None => Ok(identity.clone()),
        }
    }

    /// Carries out a plan, and moves the fences even if it is empty: what is older must not follow.
    async fn write(
        &self,
        held: &mut Held<'_>,
        job: &Job,
        wanted: &[ZkPath],
        terms: Terms<'_>,
        plan: Plan,
    ) -> Result<Attempt, Error> {
        let Terms { home, identity, mut fences, moment } = terms;
        for chunk in chunks(plan.ops) {
            let mut ops = vec![home.check(&identity)];
            ops.extend(held.iter().zip(&fences).map(|((number, _), version)| MultiOp::Set {
                path: home.fence(*number),
                data: Bytes::new(),
                version: Version::Exact(*version),
            }));
            let ahead = ops.len();
            ops.extend(chunk.iter().cloned());
            match self.call(Op::Multi(ops), home.path(), job.deadline).await {
                Ok(Reply::Multi(replies)) => {
                    let sets = replies.iter().skip(1);
                    for ((version, reply), (_, fence)) in
                        fences.iter_mut().zip(sets).zip(held.iter_mut())
                    {
                        if let MultiReply::Set(stat) = reply {
                            *version = stat.version;
                            fence.moved(stat.version, moment);
                        }
                    }
                }
                Ok(_) => return Err(odd()),
                Err(err) => {
                    held.iter_mut().for_each(|(_, fence)| fence.forget());
                    let op = err.index().and_then(|index| chunk.get(index.checked_sub(ahead)?));
                    return self.refused(err, op).await;
                }
            }
        }
        for (path, acl, there) in plan.acls {
            let op = Op::SetAcl { acl, version: Version::Exact(there.aversion) };
            match self.call(op, &path, job.deadline).await {
                // If it is another node by now, this was not meant for it.
                Ok(Reply::Stat(stat)) if stat.czxid == there.czxid => {}
                Ok(Reply::Stat(_)) => return Ok(Attempt::Conflict),
                Ok(_) => return Err(odd()),
                Err(err) => return self.refused(err, None).await,
            }
        }
        if plan.again {
            return Ok(Attempt::Conflict);
        }
        for path in wanted {
            let number = Home::fence_of(path);
            if let Some((_, fence)) = held.iter_mut().find(|(held, _)| *held == number) {
                fence.agreed(path, moment);
            }
        }
        Ok(Attempt::Done)
    }

    /// What follows when a write was refused, or its outcome is not known; `op` is the step at fault.
    async fn refused(&self, err: Error, op: Option<&MultiOp>) -> Result<Attempt, Error> {
        match (err.kind(), op) {
            // The parent is missing here, too.
            (ErrorKind::NoNode, Some(MultiOp::Create { path, .. })) => {
                Ok(Attempt::Wider(path.parent().into_iter().collect()))
            }
            // The first has no node there, so none below it either.
            (ErrorKind::NotEmpty, Some(MultiOp::Delete { path, .. })) => {
                let children = match self.quorum.conn.children(path).await {
                    Ok(children) => children.names,
                    Err(err) if err.kind() == ErrorKind::NoNode => Vec::new(),
                    Err(err) => return Err(err),
                };
                Ok(Attempt::Wider(children.iter().map(|name| path.child(name)).collect()))
            }
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

    async fn call(&self, op: Op, path: &ZkPath, deadline: Deadline) -> Result<Reply, Error> {
        let mut request = Request::new(op, path.clone());
        request.deadline = deadline;
        self.quorum.conn.call(request).await
    }
}

/// On which conditions a mirror is written.
struct Terms<'a> {
    home: &'a Home,
    /// Who it is.
    identity: Identity,
    /// Those of the fences that are held.
    fences: Vec<i32>,
    /// From when the first's state is.
    moment: u64,
}

fn has_all(held: &Held<'_>, wanted: &[ZkPath], moment: u64) -> bool {
    wanted.iter().all(|path| {
        let number = Home::fence_of(path);
        held.iter().any(|(held, fence)| *held == number && fence.has(path, moment))
    })
}

fn pair<'a>(
    job: &Job,
    path: &'a ZkPath,
    first: &BTreeMap<ZkPath, Found>,
    mirror: &BTreeMap<ZkPath, Found>,
) -> Pair<'a> {
    let mut found = first.get(path).cloned().unwrap_or_default();
    let left = job.left.get(path);
    if let Some(left) = left {
        left.complete(&mut found);
    }
    let mode = left.map_or(Mode::Persistent, |left| left.mode);
    let is_list_only = left.is_some_and(|left| left.data.is_none() && left.acl.is_some());
    Pair {
        is_list_only,
        path,
        first: found,
        mirror: mirror.get(path).cloned().unwrap_or_default(),
        mode,
    }
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

fn odd() -> Error {
    Error::new("mirror", "", ErrorKind::Unexpected)
        .with_detail("the connection answered another question")
}
