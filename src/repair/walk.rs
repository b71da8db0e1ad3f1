//! Goes through the trees of all quorums at once, a batch of paths at a time.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;

use super::compare::{Seen, see, sync};
use super::{Difference, Kind, Progress};
use crate::conn::Conn;
use crate::conn::global::GlobalConn;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::path::ZkPath;

/// How many paths are compared together.
const COMPARED: usize = 200;

/// How many are mended together.
const MENDED: usize = 64;

/// A path in the order in which a tree is walked: each node before its descendants, siblings by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place(ZkPath);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // Component by component: as plain text, `/a-b` would stand between `/a` and `/a/b`.
        self.0.components().cmp(other.0.components())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A walk that compares, and perhaps mends.
pub(super) struct Walk {
    conn: Arc<GlobalConn>,
    quorums: Vec<Arc<dyn Conn>>,
    /// Which of them still answer; the first is always among them.
    answers: Vec<bool>,
    /// What has not been compared.
    waiting: BTreeSet<Place>,
    from: Option<Place>,
    /// What only mirrors have, to be deleted in the end.
    extra: Vec<(usize, ZkPath)>,
    /// Whether the first could be listed completely so far.
    is_complete: bool,
    verb: &'static str,
    mends: bool,
    is_checked: bool,
    /// How far it is when all that was found has been told.
    pub(super) progress: Progress,
}

type Told = Vec<Result<Difference, Error>>;

impl Walk {
    pub(super) fn new(
        conn: Arc<GlobalConn>,
        top: ZkPath,
        from: Option<ZkPath>,
        verb: &'static str,
    ) -> Self {
        let quorums: Vec<_> = conn.quorums().cloned().collect();
        Walk {
            answers: vec![true; quorums.len()],
            conn,
            quorums,
            waiting: BTreeSet::from([Place(top)]),
            from: from.map(Place),
            extra: Vec::new(),
            is_complete: true,
            verb,
            mends: verb == "repair",
            is_checked: false,
            progress: Progress::default(),
        }
    }

    /// The next part of it, and what is to be told of that; `None` when all is done.
    pub(super) async fn step(&mut self) -> Option<Told> {
        if !self.is_checked {
            self.is_checked = true;
            let wrong = self.check().await;
            if !wrong.is_empty() {
                return Some(wrong);
            }
        }
        let told = if !self.waiting.is_empty() {
            self.compare().await
        } else if !self.extra.is_empty() {
            self.delete().await
        } else {
            self.note(0);
            return None;
        };
        Some(told)
    }

    /// Leaves out the mirrors that may not be written. Whoever only compares looks at all of them.
    async fn check(&mut self) -> Told {
        if !self.mends {
            return Vec::new();
        }
        let mut told = Vec::new();
        for status in self.conn.status().await {
            let Some(wrong) = status.wrong else { continue };
            told.push(Err(wrong.during(self.verb)));
            if status.number == 1 {
                self.waiting.clear();
                return told;
            }
            self.leave_out(status.number);
        }
        told
    }

    fn leave_out(&mut self, number: usize) {
        if let Some(answers) = number.checked_sub(1).and_then(|index| self.answers.get_mut(index)) {
            *answers = false;
        }
        // With no mirror left there is nothing to compare.
        if !self.answers.iter().skip(1).any(|answers| *answers) {
            self.waiting.clear();
        }
    }

    fn note(&mut self, compared: usize) {
        self.progress.compared += compared;
        self.progress.waiting = self.waiting.len();
        self.progress.next = self.waiting.first().map(|place| place.0.clone());
    }

    async fn compare(&mut self) -> Told {
        let mut paths = Vec::new();
        while paths.len() < COMPARED
            && let Some(place) = self.waiting.pop_first()
        {
            paths.push(place.0);
        }
        let mut told = Vec::new();
        let Some(seen) = self.see(&paths, &mut told).await else {
            // The first does not answer: nothing more can be said.
            self.waiting.clear();
            self.extra.clear();
            return told;
        };
        let mut suspects: Vec<ZkPath> = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let column: Vec<Option<&Seen>> = seen.iter().map(|quorum| at(quorum, index)).collect();
            self.descend(path, &column);
            let is_ahead = self.from.as_ref().is_some_and(|from| Place(path.clone()) < *from);
            let Some(first) = column.first().copied().flatten() else { continue };
            let differs =
                column.iter().skip(1).flatten().any(|mirror| !first.against(mirror).is_empty());
            if differs && !is_ahead && self.conn.mirrors(path) {
                suspects.push(path.clone());
            }
        }
        let found = self.confirmed(suspects, &mut told).await;
        self.note(paths.len());
        told.extend(self.mend(found).await);
        told
    }

    /// Looks at `paths` on all quorums that answer; `None` if the first does not. Errors of single
    /// paths are told.
    async fn see(&mut self, paths: &[ZkPath], told: &mut Told) -> Option<Vec<Vec<Option<Seen>>>> {
        let mut looks = Vec::new();
        for (conn, answers) in self.quorums.iter().zip(&self.answers) {
            let (conn, answers, paths) = (conn.clone(), *answers, paths.to_vec());
            looks.push(async move {
                match answers {
                    true => see(&conn, &paths).await,
                    false => Ok(Vec::new()),
                }
            });
        }
        let looks = join_all(looks).await;
        let mut seen = Vec::with_capacity(looks.len());
        for (index, look) in looks.into_iter().enumerate() {
            match look {
                Ok(look) => {
                    let each = look.into_iter().map(|one| match one {
                        Ok(one) => Some(one),
                        Err(err) => {
                            self.is_complete &= index > 0;
                            told.push(Err(self.blame(index, err)));
                            None
                        }
                    });
                    seen.push(each.collect());
                }
                Err(err) => {
                    told.push(Err(self.blame(index, err)));
                    if index == 0 {
                        return None;
                    }
                    self.leave_out(index + 1);
                    seen.push(Vec::new());
                }
            }
        }
        Some(seen)
    }

    fn blame(&self, index: usize, err: Error) -> Error {
        let why = match err.detail() {
            Some(detail) => format!("on quorum {}: {detail}", index + 1),
            None => format!("on quorum {}", index + 1),
        };
        err.with_detail(why).during(self.verb)
    }

    /// Adds what is below a path on any of them.
    fn descend(&mut self, path: &ZkPath, column: &[Option<&Seen>]) {
        for seen in column.iter().flatten() {
            for name in seen.names() {
                let child = path.child(name);
                // Before the start lies only what leads to it.
                let is_needed = self
                    .from
                    .as_ref()
                    .is_none_or(|from| Place(child.clone()) >= *from || from.0.is_in(&child));
                if is_needed && self.conn.may_hold(&child) {
                    self.waiting.insert(Place(child));
                }
            }
        }
    }

    /// What still differs after all have agreed to something newer, mirrors first: a write that is on
    /// its way is on the first before it is on a mirror.
    async fn confirmed(&mut self, suspects: Vec<ZkPath>, told: &mut Told) -> Vec<Difference> {
        let Some(path) = suspects.first() else { return Vec::new() };
        let mut found: Option<BTreeSet<(usize, Kind, String)>> = None;
        for round in 0..LOOKS {
            crate::pause::after(round * 4, std::time::Duration::MAX).await;
            let asked = self.quorums.iter().zip(&self.answers);
            let asked = asked.filter(|(_, answers)| **answers).map(|(conn, _)| conn.clone());
            if let Err(err) = sync(asked.collect(), path).await {
                told.push(Err(err.during(self.verb)));
            }
            let mut errors = Vec::new();
            let Some(seen) = self.see(&suspects, &mut errors).await else { break };
            let mut now = BTreeSet::new();
            for (index, path) in suspects.iter().enumerate() {
                let Some(first) = seen.first().and_then(|quorum| at(quorum, index)) else {
                    continue;
                };
                for (mirror, quorum) in seen.iter().enumerate().skip(1) {
                    let Some(mirrored) = at(quorum, index) else { continue };
                    for kind in first.against(mirrored) {
                        now.insert((mirror + 1, kind, path.as_str().to_string()));
                    }
                }
            }
            found = Some(match found {
                None => now,
                Some(before) => before.intersection(&now).cloned().collect(),
            });
        }
        let found = found.unwrap_or_default();
        let mut differences = Vec::new();
        for path in suspects {
            for (quorum, kind, _) in found.iter().filter(|(_, _, at)| at == path.as_str()) {
                differences.push(Difference { path: path.clone(), quorum: *quorum, kind: *kind });
            }
        }
        differences
    }

    /// Mends what was found, but for what is to be deleted: that comes last.
    async fn mend(&mut self, found: Vec<Difference>) -> Told {
        if !self.mends {
            return found.into_iter().map(Ok).collect();
        }
        let (extra, found): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|difference| difference.kind == Kind::Extra);
        self.extra.extend(extra.into_iter().map(|extra| (extra.quorum, extra.path)));
        let mut told = Vec::new();
        for number in 2..=self.quorums.len() {
            let mut of = found.clone();
            of.retain(|one| one.quorum == number);
            while !of.is_empty() {
                let some: Vec<Difference> = of.drain(..of.len().min(MENDED)).collect();
                let mut paths: Vec<ZkPath> = some.iter().map(|one| one.path.clone()).collect();
                paths.dedup();
                match self.bring_up(number, paths).await {
                    Ok(()) => told.extend(some.into_iter().map(Ok)),
                    Err(err) => told.push(Err(err)),
                }
            }
        }
        told
    }

    /// Deletes some of what only mirrors have, the deepest first.
    async fn delete(&mut self) -> Told {
        if !self.is_complete {
            let left = std::mem::take(&mut self.extra).len();
            let err = Error::new(self.verb, "", crate::error::ErrorKind::NoAuth);
            return vec![Err(err.with_detail(format!(
                "the first could not be listed completely, so {left} nodes that only mirrors have \
                 stay there"
            )))];
        }
        self.extra.sort_by_cached_key(|(number, path)| {
            (std::cmp::Reverse(*number), path.components().count())
        });
        let Some((number, _)) = self.extra.last().cloned() else { return Vec::new() };
        let mut paths = Vec::new();
        while paths.len() < MENDED
            && let Some((_, path)) = self.extra.pop_if(|(of, _)| *of == number)
        {
            paths.push(path);
        }
        match self.bring_up(number, paths.clone()).await {
            Ok(()) => paths
                .into_iter()
                .map(|path| Ok(Difference { path, quorum: number, kind: Kind::Extra }))
                .collect(),
            Err(err) => vec![Err(err)],
        }
    }

    async fn bring_up(&self, number: usize, paths: Vec<ZkPath>) -> Result<(), Error> {
        let deadline = Deadline::after(Deadline::DEFAULT);
        let first = paths.first().map(ToString::to_string).unwrap_or_default();
        let bringing = self.conn.bring_up(number, paths, deadline);
        bringing.await.map_err(|err| {
            let err = if err.path().is_empty() { err.at(first) } else { err };
            self.blame(number - 1, err)
        })
    }
}

/// How often a difference must be seen before it is told.
const LOOKS: u32 = 2;

fn at(quorum: &[Option<Seen>], index: usize) -> Option<&Seen> {
    quorum.get(index).and_then(Option::as_ref)
}
