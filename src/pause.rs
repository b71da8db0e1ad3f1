//! Pauses of those who keep getting in each other's way, and of those who keep failing.

use std::time::Duration;

use crate::background::sleep;

/// So many conflicts in a row may be chance; after them, somebody has to wait.
const PATIENCE: u32 = 3;

/// At most this at first, and 64 times as long in the end.
const FIRST: Duration = Duration::from_millis(2);

/// Waits after the `conflicts`th conflict in a row, never longer than `at_most`. The length is
/// random, so that not all wait for as long.
pub(crate) async fn after(conflicts: u32, at_most: Duration) {
    if conflicts >= PATIENCE {
        let longest = FIRST * (1 << (conflicts - PATIENCE).min(6));
        sleep(longest.mul_f64(fastrand::f64()).min(at_most)).await;
    }
}

/// How long to pause behind failures in a row: each time twice as long, up to a limit. The length is
/// random, so that not all come back at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses of at most `first` at first, and of `longest` in the end.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first }
    }

    /// The pause behind one more failure: half of what it may be at least.
    pub(crate) fn failed(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It went well: the next pause is a short one again.
    pub(crate) fn succeeded(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_begin_again() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut backoff = Backoff::new(first, longest);
        for most in [100, 200, 350, 350].map(Duration::from_millis) {
            let pause = backoff.failed();
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
        backoff.succeeded();
        assert!(backoff.failed() <= first);
    }
}
