//! Who the quorums of a set are: asked before the first write, and whenever there is a doubt.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::Shared;
use super::identity::{Identity, Role, Wrong};
use super::mirror::Mirror;
use super::quorum::Quorum;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::request::{LeaveWatch, Op, Reply, Request};

/// How long the mirrors that need not confirm have to say that another one was made the first.
const GRACE: Duration = Duration::from_millis(500);

/// Who a quorum says it is, and the version of the node that says it; or why it says nothing.
type Said = Result<(Identity, i32), Error>;

/// What a quorum says of itself, with the version of the node that says it.
pub(super) async fn is(
    shared: &Shared,
    quorum: &Quorum,
    deadline: Deadline,
) -> Result<(Identity, i32), Error> {
    let mut request = Request::new(Op::Get(LeaveWatch::No), shared.home.path().clone());
    request.deadline = deadline;
    let answer = quorum.conn.call(request).await.and_then(|reply| match reply {
        Reply::Node(node, _) => Ok(node),
        _ => Err(Error::new("identity", "", ErrorKind::Unexpected)),
    });
    quorum.identity(answer)
}

/// The first, if it is one.
pub(super) async fn first(shared: &Shared, deadline: Deadline) -> Result<(Identity, i32), Error> {
    let (identity, version) = is(shared, &shared.first, deadline).await?;
    match identity.role {
        Role::First => Ok((identity, version)),
        Role::Mirror => Err(shared.first.wrong(&Wrong::NotFirst(identity.epoch))),
    }
}

/// The first, if enough mirrors are its mirrors and none of those that answer knows a newer one.
///
/// # Errors
///
/// `WrongQuorum` when one is not what it is used as, `NotSent` when too few answer.
pub(super) async fn agree(shared: &Shared, deadline: Deadline) -> Result<(Identity, i32), Error> {
    let mut asked: FuturesUnordered<_> = shared
        .mirrors
        .iter()
        .map(|mirror| async move { (mirror, is(shared, &mirror.quorum, deadline).await) })
        .collect();
    let mut answers = Vec::new();
    let mut asking = std::pin::pin!(first(shared, deadline));
    let found = loop {
        tokio::select! {
            found = &mut asking => break found,
            Some(answer) = asked.next() => answers.push(answer),
        }
    };
    let (identity, version) = found.map_err(|err| match err.kind() {
        ErrorKind::WrongQuorum => err,
        _ => away(&shared.first, &err),
    })?;
    let required = shared.required();
    let good = |answers: &[(&Mirror, Said)]| {
        let identities = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        identities.filter(|(own, _)| own.wrong_as_mirror_of(&identity).is_none()).count()
    };
    while good(&answers) < required
        && let Some(answer) = asked.next().await
    {
        answers.push(answer);
    }
    let rest = async {
        while let Some(answer) = asked.next().await {
            answers.push(answer);
        }
    };
    // Whoever is silent must not hold up a write that does not need it.
    let _ = tokio::time::timeout(GRACE, rest).await;
    let is_enough = good(&answers) >= required;
    let (mut wrongs, mut silent) = (Vec::new(), Vec::new());
    for (mirror, answer) in answers {
        match answer.map(|(own, _)| own.wrong_as_mirror_of(&identity)) {
            Ok(None) => {}
            // Whatever else is so: this first is one no more.
            Ok(Some(wrong @ Wrong::Newer(..))) => return Err(mirror.quorum.wrong(&wrong)),
            Ok(Some(wrong)) => wrongs.push(mirror.quorum.wrong(&wrong)),
            Err(err) if err.kind() == ErrorKind::WrongQuorum => wrongs.push(err),
            Err(err) => silent.push(away(&mirror.quorum, &err)),
        }
    }
    match wrongs.into_iter().chain(silent).next() {
        Some(err) if !is_enough => Err(err),
        _ => Ok((identity, version)),
    }
}

fn away(quorum: &Quorum, err: &Error) -> Error {
    let why = quorum.blame(err);
    Error::new("identity", "", ErrorKind::NotSent)
        .with_detail(format!("{why}; it cannot be asked who it is, so nothing was written"))
}

/// What all quorums say of themselves, in their order.
pub(super) async fn all(
    shared: &Shared,
    deadline: Deadline,
) -> Vec<Result<(Identity, i32), Error>> {
    join_all(shared.quorums().map(|quorum| is(shared, quorum, deadline))).await
}
