//! Who the quorums of a set are: asked before the first write, in each session of the first, and whenever there
//! is a doubt.

use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::Shared;
use super::identity::{Identity, Wrong};
use super::look::Freshness;
use super::mirror::Mirror;
use super::quorum::Quorum;
use super::restored::is_restored;
use super::told::Told;
use super::who::{Ask, ask, asked_first};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::pause;

/// How long the mirrors that need not confirm have to say that another one was made the first, but never
/// more than half of the time that a caller has.
const GRACE: Duration = Duration::from_millis(500);

/// A first that was asked who it is.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) identity: Identity,
    /// In which session it said so. A quorum that took its place since has none of its sessions, unless its servers
    /// were restored from a snapshot that has them: so what is sent in this one reaches the quorum that was asked.
    pub(super) session: i64,
}

/// What the quorums say together.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) first: Checked,
    /// Why too few mirrors are its mirrors, if they were asked for.
    pub(super) lacking: Option<Error>,
}

impl Agreed {
    /// The first, if enough mirrors are its mirrors.
    pub(super) fn whole(self) -> Result<Checked, Error> {
        self.lacking.map_or(Ok(self.first), Err)
    }
}

/// The first, if none of the mirrors that answer knows a newer one, and it has all that they have from it.
/// It has until `deadline`, and as many mirrors as must confirm until `mirrors`; without that, none need
/// answer. Whoever asks has until `soonest`.
///
/// # Errors
///
/// `WrongQuorum` when it is none, `NotSent` when it does not answer.
pub(super) async fn agree(
    shared: &Shared,
    soonest: Deadline,
    deadline: Deadline,
    mirrors: Option<Deadline>,
) -> Result<Agreed, Error> {
    let patience = mirrors.unwrap_or(deadline);
    let mut asked: FuturesUnordered<_> = shared
        .mirrors
        .iter()
        .map(|mirror| async move {
            let told = ask(shared, &mirror.quorum, Ask::Fences, Freshness::AsItIs, patience).await;
            mirror.note(told.as_ref().map(|told| &told.identity));
            if let Ok(told) = &told {
                mirror.learn_fences(shared, told);
            }
            (mirror, told)
        })
        .collect();
    let mut answers = Vec::new();
    let mut asking = std::pin::pin!(ask_first(shared, deadline));
    let found = loop {
        tokio::select! {
            found = &mut asking => break found,
            Some(answer) = asked.next() => answers.push(answer),
        }
    };
    let (first, session) = found.map_err(|err| match err.kind() {
        ErrorKind::WrongQuorum => err,
        _ => away(&shared.first, &err),
    })?;
    let required = if mirrors.is_some() { shared.required() } else { 0 };
    let wrong = |told: &Told| told.identity.wrong_as_mirror_of(&first.identity);
    let good = |answers: &[(&Mirror, Result<Told, Error>)]| {
        let told = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let told = told.filter(|told| wrong(told).is_none());
        told.map(|told| &told.identity.incarnation).collect::<HashSet<_>>().len()
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
    let _ = tokio::time::timeout(GRACE.min(soonest.remaining() / 2), rest).await;
    let is_enough = good(&answers) >= required;
    let (mut wrongs, mut silent, mut mirrors) = (Vec::new(), Vec::new(), Vec::new());
    for (mirror, answer) in &answers {
        let twin = |told: &Told| {
            let others = answers.iter().filter_map(|(other, told)| {
                Some((other.quorum.number, &told.as_ref().ok()?.identity))
            });
            told.identity.twin(others.filter(|(number, _)| *number < mirror.quorum.number))
        };
        match answer.as_ref().map(|told| (told, wrong(told).or_else(|| twin(told)))) {
            Ok((told, None)) => mirrors.push(told),
            // Whatever else is so: this first may be one no more.
            Ok((_, Some(wrong))) if wrong.is_fatal() => return Err(mirror.quorum.wrong(&wrong)),
            Ok((_, Some(wrong))) => wrongs.push(mirror.quorum.wrong(&wrong)),
            Err(err) if err.kind() == ErrorKind::WrongQuorum => wrongs.push(err.clone()),
            Err(err) => silent.push(away(&mirror.quorum, err)),
        }
    }
    match is_restored(shared, &shared.first, &first, mirrors, deadline).await {
        Ok(true) => {
            shared.disbelieve(&shared.first, &first.identity, deadline).await;
            return Err(shared.first.wrong(&Wrong::Restored));
        }
        Ok(false) => {}
        Err(err) => return Err(away(&shared.first, &err)),
    }
    shared.counted(&first.identity, first.count);
    let lacking = wrongs.into_iter().chain(silent).next().filter(|_| !is_enough);
    Ok(Agreed { first: Checked { identity: first.identity, session }, lacking })
}

/// The first, if it is one, and the session in which it said so.
async fn ask_first(shared: &Shared, deadline: Deadline) -> Result<(Told, i64), Error> {
    for round in 0.. {
        pause::after(round, deadline.remaining()).await;
        let session = shared.first.session(shared.home.path(), deadline).await?;
        match asked_first(shared, Some(session), deadline).await {
            Err(err) if err.kind() == ErrorKind::SessionExpired && !deadline.is_past() => {}
            told => return Ok((told?, session)),
        }
    }
    Err(Error::new("identity", "", ErrorKind::Timeout))
}

fn away(quorum: &Quorum, err: &Error) -> Error {
    let why = quorum.blame(err);
    // Of the first there is nothing that anybody could do without.
    let way_out = match quorum.number {
        1 => "",
        _ => {
            "; to go on without it, let fewer confirm (\"require\" in the configuration), or take it off the list"
        }
    };
    Error::new("identity", "", ErrorKind::NotSent).with_detail(format!(
        "{why}; it cannot be asked who it is, so nothing was written{way_out}"
    ))
}
