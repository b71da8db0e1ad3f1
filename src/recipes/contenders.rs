//! Who holds a lock and who waits for it, whichever system they are of.

use bytes::Bytes;

use super::names::{ContenderName, LockMode, LockNames, distance};
use super::owner::Owner;
use super::token::Token;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::{IntoPath, ZkPath};
use crate::request::{Read, ReadReply};

/// Somebody who holds a lock or waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contender {
    /// Its node.
    pub path: ZkPath,
    /// Whose names it uses.
    pub names: LockNames,
    /// Whether it shares.
    pub mode: LockMode,
    /// Whether it holds the lock, as far as the list tells.
    pub holds: bool,
    /// Who it says it is. Vitess and this crate say so as JSON.
    pub owner: Option<Owner>,
    /// What its node says, whatever that is: Curator's has an address, Kazoo's an identifier.
    pub data: Bytes,
    /// The facts of its node: since when it is there, and its session.
    pub stat: Stat,
    /// The token that it has, if it holds the lock, in a cell called so.
    pub token: Token,
}

/// Who holds the lock at `path` and who waits for it, in the order of their turns.
///
/// It understands the names of all [`LockNames`], read-write locks included, and passes over other
/// children.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::{Lock, contenders};
/// let conn = Arc::new(MemoryConn::new());
/// let _guard = Lock::new(conn.clone(), "/app/lock").acquire().await?;
/// let line = contenders(&conn, "/app/lock").await?;
/// assert!(line[0].holds);
/// assert_eq!(line[0].owner.as_ref().unwrap().pid, std::process::id());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of a listing, but for `NoNode`: then there is nobody. Whoever may not be read is listed
/// without an owner only if its facts can be had.
pub async fn contenders(conn: &dyn Conn, path: impl IntoPath) -> Result<Vec<Contender>, Error> {
    const VERB: &str = "contenders";
    let dir = path.into_path().map_err(|err| err.during(VERB))?;
    let names = match conn.children(&dir).await {
        Ok(children) => children.names,
        Err(err) if err.kind() == ErrorKind::NoNode => return Ok(Vec::new()),
        Err(err) => return Err(err.during(VERB)),
    };
    let mut line: Vec<(&String, ContenderName<'_>)> =
        names.iter().filter_map(|name| Some((name, ContenderName::parse(name)?))).collect();
    let Some(any) = line.first().map(|(_, name)| name.sequence) else { return Ok(Vec::new()) };
    line.sort_by_key(|(_, name)| distance(any, name.sequence));
    let session = conn.session(&dir).await.map_err(|err| err.during(VERB))?;
    let reads = line
        .iter()
        .map(|(name, _)| dir.child(name))
        .flat_map(|path| [Read::Get(path.clone()), Read::Exists(path)]);
    let found = conn.read_many(reads).await.map_err(|err| err.during(VERB))?;
    let mut contenders = Vec::with_capacity(line.len());
    let mut writer_ahead = false;
    for ((name, read), found) in line.iter().zip(found.chunks(2)) {
        let (data, stat) = match found {
            [Ok(ReadReply::Node(node)), _] => (node.data.clone(), node.stat),
            [_, Ok(ReadReply::Exists(Some(stat)))] => (Bytes::new(), *stat),
            // Gone meanwhile.
            _ => continue,
        };
        let owner = Owner::parse(&data);
        let holds = match read.mode {
            LockMode::Exclusive => contenders.is_empty(),
            LockMode::Shared => !writer_ahead,
        };
        writer_ahead |= read.mode == LockMode::Exclusive;
        contenders.push(Contender {
            path: dir.child(name),
            names: read.names,
            mode: read.mode,
            holds,
            token: Token::of(&session, read.mode, granted(owner.as_ref(), &stat)),
            owner,
            data,
            stat,
        });
    }
    Ok(contenders)
}

/// The transaction that granted it: that which made the node, or the one before it whose place the
/// node took.
fn granted(owner: Option<&Owner>, stat: &Stat) -> i64 {
    match owner {
        Some(owner) if owner.granted > 0 => owner.granted.min(stat.czxid),
        _ => stat.czxid,
    }
}
