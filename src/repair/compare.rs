//! Compares one batch of paths on all quorums.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;

use super::Kind;
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Node, Stat};
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};

/// How many access lists are asked for at once: there is no request for many.
const ACLS_AT_ONCE: usize = 64;

/// What a quorum holds at one path.
#[derive(Debug, Default)]
pub(super) struct Seen {
    stat: Option<Stat>,
    node: Option<Node>,
    acl: Option<Vec<Acl>>,
    names: Vec<String>,
}

impl Seen {
    /// Whether mirrors should have it, too.
    pub(super) fn counts(&self) -> bool {
        self.stat.is_some_and(|stat| !stat.is_ephemeral())
    }

    pub(super) fn is_there(&self) -> bool {
        self.stat.is_some()
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// In what `mirror` differs from this.
    pub(super) fn against(&self, mirror: &Seen) -> Vec<Kind> {
        match (self.counts(), mirror.is_there()) {
            (true, false) => vec![Kind::Missing],
            (false, true) => vec![Kind::Extra],
            (false, false) => Vec::new(),
            (true, true) => {
                let data = |seen: &Seen| seen.node.as_ref().map(|node| node.data.clone());
                let mut kinds = Vec::new();
                if data(self) != data(mirror) {
                    kinds.push(Kind::Data);
                }
                if granted(self.acl.as_deref()) != granted(mirror.acl.as_deref()) {
                    kinds.push(Kind::Acl);
                }
                kinds
            }
        }
    }
}

/// What a list grants; the order of its entries does not matter.
fn granted(acl: Option<&[Acl]>) -> BTreeSet<String> {
    acl.unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Looks at all of `paths` on one quorum. An error is that of the whole quorum, or of one path.
pub(super) async fn see(
    conn: &Arc<dyn Conn>,
    paths: &[ZkPath],
) -> Result<Vec<Result<Seen, Error>>, Error> {
    let reads = paths.iter().flat_map(|path| {
        let path = path.clone();
        [Read::Exists(path.clone()), Read::Get(path.clone()), Read::Children(path)]
    });
    let found = conn.read_many(reads).await?;
    let mut all: Vec<Result<Seen, Error>> = Vec::with_capacity(paths.len());
    let mut found = found.into_iter();
    for path in paths {
        let mut seen = Seen::default();
        let mut failed = None;
        for answer in found.by_ref().take(3) {
            match answer {
                Ok(ReadReply::Exists(stat)) => seen.stat = stat,
                Ok(ReadReply::Node(node)) => seen.node = Some(node),
                Ok(ReadReply::Children(names)) => seen.names = names,
                Err(err) if err.kind() == ErrorKind::NoNode => {}
                Err(err) => failed = Some(err),
            }
        }
        // It came or went between two of these; it will be looked at again if that matters.
        if seen.node.is_none() && failed.is_none() {
            seen.stat = None;
        }
        all.push(match failed {
            Some(err) => Err(err.at(path)),
            None => Ok(seen),
        });
    }
    let there: Vec<usize> =
        (0..all.len()).filter(|index| all[*index].as_ref().is_ok_and(Seen::is_there)).collect();
    for some in there.chunks(ACLS_AT_ONCE) {
        let asked: Vec<_> = some.iter().map(|index| conn.acl(&paths[*index])).collect();
        for (index, acl) in some.iter().zip(join_all(asked).await) {
            if let Ok(seen) = &mut all[*index] {
                seen.acl = acl.ok().map(|(acl, _)| acl);
            }
        }
    }
    Ok(all)
}

/// Has quorums agree to something newer, so that what is read next is no older than this moment.
pub(super) async fn sync(conns: Vec<Arc<dyn Conn>>, path: &ZkPath) -> Result<(), Error> {
    let asked: Vec<_> = conns.iter().map(|conn| conn.sync(path)).collect();
    join_all(asked).await.into_iter().collect()
}
