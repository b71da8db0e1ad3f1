//! `zk rm`: deletes nodes, but not a cell by accident.

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};

use crate::conn::ConnExt as _;
use crate::error::{Error, ErrorKind};
use crate::node::Version;
use crate::tree;

use super::args::Rm;
use super::context::{Context, Missing};
use super::describe::NodeItem;
use super::output::Stop;
use super::target;

const VERB: &str = "rm";

/// How many nodes are deleted at once, or subtrees.
const AT_ONCE: usize = 64;
const TREES_AT_ONCE: usize = 4;

pub(super) async fn run(context: &mut Context, args: Rm) -> Result<(), Stop> {
    if args.recursive {
        refuse_tops(args.paths.iter().map(|text| target::trimmed(text)), args.force_top)?;
    }
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    let conn = context.conn.clone();
    let deletes = targets.into_iter().map(|target| -> BoxFuture<'_, _> {
        let path = target.path;
        if args.recursive {
            let conn = conn.clone();
            return Box::pin(async move {
                let done = tree::remove_all(&*conn, &path).await;
                (path, done.map(|_| ()))
            });
        }
        let answer = conn.delete(&path, Version::Any);
        Box::pin(async move { (path, answer.await) })
    });
    let at_once = if args.recursive { TREES_AT_ONCE } else { AT_ONCE };
    let mut answers = stream::iter(deletes).buffered(at_once);
    while let Some((path, answer)) = answers.next().await {
        match answer {
            Ok(()) => {
                context.done();
                context.out.item(&NodeItem::new(&path))?;
            }
            Err(err) if err.kind() == ErrorKind::NotEmpty && !args.recursive => {
                context.report(VERB, err.with_detail("-r deletes them too"));
            }
            Err(err) => context.report_unless(missing, VERB, err),
        }
    }
    Ok(())
}

/// Refuses the whole command for the sake of one path: nothing has been deleted yet.
///
/// A pattern is judged as it is written: no wildcard crosses a `/`, so what it matches lies as deep.
fn refuse_tops<'a>(paths: impl Iterator<Item = &'a str>, forced: bool) -> Result<(), Stop> {
    for path in paths {
        let depth = path.split('/').filter(|component| !component.is_empty()).count();
        let why = match depth {
            0 | 1 => "that is all cells",
            2 if !forced => "that is a whole cell; --force-top deletes it all the same",
            3 if !forced => "that is right below a cell; --force-top deletes it all the same",
            _ => continue,
        };
        let shown = path.escape_debug().to_string();
        let err = Error::new(VERB, shown, ErrorKind::BadArguments);
        return Err(Stop::Failed(err.with_detail(why)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_a_cell_is_not_deleted_by_accident() {
        let refused = |path, forced| refuse_tops([path].into_iter(), forced).is_err();
        for path in ["", "/", "/zk", "/*"] {
            assert!(refused(path, false) && refused(path, true), "{path}");
        }
        for path in ["/zk/nyc", "/zk/*", "/zk/nyc/vt", "/zk/nyc/*", "/*/*/*", "/zk//nyc//vt//"] {
            assert!(refused(path, false) && !refused(path, true), "{path}");
        }
        for path in ["/zk/nyc/vt/x", "/zk/nyc/vt/*"] {
            assert!(!refused(path, false), "{path}");
        }
    }
}
