//! The nodes that a set keeps on each of its quorums, beside the tree of its users.
//!
//! ```text
//! /zkcells/global                  the identity of this quorum, as JSON
//! /zkcells/global/is-…             the same as a name: it is there for as long as the identity is this
//! /zkcells/global/count            its version counts the writes of a first
//! /zkcells/global/fence-00         its version counts what mirrors were brought to, for 1/256 of all paths
//!                 …
//! /zkcells/global/fence-ff
//! ```

use bytes::Bytes;

use super::identity::{Identity, NAME};
use crate::node::{Mode, Version};
use crate::path::ZkPath;
use crate::request::MultiOp;

/// Where a set keeps its own nodes.
#[derive(Clone, Debug)]
pub(super) struct Home {
    path: ZkPath,
    top: ZkPath,
}

const COUNT: &str = "count";

/// Everything below this belongs to sets of quorums.
const RESERVED: &str = "zkcells";

/// Which fence guards a path.
pub(super) type FenceNo = u8;

impl Home {
    pub(super) fn new(path: ZkPath, top: ZkPath) -> Self {
        Home { path, top }
    }

    /// The identity node.
    pub(super) fn path(&self) -> &ZkPath {
        &self.path
    }

    /// The node whose version counts the writes to a first.
    pub(super) fn count(&self) -> ZkPath {
        self.path.child(COUNT)
    }

    /// The node at and below which the tree is that all quorums hold.
    pub(super) fn top(&self) -> &ZkPath {
        &self.top
    }

    pub(super) fn fence(&self, number: FenceNo) -> ZkPath {
        self.path.child(&format!("fence-{number:02x}"))
    }

    /// What `path` is known by where it is too long to be kept: the same in every process and every
    /// release, so it is FNV-1a and not whatever hash the standard library has today.
    pub(super) fn mark_of(path: &ZkPath) -> u64 {
        path.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The fence of `path`, for good.
    pub(super) fn fence_of(path: &ZkPath) -> FenceNo {
        let hash = Self::mark_of(path);
        // Its lowest byte hardly depends on the last one of the path.
        (hash ^ (hash >> 32)).to_le_bytes()[1]
    }

    /// Whether `path` belongs to a set of quorums, this one or another.
    pub(super) fn is_reserved(&self, path: &ZkPath) -> bool {
        path.is_in(&self.path) || path.components().next() == Some(RESERVED)
    }

    /// Whether `path` is in the tree that this set holds.
    pub(super) fn is_inside(&self, path: &ZkPath) -> bool {
        path.is_in(&self.top)
    }

    /// Whether the set's own nodes are below `path`.
    pub(super) fn is_below(&self, path: &ZkPath) -> bool {
        self.path.is_in(path)
    }

    /// Whether `path` is above that tree.
    pub(super) fn is_above(&self, path: &ZkPath) -> bool {
        self.top.is_in(path) && path != &self.top
    }

    /// Whether `path` is part of the tree that all quorums hold: neither a set's own nodes and what
    /// they stand on, nor those of ZooKeeper itself.
    pub(super) fn is_mirrored(&self, path: &ZkPath) -> bool {
        self.is_inside(path)
            && !self.is_below(path)
            && !self.is_reserved(path)
            && path.components().next() != Some("zookeeper")
    }

    /// Whether there may be nodes at or below `path` that all quorums hold.
    pub(super) fn may_hold(&self, path: &ZkPath) -> bool {
        let leads_there = self.is_below(path) || self.is_above(path);
        self.is_mirrored(path) || (leads_there && !self.is_reserved(path))
    }

    /// The node that says by its name who a quorum is.
    pub(super) fn name(&self, identity: &Identity) -> ZkPath {
        self.path.child(&identity.name())
    }

    /// Whether a quorum whose node has these children is named as `identity` says, and nothing else,
    /// and can count.
    pub(super) fn is_named(identity: &Identity, children: &[String]) -> bool {
        let mut names = children.iter().filter(|child| child.starts_with(NAME));
        names.next().is_some_and(|name| *name == identity.name())
            && names.next().is_none()
            && children.iter().any(|child| child == COUNT)
    }

    /// Creates everything, all or nothing; what is above must be there.
    pub(super) fn creation(&self, identity: &Identity) -> Vec<MultiOp> {
        let create = |path: ZkPath, data: Bytes| {
            let options = Mode::Persistent.into();
            MultiOp::Create { path, data, options }
        };
        let mut ops = vec![create(self.path.clone(), identity.to_bytes())];
        ops.push(create(self.name(identity), Bytes::new()));
        ops.push(create(self.count(), Bytes::new()));
        let numbers = FenceNo::MIN..=FenceNo::MAX;
        ops.extend(numbers.map(|number| create(self.fence(number), Bytes::new())));
        ops
    }

    /// Makes `after` of a quorum that is `before`, as a node of `version` says.
    pub(super) fn change(&self, before: &Identity, after: &Identity, version: i32) -> Vec<MultiOp> {
        let version = Version::Exact(version);
        let mut ops = vec![
            self.check(before),
            MultiOp::Set { path: self.path.clone(), data: after.to_bytes(), version },
        ];
        if !before.is(after) {
            ops.push(MultiOp::Delete { path: self.name(before), version: Version::Any });
            let (path, options) = (self.name(after), Mode::Persistent.into());
            ops.push(MultiOp::Create { path, data: Bytes::new(), options });
        }
        ops
    }

    /// The next number of a first which was known to have counted so many.
    pub(super) fn counted(&self, known: i64) -> MultiOp {
        let data = known.to_string().into();
        MultiOp::Set { path: self.count(), data, version: Version::Any }
    }

    /// The condition that a quorum is still who it was.
    pub(super) fn check(&self, identity: &Identity) -> MultiOp {
        MultiOp::Check { path: self.name(identity), version: Version::Any }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_of_a_path_never_changes() {
        let of = |path: &str| Home::fence_of(&ZkPath::new(path).unwrap());
        assert_eq!([of("/"), of("/a"), of("/zk/global/vt")], [43, 190, 232]);
    }

    #[test]
    fn paths_that_differ_in_one_letter_have_many_fences() {
        let fences: std::collections::HashSet<u8> = (0..1000)
            .map(|n| Home::fence_of(&ZkPath::new(format!("/zk/global/n-{n:010}")).unwrap()))
            .collect();
        assert!(fences.len() > 200, "{}", fences.len());
    }

    #[test]
    fn own_nodes_and_those_of_zookeeper_are_not_mirrored() {
        let path = |text: &str| ZkPath::new(text).unwrap();
        let home = Home::new(path("/zkcells/global"), path("/"));
        let zookeeper = ["/zookeeper", "/zookeeper/x"];
        let own = ["/zkcells", "/zkcells/global", "/zkcells/global/fence-00", "/zkcells/other/x"];
        for text in zookeeper.iter().chain(&own).chain(&["/"]) {
            assert!(!home.is_mirrored(&path(text)), "{text}");
        }
        for text in own {
            assert!(home.is_reserved(&path(text)), "{text}");
        }
        for text in ["/zk", "/zkcellsx", "/zookeeperx"] {
            assert!(home.is_mirrored(&path(text)), "{text}");
        }
        let elsewhere = Home::new(path("/app/own"), path("/"));
        for text in ["/app", "/app/own", "/app/own/x", "/zkcells/x"] {
            assert!(!elsewhere.is_mirrored(&path(text)), "{text}");
        }
        assert!(elsewhere.is_mirrored(&path("/app/other")) && elsewhere.may_hold(&path("/app")));
    }

    #[test]
    fn what_is_not_in_its_tree_is_not_mirrored() {
        let path = |text: &str| ZkPath::new(text).unwrap();
        let home = Home::new(path("/zkcells/a"), path("/zk/a"));
        for text in ["/", "/zk", "/zk/b", "/zk/ab"] {
            assert!(!home.is_mirrored(&path(text)), "{text}");
        }
        assert!(home.is_mirrored(&path("/zk/a")) && home.is_mirrored(&path("/zk/a/x")));
        assert!(home.may_hold(&path("/zk")) && !home.may_hold(&path("/zk/b")));
    }
}
