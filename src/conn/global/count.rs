//! How far the first was, as its mirrors know it: so that a first which was restored from an old backup
//! is not believed.
//!
//! Every write to the first sets a node there whose version counts them. Whatever is brought to a mirror
//! leaves in its fences how far the first was at least. A first that counts less than a mirror has on
//! record has lost what it had counted. Transaction numbers would not tell it: an ensemble that comes
//! back begins a new epoch of them, above all that it ever gave out.

use bytes::Bytes;

/// A note that the first of a term had counted so many writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) term: String,
    pub(super) count: i32,
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
    ) -> Option<i32> {
        let counts = records.into_iter().filter(|record| record.term == term);
        counts
            .map(|record| record.count)
            .reduce(|one, other| if is_behind(one, other) { other } else { one })
    }
}

/// Whether a first that has counted `count` lacks something that it once had, when it was at `before`.
/// Versions begin again from below after 2³¹ writes.
pub(super) fn is_behind(count: i32, before: i32) -> bool {
    before.wrapping_sub(count) > 0
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
    fn a_count_goes_on_behind_the_greatest_number() {
        assert!(is_behind(4, 5) && !is_behind(5, 5) && !is_behind(6, 5));
        assert!(is_behind(i32::MAX, i32::MIN) && !is_behind(i32::MIN, i32::MAX));
    }

    #[test]
    fn only_records_of_the_same_term_count() {
        let of = |term: &str, count| Record { term: term.into(), count };
        let records = [of("a", 3), of("b", 9), of("a", 5), of("a", 4)];
        assert_eq!(Record::furthest(&records, "a"), Some(5));
        assert_eq!(Record::furthest(&records, "c"), None);
    }
}
