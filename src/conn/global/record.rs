//! What a fence of a mirror keeps: how far the first was when it was moved last, and which paths were
//! brought there last, each with how far the first was then.
//!
//! The first tells a first that was restored from an old backup ([`super::count`]). The second tells of
//! two mirrors that hold different things at a path which of them is newer: the one that was brought
//! there surely later than the other. A fence keeps few paths; of all others it knows only how far the
//! first was at most. So it may be that nobody can tell; never is the older one taken for the newer.

use bytes::Bytes;

use super::home::Home;
use crate::path::ZkPath;

/// How many of the paths that were brought last a fence keeps: with 256 fences, those of some 2,000
/// writes. More would not leave a request that moves all fences its room.
const KEPT: usize = 8;

/// A note that the first of a term had counted so many writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) term: String,
    pub(super) count: i64,
    /// How far the first was at most when anything was brought that is not kept any more.
    others: Option<i64>,
    /// The paths that were brought last, the last one at the end: what each of them holds is what the
    /// first held when it had counted so many, or later.
    brought: Vec<(u64, i64)>,
}

impl Record {
    /// What is kept behind `before` when the first of `term` has counted `count`, and these paths are as
    /// it had them then. Counts of different terms do not compare: what was kept of another is forgotten.
    pub(super) fn behind<'a>(
        before: Option<&Record>,
        term: &str,
        count: i64,
        paths: impl IntoIterator<Item = &'a ZkPath>,
    ) -> Record {
        let before = before.filter(|before| before.term == term);
        let mut record = Record {
            term: term.to_string(),
            count: before.map_or(count, |before| before.count.max(count)),
            others: before.and_then(|before| before.others),
            brought: before.map(|before| before.brought.clone()).unwrap_or_default(),
        };
        for path in paths {
            let mark = Home::mark_of(path);
            record.brought.retain(|(known, _)| *known != mark);
            record.brought.push((mark, count));
        }
        let many = record.brought.len().saturating_sub(KEPT);
        let gone = record.brought.drain(..many).map(|(_, count)| count).max();
        record.others = record.others.max(gone);
        record
    }

    /// How far the first was at least when `path` was as it is here; `None` if that is not kept.
    pub(super) fn at_least(&self, path: &ZkPath) -> Option<i64> {
        let mark = Home::mark_of(path);
        self.brought.iter().find(|(known, _)| *known == mark).map(|(_, count)| *count)
    }

    /// How far the first was at most when anything was brought to `path`; `None` if nothing was.
    pub(super) fn at_most(&self, path: &ZkPath) -> Option<i64> {
        self.at_least(path).or(self.others)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let others = self.others.map_or(NONE.to_string(), |others| others.to_string());
        let mut text = format!("{} {} {others}", self.term, self.count);
        for (mark, count) in &self.brought {
            text.push_str(&format!(" {mark:x}:{count}"));
        }
        Bytes::from(text)
    }

    /// `None` for what is no record, as a fence that was never moved.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(data).ok()?.split(' ');
        let (term, count) = (parts.next()?.to_string(), parts.next()?.parse().ok()?);
        let others = match parts.next()? {
            NONE => None,
            others => Some(others.parse().ok()?),
        };
        let brought = parts.map(|part| {
            let (mark, count) = part.split_once(':')?;
            Some((u64::from_str_radix(mark, 16).ok()?, count.parse().ok()?))
        });
        Some(Record { term, count, others, brought: brought.collect::<Option<_>>()? })
    }

    /// How far the first of `term` was, as the most advanced of `records` says.
    pub(super) fn furthest<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        term: &str,
    ) -> Option<i64> {
        let counts = records.into_iter().filter(|record| record.term == term);
        counts.map(|record| record.count).max()
    }
}

/// Where nothing was forgotten.
const NONE: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: usize) -> ZkPath {
        ZkPath::root().child(&number.to_string())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record::behind(None, "0a", -7, []);
        for count in -6..20 {
            assert_eq!(Record::parse(&record.to_bytes()), Some(record.clone()));
            record =
                Record::behind(Some(&record), "0a", count, [&path(count.unsigned_abs() as usize)]);
        }
        for none in ["", "0a", "0a x", "0a 1 x", "0a 1 - x", "0a 1 - 5:x"] {
            assert_eq!(Record::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn only_records_of_the_same_term_count() {
        let of = |term: &str, count| Record::behind(None, term, count, []);
        let records = [of("a", 3), of("b", 9), of("a", 5), of("a", 4)];
        assert_eq!(Record::furthest(&records, "a"), Some(5));
        assert_eq!(Record::furthest(&records, "c"), None);
    }

    #[test]
    fn what_was_brought_last_is_kept_and_of_all_else_how_late_it_was_at_most() {
        let mut record = Record::behind(None, "a", 3, [&path(0)]);
        assert_eq!((record.at_least(&path(0)), record.at_most(&path(0))), (Some(3), Some(3)));
        assert_eq!((record.at_least(&path(1)), record.at_most(&path(1))), (None, None));
        for number in 1..=KEPT {
            record = Record::behind(Some(&record), "a", 10 + number as i64, [&path(number)]);
        }
        assert_eq!((record.at_least(&path(0)), record.at_most(&path(0))), (None, Some(3)));
        assert_eq!(record.at_least(&path(1)), Some(11));
        // Whoever comes again is the last one.
        record = Record::behind(Some(&record), "a", 30, [&path(1)]);
        record = Record::behind(Some(&record), "a", 31, [&path(9)]);
        assert_eq!((record.at_least(&path(1)), record.at_least(&path(2))), (Some(30), None));
        assert_eq!(record.at_most(&path(2)), Some(12));
        assert_eq!(record.count, 31);
    }

    #[test]
    fn nothing_of_another_term_is_kept_and_no_count_goes_back() {
        let record = Record::behind(None, "a", 7, [&path(0)]);
        let same = Record::behind(Some(&record), "a", 6, []);
        assert_eq!((same.count, same.at_least(&path(0))), (7, Some(7)));
        let other = Record::behind(Some(&record), "b", 1, []);
        assert_eq!((other.count, other.at_most(&path(0))), (1, None));
    }
}
