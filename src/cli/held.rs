//! Running a command while something is held, and ending it when that is lost.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use super::args::Run;
use super::context::{Context, LOST};
use super::group::{Group, Whom};
use super::output::{Stop, complain};
use super::signals::Signals;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::path::ZkPath;
use crate::recipes::{Guard, Released};

/// How long a command may go on when what was held is lost at once, by a word of the servers.
const SHORT: Duration = Duration::from_secs(1);

/// How long before its deadline a group is left to its supervisor, who knows of the terminal.
const MARGIN: Duration = Duration::from_millis(200);

/// How often at least the clock is looked at: timers stand still while the machine sleeps.
const TICK: Duration = Duration::from_millis(250);
const BREATH: Duration = Duration::from_millis(10);

/// How a command went.
#[derive(Debug)]
pub(super) struct Outcome {
    code: u8,
    /// Whether what was held was lost, which has been told.
    lost: bool,
}

/// Runs the command of `args` while `guard` is held, which is that of `path`, until nobody is left of
/// its group.
pub(super) async fn run(
    context: &Context,
    verb: &'static str,
    path: &ZkPath,
    guard: &Guard,
    args: &Run,
) -> Result<Outcome, Stop> {
    let failed = |err| {
        let err = Error::new(verb, path, ErrorKind::Unexpected).with_cause(err);
        Stop::Failed(err.with_detail("the command cannot be started"))
    };
    let mut signals = Signals::new().map_err(failed)?;
    if !context.minder.leave_to_verb() {
        // This process is ending, and drops all this.
        std::future::pending().await
    }
    let environment = [
        ("ZK_TOKEN", guard.token().to_string()),
        ("ZK_TOKEN_ZXID", guard.token().zxid().to_string()),
        ("ZK_LOCK_PATH", path.to_string()),
    ];
    let until = guard.valid_until();
    let group =
        Group::start(&args.command, &environment, until, args.kill_after).map_err(failed)?;
    let end = Deadline::after(Duration::MAX);
    let mut watch = Watch { verb, path, guard, group, until, end, lost: None };
    watch.attend(&mut signals, args.kill_after).await;
    // The command may have ended in the very moment.
    if watch.lost.is_none() && !guard.is_valid() {
        watch.lose(guard.lost().await);
    }
    let lost = watch.lost.is_some();
    // Whoever left the group on purpose may stay, unless there is no lock any more.
    let (code, gone) = watch.group.gone(if lost { Whom::All } else { Whom::Group }).await;
    if !gone {
        let err = Error::new(verb, path, ErrorKind::Unexpected);
        complain(&err.with_detail("not all processes of the command could be ended"));
    }
    Ok(Outcome { code, lost })
}

impl Outcome {
    /// Ends the verb with the exit code that says how it went, release included.
    pub(super) fn end(
        self,
        context: &mut Context,
        verb: &'static str,
        path: &ZkPath,
        released: Released,
    ) {
        let lost = self.lost || released == Released::WasLost;
        if lost && !self.lost {
            let then = "the command had ended";
            complain(&lost_error(verb, path, Loss::Deleted, then));
        }
        context.end_with(if lost { LOST } else { self.code });
    }
}

/// A group at work, and when it has to end.
struct Watch<'a> {
    verb: &'static str,
    path: &'a ZkPath,
    guard: &'a Guard,
    group: Group,
    /// Until when it is surely held, by what was proved before it was lost.
    until: Deadline,
    /// When the group is killed, having been told to end before.
    end: Deadline,
    lost: Option<Loss>,
}

impl Watch<'_> {
    /// Waits until the group has ended, and sees to it that it does.
    async fn attend(&mut self, signals: &mut Signals, kill_after: Duration) {
        let late = self.guard.session().timeout() / 6;
        let margin = MARGIN.min(late / 2);
        // Proof that does not come makes it lost before its time; a word of the servers may follow.
        let mut sure = false;
        loop {
            let until = self.guard.valid_until();
            if self.lost.is_none() && self.guard.is_valid() {
                self.until = until;
                if until.remaining() <= late {
                    self.lose(Loss::Unproven);
                }
            }
            self.group.may_run_until(self.until.min(self.end));
            let left = self.end.remaining();
            if left <= margin {
                self.group.let_go();
            }
            if left.is_zero() {
                self.group.kill();
            }
            let next = if left > margin { left.saturating_sub(margin) } else { left };
            let next = match self.lost {
                None => next.min(self.until.remaining().saturating_sub(late)),
                Some(_) => next,
            };
            tokio::select! {
                biased;
                () = self.group.ended() => return,
                loss = self.guard.lost(), if !sure => {
                    sure = true;
                    self.lose(loss);
                }
                asked = signals.recv() => {
                    self.group.signal(asked.signal());
                    self.end = self.end.min(Deadline::after(kill_after));
                }
                () = sleep(next.clamp(BREATH, TICK)) => {}
            }
        }
    }

    /// Tells the group to end, and says why.
    fn lose(&mut self, loss: Loss) {
        self.end = self.end.min(match loss {
            Loss::Unproven => self.until,
            Loss::Deleted | Loss::SessionEnded => self.until.min(Deadline::after(SHORT)),
        });
        if self.lost.is_none() {
            self.lost = Some(loss);
            self.group.signal(Signal::TERM);
            complain(&lost_error(self.verb, self.path, loss, "the command is ended"));
        }
    }
}

/// Why it was lost, and what is done about it.
pub(super) fn lost_error(verb: &'static str, path: &ZkPath, loss: Loss, then: &str) -> Error {
    let (kind, why) = match loss {
        Loss::Deleted => (ErrorKind::Revoked, ""),
        Loss::SessionEnded => (ErrorKind::SessionExpired, ""),
        Loss::Unproven => (ErrorKind::SessionExpired, "no server confirms that it lives; "),
    };
    Error::new(verb, path, kind).with_detail(format!("{why}{then}"))
}
