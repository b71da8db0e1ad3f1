//! What groups and members are called.

use super::VERB;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// How the names of a group, of a member, and of a word of one begin.
pub(super) const GROUP: &str = "group-";
pub(super) const NODE: &str = "node-";
pub(super) const ACK: &str = "ack-";
/// How a name begins that has an id before that, so that its maker finds it again behind a lost reply.
const PROTECTED: &str = "_c_";

/// The number in the name of a member; `None` if it is no member's.
pub(super) fn member_number(name: &str) -> Option<i32> {
    number_in(name, NODE).flatten()
}

/// The number in the name of a group: `None` if it is none, `Some(None)` behind the last number.
pub(super) fn number_of_group(name: &str) -> Option<Option<i32>> {
    number_of(name.strip_prefix(GROUP)?)
}

/// The number behind `stem`, with nothing before that or the id of a protected node. `None` if it is
/// no such name, `Some(None)` behind the last number.
pub(super) fn number_in(name: &str, stem: &str) -> Option<Option<i32>> {
    let (before, text) = name.rsplit_once(stem)?;
    let id = before.strip_prefix(PROTECTED).and_then(|id| id.strip_suffix('-'));
    let is_ours = before.is_empty() || id.is_some_and(|id| !id.is_empty());
    is_ours.then(|| number_of(text)).flatten()
}

/// The number that a server wrote.
fn number_of(text: &str) -> Option<Option<i32>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() < 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().ok().filter(|number| *number >= 0))
}

/// The error for whoever would get a number behind the last.
pub(super) fn wrapped(path: &ZkPath) -> Error {
    Error::new(VERB, path, ErrorKind::Unexpected)
        .with_detail("numbers are used up; delete the path of the system while nobody is in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original_and_of_protected_nodes() {
        assert_eq!(number_of_group("group-0000000007"), Some(Some(7)));
        assert_eq!(number_of_group("group--2147483648"), Some(None));
        for foreign in [
            "group-7",
            "group-",
            "group-00000000x7",
            "group",
            "xgroup-0000000007",
            "group-x-group-0000000007",
            "lock-0000000007",
        ] {
            assert_eq!(number_of_group(foreign), None, "{foreign}");
        }
        assert_eq!(member_number("node-0000000012"), Some(12));
        assert_eq!(member_number("_c_0123-node-0000000012"), Some(12));
        for foreign in [
            "ack-0000000012",
            "x-node-0000000012",
            "mynode-0000000012",
            "_c_node-0000000012",
            "_c_-node-0000000012",
            "_c_0123node-0000000012",
            "node-12",
            "node-+000000012",
            "node-0000000012x",
        ] {
            assert_eq!(number_in(foreign, NODE), None, "{foreign}");
        }
    }
}
