//! How a connection ends: calls made before are answered, the server confirms the session's end,
//! and nothing of it waits for a dial.

use tokio::time::timeout;

use super::Driver;
use super::holds::Holds;
use crate::conn::Responder;
use crate::conn::zk::link::Link;
use crate::conn::zk::translate::Failure;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::session::SessionState;

/// A connection that its owner ends.
pub(super) struct Closing {
    pub(super) by: Deadline,
    pub(super) waiting: Vec<Responder<()>>,
}

impl Driver {
    pub(super) fn start_closing(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let by = Deadline::after(Deadline::DEFAULT);
        self.closing = Some(Closing { by, waiting: Vec::new() });
        self.check_by(by);
        // Calls made before are sent, if they can be.
        if self.link.client().is_none() {
            self.refuse_queued();
        }
    }

    pub(super) fn may_end(&self) -> bool {
        let done = self.sent.is_empty() && self.queue.is_empty() && self.doubts.is_empty();
        let closing = self.closing.as_ref();
        closing.is_some_and(|closing| done || closing.by.is_past() || self.link.client().is_none())
    }

    fn refuse_queued(&mut self) {
        while let Some((_, mut job)) = self.queue.pop() {
            let err = job.request.error(ErrorKind::Closed);
            job.answer(Err(err));
        }
    }

    pub(super) async fn end(mut self) {
        self.refuse_queued();
        self.drain();
        for (seq, job) in std::mem::take(&mut self.sent) {
            self.failed(seq, job, Failure::Broken("closed".into()), None);
        }
        self.leave_doubts();
        // Watches go before the session does; each tells its end as it is dropped.
        self.running.clear();
        self.watches.clear();
        self.holds = Holds::default();
        let Some(by) = self.closing.as_ref().map(|closing| closing.by) else { return };
        let (link, alive) = (std::mem::take(&mut self.link), self.alive.take());
        let session = alive.as_ref().map(|alive| alive.session.clone());
        let end = async move {
            let confirmed = match link {
                Link::Up(up) => {
                    let wait = by.remaining().max(GOODBYE);
                    timeout(wait, up.transport.close()).await.unwrap_or(false)
                }
                _ => alive.is_none(),
            };
            if let Some(alive) = alive {
                alive.end(SessionState::Closed);
            }
            confirmed
        };
        futures::pin_mut!(end);
        // Whoever closes meanwhile waits too, whoever calls is told.
        let confirmed = loop {
            tokio::select! {
                confirmed = &mut end => break confirmed,
                Some(command) = self.commands.recv() => self.command(command),
            }
        };
        if let Some(session) = session {
            self.report.closed(&session, confirmed);
        }
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
        }
        for responder in self.closing.into_iter().flat_map(|closing| closing.waiting) {
            responder.send(if confirmed {
                Ok(())
            } else {
                Err(Error::new("close", "", ErrorKind::Timeout).with_detail(format!(
                    "{} did not confirm; its session ends by its timeout",
                    self.hosts
                )))
            });
        }
    }
}

/// What a server always gets to confirm the end of a session.
const GOODBYE: std::time::Duration = std::time::Duration::from_millis(100);
