//! The signals that ask a process to end, and who minds them.

use std::sync::{Arc, OnceLock};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Hangup,
    Interrupt,
    Terminate,
}

impl Asked {
    /// The signal.
    pub(super) fn signal(self) -> Signal {
        match self {
            Asked::Hangup => Signal::HUP,
            Asked::Interrupt => Signal::INT,
            Asked::Terminate => Signal::TERM,
        }
    }

    /// The exit code that shells give it: 128 and its number.
    pub(super) fn code(self) -> u8 {
        match self {
            Asked::Hangup => 129,
            Asked::Interrupt => 130,
            Asked::Terminate => 143,
        }
    }
}

/// The signals that ask a process to end. Each that this exists for is told from when it was made.
#[derive(Debug)]
pub(super) struct Signals {
    hangup: Option<unix::Signal>,
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: heeded(SignalKind::hangup())?,
            // Shells let what runs in the background ignore it; there it is asked for by `kill` only.
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one.
    pub(super) async fn recv(&mut self) -> Asked {
        tokio::select! {
            () = next(self.hangup.as_mut()) => Asked::Hangup,
            () = next(Some(&mut self.interrupt)) => Asked::Interrupt,
            () = next(Some(&mut self.terminate)) => Asked::Terminate,
        }
    }
}

/// Signals of a kind; `None` if this process was started to ignore them, as by `nohup`.
pub(super) fn heeded(kind: SignalKind) -> std::io::Result<Option<unix::Signal>> {
    if is_ignored(kind) { Ok(None) } else { signal(kind).map(Some) }
}

/// Waits for the next signal, forever where none is heeded.
async fn next(signals: Option<&mut unix::Signal>) {
    let next = match signals {
        Some(signals) => signals.recv().await,
        None => None,
    };
    if next.is_none() {
        std::future::pending().await
    }
}

fn is_ignored(kind: SignalKind) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// Whether a request to end is for the verb, or ends the process: whoever says so first.
#[derive(Clone, Debug, Default)]
pub(super) struct Minder(Arc<OnceLock<Minds>>);

#[derive(Debug, PartialEq, Eq)]
enum Minds {
    Verb,
    Process,
}

impl Minder {
    /// Leaves signals to the verb from now on, unless the process is ending already.
    pub(super) fn leave_to_verb(&self) -> bool {
        *self.0.get_or_init(|| Minds::Verb) == Minds::Verb
    }

    /// Whether the process is to end, and does so from now on.
    pub(super) fn ends_process(&self) -> bool {
        *self.0.get_or_init(|| Minds::Process) == Minds::Process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_minds_signals() {
        let minder = Minder::default();
        assert!(minder.leave_to_verb() && !minder.ends_process());
        let minder = Minder::default();
        assert!(minder.ends_process() && !minder.leave_to_verb());
    }
}
