//! The state of a cyclic barrier, and its moves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CyclicBarrier;
use crate::recipes::owner::Owner;

/// Of so many broken generations it is known why.
const BREAKS: usize = 64;

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// A random number, as long as nobody writes over it and begins with the first generation again.
    #[serde(default)]
    pub(super) id: u64,
    pub(super) parties: usize,
    pub(super) tolerate_failures: bool,
    pub(super) generation: u64,
    /// Who is there, in the order of arrival.
    pub(super) arrived: Vec<Arrival>,
    /// Why this generation is broken, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) broken: Option<String>,
    /// The last generation that opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<Opened>,
    /// Why earlier generations were broken, of the latest that were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    breaks: BTreeMap<u64, String>,
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrival {
    /// The random id of one call of `wait`.
    pub(super) id: String,
    /// Host and process.
    pub(super) who: String,
}

/// A generation that opened, and by whose ids, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    generation: u64,
    by: Vec<String>,
}

/// What became of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waiting,
    Opened,
    Broken(String),
    /// It is over for so long that nobody knows any more.
    Forgotten,
}

impl State {
    /// Of a barrier at which nobody has waited yet.
    pub(super) fn new(barrier: &CyclicBarrier) -> Self {
        State {
            id: fastrand::u64(..),
            parties: barrier.parties,
            tolerate_failures: barrier.tolerant,
            generation: 0,
            arrived: Vec::new(),
            broken: None,
            opened: None,
            breaks: BTreeMap::new(),
        }
    }

    /// What `data` says; `None` if that is no state, or one behind which there can be no other.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let state: State = serde_json::from_slice(data).ok()?;
        (state.generation < u64::MAX).then_some(state)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same, as `barrier` has it.
    pub(super) fn of(mut self, barrier: &CyclicBarrier) -> Self {
        self.parties = barrier.parties;
        self.tolerate_failures = barrier.tolerant;
        self
    }

    /// Whether `barrier` can take part: it is of one mind with those who wait, or nobody does.
    pub(super) fn agrees(&self, barrier: &CyclicBarrier) -> bool {
        self.parties == barrier.parties && self.tolerate_failures == barrier.tolerant
            || self.arrived.is_empty()
    }

    /// The state with one more arrival.
    pub(super) fn arrive(&self, arrival: Arrival) -> Self {
        let mut next = self.clone();
        next.arrived.push(arrival);
        if next.arrived.len() >= next.parties {
            let by = next.arrived.drain(..).map(|arrival| arrival.id).collect();
            next.opened = Some(Opened { generation: self.generation, by });
            next.generation += 1;
        }
        next
    }

    /// The state broken.
    pub(super) fn break_off(&self, why: &str) -> Self {
        State { broken: Some(why.to_owned()), ..self.clone() }
    }

    /// The state in the next generation; this one is broken unless nobody was there.
    pub(super) fn reset(&self, why: &str) -> Self {
        let mut next = self.clone();
        let broken = next.broken.take();
        if broken.is_some() || !next.arrived.is_empty() {
            next.breaks.insert(next.generation, broken.unwrap_or_else(|| why.to_owned()));
        }
        while next.breaks.len() > BREAKS {
            next.breaks.pop_first();
        }
        next.arrived.clear();
        next.generation += 1;
        next
    }

    /// What became of a generation.
    pub(super) fn fate(&self, generation: u64) -> Fate {
        if generation >= self.generation {
            return match &self.broken {
                _ if generation > self.generation => Fate::Forgotten,
                Some(why) => Fate::Broken(why.clone()),
                None => Fate::Waiting,
            };
        }
        match (self.breaks.get(&generation), self.breaks.first_key_value()) {
            (Some(why), _) => Fate::Broken(why.clone()),
            (None, Some((first, _))) if self.breaks.len() == BREAKS && generation < *first => {
                Fate::Forgotten
            }
            _ => Fate::Opened,
        }
    }

    /// At which place `id` has arrived in this generation.
    pub(super) fn place(&self, id: &str) -> Option<usize> {
        self.arrived.iter().position(|arrival| arrival.id == id)
    }

    /// At which place `id` was in the last generation that opened.
    pub(super) fn place_in_opened(&self, id: &str) -> Option<usize> {
        self.opened.as_ref()?.by.iter().position(|by| by == id)
    }

    /// Whether `id` was in `generation`, which has opened, as far as that is known still.
    pub(super) fn was_in_opened(&self, id: &str, generation: u64) -> bool {
        !self.tells_who_opened(generation) || self.place_in_opened(id).is_some()
    }

    /// Whether it is known who was in `generation`, which has opened.
    pub(super) fn tells_who_opened(&self, generation: u64) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.generation == generation)
    }
}

impl Arrival {
    /// The name of its node.
    pub(super) fn node(&self) -> String {
        format!("party-{}", self.id)
    }
}

/// Host and process, for people.
pub(super) fn whoami() -> String {
    let Owner { hostname, pid, .. } = Owner::here("");
    format!("process {pid} on {hostname}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryConn;

    fn state(parties: usize) -> State {
        State::new(&CyclicBarrier::new(MemoryConn::new(), "/b", parties))
    }

    fn arrival(id: &str) -> Arrival {
        Arrival { id: id.into(), who: id.into() }
    }

    #[test]
    fn a_generation_opens_with_its_last_arrival() {
        let state = state(2).arrive(arrival("a"));
        assert_eq!(
            (state.generation, state.place("a"), state.fate(0)),
            (0, Some(0), Fate::Waiting)
        );
        let state = state.arrive(arrival("b"));
        assert_eq!((state.generation, state.arrived.len()), (1, 0));
        assert_eq!((state.fate(0), state.fate(1)), (Fate::Opened, Fate::Waiting));
        assert_eq!((state.place("a"), state.place_in_opened("b")), (None, Some(1)));
        assert_eq!(State::parse(&state.to_json()), Some(state));
    }

    #[test]
    fn a_break_is_told_to_its_generation_only() {
        let state = state(2).arrive(arrival("a")).break_off("a gave up");
        assert_eq!(state.fate(0), Fate::Broken("a gave up".into()));
        let state = state.reset("somebody reset it");
        assert_eq!((state.generation, state.broken.as_ref()), (1, None));
        let state = state.arrive(arrival("b")).arrive(arrival("c"));
        assert_eq!(state.fate(0), Fate::Broken("a gave up".into()));
        assert_eq!((state.fate(1), state.fate(2)), (Fate::Opened, Fate::Waiting));
    }

    #[test]
    fn a_reset_breaks_nobody_where_nobody_waits() {
        let state = state(2).reset("reset");
        assert_eq!((state.generation, state.fate(0)), (1, Fate::Opened));
        let state = state.arrive(arrival("a")).reset("reset");
        assert_eq!(state.fate(1), Fate::Broken("reset".into()));
    }

    #[test]
    fn what_is_too_long_ago_is_forgotten() {
        let mut state = state(2);
        for _ in 0..=BREAKS {
            state = state.arrive(arrival("a")).reset("reset");
        }
        assert_eq!(state.fate(0), Fate::Forgotten);
        assert_eq!(state.fate(1), Fate::Broken("reset".into()));
        assert_eq!(state.fate(state.generation + 1), Fate::Forgotten);
    }
}
