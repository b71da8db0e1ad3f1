//! `zk supervise`, of `zk lock` and `zk elect`: the first process of a command's group.
//!
//! It starts the command, and ends all that comes of it when the process that holds the lock is
//! gone, or has not said in time that it still holds it.

use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpgid, getpgrp, getpid, getppid,
    kill_process, kill_process_group, set_child_subreaper, wait, waitid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use tokio::net::unix::pipe;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::sleep;

use super::args;
use super::group::{Whom, children, since_boot};
use super::output::complain;
use super::signals::heeded;
use crate::error::{Error, ErrorKind};

const FAILED: u8 = 1;
const NOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How often at least the clock is looked at: timers stand still while the machine sleeps.
const TICK: Duration = Duration::from_millis(250);

/// How long those may take to end by themselves whom the command has left behind: the end of a
/// pipeline has something to write yet, a daemon has to leave the group.
const LEAVE: Duration = Duration::from_millis(500);

/// How often those that are left are killed one by one, and the pause behind each round.
const KILLS: u32 = 100;
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Runs the command of `args`, and returns its exit code.
pub(super) fn run(args: args::Supervise) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(supervise(args)));
    done.unwrap_or_else(|err| {
        complain(&Error::new("supervise", "", ErrorKind::Unexpected).with_cause(err));
        FAILED
    })
}

async fn supervise(args: args::Supervise) -> io::Result<u8> {
    // What the group is sent is for the command; this process ends when nobody else is left.
    let mut heeds = vec![heeded(SignalKind::hangup())?];
    for kind in [
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::alarm(),
    ] {
        heeds.push(Some(signal(kind)?));
    }
    let mut stops = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let children = signal(SignalKind::child())?;
    // Whoever is left behind comes to us.
    set_child_subreaper(Some(getpid()))?;
    let feed = format!("/proc/{}/fd/{}", args.parent, args.feed);
    let feed = pipe::OpenOptions::new().open_receiver(feed)?;
    let ours = getppid().map(Pid::as_raw_pid) == Some(args.parent);
    let until = if ours { hear(&feed).await } else { None };
    let until = until.ok_or_else(|| io::Error::other("the process that holds the lock is gone"))?;
    let code = match start(&args.command) {
        Ok(command) => {
            let mut lead = Lead { feed, until, children, command, status: None };
            if let Some(whom) = lead.attend(&mut stops, args.kill_after).await {
                // While this process is in the foreground with them.
                give_back(args.terminal);
                lead.kill(whom).await;
            }
            lead.code()
        }
        Err(code) => code,
    };
    give_back(args.terminal);
    Ok(code)
}

/// Starts the command; where that fails, says why, and returns the exit code that shells give.
fn start(command: &[OsString]) -> Result<Pid, u8> {
    // Invariant: the command line wants one word at least.
    let Some((program, arguments)) = command.split_first() else { return Err(NOT_FOUND) };
    match Command::new(program).args(arguments).spawn() {
        Ok(child) => Ok(Pid::from_child(&child)),
        Err(err) => {
            let code = match err.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUN,
            };
            let program = program.to_string_lossy().into_owned();
            complain(&Error::new("run", program, ErrorKind::Input).with_cause(err));
            Err(code)
        }
    }
}

/// Gives the terminal back, if it is the group's. Only who has it may.
fn give_back(terminal: Option<i32>) {
    let Some(group) = terminal.and_then(Pid::from_raw) else { return };
    let stdin = io::stdin();
    if tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp()) {
        // If the terminal is gone meanwhile, so is the need for it.
        let _ = tcsetpgrp(&stdin, group);
    }
}

/// Waits for a word that says until when the group may run. `None`: the end of the pipe is the end of
/// whoever holds the lock.
///
/// # Cancel safety
///
/// No word is lost.
async fn hear(feed: &pipe::Receiver) -> Option<Duration> {
    let mut words = [0; 1024];
    loop {
        feed.readable().await.ok()?;
        match feed.try_read(&mut words) {
            Ok(0) => return None,
            Ok(length) => {
                // Each word was written at once, so there are whole ones only; the last one counts.
                let last = words.get(..length)?.chunks_exact(8).last()?;
                return Some(Duration::from_nanos(u64::from_le_bytes(last.try_into().ok()?)));
            }
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// The first process of a group, and what it knows.
struct Lead {
    feed: pipe::Receiver,
    /// Until when the group may run, by the time since boot.
    until: Duration,
    children: unix::Signal,
    command: Pid,
    /// How the command ended.
    status: Option<WaitStatus>,
}

impl Lead {
    /// Waits until nobody but this process is left of the group, and says who has to be killed
    /// instead when it may wait no longer.
    async fn attend(&mut self, stops: &mut unix::Signal, kill_after: Duration) -> Option<Whom> {
        // When those are told to end, and killed, whom the command has left behind.
        let (mut tell, mut stay) = (Duration::MAX, Duration::MAX);
        while self.are_left(Whom::Group) {
            let now = since_boot();
            if self.status.is_some() && stay == Duration::MAX {
                tell = tell.min(now.saturating_add(LEAVE));
                if tell <= now {
                    stay = now.saturating_add(kill_after);
                    to_group(Signal::TERM);
                    to_group(Signal::CONT);
                }
            }
            if self.until <= now {
                return Some(Whom::All);
            }
            if stay <= now {
                return Some(Whom::Group);
            }
            let next = if stay == Duration::MAX { tell } else { stay };
            let left = self.until.min(next).saturating_sub(now);
            tokio::select! {
                until = hear(&self.feed) => match until {
                    Some(until) => self.until = until,
                    None => return Some(Whom::All),
                },
                _ = self.children.recv() => {}
                // Who holds a lock does not stand still.
                _ = stops.recv() => to_group(Signal::CONT),
                () = sleep(left.min(TICK)) => {}
            }
        }
        None
    }

    /// Kills one child after the other: with its last ancestor dead, a process becomes our child.
    async fn kill(&mut self, whom: Whom) {
        for _ in 0..KILLS {
            if !self.are_left(whom) {
                return;
            }
            for child in children() {
                if whom == Whom::All || getpgid(Some(child)) == Ok(getpgrp()) {
                    // Not ours to kill: then that of the whole group fails, too.
                    let _ = kill_process(child, Signal::KILL);
                }
            }
            sleep(KILL_PAUSE).await;
        }
        // Whoever is not seen as a child; with them goes this process.
        to_group(Signal::KILL);
    }

    /// Whether there are other processes of this kind. Buries those that ended.
    fn are_left(&mut self, whom: Whom) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.command => self.status = Some(status),
                Ok(Some(_)) => {}
                Ok(None) if whom == Whom::All => return true,
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        // One that has ended since is seen the next time.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pgid(None), options).is_ok()
    }

    fn code(&self) -> u8 {
        let code = self.status.and_then(|status| {
            status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))
        });
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
    }
}

fn to_group(signal: Signal) {
    // This process is in it, so there is somebody.
    let _ = kill_process_group(getpgrp(), signal);
}
