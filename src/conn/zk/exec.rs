//! One request in the crate's words, and its answer in ours.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zookeeper_client as zk;

use super::translate::{self, Failure, failure};
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Node};
use crate::path::ZkPath;
use crate::request::{MultiOp, MultiReply, Op, Read, ReadReply, Reply, Request};

/// An answer, and the watcher of the crate that came with it.
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) watcher: Option<Watcher>,
}

pub(super) enum Watcher {
    Once(zk::OneshotWatcher),
    Tree(zk::PersistentWatcher),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Answer { reply, watcher: None }
    }
}

/// Why there is no answer; in a multi, which step is to blame.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    pub(super) index: Option<usize>,
}

impl From<zk::Error> for Fault {
    fn from(err: zk::Error) -> Self {
        Fault { failure: failure(err), index: None }
    }
}

/// Sends `request`, by its first poll at the latest, and resolves with what `then` makes of the
/// answer. `watched` says whether a watch is to be left with the server.
///
/// The usual operations have futures of their own: one for all is as large as the largest.
pub(super) fn run<T: 'static>(
    client: &Arc<zk::Client>,
    request: Arc<Request>,
    watched: bool,
    then: impl FnOnce(Result<Answer, Fault>) -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let path = request.path.as_str();
    match &request.op {
        Op::Get(_) if !watched => {
            let answer = client.get_data(path);
            let reply = |(data, stat)| Reply::Node(node(data, &stat), None);
            answer.map(move |answer| then(told(answer, reply))).boxed()
        }
        Op::Children(_) if !watched => {
            let answer = client.get_children(path);
            let reply = |(names, stat)| Reply::Children(children(names, &stat), None);
            answer.map(move |answer| then(told(answer, reply))).boxed()
        }
        Op::Exists(_) if !watched => {
            let answer = client.check_stat(path);
            let reply = |stat: Option<_>| Reply::Exists(stat.as_ref().map(translate::stat), None);
            answer.map(move |answer| then(told(answer, reply))).boxed()
        }
        Op::Set { data, version } => {
            let answer = client.set_data(path, data, exact(version.number()));
            let reply = |stat| Reply::Stat(translate::stat(&stat));
            answer.map(move |answer| then(told(answer, reply))).boxed()
        }
        Op::Delete { version } => {
            let answer = client.delete(path, exact(version.number()));
            answer.map(move |answer| then(told(answer, |()| Reply::Done))).boxed()
        }
        _ => {
            let client = client.clone();
            async move { then(one_of_the_rest(&client, request, watched).await) }.boxed()
        }
    }
}

fn told<T>(answer: Result<T, zk::Error>, reply: impl FnOnce(T) -> Reply) -> Result<Answer, Fault> {
    Ok(reply(answer?).into())
}

async fn one_of_the_rest(
    client: &zk::Client,
    request: Arc<Request>,
    watched: bool,
) -> Result<Answer, Fault> {
    let path = request.path.as_str();
    match &request.op {
        Op::Get(_) if watched => {
            let (data, stat, watcher) = client.get_and_watch_data(path).await?;
            Ok(with_watch(Reply::Node(node(data, &stat), None), watcher))
        }
        Op::Children(_) if watched => {
            let (names, stat, watcher) = client.get_and_watch_children(path).await?;
            Ok(with_watch(Reply::Children(children(names, &stat), None), watcher))
        }
        Op::Exists(_) if watched => {
            let (stat, watcher) = client.check_and_watch_stat(path).await?;
            Ok(with_watch(Reply::Exists(stat.as_ref().map(translate::stat), None), watcher))
        }
        Op::Acl => {
            let (acl, stat) = client.get_acl(path).await?;
            Ok(Reply::Acl(translate::acl_from(&acl), translate::stat(&stat)).into())
        }
        Op::WatchTree => {
            let watcher = client.watch(path, zk::AddWatchMode::PersistentRecursive).await?;
            // The stream is made where the watcher is kept; this reply is replaced there.
            Ok(Answer { reply: Reply::Done, watcher: Some(Watcher::Tree(watcher)) })
        }
        Op::Create { data, options } => {
            let acl = translate::acl_to(&options.acl);
            let mode = translate::create_options(options.mode, &acl);
            let (stat, sequence) = client.create(path, data, &mode).await?;
            let created = if options.mode.is_sequential() {
                listed(&format!("{path}{sequence}"))?
            } else {
                request.path.clone()
            };
            Ok(Reply::Created(created, translate::stat(&stat)).into())
        }
        Op::SetAcl { acl, version } => {
            let acl = translate::acl_to(acl);
            let stat = client.set_acl(path, &acl, exact(version.number())).await?;
            Ok(Reply::Stat(translate::stat(&stat)).into())
        }
        Op::Ephemerals => {
            let mut paths = client.list_ephemerals(path).await?;
            paths.sort_unstable();
            // The server compares text: below /a it lists /ab as well.
            let paths: Result<Vec<ZkPath>, Fault> = paths.iter().map(|path| listed(path)).collect();
            let mut paths = paths?;
            paths.retain(|found| found.is_in(&request.path));
            Ok(Reply::Paths(paths).into())
        }
        Op::ReadMany(reads) => read_many(client, reads).await,
        Op::Multi(ops) => multi(client, ops).await,
        Op::Hold(_) => {
            let mut writer = client.new_multi_writer();
            writer.add_check_version(path, -1)?;
            match writer.commit().await {
                // The hold is made where it is renewed; this reply is replaced there.
                Ok(_) => Ok(Reply::Done.into()),
                Err(err) => Err(zk::Error::from(err).into()),
            }
        }
        Op::Sync => {
            commit(client, path).await?;
            Ok(Reply::Done.into())
        }
        op => Err(Fault {
            failure: Failure::Refused(ErrorKind::Unsupported, Some(op.name().to_string())),
            index: None,
        }),
    }
}

/// Takes the quorum's agreement, after which this session's reads show all that was acknowledged.
///
/// ZooKeeper's own `sync` does not ask the quorum when the leader itself serves us, and a leader
/// that was deposed without knowing it answers. A multi that holds one check is a proposal like any
/// write, also when the check fails, so no readable node is needed.
pub(super) async fn commit(client: &zk::Client, path: &str) -> Result<(), zk::Error> {
    let mut writer = client.new_multi_writer();
    writer.add_check_version(path, -1)?;
    match writer.commit().await {
        Ok(_) | Err(zk::MultiWriteError::OperationFailed { .. }) => Ok(()),
        Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
    }
}

/// One multi-read. It has no existence check: the data is read, and where that is not allowed
/// whoever asked must ask again.
async fn read_many(client: &zk::Client, reads: &[Read]) -> Result<Answer, Fault> {
    let mut reader = client.new_multi_reader();
    for read in reads {
        match read {
            Read::Children(path) => reader.add_get_children(path.as_str())?,
            read => reader.add_get_data(read.path().as_str())?,
        }
    }
    let results = reader.commit().await?;
    let mut replies = Vec::with_capacity(reads.len());
    for (read, result) in reads.iter().zip(results) {
        replies.push(match (read, result) {
            (Read::Exists(_), zk::MultiReadResult::Data { stat, .. }) => {
                Ok(ReadReply::Exists(Some(translate::stat(&stat))))
            }
            (_, zk::MultiReadResult::Data { data, stat }) => Ok(ReadReply::Node(node(data, &stat))),
            (_, zk::MultiReadResult::Children { children }) => {
                Ok(ReadReply::Children(translate::sorted(children)))
            }
            (Read::Exists(_), zk::MultiReadResult::Error { err: zk::Error::NoNode }) => {
                Ok(ReadReply::Exists(None))
            }
            (read, zk::MultiReadResult::Error { err }) => match failure(err) {
                Failure::Refused(kind, detail) => {
                    let err = Error::new(read.name(), read.path(), kind);
                    Err(match detail {
                        Some(detail) => err.with_detail(detail),
                        None => err,
                    })
                }
                broken @ Failure::Broken(_) => return Err(Fault { failure: broken, index: None }),
            },
            (read, _) => Err(Error::new(read.name(), read.path(), ErrorKind::Unexpected)),
        });
    }
    Ok(Reply::Many(replies).into())
}

async fn multi(client: &zk::Client, ops: &[MultiOp]) -> Result<Answer, Fault> {
    let mut writer = client.new_multi_writer();
    for (index, op) in ops.iter().enumerate() {
        let at = |err| Fault { failure: failure(err), index: Some(index) };
        let path = op.path().as_str();
        match op {
            MultiOp::Create { data, options, .. } => {
                let acl = translate::acl_to(&options.acl);
                let mode = translate::create_options(options.mode, &acl);
                writer.add_create(path, data, &mode).map_err(at)?;
            }
            MultiOp::Set { data, version, .. } => {
                writer.add_set_data(path, data, exact(version.number())).map_err(at)?;
            }
            MultiOp::Delete { version, .. } => {
                writer.add_delete(path, exact(version.number())).map_err(at)?;
            }
            MultiOp::Check { version, .. } => {
                writer.add_check_version(path, version.number()).map_err(at)?;
            }
        }
    }
    let results = writer.commit().await.map_err(|err| match err {
        zk::MultiWriteError::RequestFailed { source } => Fault::from(source),
        zk::MultiWriteError::OperationFailed { index, source } => {
            Fault { failure: failure(source), index: Some(index) }
        }
    })?;
    let mut replies = Vec::with_capacity(results.len());
    for result in results {
        replies.push(match result {
            zk::MultiWriteResult::Create { path, stat } => {
                MultiReply::Created { path: listed(&path)?, stat: translate::stat_if_told(&stat) }
            }
            zk::MultiWriteResult::SetData { stat } => MultiReply::Set(translate::stat(&stat)),
            zk::MultiWriteResult::Delete => MultiReply::Deleted,
            zk::MultiWriteResult::Check => MultiReply::Checked,
            _ => return Err(unexpected("an unknown result in a multi")),
        });
    }
    Ok(Reply::Multi(replies).into())
}

fn with_watch(reply: Reply, watcher: zk::OneshotWatcher) -> Answer {
    Answer { reply, watcher: Some(Watcher::Once(watcher)) }
}

fn node(data: Vec<u8>, stat: &zk::Stat) -> Node {
    Node { data: data.into(), stat: translate::stat(stat) }
}

fn children(names: Vec<String>, stat: &zk::Stat) -> Children {
    Children { names: translate::sorted(names), stat: translate::stat(stat) }
}

fn exact(version: i32) -> Option<i32> {
    (version != -1).then_some(version)
}

/// A path that the server told.
fn listed(path: &str) -> Result<ZkPath, Fault> {
    ZkPath::new(path).map_err(|err| unexpected(&err.to_string()))
}

fn unexpected(what: &str) -> Fault {
    Fault { failure: Failure::Refused(ErrorKind::Unexpected, Some(what.to_string())), index: None }
}
