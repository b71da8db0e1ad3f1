//! Who a quorum of a set is, as it says itself.

use futures::future::join_all;

use super::Shared;
use super::count::count_of;
use super::home::{FenceNo, Home};
use super::identity::{Identity, Wrong};
use super::look::Freshness;
use super::quorum::Quorum;
use super::record::Record;
use super::told::Told;
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::pause;
use crate::request::{Op, Read, ReadReply, Reply, Request};

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
    ask_within(shared, quorum, (what, freshness), None, deadline).await
}

/// The same, in this session and no other.
async fn ask_within(
    shared: &Shared,
    quorum: &Quorum,
    (what, freshness): (Ask, Freshness),
    session: Option<i64>,
    deadline: Deadline,
) -> Result<Told, Error> {
    let home = shared.home.path();
    let call = |op: Op| {
        let mut request = Request::new(op, home.clone());
        (request.deadline, request.session) = (deadline, session);
        quorum.conn.call(request)
    };
    if freshness == Freshness::Synced {
        // What a server that lags behind says could be as old as that.
        call(Op::Sync).await?;
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
        let Reply::Many(found) = call(Op::ReadMany(reads)).await? else {
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
    asked_first(shared, None, deadline).await.map(|told| told.identity)
}

/// The same, asked in this session.
pub(super) async fn asked_first(
    shared: &Shared,
    session: Option<i64>,
    deadline: Deadline,
) -> Result<Told, Error> {
    let how = (Ask::Identity, Freshness::AsItIs);
    let told = ask_within(shared, &shared.first, how, session, deadline).await?;
    match told.identity.wrong_as_first() {
        None => Ok(told),
        Some(wrong) => Err(shared.first.wrong(&wrong)),
    }
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
