//! `zk barrier`: closes a barrier, opens it, waits until it is open.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes;

use super::context::{Context, NOT_ACQUIRED};
use super::output::{Stop, complain};
use super::target;

const VERB: &str = "barrier";

/// Of `barrier`.
#[derive(Debug, Args)]
#[command(after_help = "\
A barrier is closed while its node is there, whoever made it; what is in the node does not matter. It
outlives this process.

Exit codes: 0 done; 5 when `wait` ended before it was open; 1 and 2 as always: so 1 where no server
said whether it is.")]
pub(super) struct Barrier {
    #[command(subcommand)]
    what: What,
}

/// What to do with a barrier.
#[derive(Debug, Subcommand)]
enum What {
    /// Close it; that it is closed already is an error
    Set(At),
    /// Open it; that it is open already is an error
    Unset(At),
    /// Wait until it is open, or has been in between
    Wait {
        #[command(flatten)]
        at: At,
        /// How long to wait at most; 0s looks once, and without it there is no end
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
}

#[derive(Debug, Args)]
struct At {
    /// A path, without wildcards
    #[arg(value_name = "PATH")]
    path: String,
}

impl Barrier {
    /// Whether `--timeout` is how long to wait.
    pub(super) fn waits(&self) -> bool {
        matches!(self.what, What::Wait { .. })
    }
}

pub(super) async fn run(context: &mut Context, args: Barrier) -> Result<(), Stop> {
    let (What::Set(at) | What::Unset(at) | What::Wait { at, .. }) = &args.what;
    let path = target::literal(&at.path).map_err(|err| Stop::Failed(err.during(VERB)))?;
    match barrier(context, &path, &args.what).await {
        Ok(()) => context.done(),
        Err(err) if err.kind() == ErrorKind::Timeout && args.waits() => {
            complain(&err);
            context.end_with(NOT_ACQUIRED);
        }
        Err(err) => {
            let verb = err.op();
            context.report(verb, err);
        }
    }
    Ok(())
}

async fn barrier(context: &Context, path: &ZkPath, what: &What) -> Result<(), Error> {
    let barrier = recipes::Barrier::new(context.conn.clone(), path);
    match what {
        What::Set(_) => barrier.set().await,
        What::Unset(_) => barrier.unset().await,
        What::Wait { timeout: None, .. } => barrier.wait().await,
        What::Wait { timeout: Some(wait), .. } => barrier.wait_within(*wait).await,
    }
}
