//! Who held something when, alone or together, by the word of the guards, and a judge of that.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, Mutex};

use zkcells::Deadline;
use zkcells::recipes::{LockMode, Token};

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

/// What happened to one thing that is held by one at a time, or by those who share it. Clones share it.
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
    /// Grants that were shared with others, and those that had been exclusive before.
    pub together: usize,
    pub stepped_down: usize,
    /// Two guards that were valid at the same time, and not both of those who share.
    pub overlaps: Vec<String>,
    /// A later grant with no greater token, where not both share: for a lock whose tokens are its nodes,
    /// somebody was passed over.
    pub inversions: Vec<String>,
    /// A write that the register took behind one with a newer token.
    pub stale: Vec<String>,
}

/// Of the grants before one: what may still be valid, and what must be older.
#[derive(Default)]
struct Before<'a> {
    longest: Option<&'a Grant>,
    newest: Option<&'a Grant>,
}

impl<'a> Before<'a> {
    fn add(&mut self, grant: &'a Grant) {
        if self.longest.is_none_or(|longest| grant.end > longest.end) {
            self.longest = Some(grant);
        }
        if self.newest.is_none_or(|newest| grant.token > newest.token) {
            self.newest = Some(grant);
        }
    }
}

fn shares(token: &Token) -> bool {
    token.mode() == LockMode::Shared
}

/// Whether a write with this token may not come behind one with `seen`. Whoever reads has the token
/// that it had when it wrote.
fn is_stale(token: &Token, seen: &Token) -> bool {
    seen > token || seen.cell() != token.cell()
}

/// Whether it is the same grant with less: of one who wrote and reads now.
fn goes_on(before: &Grant, grant: &Grant) -> bool {
    let same = (before.client, before.token.zxid()) == (grant.client, grant.token.zxid());
    same && !shares(&before.token) && shares(&grant.token)
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
        // Before those who share only those matter who do not.
        let (mut all_before, mut alone_before) = (Before::default(), Before::default());
        let mut shared_until: Option<Deadline> = None;
        for grant in grants {
            let before = if shares(&grant.token) { &alone_before } else { &all_before };
            if let Some(longest) = before.longest.filter(|longest| longest.end >= grant.start) {
                verdict.overlaps.push(format!("{longest:?} and {grant:?}"));
            }
            if let Some(newest) = before.newest {
                let went_on = goes_on(newest, grant);
                verdict.stepped_down += usize::from(went_on);
                if !went_on && grant.token.partial_cmp(&newest.token) != Some(Ordering::Greater) {
                    verdict.inversions.push(format!("{newest:?}, then {grant:?}"));
                }
            }
            all_before.add(grant);
            if shares(&grant.token) {
                verdict.together += usize::from(shared_until >= Some(grant.start));
                shared_until = shared_until.max(Some(grant.end));
            } else {
                alone_before.add(grant);
            }
        }
        let mut writes: Vec<&Write> = all.writes.iter().collect();
        writes.sort_by_key(|write| write.version);
        let (mut newest, mut alone): (Option<&Write>, Option<&Write>) = (None, None);
        for write in writes {
            let before = if shares(&write.token) { alone } else { newest };
            if let Some(before) = before.filter(|seen| is_stale(&write.token, &seen.token)) {
                verdict.stale.push(format!("{before:?}, then {write:?}"));
            }
            let newer = |seen: Option<&'_ Write>| seen.is_none_or(|seen| write.token > seen.token);
            if newer(newest) {
                newest = Some(write);
            }
            if !shares(&write.token) && newer(alone) {
                alone = Some(write);
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
            "{} grants, {} of them together and {} stepped down, {} lost, {} given up, {} failed, \
             {} writes, {} refused, {} overlaps, {} inversions, {} stale writes",
            self.grants,
            self.together,
            self.stepped_down,
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
