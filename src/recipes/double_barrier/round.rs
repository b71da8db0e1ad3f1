//! What stands in the nodes of a double barrier, and who is a member.

use serde::{Deserialize, Serialize};

use super::READY;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Stat};
use crate::path::ZkPath;
use crate::recipes::owner::Owner;
use crate::request::{Read, ReadReply};

/// The data of a member's node: who it is, and how many it takes a round for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Card {
    #[serde(flatten)]
    pub(super) owner: Owner,
    pub(super) parties: usize,
}

/// The data of `ready`: for whom it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) parties: usize,
    pub(super) members: Vec<String>,
    /// The random id of the attempt that made it.
    pub(super) id: String,
}

impl Card {
    /// What a member says; `None` if it is another system's.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Ready {
    /// Whether `member` was there before it, which `stat` tells of, and it was made for that one, as
    /// far as it says so.
    pub(super) fn is_for(this: Option<&Ready>, stat: &Stat, member: &Member) -> bool {
        let listed = this.is_none_or(|ready| ready.members.contains(&member.name));
        listed && member.czxid < stat.czxid
    }

    /// What `ready` says; `None` if it is another system's.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What `ready` says, which was there as `stat` tells; `None` when it is gone.
pub(super) async fn read_ready(
    conn: &dyn Conn,
    dir: &ZkPath,
    stat: Stat,
) -> Result<Option<(Stat, Option<Ready>)>, Error> {
    match conn.get(dir.child(READY)).await {
        Ok(node) => Ok(Some((node.stat, Ready::parse(&node.data)))),
        Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
        // Whoever may not read it may still go by it.
        Err(err) if err.kind() == ErrorKind::NoAuth => Ok(Some((stat, None))),
        Err(err) => Err(err),
    }
}

/// A round that was begun for the own node, among others.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    /// The transaction that began it, if that is known.
    pub(super) by: Option<i64>,
    /// Whom it was begun for, if that is known.
    pub(super) members: Option<Vec<String>>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    /// The transaction by which it came.
    pub(super) czxid: i64,
    pub(super) name: String,
    /// How many it takes a round for, if it says so.
    pub(super) parties: Option<usize>,
}

/// The members among the children of `dir` called `names`, in the order in which they came. What is
/// not ephemeral is nobody.
pub(super) async fn members(
    conn: &dyn Conn,
    dir: &ZkPath,
    names: &[String],
) -> Result<Vec<Member>, Error> {
    let names = || names.iter().filter(|name| *name != READY);
    let reads = names().map(|name| Read::Get(dir.child(name)));
    let found = conn.read_many(reads).await?;
    let mut members = Vec::new();
    for (name, found) in names().zip(found) {
        let (stat, parties) = match found {
            Ok(ReadReply::Node(node)) => {
                (Some(node.stat), Card::parse(&node.data).map(|card| card.parties))
            }
            // Whoever may not be read is there all the same.
            Err(err) if err.kind() == ErrorKind::NoAuth => {
                (conn.exists(dir.child(name)).await?, None)
            }
            Err(err) if err.kind() != ErrorKind::NoNode => return Err(err),
            _ => (None, None),
        };
        if let Some(stat) = stat.filter(Stat::is_ephemeral) {
            members.push(Member { czxid: stat.czxid, name: name.clone(), parties });
        }
    }
    members.sort();
    Ok(members)
}

/// How many children a directory has got so far. Servers show twice that, less those there are.
fn creates(dir: &Stat) -> i32 {
    dir.cversion.wrapping_add(dir.num_children) / 2
}

/// How many may have been counted for a `ready` that is there `now`, at most: those who were there at
/// the `first` look, and those who came since.
pub(super) fn most_members(first: &Children, now: &Children) -> usize {
    let (seen, came) = if first.names.iter().any(|name| name == READY) {
        (0, creates(&now.stat))
    } else {
        (first.names.len(), creates(&now.stat).wrapping_sub(creates(&first.stat)))
    };
    // One of those who came is `ready`.
    (seen + usize::try_from(came).unwrap_or(0)).saturating_sub(1)
}

/// Whether a `ready` that came and went since transaction `czxid` made the own node may have been for
/// it, and taken away by another system: by the directory as it was at the `first` look, and as it is
/// `now`. Ours write it when they make a `ready`, and once more when all who were counted for it are out.
pub(super) fn was_taken_by_others(czxid: i64, first: &Children, now: &Children) -> bool {
    first.stat.mzxid < czxid && now.stat.version.wrapping_sub(first.stat.version) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(names: &[&str], cversion: i32) -> Children {
        let num_children = i32::try_from(names.len()).unwrap();
        let stat = Stat { cversion, num_children, ..Stat::default() };
        Children { names: names.iter().map(|name| name.to_string()).collect(), stat }
    }

    #[test]
    fn those_who_have_left_since_are_counted() {
        // a and b were there; c and `ready` came, and a has left: 4 creations, 3 children.
        let (first, now) = (children(&["a", "b"], 2), children(&["b", "c", READY], 5));
        assert_eq!(most_members(&first, &now), 3);
        // `ready` was there at once: whoever was ever here may have been counted.
        assert_eq!(most_members(&now, &now), 3);
        // Nobody but `ready` came.
        assert_eq!(most_members(&first, &children(&["a", "b", READY], 3)), 2);
    }

    #[test]
    fn a_ready_that_ours_took_away_was_not_for_whoever_is_there_still() {
        let dir = |mzxid, version| {
            let stat = Stat { mzxid, version, ..Stat::default() };
            Children { names: Vec::new(), stat }
        };
        let first = dir(5, 2);
        // Nobody of ours wrote, or one of them made it.
        assert!(was_taken_by_others(7, &first, &first));
        assert!(was_taken_by_others(7, &first, &dir(8, 3)));
        // Made by ours, and taken away by ours.
        assert!(!was_taken_by_others(7, &first, &dir(9, 4)));
        // It may have been there, and gone, before anybody looked.
        assert!(!was_taken_by_others(4, &first, &first));
    }
}
