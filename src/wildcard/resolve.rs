//! Finds the nodes that patterns name, cell by cell.

use std::collections::HashSet;
use std::future::Future;

use futures::stream::{self, StreamExt};

use super::pattern::{Component, IntoPattern, Pattern};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{Read, ReadReply};

/// What [`resolve`] found, and what kept it from finding more.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Resolved {
    /// The paths: pattern by pattern as they were given, each sorted level by level by the bytes of
    /// the names. A path that two patterns match is here twice.
    pub paths: Vec<ZkPath>,
    /// What could not be looked up; empty when `paths` is all there is.
    pub failed: Vec<Failed>,
}

impl Resolved {
    /// The paths, if nothing failed.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn complete(self) -> Result<Vec<ZkPath>, Error> {
        match self.failed.into_iter().next() {
            None => Ok(self.paths),
            Some(failed) => Err(failed.error),
        }
    }
}

/// A part of the tree that could not be looked up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failed {
    /// Below this nothing more is known: `/zk/nyc` when a cell failed, `/zk` when the cells could
    /// not be listed, a node's path when it was this node that refused.
    pub prefix: ZkPath,
    /// Why.
    pub error: Error,
}

/// How many cells are looked into at once. A dead one holds its place until its deadline.
const CELLS_AT_ONCE: usize = 32;

/// How many reads go into one request, which bounds what its answer takes in memory.
const READS_AT_ONCE: usize = 1000;

/// Below this, what one cell answers has no bearing on the next.
const CELL_LEVEL: usize = 2;

/// Finds the nodes that `patterns` name.
///
/// A literal pattern comes back as its path, whether or not there is a node. All others name nodes
/// that are there. A cell that fails does not fail the others: [`Resolved::failed`] tells of it.
///
/// Each level of wildcards is one listing per node above it, all those of a cell in one request; a
/// listing proves that its names exist, and only what stands behind the last wildcard is looked up.
/// In `/zk/*/motd` the `*` ranges over the known cells. Alternatives without wildcards, as in
/// `/zk/{local,global}/*`, are taken as names and not looked for in a listing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{MemoryConn, Mode, tree, wildcard};
/// let conn = MemoryConn::new();
/// tree::create_all(&conn, "/zk/nyc/motd", "hello", Mode::Persistent).await?;
/// tree::create_all(&conn, "/zk/lax/motd", "hi", Mode::Persistent).await?;
/// let found = wildcard::resolve(&conn, ["/zk/*/motd", "/zk/nyc/other"]).await?;
/// assert_eq!(found.complete()?, ["/zk/lax/motd", "/zk/nyc/motd", "/zk/nyc/other"]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// `BadPattern`, before anything is sent. What a connection answers is in the result.
///
/// # Cancel safety
///
/// It only reads; dropping the future withdraws what was not sent.
#[doc(alias = "ResolveWildcards")]
pub fn resolve<P: IntoPattern>(
    conn: &dyn Conn,
    patterns: impl IntoIterator<Item = P>,
) -> impl Future<Output = Result<Resolved, Error>> + Send {
    let patterns: Result<Vec<Pattern>, Error> =
        patterns.into_iter().map(IntoPattern::into_pattern).collect();
    async move { Ok(resolve_all(conn, &patterns?).await) }
}

async fn resolve_all(conn: &dyn Conn, patterns: &[Pattern]) -> Resolved {
    // The futures are collected first, here and below: over a closure, the compiler cannot see
    // that a stream is `Send`.
    let tops: Vec<_> = patterns.iter().map(|pattern| top(conn, pattern)).collect();
    let mut tops = stream::iter(tops).buffered(CELLS_AT_ONCE);
    let mut parts = Vec::new();
    let mut searches = Vec::new();
    while let Some((part, cells)) = tops.next().await {
        parts.push(part);
        for search in cells {
            searches.push((parts.len(), search));
            parts.push(Resolved::default());
        }
    }
    let found = searches.into_iter().map(|(part, mut search)| async move {
        search.descend(usize::MAX).await;
        (part, search.finish().await)
    });
    let found: Vec<_> = found.collect();
    let mut found = stream::iter(found).buffer_unordered(CELLS_AT_ONCE);
    while let Some((part, resolved)) = found.next().await {
        // Invariant: the place was made above, with the search.
        parts[part] = resolved;
    }
    join(parts)
}

/// As far as the cells: what is found already, and what is left to do in each.
async fn top<'a>(conn: &'a dyn Conn, pattern: &'a Pattern) -> (Resolved, Vec<Search<'a>>) {
    if let Some(path) = pattern.literal_path() {
        return (Resolved { paths: vec![path], failed: Vec::new() }, Vec::new());
    }
    let mut search = Search::new(conn, pattern);
    search.descend(CELL_LEVEL).await;
    let (cells, failed) = search.split();
    (Resolved { paths: Vec::new(), failed }, cells)
}

fn join(parts: Vec<Resolved>) -> Resolved {
    let mut all = Resolved::default();
    let mut known = HashSet::new();
    for part in parts {
        all.paths.extend(part.paths);
        // Several patterns over one dead cell fail alike.
        all.failed.extend(part.failed.into_iter().filter(|f| known.insert(f.prefix.clone())));
    }
    all
}

/// The way of one pattern through one cell, or through the top of the tree.
struct Search<'a> {
    conn: &'a dyn Conn,
    pattern: &'a Pattern,
    /// What fails as a whole when the connection does.
    prefix: ZkPath,
    level: usize,
    /// The paths that match as far as `level`, sorted.
    found: Vec<ZkPath>,
    /// Whether each of them was in a listing.
    proved: bool,
    failed: Vec<Failed>,
    /// Whether the connection failed: every further read would wait as long for the same answer.
    cut: bool,
}

impl<'a> Search<'a> {
    fn new(conn: &'a dyn Conn, pattern: &'a Pattern) -> Self {
        Search {
            conn,
            pattern,
            prefix: ZkPath::root(),
            level: 0,
            found: vec![ZkPath::root()],
            proved: true,
            failed: Vec::new(),
            cut: false,
        }
    }

    /// Goes on to `level`, or to the end of the pattern.
    async fn descend(&mut self, level: usize) {
        while self.level < level {
            if self.cut {
                // What matched so far is no answer.
                self.found.clear();
                return;
            }
            let Some(component) = self.pattern.components().get(self.level) else { return };
            self.level += 1;
            match component {
                Component::Names(names) => {
                    let below = |path| names.iter().map(move |name| ZkPath::child(path, name));
                    self.found = self.found.iter().flat_map(below).collect();
                    self.proved = false;
                }
                wild @ Component::Wild(_) => {
                    self.list(wild).await;
                    self.proved = true;
                }
            }
        }
    }

    /// One search for each cell among what was found, or one for all outside of the cells.
    fn split(self) -> (Vec<Search<'a>>, Vec<Failed>) {
        let Search { conn, pattern, level, found, proved, .. } = self;
        let mut searches: Vec<Search<'a>> = Vec::new();
        for path in found {
            let prefix = if is_cell(&path) { path.clone() } else { ZkPath::root() };
            match searches.last_mut() {
                Some(last) if last.prefix == prefix => last.found.push(path),
                _ => searches.push(Search {
                    conn,
                    pattern,
                    prefix,
                    level,
                    found: vec![path],
                    proved,
                    failed: Vec::new(),
                    cut: false,
                }),
            }
        }
        (searches, self.failed)
    }

    async fn list(&mut self, wild: &Component) {
        let parents = std::mem::take(&mut self.found);
        for parents in parents.chunks(READS_AT_ONCE) {
            if self.cut {
                return;
            }
            let answers = match parents {
                [parent] => {
                    let listed = self.conn.children(parent).await;
                    vec![listed.map(|children| children.names)]
                }
                _ => self.read(parents, Read::Children, names).await,
            };
            for (parent, answer) in parents.iter().zip(answers) {
                match answer {
                    Ok(mut names) => {
                        names.retain(|name| wild.matches(name));
                        names.sort_unstable();
                        self.found.extend(names.iter().map(|name| parent.child(name)));
                    }
                    Err(err) if err.kind() == ErrorKind::NoNode => {}
                    Err(err) => self.fail(parent, err),
                }
            }
        }
    }

    /// Keeps what exists, unless a listing said so already.
    async fn finish(mut self) -> Resolved {
        if !self.proved {
            let candidates = std::mem::take(&mut self.found);
            for paths in candidates.chunks(READS_AT_ONCE) {
                if self.cut {
                    break;
                }
                let answers = match paths {
                    [path] => vec![self.conn.exists(path).await.map(|stat| stat.is_some())],
                    _ => self.read(paths, Read::Exists, is_there).await,
                };
                for (path, answer) in paths.iter().zip(answers) {
                    match answer {
                        Ok(true) => self.found.push(path.clone()),
                        Ok(false) => {}
                        Err(err) => self.fail(path, err),
                    }
                }
            }
        }
        Resolved { paths: self.found, failed: self.failed }
    }

    async fn read<T>(
        &self,
        paths: &[ZkPath],
        read: fn(ZkPath) -> Read,
        open: fn(ReadReply) -> Option<T>,
    ) -> Vec<Result<T, Error>> {
        match self.conn.read_many(paths.iter().cloned().map(read)).await {
            Ok(answers) => answers
                .into_iter()
                .zip(paths)
                .map(|(answer, path)| {
                    let odd = || Error::new("resolve", path, ErrorKind::Unexpected);
                    open(answer?).ok_or_else(odd)
                })
                .collect(),
            Err(err) => vec![Err(err)],
        }
    }

    /// Records a failure at `path`. A node that refuses costs what is below it; a connection that
    /// fails ends the search.
    fn fail(&mut self, path: &ZkPath, error: Error) {
        let node_only = matches!(error.kind(), ErrorKind::NoAuth | ErrorKind::BadPath);
        if !node_only && std::mem::replace(&mut self.cut, true) {
            return;
        }
        let outside = self.prefix.is_root();
        let prefix = if node_only || outside { path.clone() } else { self.prefix.clone() };
        self.failed.push(Failed { prefix, error });
    }
}

/// Whether this is `/zk/<cell>`.
fn is_cell(path: &ZkPath) -> bool {
    let mut components = path.components();
    components.next() == Some("zk") && components.next().is_some() && components.next().is_none()
}

fn names(reply: ReadReply) -> Option<Vec<String>> {
    if let ReadReply::Children(names) = reply { Some(names) } else { None }
}

fn is_there(reply: ReadReply) -> Option<bool> {
    if let ReadReply::Exists(stat) = reply { Some(stat.is_some()) } else { None }
}

#[cfg(test)]
mod tests;
