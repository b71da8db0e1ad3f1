//! All that a quorum knows, and how it answers each operation.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::access::{self, Identity};
use super::clock::Clock;
use super::ends::CONTAINER_CHECK;
use super::refusal::Refusal;
use super::transaction::{Change, Transaction};
use super::tree::{Record, Stamp, Tree};
use super::watches::{Watched, Watcher, Watches};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Perms};
use crate::path::ZkPath;
use crate::request::{MultiOp, Op, Read, ReadReply, Reply};
use crate::session::SessionSender;

/// One session.
pub(super) struct Client {
    identities: Vec<Identity>,
    pub(super) timeout: Duration,
    /// With its client while the connection is lost.
    pub(super) sender: Option<SessionSender>,
    /// Its entry among the silent ones, while the connection is lost.
    pub(super) silent: Option<(i64, i64)>,
}

/// What is behind the lock of a quorum.
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) clients: HashMap<i64, Client>,
    /// Sessions whose connection is lost, by when they end.
    pub(super) silent: BTreeSet<(i64, i64)>,
    pub(super) watches: Watches,
    pub(super) clock: Clock,
    zxid: i64,
    /// When to look at containers again.
    pub(super) next_check: i64,
}

impl State {
    pub(super) fn new() -> Self {
        let mut clock = Clock::new();
        let next_check = clock.now().saturating_add(CONTAINER_CHECK);
        State {
            tree: Tree::new(),
            clients: HashMap::new(),
            silent: BTreeSet::new(),
            watches: Watches::new(),
            clock,
            zxid: 0,
            next_check,
        }
    }

    /// Lets a session in. Like its end, that is a transaction.
    pub(super) fn open(
        &mut self,
        session: i64,
        identities: Vec<Identity>,
        timeout: Duration,
        sender: SessionSender,
    ) {
        self.reap();
        self.stamp();
        let client = Client { identities, timeout, sender: Some(sender), silent: None };
        self.clients.insert(session, client);
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
                if let Some(sender) = &client.sender {
                    sender.proved(Deadline::now());
                }
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
            Op::Hold(_) => {
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
    pub(super) fn write_freely<T, E>(
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

    /// How many watches are kept, withdrawn ones included.
    #[cfg(test)]
    pub(super) fn watch_count(&self) -> usize {
        self.watches.count()
    }
}

fn identities(clients: &HashMap<i64, Client>, session: i64) -> &[Identity] {
    clients.get(&session).map(|client| client.identities.as_slice()).unwrap_or_default()
}
