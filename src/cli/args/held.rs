//! The command line of verbs that hold something, or wait for it.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueEnum;

use crate::recipes::LockNames;

/// Of `lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command gets the grant's token in $ZK_TOKEN, its number alone in $ZK_TOKEN_ZXID (a later grant
has a greater one), and the path in $ZK_LOCK_PATH. It runs in a process group of its own, and the
lock is released only when nobody is left in that group: who is left half a second after the command
has ended is sent TERM, and KILL later.

When the lock is lost, the whole group is sent TERM, and KILL while servers surely give the lock to
nobody else. If they do not answer, TERM comes when a sixth of the session timeout is left, KILL at
the end; if they say that it is lost, or somebody deleted our node, KILL comes within a second. The
group also dies with this process, even if that is killed or stopped. Whoever leaves the group is
sent no TERM, and killed only when the lock is lost.

HUP, INT and TERM are passed on to the group. If standard input and output are the terminal, the
command has it: ^C goes there, and ^Z stops nobody. What was ignored (nohup) stays so.

Exit codes: the command's own, 128 and the signal's number if it died of one; 126 when it cannot be
run, 127 when it is not found; 4 when the lock was lost; 5 when it was not ours in time; 1 and 2 as
always.")]
pub(in crate::cli) struct Lock {
    #[command(flatten)]
    pub(in crate::cli) run: Run,
    /// How long to wait for the lock; 0s tries once, and without it there is no end
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Take the read side of a read-write lock, together with others who do
    #[arg(long, conflicts_with = "write")]
    pub(in crate::cli) shared: bool,
    /// Take the write side of a read-write lock, alone
    #[arg(long)]
    pub(in crate::cli) write: bool,
    /// Whose node names to use, for locks that clients of that system take, too [default: vitess; of
    /// a read-write lock: zksync]
    #[arg(long, value_enum, value_name = "SYSTEM")]
    pub(in crate::cli) names: Option<Names>,
}

/// Of `elect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command is run once, as by `zk lock`, see there, with the same exit codes: when leadership is
lost it is ended, and the exit code is 4. Whatever keeps this process going starts it again, to
campaign anew. PATH/leader says who leads.")]
pub(in crate::cli) struct Elect {
    #[command(flatten)]
    pub(in crate::cli) run: Run,
    /// How long to wait for leadership; 0s tries once, and without it there is no end
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// What to tell of this process while it leads, such as its address
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) info: Option<String>,
}

/// A command to be run while something is held.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Run {
    /// A path, without wildcards; it is created if it is missing
    #[arg(value_name = "PATH")]
    pub(in crate::cli) path: String,
    /// How long the command may take to end when it is told to, while the lock is held
    #[arg(
        long, value_name = "DURATION", default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub(in crate::cli) kill_after: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<OsString>,
}

/// Whose node names a lock uses.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Names {
    Vitess,
    Curator,
    Kazoo,
    Zksync,
}

impl From<Names> for LockNames {
    fn from(names: Names) -> Self {
        match names {
            Names::Vitess => LockNames::Vitess,
            Names::Curator => LockNames::Curator,
            Names::Kazoo => LockNames::Kazoo,
            Names::Zksync => LockNames::Zksync,
        }
    }
}

/// Of `elock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
HUP, INT or TERM ends it: the node is deleted, and the exit code is 0. It is 4 when the node or the
session was lost before, and 5 when the node was there already.")]
pub(in crate::cli) struct Elock {
    /// A path, without wildcards; its parent must be there
    pub(in crate::cli) path: String,
}

/// Of `qlock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The node is left as it is: it has its turn until somebody deletes it. The turn is written down in
the queue's own node, so a node whose name sorts before this one waits, too; clients of Vitess do not
look there. Exit codes: 0 when its turn has come, 5 when it has not in time.")]
pub(in crate::cli) struct Qlock {
    /// How long to wait for its turn [default: 0s, which looks once]
    #[arg(long, alias = "lock-wait-timeout", value_name = "DURATION", value_parser = wait)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// A node that is there, without wildcards
    pub(in crate::cli) path: String,
}

/// Of `supervise`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Supervise {
    /// The process that started this one
    #[arg(long)]
    pub(in crate::cli) parent: i32,
    /// Where that process can be heard, as one of its descriptors
    #[arg(long)]
    pub(in crate::cli) feed: i32,
    /// The process group that the terminal is given back to
    #[arg(long)]
    pub(in crate::cli) terminal: Option<i32>,
    /// How long those may stay who are left behind by the command
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(in crate::cli) kill_after: Duration,
    #[arg(last = true, required = true)]
    pub(in crate::cli) command: Vec<OsString>,
}

/// A length of time, where a plain 0 is clear enough.
fn wait(text: &str) -> Result<Duration, humantime::DurationError> {
    if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) }
}
