//! All that a quorum knows, and how it answers each operation.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::access::{self, Identity};
use super::clock::Clock;
use super::lives::Life;
use super::refusal::Refusal;
use super::transaction::{Change, Transaction};
use super::tree::{Record, Stamp, Tree};
use super::watches::{Watched, Watcher, Watches};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Children, CreateOptions, Perms, Version};
use crate::path::ZkPath;
use crate::request::{MultiOp, Op, Read, ReadReply, Reply, Request};
use crate::session::{SessionSender, SessionState};

/// How often containers are looked at, in milliseconds: the default of servers.
const CONTAINER_CHECK: i64 = 60_000;

/// One session.
struct Client {
    identities: Vec<Identity>,
    sender: SessionSender,
}

/// What is behind the lock of a quorum.
pub(super) struct State {
    tree: Tree,
    clients: HashMap<i64, Client>,
    watches: Watches,
    clock: Clock,
    zxid: i64,
    next_check: i64,
}

impl State {
    pub(super) fn new() -> Self {
        let mut clock = Clock::new();
        let next_check = clock.now().saturating_add(CONTAINER_CHECK);
        State {
            tree: Tree::new(),
            clients: HashMap::new(),
            watches: Watches::new(),
            clock,
            zxid: 0,
            next_check,
        }
    }

    /// Lets a session in. Like its end, that is a transaction.
    pub(super) fn open(&mut self, session: i64, identities: Vec<Identity>, sender: SessionSender) {
        self.reap();
        self.stamp();
        self.clients.insert(session, Client { identities, sender });
    }

    /// Ends a session with its watches and its ephemeral nodes; false if there is none such.
    pub(super) fn end(&mut self, session: i64, how: SessionState) -> bool {
        let Some(client) = self.clients.remove(&session) else { return false };
        self.reap();
        self.watches.end(session);
        let paths: Vec<ZkPath> = self.tree.lives.ephemerals(session).cloned().collect();
        self.end_nodes(&paths);
        client.sender.set(how);
        true
    }

    /// Moves the clock, and ends what has lived its time by then.
    pub(super) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.reap();
    }

    /// Answers one operation of a session. The watcher is kept if the operation leaves a watch;
    /// the replies have room for watches, and it is left empty.
    pub(super) fn execute(
        &mut self,
        session: i64,
        op: &Op,
        path: &ZkPath,
        watcher: Option<Box<dyn Watcher>>,
    ) -> Result<Reply, Error> {
        let refused = |refusal: Refusal| refusal.of(op.name(), path);
        match self.clients.get(&session) {
            None => return Err(refused(ErrorKind::SessionExpired.into())),
            // As with servers: what takes the quorum's agreement proves the session, reads do not.
            Some(client) if op.is_write() || matches!(op, Op::Sync) => {
                client.sender.proved(Deadline::now());
            }
            Some(_) => {}
        }
        self.reap();
        match op {
            Op::Get(_) => {
                let node = self.read(session, path).map_err(refused)?.node();
                self.watch(Watched::Data, session, path, watcher);
                Ok(Reply::Node(node, None))
            }
            Op::Children(_) => {
                let record = self.read(session, path).map_err(refused)?;
                let children = Children { names: record.names(), stat: record.stat() };
                self.watch(Watched::Children, session, path, watcher);
                Ok(Reply::Children(children, None))
            }
            Op::Exists(_) => {
                self.watch(Watched::Data, session, path, watcher);
                Ok(Reply::Exists(self.tree.get(path).map(Record::stat), None))
            }
            Op::Acl => self.acl(session, path).map_err(refused),
            Op::WatchTree => {
                self.watch(Watched::Tree, session, path, watcher);
                Ok(Reply::Done)
            }
            Op::Create { data, options } => self
                .write(session, |writes| writes.create(path, data.clone(), options))
                .map(|(path, stat)| Reply::Created(path, stat))
                .map_err(refused),
            Op::Set { data, version } => self
                .write(session, |writes| writes.set(path, data.clone(), *version))
                .map(Reply::Stat)
                .map_err(refused),
            Op::Delete { version } => self
                .write(session, |writes| writes.delete(path, *version))
                .map(|()| Reply::Done)
                .map_err(refused),
            Op::SetAcl { acl, version } => self
                .write(session, |writes| writes.set_acl(path, acl, *version))
                .map(Reply::Stat)
                .map_err(refused),
            Op::Ephemerals => {
                let own = self.tree.lives.ephemerals(session);
                Ok(Reply::Paths(own.filter(|own| own.is_in(path)).cloned().collect()))
            }
            Op::ReadMany(reads) => {
                Ok(Reply::Many(reads.iter().map(|read| self.read_one(session, read)).collect()))
            }
            Op::Multi(ops) => self.multi(session, ops),
            // All who ask share one state, so that nobody is ever behind.
            Op::Sync => Ok(Reply::Done),
            Op::Hold => {
                // What a check in a multi needs.
                self.read(session, path).map_err(refused)?;
                self.watch(Watched::Tree, session, path, watcher);
                Ok(Reply::Done)
            }
            // That it is there is all; whoever opened it has the handle.
            Op::Session => Ok(Reply::Done),
        }
    }

    fn read_one(&self, session: i64, read: &Read) -> Result<ReadReply, Error> {
        let reply = match read {
            Read::Get(path) => self.read(session, path).map(|it| ReadReply::Node(it.node())),
            Read::Children(path) => {
                self.read(session, path).map(|it| ReadReply::Children(it.names()))
            }
            Read::Exists(path) => Ok(ReadReply::Exists(self.tree.get(path).map(Record::stat))),
        };
        reply.map_err(|refusal| refusal.of(read.name(), read.path()))
    }

    fn acl(&self, session: i64, path: &ZkPath) -> Result<Reply, Refusal> {
        let who = self.identities(session);
        let record = self.tree.get(path).ok_or(ErrorKind::NoNode)?;
        access::check(&record.acl, Perms::READ | Perms::ADMIN, who)?;
        let acl = if access::allows(&record.acl, Perms::ADMIN, who) {
            record.acl.to_vec()
        } else {
            access::without_hashes(&record.acl)
        };
        Ok(Reply::Acl(acl, record.stat()))
    }

    fn multi(&mut self, session: i64, ops: &[MultiOp]) -> Result<Reply, Error> {
        self.write(session, |writes| {
            let step = |(index, op): (usize, &MultiOp)| {
                let refused = |refusal: Refusal| refusal.of("multi", op.path()).with_index(index);
                writes.step(op).map_err(refused)
            };
            ops.iter().enumerate().map(step).collect::<Result<Vec<_>, Error>>()
        })
        .map(Reply::Multi)
    }

    fn read(&self, session: i64, path: &ZkPath) -> Result<&Record, Refusal> {
        let record = self.tree.get(path).ok_or(ErrorKind::NoNode)?;
        access::check(&record.acl, Perms::READ, self.identities(session))?;
        Ok(record)
    }

    fn identities(&self, session: i64) -> &[Identity] {
        identities(&self.clients, session)
    }

    fn watch(
        &mut self,
        what: Watched,
        session: i64,
        path: &ZkPath,
        watcher: Option<Box<dyn Watcher>>,
    ) {
        if let Some(watcher) = watcher {
            self.watches.add(what, path, session, watcher);
        }
    }

    /// One transaction: all of what `work` does, or nothing when it fails. What happened is told
    /// once all of it has.
    fn write<T, E>(
        &mut self,
        session: i64,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // Servers number a write before they check it, so refused ones take a number too.
        let stamp = self.stamp();
        let who = identities(&self.clients, session);
        let mut transaction = Transaction::new(&mut self.tree, who, session, stamp);
        let done = work(&mut transaction)?;
        let changes = transaction.commit();
        self.tell(&changes);
        Ok(done)
    }

    /// One transaction of the quorum itself, which no access list stops.
    fn write_freely<T, E>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let stamp = self.stamp();
        let who = [Identity::superuser()];
        let mut transaction = Transaction::new(&mut self.tree, &who, 0, stamp);
        let done = work(&mut transaction)?;
        let changes = transaction.commit();
        self.tell(&changes);
        Ok(done)
    }

    fn stamp(&mut self) -> Stamp {
        self.zxid += 1;
        Stamp { zxid: self.zxid, time: self.clock.now() }
    }

    fn tell(&mut self, changes: &[Change]) {
        let clients = &self.clients;
        for change in changes {
            self.watches.tell(change, |session| identities(clients, session));
        }
    }

    /// Deletes nodes in one transaction.
    fn end_nodes(&mut self, paths: &[ZkPath]) {
        let ended: Result<(), std::convert::Infallible> = self.write_freely(|writes| {
            for path in paths {
                writes.end(path);
            }
            Ok(())
        });
        let Ok(()) = ended;
    }

    /// Deletes the containers and TTL nodes whose time is over.
    ///
    /// Servers look at both once a minute; here a TTL node goes as soon as anybody could notice.
    fn reap(&mut self) {
        let now = self.clock.now();
        loop {
            while self.tree.lives.ttl_due() <= now {
                for path in self.ended_ttls(now) {
                    self.end_nodes(&[path]);
                }
            }
            if self.next_check > now {
                return;
            }
            let emptied = self.emptied_containers();
            // Once a check finds nothing, those that were missed since would have found nothing.
            let checks =
                if emptied.is_empty() { (now - self.next_check) / CONTAINER_CHECK } else { 0 };
            self.next_check += (checks + 1) * CONTAINER_CHECK;
            for path in emptied {
                self.end_nodes(&[path]);
            }
        }
    }

    fn ended_ttls(&mut self, now: i64) -> Vec<ZkPath> {
        self.tree.lives.looking();
        let mut ended = Vec::new();
        let mut next = i64::MAX;
        for path in self.tree.lives.ttls() {
            let Some(record) = self.tree.get(path) else { continue };
            let Life::Ttl(ttl) = record.life else { continue };
            let due = record.mtime.saturating_add(ttl);
            if record.has_children() {
                continue;
            }
            if due <= now {
                ended.push(path.clone());
            } else {
                next = next.min(due);
            }
        }
        self.tree.lives.look_at(next);
        ended
    }

    fn emptied_containers(&self) -> Vec<ZkPath> {
        let is_emptied = |path: &&ZkPath| {
            // One that never had a child is left in peace.
            self.tree.get(path).is_some_and(|it| it.creates > 0 && !it.has_children())
        };
        self.tree.lives.containers().filter(is_emptied).cloned().collect()
    }

    /// Stores nodes, parents first; parents that are missing become empty nodes.
    pub(super) fn fill(&mut self, nodes: BTreeMap<ZkPath, String>) -> Result<(), Error> {
        for (path, data) in nodes {
            let data = Bytes::from(data);
            let set = Op::Set { data: data.clone(), version: Version::Any };
            Request::new(set, path.clone()).check()?;
            let refused = |refusal: Refusal| refusal.of("create", &path);
            let mut at = ZkPath::root();
            for component in path.components() {
                at = at.child(component);
                if self.tree.get(&at).is_none() {
                    let data = if at == path { data.clone() } else { Bytes::new() };
                    let options = CreateOptions::default();
                    self.write_freely(|writes| writes.create(&at, data, &options))
                        .map_err(refused)?;
                } else if at == path {
                    self.overwrite(&at, data.clone()).map_err(refused)?;
                }
            }
            if path.is_root() {
                self.overwrite(&path, data).map_err(refused)?;
            }
        }
        Ok(())
    }

    fn overwrite(&mut self, path: &ZkPath, data: Bytes) -> Result<(), Refusal> {
        self.write_freely(|writes| writes.set(path, data, Version::Any)).map(|_| ())
    }

    /// Makes `next` the number of the next sequential node below `parent`.
    pub(super) fn set_sequence(&mut self, parent: &ZkPath, next: i32) -> Result<(), Refusal> {
        let record = self.tree.get_mut(parent).ok_or(ErrorKind::NoNode)?;
        (record.creates, record.next) = (next, next);
        Ok(())
    }

    /// How many watches are kept, withdrawn ones included.
    #[cfg(test)]
    pub(super) fn watch_count(&self) -> usize {
        self.watches.count()
    }
}

fn identities(clients: &HashMap<i64, Client>, session: i64) -> &[Identity] {
    clients.get(&session).map(|client| client.identities.as_slice()).unwrap_or_default()
}
