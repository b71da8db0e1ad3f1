//! How a mirror is brought to what the first holds.
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

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Shared;
use super::carry::{Attempt, Brought, Terms};
use super::home::{FenceNo, Home};
use super::identity::{Identity, Wrong};
use super::look::{Depth, Found, Freshness, Look, What, look, look_at_one};
use super::mirror::{Held, Mirror};
use super::plan::{Left, Pair, plan};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::pause;

/// How many paths go together once others have come in between, and how many such groups at once.
const FEW: usize = 8;
const AT_ONCE: usize = 4;

/// How many paths may turn out to be concerned by bringing up one.
const PATHS: usize = 1000;

/// So often a mirror may say who it is, and then have no node of that name.
const LOOKS: u32 = 4;

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
    /// How many writes the first had counted then, if its answer tells it.
    pub(super) count: Option<i64>,
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

/// What is brought up together.
struct Batch<'a> {
    shared: &'a Shared,
    job: &'a Job,
    /// What is to agree in the end.
    wanted: &'a [ZkPath],
    /// That, and what else turned out to be concerned.
    paths: BTreeSet<ZkPath>,
    /// Where the mirror's own access list shut us out: there it is opened for the moment.
    locked: BTreeSet<ZkPath>,
}

impl<'a> Batch<'a> {
    fn new(shared: &'a Shared, job: &'a Job, wanted: &'a [ZkPath]) -> Self {
        let paths = wanted.iter().cloned().collect();
        Batch { shared, job, wanted, paths, locked: BTreeSet::new() }
    }

    fn fences(&self) -> BTreeSet<FenceNo> {
        self.paths.iter().map(Home::fence_of).collect()
    }

    /// Where a mirror has the data that the first has, once it was brought there, and where it has all:
    /// there, what was called before is there, too.
    fn brought(&self, pairs: &[Pair<'_>], depth: Depth) -> Brought {
        let wanted: HashSet<&ZkPath> = self.wanted.iter().collect();
        let those = |is_meant: &dyn Fn(&Pair<'_>) -> bool| -> Vec<ZkPath> {
            let pairs = pairs.iter().filter(|pair| wanted.contains(pair.path));
            pairs.filter(|pair| is_meant(pair)).map(|pair| pair.path.clone()).collect()
        };
        let told = those(&|pair| pair.first.to_mirror().is_none() || pair.first.data.is_some());
        Brought { told, agreed: those(&|pair| pair.is_whole(depth)) }
    }

    /// On which conditions `identity` is written, with what the first held at `moment`.
    fn terms(&self, identity: Identity, fences: Vec<i32>, moment: u64, count: i64) -> Terms<'_> {
        let Batch { shared, job, .. } = self;
        let term = job.identity.term.clone();
        Terms { shared, identity, fences, moment, term, count, deadline: job.deadline }
    }
}

impl Mirror {
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
            return self.bring_few(shared, job, &job.paths, early).await;
        }
        if let Some(early) = early.filter(|early| job.suits(early)) {
            let batch = Batch::new(shared, job, &job.paths);
            let mut held = self.hold(batch.fences()).await;
            match self.at_once(&batch, &mut held, &early).await {
                Ok(Some(Attempt::Done)) => return Ok(()),
                // With all their fences they may be more than one request holds.
                Err(err) if err.kind() != ErrorKind::TooLarge => return Err(err),
                _ => {}
            }
        }
        let some: Vec<_> =
            job.paths.chunks(FEW).map(|some| self.bring_few(shared, job, some, None)).collect();
        stream::iter(some).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Together, or one by one if one of them is so large that it leaves no room for more than its fence.
    async fn bring_few(
        &self,
        shared: &Shared,
        job: &Job,
        some: &[ZkPath],
        early: Option<Look>,
    ) -> Result<(), Error> {
        match self.bring(shared, job, some, early).await {
            Err(err) if err.kind() == ErrorKind::TooLarge && some.len() > 1 => {
                for path in some {
                    self.bring(shared, job, std::slice::from_ref(path), None).await?;
                }
                Ok(())
            }
            done => done,
        }
    }

    async fn bring(
        &self,
        shared: &Shared,
        job: &Job,
        wanted: &[ZkPath],
        mut early: Option<Look>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new(shared, job, wanted);
        let (mut round, mut unnamed) = (0, 0);
        loop {
            pause::after(round, job.deadline.remaining()).await;
            round += 1;
            if job.deadline.is_past() {
                let err = Error::new("mirror", "", ErrorKind::Timeout);
                return Err(err.with_detail("others kept writing there, or it did not answer"));
            }
            let mut held = self.hold(batch.fences()).await;
            if has_all(&held, wanted, job.moment) {
                return Ok(());
            }
            let seen = early.take().filter(|seen| job.suits(seen));
            let at_once = match &seen {
                Some(seen) => self.at_once(&batch, &mut held, seen).await?,
                None => None,
            };
            let attempt = match at_once {
                Some(attempt) => attempt,
                None => {
                    // What was only assumed, or is behind us, is not good enough for this.
                    let seen =
                        seen.filter(|seen| !seen.fences.is_empty() && is_current(&held, seen));
                    self.afresh(&batch, &mut held, seen).await?
                }
            };
            match attempt {
                Attempt::Done => return Ok(()),
                Attempt::Conflict => {}
                // Another look would have shown who it is by now, unless a server lags behind.
                Attempt::Unnamed => {
                    unnamed += 1;
                    if unnamed == LOOKS {
                        if self.note_unnamed() {
                            shared.doubt();
                        }
                        let why = "the node that bears its name is not there".to_string();
                        return Err(self.quorum.wrong(&Wrong::Unreadable(why)));
                    }
                }
                // With the same list open it was shut out again.
                Attempt::Locked(path, err) if batch.locked.contains(&path) => return Err(err),
                Attempt::Locked(path, err) if !shared.home.is_mirrored(&path) => return Err(err),
                Attempt::Locked(path, _) => {
                    batch.paths.insert(path.clone());
                    batch.locked.insert(path);
                }
                Attempt::Wider(more) => {
                    let more = more.into_iter().filter(|path| shared.home.is_mirrored(path));
                    batch.paths.extend(more);
                    if batch.paths.len() > PATHS {
                        let err = Error::new("mirror", "", ErrorKind::NotEmpty);
                        let remedy = &self.quorum.remedy;
                        return Err(err.with_detail(format!(
                            "it has a large tree there that the first has not; see {}, and run {}",
                            remedy.diff(),
                            remedy.repair()
                        )));
                    }
                }
            }
        }
    }

    /// With what was seen along with the write; `None` if that will not do.
    async fn at_once(
        &self,
        batch: &Batch<'_>,
        held: &mut Held<'_>,
        seen: &Look,
    ) -> Result<Option<Attempt>, Error> {
        let Batch { shared, job, .. } = batch;
        let (Some(first), Some(count)) = (&job.first, job.count) else { return Ok(None) };
        if !batch.locked.is_empty() {
            return Ok(None);
        }
        let identity = self.is_right(shared, seen, job)?;
        let name = identity.name();
        let is_current = is_current(held, seen);
        let mut fences = Vec::with_capacity(held.len());
        for (number, fence) in held.iter() {
            // Where nobody looked, the write itself will tell.
            let seen = seen.fences.get(number).copied().or_else(|| fence.now());
            match seen.and_then(|seen| fence.admits(&name, job.moment, seen)) {
                // If the first lacks what this mirror has from it, a fresh look will show it.
                Some(version) if !fence.is_ahead_of(&job.identity.term, count) => {
                    fences.push(version);
                }
                _ => return Ok(None),
            }
        }
        let pairs: Vec<Pair<'_>> =
            batch.paths.iter().map(|path| pair(batch, path, first, &seen.nodes)).collect();
        // What could not be read may be readable by now.
        let Ok(plan) = plan(&pairs, job.depth) else { return Ok(None) };
        // Something of ours may have come there behind the look. A step is bound to what it showed;
        // that there is nothing to do is bound to nothing.
        if !is_current && !batch.wanted.iter().all(|path| plan.changes(path)) {
            return Ok(None);
        }
        let brought = batch.brought(&pairs, job.depth);
        let terms = batch.terms(identity, fences, job.moment, count);
        self.write(held, brought, terms, plan).await.map(Some)
    }

    /// With a fresh look at the first, after one at the mirror.
    async fn afresh(
        &self,
        batch: &Batch<'_>,
        held: &mut Held<'_>,
        seen: Option<Look>,
    ) -> Result<Attempt, Error> {
        let Batch { shared, job, .. } = batch;
        let numbers: Vec<FenceNo> = held.iter().map(|(number, _)| *number).collect();
        let asked: Vec<ZkPath> = batch.paths.iter().cloned().collect();
        let what = What {
            home: &shared.home,
            fences: &numbers,
            paths: &asked,
            depth: Depth::All,
            freshness: Freshness::AsItIs,
            session: None,
            deadline: job.deadline,
        };
        let (mirror, depth) = match seen {
            Some(seen) => (seen, job.depth),
            None => (look(&self.quorum, what).await?, Depth::All),
        };
        let identity = self.is_right(shared, &mirror, job)?;
        let mut fences = Vec::with_capacity(held.len());
        let (name, now) = (identity.name(), shared.tick());
        for (number, fence) in held.iter_mut() {
            let Some(version) = mirror.fences.get(number) else {
                return Err(self.quorum.wrong(&Wrong::Unreadable("its fences are gone".into())));
            };
            fence.learn(&name, *version, mirror.records.get(number).cloned(), now);
            fences.push(*version);
        }
        let moment = shared.tick();
        let what = What { fences: &[], freshness: Freshness::Synced, ..what };
        let first = look_at_one(&shared.first, what).await;
        let first = first.map_err(|err| shared.first.told(err))?;
        shared.still_first(&first, &job.identity)?;
        let Some(count) = first.count else {
            return Err(shared.first.wrong(&Wrong::Unreadable("its counter is gone".into())));
        };
        // The mirror was asked before the first was.
        if held.iter().any(|(_, fence)| fence.is_ahead_of(&job.identity.term, count)) {
            shared.disbelieve(&shared.first, &job.identity, job.deadline).await;
            return Err(shared.first.wrong(&Wrong::Restored));
        }
        let pairs: Vec<Pair<'_>> =
            asked.iter().map(|path| pair(batch, path, &first.nodes, &mirror.nodes)).collect();
        let plan = plan(&pairs, depth)?;
        let brought = batch.brought(&pairs, depth);
        let terms = batch.terms(identity, fences, moment, count);
        self.write(held, brought, terms, plan).await
    }

    /// What a look would show if all is as it was and there is no node yet that the first has just
    /// made. The write will be refused if that is wrong.
    fn assumed(&self, job: &Job) -> Option<Look> {
        let is_new = |path| job.left.get(path).is_some_and(|left| left.acl.is_some());
        if job.first.is_none() || job.depth == Depth::All || !job.paths.iter().all(is_new) {
            return None;
        }
        let identity = Ok(self.known()?);
        Some(Look::of(identity))
    }

    /// Who this mirror is, if that is right. Otherwise, and if that is news, everybody is asked again
    /// before the next write.
    fn is_right(&self, shared: &Shared, look: &Look, job: &Job) -> Result<Identity, Error> {
        let is_news = self.note(look.identity.as_ref());
        let (wrong, is_fatal) = match &look.identity {
            Ok(identity) => match identity.wrong_as_mirror_of(&job.identity) {
                None => return Ok(identity.clone()),
                Some(wrong) => (self.quorum.wrong(&wrong), wrong.is_fatal()),
            },
            Err(err) => (err.clone(), false),
        };
        if is_news || is_fatal {
            shared.doubt();
        }
        Err(wrong)
    }
}

/// Whether we have moved no fence that is held behind a look, as far as we know.
fn is_current(held: &Held<'_>, seen: &Look) -> bool {
    held.iter().all(|(number, fence)| match (seen.fences.get(number), fence.now()) {
        // What others did before it, it shows.
        (Some(seen), Some(now)) => seen.wrapping_sub(now) >= 0,
        (seen, now) => seen.or(now.as_ref()).is_some(),
    })
}

fn has_all(held: &Held<'_>, wanted: &[ZkPath], moment: u64) -> bool {
    wanted.iter().all(|path| {
        let number = Home::fence_of(path);
        held.iter().any(|(held, fence)| *held == number && fence.has(path, moment))
    })
}

fn pair<'a>(
    batch: &Batch<'_>,
    path: &'a ZkPath,
    first: &BTreeMap<ZkPath, Found>,
    mirror: &BTreeMap<ZkPath, Found>,
) -> Pair<'a> {
    let mut found = first.get(path).cloned().unwrap_or_default();
    let left = batch.job.left.get(path);
    if let Some(left) = left {
        left.complete(&mut found);
    }
    let is_list_only = left.is_some_and(|left| left.data.is_none() && left.acl.is_some());
    Pair {
        is_list_only,
        is_locked: batch.locked.contains(path),
        path,
        first: found,
        mirror: mirror.get(path).cloned().unwrap_or_default(),
    }
}
