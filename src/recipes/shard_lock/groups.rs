//! The groups of a system as they stand in the tree: names, members, and who of them is there.

use std::time::Duration;

use crate::background::sleep;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Node, Stat, Version};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::recipes::ours::Ours;
use crate::recipes::passing::pause_behind;
use crate::recipes::wait::recheck;
use crate::request::{Multi, Read, ReadReply};
use crate::session::Session;

use super::list::decode;
use super::names::{ACK, GROUP, NODE, number_in, number_of_group, wrapped};

/// The pauses behind failed tries to delete a group.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// A system at one look.
#[derive(Debug)]
pub(super) struct View {
    /// The facts about the base.
    pub(super) base: Stat,
    /// In the order of their names.
    pub(super) groups: Vec<Group>,
}

/// A group at one look.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) path: ZkPath,
    pub(super) stat: Stat,
    /// Who is in it, in the order of ranges; `None` while it awaits members.
    pub(super) members: Option<Vec<i32>>,
    pub(super) nodes: Nodes,
    /// Whether children of foreign names keep it from being deleted.
    has_others: bool,
}

/// The children of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    /// The names and numbers of members, in the order of their names: the first one leads.
    pub(super) members: Vec<(String, i32)>,
    /// The names of the words of members who left in order.
    pub(super) acks: Vec<String>,
}

impl Nodes {
    /// Sorts out the children of the group at `path`; others than those of the protocol are passed
    /// over.
    ///
    /// The original takes any name with `node-` in it for a member. Whoever is a member here is one
    /// there too, with the same number, so both find the same leader whenever the first by name is
    /// somebody at all. Foreign names that it would list are left out of our lists, and waited for by
    /// nobody of ours: where it has listed one, a range stays unworked until the group's end, which is
    /// asked for at once, as one of the list is missing.
    ///
    /// # Errors
    ///
    /// A number is behind the last one.
    pub(super) fn of(path: &ZkPath, names: &[String]) -> Result<Self, Error> {
        let mut nodes = Nodes::default();
        for name in names {
            if let Some(number) = number_in(name, NODE) {
                let number = number.ok_or_else(|| wrapped(&path.child(name)))?;
                nodes.members.push((name.clone(), number));
            } else if number_in(name, ACK).is_some() {
                nodes.acks.push(name.clone());
            }
        }
        nodes.members.sort();
        Ok(nodes)
    }

    /// Whether there is no member.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the member with this number is there.
    pub(super) fn has(&self, number: i32) -> bool {
        self.members.iter().any(|(_, other)| *other == number)
    }
}

impl Group {
    fn of(path: ZkPath, node: &Node, names: &[String]) -> Result<Self, Error> {
        let nodes = Nodes::of(&path, names)?;
        let members = decode(&path, node)?;
        let has_others = names.len() > nodes.members.len() + nodes.acks.len();
        Ok(Group { path, stat: node.stat, members, nodes, has_others })
    }

    /// Those who hold a range: listed, and there. A node that came too late to be listed holds none.
    pub(super) fn holders(&self) -> Vec<&str> {
        let listed = self.members.as_deref().unwrap_or_default();
        let holders = self.nodes.members.iter().filter(|(_, number)| listed.contains(number));
        holders.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether somebody holds a range of it.
    pub(super) fn is_held(&self) -> bool {
        !self.holders().is_empty()
    }

    /// Whether it was published and nobody is left in it.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_some() && self.nodes.is_empty()
    }

    /// Whether somebody waits in it for it to be published.
    fn is_awaiting(&self) -> bool {
        self.members.is_none() && !self.nodes.is_empty()
    }
}

impl View {
    /// The groups as they are now but for `own`; `None` without a base.
    ///
    /// # Errors
    ///
    /// Of the reads; `Unexpected` where a group's data is no list of members.
    pub(super) async fn of(
        conn: &dyn Conn,
        base: &ZkPath,
        own: Option<&ZkPath>,
    ) -> Result<Option<View>, Error> {
        let listed = match conn.children(base).await {
            Ok(listed) => listed,
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
            Err(err) => return Err(err),
        };
        View::listed(conn, base, listed, own).await.map(Some)
    }

    /// The groups that were listed, as they are now.
    ///
    /// # Errors
    ///
    /// As of [`of`](Self::of).
    pub(super) async fn listed(
        conn: &dyn Conn,
        base: &ZkPath,
        listed: Children,
        own: Option<&ZkPath>,
    ) -> Result<View, Error> {
        let mut paths = Vec::new();
        for name in &listed.names {
            let path = base.child(name);
            match number_of_group(name) {
                None => {}
                Some(_) if own == Some(&path) => {}
                Some(Some(_)) => paths.push(path),
                Some(None) => return Err(wrapped(&path)),
            }
        }
        // The data is read first: behind a published list nobody comes in, so whoever is not among
        // the children then has gone for good.
        let reads =
            paths.iter().flat_map(|path| [Read::Get(path.clone()), Read::Children(path.clone())]);
        let found = conn.read_many(reads).await?;
        let mut groups = Vec::with_capacity(paths.len());
        for (path, found) in paths.into_iter().zip(found.chunks(2)) {
            match found {
                [Ok(ReadReply::Node(node)), Ok(ReadReply::Children(names))] => {
                    groups.push(Group::of(path, node, names)?);
                }
                [Err(err), _] | [_, Err(err)] if err.kind() != ErrorKind::NoNode => {
                    return Err(err.clone());
                }
                // Gone meanwhile: it was over.
                _ => {}
            }
        }
        Ok(View { base: listed.stat, groups })
    }

    /// The group that awaits members.
    ///
    /// There is one, but for a moment in which two have been made: then it is the first by name, as
    /// for the original, unless that one is empty and a later one is not.
    pub(super) fn awaiting(&self) -> Option<&Group> {
        let peopled = self.groups.iter().find(|group| group.is_awaiting());
        peopled.or_else(|| self.groups.iter().find(|group| group.members.is_none()))
    }

    /// Whether somebody waits for a range. A group alone does not: whoever made it may have gone.
    pub(super) fn is_awaited(&self) -> bool {
        self.groups.iter().any(Group::is_awaiting)
    }

    /// Whether somebody waits in a group that is before `own`, which is to be published first: an
    /// original leader there looks at no other group any more.
    pub(super) fn is_awaited_before(&self, own: &ZkPath) -> bool {
        self.groups.iter().any(|group| group.is_awaiting() && group.path.name() < own.name())
    }

    /// A group that somebody holds a range of.
    pub(super) fn held(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.is_held())
    }

    /// The path of the next group. It is made by number, so of all who make the next group one
    /// succeeds: by the number that the server would give it. That one may be taken where groups came
    /// by a copy of the tree, as servers do not count those; then it is the next that is not.
    ///
    /// Behind the last number they begin anew: nothing but the names of groups that are there at once goes
    /// by them. A server would go on with negative ones, as it does for an original, and those are told.
    pub(super) fn next(&self, base: &ZkPath) -> ZkPath {
        let numbers = self.groups.iter().filter_map(|group| number_of_group(group.path.name())?);
        let taken: Vec<i32> = numbers.collect();
        let mut number = creations(&self.base);
        while taken.contains(&number) {
            number = number.checked_add(1).unwrap_or(0);
        }
        base.child(&format!("{GROUP}{number:010}"))
    }

    /// Deletes what is over, and what was made in vain.
    pub(super) async fn tidy(&mut self, conn: &dyn Conn) {
        let awaiting = self.awaiting().map(|group| group.path.clone());
        let mut left = Vec::with_capacity(self.groups.len());
        for group in std::mem::take(&mut self.groups) {
            let in_vain = group.members.is_none()
                && awaiting.as_ref() != Some(&group.path)
                && group.nodes.is_empty();
            let vain = group.is_over() || in_vain;
            if vain && !group.has_others {
                // Who looks next does it, if somebody came between.
                let Group { path, stat, nodes, .. } = &group;
                if delete(conn, path, stat.version, &nodes.acks).await.is_ok() {
                    continue;
                }
            }
            left.push(group);
        }
        self.groups = left;
    }
}

/// Deletes the group at `path` once `own` is gone from it, if nobody is in it then. Whoever looks next
/// does it where this cannot, as behind the end of the session.
pub(super) async fn clear(
    conn: &BoundConn<Ours>,
    session: &Session,
    path: &ZkPath,
    own: Option<&ZkPath>,
) {
    let mut pauses = PAUSES;
    loop {
        let cleared = async {
            let listed = conn.children(path).await?;
            if let Some(own) = own
                && listed.names.iter().any(|name| name == own.name())
            {
                if let (Some(_), gone) = conn.exists_watch(own).await? {
                    tokio::select! {
                        _ = gone => {}
                        () = sleep(recheck(session)) => {}
                    }
                }
                return Ok(false);
            }
            let nodes = Nodes::of(path, &listed.names)?;
            if nodes.is_empty() {
                delete(conn, path, listed.stat.version, &nodes.acks).await?;
            }
            Ok(true)
        };
        match cleared.await {
            Ok(true) => return,
            Ok(false) => {}
            Err(err) => {
                let err: Error = err;
                if pause_behind(err.kind()).is_none() {
                    return;
                }
                sleep(pauses.failed()).await;
            }
        }
    }
}

/// Deletes a group and the words in it, if it has neither changed nor got a member.
async fn delete(
    conn: &dyn Conn,
    group: &ZkPath,
    version: i32,
    acks: &[String],
) -> Result<(), Error> {
    let words =
        acks.iter().fold(Multi::new(), |ops, name| ops.delete(group.child(name), Version::Any));
    conn.multi(words.delete(group, Version::Exact(version))).await.map(drop)
}

/// The first group of a base that is not there yet.
pub(super) fn first(base: &ZkPath) -> ZkPath {
    base.child(&format!("{GROUP}{:010}", 0))
}

/// The number that the next node with a number below a node gets: how many were made there before, but
/// for the highest bit. Servers show the creations and deletions as one: twice the creations, less the
/// children.
pub(super) fn creations(dir: &Stat) -> i32 {
    (dir.cversion.wrapping_add(dir.num_children).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_first_by_name() {
        let group = ZkPath::new("/sys/group-0000000000").unwrap();
        let names = ["node-0000000001", "ack-0000000002", "_c_7-node-0000000003", "other"];
        let nodes = Nodes::of(&group, &names.map(str::to_owned)).unwrap();
        let numbers: Vec<i32> = nodes.members.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers, [3, 1]);
        assert_eq!(nodes.acks, ["ack-0000000002"]);
        let err = Nodes::of(&group, &["node--2147483648".to_owned()]).unwrap_err();
        assert!(err.to_string().contains("used up"), "{err}");
    }
}
