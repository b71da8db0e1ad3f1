//! How a line breaks, and what happens when it is back: writes that nobody knows of are looked up,
//! and what waited is carried out.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;

use super::{Inner, Line, Link};
use crate::conn::memory::quorum::MemoryQuorum;
use crate::conn::outcome::{self, Eyes, Verdict};
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply};
use crate::session::SessionState;

impl Line {
    /// Breaks the line, and joins it again unless that is refused.
    pub(super) fn break_off(&self, inner: &mut Inner) -> bool {
        if !matches!(inner.link, Link::Up) {
            return false;
        }
        inner.link = Link::Lost(self.quorum.part(inner.session.id()));
        for it in std::mem::take(&mut inner.under_way) {
            inner.put_back(it.seq, it.job);
        }
        if !inner.faults.refusing {
            self.attach(inner);
        }
        true
    }

    /// Breaks the line on command.
    pub(in crate::conn::memory) fn cut(self: &Arc<Self>) {
        let mut inner = self.inner();
        inner.bites.cut += u64::from(self.break_off(&mut inner));
        self.send(&mut inner);
        self.keep(&mut inner);
    }

    /// Lets the line be joined again, now and from now on.
    pub(in crate::conn::memory) fn join(self: &Arc<Self>) {
        let mut inner = self.inner();
        inner.faults.refusing = false;
        self.attach(&mut inner);
        self.send(&mut inner);
        self.keep(&mut inner);
    }

    fn attach(&self, inner: &mut Inner) {
        let Link::Lost(away) = &mut inner.link else { return };
        let away = away.take();
        inner.link = Link::Up;
        // What was on its way when the line broke was missed; it is told with what else was.
        self.events.release();
        if let Some(away) = away
            && let Err(away) = self.quorum.rejoin(inner.session.id(), away)
        {
            away.end(SessionState::Expired);
            inner.count_end();
        }
        self.settle(inner);
    }

    /// Finds out what became of the writes whose reply was lost.
    fn settle(&self, inner: &mut Inner) {
        let mut doubts = std::mem::take(&mut inner.doubts);
        doubts.retain(|_, job| !job.is_withdrawn());
        if !doubts.is_empty() && inner.session.state().is_over() {
            self.open_next(inner);
        }
        let eyes = Glance { quorum: &self.quorum, session: inner.session.id() };
        for (seq, mut job) in doubts {
            // It never waits: the quorum answers at once.
            let verdict = outcome::look_up(&eyes, &job.request, job.before).now_or_never();
            match verdict {
                Some(Ok(Verdict::Applied(reply))) => job.answer(Ok(reply)),
                Some(Ok(Verdict::NotApplied)) => {
                    inner.waiting.insert(seq, job);
                }
                Some(Ok(Verdict::Absent)) => {
                    job.doubtful = true;
                    inner.waiting.insert(seq, job);
                }
                Some(Ok(Verdict::Unknown(seen))) => {
                    job.fail(ErrorKind::OutcomeUnknown, format!("the connection broke; {seen}"));
                }
                Some(Err(_)) | None => job.fail(ErrorKind::OutcomeUnknown, "the connection broke"),
            }
        }
    }

    /// Ends the session as servers do that heard nothing of it.
    pub(in crate::conn::memory) fn expire(&self) {
        let mut inner = self.inner();
        if self.quorum.expire(inner.session.id()) {
            inner.count_end();
        }
    }

    /// Ends the session with all that waits.
    ///
    /// # Errors
    ///
    /// `Timeout` when the line is lost: the quorum ends the session by its timeout.
    pub(in crate::conn::memory) fn close(&self) -> Result<(), Error> {
        let mut inner = self.inner();
        let link = std::mem::replace(&mut inner.link, Link::Closed);
        for mut it in std::mem::take(&mut inner.under_way) {
            it.job.answer(it.answer);
        }
        for (_, mut job) in std::mem::take(&mut inner.waiting) {
            let err = job.request.error(ErrorKind::Closed);
            job.answer(Err(err));
        }
        for (_, mut job) in std::mem::take(&mut inner.doubts) {
            job.fail(ErrorKind::OutcomeUnknown, "the connection broke and was closed");
        }
        match link {
            Link::Up => {
                self.quorum.end(inner.session.id(), SessionState::Closed);
                Ok(())
            }
            Link::Lost(Some(away)) => {
                away.end(SessionState::Closed);
                let why =
                    format!("{} did not confirm; its session ends by its timeout", self.quorum);
                Err(Error::new("close", "", ErrorKind::Timeout).with_detail(why))
            }
            Link::Lost(None) | Link::Closed => Ok(()),
        }
    }
}

impl Inner {
    /// Counts the end of the session, once.
    fn count_end(&mut self) {
        if self.ended != self.session.id() {
            self.ended = self.session.id();
            self.bites.ended += 1;
        }
    }
}

/// Looks at a quorum with the rights of a session.
struct Glance<'a> {
    quorum: &'a MemoryQuorum,
    session: i64,
}

impl Glance<'_> {
    fn ask(&self, op: &Op, path: &ZkPath) -> Result<Option<Reply>, Error> {
        match self.quorum.execute(self.session, op, path, None) {
            Ok(reply) => Ok(Some(reply)),
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            Err(err) => Err(err),
        }
    }
}

impl Eyes for Glance<'_> {
    type Lost = Error;

    async fn stat(&self, path: &ZkPath) -> Result<Option<Stat>, Error> {
        Ok(match self.ask(&Op::Exists(LeaveWatch::No), path)? {
            Some(Reply::Exists(stat, _)) => stat,
            _ => None,
        })
    }

    async fn data(&self, path: &ZkPath) -> Result<Option<(Bytes, Stat)>, Error> {
        match self.ask(&Op::Get(LeaveWatch::No), path) {
            Ok(Some(Reply::Node(node, _))) => Ok(Some((node.data, node.stat))),
            Ok(_) => Ok(None),
            Err(err) if err.kind() == ErrorKind::NoAuth => Ok(None),
            Err(err) => Err(err),
        }
    }

    async fn children(&self, path: &ZkPath) -> Result<Option<Vec<String>>, Error> {
        Ok(match self.ask(&Op::Children(LeaveWatch::No), path)? {
            Some(Reply::Children(children, _)) => Some(children.names),
            _ => None,
        })
    }
}
