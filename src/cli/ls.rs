//! `zk ls`: what is below a node, or the node itself.

use futures::stream::{self, StreamExt as _};

use crate::cells::Cells;
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};
use crate::tree;

use super::args::Ls;
use super::context::{Context, Missing, unexpected};
use super::describe::{NodeItem, long_line, unmade_line};
use super::output::Stop;
use super::target::{self, Target};

const VERB: &str = "ls";

/// How many subtrees are walked at once, so that dead cells are waited for together.
const WALKS_AT_ONCE: usize = 16;

pub(super) async fn run(context: &mut Context, args: Ls) -> Result<(), Stop> {
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    if args.itself {
        themselves(context, &args, missing, targets).await
    } else if args.recursive {
        everything(context, &args, missing, targets).await
    } else {
        children(context, &args, missing, targets).await
    }
}

/// `-d`: one full path a line.
async fn themselves(
    context: &mut Context,
    args: &Ls,
    missing: Missing,
    targets: Vec<Target>,
) -> Result<(), Stop> {
    // What a listing has shown need not be asked for again, unless its size and time are wanted.
    let (ask, seen): (Vec<_>, Vec<_>) =
        targets.iter().enumerate().partition(|(_, target)| args.long || !target.seen);
    let asked = stats(context, ask.iter().map(|(_, target)| target.path.clone())).await;
    let mut found: Vec<(usize, Option<Stat>)> = seen.iter().map(|(at, _)| (*at, None)).collect();
    for ((at, target), stat) in ask.iter().zip(asked) {
        match stat {
            Ok(Some(stat)) => found.push((*at, Some(stat))),
            Ok(None) => {
                let err = Error::new(VERB, &target.path, ErrorKind::NoNode);
                context.report_unless(missing, VERB, err);
            }
            Err(err) => context.report(VERB, err),
        }
    }
    found.sort_by_key(|(at, _)| *at);
    for (at, stat) in found {
        // Invariant: the number is a place in `targets`.
        let path = &targets[at].path;
        show(context, args, path, path.as_str(), stat.filter(|_| args.long).as_ref())?;
    }
    Ok(())
}

/// The names below each node. Of several nodes, those that have children get a header, and the
/// others stand for themselves, as files do; a single node without children has none to show.
async fn children(
    context: &mut Context,
    args: &Ls,
    missing: Missing,
    targets: Vec<Target>,
) -> Result<(), Stop> {
    let reads: Vec<Read> =
        targets.iter().map(|target| Read::Children(target.path.clone())).collect();
    let replies = context.read_all(&reads).await;
    let several = targets.len() > 1;
    let leaves = reads.iter().zip(&replies).filter(|(_, reply)| {
        several && matches!(reply, Ok(ReadReply::Children(names)) if names.is_empty())
    });
    let leaves: Vec<ZkPath> = leaves.map(|(read, _)| read.path().clone()).collect();
    let mut leaf_stats = match args.long {
        true => stats(context, leaves.into_iter()).await.into_iter(),
        false => Vec::new().into_iter(),
    };
    let (mut first, mut listed) = (true, false);
    for (read, reply) in reads.iter().zip(replies) {
        let names = match reply {
            Ok(ReadReply::Children(names)) => names,
            Ok(_) => {
                context.report(VERB, unexpected(read));
                continue;
            }
            Err(err) => {
                context.report_unless(missing, VERB, err);
                continue;
            }
        };
        context.done();
        let is_leaf = several && names.is_empty();
        // A blank line stands where a listing begins or ends.
        if !first && (listed || !is_leaf) && !context.out.is_json() {
            context.out.line("")?;
        }
        (first, listed) = (false, !is_leaf);
        if is_leaf {
            let (path, name) = (read.path(), read.path().as_str());
            match leaf_stats.next() {
                Some(stat) => show_found(context, args, path, name, stat)?,
                None => show(context, args, path, name, None)?,
            }
            continue;
        }
        if several && !context.out.is_json() {
            context.out.line(format_args!("{}:", read.path()))?;
        }
        list(context, args, read.path(), names).await?;
    }
    Ok(())
}

async fn list(
    context: &mut Context,
    args: &Ls,
    above: &ZkPath,
    names: Vec<String>,
) -> Result<(), Stop> {
    if !args.long {
        for name in &names {
            show(context, args, &above.child(name), name, None)?;
        }
        return Ok(());
    }
    if !context.out.is_json() {
        context.out.line(format_args!("total: {}", names.len()))?;
    }
    let stats = stats(context, names.iter().map(|name| above.child(name))).await;
    for (name, stat) in names.iter().zip(stats) {
        let path = above.child(name);
        show_found(context, args, &path, name, stat)?;
    }
    Ok(())
}

/// `-R`: every node below, one full path a line.
async fn everything(
    context: &mut Context,
    args: &Ls,
    missing: Missing,
    targets: Vec<Target>,
) -> Result<(), Stop> {
    let conn = context.conn.clone();
    let walks: Vec<_> = targets.iter().map(|target| below(&*conn, &target.path)).collect();
    let mut walks = stream::iter(walks).buffered(WALKS_AT_ONCE);
    while let Some((paths, failed)) = walks.next().await {
        if failed.is_empty() {
            context.done();
        }
        for err in failed {
            context.report_unless(missing, VERB, err);
        }
        if !args.long {
            for path in &paths {
                show(context, args, path, path.as_str(), None)?;
            }
            continue;
        }
        let stats = stats(context, paths.iter().cloned()).await;
        for (path, stat) in paths.iter().zip(stats) {
            show_found(context, args, path, path.as_str(), stat)?;
        }
    }
    Ok(())
}

/// All below `top`. Below `/zk`, a cell that fails leaves the others to be listed.
async fn below(conn: &dyn Conn, top: &ZkPath) -> (Vec<ZkPath>, Vec<Error>) {
    if top.as_str() != Cells::PREFIX {
        return match tree::walk_partial(conn, top).await {
            Ok(walked) => (walked.paths, walked.failed),
            Err(err) => (Vec::new(), vec![err]),
        };
    }
    let cells = match conn.children(top).await {
        Ok(cells) => cells,
        Err(err) => return (Vec::new(), vec![err]),
    };
    let cells: Vec<ZkPath> = cells.into_iter().map(|name| top.child(&name)).collect();
    let walks: Vec<_> = cells.iter().map(|cell| tree::walk_partial(conn, cell)).collect();
    let walks: Vec<_> = stream::iter(walks).buffered(WALKS_AT_ONCE).collect().await;
    let (mut paths, mut failed) = (Vec::new(), Vec::new());
    for (cell, walk) in cells.into_iter().zip(walks) {
        match walk {
            Ok(found) => {
                paths.push(cell);
                paths.extend(found.paths);
                failed.extend(found.failed);
            }
            // Nobody has made the cell's own node, so there is nothing below.
            Err(err) if err.kind() == ErrorKind::NoNode => paths.push(cell),
            Err(err) => failed.push(err),
        }
    }
    (paths, failed)
}

/// Shows what a listing told of, unless it has gone since.
fn show_found(
    context: &mut Context,
    args: &Ls,
    path: &ZkPath,
    name: &str,
    stat: Result<Option<Stat>, Error>,
) -> Result<(), Stop> {
    let stat = stat.unwrap_or_else(|err| {
        context.report(VERB, err);
        None
    });
    // A cell is there by configuration, whether or not it answers and has a node of its own.
    let is_cell = path.parent().is_some_and(|above| above.as_str() == Cells::PREFIX);
    match stat.is_some() || is_cell {
        true => show(context, args, path, name, stat.as_ref()),
        false => Ok(()),
    }
}

fn show(
    context: &mut Context,
    args: &Ls,
    path: &ZkPath,
    name: &str,
    stat: Option<&Stat>,
) -> Result<(), Stop> {
    context.done();
    if context.out.is_json() {
        let item = NodeItem::new(path);
        return context.out.item(&match stat {
            Some(stat) => item.with_stat(stat),
            None => item,
        });
    }
    match stat {
        Some(stat) => context.out.line(long_line(stat, name)),
        None if args.long => context.out.line(unmade_line(name)),
        None => context.out.line(name),
    }
}

async fn stats(
    context: &Context,
    paths: impl Iterator<Item = ZkPath>,
) -> Vec<Result<Option<Stat>, Error>> {
    let reads: Vec<Read> = paths.map(Read::Exists).collect();
    let replies = context.read_all(&reads).await;
    let stat = |(read, reply): (&Read, _)| match reply {
        Ok(ReadReply::Exists(stat)) => Ok(stat),
        Ok(_) => Err(unexpected(read)),
        Err(err) => Err(err),
    };
    reads.iter().zip(replies).map(stat).collect()
}
