//! Brings one mirror to what the first holds at some paths, and says which of them are mended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::future::join_all;

use super::compare::{Suspect, is_of_quorum};
use super::quorums::blamed;
use super::quorums::{Quorums, Told};
use super::{Difference, Kind};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// How many paths of a mirror are mended together, and how much data they have.
const PATHS: usize = 256;
const BYTES: usize = 2 * 1024 * 1024;

/// A path of a mirror that is to be mended, and what is told of it then.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) path: ZkPath,
    pub(super) kinds: BTreeSet<Kind>,
    pub(super) size: usize,
}

impl From<Suspect> for Task {
    fn from(suspect: Suspect) -> Self {
        Task { path: suspect.path, kinds: suspect.kinds, size: suspect.size }
    }
}

/// Which comes first of a node and what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The node, so that there is a parent to each that is made.
    Down,
    /// What is below, so that each that is deleted is empty.
    Up,
}

/// Paths that may be mended together: none of them is below another.
type Wave = Vec<Task>;

/// The waves of what is to be mended, for each mirror.
#[derive(Debug, Default)]
pub(super) struct Waves(BTreeMap<usize, VecDeque<Wave>>);

impl Waves {
    /// Adds what is to be done on mirror `number`.
    pub(super) fn add(&mut self, number: usize, tasks: Vec<Task>, order: Order) {
        let mut levels: BTreeMap<usize, Vec<Task>> = BTreeMap::new();
        for task in tasks {
            levels.entry(task.path.components().count()).or_default().push(task);
        }
        let levels: Vec<Vec<Task>> = match order {
            Order::Down => levels.into_values().collect(),
            Order::Up => levels.into_values().rev().collect(),
        };
        let waves = self.0.entry(number).or_default();
        for level in levels {
            let (mut wave, mut bytes) = (Vec::new(), 0);
            for task in level {
                if !wave.is_empty() && (wave.len() >= PATHS || bytes + task.size > BYTES) {
                    waves.push_back(std::mem::take(&mut wave));
                    bytes = 0;
                }
                bytes += task.size;
                wave.push(task);
            }
            waves.push_back(wave);
        }
    }

    /// Carries them out, all mirrors side by side, and asks before each wave who the quorums are.
    pub(super) async fn carry_out(mut self, quorums: &mut Quorums, told: &mut Told) -> Done {
        let mut dealt = Vec::new();
        let outcome = loop {
            self.0.retain(|number, waves| quorums.answers(*number) && !waves.is_empty());
            if self.0.is_empty() {
                break Ok(());
            }
            if let Err(err) = quorums.check(told).await {
                break Err(err);
            }
            let mut round = Vec::new();
            for (number, waves) in &mut self.0 {
                if let Some(wave) = waves.pop_front().filter(|_| quorums.answers(*number)) {
                    round.push(mend(quorums, *number, wave));
                }
            }
            let mut wrong = None;
            for (number, mended) in join_all(round).await {
                told.extend(mended.told);
                dealt.extend(mended.dealt.into_iter().map(|path| (number, path)));
                match mended.failed {
                    Some(err) if err.kind() == ErrorKind::WrongQuorum => wrong = Some(err),
                    Some(err) => {
                        told.push(Err(err));
                        quorums.leave_out(number);
                    }
                    None => {}
                }
            }
            if let Some(err) = wrong {
                break Err(err);
            }
        };
        Done { dealt, outcome }
    }
}

/// What carrying out came to.
pub(super) struct Done {
    /// Where, on which mirror, something was mended, or told not to be.
    pub(super) dealt: Vec<(usize, ZkPath)>,
    /// An error when nothing more may be written.
    pub(super) outcome: Result<(), Error>,
}

#[derive(Default)]
struct Mended {
    told: Told,
    dealt: Vec<ZkPath>,
    /// Why this mirror cannot be mended any further.
    failed: Option<Error>,
}

async fn mend(quorums: &Quorums, number: usize, wave: Wave) -> (usize, Mended) {
    let mut mended = Mended::default();
    let paths = wave.iter().map(|task| task.path.clone()).collect();
    match bring_up(quorums, number, paths).await {
        Ok(()) => wave.into_iter().for_each(|task| mended.done(number, task)),
        Err(err) if is_final(&err) => mended.failed = Some(err),
        // One by one, so that each has its own verdict.
        Err(_) => {
            for task in wave {
                let path = task.path.clone();
                match bring_up(quorums, number, vec![path.clone()]).await {
                    Ok(()) => mended.done(number, task),
                    Err(err) if is_final(&err) => {
                        mended.failed = Some(err);
                        break;
                    }
                    // Either somebody keeps writing there, or nobody answers.
                    Err(err)
                        if err.kind() == ErrorKind::Timeout && !quorums.is_alive(number).await =>
                    {
                        mended.failed = Some(err);
                        break;
                    }
                    Err(err) => {
                        mended.told.push(Err(err.at(&path)));
                        mended.dealt.push(path);
                    }
                }
            }
        }
    }
    (number, mended)
}

impl Mended {
    fn done(&mut self, quorum: usize, task: Task) {
        let Task { path, kinds, .. } = task;
        let told = kinds.into_iter().map(|kind| Difference { path: path.clone(), quorum, kind });
        self.told.extend(told.map(Ok));
        self.dealt.push(path.clone());
    }
}

/// Whether there is no use in trying another path.
fn is_final(err: &Error) -> bool {
    is_of_quorum(err) && err.kind() != ErrorKind::Timeout
}

async fn bring_up(quorums: &Quorums, number: usize, paths: Vec<ZkPath>) -> Result<(), Error> {
    let deadline = Deadline::after(quorums.wait());
    let bringing = quorums.set().bring_up(number, paths, deadline);
    bringing.await.map_err(|err| blamed(number - 1, err))
}
