//! The line from a connection to its quorum: calls pass it in order, and it can break.
//!
//! ```text
//!          break_off                      close
//!   up ───────────────▶ lost    up, lost ───────▶ closed
//!      ◀───────────────
//!            join
//! ```
//!
//! While it is up and nothing is asked of it, a call is carried out and answered before it returns.
//! Otherwise a call waits here: for the line (`waiting`), for its answer (`under_way`), or for word
//! of what became of it (`doubts`).

mod breaks;
mod job;
mod keeper;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::job::{Job, UnderWay, kind_of, paths_of};
use super::away::Away;
use super::events::Events;
use super::left::Left;
use super::opening::Opening;
use super::quorum::MemoryQuorum;
use crate::conn::Pending;
use crate::conn::outcome::latest;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::fault::{Bites, Target, take};
use crate::request::{Op, Reply, Request};
use crate::session::{Session, SessionState};

/// How many calls may wait at once, as with [`ZkConn`](crate::ZkConn).
const WAITING: usize = 64 * 1024;

pub(super) struct Line {
    quorum: MemoryQuorum,
    opening: Opening,
    pub(super) events: Arc<Events>,
    inner: Mutex<Inner>,
}

/// Its lock is taken before that of the quorum.
pub(super) struct Inner {
    session: Session,
    link: Link,
    faults: Faults,
    bites: Bites,
    /// Calls that have not been carried out.
    waiting: BTreeMap<u64, Job>,
    /// Calls whose answer is on its way.
    under_way: VecDeque<UnderWay>,
    /// Writes whose reply was lost.
    doubts: BTreeMap<u64, Job>,
    next_seq: u64,
    /// The latest transaction that a reply has shown.
    latest: i64,
    /// Whether somebody looks after deadlines.
    keeping: bool,
    /// The last session whose end was counted.
    ended: i64,
}

enum Link {
    Up,
    /// With what is kept of the session, unless it had ended before.
    Lost(Option<Away>),
    Closed,
}

/// What goes wrong at the moment, or will.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) refusing: bool,
    pub(super) delay: Duration,
    pub(super) swallow: Vec<Target>,
    pub(super) drop: Vec<Target>,
}

impl Line {
    pub(super) fn open(quorum: MemoryQuorum, opening: Opening) -> Arc<Self> {
        let session = quorum.open(&opening, 1);
        if opening.refused.is_some() {
            // As a server closes the connection behind an identity that it cannot check.
            quorum.end(session.id(), SessionState::Closed);
        }
        let inner = Inner {
            session,
            link: Link::Up,
            faults: Faults::default(),
            bites: Bites::default(),
            waiting: BTreeMap::new(),
            under_way: VecDeque::new(),
            doubts: BTreeMap::new(),
            next_seq: 0,
            latest: 0,
            keeping: false,
            ended: 0,
        };
        let events = Arc::default();
        let line = Arc::new(Line { quorum, opening, events, inner: Mutex::new(inner) });
        line.quorum.enter(&line);
        line
    }

    pub(super) fn call(self: &Arc<Self>, request: Request) -> Pending<Reply> {
        let mut inner = self.inner();
        if let Err(err) = self.check(&inner, &request) {
            return Pending::ready(Err(err));
        }
        if inner.is_smooth() {
            return Pending::ready(self.execute(&mut inner, &request));
        }
        if inner.waiting.len() >= WAITING {
            let detail = format!("{WAITING} requests wait for this connection already");
            return Pending::ready(Err(request.error(ErrorKind::NotSent).with_detail(detail)));
        }
        if matches!(inner.link, Link::Lost(_)) {
            inner.bites.held += 1;
        }
        let (job, pending) = Job::new(request);
        inner.next_seq += 1;
        let seq = inner.next_seq;
        inner.waiting.insert(seq, job);
        self.send(&mut inner);
        self.keep(&mut inner);
        pending
    }

    fn check(&self, inner: &Inner, request: &Request) -> Result<(), Error> {
        request.check()?;
        if matches!(inner.link, Link::Closed) {
            return Err(request.error(ErrorKind::Closed));
        }
        if request.deadline.is_past() {
            return Err(request.error(ErrorKind::NotSent).with_detail("its deadline had passed"));
        }
        if let Some(why) = &self.opening.refused {
            return Err(request.error(ErrorKind::AuthFailed).with_detail(why));
        }
        Ok(())
    }

    /// Carries out what waits, in call order, as far as the line lets it.
    fn send(&self, inner: &mut Inner) {
        while matches!(inner.link, Link::Up)
            && let Some((seq, mut job)) = inner.waiting.pop_first()
        {
            if job.is_withdrawn() {
                continue;
            }
            if job.request.deadline.is_past() {
                job.not_sent();
                continue;
            }
            let kind = kind_of(&job.request.op);
            let paths = paths_of(&job.request);
            let meets = |targets: &mut Vec<Target>| {
                !targets.is_empty() && kind.is_some_and(|kind| take(targets, kind, &paths))
            };
            job.before = inner.latest;
            if meets(&mut inner.faults.drop) {
                inner.bites.dropped += 1;
                inner.put_back(seq, job);
                self.break_off(inner);
                continue;
            }
            let swallowed = meets(&mut inner.faults.swallow);
            let before = inner.latest;
            let answer = self.execute(inner, &job.request);
            if swallowed {
                inner.latest = before;
                inner.bites.swallowed += 1;
                // A watch in it is withdrawn: nobody has it.
                drop(answer);
                inner.put_back(seq, job);
                self.break_off(inner);
            } else {
                inner.answer(seq, job, answer);
            }
        }
    }

    /// Has the quorum carry out a request, in a new session if the one that was has ended.
    fn execute(&self, inner: &mut Inner, request: &Request) -> Result<Reply, Error> {
        let Request { op, path, .. } = request;
        loop {
            request.check_session(inner.session.id())?;
            let (watcher, left) = Left::by(request, &inner.session, &self.events);
            let reply = match self.quorum.execute(inner.session.id(), op, path, watcher) {
                Err(err) if err.kind() == ErrorKind::SessionExpired => {
                    self.open_next(inner);
                    continue;
                }
                reply => reply?,
            };
            inner.latest = inner.latest.max(latest(&reply));
            return Ok(match op {
                Op::Session => Reply::Session(inner.session.clone()),
                _ => left.put_into(reply),
            });
        }
    }

    fn open_next(&self, inner: &mut Inner) {
        inner.session = self.quorum.open(&self.opening, inner.session.generation() + 1);
    }

    /// Changes what goes wrong from now on.
    pub(super) fn set(self: &Arc<Self>, change: impl FnOnce(&mut Faults)) {
        let mut inner = self.inner();
        change(&mut inner.faults);
        self.keep(&mut inner);
    }

    pub(super) fn bites(&self) -> Bites {
        let mut bites = self.inner().bites.clone();
        self.events.count(&mut bites);
        bites
    }

    pub(super) fn quorum(&self) -> &MemoryQuorum {
        &self.quorum
    }

    pub(super) fn session(&self) -> Session {
        self.inner().session.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether a call can be answered before it returns.
    fn is_smooth(&self) -> bool {
        matches!(self.link, Link::Up)
            && self.waiting.is_empty()
            && self.under_way.is_empty()
            && self.faults.delay.is_zero()
            && self.faults.swallow.is_empty()
            && self.faults.drop.is_empty()
    }

    /// Gives an answer now, or behind those that are on their way.
    fn answer(&mut self, seq: u64, mut job: Job, answer: Result<Reply, Error>) {
        let due = self.under_way.back().map(|last| last.due);
        // Nobody is asked for the session.
        let local = matches!(job.request.op, Op::Session);
        if local || due.is_none() && self.faults.delay.is_zero() {
            return job.answer(answer);
        }
        self.bites.delayed += 1;
        let own = Deadline::after(self.faults.delay);
        let due = due.map_or(own, |due| due.max(own));
        self.under_way.push_back(UnderWay { seq, job, answer, due });
    }

    /// A call whose answer was lost: a read is asked again, of a write nobody knows.
    fn put_back(&mut self, seq: u64, job: Job) {
        // Whoever does not wait for the answer does not want it sent again either.
        if job.is_withdrawn() {
            return;
        }
        let calls = if job.request.op.is_write() { &mut self.doubts } else { &mut self.waiting };
        calls.insert(seq, job);
    }
}
