//! What a write touches: as far as it is known when it is called, and as its answer tells.

use std::collections::{BTreeMap, BTreeSet};

use super::Shared;
use super::look::{Depth, Found};
use super::owed::Debt;
use super::plan::Left;
use crate::conn::outcome::at_creation;
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Mode, Stat};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MultiOp, MultiReply, Op, ReadReply, Reply, Request};

/// What a write touches, before its answer is known.
pub(super) struct Touched {
    /// What mirrors should have, too.
    pub(super) paths: BTreeSet<ZkPath>,
    /// What ends, and may have been ephemeral.
    pub(super) deleted: Vec<ZkPath>,
    /// What is new, and has its name.
    pub(super) created: Vec<ZkPath>,
    /// Below what there will be a node of which the number is not known.
    pub(super) numbered: Vec<ZkPath>,
    /// How much of mirrors must be known.
    pub(super) depth: Depth,
}

impl Touched {
    pub(super) fn new(shared: &Shared, request: &Request, steps: &[MultiOp]) -> Self {
        let mut touched = Touched {
            paths: BTreeSet::new(),
            deleted: Vec::new(),
            created: Vec::new(),
            numbered: Vec::new(),
            depth: Depth::Stats,
        };
        if let Op::SetAcl { .. } = request.op {
            touched.depth = Depth::All;
            touched.paths.insert(request.path.clone());
        }
        for step in steps {
            match step {
                MultiOp::Create { path, options, .. } if options.mode.is_sequential() => {
                    if !options.mode.is_ephemeral() {
                        touched.numbered.extend(parent_of_numbered(path));
                    }
                    continue;
                }
                MultiOp::Create { path, options, .. } => {
                    touched.created.push(path.clone());
                    if options.mode.is_ephemeral() {
                        continue;
                    }
                }
                MultiOp::Delete { path, .. } => touched.deleted.push(path.clone()),
                MultiOp::Set { .. } => {}
                MultiOp::Check { .. } => continue,
            }
            touched.paths.insert(step.path().clone());
        }
        touched.paths.retain(|path| shared.home.is_mirrored(path));
        touched.numbered.retain(|path| shared.home.is_mirrored(&path.child("n")));
        touched
    }

    pub(super) fn debts(&self) -> Vec<Debt> {
        let nodes = self.paths.iter().cloned().map(Debt::Node);
        nodes.chain(self.numbered.iter().cloned().map(Debt::ChildOf)).collect()
    }
}

fn parent_of_numbered(path: &ZkPath) -> Option<ZkPath> {
    match path.as_str().rsplit_once('/')? {
        ("", _) => Some(ZkPath::root()),
        (parent, _) => ZkPath::new(parent).ok(),
    }
}

/// What the first answered.
pub(super) struct Answered {
    pub(super) replies: Vec<MultiReply>,
    /// Of a new access list, which is no step.
    pub(super) acl: Option<Stat>,
    /// The version that counts it on the first, if that is known.
    pub(super) counted: Option<i32>,
}

/// What a write that was carried out comes to.
#[derive(Default)]
pub(super) struct Outcome {
    /// What mirrors should have as the first has it.
    pub(super) paths: Vec<ZkPath>,
    /// What the first held there when it had carried out the write; `None` if its answer does not
    /// tell all of it.
    pub(super) first: Option<BTreeMap<ZkPath, Found>>,
    /// What the write left there.
    pub(super) left: BTreeMap<ZkPath, Left>,
    /// What the first will end by itself.
    pub(super) passing: BTreeSet<ZkPath>,
}

/// The access list, unless the server makes something else of it than we see here.
fn literal(acl: &[Acl]) -> Option<Vec<Acl>> {
    (!acl.iter().any(|entry| entry.scheme == "auth")).then(|| acl.to_vec())
}

impl Answered {
    /// What it comes to. `before` is what stood at paths that may have been ephemeral, read right
    /// before the write: such nodes are the first's alone, also when they are deleted.
    pub(super) fn outcome(
        &self,
        shared: &Shared,
        request: &Request,
        steps: &[MultiOp],
        before: &BTreeMap<ZkPath, Stat>,
    ) -> Outcome {
        let mut first: BTreeMap<ZkPath, Found> = BTreeMap::new();
        let mut left: BTreeMap<ZkPath, Left> = BTreeMap::new();
        let mut passing = BTreeSet::new();
        let mut is_told = true;
        if let (Some(stat), Op::SetAcl { acl, .. }) = (&self.acl, &request.op)
            && !stat.is_ephemeral()
        {
            let found = Found { stat: Some(*stat), data: None, acl: literal(acl) };
            is_told &= found.acl.is_some();
            first.insert(request.path.clone(), found);
            let acl = Some((acl.clone(), stat.aversion));
            left.insert(request.path.clone(), Left { acl, ..Left::default() });
        }
        for (step, reply) in steps.iter().zip(&self.replies) {
            match (step, reply) {
                (MultiOp::Create { options, .. }, MultiReply::Created { path, .. })
                    if options.mode.is_ephemeral() =>
                {
                    shared.note_own(path);
                    // It takes the place of what mirrors have, if it does.
                    if let Some(found) = first.get_mut(path) {
                        *found = Found::default();
                    }
                }
                (MultiOp::Create { data, options, .. }, MultiReply::Created { path, stat }) => {
                    let acl = literal(&options.acl);
                    is_told &= acl.is_some();
                    let now = Some(stat.unwrap_or_default());
                    first.insert(path.clone(), Found { stat: now, data: Some(data.clone()), acl });
                    let data = Some((data.clone(), stat.map(|stat| stat.czxid)));
                    let acl = Some((options.acl.clone(), 0));
                    left.insert(path.clone(), Left { data, acl });
                    shared.own().remove(path);
                    let ends = options.mode == Mode::Container || options.mode.ttl().is_some();
                    if ends && shared.home.is_mirrored(path) {
                        passing.insert(path.clone());
                    }
                }
                (MultiOp::Set { path, data, .. }, MultiReply::Set(stat))
                    if !stat.is_ephemeral() =>
                {
                    let found = first.entry(path.clone()).or_default();
                    (found.stat, found.data) = (Some(*stat), Some(data.clone()));
                    let left = left.entry(path.clone()).or_default();
                    left.data = Some((data.clone(), Some(stat.mzxid)));
                }
                (MultiOp::Delete { path, .. }, MultiReply::Deleted) => {
                    shared.own().remove(path);
                    if !before.get(path).is_some_and(Stat::is_ephemeral) {
                        first.insert(path.clone(), Found::default());
                    }
                    left.remove(path);
                    passing.remove(path);
                }
                _ => {}
            }
        }
        first.retain(|path, _| shared.home.is_mirrored(path));
        let paths = first.keys().cloned().collect();
        Outcome { paths, first: is_told.then_some(first), left, passing }
    }

    /// The answer in the form that was asked for. `created` is what was read right behind the write,
    /// for servers that do not tell the stat of what a multi creates.
    pub(super) async fn reply(
        self,
        shared: &Shared,
        request: &Request,
        created: &BTreeMap<ZkPath, Stat>,
    ) -> Result<Reply, Error> {
        if let Some(stat) = self.acl {
            return Ok(Reply::Stat(stat));
        }
        let Op::Create { data, .. } = &request.op else {
            if let Op::Multi(_) = request.op {
                return Ok(Reply::Multi(self.replies));
            }
            return match self.replies.into_iter().next() {
                Some(MultiReply::Set(stat)) => Ok(Reply::Stat(stat)),
                Some(MultiReply::Deleted) => Ok(Reply::Done),
                _ => Err(request.error(ErrorKind::Unexpected)),
            };
        };
        let Some(MultiReply::Created { path, stat }) = self.replies.into_iter().next() else {
            return Err(request.error(ErrorKind::Unexpected));
        };
        let stat = match stat.or_else(|| created.get(&path).copied()) {
            Some(stat) => Some(stat),
            None => exists(shared, request, &path).await.map_err(|err| {
                request
                    .error(ErrorKind::OutcomeUnknown)
                    .with_detail(format!("{path} was created, but its stat is not known: {err}"))
            })?,
        };
        match stat {
            Some(stat) => Ok(Reply::Created(path, at_creation(&stat, data))),
            None => Err(request
                .error(ErrorKind::Contended)
                .with_detail(format!("{path} was created, and deleted at once by another"))),
        }
    }
}

async fn exists(shared: &Shared, request: &Request, path: &ZkPath) -> Result<Option<Stat>, Error> {
    let mut asked = Request::new(Op::Exists(LeaveWatch::No), path.clone());
    asked.deadline = request.deadline;
    match shared.first.conn.call(asked).await? {
        Reply::Exists(stat, _) => Ok(stat),
        _ => Err(request.error(ErrorKind::Unexpected)),
    }
}

/// What there was at some paths; what could not be read counts as not there.
pub(super) async fn stats(
    (paths, asked): (Vec<ZkPath>, Option<Pending<Reply>>),
) -> BTreeMap<ZkPath, Stat> {
    let Some(asked) = asked else { return BTreeMap::new() };
    let Ok(Reply::Many(found)) = asked.await else { return BTreeMap::new() };
    let there = paths.into_iter().zip(found).filter_map(|(path, found)| match found {
        Ok(ReadReply::Exists(Some(stat))) => Some((path, stat)),
        _ => None,
    });
    there.collect()
}

/// The same, of each that was asked by itself.
pub(super) async fn stats_each(asked: Vec<(ZkPath, Pending<Reply>)>) -> BTreeMap<ZkPath, Stat> {
    let mut there = BTreeMap::new();
    for (path, asked) in asked {
        if let Ok(Reply::Exists(Some(stat), _)) = asked.await {
            there.insert(path, stat);
        }
    }
    there
}
