//! A command in a process group of its own, which ends with this process.
//!
//! ```text
//! zk ──▶ zk supervise, leads the group ──▶ the command ──▶ whatever it starts
//!   until when it may run, through a pipe
//! ```
//!
//! The first process of the group is this program once more (`supervise`). It hears until when the
//! group may run, and ends all of it then, or when the pipe ends: so nobody is left to work without a
//! lock if this process is killed, or stopped for too long. This process signals the group itself, so
//! a supervisor that does not answer is of no matter.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, PipeReader};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpgrp, getpid, kill_process,
    kill_process_group, set_child_subreaper, test_kill_process_group, waitid, waitpgid, waitpid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::unix::pipe;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::sleep;

use crate::deadline::Deadline;

/// How long a group that was sent KILL may take to be gone. A process that hangs in the kernel may
/// take longer, and nobody can end it.
const GONE: Duration = Duration::from_secs(5);

/// A process group. Dropping it kills all of it.
#[derive(Debug)]
pub(super) struct Group {
    /// Its first process, the supervisor.
    leader: Pid,
    feed: Option<pipe::Sender>,
    /// Keeps the pipe, so that no message is lost until the supervisor hears.
    _heard: PipeReader,
    children: unix::Signal,
    reaped: bool,
    /// Children of whoever became this process by an `exec`.
    others: Vec<Pid>,
}

/// Who is to be ended with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Those in the group.
    Group,
    /// All that the command has started, wherever they are.
    All,
}

/// The time since boot, which counts while the machine sleeps.
pub(super) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // The time since boot is never negative, and its nanoseconds are below a second.
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

impl Group {
    /// Starts `command` with more environment, to run until `until` at first. Who is left when it has
    /// ended is killed after `kill_after`.
    pub(super) fn start(
        command: &[OsString],
        environment: &[(&str, String)],
        until: Deadline,
        kill_after: Duration,
    ) -> io::Result<Group> {
        // Whoever is left when the supervisor was killed comes to us, to be buried.
        set_child_subreaper(Some(getpid()))?;
        let children = signal(SignalKind::child())?;
        let others = self::children();
        let (heard, feed) = io::pipe()?;
        let feed = pipe::Sender::from_owned_fd(OwnedFd::from(feed))?;
        let terminal = foreground();
        let mut supervisor = Command::new("/proc/self/exe");
        supervisor.arg0("zk").arg("supervise").process_group(0);
        supervisor.arg(format!("--parent={}", getpid().as_raw_nonzero()));
        supervisor.arg(format!("--feed={}", heard.as_raw_fd()));
        supervisor.arg(format!("--kill-after={}ns", kill_after.as_nanos()));
        if let Some(group) = terminal {
            supervisor.arg(format!("--terminal={}", group.as_raw_nonzero()));
        }
        supervisor
            .arg("--")
            .args(command)
            .envs(environment.iter().map(|(key, value)| (key, value)));
        let leader = Pid::from_child(&supervisor.spawn()?);
        let group =
            Group { leader, feed: Some(feed), _heard: heard, children, reaped: false, others };
        if terminal.is_some() {
            // If the terminal is gone meanwhile, so is the need for it.
            let _ = tcsetpgrp(io::stdin(), leader);
        }
        // It starts the command when it has heard this.
        group.may_run_until(until);
        Ok(group)
    }

    /// Lets it run until `until`.
    pub(super) fn may_run_until(&self, until: Deadline) {
        let (now, left) = (since_boot(), until.remaining());
        let nanos = now.saturating_add(left).as_nanos().try_into().unwrap_or(u64::MAX);
        if let Some(feed) = &self.feed {
            // A supervisor that stands still finds older words in the pipe, and then the next one.
            let _ = feed.try_write(&u64::to_le_bytes(nanos));
        }
    }

    /// Sends a signal to all of it, also to those who were stopped.
    pub(super) fn signal(&self, signal: Signal) {
        for signal in [signal, Signal::CONT] {
            // Nobody there: then it has ended.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Lets the supervisor kill all, and give the terminal back before.
    pub(super) fn let_go(&mut self) {
        self.feed = None;
    }

    /// Kills all of it.
    pub(super) fn kill(&self) {
        if !self.reaped {
            // Nobody there: then it has ended.
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }

    /// Waits until its first process has ended.
    ///
    /// # Cancel safety
    ///
    /// A later call waits on.
    pub(super) async fn ended(&mut self) {
        while !self.has_ended() {
            if self.children.recv().await.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    fn has_ended(&self) -> bool {
        // It stays a zombie, so that no other group can get its number.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.leader), options), Ok(None))
    }

    /// Behind [`ended`](Self::ended): kills who is left, waits until nobody is, and returns the exit
    /// code. `false`: somebody is left who cannot be ended.
    pub(super) async fn gone(mut self, whom: Whom) -> (u8, bool) {
        self.kill();
        let mut code = None;
        let end = Deadline::after(GONE);
        loop {
            while let Ok(Some((pid, status))) = waitpgid(self.leader, WaitOptions::NOHANG) {
                if pid == self.leader {
                    self.reaped = true;
                    code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
                }
            }
            let strays = if whom == Whom::All { self.end_strays() } else { 0 };
            let gone = strays == 0 && test_kill_process_group(self.leader).is_err();
            if gone || end.is_past() {
                let code = code.and_then(|code| u8::try_from(code).ok());
                return (code.unwrap_or(1), gone);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills those who left the group, and came to us with the end of the supervisor. How many there
    /// were.
    fn end_strays(&self) -> usize {
        let strays = self::children().into_iter().filter(|child| !self.others.contains(child));
        let ended = strays.map(|stray| {
            // Not ours to kill: it is told that somebody is left.
            let _ = kill_process(stray, Signal::KILL);
            let _ = waitpid(Some(stray), WaitOptions::NOHANG);
        });
        ended.count()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The own process group, if the terminal is ours to hand on: we are in the foreground, and nobody
/// else is at its other end, as `less` would be.
fn foreground() -> Option<Pid> {
    let terminal = io::stdin();
    if !terminal.is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let own = getpgrp();
    (tcgetpgrp(&terminal).ok()? == own).then_some(own)
}

/// The children of this process, as far as they can be seen.
pub(super) fn children() -> Vec<Pid> {
    let mut children = Vec::new();
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for thread in threads {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        children.extend(pids);
    }
    children
}
