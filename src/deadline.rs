//! A point in time on a clock that counts while the machine sleeps.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// The moment by which an answer is wanted.
///
/// It stands on `CLOCK_BOOTTIME`: unlike [`std::time::Instant`] on Linux, that clock goes on
/// while a machine is suspended, so a deadline cannot survive a night in a closed laptop.
///
/// ```
/// use std::time::Duration;
/// use zkcells::Deadline;
/// let deadline = Deadline::after(Duration::from_secs(10));
/// assert!(!deadline.is_past() && deadline.remaining() <= Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Duration);

impl Deadline {
    /// What every operation gets that names no other: 10 s.
    pub const DEFAULT: Duration = Duration::from_secs(10);

    /// This moment.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // The time since boot is never negative, and its nanoseconds are below a second.
        Deadline(Duration::new(
            now.tv_sec.try_into().unwrap_or(0),
            now.tv_nsec.try_into().unwrap_or(0),
        ))
    }

    /// `wait` from now; further away than the clock reaches is the clock's end.
    pub fn after(wait: Duration) -> Self {
        Deadline(Self::now().0.saturating_add(wait))
    }

    /// `wait` after this one.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Deadline(self.0.saturating_add(wait))
    }

    /// `by` before this one.
    pub(crate) fn earlier(self, by: Duration) -> Self {
        Deadline(self.0.saturating_sub(by))
    }

    /// How long is left; zero when it is past.
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Whether it is over.
    pub fn is_past(self) -> bool {
        self <= Self::now()
    }
}

/// How long ago 1970 began, as the clock says that people set: to be shown, and never to decide by.
#[expect(clippy::disallowed_methods, reason = "the one place for those who only show it")]
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_wait_does_not_overflow() {
        let deadline = Deadline::after(Duration::MAX).plus(Duration::MAX);
        assert!(!deadline.is_past());
        assert!(deadline.remaining() > Duration::from_secs(1 << 40));
    }

    #[test]
    fn no_wait_is_past_at_once() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.is_past());
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
