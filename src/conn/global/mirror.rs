//! A mirror: who it says it is, and its fences.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use tokio::sync::{Mutex, MutexGuard};

use super::Shared;
use super::fence::Fence;
use super::home::FenceNo;
use super::identity::Identity;
use super::owed::Owed;
use super::quorum::Quorum;
use super::told::Told;
use crate::error::{Error, ErrorKind};

/// A mirror with its fences.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) quorum: Quorum,
    pub(super) fences: Vec<Mutex<Fence>>,
    said: std::sync::Mutex<Said>,
    /// Who it last was without having a node of that name.
    unnamed: std::sync::Mutex<Option<Identity>>,
    pub(super) owed: Owed,
}

/// What a mirror said of itself when it was asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Identity(Identity),
    /// It has none, or none that can be read.
    Wrong(String),
}

/// Fences that are ours for the moment, in the order of their numbers.
pub(super) type Held<'a> = Vec<(FenceNo, MutexGuard<'a, Fence>)>;

impl Mirror {
    pub(super) fn new(quorum: Quorum) -> Self {
        let fences = (FenceNo::MIN..=FenceNo::MAX).map(|_| Mutex::default()).collect();
        Mirror {
            quorum,
            fences,
            said: Default::default(),
            unnamed: Default::default(),
            owed: Owed::default(),
        }
    }

    /// Remembers what it says of itself; whether that is news. Silence is none.
    pub(super) fn note(&self, said: Result<&Identity, &Error>) -> bool {
        let now = match said {
            Ok(identity) => Said::Identity(identity.clone()),
            Err(err) if err.kind() == ErrorKind::WrongQuorum => {
                Said::Wrong(err.detail().unwrap_or_default().to_string())
            }
            Err(_) => return false,
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *said != now;
        *said = now;
        is_news
    }

    /// Remembers that it says who it is and has no node of that name; whether that is news.
    pub(super) fn note_unnamed(&self) -> bool {
        let now = self.known();
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = now.is_none() || *unnamed != now;
        *unnamed = now;
        is_news
    }

    /// Who it was when it was asked last.
    pub(super) fn known(&self) -> Option<Identity> {
        match &*self.said.lock().unwrap_or_else(PoisonError::into_inner) {
            Said::Identity(identity) => Some(identity.clone()),
            _ => None,
        }
    }

    /// Whether it may take the place of `first` with nothing lost, as far as it has said.
    pub(super) fn may_follow(&self, first: &Identity) -> bool {
        match &*self.said.lock().unwrap_or_else(PoisonError::into_inner) {
            Said::Identity(own) => own.complete && own.wrong_as_mirror_of(first).is_none(),
            Said::Nothing | Said::Wrong(_) => false,
        }
    }

    /// Learns where those fences stand of which that is not known, so that the first write behind each
    /// of them need not ask.
    pub(super) fn learn_fences(&self, shared: &Shared, told: &Told) {
        let (name, now) = (told.identity.name(), shared.tick());
        for (number, version) in &told.fences {
            let record = told.records.iter().find(|(own, _)| own == number);
            // Whoever holds one learns more of it.
            if let Some(Ok(mut fence)) = self.fences.get(usize::from(*number)).map(Mutex::try_lock)
                && !fence.is_known(&name)
            {
                fence.learn(&name, *version, record.map(|(_, record)| record.clone()), now);
            }
        }
    }

    /// Waits until the fences are ours: within a process, one write at a time moves a fence.
    pub(super) async fn hold(&self, numbers: BTreeSet<FenceNo>) -> Held<'_> {
        let mut held = Vec::with_capacity(numbers.len());
        // All take them in the same order, so nobody waits in a circle.
        for number in numbers {
            // Invariant: there is a fence for each number.
            held.push((number, self.fences[usize::from(number)].lock().await));
        }
        held
    }
}
