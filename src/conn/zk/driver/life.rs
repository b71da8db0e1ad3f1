//! The life of a session: dialled, broken and attached again, until a server ends it.

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use zookeeper_client as zk;

use super::Driver;
use crate::conn::zk::dial::{DialError, Dialled, Wanted, dial};
use crate::conn::zk::link::{Alive, Link, LinkEvent, Up};
use crate::conn::zk::signal;
use crate::conn::zk::translate::Failure;
use crate::error::ErrorKind;
use crate::hosts::Hosts;
use crate::session::SessionState;

impl Driver {
    pub(super) fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::PauseOver => {
                self.link = Link::Idle;
                // A session is looked after whether or not anybody asks for something.
                if self.alive.is_some() {
                    self.dial();
                }
            }
            LinkEvent::Dialled(Ok(dialled)) => self.dialled(dialled),
            LinkEvent::Dialled(Err(err)) => self.dial_failed(err),
            LinkEvent::Broke(zk::SessionState::Expired) => {
                self.broke();
                self.session_over();
            }
            LinkEvent::Broke(_) => {
                self.broke();
                self.dial();
            }
        }
    }

    pub(super) fn dial(&mut self) {
        self.report.dialling(&self.hosts);
        let (hosts, options) = (self.hosts.clone(), self.options.clone());
        let wanted = match &self.alive {
            Some(alive) => Wanted::Again(alive.info.clone()),
            None if self.generation > 0 => Wanted::Next,
            None => Wanted::First,
        };
        self.link = Link::dial(async move { dial(hosts.hosts(), &options, wanted).await });
    }

    fn dialled(&mut self, dialled: Dialled) {
        self.failed_dials = 0;
        self.last_failure = None;
        match &mut self.alive {
            Some(alive) => {
                alive.info = dialled.transport.client.session().clone();
                alive.sender.proved(dialled.sent);
                alive.sender.served_by(dialled.version);
                alive.sender.set(SessionState::Connected);
                self.report.attached(&alive.session);
            }
            None => {
                self.generation += 1;
                let alive = Alive::new(self.report.cell(), &dialled, self.generation);
                alive.sender.served_by(dialled.version);
                self.report.opened(&alive.session);
                self.alive = Some(alive);
            }
        }
        let client = dialled.transport.client.clone();
        self.link = Link::Up(Up::new(dialled.transport));
        self.leave_again(&client);
        self.settle_doubts(&client);
        self.renew();
    }

    /// Other servers are to serve us.
    pub(super) fn move_to(&mut self, hosts: Arc<Hosts>) {
        self.hosts = hosts;
        self.failed_dials = 0;
        match self.link {
            Link::Idle => {}
            Link::Up(_) => self.moving = true,
            Link::Dialling(_) | Link::Pausing(_) => self.dial(),
        }
    }

    /// Goes over to the other servers, if nothing is under way any more.
    pub(super) fn may_move(&mut self) -> bool {
        if !self.sent.is_empty() || !self.doubts.is_empty() {
            return false;
        }
        self.moving = false;
        if matches!(self.link, Link::Up(_)) {
            self.broke();
            self.dial();
        }
        true
    }

    /// Breaks a connection that stands but does not do what it is for: its server waits in vain for
    /// its own quorum, or the crate's task has died. Another one, perhaps elsewhere, is attached.
    pub(super) fn check_suspicion(&mut self) {
        if std::mem::take(&mut self.suspect) && self.link.client().is_some() {
            self.broke();
            self.dial();
        }
    }

    /// Leaves with the new server what the old one held for us. These requests leave before any
    /// call that waited, so whoever reads a change has been told of it.
    fn leave_again(&mut self, client: &Arc<zk::Client>) {
        for (path, id, sender) in self.watches.trees() {
            self.push(signal::leave_tree(client, path.clone(), id, sender));
            if self.watches.is_awaited(&path) {
                self.push(signal::check_feed(client, path));
            }
        }
        for (id, withdrawal) in self.watches.fed() {
            self.push(signal::fed(id, withdrawal));
        }
        for id in self.watches.alone() {
            // It fitted before, so it fits now.
            self.watches.reserve(&id.path, id.list);
            self.push(signal::leave(client, id));
        }
    }

    /// A cell that never answered fails its callers at once when nobody listens there; one that has
    /// answered before is waited for until their deadlines.
    fn dial_failed(&mut self, err: DialError) {
        self.report.dial_failed(&err);
        self.failed_dials += 1;
        self.link = Link::pause(self.failed_dials);
        let kind = err.kind;
        let give_up = kind == ErrorKind::AuthFailed || (err.is_final && self.generation == 0);
        if kind == ErrorKind::SessionExpired {
            self.session_over();
            return;
        }
        self.last_failure = Some(err);
        if give_up {
            while let Some((_, job)) = self.queue.pop() {
                self.not_sent(job);
            }
        }
    }

    /// The connection is gone, the session perhaps not.
    fn broke(&mut self) {
        self.drain();
        // The crate's watchers must not be asked once its task has ended: it would panic.
        self.running = FuturesUnordered::new();
        self.link = Link::Idle;
        self.moving = false;
        self.suspect = false;
        self.watches.broke();
        self.holds.broke();
        if let Some(alive) = &self.alive {
            alive.sender.set(SessionState::Disconnected);
            self.report.disconnected(&alive.session);
        }
        let mut broken: Vec<_> = std::mem::take(&mut self.sent).into_iter().collect();
        broken.sort_unstable_by_key(|(seq, _)| *seq);
        for (seq, job) in broken {
            self.failed(seq, job, Failure::Broken("the connection broke".into()), None);
        }
    }

    /// A server has ended the session: watches tell the end as they are dropped.
    fn session_over(&mut self) {
        self.link = Link::Idle;
        self.watches.clear();
        let holds = std::mem::take(&mut self.holds);
        if let Some(alive) = self.alive.take() {
            self.report.expired(&alive.session, holds.len());
            alive.end(SessionState::Expired);
        }
    }
}
