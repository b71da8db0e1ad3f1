//! How far the first was, as its mirrors know it: so that a first which was restored from an old backup
//! is not believed.
//!
//! Every write to the first sets a node there whose version counts them. Whatever is brought to a mirror
//! leaves in its fences how far the first was at least. A first that counts less than a mirror has on
//! record has lost what it had counted. Transaction numbers would not tell it: an ensemble that comes
//! back begins a new epoch of them, above all that it ever gave out.
//!
//! A version has 32 bits and begins again from below; the count goes on. Whoever writes leaves in the data
//! of that node how far he knew the first to be. The count is the number nearest to that which ends in
//! the bits of the version, so it is right as long as nobody writes who has not looked for 2³¹ writes.

use bytes::Bytes;

use crate::node::Node;

/// A note that the first of a term had counted so many writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) term: String,
    pub(super) count: i64,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from(format!("{} {}", self.term, self.count))
    }

    /// `None` for what is no record, as a fence that was never moved.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let (term, count) = std::str::from_utf8(data).ok()?.split_once(' ')?;
        Some(Record { term: term.to_string(), count: count.parse().ok()? })
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

/// The count of a first whose node has this `version`, and was not far from `near`.
pub(super) fn count(near: i64, version: i32) -> i64 {
    // Its low bits are meant.
    near.wrapping_add(i64::from(version.wrapping_sub(near as i32)))
}

/// The same, as its node says.
pub(super) fn count_of(node: &Node) -> i64 {
    // Nobody has written there yet.
    let near = std::str::from_utf8(&node.data).ok().and_then(|text| text.parse().ok());
    count(near.unwrap_or(0), node.stat.version)
}

/// Whether a first that has counted `count` lacks something that it once had, when it was at `before`.
pub(super) fn is_behind(count: i64, before: i64) -> bool {
    before > count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record { term: "0a".into(), count: -7 };
        assert_eq!(Record::parse(&record.to_bytes()), Some(record));
        for none in ["", "0a", "0a x"] {
            assert_eq!(Record::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_count_goes_on_behind_the_greatest_version() {
        assert!(is_behind(4, 5) && !is_behind(5, 5) && !is_behind(6, 5));
        for before in [0, 5, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 7 << 32] {
            for more in [0, 1, 1 << 30, (1 << 31) - 1] {
                assert_eq!(count(before, (before + more) as i32), before + more);
                // Another may have left what was so long ago, or be a moment ahead.
                assert_eq!(count(before + 9, (before + more) as i32), before + more);
            }
        }
    }

    #[test]
    fn a_record_that_was_long_not_moved_is_no_sign_of_an_old_backup() {
        let of = |count| Record { term: "a".into(), count };
        let now = (1 << 31) + 6;
        assert_eq!(Record::furthest(&[of(5), of(now)], "a"), Some(now));
        assert!(!is_behind(count(now - 1, now as i32), 5));
    }

    #[test]
    fn only_records_of_the_same_term_count() {
        let of = |term: &str, count| Record { term: term.into(), count };
        let records = [of("a", 3), of("b", 9), of("a", 5), of("a", 4)];
        assert_eq!(Record::furthest(&records, "a"), Some(5));
        assert_eq!(Record::furthest(&records, "c"), None);
    }
}
