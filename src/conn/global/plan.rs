//! What has to be written on a mirror so that it holds what the first holds.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::look::{Depth, Found};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Perms, Stat, Version};
use crate::path::ZkPath;
use crate::request::MultiOp;

/// What a write of ours left at a path, for what this identity may write and not read. It counts only
/// for as long as the first still shows the numbers of that write.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    pub(super) data: Option<(Bytes, Option<i64>)>,
    pub(super) acl: Option<(Vec<Acl>, i32)>,
}

impl Left {
    /// Fills in what could not be read.
    pub(super) fn complete(&self, found: &mut Found) {
        let Some(stat) = found.stat else { return };
        if let (None, Some((data, mzxid))) = (&found.data, &self.data)
            && mzxid.map_or(stat.version == 0, |mzxid| mzxid == stat.mzxid)
        {
            found.data = Some(data.clone());
        }
        if let (None, Some((acl, aversion))) = (&found.acl, &self.acl)
            && *aversion == stat.aversion
        {
            found.acl = Some(acl.clone());
        }
    }
}

/// What both sides hold at one path.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) path: &'a ZkPath,
    pub(super) first: Found,
    pub(super) mirror: Found,
    /// Whether it may be left open what its data is, where that may not be read: who set the access
    /// list alone may have shut himself out.
    pub(super) is_list_only: bool,
    /// Whether the mirror's access list shuts us out, also from changing what is below.
    pub(super) is_locked: bool,
}

impl Pair<'_> {
    /// Whether the plan at this `depth` leaves nothing open there: not only the data, or only the list.
    pub(super) fn is_whole(&self, depth: Depth) -> bool {
        let is_changed = self.first.to_mirror().is_some()
            && self.mirror.stat.is_some_and(|there| !there.is_ephemeral());
        let is_known = self.first.data.is_some() && self.first.acl.is_some();
        !is_changed || (depth == Depth::All && is_known)
    }

    /// The mirror's list with all permissions for those who may change it: they could give them to
    /// themselves. `None` where it need not or cannot be opened.
    fn opened(&self) -> Option<List> {
        let (there, acl) = (self.mirror.stat?, self.mirror.acl.as_ref()?);
        let open = |entry: &Acl| match entry.perms.bits() & Perms::ADMIN.bits() != 0 {
            true => Acl { perms: Perms::ALL, ..entry.clone() },
            false => entry.clone(),
        };
        let acl: Vec<Acl> = acl.iter().map(open).collect();
        let is_new = self.is_locked && !same(&acl, self.mirror.acl.as_deref());
        is_new.then(|| List { path: self.path.clone(), acl, there })
    }
}

/// The writes that make a mirror agree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ops: Vec<MultiOp>,
    /// Access lists that let us in for the moment, to be set before all else.
    pub(super) opened: Vec<List>,
    /// New access lists, which no multi can set, to be set after all else.
    pub(super) acls: Vec<List>,
    /// Whether it takes another look afterwards.
    pub(super) again: bool,
}

impl Plan {
    /// Whether something of it changes the node at `path`.
    pub(super) fn changes(&self, path: &ZkPath) -> bool {
        self.ops.iter().any(|op| op.path() == path)
            || self.acls.iter().any(|list| list.path == *path)
    }
}

/// A new access list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) path: ZkPath,
    pub(super) acl: Vec<Acl>,
    /// The facts of the node that gets it.
    pub(super) there: Stat,
}

/// Compares all pairs. The paths at which `Ok` has nothing to say agree.
///
/// # Errors
///
/// `NoAuth` where what the first holds must be known and may not be read.
pub(super) fn plan(pairs: &[Pair<'_>], depth: Depth) -> Result<Plan, Error> {
    let mut made: BTreeMap<usize, Vec<MultiOp>> = BTreeMap::new();
    let mut ended: BTreeMap<usize, Vec<MultiOp>> = BTreeMap::new();
    let mut plan = Plan::default();
    for pair in pairs {
        let path = pair.path.clone();
        let opened = pair.opened();
        let mut now = pair.mirror.stat.unwrap_or_default();
        now.aversion += i32::from(opened.is_some());
        let level = path.components().count();
        match (pair.first.to_mirror(), pair.mirror.stat) {
            (None, None) => {}
            (None, Some(there)) => {
                let version = Version::Exact(there.version);
                ended.entry(level).or_default().push(MultiOp::Delete { path, version });
            }
            (Some(_), Some(there)) if !there.is_ephemeral() => {
                let hides = depth == Depth::All && pair.mirror.data.is_none();
                if opened.is_some() && pair.first.acl.is_none() {
                    return Err(unreadable(pair.path, "access list"));
                }
                let acl = pair.first.acl.as_ref().filter(|acl| {
                    let differs = !same(acl, pair.mirror.acl.as_deref());
                    depth == Depth::All && (differs || opened.is_some())
                });
                match (&pair.first.data, &pair.mirror.data) {
                    // With the new list it may be read, and need not be written.
                    (_, None) if hides && acl.is_some() && !pair.is_locked => plan.again = true,
                    (None, _) if pair.is_list_only => {}
                    (None, _) => return Err(unreadable(pair.path, "data")),
                    (Some(data), Some(read)) if data == read => {}
                    (Some(data), _) => {
                        let version = Version::Exact(there.version);
                        let op = MultiOp::Set { path: path.clone(), data: data.clone(), version };
                        made.entry(level).or_default().push(op);
                    }
                }
                if let Some(acl) = acl {
                    plan.acls.push(List { path, acl: acl.clone(), there: now });
                }
            }
            (Some(_), there) => {
                // What ends with somebody's session is another node.
                if let Some(there) = there {
                    let version = Version::Exact(there.version);
                    ended
                        .entry(level)
                        .or_default()
                        .push(MultiOp::Delete { path: path.clone(), version });
                }
                let data = pair.first.data.clone().ok_or_else(|| unreadable(pair.path, "data"))?;
                let acl =
                    pair.first.acl.clone().ok_or_else(|| unreadable(pair.path, "access list"))?;
                // Whatever it is on the first: only that one ends it.
                let options = CreateOptions::from(Mode::Persistent).with_acl(acl);
                made.entry(level).or_default().push(MultiOp::Create { path, data, options });
            }
        }
        plan.opened.extend(opened);
    }
    plan.ops.extend(ended.into_values().rev().flatten());
    plan.ops.extend(made.into_values().flatten());
    Ok(plan)
}

fn same(one: &[Acl], other: Option<&[Acl]>) -> bool {
    other.is_some_and(|other| Acl::granted(one) == Acl::granted(other))
}

fn unreadable(path: &ZkPath, what: &str) -> Error {
    Error::new("mirror", path, ErrorKind::NoAuth).with_detail(format!(
        "its {what} on the first may not be read by this identity, so it cannot be mirrored; \
         add an identity with READ and ADMIN to the cell"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(version: i32, data: &str) -> Found {
        Found {
            stat: Some(Stat { version, ..Stat::default() }),
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            acl: Some(Acl::open()),
        }
    }

    fn of(first: Found, mirror: Found) -> Result<Plan, Error> {
        let path = ZkPath::new("/a").unwrap();
        plan(
            &[Pair { path: &path, first, mirror, is_list_only: false, is_locked: false }],
            Depth::All,
        )
    }

    #[test]
    fn what_agrees_needs_nothing() {
        assert_eq!(of(Found::default(), Found::default()).unwrap(), Plan::default());
        assert_eq!(of(there(7, "x"), there(1, "x")).unwrap(), Plan::default());
    }

    #[test]
    fn each_write_is_bound_to_the_mirrors_own_version() {
        let set = of(there(7, "x"), there(1, "y")).unwrap();
        assert!(matches!(&set.ops[..], [MultiOp::Set { version: Version::Exact(1), .. }]));
        let delete = of(Found::default(), there(3, "y")).unwrap();
        assert!(matches!(&delete.ops[..], [MultiOp::Delete { version: Version::Exact(3), .. }]));
    }

    #[test]
    fn an_ephemeral_is_nothing_to_a_mirror() {
        let mut first = there(0, "x");
        first.stat = Some(Stat { ephemeral_owner: 7, ..Stat::default() });
        assert_eq!(of(first, Found::default()).unwrap(), Plan::default());
    }

    #[test]
    fn a_list_in_another_order_is_the_same() {
        let bob = Acl::digest(Perms::ALL, "bob", "x");
        let (mut first, mut mirror) = (there(0, "x"), there(0, "x"));
        first.acl = Some(vec![Acl::world(Perms::READ), bob.clone()]);
        mirror.acl = Some(vec![bob.clone(), Acl::world(Perms::READ)]);
        assert_eq!(of(first.clone(), mirror.clone()).unwrap(), Plan::default());
        mirror.acl = Some(vec![bob]);
        assert_eq!(of(first, mirror).unwrap().acls.len(), 1);
    }

    #[test]
    fn what_a_list_hides_is_looked_at_again_under_the_new_one() {
        let mut mirror = there(0, "x");
        (mirror.data, mirror.acl) = (None, Some(vec![Acl::world(Perms::ADMIN)]));
        let plan = of(there(0, "x"), mirror).unwrap();
        assert!(plan.ops.is_empty() && plan.acls.len() == 1 && plan.again);
    }

    #[test]
    fn what_cannot_be_read_is_not_made_up() {
        let mut first = there(0, "x");
        first.acl = None;
        let err = of(first, Found::default()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NoAuth);
    }

    #[test]
    fn what_a_write_left_counts_only_while_it_is_there() {
        let left = Left { data: Some((Bytes::from("x"), Some(5))), ..Left::default() };
        let stat = |mzxid| Found {
            stat: Some(Stat { mzxid, version: 1, ..Stat::default() }),
            ..Found::default()
        };
        let (mut ours, mut others) = (stat(5), stat(6));
        left.complete(&mut ours);
        left.complete(&mut others);
        assert_eq!((ours.data, others.data), (Some(Bytes::from("x")), None));
    }

    #[test]
    fn deletes_go_up_and_creates_go_down() {
        let paths: Vec<ZkPath> =
            ["/a", "/a/b", "/c", "/c/d"].iter().map(|path| ZkPath::new(path).unwrap()).collect();
        let pairs: Vec<Pair<'_>> = paths
            .iter()
            .map(|path| {
                let gone = path.as_str().starts_with("/a");
                let (first, mirror) = match gone {
                    true => (Found::default(), there(0, "")),
                    false => (there(0, ""), Found::default()),
                };
                Pair { path, first, mirror, is_list_only: false, is_locked: false }
            })
            .collect();
        let plan = plan(&pairs, Depth::All).unwrap();
        let order: Vec<&str> = plan.ops.iter().map(|op| op.path().as_str()).collect();
        assert_eq!(order, ["/a/b", "/a", "/c", "/c/d"]);
    }
}
