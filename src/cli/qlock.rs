//! `zk qlock`: waits until a node is the first in its queue.

use crate::error::ErrorKind;
use crate::recipes::QueueLock;

use super::args;
use super::context::{Context, NOT_ACQUIRED};
use super::output::{Stop, complain};
use super::target;

const VERB: &str = "qlock";

pub(super) async fn run(context: &mut Context, args: args::Qlock) -> Result<(), Stop> {
    let path = target::literal(&args.path).map_err(|err| Stop::Failed(err.during(VERB)))?;
    let queue = QueueLock::new(context.conn.clone(), &path);
    match queue.turn(args.timeout.unwrap_or_default()).await {
        Ok(_) => context.out.line(format_args!("qlock: locked {path}")),
        Err(err) if err.kind() == ErrorKind::Timeout => {
            complain(&err.during(VERB));
            context.end_with(NOT_ACQUIRED);
            Ok(())
        }
        Err(err) => Err(Stop::Failed(err.during(VERB))),
    }
}
