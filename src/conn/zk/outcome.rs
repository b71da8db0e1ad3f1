//! What a server shows of a write whose reply was lost.

use bytes::Bytes;
use zookeeper_client as zk;

use super::exec::{Fault, commit};
use super::translate;
use crate::conn::outcome::{self, Eyes, Verdict};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::request::Request;

/// Asks what became of `request`, which was sent when transaction `before` had been seen.
///
/// # Errors
///
/// Of a connection that broke again.
pub(super) async fn look_up(
    client: &zk::Client,
    request: &Request,
    before: i64,
) -> Result<Verdict, Fault> {
    commit(client, "/").await?;
    outcome::look_up(&Glance(client), request, before).await
}

/// Looks by reads of a session.
struct Glance<'a>(&'a zk::Client);

impl Eyes for Glance<'_> {
    type Lost = Fault;

    async fn stat(&self, path: &ZkPath) -> Result<Option<Stat>, Fault> {
        Ok(self.0.check_stat(path.as_str()).await?.as_ref().map(translate::stat))
    }

    async fn data(&self, path: &ZkPath) -> Result<Option<(Bytes, Stat)>, Fault> {
        match self.0.get_data(path.as_str()).await {
            Ok((data, stat)) => Ok(Some((data.into(), translate::stat(&stat)))),
            Err(zk::Error::NoNode | zk::Error::NoAuth) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    async fn children(&self, path: &ZkPath) -> Result<Option<Vec<String>>, Fault> {
        match self.0.list_children(path.as_str()).await {
            Ok(names) => Ok(Some(names)),
            Err(zk::Error::NoNode) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }
}
