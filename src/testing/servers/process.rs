//! The process of one server, and no other.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// How long the kernel may take for a signal.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs, or stands still.
pub(super) struct Process {
    dir: PathBuf,
    pid: Pid,
}

impl Process {
    /// The server of a directory, if it runs. A pid of an old run may belong to anybody by now: it
    /// is ours only if the process was started with this very directory.
    pub(super) fn of(dir: &Path) -> Option<Process> {
        let pid = fs::read_to_string(dir.join("pid")).ok()?;
        let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
        let process = Process { dir: dir.to_owned(), pid };
        process.state().map(|_| process)
    }

    /// The letter of its state; `None` when it is gone.
    fn state(&self) -> Option<char> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid.as_raw_nonzero()));
        let config = self.dir.join("zoo.cfg");
        let words = fs::read(proc.join("cmdline")).ok()?;
        let mut words = words.split(|byte| *byte == 0);
        words.find(|word| *word == config.as_os_str().as_encoded_bytes())?;
        let status = fs::read_to_string(proc.join("status")).ok()?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"))?;
        state.trim().chars().next().filter(|state| *state != 'Z')
    }

    pub(super) fn stop(&self) {
        self.signal(Signal::STOP, |state| state == Some('T'));
    }

    pub(super) fn cont(&self) {
        self.signal(Signal::CONT, |state| state.is_some_and(|state| state != 'T'));
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL, |state| state.is_none());
    }

    /// Kills it, if it has not ended just now.
    pub(super) fn end(&self) {
        if self.state().is_some() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        self.until("the end", |state| state.is_none());
    }

    /// Lets no file of it grow any more, as when its disk is full.
    pub(super) fn fill_disk(&self) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        if let Err(err) = prlimit(Some(self.pid), Resource::Fsize, none) {
            panic!("{}: no limit for its files: {err}", self.dir.display());
        }
    }

    /// Sends `signal`, and waits until its effect can be seen.
    fn signal(&self, signal: Signal, seen: impl Fn(Option<char>) -> bool) {
        let dir = self.dir.display();
        assert!(self.state().is_some(), "{dir}: it does not run");
        if let Err(err) = kill_process(self.pid, signal) {
            panic!("{dir}: {signal:?}: {err}");
        }
        self.until(&format!("{signal:?}"), seen);
    }

    fn until(&self, what: &str, seen: impl Fn(Option<char>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !seen(self.state()) {
            assert!(Instant::now() < end, "{}: {what} has no effect", self.dir.display());
            sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_of_somebody_else_is_not_ours() {
        let dir = std::env::temp_dir().join(format!("zkcells-process-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("pid"), std::process::id().to_string()).unwrap();
        assert!(Process::of(&dir).is_none());
        fs::write(dir.join("pid"), "none").unwrap();
        assert!(Process::of(&dir).is_none());
        fs::remove_dir_all(&dir).unwrap();
        assert!(Process::of(&dir).is_none());
    }
}
