//! Goes through the trees of all quorums at once, a batch of paths at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::compare::{Sight, Suspect, Unread};
use super::mend::{Order, Task, Waves};
use super::place::Place;
use super::quorums::{Quorums, Told};
use super::{Difference, Kind, Progress};
use crate::conn::global::GlobalConn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::pause;

/// How many paths are compared together.
const COMPARED: usize = 1000;

/// How many paths of each mirror are deleted between two looks at who the quorums are.
const DELETED: usize = 256;

/// How often is looked at a path that keeps changing.
const LOOKS: u32 = 40;

/// What is to be done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Diff,
    Repair,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Diff => "diff",
            Verb::Repair => "repair",
        }
    }

    /// How long a difference must stand still before it is one. Who repairs need not be so sure: it
    /// looks again.
    fn steady(self) -> Duration {
        match self {
            Verb::Diff => Duration::from_millis(250),
            Verb::Repair => Duration::ZERO,
        }
    }
}

/// A walk that compares, and perhaps mends.
pub(super) struct Walk {
    quorums: Quorums,
    top: ZkPath,
    from: Option<Place>,
    verb: Verb,
    is_begun: bool,
    /// Whether it is to go through all that there is, and that is not noted yet.
    is_whole: bool,
    /// What has not been compared.
    waiting: BTreeSet<Place>,
    /// What only mirrors have, to be deleted in the end.
    extra: BTreeMap<usize, BTreeSet<Place>>,
    /// What was compared again because it could not be read before it was mended.
    again: BTreeSet<Place>,
    /// Whether the first could be listed completely so far.
    is_complete: bool,
    /// Where the step that is under way began.
    current: Option<Place>,
    /// How many errors were told that are not about a mirror which is left out since.
    failed: usize,
    /// The first place that had to be left undone.
    undone: Option<Place>,
    /// How far it is when all that was found has been told.
    pub(super) progress: Progress,
}

impl Walk {
    pub(super) fn new(
        conn: &Arc<GlobalConn>,
        top: ZkPath,
        from: Option<ZkPath>,
        verb: Verb,
        is_whole: bool,
    ) -> Self {
        // From the top on, that is all of it.
        let from = from.filter(|from| *from != top).map(Place);
        let mut walk = Walk {
            quorums: Quorums::new(conn),
            waiting: BTreeSet::from([Place(top.clone())]),
            top,
            from,
            verb,
            is_begun: false,
            is_whole,
            extra: BTreeMap::new(),
            again: BTreeSet::new(),
            is_complete: true,
            current: None,
            failed: 0,
            undone: None,
            progress: Progress::default(),
        };
        walk.note();
        walk
    }

    /// The next part of it, and what is to be told of that; `None` when all is done.
    pub(super) async fn step(&mut self) -> Option<Told> {
        let mut told = Told::new();
        let were_left_out = self.quorums.left_out().count();
        let done = if !self.is_begun {
            self.is_begun = true;
            self.begin(&mut told).await
        } else if !self.waiting.is_empty() {
            self.compare(&mut told).await
        } else if self.extra.values().any(|extra| !extra.is_empty()) {
            self.delete(&mut told).await
        } else if self.is_whole() {
            self.is_whole = false;
            self.quorums.completed().await
        } else {
            return None;
        };
        self.drop_out();
        if let Err(err) = done {
            self.stop(err, &mut told);
        }
        for one in &mut told {
            if let Err(err) = one {
                *err = err.clone().during(self.verb.name());
            }
        }
        let failed = told.iter().filter(|one| one.is_err()).count();
        self.progress.failed += failed;
        self.failed += failed.saturating_sub(self.quorums.left_out().count() - were_left_out);
        self.note();
        Some(told)
    }

    async fn begin(&mut self, told: &mut Told) -> Result<(), Error> {
        if let Some(Place(from)) = &self.from
            && !from.is_in(&self.top)
        {
            let err = Error::new(self.verb.name(), from, ErrorKind::BadArguments);
            let why = format!("it is to go on there, and that is not in {}", self.top);
            self.from = None;
            return Err(err.with_detail(why));
        }
        self.current = Some(self.start());
        if self.verb == Verb::Repair {
            self.quorums.verify(told).await?;
        }
        // What a server that lags behind shows could be as old as that.
        self.quorums.sync(told).await
    }

    /// Whether it has made all mirrors that are not left out hold all that the first holds.
    fn is_whole(&self) -> bool {
        self.is_whole
            && self.verb == Verb::Repair
            && self.from.is_none()
            && self.failed == 0
            && self.quorums.has_mirrors()
    }

    /// Where it begins.
    fn start(&self) -> Place {
        self.from.clone().unwrap_or_else(|| Place(self.top.clone()))
    }

    /// Ends it: nothing more is written.
    fn stop(&mut self, err: Error, told: &mut Told) {
        told.push(Err(err));
        self.undone = self.earliest();
        self.waiting.clear();
        self.keep_extra("it had to end before that", told);
    }

    /// Deletes nothing.
    fn keep_extra(&mut self, why: &str, told: &mut Told) {
        let left: usize = std::mem::take(&mut self.extra).values().map(BTreeSet::len).sum();
        if left > 0 {
            let err = Error::new(self.verb.name(), &self.top, ErrorKind::Cancelled);
            told.push(Err(err.with_detail(format!(
                "{left} nodes that only mirrors have were not deleted: {why}"
            ))));
        }
    }

    /// Gives up what was to be done on mirrors that are left out by now.
    fn drop_out(&mut self) {
        let out: Vec<usize> = self.quorums.left_out().collect();
        if self.is_begun && !out.is_empty() && self.undone.is_none() {
            self.undone = self.earliest();
        }
        for number in out {
            self.extra.remove(&number);
        }
        // With no mirror left there is nothing to compare.
        if !self.quorums.has_mirrors() {
            self.waiting.clear();
        }
    }

    /// The first place at which something is left to do.
    fn earliest(&self) -> Option<Place> {
        let waiting = self.waiting.first().map(|first| first.max(&self.start()).clone());
        let extra = self.extra.values().filter_map(|extra| extra.first().cloned());
        let left = [waiting, self.current.clone(), self.undone.clone()];
        left.into_iter().flatten().chain(extra).min()
    }

    fn note(&mut self) {
        self.current = None;
        self.progress.waiting = self.waiting.len();
        self.progress.next = self.earliest().map(|place| place.0);
    }

    async fn compare(&mut self, told: &mut Told) -> Result<(), Error> {
        let mut paths = Vec::new();
        while paths.len() < COMPARED
            && let Some(place) = self.waiting.pop_first()
        {
            paths.push(place.0);
        }
        let start = self.start();
        self.current = paths.first().map(|path| Place(path.clone()).max(start.clone()));
        let mut unread = Unread::default();
        let sight = Sight::of(&mut self.quorums, &paths, told).await?;
        let (below, is_complete) = sight.children(&mut self.quorums, told, &mut unread).await?;
        self.is_complete &= is_complete;
        for child in below.into_iter().map(Place) {
            // Before the start lies only what leads to it.
            let is_needed = child >= start || start.0.is_in(&child.0);
            if is_needed && self.quorums.set().may_hold(&child.0) {
                self.waiting.insert(child);
            }
        }
        let set = self.quorums.set().clone();
        let counts = |path: &ZkPath| Place(path.clone()) >= start && set.mirrors(path);
        let suspects = sight.suspects(&mut self.quorums, told, &mut unread, counts).await?;
        let (found, hot) = self.confirmed(suspects, told, &mut unread).await?;
        self.progress.compared += paths.iter().filter(|path| counts(path)).count();
        match self.verb {
            Verb::Diff => {
                told.extend(found.into_iter().flat_map(differences).map(Ok));
                told.extend(hot.into_iter().map(|suspect| Err(changing(&suspect))));
            }
            Verb::Repair => {
                // Whoever has just come back empty, or was made another, must not be written to.
                self.quorums.check(told).await?;
                self.mend(found, hot, told, &mut unread).await?;
            }
        }
        told.extend(unread.into_told());
        Ok(())
    }

    /// Those that still differ, and stand still, after all have agreed to something newer; and those
    /// that never stood still, nor ever agreed.
    async fn confirmed(
        &mut self,
        suspects: Vec<Suspect>,
        told: &mut Told,
        unread: &mut Unread,
    ) -> Result<(Vec<Suspect>, Vec<Suspect>), Error> {
        let steady = self.verb.steady();
        let key = |suspect: &Suspect| (Place(suspect.path.clone()), suspect.quorum);
        let since = Deadline::after(steady);
        let mut open: BTreeMap<_, _> =
            suspects.into_iter().map(|suspect| (key(&suspect), (suspect, since))).collect();
        let mut found = BTreeMap::new();
        let limit = Deadline::after(self.quorums.wait());
        for round in 0..LOOKS {
            if open.is_empty() || (round > 1 && limit.is_past()) {
                break;
            }
            match round {
                0 => tokio::time::sleep(since.remaining()).await,
                _ => pause::after(round + 2, limit.remaining()).await,
            }
            self.quorums.sync(told).await?;
            let mut paths: Vec<ZkPath> = open.keys().map(|(place, _)| place.0.clone()).collect();
            paths.dedup();
            let sight = Sight::of(&mut self.quorums, &paths, told).await?;
            let now = sight.suspects(&mut self.quorums, told, unread, |_| true).await?;
            let mut before = std::mem::take(&mut open);
            for suspect in now {
                let key = key(&suspect);
                // Whoever agreed once is no suspect any more.
                let Some((earlier, since)) = before.remove(&key) else { continue };
                if !suspect.stands(&earlier) {
                    open.insert(key, (suspect, Deadline::after(steady)));
                } else if since.is_past() {
                    found.insert(key, suspect);
                } else {
                    open.insert(key, (suspect, since));
                }
            }
        }
        let hot = open.into_values().map(|(suspect, _)| suspect).collect();
        Ok((found.into_values().collect(), hot))
    }

    /// Mends what was found, but for what is to be deleted: that comes last.
    async fn mend(
        &mut self,
        found: Vec<Suspect>,
        hot: Vec<Suspect>,
        told: &mut Told,
        unread: &mut Unread,
    ) -> Result<(), Error> {
        let mut tasks: BTreeMap<usize, Vec<Task>> = BTreeMap::new();
        for (suspect, is_hot) in
            found.into_iter().map(|one| (one, false)).chain(hot.into_iter().map(|one| (one, true)))
        {
            if suspect.kinds.contains(&Kind::Extra) {
                self.extra.entry(suspect.quorum).or_default().insert(Place(suspect.path));
                continue;
            }
            let number = suspect.quorum;
            let mut task = Task::from(suspect);
            if is_hot {
                // It is brought up, and who knows in what it differed.
                task.kinds.clear();
            }
            tasks.entry(number).or_default().push(task);
        }
        let mut waves = Waves::default();
        for (number, tasks) in tasks {
            waves.add(number, tasks, Order::Down);
        }
        let mut mended = Told::new();
        let done = waves.carry_out(&mut self.quorums, &mut mended).await.outcome;
        for one in mended.iter().flatten().filter(|one| one.kind == Kind::Acl) {
            let place = Place(one.path.clone());
            // With the new list it may be readable, and what is below it.
            if unread.take(&one.path, one.quorum).is_some() && self.again.insert(place.clone()) {
                self.waiting.insert(place);
            }
        }
        told.extend(mended);
        done
    }

    /// Deletes some of what only mirrors have, each before what is above it.
    async fn delete(&mut self, told: &mut Told) -> Result<(), Error> {
        if !self.is_complete {
            self.keep_extra("the first could not be listed completely", told);
            return Ok(());
        }
        self.current = self.extra.values().filter_map(|extra| extra.first().cloned()).min();
        let mut waves = Waves::default();
        for (number, extra) in &mut self.extra {
            let some = extra.iter().rev().take(DELETED).cloned();
            let task = |Place(path)| Task { path, kinds: BTreeSet::from([Kind::Extra]), size: 0 };
            waves.add(*number, some.map(task).collect(), Order::Up);
        }
        let done = waves.carry_out(&mut self.quorums, told).await;
        for (number, path) in done.dealt {
            if let Some(extra) = self.extra.get_mut(&number) {
                extra.remove(&Place(path));
            }
        }
        done.outcome
    }
}

fn differences(suspect: Suspect) -> impl Iterator<Item = Difference> {
    let Suspect { path, quorum, kinds, .. } = suspect;
    kinds.into_iter().map(move |kind| Difference { path: path.clone(), quorum, kind })
}

fn changing(suspect: &Suspect) -> Error {
    Error::new("compare", &suspect.path, ErrorKind::Contended).with_detail(format!(
        "on the first or on quorum {}: it changed whenever both were looked at, so nobody can say \
         whether they agree",
        suspect.quorum
    ))
}
