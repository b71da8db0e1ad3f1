//! A request that is spelled for its caller, answered by a connection that spells otherwise.

use super::Pending;
use crate::error::{Error, ErrorKind};
use crate::path::{Rebase, ZkPath};
use crate::request::{MultiReply, Reply, Request};

/// Moves `request` by `rebase`, lets `inner` answer, and moves the answer back.
pub(crate) fn call(
    rebase: &Rebase,
    request: Request,
    inner: impl FnOnce(Request) -> Pending<Reply>,
) -> Pending<Reply> {
    let asked = request.path.clone();
    let op = request.op.name();
    let moved = match request.rebased(rebase) {
        Ok(moved) => moved,
        Err(path) => return Pending::ready(Err(Error::new(op, &path, ErrorKind::BadPath))),
    };
    let back = rebase.inverse();
    let back_err = back.clone();
    inner(moved)
        .and_then(move |reply| Ok(respell(reply, &asked, &back)))
        .map_err(move |err| respell_error(err, &back_err))
}

/// `reply` in the spelling of whoever asked for `asked`.
pub(crate) fn respell(reply: Reply, asked: &ZkPath, back: &Rebase) -> Reply {
    let spell = |path: ZkPath| back.apply(&path).unwrap_or(path);
    let at = |watch: Option<crate::watch::Watch>| watch.map(|watch| watch.at(asked.clone()));
    match reply {
        Reply::Node(node, watch) => Reply::Node(node, at(watch)),
        Reply::Children(children, watch) => Reply::Children(children, at(watch)),
        Reply::Exists(stat, watch) => Reply::Exists(stat, at(watch)),
        Reply::Tree(tree) => Reply::Tree(tree.respelled(asked.clone(), back.clone())),
        Reply::Hold(hold) => Reply::Hold(hold.at(asked.clone())),
        Reply::Created(path, stat) => Reply::Created(spell(path), stat),
        Reply::Paths(paths) => Reply::Paths(paths.into_iter().map(spell).collect()),
        Reply::Many(found) => Reply::Many(
            found.into_iter().map(|one| one.map_err(|err| respell_error(err, back))).collect(),
        ),
        Reply::Multi(replies) => {
            Reply::Multi(replies.into_iter().map(|reply| respell_multi(reply, back)).collect())
        }
        other => other,
    }
}

/// One step's reply in the spelling of whoever asked for it.
pub(crate) fn respell_multi(reply: MultiReply, back: &Rebase) -> MultiReply {
    match reply {
        MultiReply::Created { path, stat } => {
            MultiReply::Created { path: back.apply(&path).unwrap_or(path), stat }
        }
        other => other,
    }
}

/// `err` with its path moved, if it has one.
pub(crate) fn respell_error(err: Error, back: &Rebase) -> Error {
    let path = ZkPath::sequence_prefix(err.path()).ok();
    match path.and_then(|path| back.apply(&path)) {
        Some(path) => err.at(path),
        None => err,
    }
}
