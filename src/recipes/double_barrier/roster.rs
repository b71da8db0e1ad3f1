//! Who is at a double barrier, for whoever looks on.

use super::READY;
use super::round::{Card, Ready};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::owner::Owner;
use crate::request::{Read, ReadReply};

/// Who is there.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    /// How many it takes, as `ready` says, or else who came first of those that say it.
    pub(crate) parties: Option<usize>,
    /// `ready`, while a round is on.
    pub(crate) ready: Option<Stat>,
    /// In the order in which they came.
    pub(crate) members: Vec<Attendee>,
}

/// One who is there.
#[derive(Clone, Debug)]
pub(crate) struct Attendee {
    /// What it is called.
    pub(crate) id: String,
    /// Who it says it is, if it says so.
    pub(crate) owner: Option<Owner>,
    /// How many it takes, if it says so.
    pub(crate) parties: Option<usize>,
    pub(crate) stat: Stat,
    /// Whether the round that is on is its own.
    pub(crate) inside: bool,
}

impl Roster {
    /// How many of those who wait count for the next round.
    pub(crate) fn waiting(&self) -> usize {
        let agrees = |one: &&Attendee| one.parties.is_none() || one.parties == self.parties;
        self.members.iter().filter(|one| !one.inside).filter(agrees).count()
    }
}

/// Who is at the double barrier at `dir`; `None` if nothing there looks like one: neither `ready` nor
/// a party of this crate.
///
/// # Errors
///
/// Those of a listing, but for `NoNode`.
pub(crate) async fn roster(conn: &dyn Conn, dir: &ZkPath) -> Result<Option<Roster>, Error> {
    let names = match conn.children(dir).await {
        Ok(children) => children.names,
        Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
        Err(err) => return Err(err),
    };
    let reads = names.iter().flat_map(|name| {
        let path = dir.child(name);
        [Read::Get(path.clone()), Read::Exists(path)]
    });
    let found = conn.read_many(reads).await?;
    let (mut ready, mut said, mut members) = (None, None, Vec::new());
    for (name, found) in names.iter().zip(found.chunks(2)) {
        let (data, stat) = match found {
            [Ok(ReadReply::Node(node)), _] => (node.data.clone(), node.stat),
            // Whoever may not be read is there all the same.
            [_, Ok(ReadReply::Exists(Some(stat)))] => (Default::default(), *stat),
            _ => continue,
        };
        if name == READY {
            (ready, said) = (Some(stat), Ready::parse(&data));
            continue;
        }
        let card = Card::parse(&data);
        if card.is_some() || stat.is_ephemeral() {
            let (owner, parties) = card.map(|card| (card.owner, card.parties)).unzip();
            let id = name.clone();
            members.push(Attendee { id, owner, parties, stat, inside: false });
        }
    }
    if ready.is_none() && members.iter().all(|one| one.parties.is_none()) {
        return Ok(None);
    }
    members.sort_by_key(|one| one.stat.czxid);
    for one in &mut members {
        let named = said.as_ref().is_none_or(|said| said.members.contains(&one.id));
        one.inside = named && ready.is_some_and(|ready| one.stat.czxid < ready.czxid);
    }
    let first = members.iter().find_map(|one| one.parties);
    let parties = said.map(|said| said.parties).or(first);
    Ok(Some(Roster { parties, ready, members }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conn::{MemoryConn, MemoryQuorum};
    use crate::node::Mode;
    use crate::recipes::DoubleBarrier;

    async fn seen(conn: &MemoryConn) -> Option<(Option<usize>, bool, Vec<(String, bool)>)> {
        let roster = roster(conn, &ZkPath::new("/step").unwrap()).await.unwrap()?;
        let members = roster.members.iter().map(|one| (one.id.clone(), one.inside)).collect();
        Some((roster.parties, roster.ready.is_some(), members))
    }

    #[tokio::test]
    async fn who_waits_is_told_from_who_is_inside() {
        let quorum = MemoryQuorum::new();
        let conn = Arc::new(quorum.connect());
        assert_eq!(seen(&conn).await, None);
        let party = |id: &str| DoubleBarrier::new(conn.clone(), "/step", id, 2);
        let (b, a) = (party("b"), party("a"));
        let first = tokio::spawn(async move { b.enter().await });
        while seen(&conn).await.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen(&conn).await, Some((Some(2), false, vec![("b".into(), false)])));
        let _a = a.enter().await.unwrap();
        let _b = first.await.unwrap().unwrap();
        // Of another system, for the next round.
        conn.create("/step/go", "", Mode::Ephemeral).await.unwrap();
        let there = [("b", true), ("a", true), ("go", false)].map(|(id, at)| (id.to_owned(), at));
        assert_eq!(seen(&conn).await, Some((Some(2), true, there.into())));
    }

    #[tokio::test]
    async fn other_children_make_no_double_barrier() {
        let conn = MemoryConn::new();
        conn.create("/step", "", Mode::Persistent).await.unwrap();
        conn.create("/step/a", "", Mode::Ephemeral).await.unwrap();
        assert_eq!(seen(&conn).await, None);
        conn.create("/step/ready", "", Mode::Persistent).await.unwrap();
        assert_eq!(seen(&conn).await, Some((None, true, vec![("a".into(), true)])));
    }
}
