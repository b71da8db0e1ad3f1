//! Who waits at a cyclic barrier, for whoever looks on.

use super::state::{Arrival, State};
use crate::conn::{Conn, ConnExt};
use crate::error::Error;
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::owner::Owner;
use crate::request::{Read, ReadReply};

/// What is known of a generation.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    pub(crate) generation: u64,
    pub(crate) parties: usize,
    pub(crate) tolerant: bool,
    /// Why it is broken, if it is.
    pub(crate) broken: Option<String>,
    /// In the order in which they came.
    pub(crate) arrived: Vec<Waiter>,
}

/// One who waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) node: String,
    /// Who it says it is, and the facts of its node; `None` if that is gone.
    pub(crate) there: Option<(Option<Owner>, Stat)>,
}

/// What a node with this `data` at `path` says, if it is a cyclic barrier's.
///
/// # Errors
///
/// Those of a `read_many`.
pub(crate) async fn census(
    conn: &dyn Conn,
    path: &ZkPath,
    data: &[u8],
) -> Result<Option<Census>, Error> {
    let Some(state) = State::parse(data) else { return Ok(None) };
    // Behind a break their nodes are gone, and they wait for nobody.
    let waiting = if state.broken.is_some() { &[][..] } else { &state.arrived[..] };
    let names: Vec<String> = waiting.iter().map(Arrival::node).collect();
    let found = conn.read_many(names.iter().map(|name| Read::Get(path.child(name)))).await?;
    let arrived = names.into_iter().zip(found).map(|(node, found)| {
        let there = match found {
            Ok(ReadReply::Node(node)) => Some((Owner::parse(&node.data), node.stat)),
            _ => None,
        };
        Waiter { node, there }
    });
    Ok(Some(Census {
        arrived: arrived.collect(),
        generation: state.generation,
        parties: state.parties,
        tolerant: state.tolerate_failures,
        broken: state.broken,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conn::MemoryConn;
    use crate::recipes::CyclicBarrier;

    #[tokio::test]
    async fn who_waits_and_what_is_broken_is_told() {
        let conn = Arc::new(MemoryConn::new());
        let path = ZkPath::new("/phase").unwrap();
        let seen = || async {
            let data = conn.get(&path).await.unwrap().data;
            census(&conn, &path, &data).await.unwrap().unwrap()
        };
        let barrier = CyclicBarrier::new(conn.clone(), &path, 2);
        let first = tokio::spawn({
            let barrier = barrier.clone();
            async move { barrier.wait().await }
        });
        while barrier.waiting().await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        let one = seen().await;
        assert_eq!(
            (one.generation, one.parties, one.tolerant, one.arrived.len()),
            (0, 2, false, 1)
        );
        let (owner, stat) = one.arrived[0].there.clone().unwrap();
        assert_eq!(owner.unwrap().pid, std::process::id());
        assert!(stat.is_ephemeral() && one.broken.is_none());
        first.abort();
        while !barrier.is_broken().await.unwrap() {
            tokio::task::yield_now().await;
        }
        let two = seen().await;
        assert!(two.broken.unwrap().contains("gave up"));
        assert!(two.arrived.is_empty());
        assert!(census(&conn, &path, b"{}").await.unwrap().is_none());
    }
}
