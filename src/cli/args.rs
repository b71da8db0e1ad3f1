//! The command line, as clap reads it.

mod held;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub(super) use held::{Elect, Elock, Lock, Qlock, Run, Supervise};

const AFTER: &str = "\
A path is /zk/<cell>/…; the cell `local` is the one this host is in, and `global` the one that spans
sites. Where a verb reads, a path may hold wildcards (* ? [a-z] {a,b}), also for the cell; quote
them for the shell. A slash at the end of a path is ignored.

Exit codes: 0 done; 1 something failed; 2 wrong usage; 3 some cells did not answer, the rest is
complete, or the quorums of a cell differ. The cells are read from $ZK_CLIENT_CONFIG, or
/etc/zookeeper/zk_client.json.";

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
    /// Show who holds a lock and who waits for it, or who is at a barrier
    Who(Who),
    /// Hold a node that goes away with this process
    Elock(Elock),
    /// Wait until a node is the first in its queue
    Qlock(Qlock),
    /// Close a barrier, open it, or wait until it is open
    Barrier(super::barrier::Barrier),
    /// Of `lock` and `elect`: the first process of the command's group
    #[command(hide = true)]
    Supervise(Supervise),
    /// Draw who holds which range of what workers divide
    Shards(super::shards::Shards),
    /// Look after a cell that is several quorums: make it a set, compare and repair them
    #[command(subcommand)]
    Global(Global),
}

impl Verb {
    /// Whether `--timeout` is how long to wait for something to be ours, or open.
    pub(super) fn waits(&self) -> bool {
        match self {
            Verb::Lock(_) | Verb::Elect(_) | Verb::Qlock(_) => true,
            Verb::Barrier(args) => args.waits(),
            _ => false,
        }
    }

    /// Whether it lists anything, as text or as JSON.
    pub(super) fn lists(&self) -> bool {
        !self.waits() && !matches!(self, Verb::Elock(_) | Verb::Barrier(_))
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

/// Of `who`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Holders first, then those who wait, in the order of their turns: host and process, or what else the
node says; how long the node has been there, by its server's clock; the token of the grant; whose
node names it has; its name. Locks and read-write locks of Vitess, Curator, Kazoo and zksync are
understood, and elections by their candidates.

Of barriers one line tells the state: of one that is closed, by whom, since when, and whether it opens
when a session ends; of a double barrier how many wait and are missing, or are inside; of a cyclic
barrier the generation, how many wait and are missing, or why it is broken. Then come those who are
there: host and process, for how long, and the name of the node. A barrier or a party of another
library says nothing of itself; where one may be, that is told.

Whatever contends and hangs on no session is marked: others wait for it until it is deleted.")]
pub(super) struct Who {
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    pub(super) force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Of `global`.
#[derive(Debug, Subcommand)]
pub(super) enum Global {
    /// Give identities to quorums that have none: to all of a new set, or to mirrors that are new or
    /// lost their data
    Init {
        /// The cell, such as global or /zk/global
        #[arg(default_value = "global")]
        cell: String,
        /// Take quorums in again that missed a promotion, or were stopped by one that went no further;
        /// `repair` then deletes what only they have
        #[arg(long)]
        rejoin: bool,
        /// Let a quorum that holds nothing be the first of a new set; `repair` then deletes what the
        /// others hold
        #[arg(long)]
        empty_first: bool,
        /// Let quorums that have no identity, and hold something, come into a set that exists; what they
        /// hold is overwritten, and `repair` deletes the rest
        #[arg(long)]
        take_over: bool,
    },
    /// Make a mirror the first, when the first is gone for good
    ///
    /// What it lacks of what other mirrors have is found out by comparing all of the tree, some 5,000
    /// nodes a second. If it may lack something, nothing is changed. All other quorums take no writes before
    /// it is the first; if that is interrupted, do it again: for this quorum or another, but for the new
    /// first once there is one.
    Promote {
        /// The cell, such as global or /zk/global
        cell: String,
        /// The quorum's place in the configuration, as `status` counts
        quorum: usize,
        /// What the old first alone has may be lost
        #[arg(long)]
        old_first_is_gone: bool,
        /// This mirror cannot answer, and no other was made the first there
        #[arg(long, value_name = "QUORUM")]
        without: Vec<usize>,
        /// The chosen quorum may lack some of the tree; that is lost
        #[arg(long)]
        though_incomplete: bool,
        /// The chosen quorum may lack writes that another mirror has; those are lost, and nothing is
        /// compared
        #[arg(long)]
        though_behind: bool,
        /// Of two that were made the first apart from each other this one is right; what was written
        /// on the other alone is lost
        #[arg(long)]
        over_rivals: bool,
    },
    /// Print what each quorum says it is, and whether that is right
    Status {
        /// The cell, such as global or /zk/global
        #[arg(default_value = "global")]
        cell: String,
    },
    /// Print where mirrors differ from the first: missing, extra, data or acl, which quorum, the path
    ///
    /// Exit codes: 0 they agree; 3 all was compared, and they differ; 1 not everything could be
    /// compared, and a line on stderr says what and why.
    Diff(GlobalPaths),
    /// Print what would be mended; with --apply, bring mirrors to what the first holds
    ///
    /// Without --apply nothing is written: it prints what `diff` prints, and what would keep it from
    /// mending. With it, each line is told when it is mended; nodes that only mirrors have are deleted
    /// last, and only if the first could be listed completely. Clients may write meanwhile. It can be
    /// ended at any time, and says with which --from to go on. With the whole cell mended in one go,
    /// its mirrors are complete, and may take the first's place.
    ///
    /// Exit codes: 0 they agree, or do by now; 3 without --apply, they differ; 1 not everything could
    /// be compared or mended, and a line on stderr says what and why.
    Repair {
        /// Do it
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        paths: GlobalPaths,
    },
}

/// Of `global diff` and `global repair`.
#[derive(Debug, clap::Args)]
pub(super) struct GlobalPaths {
    /// Go on at this path of the first tree, where an earlier one was ended
    #[arg(long, value_name = "PATH")]
    pub(super) from: Option<String>,
    /// Trees, without wildcards
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::global::GlobalOptions;
    use crate::conn::global::remedy::Remedy;
    use crate::path::ZkPath;

    #[test]
    fn what_messages_say_to_type_is_understood_and_about_their_cell() {
        let home = ZkPath::new("/zkcells/safe").unwrap();
        let remedy = Remedy::of(&GlobalOptions::default().with_home(home));
        let texts = remedy.texts();
        let mut typed = 0;
        for command in texts.iter().flat_map(|text| text.split('`').skip(1).step_by(2)) {
            let args = Args::try_parse_from(command.split(' '));
            let Verb::Global(verb) = args.unwrap_or_else(|err| panic!("{command}: {err}")).verb
            else {
                panic!("{command}")
            };
            let cell = match verb {
                Global::Init { cell, .. } | Global::Status { cell } => cell,
                // Without that it would be refused.
                Global::Promote { cell, old_first_is_gone: true, .. } => cell,
                Global::Diff(paths) | Global::Repair { paths, apply: true } => {
                    paths.paths.join(" ").replace("/zk/", "")
                }
                _ => panic!("{command}"),
            };
            assert_eq!(cell, "safe", "{command}");
            typed += 1;
        }
        assert!(typed > 15, "{typed}");
    }
}
