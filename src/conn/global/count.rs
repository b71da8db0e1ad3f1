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

use crate::node::Node;

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
        let now = (1 << 31) + 6;
        assert!(!is_behind(count(now - 1, now as i32), 5));
    }
}
