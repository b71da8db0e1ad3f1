//! Giving a quorum an identity, or another one.

use bytes::Bytes;

use super::identity::Identity;
use super::quorum::Quorum;
use super::{Shared, who};
use crate::conn::{Conn as _, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::path::ZkPath;
use crate::request::{Op, Reply, Request};

/// Gives a quorum an identity, unless somebody was faster; then that one counts. Says which counts, and
/// whether it is ours.
pub(super) async fn make(
    shared: &Shared,
    quorum: &Quorum,
    identity: &Identity,
    verb: &'static str,
    deadline: Deadline,
) -> Result<(Identity, bool), Error> {
    let told = |err: Error| quorum.told(err).during(verb);
    let home = shared.home.path();
    let mut above: Vec<ZkPath> = std::iter::successors(home.parent(), ZkPath::parent)
        .filter(|path| !path.is_root())
        .collect();
    above.reverse();
    for path in &above {
        let op = Op::Create { data: Bytes::new(), options: Mode::Persistent.into() };
        match call(quorum, op, path, deadline).await {
            Err(err) if err.kind() != ErrorKind::NodeExists => return Err(told(err)),
            _ => {}
        }
    }
    match call(quorum, Op::Multi(shared.home.creation(identity)), home, deadline).await {
        Ok(_) => Ok((identity.clone(), true)),
        Err(err) if err.kind() == ErrorKind::NodeExists => {
            let found = who::is(shared, quorum, deadline).await.map_err(told)?;
            Ok((found.0, false))
        }
        Err(err) => Err(told(err)),
    }
}

/// Makes `after` of a quorum that is `before`, as a node of `version` says, unless that is no longer
/// so. Returns the version of the node then.
pub(super) async fn change(
    shared: &Shared,
    quorum: &Quorum,
    before: &Identity,
    after: &Identity,
    version: i32,
    verb: &'static str,
    deadline: Deadline,
) -> Result<i32, Error> {
    let ops = shared.home.change(before, after, version);
    match call(quorum, Op::Multi(ops), shared.home.path(), deadline).await {
        Ok(_) => Ok(version.wrapping_add(1)),
        Err(err) if err.index().is_some() => Err(quorum.contended(verb)),
        Err(err) => Err(quorum.told(err).during(verb)),
    }
}

fn call(quorum: &Quorum, op: Op, path: &ZkPath, deadline: Deadline) -> Pending<Reply> {
    let mut request = Request::new(op, path.clone());
    request.deadline = deadline;
    quorum.conn.call(request)
}
