//! What is at a path where nobody is known to hold, wait or be inside: it may be another system's.

use std::fmt;

use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::Record;
use crate::request::{Read, ReadReply};

use super::VERB;

/// What there is of which only another system knows what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strangers {
    None,
    /// A node with data, and nothing below: so the barriers of other systems are while they are closed.
    Closed,
    /// So many ephemeral nodes below it: so their double barriers are before they begin.
    Parties(usize),
}

impl Strangers {
    pub(super) async fn find(conn: &dyn Conn, path: &ZkPath) -> Result<Self, Error> {
        let names = match conn.children(path).await {
            Ok(children) => children.names,
            Err(err) if err.kind() == ErrorKind::NoNode => {
                return Err(Error::new(VERB, path, ErrorKind::NoNode));
            }
            Err(err) => return Err(err),
        };
        if names.is_empty() {
            // A lock with a delay that is free has who held it last.
            return Ok(match conn.get(path).await {
                Ok(node) if !node.data.is_empty() && Record::of(&node).is_none() => {
                    Strangers::Closed
                }
                _ => Strangers::None,
            });
        }
        let found = conn.read_many(names.iter().map(|name| Read::Exists(path.child(name)))).await;
        let is_party = |one: &Result<ReadReply, Error>| match one {
            Ok(ReadReply::Exists(Some(stat))) => stat.is_ephemeral(),
            _ => false,
        };
        Ok(match found.unwrap_or_default().iter().filter(|one| is_party(one)).count() {
            0 => Strangers::None,
            parties => Strangers::Parties(parties),
        })
    }
}

impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strangers::None => f.write_str("nobody"),
            Strangers::Closed => {
                f.write_str("nobody; if it is a barrier of another system, it is closed")
            }
            Strangers::Parties(parties) => write!(
                f,
                "nobody who is known; if it is a double barrier of another system, it has not begun, \
                 and {parties} wait"
            ),
        }
    }
}
