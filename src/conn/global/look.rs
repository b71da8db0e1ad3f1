//! A look at one quorum: who it is, where its fences stand, and what it holds at some paths.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;

use super::count::count_of;
use super::home::{FenceNo, Home};
use super::identity::Identity;
use super::quorum::Quorum;
use super::record::Record;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Stat};
use crate::path::ZkPath;
use crate::pause;
use crate::request::{Op, Read, ReadReply, Reply, Request};

/// What a quorum holds at one path, as far as it was asked for and may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// `None` where there is no node.
    pub(super) stat: Option<Stat>,
    pub(super) data: Option<Bytes>,
    /// Never with hashes that are hidden from us: those are as good as not read.
    pub(super) acl: Option<Vec<Acl>>,
}

impl Found {
    /// The facts of what a mirror should have: nothing where there is no node, or an ephemeral one.
    pub(super) fn to_mirror(&self) -> Option<Stat> {
        self.stat.filter(|stat| !stat.is_ephemeral())
    }
}

/// What one look has shown.
#[derive(Debug)]
pub(super) struct Look {
    /// Who it is.
    pub(super) identity: Result<Identity, Error>,
    /// How many writes it had counted; only of a synced look.
    pub(super) count: Option<i64>,
    pub(super) fences: BTreeMap<FenceNo, i32>,
    /// What they keep of the first.
    pub(super) records: BTreeMap<FenceNo, Record>,
    pub(super) nodes: BTreeMap<ZkPath, Found>,
}

impl Look {
    /// One that has shown nothing more.
    pub(super) fn of(identity: Result<Identity, Error>) -> Look {
        Look {
            identity,
            count: None,
            fences: BTreeMap::new(),
            records: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }
}

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Stats,
    /// Data and access lists, too.
    All,
}

/// Whether a look must show all that anybody had been told before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    AsItIs,
    Synced,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct What<'a> {
    pub(super) home: &'a Home,
    pub(super) fences: &'a [FenceNo],
    pub(super) paths: &'a [ZkPath],
    pub(super) depth: Depth,
    pub(super) freshness: Freshness,
    /// The session in which it is asked; `None`: whichever there is, and perhaps two.
    pub(super) session: Option<i64>,
    pub(super) deadline: Deadline,
}

/// As [`look`], all of it in one session: a quorum that comes back empty has none of those that it had. So
/// what the look shows is of the quorum whose identity it shows, also where it takes several requests.
pub(super) async fn look_at_one(quorum: &Quorum, what: What<'_>) -> Result<Look, Error> {
    for round in 0.. {
        pause::after(round, what.deadline.remaining()).await;
        let session = quorum.session(what.home.path(), what.deadline).await?;
        let seen = look(quorum, What { session: Some(session), ..what }).await;
        let why = seen.as_ref().map_or_else(Some, |look| look.identity.as_ref().err());
        let is_over = why.is_some_and(|err| err.kind() == ErrorKind::SessionExpired);
        if !is_over || what.deadline.is_past() {
            return seen;
        }
    }
    Err(Error::new("look", "", ErrorKind::Timeout))
}

/// Looks at `quorum`. All requests are queued before this returns, in an order that makes a fence
/// never newer than the nodes read behind it.
pub(super) fn look(
    quorum: &Quorum,
    what: What<'_>,
) -> impl Future<Output = Result<Look, Error>> + Send + use<> {
    let call = |op: Op, path: &ZkPath| {
        let mut request = Request::new(op, path.clone());
        (request.deadline, request.session) = (what.deadline, what.session);
        quorum.conn.call(request)
    };
    let home = what.home.path();
    let synced = (what.freshness == Freshness::Synced).then(|| call(Op::Sync, home));
    let mut reads = vec![Read::Get(home.clone())];
    if synced.is_some() {
        reads.push(Read::Get(what.home.count()));
    }
    reads.extend(what.fences.iter().map(|number| Read::Get(what.home.fence(*number))));
    for path in what.paths {
        reads.push(Read::Exists(path.clone()));
        if what.depth == Depth::All {
            reads.push(Read::Get(path.clone()));
        }
    }
    let many = call(Op::ReadMany(reads), home);
    let acls: Vec<_> = match what.depth {
        Depth::All => what.paths.iter().map(|path| call(Op::Acl, path)).collect(),
        Depth::Stats => Vec::new(),
    };
    let (quorum, fences, depth) = (quorum.clone(), what.fences.to_vec(), what.depth);
    let paths = what.paths.to_vec();
    async move {
        let is_synced = synced.is_some();
        if let Some(synced) = synced {
            synced.await?;
        }
        let Reply::Many(found) = many.await? else { return Err(Error::odd("look", "")) };
        let mut found = found.into_iter();
        let identity = match found.next() {
            Some(Ok(ReadReply::Node(node))) => quorum.identity(Ok(node)),
            Some(Err(err)) => quorum.identity(Err(err)),
            _ => return Err(Error::odd("look", "")),
        };
        let identity = identity.map(|(identity, _)| identity);
        let mut look = Look::of(identity);
        if is_synced {
            match found.next() {
                Some(Ok(ReadReply::Node(node))) => look.count = Some(count_of(&node)),
                // Whoever has no identity has none.
                Some(Err(err)) if err.kind() == ErrorKind::NoNode => {}
                Some(Err(err)) => return Err(err),
                _ => return Err(Error::odd("look", "")),
            }
        }
        for number in fences {
            match found.next() {
                Some(Ok(ReadReply::Node(node))) => {
                    look.fences.insert(number, node.stat.version);
                    look.records.extend(Record::parse(&node.data).map(|record| (number, record)));
                }
                // Whoever has an identity has fences, unless somebody deleted them.
                Some(Err(err)) if err.kind() == ErrorKind::NoNode => {}
                Some(Err(err)) => return Err(err),
                _ => return Err(Error::odd("look", "")),
            }
        }
        for path in &paths {
            let mut node = Found::default();
            match found.next() {
                Some(Ok(ReadReply::Exists(stat))) => node.stat = stat,
                Some(Err(err)) => return Err(err),
                _ => return Err(Error::odd("look", "")),
            }
            if depth == Depth::All {
                match found.next() {
                    Some(Ok(ReadReply::Node(read))) => {
                        (node.stat, node.data) = (Some(read.stat), Some(read.data));
                    }
                    Some(Err(err)) if err.kind() == ErrorKind::NoNode => node.stat = None,
                    Some(Err(err)) if err.kind() == ErrorKind::NoAuth => {}
                    Some(Err(err)) => return Err(err),
                    _ => return Err(Error::odd("look", "")),
                }
            }
            look.nodes.insert(path.clone(), node);
        }
        for (path, acl) in paths.iter().zip(acls) {
            let acl = match acl.await {
                Ok(Reply::Acl(acl, _)) => Some(acl).filter(|acl| !acl.iter().any(Acl::is_hidden)),
                Err(err) if matches!(err.kind(), ErrorKind::NoNode | ErrorKind::NoAuth) => None,
                Err(err) => return Err(err),
                Ok(_) => return Err(Error::odd("look", "")),
            };
            if let Some(node) = look.nodes.get_mut(path) {
                node.acl = acl;
            }
        }
        Ok(look)
    }
}
