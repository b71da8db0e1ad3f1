//! The command `zk`: reads and writes the tree over all cells, for people and scripts alike.
//!
//! Exit codes are part of the interface:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | all that was asked for was done; a reader that went away early counts as done |
//! | 1 | something failed, and a line on stderr says what; everything else was done |
//! | 2 | the command line is wrong; nothing was done |
//! | 3 | a partial answer: some cells did not answer, each named on stderr, by `zk cells` in its line; the rest is complete. Of `zk global`: the quorums differ, and all was compared (what could not be is code 1), or one of them is not what it should be |
//! | 4 | what was held was lost: a lock, a node |
//! | 5 | what was to be held was not ours in time |
//! | 126, 127 | the command to be run under a lock cannot be run, is not found; any other code of its own is passed on |
//! | 129, 130, 143 | ended by SIGHUP, SIGINT, SIGTERM, after the sessions were closed |

mod args;
mod barrier;
mod cat;
mod cells;
mod context;
mod cp;
mod describe;
mod dest;
mod elect;
mod elock;
mod end;
mod global;
mod group;
mod held;
mod lock;
mod ls;
mod output;
mod qlock;
mod rm;
mod set;
mod shards;
mod signals;
mod stat;
mod supervise;
mod target;
mod touch;
mod who;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Verb};
use context::Context;
use end::End;
use output::Stop;

/// Runs the command with the arguments of this process.
///
/// What went wrong has been told on stderr when it returns.
pub fn main() -> ExitCode {
    // Usage errors end the process in here, with code 2.
    let args = Args::parse();
    match end::run(args) {
        End::Code(code) => ExitCode::from(code),
        End::Failed(err) => {
            output::complain(&err);
            ExitCode::FAILURE
        }
    }
}

/// Does what the verb says. An error here ends the command; those of single paths are reported to
/// the context, and the rest goes on.
async fn dispatch(context: &mut Context, verb: Verb) -> Result<(), Stop> {
    match verb {
        Verb::Cells(args) => cells::run(context, args).await,
        Verb::Ls(args) => ls::run(context, args).await,
        Verb::Cat(args) => cat::run(context, args).await,
        Verb::Stat(args) => stat::run(context, args).await,
        Verb::Touch(args) => touch::run(context, args).await,
        Verb::Set(args) => set::run(context, args).await,
        Verb::Cp(args) => cp::run(context, args).await,
        Verb::Rm(args) => rm::run(context, args).await,
        Verb::Lock(args) => lock::run(context, args).await,
        Verb::Elect(args) => elect::run(context, args).await,
        Verb::Who(args) => who::run(context, args).await,
        Verb::Elock(args) => elock::run(context, args).await,
        Verb::Qlock(args) => qlock::run(context, args).await,
        Verb::Barrier(args) => barrier::run(context, args).await,
        // Run before there is a connection.
        Verb::Supervise(_) => Ok(()),
        Verb::Shards(args) => shards::run(context, args).await,
        Verb::Global(verb) => global::run(context, verb).await,
    }
}
