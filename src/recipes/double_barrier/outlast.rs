//! Waiting for a round of others to be over.

use std::time::Duration;

use super::READY;
use super::round::{Ready, members, read_ready};
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::look::{self, Hint};
use crate::recipes::ours::Ours;
use crate::recipes::passing::bear_anew;
use crate::recipes::wait::recheck;

/// Waits until the round that is on is over: `ready` gone, or all its members.
pub(super) async fn outlast(conn: &Ours, dir: &ZkPath) -> Result<(), Error> {
    let mut round = None;
    loop {
        match look_at(conn, dir, &mut round).await {
            Ok(None) => return Ok(()),
            Ok(Some((ready, member, pause))) => {
                tokio::select! {
                    _ = ready.told() => {}
                    _ = member.told() => {}
                    () = sleep(pause) => {}
                }
            }
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(()),
            Err(err) => bear_anew(conn, dir, err).await?,
        }
    }
}

/// What tells of the end of `ready` and of a member of its round, and how long to rely on that; `None`
/// when it is over.
async fn look_at(
    conn: &Ours,
    dir: &ZkPath,
    round: &mut Option<i64>,
) -> Result<Option<(Hint, Hint, Duration)>, Error> {
    let (Some(stat), changed) = look::exists(conn, dir.child(READY)).await? else {
        return Ok(None);
    };
    let Some((stat, ready)) = read_ready(conn, dir, stat).await? else { return Ok(None) };
    if *round.get_or_insert(stat.czxid) != stat.czxid {
        return Ok(None);
    }
    let pause = recheck(&conn.session(dir).await?);
    let names = conn.children(dir).await?.names;
    let mut members = members(conn, dir, &names).await?;
    // Whose name sorts first is the last to leave.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    for member in members {
        if Ready::is_for(ready.as_ref(), &stat, &member)
            && let (Some(stat), gone) = look::exists(conn, dir.child(&member.name)).await?
            && stat.czxid == member.czxid
        {
            return Ok(Some((changed, gone, pause)));
        }
    }
    Ok(None)
}
