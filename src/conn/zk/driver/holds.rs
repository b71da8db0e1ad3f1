//! Proof of life: while nodes are held, one committed write in every sixth of the session timeout
//! checks them all, and what is not proved in time is lost without a word from the network.

use std::collections::HashSet;
use std::time::Duration;

use super::Driver;
use crate::conn::zk::exec::{Answer, Fault};
use crate::conn::zk::report::Report;
use crate::conn::zk::signal;
use crate::conn::zk::translate::Failure;
use crate::deadline::Deadline;
use crate::error::ErrorKind;
use crate::hold::{Hold, HoldSender, Loss};
use crate::path::ZkPath;
use crate::request::Reply;
use crate::session::Session;

/// How often holds are looked at, in the least: timers stand still while a machine sleeps, and the
/// clock of deadlines does not.
const LOOK: Duration = Duration::from_millis(250);
/// How many nodes one write checks.
const BATCH: usize = 1000;

#[derive(Default)]
pub(super) struct Holds {
    held: Vec<(ZkPath, HoldSender)>,
    /// When the next renewal is due.
    due: Option<Deadline>,
    /// How many writes of a renewal are under way.
    under_way: usize,
}

impl Holds {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// What was under way broke with the connection; the next one renews at once.
    pub(super) fn broke(&mut self) {
        self.under_way = 0;
        self.due = None;
    }
}

impl Driver {
    /// A check of `path` that was sent at `sent` has been committed: it is held from now on.
    pub(super) fn held(&mut self, path: &ZkPath, sent: Deadline) -> Reply {
        let Some(alive) = &self.alive else { return Reply::Done };
        let session = alive.session.clone();
        let next = sent.plus(session.timeout() / 6);
        let (sender, hold) = Hold::channel(path.clone(), session, Some(sent));
        self.holds.held.push((path.clone(), sender));
        self.holds.due = Some(self.holds.due.map_or(next, |due| due.min(next)));
        self.check_by(Deadline::after(LOOK).min(next));
        Reply::Hold(hold)
    }

    /// Holds `path`, if what proved the session last is as young as a renewal would be.
    pub(super) fn held_by_last_write(&mut self, session: &Session, path: &ZkPath) -> Option<Reply> {
        let sent = session.proved();
        let young = !sent.plus(session.timeout() / 6).is_past();
        young.then(|| self.held(path, sent))
    }

    /// Loses what is not proved, and renews the rest when it is time. Says when to look again.
    pub(super) fn look_after_holds(&mut self) -> Option<Deadline> {
        let session = self.alive.as_ref().map(|alive| &alive.session);
        self.holds.held.retain(|(path, sender)| {
            let late = sender.valid_until().is_some_and(Deadline::is_past);
            if late {
                lose(&self.report, session, path, sender, Loss::Unproven);
            }
            !late && !sender.is_released()
        });
        if self.holds.held.is_empty() {
            self.holds.due = None;
            return None;
        }
        if self.holds.due.is_some_and(Deadline::is_past) {
            self.renew();
        }
        let ends = self.holds.held.iter().filter_map(|(_, sender)| sender.valid_until());
        let look = Deadline::after(LOOK);
        ends.chain(self.holds.due).chain([look]).filter(|at| !at.is_past()).min().or(Some(look))
    }

    /// Checks all held nodes, unless that is under way.
    pub(super) fn renew(&mut self) {
        let (Some(client), Some(alive)) = (self.link.client().cloned(), &self.alive) else {
            return;
        };
        if self.holds.held.is_empty() || self.holds.under_way > 0 {
            return;
        }
        let timeout = alive.session.timeout();
        // What is held for a moment only is not renewed: it may be gone before the check is there,
        // and would cost all others their proof.
        let is_due = |until: Deadline| until.remaining() <= timeout / 2 - timeout / 12;
        let (mut paths, mut next) = (Vec::new(), Deadline::after(timeout / 6));
        for (path, sender) in &self.holds.held {
            match sender.valid_until().filter(|_| !sender.is_released()) {
                Some(until) if is_due(until) => paths.push(path.clone()),
                // A sixth behind its proof, which lasts three of them.
                Some(until) => next = next.min(until.earlier(timeout / 3)),
                None => {}
            }
        }
        self.holds.due = Some(next);
        for batch in paths.chunks(BATCH) {
            self.holds.under_way += 1;
            self.push(signal::renew(&client, batch.to_vec()));
        }
        if let Some(due) = self.holds.due {
            self.check_by(due);
        }
    }

    pub(super) fn renewed(
        &mut self,
        sent: Deadline,
        paths: Vec<ZkPath>,
        answer: Result<Answer, Fault>,
    ) {
        self.holds.under_way = self.holds.under_way.saturating_sub(1);
        match answer {
            Ok(_) => {
                if let Some(alive) = &self.alive {
                    alive.sender.proved(sent);
                }
                let paths: HashSet<ZkPath> = paths.into_iter().collect();
                let of = |(path, _): &&(ZkPath, HoldSender)| paths.contains(path);
                self.holds.held.iter().filter(of).for_each(|(_, sender)| sender.proved(sent));
            }
            Err(Fault { failure: Failure::Refused(kind, _), index: Some(index) }) => {
                // One node is not as it was held: it is lost, and the others are checked again.
                let session = self.alive.as_ref().map(|alive| &alive.session);
                if let Some(gone) = paths.get(index) {
                    let why =
                        if kind == ErrorKind::NoNode { Loss::Deleted } else { Loss::Unproven };
                    self.holds.held.retain(|(path, sender)| {
                        if path == gone {
                            lose(&self.report, session, path, sender, why);
                        }
                        path != gone
                    });
                }
                self.renew();
            }
            // A broken connection proves nothing; after it, all are checked at once.
            Err(_) => {}
        }
    }
}

/// Tells whoever holds it, and whoever watches over this process, unless it was let go of before.
fn lose(report: &Report, session: Option<&Session>, path: &ZkPath, sender: &HoldSender, why: Loss) {
    if !sender.is_released() {
        report.hold_lost(session, path, why);
    }
    sender.lose(why);
}
