//! From start to end: the configuration, the connection, the verb, and closing on every way out.

use std::sync::Arc;
use std::time::Duration;

use crate::cells::Cells;
use crate::conn::Conn;
use crate::conn::meta::MetaConn;
use crate::conn::within::Within;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

use super::args::{Args, Verb};
use super::context::{Context, LOST};
use super::dispatch;
use super::output::{Stop, complain};
use super::signals::{Asked, Minder, Signals};
use super::supervise;

/// How the command ended.
#[derive(Debug)]
pub(super) enum End {
    /// All has been told.
    Code(u8),
    /// This is yet to be told.
    Failed(Error),
}

const USAGE: u8 = 2;

/// Who presses ctrl-c does not wait for a dead cell to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a verb that is ended has for its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Does all that `args` say.
pub(super) fn run(args: Args) -> End {
    if let Verb::Supervise(args) = args.verb {
        return End::Code(supervise::run(args));
    }
    let cells = match cells(&args) {
        Ok(cells) => cells,
        Err(err) => return End::Failed(err),
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(err) => return End::Failed(no_start(err)),
        };
    let end = runtime.block_on(drive(args, cells));
    // A thread that sits in a read of standard input or a blocked write must not keep the process.
    runtime.shutdown_background();
    end
}

fn cells(args: &Args) -> Result<Cells, Error> {
    let mut builder = Cells::builder();
    if let Some(file) = &args.config {
        builder = builder.config_file(file);
    }
    if let Some(cell) = &args.local_cell {
        builder = builder.local_cell(cell);
    }
    if let Some(addrs) = &args.global_addrs {
        builder = builder.global_addrs(addrs);
    }
    if let Some(timeout) = args.session_timeout {
        builder = builder.session_timeout(timeout);
    }
    builder.build()
}

fn no_start(err: std::io::Error) -> Error {
    Error::new("start", "", ErrorKind::Unexpected).with_cause(err)
}

async fn drive(args: Args, cells: Cells) -> End {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(err) => return End::Failed(no_start(err)),
    };
    let meta = MetaConn::new(cells.clone());
    let (conn, timeout): (Arc<dyn Conn>, Duration) = match args.timeout {
        // Where it bounds a wait, single operations have the time that is left of it.
        _ if args.verb.waits() => (Arc::new(meta), Deadline::DEFAULT),
        timeout => {
            let timeout = timeout.unwrap_or(Deadline::DEFAULT);
            (Arc::new(Within::new(meta, timeout)), timeout)
        }
    };
    let minder = Minder::default();
    let mut context = Context::new(conn.clone(), cells, timeout, minder.clone(), &args);
    // A task of its own: a verb that blocks on a full pipe must not block the signals.
    let mut verb = tokio::spawn(async move {
        let done = dispatch(&mut context, args.verb).await;
        finish(&mut context, done)
    });
    let (end, patience) = tokio::select! {
        ended = &mut verb => match ended {
            Ok(end) => (end, timeout),
            Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
            // Invariant: nobody else aborts it.
            Err(_) => (End::Code(1), timeout),
        },
        asked = unminded(&mut signals, &minder) => {
            verb.abort();
            // What it has to say at its end, it says now, unless it is stuck.
            let _ = tokio::time::timeout(LAST_WORDS, &mut verb).await;
            (End::Code(asked.code()), timeout.min(GOODBYE))
        }
    };
    // Whoever lost what they held are to learn it soon, and have most likely lost the cell, too.
    let patience = match end {
        End::Code(LOST) => patience.min(GOODBYE),
        _ => patience,
    };
    // A signal that was for the verb is not for what follows.
    let fresh = if minder.ends_process() { None } else { Signals::new().ok() };
    let mut signals = fresh.unwrap_or(signals);
    tokio::select! {
        // A session that cannot be closed ends by itself; the command's own outcome stands.
        _ = tokio::time::timeout(patience, conn.close()) => end,
        asked = signals.recv() => End::Code(asked.code()),
    }
}

/// Waits for a signal that the verb does not mind itself.
async fn unminded(signals: &mut Signals, minder: &Minder) -> Asked {
    loop {
        let asked = signals.recv().await;
        if minder.ends_process() {
            return asked;
        }
    }
}

/// Ends the output and makes the exit code.
fn finish(context: &mut Context, done: Result<(), Stop>) -> End {
    let code = match done {
        Ok(()) => context.code(),
        Err(Stop::Usage(err)) => {
            complain(&err);
            return End::Code(USAGE);
        }
        Err(Stop::NobodyReads) => return End::Code(context.code()),
        Err(Stop::Failed(err)) => {
            complain(&err);
            1
        }
    };
    match context.out.finish() {
        Ok(()) | Err(Stop::NobodyReads) => End::Code(code),
        Err(Stop::Usage(err) | Stop::Failed(err)) => End::Failed(err),
    }
}
