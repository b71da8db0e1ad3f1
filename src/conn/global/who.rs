//! Who the quorums of a set are: asked before the first write, and whenever there is a doubt.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::Shared;
use super::home::Home;
use super::identity::{Identity, Role, Wrong};
use super::mirror::Mirror;
use super::quorum::Quorum;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::pause;
use crate::request::{Op, Read, ReadReply, Reply, Request};

/// How long the mirrors that need not confirm have to say that another one was made the first.
const GRACE: Duration = Duration::from_millis(500);

/// So often a quorum whose identity is just being changed is asked again.
const LOOKS: u32 = 5;

/// Who a quorum says it is, and the version of the node that says it; or why it says nothing.
pub(super) type Said = Result<(Identity, i32), Error>;

/// What a quorum says of itself, if the node that bears its name says the same.
pub(super) async fn is(shared: &Shared, quorum: &Quorum, deadline: Deadline) -> Said {
    let home = shared.home.path();
    for round in 0..LOOKS {
        pause::after(round * 3, deadline.remaining()).await;
        let reads = vec![Read::Get(home.clone()), Read::Children(home.clone())];
        let mut request = Request::new(Op::ReadMany(reads), home.clone());
        request.deadline = deadline;
        let Reply::Many(found) = quorum.conn.call(request).await? else { return Err(odd()) };
        let mut found = found.into_iter();
        let (said, named) = match (found.next(), found.next()) {
            (Some(Ok(ReadReply::Node(node))), Some(named)) => (quorum.identity(Ok(node))?, named),
            (Some(Err(err)), _) => return quorum.identity(Err(err)),
            _ => return Err(odd()),
        };
        match named {
            Ok(ReadReply::Children(names)) if Home::is_named(&said.0, &names) => return Ok(said),
            Ok(ReadReply::Children(_)) => {}
            Err(err) if err.kind() != ErrorKind::NoNode => return Err(err),
            _ => {}
        }
    }
    let why = "the node below it that bears its name is not there, or not alone".to_string();
    Err(quorum.wrong(&Wrong::Unreadable(why)))
}

fn odd() -> Error {
    Error::new("identity", "", ErrorKind::Unexpected)
        .with_detail("the connection answered another question")
}

/// The first, if it is one.
pub(super) async fn first(shared: &Shared, deadline: Deadline) -> Result<Identity, Error> {
    let (identity, _) = is(shared, &shared.first, deadline).await?;
    match identity.role {
        Role::First => Ok(identity),
        Role::Mirror => Err(shared.first.wrong(&Wrong::NotFirst(identity.epoch))),
    }
}

/// The first, if enough mirrors are its mirrors and none of those that answer knows a newer one.
///
/// # Errors
///
/// `WrongQuorum` when one is not what it is used as, `NotSent` when too few answer.
pub(super) async fn agree(shared: &Shared, deadline: Deadline) -> Result<Identity, Error> {
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
    let identity = found.map_err(|err| match err.kind() {
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
            // Whatever else is so: this first may be one no more.
            Ok(Some(wrong)) if wrong.is_fatal() => return Err(mirror.quorum.wrong(&wrong)),
            Ok(Some(wrong)) => wrongs.push(mirror.quorum.wrong(&wrong)),
            Err(err) if err.kind() == ErrorKind::WrongQuorum => wrongs.push(err),
            Err(err) => silent.push(away(&mirror.quorum, &err)),
        }
    }
    match wrongs.into_iter().chain(silent).next() {
        Some(err) if !is_enough => Err(err),
        _ => Ok(identity),
    }
}

fn away(quorum: &Quorum, err: &Error) -> Error {
    let why = quorum.blame(err);
    Error::new("identity", "", ErrorKind::NotSent)
        .with_detail(format!("{why}; it cannot be asked who it is, so nothing was written"))
}

/// What all quorums say of themselves, in their order.
pub(super) async fn all(shared: &Shared, deadline: Deadline) -> Vec<Said> {
    join_all(shared.quorums().map(|quorum| is(shared, quorum, deadline))).await
}
