//! What became of a write whose reply was lost.
//!
//! It is asked once the quorum has agreed to something newer, and nothing that an earlier connection
//! of the session sent can be applied any more by then. Every connection asks by these rules. Transactions are numbered
//! in order, so what carries a number that we had seen before we sent the write is older than it:
//! a node last set before was not set by it, a directory last changed before got no child by it.

use std::future::Future;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Stat, Version};
use crate::path::ZkPath;
use crate::request::{MultiOp, MultiReply, Op, Reply, Request};

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was applied; this is its answer.
    Applied(Reply),
    /// It was surely not applied, so it may be sent again.
    NotApplied,
    /// The node that it makes is not there now. It may have been, so it may be sent again, but a
    /// refusal of that tells nothing about this one.
    Absent,
    /// The servers cannot tell; this is what they show.
    Unknown(String),
}

/// What became of one step.
enum Step {
    Applied(ZkPath, Stat),
    NotApplied,
    Absent,
    Unknown(String),
}

/// Looks at nodes on behalf of a connection.
pub(crate) trait Eyes: Sync {
    /// Why nothing was seen: the connection broke again, or this may not be listed.
    type Lost: Send;

    /// The stat of a node, if it is there.
    fn stat(&self, path: &ZkPath) -> impl Future<Output = Result<Option<Stat>, Self::Lost>> + Send;

    /// Data and stat of a node, if it is there and may be read.
    fn data(
        &self,
        path: &ZkPath,
    ) -> impl Future<Output = Result<Option<(Bytes, Stat)>, Self::Lost>> + Send;

    /// The names below a node, if it is there.
    fn children(
        &self,
        path: &ZkPath,
    ) -> impl Future<Output = Result<Option<Vec<String>>, Self::Lost>> + Send;
}

/// Asks what became of `request`, which was sent when transaction `before` had been seen.
///
/// # Errors
///
/// Of the eyes.
pub(crate) async fn look_up<E: Eyes>(
    eyes: &E,
    request: &Request,
    before: i64,
) -> Result<Verdict, E::Lost> {
    let alone = match &request.op {
        // Checks may be asked again, so beside them a single write is as good as alone.
        Op::Multi(ops) => {
            let asked = ops.iter().skip(request.counting);
            asked.filter(|op| !matches!(op, MultiOp::Check { .. })).count() == 1
        }
        _ => true,
    };
    let facts = Facts { eyes, before, alone, counting: request.counting };
    let path = &request.path;
    let step = match &request.op {
        Op::Create { data, options } => facts.create(path, data, options).await?,
        Op::Set { data, version } => facts.set(path, data, *version).await?,
        Op::Delete { .. } => facts.delete(path).await?,
        Op::SetAcl { version, .. } => facts.set_acl(path, *version).await?,
        Op::Multi(ops) => return facts.multi(ops).await,
        op => Step::Unknown(format!("nothing is known of {}", op.name())),
    };
    Ok(match step {
        Step::Applied(path, stat) => Verdict::Applied(Reply::Created(path, stat)),
        Step::NotApplied => Verdict::NotApplied,
        Step::Absent => Verdict::Absent,
        Step::Unknown(seen) => Verdict::Unknown(seen),
    })
}

struct Facts<'a, E> {
    eyes: &'a E,
    before: i64,
    /// Whether the write is one step only: doing it again can do no other step twice.
    alone: bool,
    /// How many steps only count it.
    counting: usize,
}

impl<E: Eyes> Facts<'_, E> {
    /// Whether the directory of `path` has neither got nor lost a child since the write was sent.
    async fn is_directory_unchanged(&self, path: &ZkPath) -> Result<bool, E::Lost> {
        let Some(parent) = directory(path) else { return Ok(false) };
        Ok(self.eyes.stat(&parent).await?.is_some_and(|stat| stat.pzxid <= self.before))
    }

    async fn create(
        &self,
        path: &ZkPath,
        data: &[u8],
        options: &CreateOptions,
    ) -> Result<Step, E::Lost> {
        if self.is_directory_unchanged(path).await? {
            return Ok(Step::NotApplied);
        }
        if options.mode.is_sequential() {
            return self.create_sequential(path, data, options).await;
        }
        let Some(stat) = self.eyes.stat(path).await? else {
            return Ok(match &options.id {
                // Even if it was there and was deleted: to create it is what is wanted.
                Some(_) if self.alone => Step::Absent,
                _ => Step::Unknown("there is no node now".into()),
            });
        };
        if stat.czxid <= self.before {
            return Ok(Step::NotApplied);
        }
        if options.id.as_ref().is_some_and(|id| path.name().contains(&**id)) {
            return Ok(Step::Applied(path.clone(), at_creation(&stat, data)));
        }
        let Some((found, stat)) = self.eyes.data(path).await? else {
            return Ok(Step::Unknown("the node cannot be read".into()));
        };
        Ok(match &options.id {
            Some(id) if contains(&found, id) => {
                Step::Applied(path.clone(), at_creation(&stat, data))
            }
            // Ours may have been there before this one.
            Some(_) => Step::Unknown("the node is another's now".into()),
            None if found == data => Step::Unknown("there is a node with the same data".into()),
            None => Step::Unknown("there is a node with other data".into()),
        })
    }

    async fn create_sequential(
        &self,
        path: &ZkPath,
        data: &[u8],
        options: &CreateOptions,
    ) -> Result<Step, E::Lost> {
        let (Some(id), Some(parent)) = (&options.id, directory(path)) else {
            return Ok(Step::Unknown("its number is not known".into()));
        };
        let Some(names) = self.eyes.children(&parent).await? else {
            return Ok(Step::Unknown("the directory is gone".into()));
        };
        let stem = path.as_str().rsplit('/').next().unwrap_or_default();
        let (named, rest): (Vec<_>, Vec<_>) = names
            .iter()
            .filter(|name| name.starts_with(stem))
            .partition(|name| name.contains(&**id));
        // A name tells, also of a node that may not be read.
        for found in named.into_iter().map(|name| parent.child(name)) {
            if let Some(stat) = self.eyes.stat(&found).await? {
                return Ok(Step::Applied(found, at_creation(&stat, data)));
            }
        }
        let mut perhaps = false;
        for found in rest.into_iter().map(|name| parent.child(name)) {
            match self.eyes.data(&found).await? {
                Some((text, stat)) if contains(&text, id) => {
                    return Ok(Step::Applied(found, at_creation(&stat, data)));
                }
                // It may have carried the id before it was set.
                Some((_, stat)) => {
                    perhaps |= stat.czxid > self.before && stat.mzxid != stat.czxid;
                }
                None => {
                    let stat = self.eyes.stat(&found).await?;
                    perhaps |= stat.is_some_and(|stat| stat.czxid > self.before);
                }
            }
        }
        Ok(if perhaps {
            Step::Unknown("a node that cannot be told apart may be it".into())
        } else if self.alone {
            Step::Absent
        } else {
            Step::Unknown("no node carries its id now".into())
        })
    }

    async fn set(&self, path: &ZkPath, data: &[u8], version: Version) -> Result<Step, E::Lost> {
        let Some((found, stat)) = self.eyes.data(path).await? else {
            return Ok(Step::Unknown("the node is gone, or cannot be read".into()));
        };
        if stat.mzxid <= self.before {
            return Ok(Step::NotApplied);
        }
        let same_node = stat.czxid <= self.before;
        Ok(match version {
            Version::Exact(expected) if same_node && stat.version == expected => Step::NotApplied,
            // Only one write makes the next version of a node, and it was not ours.
            Version::Exact(expected)
                if same_node && stat.version == expected.wrapping_add(1) && found != data =>
            {
                Step::NotApplied
            }
            _ if found == data => {
                Step::Unknown(format!("version {} has the same data", stat.version))
            }
            _ => Step::Unknown(format!("version {} has other data", stat.version)),
        })
    }

    async fn delete(&self, path: &ZkPath) -> Result<Step, E::Lost> {
        Ok(match self.eyes.stat(path).await? {
            Some(stat) if stat.czxid <= self.before => Step::NotApplied,
            Some(_) => Step::Unknown("there is another node now".into()),
            None if self.is_directory_unchanged(path).await? => Step::NotApplied,
            None => Step::Unknown("there is no node now".into()),
        })
    }

    async fn set_acl(&self, path: &ZkPath, version: Version) -> Result<Step, E::Lost> {
        let stat = self.eyes.stat(path).await?;
        Ok(match (stat, version) {
            (Some(stat), Version::Exact(expected))
                if stat.czxid <= self.before && stat.aversion == expected =>
            {
                Step::NotApplied
            }
            (Some(stat), _) => Step::Unknown(format!("the ACL version is {}", stat.aversion)),
            (None, _) => Step::Unknown("the node is gone".into()),
        })
    }

    /// All steps or none: what is sure of one is sure of all.
    async fn multi(&self, ops: &[MultiOp]) -> Result<Verdict, E::Lost> {
        // Checks change nothing, and may be asked again.
        if ops.iter().all(|op| matches!(op, MultiOp::Check { .. })) {
            return Ok(Verdict::NotApplied);
        }
        let mut seen = String::new();
        for op in ops {
            let step = match op {
                MultiOp::Create { path, data, options } => self.create(path, data, options).await?,
                MultiOp::Set { path, data, version } => self.set(path, data, *version).await?,
                MultiOp::Delete { path, .. } => self.delete(path).await?,
                MultiOp::Check { .. } => continue,
            };
            match step {
                Step::NotApplied => return Ok(Verdict::NotApplied),
                Step::Applied(_, stat) => return self.applied_multi(ops, stat.czxid).await,
                Step::Absent => return Ok(Verdict::Absent),
                Step::Unknown(what) => seen = format!("{}: {what}", op.path()),
            }
        }
        Ok(Verdict::Unknown(seen))
    }

    /// The answer of a multi that was applied by transaction `zxid`, as far as servers still show
    /// it.
    async fn applied_multi(&self, ops: &[MultiOp], zxid: i64) -> Result<Verdict, E::Lost> {
        let mut replies = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            replies.push(match op {
                MultiOp::Create { path, data, options } => {
                    match self.create(path, data, options).await? {
                        Step::Applied(path, stat) => MultiReply::Created { path, stat: Some(stat) },
                        _ if options.mode.is_sequential() => {
                            let lost = "it was applied, but a number in it is not known";
                            return Ok(Verdict::Unknown(lost.into()));
                        }
                        _ => MultiReply::Created { path: path.clone(), stat: None },
                    }
                }
                MultiOp::Set { path, .. } => match self.eyes.stat(path).await? {
                    // Another's version is not ours: whoever took it for ours would overwrite it.
                    Some(stat) if stat.mzxid == zxid && is_set_once(ops, path) => {
                        MultiReply::Set(stat)
                    }
                    _ if index < self.counting => MultiReply::Checked,
                    _ => {
                        let lost = format!("it was applied, but what it made of {path} is gone");
                        return Ok(Verdict::Unknown(lost));
                    }
                },
                MultiOp::Delete { .. } => MultiReply::Deleted,
                MultiOp::Check { .. } => MultiReply::Checked,
            });
        }
        Ok(Verdict::Applied(Reply::Multi(replies)))
    }
}

/// Whether a multi sets `path` once, and does not make it anew.
fn is_set_once(ops: &[MultiOp], path: &ZkPath) -> bool {
    let touches = |op: &&MultiOp| {
        matches!(op, MultiOp::Set { .. } | MultiOp::Delete { .. }) && op.path() == path
    };
    ops.iter().filter(touches).count() == 1
}

/// The facts of a node when it was created with `data`, whatever has happened to it since.
pub(crate) fn at_creation(stat: &Stat, data: &[u8]) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.czxid,
        pzxid: stat.czxid,
        ctime: stat.ctime,
        mtime: stat.ctime,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: i32::try_from(data.len()).unwrap_or(i32::MAX),
        ..Stat::default()
    }
}

/// The node below which `path`, or what a sequential create makes of it, lies.
fn directory(path: &ZkPath) -> Option<ZkPath> {
    match path.as_str().rsplit_once('/')? {
        ("", _) => Some(ZkPath::root()),
        (parent, _) => ZkPath::new(parent).ok(),
    }
}

fn contains(data: &[u8], id: &str) -> bool {
    data.windows(id.len().max(1)).any(|window| window == id.as_bytes())
}

/// The answer to a write that was [`Absent`](Verdict::Absent) and tried again.
pub(crate) fn of_doubtful(request: &Request, answer: Result<Reply, Error>) -> Result<Reply, Error> {
    answer.map_err(|err| match err.kind() {
        ErrorKind::OutcomeUnknown => err,
        _ => request
            .error(ErrorKind::OutcomeUnknown)
            .with_detail(format!("the connection broke; tried again: {err}")),
    })
}

/// The latest transaction that a reply shows.
pub(crate) fn latest(reply: &Reply) -> i64 {
    let of = |stat: &Stat| stat.czxid.max(stat.mzxid).max(stat.pzxid);
    match reply {
        Reply::Node(node, _) => of(&node.stat),
        Reply::Children(children, _) => of(&children.stat),
        Reply::Exists(Some(stat), _)
        | Reply::Acl(_, stat)
        | Reply::Created(_, stat)
        | Reply::Stat(stat) => of(stat),
        Reply::Many(found) => {
            let each = found.iter().map(|reply| match reply {
                Ok(crate::request::ReadReply::Node(node)) => of(&node.stat),
                Ok(crate::request::ReadReply::Exists(Some(stat))) => of(stat),
                _ => 0,
            });
            each.max().unwrap_or(0)
        }
        Reply::Multi(replies) => {
            let each = replies.iter().map(|reply| match reply {
                MultiReply::Created { stat: Some(stat), .. } | MultiReply::Set(stat) => of(stat),
                _ => 0,
            });
            each.max().unwrap_or(0)
        }
        _ => 0,
    }
}
