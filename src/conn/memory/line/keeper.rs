//! Who keeps the deadlines of calls that wait, in real time and on the io thread, as long as any do.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Inner, Line, Link};
use crate::background::IO;
use crate::conn::memory::events::Events;
use crate::deadline::Deadline;

/// How often to look, in the least: timers stand still while a machine sleeps, and the clock of
/// deadlines does not.
const LOOK: Duration = Duration::from_millis(250);

impl Line {
    /// Sees to it that somebody looks after what waits.
    pub(super) fn keep(self: &Arc<Self>, inner: &mut Inner) {
        if inner.keeping {
            // It may wait for something later.
            return self.events.wake.notify_one();
        }
        if self.look(inner).is_none() {
            return;
        }
        inner.keeping = true;
        if let Err(why) = IO.spawn(keep(Arc::downgrade(self), self.events.clone())) {
            inner.keeping = false;
            for (_, mut job) in std::mem::take(&mut inner.waiting) {
                job.fail(crate::error::ErrorKind::NotSent, why.clone());
            }
        }
    }

    /// Does what is due, and says when to look again; `None` when nothing waits.
    fn look(&self, inner: &mut Inner) -> Option<Deadline> {
        let mut next = None;
        let mut by = |deadline: Deadline| {
            next = Some(next.map_or(deadline, |next: Deadline| next.min(deadline)));
        };
        inner.waiting.retain(|_, job| {
            let past = job.request.deadline.is_past();
            if past {
                job.not_sent();
            } else {
                by(job.request.deadline);
            }
            !past
        });
        let answers = inner.under_way.iter_mut().map(|it| &mut it.job);
        for job in inner.doubts.values_mut().chain(answers).filter(|job| !job.is_withdrawn()) {
            if job.request.deadline.is_past() {
                job.unanswered();
            } else {
                by(job.request.deadline);
            }
        }
        inner.doubts.retain(|_, job| !job.is_withdrawn());
        if matches!(inner.link, Link::Up) {
            while inner.under_way.front().is_some_and(|it| it.due.is_past())
                && let Some(mut it) = inner.under_way.pop_front()
            {
                it.job.answer(it.answer);
            }
            if let Some(first) = inner.under_way.front() {
                by(first.due);
            }
            if let Some(due) = self.events.look() {
                by(due);
            }
            if self.events.is_armed() {
                by(Deadline::after(LOOK));
            }
        }
        if let Link::Lost(Some(away)) = &mut inner.link
            && let Some(due) = away.look()
        {
            by(due);
        }
        next
    }

    /// Looks after what waits; when nothing does, nobody keeps it any more.
    fn look_again(&self) -> Option<Deadline> {
        let mut inner = self.inner();
        let next = self.look(&mut inner);
        inner.keeping = next.is_some();
        next
    }

    /// The clock of the quorum has moved by `by`: what is due on it is due earlier.
    pub(in crate::conn::memory) fn aged(&self, by: Duration) {
        let mut inner = self.inner();
        for it in &mut inner.under_way {
            it.due = it.due.earlier(by);
        }
        self.events.aged(by);
        if let Link::Lost(Some(away)) = &mut inner.link {
            away.aged(by);
        }
        self.look(&mut inner);
    }
}

async fn keep(line: Weak<Line>, events: Arc<Events>) {
    loop {
        let Some(next) = line.upgrade().and_then(|line| line.look_again()) else { return };
        tokio::select! {
            () = tokio::time::sleep(next.remaining().min(LOOK)) => {}
            () = events.wake.notified() => {}
        }
    }
}
