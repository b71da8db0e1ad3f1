//! The list of members that publishes a group: a little-endian int32 for each.

use super::VERB;
use super::names::wrapped;
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::path::ZkPath;

/// The members that a group's data lists; `None` while it lists none.
///
/// Whether members with these numbers were ever made here is not looked at: a list that came by a copy
/// of the tree, or stands in a quorum that has taken another's part, is one of members elsewhere.
///
/// # Errors
///
/// `Unexpected`, of the group.
pub(super) fn decode(path: &ZkPath, node: &Node) -> Result<Option<Vec<i32>>, Error> {
    let data = &node.data;
    if data.is_empty() {
        return Ok(None);
    }
    let bad = |why: String| Error::new(VERB, path, ErrorKind::Unexpected).with_detail(why);
    // Of a list these would be numbers from 741092396 on, which no group ever gets to.
    if data.iter().all(|byte| byte.is_ascii_digit() || *byte == b',') {
        return Err(bad(
            "its data is text, as of shard-lock 1.x; expected 4 bytes for each member, \
             as of 2.x"
                .into(),
        ));
    }
    let (numbers, rest) = data.as_chunks::<4>();
    if !rest.is_empty() {
        let why = format!("its data has {} bytes; expected 4 for each member", data.len());
        return Err(bad(why));
    }
    let members: Vec<i32> = numbers.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    if members.iter().any(|number| *number < 0) {
        return Err(wrapped(path));
    }
    let mut sorted = members.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < members.len() {
        return Err(bad("its data lists a member twice".into()));
    }
    Ok(Some(members))
}

/// The data that lists these members.
pub(super) fn encode(members: impl IntoIterator<Item = i32>) -> Vec<u8> {
    members.into_iter().flat_map(i32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Stat;

    fn read(data: &[u8]) -> Result<Option<Vec<i32>>, Error> {
        let group = ZkPath::new("/sys/group-0000000002").unwrap();
        decode(&group, &Node { data: data.to_vec().into(), stat: Stat::default() })
    }

    #[test]
    fn the_original_s_lists_are_read_and_written() {
        let bytes = [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(read(&bytes).unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(encode([0, 1, 2]), bytes);
        assert_eq!(encode([258]), [2, 1, 0, 0]);
        assert_eq!(read(b"").unwrap(), None);
    }

    #[test]
    fn data_that_is_no_list_is_an_error_of_its_group() {
        for (bytes, why) in [
            (&b"abcde"[..], "has 5 bytes"),
            (b"0,1,2", "is text"),
            (b"0,10", "is text"),
            (b"\xff\xff\xff\xff", "used up"),
            (b"\0\0\0\0\0\0\0\0", "a member twice"),
        ] {
            let err = read(bytes).unwrap_err();
            let group = "/sys/group-0000000002";
            assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, group), "{err}");
            assert!(err.to_string().contains(why), "{err}");
        }
    }
}
