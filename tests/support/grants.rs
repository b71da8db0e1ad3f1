//! Who held something when, by the word of the guards, and a judge of that.

use std::fmt;
use std::sync::{Arc, Mutex};

use zkcells::Deadline;
use zkcells::recipes::Token;

/// A grant: from when to when its guard surely said that it is valid, on one clock.
#[derive(Clone, Debug)]
pub struct Grant {
    pub client: usize,
    /// When the guard had been given out, and was valid.
    pub start: Deadline,
    /// A moment right before it was asked, and said that it is valid, for the last time.
    pub end: Deadline,
    pub token: Token,
}

/// A write that the register took.
#[derive(Clone, Debug)]
struct Write {
    /// The version of the register's node, which says in which order writes were taken.
    version: i32,
    token: Token,
}

/// What happened to one thing that is held by one at a time. Clones share it.
#[derive(Clone, Default)]
pub struct Grants(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    grants: Vec<Grant>,
    writes: Vec<Write>,
    refused: usize,
    lost: usize,
    given_up: usize,
    failed: usize,
}

/// What the judge says.
#[derive(Debug, Default)]
pub struct Verdict {
    pub grants: usize,
    /// Guards that were lost while they were held.
    pub lost: usize,
    /// Contenders that gave up, or failed.
    pub given_up: usize,
    pub failed: usize,
    pub writes: usize,
    /// Writes that the register refused.
    pub refused: usize,
    /// Two guards that were valid at the same time.
    pub overlaps: Vec<String>,
    /// A later grant with no greater token.
    pub inversions: Vec<String>,
    /// A write that the register took behind one with a newer token.
    pub stale: Vec<String>,
}

impl Grants {
    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.0.lock().unwrap()
    }

    pub fn granted(&self, grant: Grant) {
        self.all().grants.push(grant);
    }

    pub fn lost(&self) {
        self.all().lost += 1;
    }

    pub fn gave_up(&self) {
        self.all().given_up += 1;
    }

    pub fn failed(&self) {
        self.all().failed += 1;
    }

    pub fn wrote(&self, version: i32, token: &Token) {
        self.all().writes.push(Write { version, token: token.clone() });
    }

    pub fn refused(&self) {
        self.all().refused += 1;
    }

    pub fn judge(&self) -> Verdict {
        let all = self.all();
        let mut verdict = Verdict {
            grants: all.grants.len(),
            lost: all.lost,
            given_up: all.given_up,
            failed: all.failed,
            writes: all.writes.len(),
            refused: all.refused,
            ..Verdict::default()
        };
        let mut grants: Vec<&Grant> = all.grants.iter().collect();
        grants.sort_by_key(|grant| grant.start);
        // The one that lasts longest so far overlaps, if any does.
        let mut longest: Option<&Grant> = None;
        for (before, grant) in grants.iter().zip(grants.iter().skip(1)) {
            if longest.is_none_or(|longest| before.end > longest.end) {
                longest = Some(before);
            }
            if let Some(longest) = longest
                && longest.end >= grant.start
            {
                verdict.overlaps.push(format!("{longest:?} and {grant:?}"));
            }
            if before.token.partial_cmp(&grant.token) != Some(std::cmp::Ordering::Less) {
                verdict.inversions.push(format!("{before:?}, then {grant:?}"));
            }
        }
        let mut writes: Vec<&Write> = all.writes.iter().collect();
        writes.sort_by_key(|write| write.version);
        for (before, write) in writes.iter().zip(writes.iter().skip(1)) {
            if before.token.partial_cmp(&write.token).is_none_or(std::cmp::Ordering::is_gt) {
                verdict.stale.push(format!("{before:?}, then {write:?}"));
            }
        }
        verdict
    }
}

impl Verdict {
    /// How many rules were broken.
    pub fn violations(&self) -> usize {
        self.overlaps.len() + self.inversions.len() + self.stale.len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} grants, {} lost, {} given up, {} failed, {} writes, {} refused, {} overlaps, \
             {} inversions, {} stale writes",
            self.grants,
            self.lost,
            self.given_up,
            self.failed,
            self.writes,
            self.refused,
            self.overlaps.len(),
            self.inversions.len(),
            self.stale.len(),
        )
    }
}
