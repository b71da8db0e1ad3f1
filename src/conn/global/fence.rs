//! What this process knows of one fence of one mirror.
//!
//! Every write to a mirror sets the fence of its path, on condition that the fence has the version
//! that we know. What is written then is what the first held *after* we learned that version. So a
//! value that was read before somebody else brought the mirror further never gets there, however
//! late it comes, and whoever brought a mirror to a state knows that only newer ones can follow. The
//! versions of the nodes themselves would not do: a node that is deleted and made again starts anew.

use std::collections::VecDeque;

use super::count::is_behind;
use super::record::Record;
use crate::path::ZkPath;

/// How many of the paths that were brought up last are remembered.
const REMEMBERED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Fence {
    known: Option<Known>,
    /// Paths that agreed, each with the moment from which the first's state was.
    done: VecDeque<(ZkPath, u64)>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Whose it is: of a quorum that is another by now, nothing is known.
    of: String,
    /// The version as it was read, and as our own writes have left it since.
    read: i32,
    now: i32,
    /// When it was read.
    since: u64,
    /// The latest moment of the first that our writes since then brought here.
    last: u64,
    /// How far the first was then, as it says.
    record: Option<Record>,
}

impl Fence {
    /// The version to write on, if what the first held at `moment` may be written at all: it was
    /// known by then, nobody else has moved the fence since (`seen` is where it stood meanwhile), and
    /// we have brought nothing newer. `of` is the name of whom is written to.
    pub(super) fn admits(&self, of: &str, moment: u64, seen: i32) -> Option<i32> {
        let known = self.known.as_ref().filter(|known| known.of == of)?;
        let is_ours = (known.read..=known.now).contains(&seen);
        (is_ours && known.since < moment && known.last < moment).then_some(known.now)
    }

    /// It was seen at `version`, now, on the quorum with the name `of`.
    pub(super) fn learn(&mut self, of: &str, version: i32, record: Option<Record>, now: u64) {
        let of = of.to_string();
        self.known = Some(Known { of, read: version, now: version, since: now, last: 0, record });
    }

    /// Whether it keeps that the first of `term` had counted more than `count`.
    pub(super) fn is_ahead_of(&self, term: &str, count: i64) -> bool {
        Record::furthest(self.record(), term).is_some_and(|before| is_behind(count, before))
    }

    /// What it keeps, as far as we know.
    pub(super) fn record(&self) -> Option<&Record> {
        self.known.as_ref()?.record.as_ref()
    }

    /// Whether anything is known of it on the quorum with the name `of`.
    pub(super) fn is_known(&self, of: &str) -> bool {
        self.known.as_ref().is_some_and(|known| known.of == of)
    }

    /// Where it stands, as far as we know.
    pub(super) fn now(&self) -> Option<i32> {
        self.known.as_ref().map(|known| known.now)
    }

    /// It stands elsewhere, or may.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// We have moved it to `version` with what the first held at `moment`, and it keeps `record` now.
    pub(super) fn moved(&mut self, version: i32, moment: u64, record: Record) {
        if let Some(known) = &mut self.known {
            known.record = Some(record);
            known.now = version;
            known.last = known.last.max(moment);
        }
    }

    /// `path` is as the first had it at `moment`.
    pub(super) fn agreed(&mut self, path: &ZkPath, moment: u64) {
        self.done.retain(|(done, _)| done != path);
        self.done.push_back((path.clone(), moment));
        if self.done.len() > REMEMBERED {
            self.done.pop_front();
        }
    }

    /// Whether `path` is at least as the first had it at `moment`.
    pub(super) fn has(&self, path: &ZkPath, moment: u64) -> bool {
        self.done.iter().any(|(done, since)| done == path && *since >= moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_after_the_fence_may_pass() {
        let mut fence = Fence::default();
        assert_eq!(fence.admits("a", 9, 4), None);
        fence.learn("a", 4, None, 5);
        assert_eq!(fence.admits("a", 5, 4), None);
        assert_eq!(fence.admits("a", 6, 4), Some(4));
    }

    #[test]
    fn a_fence_that_others_moved_stops_us() {
        let mut fence = Fence::default();
        fence.learn("a", 4, None, 5);
        assert_eq!(fence.admits("a", 6, 5), None);
        fence.forget();
        assert_eq!(fence.admits("a", 6, 4), None);
    }

    #[test]
    fn nothing_is_known_of_a_quorum_that_is_another_by_now() {
        let mut fence = Fence::default();
        fence.learn("a", 4, None, 5);
        assert_eq!(fence.admits("b", 6, 4), None);
    }

    #[test]
    fn our_own_moves_do_not_stop_us_but_nothing_older_follows() {
        let mut fence = Fence::default();
        fence.learn("a", 4, None, 5);
        fence.moved(5, 8, Record::behind(None, "t", 1, []));
        assert_eq!(fence.admits("a", 9, 4), Some(5));
        assert_eq!(fence.admits("a", 9, 5), Some(5));
        assert_eq!(fence.admits("a", 7, 4), None);
    }

    #[test]
    fn a_fence_is_ahead_of_a_first_that_counts_less() {
        let of = |count| Record::behind(None, "t", count, []);
        let mut fence = Fence::default();
        fence.learn("a", 4, Some(of(7)), 5);
        assert!(fence.is_ahead_of("t", 6) && !fence.is_ahead_of("t", 7));
        assert!(!fence.is_ahead_of("u", 6));
        fence.moved(5, 8, of(8));
        assert!(fence.is_ahead_of("t", 7));
    }

    #[test]
    fn what_agreed_later_agrees_with_what_was_before() {
        let (mut fence, path) = (Fence::default(), ZkPath::root().child("a"));
        fence.agreed(&path, 7);
        assert!(fence.has(&path, 7) && fence.has(&path, 3));
        assert!(!fence.has(&path, 8) && !fence.has(&ZkPath::root(), 3));
    }
}
