//! Who the quorums of a set are: asked before the first write, and whenever there is a doubt.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::Shared;
use super::count::{count_of, is_behind};
use super::home::{FenceNo, Home};
use super::identity::{Identity, Wrong};
use super::look::Freshness;
use super::mirror::Mirror;
use super::quorum::Quorum;
use super::record::Record;
use super::told::Told;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::pause;
use crate::request::{Op, Read, ReadReply, Reply, Request};

/// How long the mirrors that need not confirm have to say that another one was made the first, but never
/// more than half of the time that a caller has.
const GRACE: Duration = Duration::from_millis(500);

/// So often a quorum whose identity is just being changed is asked again.
const LOOKS: u32 = 5;

/// What a quorum is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Identity,
    /// And what its fences say.
    Fences,
}

/// What a quorum says of itself, if the node that bears its name says the same.
pub(super) async fn ask(
    shared: &Shared,
    quorum: &Quorum,
    what: Ask,
    freshness: Freshness,
    deadline: Deadline,
) -> Result<Told, Error> {
    let home = shared.home.path();
    if freshness == Freshness::Synced {
        // What a server that lags behind says could be as old as that.
        let mut sync = Request::new(Op::Sync, home.clone());
        sync.deadline = deadline;
        quorum.conn.call(sync).await?;
    }
    let fences = match what {
        Ask::Identity => Vec::new(),
        Ask::Fences => (FenceNo::MIN..=FenceNo::MAX).collect(),
    };
    for round in 0..LOOKS {
        pause::after(round * 3, deadline.remaining()).await;
        let mut reads = vec![
            Read::Get(home.clone()),
            Read::Children(home.clone()),
            Read::Get(shared.home.count()),
        ];
        reads.extend(fences.iter().map(|number| Read::Get(shared.home.fence(*number))));
        let mut request = Request::new(Op::ReadMany(reads), home.clone());
        request.deadline = deadline;
        let Reply::Many(found) = quorum.conn.call(request).await? else {
            return Err(Error::odd("identity", ""));
        };
        let mut found = found.into_iter();
        let (identity, version) = match found.next() {
            Some(Ok(ReadReply::Node(node))) => quorum.identity(Ok(node))?,
            Some(Err(err)) => {
                return quorum.identity(Err(err)).and(Err(Error::odd("identity", "")));
            }
            _ => return Err(Error::odd("identity", "")),
        };
        let names = match found.next() {
            Some(Ok(ReadReply::Children(names))) => names,
            Some(Err(err)) if err.kind() == ErrorKind::NoNode => continue,
            Some(Err(err)) => return Err(err),
            _ => return Err(Error::odd("identity", "")),
        };
        let Some(Ok(ReadReply::Node(counter))) = found.next() else { continue };
        if !Home::is_named(&identity, &names) {
            continue;
        }
        let mut told = Told {
            identity,
            version,
            count: count_of(&counter),
            fences: Vec::new(),
            records: Vec::new(),
        };
        for (number, fence) in fences.iter().zip(found) {
            match fence {
                Ok(ReadReply::Node(node)) => {
                    told.fences.push((*number, node.stat.version));
                    let record = Record::parse(&node.data);
                    told.records.extend(record.map(|record| (*number, record)));
                }
                // That it is gone shows when it is to be moved.
                Err(err) if err.kind() == ErrorKind::NoNode => {}
                // Whoever does not know what it keeps would take a mirror for older than it is.
                Err(err) => return Err(err),
                Ok(_) => return Err(Error::odd("identity", "")),
            }
        }
        return Ok(told);
    }
    let why =
        "its counter, or the node that bears its name, is not there, or not alone".to_string();
    Err(quorum.wrong(&Wrong::Unreadable(why)))
}

/// Who a quorum is, and the version of the node that says it.
pub(super) async fn is(
    shared: &Shared,
    quorum: &Quorum,
    deadline: Deadline,
) -> Result<(Identity, i32), Error> {
    let told = ask(shared, quorum, Ask::Identity, Freshness::AsItIs, deadline).await?;
    Ok((told.identity, told.version))
}

/// The first, if it is one.
pub(super) async fn first(shared: &Shared, deadline: Deadline) -> Result<Identity, Error> {
    asked_first(shared, deadline).await.map(|told| told.identity)
}

async fn asked_first(shared: &Shared, deadline: Deadline) -> Result<Told, Error> {
    let told = ask(shared, &shared.first, Ask::Identity, Freshness::AsItIs, deadline).await?;
    match told.identity.wrong_as_first() {
        None => Ok(told),
        Some(wrong) => Err(shared.first.wrong(&wrong)),
    }
}

/// Whether `quorum`, a first, lacks something that its mirrors have from it, as it was `told`.
///
/// # Errors
///
/// Why it cannot be asked again.
pub(super) async fn is_restored(
    shared: &Shared,
    quorum: &Quorum,
    first: &Told,
    mirrors: impl IntoIterator<Item = &Told>,
    deadline: Deadline,
) -> Result<bool, Error> {
    let records = mirrors.into_iter().flat_map(|told| &told.records).map(|(_, record)| record);
    let Some(furthest) = Record::furthest(records, &first.identity.term) else { return Ok(false) };
    if !is_behind(first.count, furthest) {
        return Ok(false);
    }
    // It may have been asked before the mirrors were, or of a server that lags.
    let again = ask(shared, quorum, Ask::Identity, Freshness::Synced, deadline).await?;
    Ok(again.identity.is(&first.identity) && is_behind(again.count, furthest))
}

/// What the quorums say together.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) first: Identity,
    /// Why too few mirrors are its mirrors, if they were asked for.
    pub(super) lacking: Option<Error>,
}

impl Agreed {
    /// The first, if enough mirrors are its mirrors.
    pub(super) fn whole(self) -> Result<Identity, Error> {
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
    let mut asking = std::pin::pin!(asked_first(shared, deadline));
    let found = loop {
        tokio::select! {
            found = &mut asking => break found,
            Some(answer) = asked.next() => answers.push(answer),
        }
    };
    let first = found.map_err(|err| match err.kind() {
        ErrorKind::WrongQuorum => err,
        _ => away(&shared.first, &err),
    })?;
    let required = if mirrors.is_some() { shared.required() } else { 0 };
    let wrong = |told: &Told| told.identity.wrong_as_mirror_of(&first.identity);
    let good = |answers: &[(&Mirror, Result<Told, Error>)]| {
        let told = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        told.filter(|told| wrong(told).is_none()).count()
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
        match answer.as_ref().map(|told| (told, wrong(told))) {
            Ok((told, None)) => mirrors.push(told),
            // Whatever else is so: this first may be one no more.
            Ok((_, Some(wrong))) if wrong.is_fatal() => return Err(mirror.quorum.wrong(&wrong)),
            Ok((_, Some(wrong))) => wrongs.push(mirror.quorum.wrong(&wrong)),
            Err(err) if err.kind() == ErrorKind::WrongQuorum => wrongs.push(err.clone()),
            Err(err) => silent.push(away(&mirror.quorum, err)),
        }
    }
    match is_restored(shared, &shared.first, &first, mirrors, deadline).await {
        Ok(true) => return Err(shared.first.wrong(&Wrong::Restored)),
        Ok(false) => {}
        Err(err) => return Err(away(&shared.first, &err)),
    }
    shared.counted(&first.identity, first.count);
    let lacking = wrongs.into_iter().chain(silent).next().filter(|_| !is_enough);
    Ok(Agreed { first: first.identity, lacking })
}

fn away(quorum: &Quorum, err: &Error) -> Error {
    let why = quorum.blame(err);
    Error::new("identity", "", ErrorKind::NotSent)
        .with_detail(format!("{why}; it cannot be asked who it is, so nothing was written"))
}

/// What all quorums say of themselves, in their order.
pub(super) async fn all(
    shared: &Shared,
    freshness: Freshness,
    deadline: Deadline,
) -> Vec<Result<Told, Error>> {
    let ask = |quorum| ask(shared, quorum, Ask::Fences, freshness, deadline);
    join_all(shared.quorums().map(ask)).await
}
