//! Making another quorum the first, in steps. Between them, somebody else compares what quorums hold.
//!
//! ```text
//!   all say who they are ─▶ compared ─▶ the old first and the other mirrors ─▶ compared again, if
//!        │                     │        take no writes any more                anything moved
//!        │ one is wrong        │ the chosen one lacks something                   │         │
//!        ▼                     ▼                                                  ▼         ▼
//!      refused               refused                            refused: they take       the chosen one
//!                                                               writes again             is the first, and
//!                                                                                        all others follow
//! ```
//!
//! # What would be lost
//!
//! Whoever answered a write said that so many mirrors have it, of those on *his* list, as he requires. Who
//! promotes knows neither, nor whether a mirror went back in time since: so it is not told by rules what the
//! chosen one lacks, but looked at. All of the tree on the chosen one is compared with all of it on each
//! mirror that follows the same first. Where both hold the same, whichever way they came to it, nothing is
//! lost and nobody is refused. Where they differ, the chosen one is newer only if its fence says so
//! ([`record`](super::record)): that it was brought there when the first had counted more than when the
//! other was, at most. A fence that is ahead would not do: it may have been moved by other paths, while a
//! write is missing that was answered on the word of the other alone. Of access lists fences say nothing.
//! What is not known to be newer is not given up without the operator's word.
//!
//! A mirror that is not complete lacks nodes anyway: that it has none where the chosen one has one says nothing,
//! unless its fence is ahead. What it does have counts like that of any other, as it may have confirmed a write
//! for want of a complete one.
//!
//! # What comes meanwhile
//!
//! A write may be on its way to a mirror while all this goes on. It must be seen, or not be answered. So
//! all but the chosen one are stopped before the last look: a quorum that is stopped has another name, and
//! whoever looks again learns that it takes no writes. The first is stopped first, so that nothing new
//! begins. The chosen one need not be: what comes there is there. Everybody has agreed to something newer
//! before he is asked where his fences stand, as a server may lag.
//!
//! If it ends half-way, quorums stay stopped; done again it goes on: for whichever quorum before there is a
//! new first, for that one afterwards. Of those that are not told of the new first yet, the ones that were
//! not stopped may have taken writes since: they are stopped and compared like all others.
//!
//! Of two who promote at once, whoever stops a quorum last has it: the other finds its identity changed. It
//! is let go on by nobody but who stopped it when it was not stopped: another may have looked already, and
//! raise his. For the same reason, whoever lets a stopped quorum in again ([`init`](super::init)) gives all other
//! mirrors new names before: then nobody raises any of them on the strength of what he saw before that.

mod check;
mod newer;
mod refused;
mod stop;
mod word;

use std::sync::Arc;

use tracing::warn;

pub(crate) use newer::{Differs, Newer};
pub use word::Promotion;

use self::check::check;
use self::refused::silent;
use super::admin::change;
use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
use super::look::Freshness;
use super::quorum::Quorum;
use super::restored::is_restored;
use super::told::Told;
use super::who::Ask;
use super::{GlobalConn, Shared, TARGET, who};
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

/// What it is called in errors.
pub(crate) const VERB: &str = "promote";

/// A quorum that said who it is.
#[derive(Debug)]
struct Known {
    quorum: Quorum,
    told: Told,
    /// Whether somebody else had stopped it before.
    was_stopped: bool,
    /// What it was made here so that it takes no writes, be it that nobody knows whether that succeeded.
    halted: Option<Identity>,
}

/// A promotion on its way.
#[derive(Debug)]
pub(crate) struct Promoting {
    shared: Arc<Shared>,
    chosen: usize,
    /// The chosen one first.
    known: Vec<Known>,
    /// What the chosen one will be.
    risen: Identity,
    /// Whether it has to be found out what it lacks of what mirrors have.
    is_asked: bool,
}

impl GlobalConn {
    /// Begins to make quorum `number` the first: asks all, and refuses what can be told by that.
    pub(crate) async fn promotion(
        &self,
        number: usize,
        word: &Promotion,
    ) -> Result<Promoting, Error> {
        let shared = self.shared.clone();
        if shared.begins {
            init(&shared, InitOptions::default()).await?;
        }
        begin(shared, number, word).await
    }

    /// Has everybody asked again before the next write.
    pub(crate) fn doubt(&self) {
        self.shared.doubt();
    }
}

async fn begin(shared: Arc<Shared>, number: usize, word: &Promotion) -> Result<Promoting, Error> {
    let deadline = Deadline::after(shared.options.wait);
    let count = shared.quorums().count();
    let Some(chosen) = shared.quorums().find(|quorum| quorum.number == number).cloned() else {
        let err = Error::new(VERB, "", ErrorKind::BadArguments);
        return Err(err.with_detail(format!("there is no quorum {number}, only 1 to {count}")));
    };
    if let Some(unknown) = word.without.iter().find(|number| **number == 0 || **number > count) {
        let err = Error::new(VERB, "", ErrorKind::BadArguments);
        return Err(err.with_detail(format!(
            "there is no quorum {unknown} to do without, only 1 to {count}; nothing was changed"
        )));
    }
    let said = who::all(&shared, Freshness::Synced, deadline).await;
    let old_first = old_first(&said, number);
    let mut known = Vec::new();
    let is_restored = match said.get(number - 1) {
        Some(Ok(told)) if told.identity.role == Role::First => {
            // Whoever was silent has taken all of the time.
            let deadline = Deadline::after(shared.options.wait);
            is_restored(&shared, &chosen, told, said.iter().flatten(), deadline)
                .await
                .map_err(|err| chosen.told(err))?
        }
        _ => false,
    };
    for (quorum, said) in shared.quorums().zip(said) {
        let quorum = quorum.clone();
        match said {
            Ok(told) => {
                let was_stopped = told.identity.stopped;
                known.push(Known { quorum, told, was_stopped, halted: None });
            }
            Err(err) if quorum.number == number => return Err(quorum.told(err)),
            // It lost its data, and knows of nobody.
            Err(err) if quorum.says_nothing(&err) => {}
            // Of the old first the caller has said that it is gone.
            Err(_) if quorum.number == old_first || word.without.contains(&quorum.number) => {}
            Err(err) => return Err(silent(&quorum, &err)),
        }
    }
    if is_restored && !word.though_incomplete {
        if let Some(own) = known.iter().find(|known| known.quorum.number == number) {
            let deadline = Deadline::after(shared.options.wait);
            shared.disbelieve(&chosen, own.own(), deadline).await;
        }
        return Err(chosen.wrong(&Wrong::Restored));
    }
    let mut risen = check(&known, &chosen, word)?;
    known.sort_by_key(|known| known.quorum.number != number);
    let mut is_asked = !word.though_behind;
    if let Some((own, others)) = known.split_first().map(|(own, rest)| (own.own(), rest)) {
        // One that somebody has stopped, or who else has a stake in it, needs an epoch of its own: then
        // whoever else is at it finds that out.
        let is_in_doubt = is_restored
            || own.stopped
            || others.iter().any(|one| {
                let one = one.own();
                own.rivals(one) || (one.stopped && one.is_of_the_first_of(own))
            });
        if own.role == Role::First && !is_in_doubt {
            // Whoever was not told of it yet follows it now.
            risen = own.clone();
        }
        // Of one that is not complete it was said that it may lack something.
        is_asked &= own.complete && !is_restored;
    }
    Ok(Promoting { shared, chosen: number, known, risen, is_asked })
}

/// The number of the old first: of whoever says that it is one in the newest epoch, beside the chosen one; of the
/// one in front of the list if nobody does.
fn old_first(said: &[Result<Told, Error>], chosen: usize) -> usize {
    let known =
        || said.iter().zip(1..).filter_map(|(said, number)| Some((said.as_ref().ok()?, number)));
    let latest = known().map(|(told, _)| told.identity.epoch).max();
    let is_first = |told: &Told, number: usize| {
        let own = &told.identity;
        own.role == Role::First && Some(own.epoch) == latest && number != chosen
    };
    known().find(|(told, number)| is_first(told, *number)).map_or(1, |(_, number)| number)
}

impl Known {
    fn own(&self) -> &Identity {
        &self.told.identity
    }
}

impl Promoting {
    /// The chosen one.
    pub(crate) fn chosen(&self) -> Option<&Arc<dyn Conn>> {
        self.known.first().map(|known| &known.quorum.conn)
    }

    /// The mirrors with which it is to be compared.
    pub(crate) fn others(&self) -> Vec<(usize, Arc<dyn Conn>)> {
        let others = self.followers().filter(|_| self.is_asked);
        others.map(|one| (one.quorum.number, one.quorum.conn.clone())).collect()
    }

    /// The mirrors that may have what the chosen one lacks. Of a first: those that were not told of it, unless
    /// they were stopped before it rose; else those of the same first.
    fn followers(&self) -> impl Iterator<Item = &Known> {
        let chosen = self.known.first().map(|chosen| chosen.own());
        let follows = move |one: &&Known| {
            let own = one.own();
            own.role == Role::Mirror
                && chosen.is_some_and(|chosen| match chosen.role {
                    Role::First => chosen.comes_from(own) && !one.was_stopped,
                    Role::Mirror => own.is_of_the_first_of(chosen),
                })
        };
        self.known.iter().skip(1).filter(follows)
    }

    /// Makes the chosen one the first, and has the others follow it.
    pub(crate) async fn raise(mut self) -> Result<Identity, Error> {
        let risen = self.risen;
        let old = self.known.first().map(|chosen| chosen.own().clone());
        let follows = |own: &Identity| {
            old.as_ref().is_some_and(|old| own.is_of_the_first_of(old) || old.comes_from(own))
        };
        let mut untold = None;
        for known in &mut self.known {
            let own = known.own();
            let is_chosen = known.quorum.number == self.chosen;
            let after = match is_chosen {
                true => risen.clone(),
                false if follows(own) => own.behind(&risen),
                false => {
                    let why = known.quorum.wrong(&Wrong::Older(own.epoch, risen.epoch));
                    let why = why.detail().unwrap_or_default();
                    warn!(target: TARGET, quorum = known.quorum.number, "left behind: {why}");
                    match own.role {
                        Role::First => own.demoted(),
                        Role::Mirror => continue,
                    }
                }
            };
            if after.is(own) {
                continue;
            }
            let deadline = Deadline::after(self.shared.options.wait);
            match known.changes(&self.shared, after, deadline).await {
                Err(err) if is_chosen => return Err(err),
                // One that cannot be told keeps nobody else from it.
                Err(err) => untold = untold.or(Some(err)),
                Ok(()) => {}
            }
        }
        untold.map_or(Ok(risen), Err)
    }
}

impl Known {
    /// Makes `after` of it.
    async fn changes(
        &mut self,
        shared: &Shared,
        after: Identity,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Told { identity, version, .. } = &self.told;
        let version =
            change(shared, &self.quorum, identity, &after, *version, VERB, deadline).await?;
        (self.told.identity, self.told.version) = (after, version);
        Ok(())
    }
}

async fn ask(shared: &Shared, quorum: &Quorum, deadline: Deadline) -> Result<Told, Error> {
    let told = who::ask(shared, quorum, Ask::Fences, Freshness::Synced, deadline).await;
    told.map_err(|err| quorum.told(err))
}
