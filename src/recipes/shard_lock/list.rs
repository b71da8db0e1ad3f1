//! The list of members that publishes a group: a little-endian int32 for each.

use super::VERB;
use super::groups::creations;
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::path::ZkPath;

/// The members that a group's data lists; `None` while it lists none.
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
    let (numbers, rest) = data.as_chunks::<4>();
    if !rest.is_empty() {
        let why = format!("its data has {} bytes; expected 4 for each member", data.len());
        return Err(bad(why));
    }
    let members: Vec<i32> = numbers.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let made = creations(&node.stat);
    if let Some(number) = members.iter().find(|number| !(0..made).contains(*number)) {
        return Err(bad(format!("its data lists member {number}, which was never made")));
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

    fn node(data: &[u8], made: i32) -> Node {
        let stat = Stat { cversion: 2 * made, ..Stat::default() };
        Node { data: data.to_vec().into(), stat }
    }

    #[test]
    fn the_original_s_lists_are_read_and_written() {
        let group = ZkPath::new("/sys/group-0000000002").unwrap();
        let bytes = [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(decode(&group, &node(&bytes, 3)).unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(encode([0, 1, 2]), bytes);
        assert_eq!(encode([258]), [2, 1, 0, 0]);
        assert_eq!(decode(&group, &node(b"", 3)).unwrap(), None);
    }

    #[test]
    fn data_that_is_no_list_is_an_error_of_its_group() {
        let group = ZkPath::new("/sys/group-0000000002").unwrap();
        for bytes in
            [&b"0,1,2"[..], b"0,10", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0", b"\x03\0\0\0"]
        {
            let err = decode(&group, &node(bytes, 3)).unwrap_err();
            assert_eq!((err.kind(), err.path()), (ErrorKind::Unexpected, group.as_str()), "{err}");
        }
    }
}
