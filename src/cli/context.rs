//! What a verb works with: the connection, the cells, the output, and the tally of failures.

use std::sync::Arc;
use std::time::Duration;

use crate::cells::Cells;
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};

use super::args::Args;
use super::output::{Output, complain};
use super::signals::Minder;

/// How many small reads go into one request.
const READS_AT_ONCE: usize = 1000;

/// Whether a node that is not there is worth a word (`-f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Tell,
    Ignore,
}

impl Missing {
    pub(super) fn ignored_if(force: bool) -> Self {
        if force { Missing::Ignore } else { Missing::Tell }
    }
}

/// What a verb works with.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) conn: Arc<dyn Conn>,
    pub(super) cells: Cells,
    pub(super) out: Output,
    /// How long one operation may take.
    pub(super) timeout: Duration,
    /// Who minds signals.
    pub(super) minder: Minder,
    tally: Tally,
    code: Option<u8>,
}

/// The exit code when what was held was lost.
pub(super) const LOST: u8 = 4;
/// The exit code when what is to be held was not to be had in time.
pub(super) const NOT_ACQUIRED: u8 = 5;

#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failed: usize,
    cells_away: usize,
    differ: usize,
}

impl Context {
    pub(super) fn new(
        conn: Arc<dyn Conn>,
        cells: Cells,
        timeout: Duration,
        minder: Minder,
        args: &Args,
    ) -> Self {
        let out = Output::new(args.json && args.verb.lists());
        Context { conn, cells, out, timeout, minder, tally: Tally::default(), code: None }
    }

    /// Ends with this exit code.
    pub(super) fn end_with(&mut self, code: u8) {
        self.code = Some(code);
    }

    /// Notes that something that was asked for was done.
    pub(super) fn done(&mut self) {
        self.tally.done += 1;
    }

    /// Notes that a cell did not answer, and that this has been told.
    pub(super) fn cell_is_away(&mut self) {
        self.tally.cells_away += 1;
    }

    /// Notes that something is not as it should be, and that this has been told.
    pub(super) fn differs(&mut self) {
        self.tally.differ += 1;
    }

    /// Tells an error of one path, and lets the rest go on.
    pub(super) fn report(&mut self, verb: &'static str, err: Error) {
        let err = match err.kind() {
            ErrorKind::NoNode if is_cell(err.path()) && err.detail().is_none() => {
                err.with_detail("nothing has been written to this cell yet")
            }
            _ => err,
        };
        match err.is_away() {
            true => self.tally.cells_away += 1,
            false => self.tally.failed += 1,
        }
        complain(&err.during(verb));
    }

    /// As [`report`](Self::report), but a node that is not there may be no matter.
    pub(super) fn report_unless(&mut self, missing: Missing, verb: &'static str, err: Error) {
        if missing == Missing::Tell || err.kind() != ErrorKind::NoNode {
            self.report(verb, err);
        }
    }

    /// The exit code that says how it went.
    pub(super) fn code(&self) -> u8 {
        if let Some(code) = self.code {
            return code;
        }
        match self.tally {
            Tally { failed: 0, cells_away: 0, differ: 0, .. } => 0,
            Tally { failed: 0, done: 1.., .. } | Tally { failed: 0, differ: 1.., .. } => 3,
            _ => 1,
        }
    }

    /// Reads all, some thousand a request.
    pub(super) async fn read_all(&self, reads: &[Read]) -> Vec<Result<ReadReply, Error>> {
        let mut replies = Vec::with_capacity(reads.len());
        for reads in reads.chunks(READS_AT_ONCE) {
            match self.conn.read_many(reads.to_vec()).await {
                Ok(answers) => replies.extend(answers),
                Err(err) => {
                    replies.extend(reads.iter().map(|read| Err(err.clone().at(read.path()))));
                }
            }
        }
        replies
    }
}

/// Whether this is the path of a whole cell.
fn is_cell(path: &str) -> bool {
    ZkPath::new(path).is_ok_and(|path| path.components().count() == 2)
}

/// The error for an answer to another question.
pub(super) fn unexpected(read: &Read) -> Error {
    Error::odd(read.name(), read.path())
}
