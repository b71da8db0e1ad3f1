//! Who held which range when, by the word of the holders, and a judge of that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use zkcells::recipes::ShardGuard;
use zkcells::{Conn, ConnExt as _, Deadline};

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
    /// The own number, and the list as the servers have it, if they said.
    pub stored: Option<(i32, Stored)>,
}

/// What the servers have of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub zxid: i64,
    pub list: Vec<i32>,
}

impl Stored {
    /// The list at `group`, if it is still there and somebody answers.
    pub async fn at(conn: &dyn Conn, group: &str) -> Option<Stored> {
        let node = conn.get(group).await.ok()?;
        let (numbers, _) = node.data.as_chunks::<4>();
        let list = numbers.iter().map(|four| i32::from_le_bytes(*four)).collect();
        Some(Stored { zxid: node.stat.mzxid, list })
    }
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
            stored: None,
        }
    }

    /// The same, with what the servers have of it.
    pub async fn with_stored(mut self, conn: &dyn Conn, shard: &ShardGuard) -> Held {
        let node = shard.node();
        let (_, number) = node.name().rsplit_once('-').unwrap();
        let stored = Stored::at(conn, node.parent().unwrap().as_str()).await;
        self.stored = stored.map(|stored| (number.parse().unwrap(), stored));
        self
    }

    /// Whether the list on the servers says the same.
    fn is_as_stored(&self) -> bool {
        let Some((number, Stored { zxid, list })) = &self.stored else { return true };
        *zxid == self.zxid && list.len() == self.of && list.get(self.index) == Some(number)
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
    /// Grants that were held against the list on the servers.
    pub stored: usize,
    /// The most that held at once.
    pub most: usize,
    /// Two who disagree on a generation, or hold the same of it.
    pub clashes: Vec<String>,
    /// A range that is not the one in the list on the servers, or two such lists of one generation.
    pub unlike: Vec<String>,
    /// Generations of which those who held leave some of [0, 1) to nobody.
    pub holes: Vec<String>,
    /// Ranges of such that nobody held.
    pub unheld: usize,
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
            let mut lists = group.iter().filter_map(|held| held.stored.as_ref());
            let list = lists.next().map(|(_, stored)| stored);
            verdict.stored += group.iter().filter(|held| held.stored.is_some()).count();
            for one in group {
                let agrees = one.stored.as_ref().is_none_or(|(_, stored)| Some(stored) == list);
                if !agrees || !one.is_as_stored() {
                    verdict.unlike.push(format!("{one:?}, and {list:?}"));
                }
            }
            match covers(group) {
                true => verdict.whole += 1,
                false => {
                    let of = group[0].of;
                    let unheld: Vec<usize> =
                        (0..of).filter(|n| group.iter().all(|held| held.index != *n)).collect();
                    verdict.unheld += unheld.len();
                    verdict.holes.push(format!("{unheld:?} of {group:?}"));
                }
            }
            verdict.most = verdict.most.max(group.len());
            let last = group.iter().copied().max_by_key(|held| held.end);
            if longest.is_none_or(|longest| last.is_some_and(|last| last.end > longest.end)) {
                longest = last;
            }
        }
        verdict
    }
}

/// Whether these ranges are [0, 1), each beginning to the bit where the one before ends. Of a list
/// with somebody in it who never works they are not, nor of one that names more than there are.
fn covers(group: &[&Held]) -> bool {
    let mut ranges: Vec<(u64, u64)> =
        group.iter().map(|held| (held.from.to_bits(), held.to.to_bits())).collect();
    // Numbers of [0, 1] are in the order of their bits.
    ranges.sort_unstable();
    let edges = ranges.windows(2).all(|two| two[0].1 == two[1].0);
    let first = ranges.first().is_some_and(|range| range.0 == 0.0_f64.to_bits());
    edges && first && ranges.last().is_some_and(|range| range.1 == 1.0_f64.to_bits())
}

impl Verdict {
    /// What must never be. A hole may: whoever was listed and then gave up held nothing.
    pub fn violations(&self) -> usize {
        self.clashes.len() + self.unlike.len() + self.overlaps.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} grants in {} generations, {} of them whole, {} at most at once, {} held against the \
             servers' lists, {} clashes, {} unlike those, {} holes with {} ranges, {} overlaps",
            self.grants,
            self.generations,
            self.whole,
            self.most,
            self.stored,
            self.clashes.len(),
            self.unlike.len(),
            self.holes.len(),
            self.unheld,
            self.overlaps.len()
        )
    }
}
