//! Making a set: identities for the quorums that have none.

use futures::future::join_all;

use super::admin::{change, make};
use super::identity::{Identity, Wrong};
use super::look::Freshness;
use super::quorum::Quorum;
use super::{GlobalConn, Shared, who};
use crate::conn::Conn as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::request::{LeaveWatch, Op, Reply, Request};

/// Whether quorums may come in again that are of an older epoch, or were stopped by a promotion that went
/// no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejoin {
    /// No: what they wrote on their own is looked at first.
    #[default]
    Refuse,
    /// Yes, as mirrors. What only they have is deleted by the next `repair`.
    AsMirrors,
}

/// Whether a quorum that holds nothing may become the first of a new set, while another of its quorums
/// holds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmptyFirst {
    /// No: more likely they stand in the wrong order.
    #[default]
    Refuse,
    /// Yes. What the others hold is deleted by the next `repair`.
    Allow,
}

/// Whether a quorum that has no identity, and holds something, may come as a mirror into a set which exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TakeOver {
    /// No: more likely the address is wrong.
    #[default]
    Refuse,
    /// Yes. What it holds is overwritten, and what only it holds is deleted by the next `repair`.
    Allow,
}

/// What [`GlobalConn::init_with`] may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InitOptions {
    /// Whether quorums of an older epoch, and those that were stopped, may come in again.
    pub rejoin: Rejoin,
    /// Whether the first of a new set may be empty where others are not.
    pub empty_first: EmptyFirst,
    /// Whether quorums that hold something may come into a set which exists.
    pub take_over: TakeOver,
}

impl InitOptions {
    /// The same, with quorums of an older epoch treated so.
    #[must_use]
    pub fn with_rejoin(mut self, rejoin: Rejoin) -> Self {
        self.rejoin = rejoin;
        self
    }

    /// The same, with an empty first treated so.
    #[must_use]
    pub fn with_empty_first(mut self, empty_first: EmptyFirst) -> Self {
        self.empty_first = empty_first;
        self
    }

    /// The same, with mirrors that hold something treated so.
    #[must_use]
    pub fn with_take_over(mut self, take_over: TakeOver) -> Self {
        self.take_over = take_over;
        self
    }
}

impl From<Rejoin> for InitOptions {
    fn from(rejoin: Rejoin) -> Self {
        InitOptions::default().with_rejoin(rejoin)
    }
}

const VERB: &str = "init";

impl GlobalConn {
    /// Gives identities to the quorums that have none: to all of a new set, or to mirrors that are
    /// new or lost their data. Those that are right stay as they are, so it may be done again.
    /// Nothing else is written: `repair` brings mirrors to what the first holds. Until then they are
    /// not [complete](Identity::complete), unless the whole set is new and empty.
    ///
    /// # Errors
    ///
    /// `WrongQuorum`, with nothing written, when the first has no identity and a mirror has one (the
    /// first lost its data: promote a mirror), when a quorum belongs to another set or an older epoch,
    /// or when of a new set the first is empty and another is not (a repair would delete what that
    /// one holds), or when a quorum that is to come into a set which exists holds something. The same when
    /// one quorum is listed twice; then the others may have got their identities. `NotSent` when one does
    /// not answer.
    pub async fn init(&self) -> Result<Identity, Error> {
        self.init_with(InitOptions::default()).await
    }

    /// As [`init`](Self::init); `options` say what becomes of quorums of an older epoch, and whether
    /// the first may be empty where others are not.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub async fn init_with(&self, options: impl Into<InitOptions>) -> Result<Identity, Error> {
        let made = init(&self.shared, options.into()).await;
        self.shared.doubt();
        made
    }
}

/// Gives identities to those quorums that have none.
pub(super) async fn init(shared: &Shared, options: InitOptions) -> Result<Identity, Error> {
    let deadline = Deadline::after(shared.options.wait);
    let said = who::all(shared, Freshness::AsItIs, deadline).await;
    let mut known = Vec::with_capacity(said.len());
    for (quorum, said) in shared.quorums().zip(said) {
        known.push(match said {
            Ok(told) => Some((told.identity, told.version)),
            Err(err) if quorum.says_nothing(&err) => None,
            Err(err) => return Err(quorum.told(err).during(VERB)),
        });
    }
    let (first, mirrors) = known.split_first().unwrap_or((&None, &[]));
    let fresh = match first {
        Some((identity, _)) => identity.clone(),
        None if mirrors.iter().any(Option::is_some) => {
            return Err(shared.first.wrong(&Wrong::Missing).during(VERB));
        }
        None => Identity::fresh(),
    };
    if let Some(wrong) = fresh.wrong_as_first() {
        return Err(shared.first.wrong(&wrong).during(VERB));
    }
    let mut there: Vec<(usize, Identity)> = Vec::new();
    for (mirror, known) in shared.mirrors.iter().zip(mirrors) {
        let own = known.as_ref().map(|(own, _)| own);
        let wrong = own
            .and_then(|own| own.twin(numbered(&there)).or_else(|| own.wrong_as_mirror_of(&fresh)));
        there.extend(own.map(|own| (mirror.quorum.number, own.clone())));
        match wrong {
            None => {}
            Some(Wrong::Older(..) | Wrong::Stopped) if options.rejoin == Rejoin::AsMirrors => {}
            Some(wrong) => return Err(mirror.quorum.wrong(&wrong).during(VERB)),
        }
    }
    let new: Vec<&Quorum> = shared
        .quorums()
        .zip(&known)
        .filter_map(|(quorum, known)| known.is_none().then_some(quorum))
        .collect();
    let full = full(shared, &new, deadline).await?;
    check_full(shared, &full, first.is_none(), options)?;
    let (first, is_empty) = match first {
        Some(_) => (fresh, false),
        None => {
            let is_empty = full.is_empty();
            // The first goes first: of two who do this at once, whoever is later follows.
            let (first, is_ours) = make(shared, &shared.first, &fresh, VERB, deadline).await?;
            // In a set of somebody else there may be something by now.
            (first, is_empty && is_ours)
        }
    };
    let is_wrong = |own: &Identity| own.wrong_as_mirror_of(&first).is_some();
    if mirrors.iter().flatten().any(|(own, _)| is_wrong(own)) {
        // Whoever has just looked to make one of them the first does not know of those that come in.
        for (mirror, known) in shared.mirrors.iter().zip(mirrors) {
            if let Some((own, version)) = known.as_ref().filter(|(own, _)| !is_wrong(own)) {
                let after = own.going_on();
                change(shared, &mirror.quorum, own, &after, *version, VERB, deadline).await?;
            }
        }
    }
    let mut let_in: Vec<(usize, Identity)> = Vec::new();
    for (mirror, known) in shared.mirrors.iter().zip(mirrors) {
        let own = match known {
            None => {
                let own = Identity { complete: is_empty, ..Identity::mirror_of(&first) };
                let (made, _) = make(shared, &mirror.quorum, &own, VERB, deadline).await?;
                if let Some(wrong) = made.wrong_as_mirror_of(&first) {
                    return Err(mirror.quorum.wrong(&wrong).during(VERB));
                }
                made
            }
            Some((own, version)) if is_wrong(own) => {
                let after = own.going_on().behind(&first);
                change(shared, &mirror.quorum, own, &after, *version, VERB, deadline).await?;
                after
            }
            Some((own, _)) => own.clone(),
        };
        if let Some(wrong) = own.twin(numbered(&let_in)) {
            return Err(mirror.quorum.wrong(&wrong).during(VERB));
        }
        let_in.push((mirror.quorum.number, own));
    }
    Ok(first)
}

fn numbered(there: &[(usize, Identity)]) -> impl Iterator<Item = (usize, &Identity)> {
    there.iter().map(|(number, own)| (*number, own))
}

/// Those of these quorums that hold something.
async fn full<'a>(
    shared: &Shared,
    quorums: &[&'a Quorum],
    deadline: Deadline,
) -> Result<Vec<&'a Quorum>, Error> {
    let asked = join_all(quorums.iter().map(|quorum| holds(shared, quorum, deadline))).await;
    let mut full = Vec::new();
    for (quorum, holds) in quorums.iter().zip(asked) {
        if holds.map_err(|err| quorum.told(err).during(VERB))? {
            full.push(*quorum);
        }
    }
    Ok(full)
}

/// Refuses quorums without identity that hold something, where that is not allowed.
fn check_full(
    shared: &Shared,
    full: &[&Quorum],
    is_new: bool,
    options: InitOptions,
) -> Result<(), Error> {
    let Some(mirror) = full.iter().find(|quorum| quorum.number > 1) else { return Ok(()) };
    let is_empty_first = is_new && full.iter().all(|quorum| quorum.number > 1);
    let (first, number) = (&shared.first, mirror.number);
    let why = match is_empty_first {
        true if options.empty_first == EmptyFirst::Allow => return Ok(()),
        true => format!(
            "{first} holds nothing and {mirror} does: a repair would delete that; put quorum {number} \
             in front in the configuration, or, if it may be deleted, say --empty-first"
        ),
        // Of a new set the operator has just said which quorums it is to have, and which is the first.
        false if is_new || options.take_over == TakeOver::Allow => return Ok(()),
        false => format!(
            "{mirror} has no identity and holds something, which would be overwritten by what the first \
             holds: check its address, or, if it may be overwritten, say --take-over"
        ),
    };
    Err(Error::new(VERB, "", ErrorKind::WrongQuorum).with_detail(why))
}

/// Whether a quorum holds anything of what the set is to hold.
async fn holds(shared: &Shared, quorum: &Quorum, deadline: Deadline) -> Result<bool, Error> {
    let top = shared.home.top();
    let call = |op: Op| {
        let mut request = Request::new(op, top.clone());
        request.deadline = deadline;
        quorum.conn.call(request)
    };
    // What a server that lags behind shows could be from before there was anything.
    call(Op::Sync).await?;
    match call(Op::Children(LeaveWatch::No)).await {
        Ok(Reply::Children(children, _)) => {
            let is_ours = |name: &String| shared.home.is_mirrored(&top.child(name));
            Ok(shared.home.is_mirrored(top) || children.names.iter().any(is_ours))
        }
        Ok(_) => Err(Error::new(VERB, top, ErrorKind::Unexpected)),
        Err(err) if err.kind() == ErrorKind::NoNode => Ok(false),
        Err(err) => Err(err),
    }
}
