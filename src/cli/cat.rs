//! `zk cat`: the data of nodes.

use std::io::IsTerminal as _;

use crate::node::Node;
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};

use super::args::Cat;
use super::context::{Context, Missing, unexpected};
use super::describe::NodeItem;
use super::output::Stop;
use super::target;

const VERB: &str = "cat";

/// How many nodes are held in memory at once; each may have a mebibyte.
const DATA_AT_ONCE: usize = 64;

pub(super) async fn run(context: &mut Context, args: Cat) -> Result<(), Stop> {
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    let reads: Vec<Read> = targets.into_iter().map(|target| Read::Get(target.path)).collect();
    // For eyes the prompt stands on its own line; for programs the data is left as it is.
    let ends_line = args.long || std::io::stdout().is_terminal();
    for reads in reads.chunks(DATA_AT_ONCE) {
        let replies = context.read_all(reads).await;
        for (read, reply) in reads.iter().zip(replies) {
            match reply {
                Ok(ReadReply::Node(node)) => show(context, &args, ends_line, read.path(), &node)?,
                Ok(_) => context.report(VERB, unexpected(read)),
                Err(err) => context.report_unless(missing, VERB, err),
            }
        }
    }
    Ok(())
}

fn show(
    context: &mut Context,
    args: &Cat,
    ends_line: bool,
    path: &ZkPath,
    node: &Node,
) -> Result<(), Stop> {
    context.done();
    if context.out.is_json() {
        let item = NodeItem::new(path).with_data(&node.data).with_stat(&node.stat);
        return context.out.item(&item);
    }
    if args.long {
        context.out.line(format_args!("{path}:"))?;
    }
    context.out.raw(&node.data)?;
    if ends_line && !node.data.ends_with(b"\n") {
        context.out.raw(b"\n")?;
    }
    Ok(())
}
