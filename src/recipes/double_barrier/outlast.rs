//! Waiting for a round of others to be over.

use std::sync::Arc;

use super::READY;
use super::round::members;
use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::passing::bear_anew;
use crate::recipes::wait::recheck;
use crate::watch::Watch;

/// Waits until the round that is on is over: `ready` gone, or all its members.
pub(super) async fn outlast(conn: &Arc<dyn Conn>, dir: &ZkPath) -> Result<(), Error> {
    let mut round = None;
    loop {
        match look_at(conn, dir, &mut round).await {
            Ok(None) => return Ok(()),
            Ok(Some((ready, member))) => {
                let session = conn.session(dir).await?;
                tokio::select! {
                    _ = ready => {}
                    _ = member => {}
                    () = sleep(recheck(&session)) => {}
                }
            }
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(()),
            Err(err) => bear_anew(conn, dir, err).await?,
        }
    }
}

/// Watches on `ready` and on a member of its round; `None` when that is over.
async fn look_at(
    conn: &Arc<dyn Conn>,
    dir: &ZkPath,
    round: &mut Option<i64>,
) -> Result<Option<(Watch, Watch)>, Error> {
    let (Some(ready), changed) = conn.exists_watch(dir.child(READY)).await? else {
        return Ok(None);
    };
    if *round.get_or_insert(ready.czxid) != ready.czxid {
        return Ok(None);
    }
    let names = conn.children(dir).await?.names;
    for member in members(conn, dir, &names).await? {
        if member.czxid < ready.czxid
            && let (Some(stat), gone) = conn.exists_watch(dir.child(&member.name)).await?
            && stat.czxid == member.czxid
        {
            return Ok(Some((changed, gone)));
        }
    }
    Ok(None)
}
