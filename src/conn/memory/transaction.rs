//! Writes: what servers check, in their order, and what they then change.
//!
//! The order is that of ZooKeeper's `PrepRequestProcessor`, since it decides which of two errors
//! a caller sees.

use std::sync::Arc;

use bytes::Bytes;

use super::access::{self, Identity};
use super::lives::Life;
use super::refusal::Refusal;
use super::tree::{Record, Stamp, Tree, Undo};
use crate::error::ErrorKind;
use crate::node::{Acl, CreateOptions, Perms, Stat, Version};
use crate::path::ZkPath;
use crate::request::{MultiOp, MultiReply};
use crate::watch::{Event, EventKind};

/// An event, and the access list that says who may learn of it.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) event: Event,
    pub(super) acl: Arc<[Acl]>,
}

/// Writes of one session under one transaction number. Dropped without [`commit`](Self::commit),
/// it takes back what it did.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    tree: &'a mut Tree,
    who: &'a [Identity],
    session: i64,
    stamp: Stamp,
    done: Vec<Undo>,
    changes: Vec<Change>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tree: &'a mut Tree, who: &'a [Identity], session: i64, stamp: Stamp) -> Self {
        Transaction { tree, who, session, stamp, done: Vec::new(), changes: Vec::new() }
    }

    /// Keeps what was done, and returns what is to be told of it, in order.
    pub(super) fn commit(mut self) -> Vec<Change> {
        for done in std::mem::take(&mut self.done) {
            self.tree.settle(done);
        }
        std::mem::take(&mut self.changes)
    }

    pub(super) fn step(&mut self, op: &MultiOp) -> Result<MultiReply, Refusal> {
        match op {
            MultiOp::Create { path, data, options } => {
                let (path, stat) = self.create(path, data.clone(), options)?;
                Ok(MultiReply::Created { path, stat: Some(stat) })
            }
            MultiOp::Set { path, data, version } => {
                self.set(path, data.clone(), *version).map(MultiReply::Set)
            }
            MultiOp::Delete { path, version } => {
                self.delete(path, *version).map(|()| MultiReply::Deleted)
            }
            MultiOp::Check { path, version } => {
                self.check(path, *version).map(|()| MultiReply::Checked)
            }
        }
    }

    pub(super) fn create(
        &mut self,
        path: &ZkPath,
        data: Bytes,
        options: &CreateOptions,
    ) -> Result<(ZkPath, Stat), Refusal> {
        let acl = access::fix_up(&options.acl, self.who)?;
        // The prefix `/` asks for a bare number right below the root, which is its own parent then.
        let parent = path.parent().unwrap_or_else(ZkPath::root);
        let Some(above) = self.tree.get(&parent) else {
            return Err(Refusal::new(ErrorKind::NoNode, format!("there is no parent {parent}")));
        };
        access::check(&above.acl, Perms::CREATE, self.who)?;
        let path = if options.mode.is_sequential() {
            ZkPath::new(format!("{path}{:010}", above.next))
                .map_err(|_| Refusal::from(ErrorKind::BadArguments))?
        } else {
            path.clone()
        };
        if self.tree.get(&path).is_some() {
            return Err(ErrorKind::NodeExists.into());
        }
        if matches!(above.life, Life::Ephemeral(_)) {
            return Err(ErrorKind::NoChildrenForEphemerals.into());
        }
        let parent_acl = above.acl.clone();
        let life = Life::of(options.mode, self.session);
        let record = Record::new(data, acl.clone(), life, self.stamp);
        let stat = record.stat();
        self.done.extend(self.tree.insert(&path, &parent, record));
        self.tell(EventKind::Created, &path, acl);
        self.tell(EventKind::ChildrenChanged, &parent, parent_acl);
        Ok((path, stat))
    }

    pub(super) fn delete(&mut self, path: &ZkPath, version: Version) -> Result<(), Refusal> {
        let parent = match path.parent() {
            Some(parent) if !is_servers_own(path) => parent,
            _ => return Err(Refusal::new(ErrorKind::BadArguments, "servers keep this node")),
        };
        let above = self.tree.get(&parent).ok_or(ErrorKind::NoNode)?;
        access::check(&above.acl, Perms::DELETE, self.who)?;
        let record = self.tree.get(path).ok_or(ErrorKind::NoNode)?;
        expect(version, record.version)?;
        if record.has_children() {
            return Err(ErrorKind::NotEmpty.into());
        }
        self.remove(path, &parent);
        Ok(())
    }

    /// Deletes a childless node without asking who wants it, as servers do when its life is over.
    pub(super) fn end(&mut self, path: &ZkPath) {
        if let Some(parent) = path.parent() {
            self.remove(path, &parent);
        }
    }

    fn remove(&mut self, path: &ZkPath, parent: &ZkPath) {
        let acl_of = |path| self.tree.get(path).map(|record| record.acl.clone());
        let (Some(acl), Some(parent_acl)) = (acl_of(path), acl_of(parent)) else { return };
        self.done.extend(self.tree.remove(path, parent, self.stamp.zxid));
        self.tell(EventKind::Deleted, path, acl);
        self.tell(EventKind::ChildrenChanged, parent, parent_acl);
    }

    pub(super) fn set(
        &mut self,
        path: &ZkPath,
        data: Bytes,
        version: Version,
    ) -> Result<Stat, Refusal> {
        let record = self.tree.get(path).ok_or(ErrorKind::NoNode)?;
        access::check(&record.acl, Perms::WRITE, self.who)?;
        expect(version, record.version)?;
        let acl = record.acl.clone();
        self.done.extend(self.tree.set(path, data, self.stamp));
        self.tell(EventKind::DataChanged, path, acl);
        self.stat(path)
    }

    fn check(&self, path: &ZkPath, version: Version) -> Result<(), Refusal> {
        let record = self.tree.get(path).ok_or(ErrorKind::NoNode)?;
        access::check(&record.acl, Perms::READ, self.who)?;
        expect(version, record.version)
    }

    /// Replaces an access list. It is never part of a multi, so it needs no way back.
    pub(super) fn set_acl(
        &mut self,
        path: &ZkPath,
        acl: &[Acl],
        version: Version,
    ) -> Result<Stat, Refusal> {
        let acl = access::fix_up(acl, self.who)?;
        let record = self.tree.get_mut(path).ok_or(ErrorKind::NoNode)?;
        access::check(&record.acl, Perms::ADMIN, self.who)?;
        expect(version, record.aversion)?;
        record.acl = acl;
        record.aversion = record.aversion.wrapping_add(1);
        Ok(record.stat())
    }

    fn stat(&self, path: &ZkPath) -> Result<Stat, Refusal> {
        Ok(self.tree.get(path).ok_or(ErrorKind::NoNode)?.stat())
    }

    fn tell(&mut self, kind: EventKind, path: &ZkPath, acl: Arc<[Acl]>) {
        self.changes.push(Change { event: Event::new(kind, path.clone()), acl });
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        while let Some(undo) = self.done.pop() {
            self.tree.undo(undo);
        }
    }
}

fn expect(version: Version, found: i32) -> Result<(), Refusal> {
    if version.allows(found) {
        return Ok(());
    }
    let detail = format!("expected version {version}, found {found}");
    Err(Refusal::new(ErrorKind::BadVersion, detail))
}

/// The nodes that servers make at their start and let nobody delete.
fn is_servers_own(path: &ZkPath) -> bool {
    matches!(path.as_str(), "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config")
}
