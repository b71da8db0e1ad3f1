//! A path in the order in which trees are walked.

use std::cmp::Ordering;

use crate::path::ZkPath;

/// A path in the order of [`tree::walk`](crate::tree::walk): each node before its descendants,
/// siblings by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) ZkPath);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // Component by component: as plain text, `/a-b` would stand between `/a` and `/a/b`.
        self.0.components().cmp(other.0.components())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stands_before_its_descendants_and_they_before_its_next_sibling() {
        let mut places: Vec<Place> = ["/b", "/a-b", "/a/b", "/", "/a", "/a/b/c"]
            .iter()
            .map(|path| Place(ZkPath::new(path).unwrap()))
            .collect();
        places.sort();
        let order: Vec<&str> = places.iter().map(|place| place.0.as_str()).collect();
        assert_eq!(order, ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/b"]);
    }
}
