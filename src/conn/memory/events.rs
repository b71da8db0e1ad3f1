//! Watch events on their way to a caller, and what faults do to them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::watches::Watcher;
use crate::deadline::Deadline;
use crate::fault::Bites;
use crate::hold::{HoldSender, Loss};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::watch::{Event, EventKind, TreeSender, WatchSender};

/// The way of the events of one connection.
///
/// Its lock is taken under that of the quorum and takes no other.
#[derive(Default)]
pub(super) struct Events {
    way: Mutex<Way>,
    /// Told when something is to be looked after sooner than was known.
    pub(super) wake: Notify,
}

#[derive(Default)]
struct Way {
    late: VecDeque<Duration>,
    twice: usize,
    /// Events that are late, with when they are due.
    held: Vec<(Deadline, Event, Ear)>,
    bites: Bites,
}

impl Events {
    pub(super) fn late(&self, delay: Duration) {
        self.way().late.push_back(delay);
    }

    pub(super) fn twice(&self) {
        self.way().twice += 1;
    }

    /// Adds how often events were late, or came twice.
    pub(super) fn count(&self, bites: &mut Bites) {
        let way = self.way();
        bites.late += way.bites.late;
        bites.doubled += way.bites.doubled;
    }

    fn pass(&self, event: &Event, ear: Ear) {
        let mut way = self.way();
        if let Some(delay) = way.late.pop_front() {
            way.bites.late += 1;
            way.held.push((Deadline::after(delay), event.clone(), ear));
            return self.wake.notify_one();
        }
        if way.twice > 0 {
            way.twice -= 1;
            way.bites.doubled += 1;
            if let Ear::Tree(sender) = &ear {
                sender.changed(event.clone());
            }
        }
        ear.hear(event);
    }

    /// Delivers what is due, and says when to look again.
    pub(super) fn look(&self) -> Option<Deadline> {
        let mut way = self.way();
        for (_, event, ear) in way.held.extract_if(.., |(due, ..)| due.is_past()) {
            ear.hear(&event);
        }
        way.held.iter().map(|(due, ..)| *due).min()
    }

    /// Delivers all that is late.
    pub(super) fn release(&self) {
        for (_, event, ear) in std::mem::take(&mut self.way().held) {
            ear.hear(&event);
        }
    }

    /// Whether an event may be late, now or later.
    pub(super) fn is_armed(&self) -> bool {
        let way = self.way();
        !way.late.is_empty() || !way.held.is_empty()
    }

    pub(super) fn aged(&self, by: Duration) {
        for (due, ..) in &mut self.way().held {
            *due = due.earlier(by);
        }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who hears an event in the end.
pub(super) enum Ear {
    Once(WatchSender),
    Tree(TreeSender),
}

impl Ear {
    fn hear(self, event: &Event) {
        match self {
            Ear::Once(sender) => sender.fire(event.kind),
            Ear::Tree(sender) => sender.changed(event.clone()),
        }
    }
}

/// A watch of a connection.
pub(super) struct Listener {
    /// Gone once a one-shot was told.
    ear: Option<Ear>,
    events: Arc<Events>,
}

impl Listener {
    pub(super) fn new(ear: Ear, events: &Arc<Events>) -> Self {
        Listener { ear: Some(ear), events: events.clone() }
    }
}

impl Watcher for Listener {
    fn tell(&mut self, event: &Event) {
        let ear = match &self.ear {
            Some(Ear::Tree(sender)) => Some(Ear::Tree(sender.clone())),
            _ => self.ear.take(),
        };
        if let Some(ear) = ear {
            self.events.pass(event, ear);
        }
    }

    fn is_withdrawn(&self) -> bool {
        match &self.ear {
            None => true,
            Some(Ear::Once(sender)) => sender.is_withdrawn(),
            Some(Ear::Tree(sender)) => sender.is_withdrawn(),
        }
    }

    fn rejoined(&mut self, _: Option<&Stat>, _: Option<&Stat>) {
        if let Some(Ear::Tree(sender)) = &self.ear {
            sender.gap();
        }
    }
}

/// Watches over a node that is held.
pub(super) struct Held {
    pub(super) path: ZkPath,
    pub(super) sender: HoldSender,
}

impl Watcher for Held {
    fn tell(&mut self, event: &Event) {
        if event.kind == EventKind::Deleted && event.path == self.path {
            self.sender.lose(Loss::Deleted);
        }
    }

    fn is_withdrawn(&self) -> bool {
        self.sender.is_released()
    }

    fn parted(&mut self, since: Deadline) {
        self.sender.stood_until(since);
    }

    fn rejoined(&mut self, before: Option<&Stat>, now: Option<&Stat>) {
        self.look();
        if before.map(|stat| stat.czxid) == now.map(|stat| stat.czxid) {
            self.sender.stands();
        } else {
            self.sender.lose(Loss::Deleted);
        }
    }

    fn aged(&mut self, by: Duration) {
        self.sender.aged(by);
    }

    fn look(&mut self) -> Option<Deadline> {
        let until = self.sender.valid_until().filter(|_| !self.is_withdrawn())?;
        if until.is_past() {
            self.sender.lose(Loss::Unproven);
            return None;
        }
        Some(until)
    }
}
