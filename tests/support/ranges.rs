//! Who held which range when, by the word of the holders, and a judge of that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use zkcells::Deadline;
use zkcells::recipes::ShardGuard;

/// A range, and from when to when its holder surely believed to hold it, on one clock.
#[derive(Clone, Debug)]
pub struct Held {
    pub worker: usize,
    /// The transaction that published its generation.
    pub zxid: i64,
    pub index: usize,
    pub of: usize,
    pub from: f64,
    pub to: f64,
    pub start: Deadline,
    /// A moment right before the guard was asked, and said that it is valid, for the last time.
    pub end: Deadline,
}

impl Held {
    /// What a guard says; it is valid from `start` on.
    pub fn of(worker: usize, shard: &ShardGuard, start: Deadline) -> Held {
        Held {
            worker,
            zxid: shard.token().zxid(),
            index: shard.index(),
            of: shard.of(),
            from: shard.from(),
            to: shard.to(),
            start,
            end: start,
        }
    }
}

/// What happened in one system. Clones share it.
#[derive(Clone, Default)]
pub struct Ranges(Arc<Mutex<Vec<Held>>>);

/// What the judge says.
#[derive(Debug, Default)]
pub struct Verdict {
    pub grants: usize,
    pub generations: usize,
    /// Generations of which every range was held.
    pub whole: usize,
    /// The most that held at once.
    pub most: usize,
    /// Two who disagree on a generation, or hold the same of it.
    pub clashes: Vec<String>,
    /// Two of different generations who held at the same time, or in another order.
    pub overlaps: Vec<String>,
}

impl Ranges {
    pub fn held(&self, held: Held) {
        self.0.lock().unwrap().push(held);
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn judge(&self) -> Verdict {
        let all = self.0.lock().unwrap();
        let mut generations: BTreeMap<i64, Vec<&Held>> = BTreeMap::new();
        for held in all.iter() {
            generations.entry(held.zxid).or_default().push(held);
        }
        let mut verdict =
            Verdict { grants: all.len(), generations: generations.len(), ..Verdict::default() };
        // The one of all older generations that lasted longest.
        let mut longest: Option<&Held> = None;
        for group in generations.values() {
            for (n, one) in group.iter().enumerate() {
                let fits = one.from.to_bits() == (one.index as f64 / one.of as f64).to_bits()
                    && one.to.to_bits() == ((one.index + 1) as f64 / one.of as f64).to_bits();
                if !fits || one.index >= one.of {
                    verdict.clashes.push(format!("{one:?}"));
                }
                for other in &group[n + 1..] {
                    if one.of != other.of || one.index == other.index {
                        verdict.clashes.push(format!("{one:?} and {other:?}"));
                    }
                }
                if let Some(before) = longest
                    && before.end >= one.start
                {
                    verdict.overlaps.push(format!("{before:?} and {one:?}"));
                }
            }
            verdict.whole += usize::from(group.len() == group[0].of);
            verdict.most = verdict.most.max(group.len());
            let last = group.iter().copied().max_by_key(|held| held.end);
            if longest.is_none_or(|longest| last.is_some_and(|last| last.end > longest.end)) {
                longest = last;
            }
        }
        verdict
    }
}

impl Verdict {
    pub fn violations(&self) -> usize {
        self.clashes.len() + self.overlaps.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} grants in {} generations, {} of them whole, {} at most at once, {} clashes, \
             {} overlaps",
            self.grants,
            self.generations,
            self.whole,
            self.most,
            self.clashes.len(),
            self.overlaps.len()
        )
    }
}
