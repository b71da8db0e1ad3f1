//! Creates a whole tree of nodes in batches.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;

use bytes::Bytes;

use super::{ancestors, batch, create};
use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::CreateOptions;
use crate::path::{IntoPath, ZkPath};
use crate::request::MultiOp;

/// What [`create_many`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// How many of the given nodes were created. Ancestors that were missing do not count.
    pub created: usize,
    /// The given nodes that were there already, and were left as they are, in no special order.
    pub existed: Vec<ZkPath>,
}

/// Creates many nodes, and the ancestors that they lack.
///
/// The order of `nodes` does not matter. A node that is there already is left as it is and
/// reported; of two nodes with one path the first counts and the other is reported. All get
/// `options`; ancestors are made as by [`create_all`](super::create_all).
///
/// It takes one look for missing ancestors and one atomic write for every 500 nodes or 1 MiB, up to
/// eight of them under way at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{MemoryConn, Mode, tree};
/// let conn = MemoryConn::new();
/// tree::create_all(&conn, "/jobs/1", "", Mode::Persistent).await?;
/// let jobs = (0..10).map(|job| (format!("/jobs/{job}"), "todo"));
/// let done = tree::create_many(&conn, jobs, Mode::Persistent).await?;
/// assert_eq!((done.created, done.existed.len()), (9, 1));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The first failure, with the path of the node that could not be made; `NoNode` when others deleted
/// what was to be its parent. `BadArguments` for a sequential mode. Batches written before stay, and
/// those under way may yet be written.
///
/// # Cancel safety
///
/// Dropping the future stops between batches; what was sent is not taken back.
pub fn create_many<P: IntoPath, D: AsRef<[u8]>>(
    conn: &dyn Conn,
    nodes: impl IntoIterator<Item = (P, D)>,
    options: impl Into<CreateOptions>,
) -> impl Future<Output = Result<Created, Error>> + Send {
    let nodes: Result<Vec<(ZkPath, Bytes)>, Error> = nodes
        .into_iter()
        .map(|(path, data)| Ok((path.into_path()?, Bytes::copy_from_slice(data.as_ref()))))
        .collect();
    let options = options.into();
    async move { write(conn, nodes.map_err(|err| err.during(VERB))?, &options, VERB).await }
}

const VERB: &str = "create_many";

/// A node to make; without data of its own when it is an ancestor of those that were given.
struct Planned {
    path: ZkPath,
    depth: usize,
    data: Option<Bytes>,
}

impl Planned {
    fn new(path: ZkPath, data: Option<Bytes>) -> Self {
        Planned { depth: path.components().count(), path, data }
    }
}

pub(super) async fn write(
    conn: &dyn Conn,
    nodes: Vec<(ZkPath, Bytes)>,
    options: &CreateOptions,
    verb: &'static str,
) -> Result<Created, Error> {
    if options.mode.is_sequential() {
        let path = nodes.first().map_or_else(ZkPath::root, |(path, _)| path.clone());
        let why = "a sequential node has another name each time; create it";
        return Err(Error::new(verb, &path, ErrorKind::BadArguments).with_detail(why));
    }
    let mut done = Created::default();
    let mut given = HashSet::new();
    let mut planned = Vec::with_capacity(nodes.len());
    for (path, data) in nodes {
        if given.insert(path.clone()) {
            planned.push(Planned::new(path, Some(data)));
        } else {
            done.existed.push(path);
        }
    }
    let outside = missing_outside(conn, &given, verb).await?;
    let made_for_them: HashSet<ZkPath> = outside.iter().cloned().collect();
    planned.extend(outside.into_iter().map(|path| Planned::new(path, None)));

    let directory = ancestors::directory(options);
    for group in by_cell(planned).into_values() {
        let count = group.iter().filter(|node| node.data.is_some()).count();
        let steps = group.into_iter().map(|node| match node.data {
            Some(data) => {
                (node.depth, MultiOp::Create { path: node.path, data, options: options.clone() })
            }
            None => (node.depth, ancestors::create(node.path, &directory)),
        });
        let skipped = batch::write(conn, batch::waves(steps), create::existing(verb)).await?;
        let before = done.existed.len();
        let skipped = skipped.into_iter().map(|skipped| skipped.path);
        done.existed.extend(skipped.filter(|path| !made_for_them.contains(path)));
        done.created += count - (done.existed.len() - before);
    }
    Ok(done)
}

/// The ancestors that are neither given nor there.
async fn missing_outside(
    conn: &dyn Conn,
    given: &HashSet<ZkPath>,
    verb: &'static str,
) -> Result<Vec<ZkPath>, Error> {
    let mut outside = HashSet::new();
    for path in given {
        for ancestor in ancestors::ancestors(path) {
            // Whoever put it there, or was given it, goes on upwards from there.
            if given.contains(&ancestor) || !outside.insert(ancestor) {
                break;
            }
        }
    }
    let outside: Vec<ZkPath> = outside.into_iter().collect();
    let there = ancestors::exist(conn, &outside, verb).await?;
    let mut missing = Vec::new();
    for (path, there) in outside.into_iter().zip(there) {
        if !there? {
            missing.push(path);
        }
    }
    Ok(missing)
}

/// A batch is atomic, so it stays in one cell; within it parents come first.
fn by_cell(planned: Vec<Planned>) -> BTreeMap<Option<String>, Vec<Planned>> {
    let mut cells: BTreeMap<Option<String>, Vec<Planned>> = BTreeMap::new();
    for node in planned {
        let cell = cell(&node.path).map(str::to_string);
        cells.entry(cell).or_default().push(node);
    }
    for group in cells.values_mut() {
        group.sort_by(|one, other| (one.depth, &one.path).cmp(&(other.depth, &other.path)));
    }
    cells
}

fn cell(path: &ZkPath) -> Option<&str> {
    let mut components = path.components();
    components.next().filter(|first| *first == "zk").and_then(|_| components.next())
}

#[cfg(test)]
mod tests;
