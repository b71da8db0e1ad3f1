//! From start to end: the configuration, the connection, the verb, and closing on every way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cells::Cells;
use crate::conn::Conn;
use crate::conn::meta::MetaConn;
use crate::conn::within::Within;
use crate::error::{Error, ErrorKind};

use super::args::Args;
use super::context::Context;
use super::dispatch;
use super::output::{Stop, complain};

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

/// Does all that `args` say.
pub(super) fn run(args: Args) -> End {
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
    let timeout = args.timeout;
    let conn: Arc<dyn Conn> = Arc::new(Within::new(MetaConn::new(cells.clone()), timeout));
    let mut context = Context::new(conn.clone(), cells, &args);
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
        code = signals.recv() => {
            verb.abort();
            (End::Code(code), timeout.min(GOODBYE))
        }
    };
    tokio::select! {
        // A session that cannot be closed ends by itself; the command's own outcome stands.
        _ = tokio::time::timeout(patience, conn.close()) => end,
        code = signals.recv() => End::Code(code),
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

/// The signals that ask a process to end.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one, and returns the exit code that shells give it: 128 and its number.
    async fn recv(&mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => 129,
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
