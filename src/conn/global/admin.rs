//! Giving a quorum an identity, or another one.

use super::identity::Identity;
use super::quorum::Quorum;
use super::status::QuorumStatus;
use super::{GlobalConn, Shared, who};
use crate::conn::ConnExt as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::path::ZkPath;

/// Gives a quorum an identity, unless somebody was faster; then that one counts. Says which counts, and
/// whether it is ours.
pub(super) async fn make(
    shared: &Shared,
    quorum: &Quorum,
    identity: &Identity,
    verb: &'static str,
) -> Result<(Identity, bool), Error> {
    let told = |err: Error| quorum.told(err).during(verb);
    let home = shared.home.path();
    let mut above: Vec<ZkPath> = std::iter::successors(home.parent(), ZkPath::parent)
        .filter(|path| !path.is_root())
        .collect();
    above.reverse();
    for path in &above {
        match quorum.conn.create(path, "", Mode::Persistent).await {
            Err(err) if err.kind() != ErrorKind::NodeExists => return Err(told(err)),
            _ => {}
        }
    }
    match quorum.conn.multi(shared.home.creation(identity)).await {
        Ok(_) => Ok((identity.clone(), true)),
        Err(err) if err.kind() == ErrorKind::NodeExists => {
            let deadline = Deadline::after(shared.options.wait);
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
) -> Result<i32, Error> {
    let ops = shared.home.change(before, after, version);
    match quorum.conn.multi(ops).await {
        Ok(_) => Ok(version.wrapping_add(1)),
        Err(err) if err.index().is_some() => {
            let err = Error::new(verb, "", ErrorKind::Contended);
            Err(err.with_detail(format!("the identity of {quorum} changed meanwhile; look again")))
        }
        Err(err) => Err(quorum.told(err).during(verb)),
    }
}

impl GlobalConn {
    /// Notes that mirror `number` has all that the first holds, if both are still who they were when
    /// `seen` was: a repair of the whole tree that began after it ended with nothing left to do.
    ///
    /// # Errors
    ///
    /// `WrongQuorum` when one of them is another by now, or was not right then; `NotSent` and the like
    /// when one does not answer.
    #[allow(dead_code, reason = "repair says so, once it looks at everything")]
    pub(crate) async fn completed(
        &self,
        number: usize,
        seen: &[QuorumStatus],
    ) -> Result<(), Error> {
        const VERB: &str = "complete";
        let shared = &*self.shared;
        let deadline = Deadline::after(shared.options.wait);
        let changed = |quorum: &Quorum| {
            Error::new(VERB, "", ErrorKind::WrongQuorum).with_detail(format!(
                "the identity of {quorum} has changed meanwhile; look at `zk global status`, and \
                 repair it again"
            ))
        };
        let then = |number: usize| {
            let status = seen.iter().find(|status| status.number == number);
            status.filter(|status| status.wrong.is_none())?.identity.as_ref().ok()
        };
        let Some(mirror) = shared.mirrors.iter().find(|mirror| mirror.quorum.number == number)
        else {
            return Err(Error::new(VERB, "", ErrorKind::BadArguments)
                .with_detail(format!("there is no mirror {number}")));
        };
        let told = |quorum: &Quorum, err: Error| quorum.told(err).during(VERB);
        let now = who::is(shared, &mirror.quorum, deadline).await;
        let (own, version) = now.map_err(|err| told(&mirror.quorum, err))?;
        let first = who::first(shared, deadline).await;
        let first = first.map_err(|err| told(&shared.first, err))?;
        if !then(1).is_some_and(|before| before.is(&first)) {
            return Err(changed(&shared.first));
        }
        if !then(number).is_some_and(|before| before.is(&own)) {
            return Err(changed(&mirror.quorum));
        }
        if own.complete {
            return Ok(());
        }
        let after = Identity { complete: true, ..own.clone() };
        change(shared, &mirror.quorum, &own, &after, version, VERB).await.map(drop)
    }
}
