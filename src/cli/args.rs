//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::recipes::LockNames;

const AFTER: &str = "\
A path is /zk/<cell>/…; the cell `local` is the one this host is in, and `global` the one that spans
sites. Where a verb reads, a path may hold wildcards (* ? [a-z] {a,b}), also for the cell; quote
them for the shell. A slash at the end of a path is ignored.

Exit codes: 0 done; 1 something failed; 2 wrong usage; 3 some cells did not answer, the rest is
complete. The cells are read from $ZK_CLIENT_CONFIG, or /etc/zookeeper/zk_client.json.";

/// Read and write one tree over many ZooKeeper quorums.
#[derive(Debug, Parser)]
#[command(name = "zk", version, after_help = AFTER, arg_required_else_help = true)]
pub(super) struct Args {
    /// The file that lists the cells
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The cell that `local` stands for
    #[arg(long, global = true, value_name = "CELL")]
    pub(super) local_cell: Option<String>,

    /// The servers of the cell `global`
    #[arg(long, global = true, value_name = "ADDRS")]
    pub(super) global_addrs: Option<String>,

    /// How long servers wait for a sign of life
    #[arg(long, global = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) session_timeout: Option<Duration>,

    /// How long one operation may take [default: 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,

    /// Print one JSON document: an array with an object for each node
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the known cells, how each one is and where
    Cells(Cells),
    /// List children
    Ls(Ls),
    /// Print data
    Cat(Cat),
    /// Print all that is known of a node
    Stat(Stat),
    /// Create a node without data, or write its own data to it again
    Touch(Touch),
    /// Write data to a node that is there
    Set(Set),
    /// Copy data between nodes and files
    Cp(Cp),
    /// Delete nodes
    Rm(Rm),
    /// Run a command while a lock is held
    Lock(Lock),
    /// Run a command while this process leads
    Elect(Elect),
    /// Show who holds a lock and who waits for it
    Who(Who),
    /// Hold a node that goes away with this process
    Elock(Elock),
    /// Wait until a node is the first in its queue
    Qlock(Qlock),
    /// Of `lock` and `elect`: the first process of the command's group
    #[command(hide = true)]
    Supervise(Supervise),
}

impl Verb {
    /// Whether `--timeout` is how long to wait for something to be ours.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Verb::Lock(_) | Verb::Elect(_) | Verb::Qlock(_))
    }

    /// Whether it lists anything, as text or as JSON.
    pub(super) fn lists(&self) -> bool {
        !self.waits() && !matches!(self, Verb::Elock(_))
    }
}

/// Of `cells`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every cell is asked at once: a session is opened, and the quorum agrees once. A line shows the cell's
name, its state, how long that agreement took, the session and its timeout, the version of the
servers, and the address. A cell that is down says why.")]
pub(super) struct Cells {
    /// Only where they are; nobody is asked
    #[arg(short = 'n', long)]
    pub(super) offline: bool,
}

/// Of `ls`.
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// Also kind, size and time
    #[arg(short)]
    pub(super) long: bool,
    /// The nodes themselves and not what is below them, one path a line
    #[arg(short = 'd', conflicts_with = "recursive")]
    pub(super) itself: bool,
    /// Everything below, one path a line
    #[arg(short = 'R')]
    pub(super) recursive: bool,
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `cat`.
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    /// Print each path before its data
    #[arg(short)]
    pub(super) long: bool,
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `stat`.
#[derive(Debug, clap::Args)]
pub(super) struct Stat {
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `touch`.
#[derive(Debug, clap::Args)]
pub(super) struct Touch {
    /// Create missing parents too
    #[arg(short = 'p', conflicts_with = "only_existing")]
    pub(super) parents: bool,
    /// Create nothing: a node that is not there is an error
    #[arg(short = 'c')]
    pub(super) only_existing: bool,
    /// Paths, without wildcards
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `set`.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// Write only if the node has this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(super) version: Option<i32>,
    /// A path, without wildcards
    pub(super) path: String,
    /// The data; - reads it from standard input
    pub(super) value: String,
}

/// Of `cp`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
/zk/… is a node, everything else a file, and - standard input or output; write a file that is
called so as ./zk/… or ./-. A destination that ends in a slash, or that takes several sources, is a
directory: a copy gets the last name of its source. Parents are created, what is there is
overwritten. Only data is copied, not children and not access lists.")]
pub(super) struct Cp {
    /// Nodes, patterns, files, or - for standard input
    #[arg(required = true, value_name = "SOURCE")]
    pub(super) sources: Vec<String>,
    /// A node, a file, or - for standard output
    pub(super) destination: String,
}

/// Of `rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
-r refuses a cell's own node and those right below it, whether they were named or matched by a
wildcard, and then deletes nothing at all. --force-top deletes them all the same.")]
pub(super) struct Rm {
    /// Also everything below
    #[arg(short)]
    pub(super) recursive: bool,
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// With -r, delete even a cell's own node and those right below it
    #[arg(long, requires = "recursive")]
    pub(super) force_top: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command gets the grant's token in $ZK_TOKEN, its number alone in $ZK_TOKEN_ZXID (a later grant
has a greater one), and the path in $ZK_LOCK_PATH. It runs in a process group of its own, and the
lock is released only when nobody is left in that group: who is left when the command has ended is
sent TERM, and KILL later.

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
pub(super) struct Lock {
    #[command(flatten)]
    pub(super) run: Run,
    /// How long to wait for the lock; 0s tries once, and without it there is no end
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(super) timeout: Option<Duration>,
    /// Whose node names to use, for locks that clients of that system take, too
    #[arg(long, value_enum, value_name = "SYSTEM", default_value = "vitess")]
    pub(super) names: Names,
}

/// Of `elect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command is run once, as by `zk lock`, see there, with the same exit codes: when leadership is
lost it is ended, and the exit code is 4. Whatever keeps this process going starts it again, to
campaign anew. PATH/leader says who leads.")]
pub(super) struct Elect {
    #[command(flatten)]
    pub(super) run: Run,
    /// How long to wait for leadership; 0s tries once, and without it there is no end
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(super) timeout: Option<Duration>,
    /// What to tell of this process while it leads, such as its address
    #[arg(long, value_name = "TEXT")]
    pub(super) info: Option<String>,
}

/// A command to be run while something is held.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// A path, without wildcards; it is created if it is missing
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// How long the command may take to end when it is told to, while the lock is held
    #[arg(
        long, value_name = "DURATION", default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub(super) kill_after: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Whose node names a lock uses.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Names {
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

/// Of `who`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Holders first, then those who wait, in the order of their turns: host and process, or what else the
node says; how long the node has been there, by its server's clock; the token of the grant; whose
node names it has; its name. Locks and read-write locks of Vitess, Curator, Kazoo and zksync are
understood, and elections by their candidates.")]
pub(super) struct Who {
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `elock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
HUP, INT or TERM ends it: the node is deleted, and the exit code is 0. It is 4 when the node or the
session was lost before, and 5 when the node was there already.")]
pub(super) struct Elock {
    /// A path, without wildcards; its parent must be there
    pub(super) path: String,
}

/// Of `qlock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The node is left as it is: it has its turn until somebody deletes it. The turn is written down in
the queue's own node, so a node whose name sorts before this one waits, too; clients of Vitess do not
look there. Exit codes: 0 when its turn has come, 5 when it has not in time.")]
pub(super) struct Qlock {
    /// How long to wait for its turn [default: 0s, which looks once]
    #[arg(long, alias = "lock-wait-timeout", value_name = "DURATION", value_parser = wait)]
    pub(super) timeout: Option<Duration>,
    /// A node that is there, without wildcards
    pub(super) path: String,
}

/// Of `supervise`.
#[derive(Debug, clap::Args)]
pub(super) struct Supervise {
    /// The process that started this one
    #[arg(long)]
    pub(super) parent: i32,
    /// Where that process can be heard, as one of its descriptors
    #[arg(long)]
    pub(super) feed: i32,
    /// The process group that the terminal is given back to
    #[arg(long)]
    pub(super) terminal: Option<i32>,
    /// How long those may stay who are left behind by the command
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) kill_after: Duration,
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// A length of time, where a plain 0 is clear enough.
fn wait(text: &str) -> Result<Duration, humantime::DurationError> {
    if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) }
}
