//! The clock of a quorum: real time and what tests have advanced.

use std::time::Duration;

use crate::deadline::wall_clock;

/// Milliseconds since 1970, which never go back.
#[derive(Debug)]
pub(super) struct Clock {
    advanced: Duration,
    latest: i64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Clock { advanced: Duration::ZERO, latest: 0 }
    }

    pub(super) fn now(&mut self) -> i64 {
        let millis = wall_clock().saturating_add(self.advanced).as_millis();
        // Far enough, and leaves room to add to it.
        let end = i64::MAX / 2;
        self.latest = self.latest.max(i64::try_from(millis).unwrap_or(end).min(end));
        self.latest
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }
}
