//! What quorums hold at a batch of paths, and in what mirrors differ from the first there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Kind;
use super::quorums::{Quorums, Told, blamed};
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Stat};
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};

/// How many access lists are asked for at once: there is no request for many.
const ACLS_AT_ONCE: usize = 256;

/// How much data is held at once, and of how many nodes. One node has a mebibyte at most.
const DATA: usize = 2 * 1024 * 1024;
const NODES: usize = 1000;

/// How many names are listed at once, where directories do not grow meanwhile.
const NAMES: usize = 50_000;

/// What a quorum says of one path: whether and how it is there, and who may do what.
#[derive(Debug)]
pub(super) struct Fact {
    stat: Result<Option<Stat>, Error>,
    acl: Result<Vec<Acl>, Error>,
}

impl Fact {
    fn stat(&self) -> Option<Stat> {
        self.stat.as_ref().ok().copied().flatten()
    }

    fn mark(&self) -> Mark {
        self.stat().map(|stat| (stat.czxid, stat.mzxid, stat.aversion))
    }
}

/// What moves whenever a node changes, its children aside.
type Mark = Option<(i64, i64, i32)>;

/// A mirror that does not look like the first at a path.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) path: ZkPath,
    pub(super) quorum: usize,
    pub(super) kinds: BTreeSet<Kind>,
    /// How much data the first has there.
    pub(super) size: usize,
    marks: [Mark; 2],
}

impl Suspect {
    /// Whether neither side has changed since `before`.
    pub(super) fn stands(&self, before: &Suspect) -> bool {
        self.marks == before.marks && self.kinds == before.kinds
    }
}

/// What could not be compared: where, on which quorum, and why.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<(ZkPath, usize), Error>);

impl Unread {
    fn add(&mut self, path: &ZkPath, index: usize, err: &Error) {
        let err = match err.kind() {
            ErrorKind::NoAuth => err.clone().with_detail(format!(
                "on quorum {}: this identity may not read all of it, so it cannot be compared; add \
                 one with READ and ADMIN to the cell",
                index + 1
            )),
            _ => blamed(index, err.clone()),
        };
        self.0.entry((path.clone(), index + 1)).or_insert(err.at(path));
    }

    /// Takes out what is so on quorum `number` at `path`.
    pub(super) fn take(&mut self, path: &ZkPath, number: usize) -> Option<Error> {
        self.0.remove(&(path.clone(), number))
    }

    pub(super) fn into_told(self) -> Told {
        self.0.into_values().map(Err).collect()
    }
}

/// Whether an error is that of a whole quorum, and not of a path.
pub(super) fn is_of_quorum(err: &Error) -> bool {
    err.is_away() || matches!(err.kind(), ErrorKind::Closed | ErrorKind::WrongQuorum)
}

/// A batch of paths, as all quorums that answer hold them.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    paths: &'a [ZkPath],
    /// One column for each quorum that answers.
    columns: Vec<Option<Vec<Fact>>>,
}

impl<'a> Sight<'a> {
    /// # Errors
    ///
    /// When the first does not answer.
    pub(super) async fn of(
        quorums: &mut Quorums,
        paths: &'a [ZkPath],
        told: &mut Told,
    ) -> Result<Self, Error> {
        let columns = quorums.ask(told, |_, conn| facts(conn, paths)).await?;
        Ok(Sight { paths, columns })
    }

    fn fact(&self, quorum: usize, index: usize) -> Option<&Fact> {
        self.columns.get(quorum)?.as_ref()?.get(index)
    }

    /// The names of what is below the paths, on any quorum that answers, and whether those of the
    /// first are complete.
    ///
    /// # Errors
    ///
    /// When the first does not answer.
    pub(super) async fn children(
        &self,
        quorums: &mut Quorums,
        told: &mut Told,
        unread: &mut Unread,
    ) -> Result<(BTreeSet<ZkPath>, bool), Error> {
        let mut below = BTreeSet::new();
        let mut is_complete = true;
        for (index, path) in self.paths.iter().enumerate() {
            for quorum in 0..self.columns.len() {
                if let Some(Fact { stat: Err(err), .. }) = self.fact(quorum, index) {
                    unread.add(path, quorum, err);
                    is_complete &= quorum > 0;
                }
            }
        }
        let count = |quorum: usize, index: usize| {
            let stat = self.fact(quorum, index).and_then(Fact::stat);
            stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0))
        };
        let most = |index: usize| {
            (0..self.columns.len()).map(|quorum| count(quorum, index)).max().unwrap_or(0)
        };
        let parents: Vec<usize> = (0..self.paths.len()).filter(|index| most(*index) > 0).collect();
        for some in groups(&parents, NODES, NAMES, most) {
            let asked = |quorum: usize| -> Vec<usize> {
                some.iter().copied().filter(|index| count(quorum, *index) > 0).collect()
            };
            let listing = |quorum: usize, conn: Arc<dyn Conn>| {
                let paths = asked(quorum);
                let reads = paths.iter().map(|index| Read::Children(self.paths[*index].clone()));
                let reads: Vec<Read> = reads.collect();
                async move { many(&conn, reads).await }
            };
            let lists = quorums.ask(told, listing).await?;
            for (quorum, list) in lists.into_iter().enumerate() {
                for (index, answer) in asked(quorum).into_iter().zip(list.into_iter().flatten()) {
                    // Invariant: these are indexes of paths.
                    let path = &self.paths[index];
                    match answer {
                        Ok(ReadReply::Children(names)) => {
                            below.extend(names.iter().map(|name| path.child(name)));
                        }
                        // It is gone meanwhile, and all below it.
                        Err(err) if err.kind() == ErrorKind::NoNode => {}
                        Err(err) => {
                            unread.add(path, quorum, &err);
                            is_complete &= quorum > 0;
                        }
                        Ok(_) => {
                            unread.add(path, quorum, &Error::odd("compare", ""));
                            is_complete &= quorum > 0;
                        }
                    }
                }
            }
        }
        Ok((below, is_complete))
    }

    /// In what mirrors differ from the first at those of the paths that `counts`.
    ///
    /// # Errors
    ///
    /// When the first does not answer.
    pub(super) async fn suspects(
        &self,
        quorums: &mut Quorums,
        told: &mut Told,
        unread: &mut Unread,
        counts: impl Fn(&ZkPath) -> bool,
    ) -> Result<Vec<Suspect>, Error> {
        let mut suspects: BTreeMap<(usize, usize), Suspect> = BTreeMap::new();
        // Those that differ in their data or not at all, with the length of it.
        let mut open: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
        for (index, path) in self.paths.iter().enumerate().filter(|(_, path)| counts(path)) {
            let Some(first) = self.fact(0, index) else { continue };
            if let Err(err) = &first.stat {
                unread.add(path, 0, err);
                continue;
            }
            // Ephemeral nodes are the first's alone.
            let here = first.stat().filter(|stat| !stat.is_ephemeral());
            let length = here.map_or(0, |stat| stat.data_length);
            let size = usize::try_from(length).unwrap_or(0);
            for quorum in 1..self.columns.len() {
                let Some(mirror) = self.fact(quorum, index) else { continue };
                let mut kinds = BTreeSet::new();
                match (here, &mirror.stat) {
                    (_, Err(err)) => unread.add(path, quorum, err),
                    (None, Ok(None)) => {}
                    (Some(_), Ok(None)) => drop(kinds.insert(Kind::Missing)),
                    // What ends with somebody's session there is not the node itself.
                    (Some(_), Ok(Some(there))) if there.is_ephemeral() => {
                        kinds.insert(Kind::Missing);
                    }
                    (None, Ok(Some(_))) => drop(kinds.insert(Kind::Extra)),
                    (Some(_), Ok(Some(there))) => {
                        if length != there.data_length {
                            kinds.insert(Kind::Data);
                        } else if size > 0 {
                            open.entry(index).or_insert_with(|| (size, vec![])).1.push(quorum);
                        }
                        match (&first.acl, &mirror.acl) {
                            (Err(err), _) => unread.add(path, 0, err),
                            (_, Err(err)) => unread.add(path, quorum, err),
                            (Ok(one), Ok(other)) if Acl::granted(one) == Acl::granted(other) => {}
                            (Ok(_), Ok(_)) => drop(kinds.insert(Kind::Acl)),
                        }
                    }
                }
                let marks = [first.mark(), mirror.mark()];
                let suspect =
                    Suspect { path: path.clone(), quorum: quorum + 1, kinds, size, marks };
                suspects.insert((index, quorum), suspect);
            }
        }
        for (index, quorum) in self.other_data(quorums, told, unread, &open).await? {
            if let Some(suspect) = suspects.get_mut(&(index, quorum)) {
                suspect.kinds.insert(Kind::Data);
            }
        }
        Ok(suspects.into_values().filter(|suspect| !suspect.kinds.is_empty()).collect())
    }

    /// Which of the nodes with data of one length have other data, on which mirror.
    async fn other_data(
        &self,
        quorums: &mut Quorums,
        told: &mut Told,
        unread: &mut Unread,
        open: &BTreeMap<usize, (usize, Vec<usize>)>,
    ) -> Result<Vec<(usize, usize)>, Error> {
        let mut differ = Vec::new();
        let indexes: Vec<usize> = open.keys().copied().collect();
        let size = |index: usize| open.get(&index).map_or(0, |(size, _)| *size);
        for some in groups(&indexes, NODES, DATA, size) {
            let reads = |_: usize, conn: Arc<dyn Conn>| {
                let reads: Vec<Read> =
                    some.iter().map(|index| Read::Get(self.paths[*index].clone())).collect();
                async move { many(&conn, reads).await }
            };
            let found = quorums.ask(told, reads).await?;
            let mut found = found.into_iter().map(|column| column.map(data));
            let Some(Some(first)) = found.next() else { continue };
            let mirrors: Vec<_> = found.collect();
            for ((place, index), first) in some.iter().enumerate().zip(first) {
                // Invariant: these are indexes of paths.
                let path = &self.paths[*index];
                let first = match first {
                    Ok(first) => first,
                    Err(err) => {
                        unread.add(path, 0, &err);
                        continue;
                    }
                };
                for quorum in open.get(index).map_or(&[][..], |(_, quorums)| quorums) {
                    let mirror = mirrors.get(quorum - 1).and_then(Option::as_ref);
                    match mirror.and_then(|column| column.get(place)) {
                        Some(Ok(data)) if *data == first => {}
                        Some(Ok(_)) => differ.push((*index, *quorum)),
                        Some(Err(err)) => unread.add(path, *quorum, err),
                        None => {}
                    }
                }
            }
        }
        Ok(differ)
    }
}

/// The data in answers; `None` where the node is gone.
fn data(answers: Vec<Result<ReadReply, Error>>) -> Vec<Result<Option<Bytes>, Error>> {
    let data = |answer| match answer {
        Ok(ReadReply::Node(node)) => Ok(Some(node.data)),
        Err(err) if Error::kind(&err) == ErrorKind::NoNode => Ok(None),
        Err(err) => Err(err),
        Ok(_) => Err(Error::odd("compare", "")),
    };
    answers.into_iter().map(data).collect()
}

/// What `conn` says of `paths`. An error is that of the whole quorum.
async fn facts(conn: Arc<dyn Conn>, paths: &[ZkPath]) -> Result<Vec<Fact>, Error> {
    let asked: Vec<_> = paths.iter().map(|path| fact(&conn, path)).collect();
    stream::iter(asked).buffered(ACLS_AT_ONCE).try_collect().await
}

async fn fact(conn: &Arc<dyn Conn>, path: &ZkPath) -> Result<Fact, Error> {
    let (stat, acl) = match conn.acl(path).await {
        Ok((acl, stat)) if acl.iter().any(Acl::is_hidden) => {
            (Ok(Some(stat)), Err(Error::new("acl", path, ErrorKind::NoAuth)))
        }
        Ok((acl, stat)) => (Ok(Some(stat)), Ok(acl)),
        Err(err) if err.kind() == ErrorKind::NoNode => (Ok(None), Ok(Vec::new())),
        Err(err) if is_of_quorum(&err) => return Err(err),
        // Whether it is there, anybody may know.
        Err(err) => match conn.exists(path).await {
            Ok(stat) => (Ok(stat), Err(err)),
            Err(err) if is_of_quorum(&err) => return Err(err),
            Err(err) => (Err(err.clone()), Err(err)),
        },
    };
    Ok(Fact { stat, acl })
}

/// Many reads, of which one that the whole quorum failed fails all.
async fn many(
    conn: &Arc<dyn Conn>,
    reads: Vec<Read>,
) -> Result<Vec<Result<ReadReply, Error>>, Error> {
    if reads.is_empty() {
        return Ok(Vec::new());
    }
    let answers = conn.read_many(reads).await?;
    match answers.iter().find_map(|answer| answer.as_ref().err().filter(|err| is_of_quorum(err))) {
        Some(err) => Err(err.clone()),
        None => Ok(answers),
    }
}

/// `items` in groups of at most `count`, whose sizes add up to `most`, or of one that is larger.
fn groups<T: Copy>(
    items: &[T],
    count: usize,
    most: usize,
    size: impl Fn(T) -> usize,
) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut total = 0;
    for item in items {
        total += size(*item);
        match groups.last_mut() {
            Some(group) if group.len() < count && total <= most => group.push(*item),
            _ => {
                total = size(*item);
                groups.push(vec![*item]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_as_large_as_they_may_be() {
        assert_eq!(groups(&[1, 2, 3, 9, 1], 9, 5, |n| n), [vec![1, 2], vec![3], vec![9], vec![1]]);
        assert_eq!(groups(&[1, 1, 1], 2, 5, |n| n), [vec![1, 1], vec![1]]);
        assert!(groups(&[], 2, 5, |n: usize| n).is_empty());
    }
}
