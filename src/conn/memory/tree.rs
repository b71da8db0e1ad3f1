//! The nodes of a quorum, and ZooKeeper's bookkeeping of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::lives::{Life, Lives};
use crate::node::{Acl, Node, Perms, Stat};
use crate::path::ZkPath;

/// The number and the time of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    pub(super) zxid: i64,
    /// Milliseconds since 1970.
    pub(super) time: i64,
}

/// One node.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) data: Bytes,
    pub(super) acl: Arc<[Acl]>,
    pub(super) life: Life,
    pub(super) version: i32,
    pub(super) aversion: i32,
    /// How many children were created here so far. Servers count this and show another
    /// `cversion`.
    pub(super) creates: i32,
    /// The next sequence number. It is `creates` but for the transaction under way, in which it
    /// may wrap; see [`Tree::settle`].
    pub(super) next: i32,
    pub(super) mtime: i64,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    children: BTreeSet<Box<str>>,
}

impl Record {
    pub(super) fn new(data: Bytes, acl: Arc<[Acl]>, life: Life, stamp: Stamp) -> Self {
        Record {
            data,
            acl,
            life,
            version: 0,
            aversion: 0,
            creates: 0,
            next: 0,
            mtime: stamp.time,
            czxid: stamp.zxid,
            mzxid: stamp.zxid,
            pzxid: stamp.zxid,
            ctime: stamp.time,
            children: BTreeSet::new(),
        }
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// The names below it, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.children.iter().map(|name| name.to_string()).collect()
    }

    pub(super) fn node(&self) -> Node {
        Node { data: self.data.clone(), stat: self.stat() }
    }

    pub(super) fn stat(&self) -> Stat {
        // Requests are limited to 1 MiB, and 2^31 children do not fit into memory.
        let num_children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // A count of creates and deletes, made from the count of creates.
            cversion: self.creates.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: self.life.owner(),
            data_length: i32::try_from(self.data.len()).unwrap_or(i32::MAX),
            num_children,
            pzxid: self.pzxid,
        }
    }
}

/// How to take one change back.
#[derive(Debug)]
pub(super) enum Undo {
    Insert { path: ZkPath, creates: i32, next: i32, pzxid: i64 },
    Remove { path: ZkPath, record: Box<Record>, pzxid: i64 },
    Set { path: ZkPath, data: Bytes, mzxid: i64, mtime: i64 },
}

/// All nodes by their paths. Every node but `/` has its parent here.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<ZkPath, Record>,
    pub(super) lives: Lives,
}

impl Tree {
    /// What a fresh server holds.
    pub(super) fn new() -> Self {
        let open: Arc<[Acl]> = Acl::open().into();
        let fresh = |children: &[&str]| Record {
            children: children.iter().map(|name| (*name).into()).collect(),
            ..Record::new(Bytes::new(), open.clone(), Life::Persistent, Stamp::default())
        };
        let system = ZkPath::root().child("zookeeper");
        let config =
            Record { acl: vec![Acl::world(Perms::READ)].into(), aversion: -1, ..fresh(&[]) };
        let nodes = HashMap::from([
            (ZkPath::root(), fresh(&["zookeeper"])),
            (system.child("quota"), fresh(&[])),
            (system.child("config"), config),
            (system, fresh(&["config", "quota"])),
        ]);
        Tree { nodes, lives: Lives::new() }
    }

    pub(super) fn get(&self, path: &ZkPath) -> Option<&Record> {
        self.nodes.get(path)
    }

    pub(super) fn get_mut(&mut self, path: &ZkPath) -> Option<&mut Record> {
        self.nodes.get_mut(path)
    }

    /// Adds a node below `parent`. The caller has seen that the parent is there and the node not.
    pub(super) fn insert(
        &mut self,
        path: &ZkPath,
        parent: &ZkPath,
        record: Record,
    ) -> Option<Undo> {
        let above = self.nodes.get_mut(parent)?;
        let undo = Undo::Insert {
            path: path.clone(),
            creates: above.creates,
            next: above.next,
            pzxid: above.pzxid,
        };
        above.children.insert(path.name().into());
        above.next = above.next.wrapping_add(1);
        if above.next > above.creates {
            above.creates = above.next;
            above.pzxid = record.czxid;
        }
        self.lives.enter(path, record.life, record.mtime);
        self.nodes.insert(path.clone(), record);
        Some(undo)
    }

    /// Takes a node away from below `parent`. The caller has seen that it has no children.
    pub(super) fn remove(&mut self, path: &ZkPath, parent: &ZkPath, zxid: i64) -> Option<Undo> {
        let record = Box::new(self.nodes.remove(path)?);
        self.lives.leave(path, record.life);
        let above = self.nodes.get_mut(parent)?;
        let undo = Undo::Remove { path: path.clone(), record, pzxid: above.pzxid };
        above.children.remove(path.name());
        above.pzxid = zxid;
        if let Life::Ttl(ttl) = above.life {
            // While it had this child, its time could not be up.
            self.lives.look_at(above.mtime.saturating_add(ttl));
        }
        Some(undo)
    }

    /// Gives a node new data.
    pub(super) fn set(&mut self, path: &ZkPath, data: Bytes, stamp: Stamp) -> Option<Undo> {
        let record = self.nodes.get_mut(path)?;
        let data = std::mem::replace(&mut record.data, data);
        let undo = Undo::Set { path: path.clone(), data, mzxid: record.mzxid, mtime: record.mtime };
        record.version = record.version.wrapping_add(1);
        record.mzxid = stamp.zxid;
        record.mtime = stamp.time;
        Some(undo)
    }

    /// Keeps a change, whose transaction is complete.
    ///
    /// A count of creates that reached its end stays there: 3.8.0 keeps the larger of the old and
    /// the new one (measured: after `…2147483647` the next one-by-one create of the same prefix
    /// is `NodeExists`, and `pzxid` stands still, while numbers within one multi wrap).
    pub(super) fn settle(&mut self, done: Undo) {
        if let Undo::Insert { path, .. } = done
            && let Some(above) = self.above(&path)
        {
            above.next = above.creates;
        }
    }

    /// Takes a change back. Changes are taken back in the reverse order of their making.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Insert { path, creates, next, pzxid } => {
                if let Some(record) = self.nodes.remove(&path) {
                    self.lives.leave(&path, record.life);
                }
                if let Some(above) = self.above(&path) {
                    above.children.remove(path.name());
                    above.creates = creates;
                    above.next = next;
                    above.pzxid = pzxid;
                }
            }
            Undo::Remove { path, record, pzxid } => {
                if let Some(above) = self.above(&path) {
                    above.children.insert(path.name().into());
                    above.pzxid = pzxid;
                }
                self.lives.enter(&path, record.life, record.mtime);
                self.nodes.insert(path, *record);
            }
            Undo::Set { path, data, mzxid, mtime } => {
                if let Some(record) = self.nodes.get_mut(&path) {
                    record.data = data;
                    record.version = record.version.wrapping_sub(1);
                    record.mzxid = mzxid;
                    record.mtime = mtime;
                }
            }
        }
    }

    fn above(&mut self, path: &ZkPath) -> Option<&mut Record> {
        self.nodes.get_mut(&path.parent()?)
    }
}
