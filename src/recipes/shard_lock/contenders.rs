//! Who holds which range, who waits for one, and who holds those up.

use bytes::Bytes;

use super::groups::{Group, View};
use super::shard::Range;
use crate::conn::{Conn, ConnExt};
use crate::error::Error;
use crate::node::Stat;
use crate::path::{IntoPath, ZkPath};
use crate::recipes::names::LockMode;
use crate::recipes::owner::Owner;
use crate::recipes::token::Token;
use crate::request::{Read, ReadReply};
use crate::session::Session;

/// Somebody who holds a range, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardContender {
    /// Its node.
    pub path: ZkPath,
    /// The group that it is in.
    pub group: ZkPath,
    /// Which range it holds, from 0; `None` while it waits.
    pub index: Option<usize>,
    /// How many ranges its group has; `None` while that is open.
    pub of: Option<usize>,
    /// Who it says it is. Workers of the original do not say it.
    pub owner: Option<Owner>,
    /// The facts of its node: since when it is there, and its session.
    pub stat: Stat,
    /// The token that it has, if it holds a range.
    pub token: Option<Token>,
}

impl ShardContender {
    /// Whether it holds a range, as far as the tree tells. Who waits waits for those.
    pub fn holds(&self) -> bool {
        self.index.is_some()
    }

    /// Where its range starts; `None` while it waits.
    pub fn from(&self) -> Option<f64> {
        Some(self.range()?.from())
    }

    /// Where its range ends; `None` while it waits.
    pub fn to(&self) -> Option<f64> {
        Some(self.range()?.to())
    }

    fn range(&self) -> Option<Range> {
        Some(Range { index: self.index?, of: self.of? })
    }
}

/// Who holds a range of the system at `path`, group by group in the order of the ranges, and who waits for one, in
/// the order of their turns. Holders come first: they are who keeps the others waiting.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::{ShardLock, shard_contenders};
/// let conn = Arc::new(MemoryConn::new());
/// let _shard = ShardLock::new(conn.clone(), "/table").acquire().await?;
/// let workers = shard_contenders(&conn, "/table").await?;
/// assert_eq!((workers[0].from(), workers[0].to()), (Some(0.0), Some(1.0)));
/// assert_eq!(workers[0].owner.as_ref().unwrap().pid, std::process::id());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Those of a listing, but for `NoNode`: then there is nobody. `Unexpected` where a group's data is
/// no list of members. Who may not be read is listed without an owner.
pub async fn shard_contenders(
    conn: &dyn Conn,
    path: impl IntoPath,
) -> Result<Vec<ShardContender>, Error> {
    const VERB: &str = "contenders";
    let base = path.into_path().map_err(|err| err.during(VERB))?;
    let told = async {
        let Some(view) = View::of(conn, &base, None).await? else { return Ok(Vec::new()) };
        let session = conn.session(&base).await?;
        let mut contenders = Vec::new();
        for group in &view.groups {
            contenders.extend(of_group(conn, group, &session).await?);
        }
        // Stable: what waits keeps the order of the groups and names.
        contenders.sort_by_cached_key(|one| {
            (one.index.is_none(), one.group.name().to_owned(), one.index)
        });
        Ok(contenders)
    };
    told.await.map_err(|err: Error| err.during(VERB))
}

async fn of_group(
    conn: &dyn Conn,
    group: &Group,
    session: &Session,
) -> Result<Vec<ShardContender>, Error> {
    let paths = group.nodes.members.iter().map(|(name, _)| group.path.child(name));
    let reads = paths.flat_map(|path| [Read::Get(path.clone()), Read::Exists(path)]);
    let found = conn.read_many(reads).await?;
    let mut contenders = Vec::new();
    for ((name, number), found) in group.nodes.members.iter().zip(found.chunks(2)) {
        let (data, stat) = match found {
            [Ok(ReadReply::Node(node)), _] => (node.data.clone(), node.stat),
            [_, Ok(ReadReply::Exists(Some(stat)))] => (Bytes::new(), *stat),
            // Gone meanwhile.
            _ => continue,
        };
        let listed = group.members.as_deref().unwrap_or_default();
        let index = listed.iter().position(|other| other == number);
        contenders.push(ShardContender {
            path: group.path.child(name),
            group: group.path.clone(),
            index,
            of: index.map(|_| listed.len()),
            owner: Owner::parse(&data),
            stat,
            token: index.map(|_| Token::of(session, LockMode::Exclusive, group.stat.mzxid)),
        });
    }
    Ok(contenders)
}
