//! What a mirror still lacks.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::path::ZkPath;

/// More than this nobody keeps in memory for a mirror that is away; `repair` finds the rest.
const MOST: usize = 64 * 1024;

/// How many are brought up at once.
const AT_ONCE: usize = 8;

/// What may not agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Debt {
    Node(ZkPath),
    /// A child whose name is not known.
    ChildOf(ZkPath),
}

/// What one mirror lacks.
#[derive(Debug, Default)]
pub(super) struct Owed {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    debts: BTreeSet<Debt>,
    /// The last that was tried: those behind it come next, so that none waits for others that fail.
    last: Option<Debt>,
    /// How many of them are being brought there.
    under_way: usize,
    /// How many there was no room for.
    forgotten: usize,
    is_paying: bool,
}

impl Owed {
    /// How many are left.
    pub(super) fn count(&self) -> usize {
        let state = self.state();
        state.debts.len() + state.under_way
    }

    /// How many were too many to be kept.
    pub(super) fn forgotten(&self) -> usize {
        self.state().forgotten
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds them, and says how many there was no room for and whether somebody has to begin to pay.
    pub(super) fn add(&self, debts: impl IntoIterator<Item = Debt>) -> (usize, bool) {
        let mut state = self.state();
        let before = state.forgotten;
        for debt in debts {
            if state.debts.len() < MOST {
                state.debts.insert(debt);
            } else if !state.debts.contains(&debt) {
                state.forgotten += 1;
            }
        }
        let begins = !state.is_paying && !state.debts.is_empty();
        state.is_paying |= begins;
        (state.forgotten - before, begins)
    }

    /// Takes those that come next, in turn; with none left, whoever pays is done.
    pub(super) fn take(&self) -> Vec<Debt> {
        let mut state = self.state();
        let mut taken = Vec::new();
        while taken.len() < AT_ONCE {
            let behind = state.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = state.debts.range((behind, Bound::Unbounded)).next();
            let Some(next) = next.or_else(|| state.debts.first()).cloned() else { break };
            state.debts.remove(&next);
            state.last = Some(next.clone());
            taken.push(next);
        }
        state.under_way = taken.len();
        state.is_paying = !taken.is_empty();
        taken
    }

    /// What was taken has been tried; these have to be tried again.
    pub(super) fn settle(&self, left: Vec<Debt>) {
        let mut state = self.state();
        state.under_way = 0;
        state.debts.extend(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debt(number: usize) -> Debt {
        Debt::Node(ZkPath::root().child(&format!("{number:02}")))
    }

    #[test]
    fn all_have_their_turn_however_many_fail() {
        let owed = Owed::default();
        owed.add((0..20).map(debt));
        let mut tried = BTreeSet::new();
        for _ in 0..20_usize.div_ceil(AT_ONCE) {
            let taken = owed.take();
            tried.extend(taken.clone());
            owed.settle(taken);
        }
        assert_eq!(tried, (0..20).map(debt).collect());
        assert_eq!(owed.count(), 20);
    }

    #[test]
    fn what_is_not_remembered_is_counted() {
        let owed = Owed::default();
        assert_eq!(owed.add((0..MOST + 5).map(debt)), (5, true));
        assert_eq!((owed.count(), owed.forgotten()), (MOST, 5));
    }
}
