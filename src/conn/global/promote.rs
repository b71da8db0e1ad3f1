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
//! A mirror that is not complete lacks things anyway, so its word counts less: only if its fence is ahead.
//!
//! # What comes meanwhile
//!
//! A write may be on its way to a mirror while all this goes on. It must be seen, or not be answered. So
//! all but the chosen one are stopped before the last look: a quorum that is stopped has another name, and
//! whoever looks again learns that it takes no writes. The first is stopped first, so that nothing new
//! begins. The chosen one need not be: what comes there is there. Everybody has agreed to something newer
//! before he is asked where his fences stand, as a server may lag.
//!
//! If it ends half-way, quorums stay stopped; done again, for the same quorum or another, it goes on. Of two
//! who promote at once, whoever stops a quorum last has it: the other finds its identity changed.

mod newer;
mod refused;
mod word;

use std::sync::Arc;

use tracing::warn;

pub(crate) use newer::{Differs, Newer};
pub use word::Promotion;

use self::refused::silent;
use super::admin::change;
use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
use super::look::Freshness;
use super::quorum::Quorum;
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
    /// Whether it was stopped here.
    is_stopped: bool,
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
    /// Whether what it lacks has to be found out.
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
    let Some(chosen) = shared.quorums().find(|quorum| quorum.number == number).cloned() else {
        let count = shared.quorums().count();
        let err = Error::new(VERB, "", ErrorKind::BadArguments);
        return Err(err.with_detail(format!("there is no quorum {number}, only 1 to {count}")));
    };
    let said = who::all(&shared, Freshness::Synced, deadline).await;
    let mut known = Vec::new();
    let is_restored = match said.get(number - 1) {
        Some(Ok(told)) if told.identity.role == Role::First => {
            // Whoever was silent has taken all of the time.
            let deadline = Deadline::after(shared.options.wait);
            who::is_restored(&shared, &chosen, told, said.iter().flatten(), deadline)
                .await
                .map_err(|err| chosen.told(err))?
        }
        _ => false,
    };
    for (quorum, said) in shared.quorums().zip(said) {
        let quorum = quorum.clone();
        match said {
            Ok(told) => known.push(Known { quorum, told, is_stopped: false }),
            Err(err) if quorum.number == number => return Err(quorum.told(err)),
            // It lost its data, and knows of nobody.
            Err(err) if quorum.says_nothing(&err) => {}
            // Of the old first the caller has said that it is gone.
            Err(_) if quorum.number == 1 || word.without.contains(&quorum.number) => {}
            Err(err) => return Err(silent(&quorum, &err)),
        }
    }
    if is_restored && !word.though_incomplete {
        return Err(chosen.wrong(&Wrong::Restored));
    }
    let mut risen = check(&known, &chosen, word)?;
    known.sort_by_key(|known| known.quorum.number != number);
    let mut is_asked = !word.though_behind;
    if let Some((own, others)) = known.split_first().map(|(own, rest)| (own.own(), rest)) {
        let is_untold = others.iter().any(|one| own.comes_from(one.own()));
        let has_rival = others.iter().any(|one| own.rivals(one.own()));
        if is_untold && !has_rival && !is_restored {
            // It was made the first, and not all were told: they follow it now.
            risen = own.clone();
        }
        // A first lacks nothing, and of one that is not complete it was said that it may.
        is_asked &= own.role == Role::Mirror && own.complete;
    }
    Ok(Promoting { shared, chosen: number, known, risen, is_asked })
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

    /// The mirrors that follow the same first as the chosen one.
    fn followers(&self) -> impl Iterator<Item = &Known> {
        let chosen = self.known.first().map(|chosen| chosen.own());
        let follows = move |one: &&Known| {
            let own = one.own();
            own.role == Role::Mirror && chosen.is_some_and(|first| own.is_of_the_first_of(first))
        };
        self.known.iter().skip(1).filter(follows)
    }

    /// Stops the old first and all others that might answer writes, and says whether anything has come to
    /// a mirror since they were asked.
    pub(crate) async fn stop(&mut self) -> Result<bool, Error> {
        let deadline = Deadline::after(self.shared.options.wait);
        let chosen = self.known.first().map(|known| known.told.identity.clone());
        // It is the first already.
        let Some(chosen) = chosen.filter(|chosen| !self.risen.is(chosen)) else { return Ok(false) };
        let shared = self.shared.clone();
        // The first goes first.
        let is_first = |known: &Known| known.own().role == Role::First;
        let (firsts, mirrors): (Vec<_>, Vec<_>) =
            self.known.iter_mut().skip(1).partition(|known| is_first(known));
        for known in firsts.into_iter().chain(mirrors) {
            let own = known.own();
            if own.role != Role::First && !own.is_of_the_first_of(&chosen) {
                continue;
            }
            // One that somebody else has stopped, too: then he cannot let it go on.
            let after = own.stopped();
            known.changes(&shared, after, deadline).await?;
            known.is_stopped = true;
        }
        let mut has_moved = false;
        for known in &mut self.known {
            let again = ask(&shared, &known.quorum, deadline).await?;
            if !again.identity.is(&known.told.identity) {
                return Err(known.quorum.contended(VERB));
            }
            has_moved |= again.fences != known.told.fences;
            known.told = again;
        }
        Ok(has_moved)
    }

    /// Lets those take writes again that were stopped here, and says with `why` what came of it.
    pub(crate) async fn give_up(mut self, why: Error) -> Error {
        let deadline = Deadline::after(self.shared.options.wait);
        let mut left = Vec::new();
        // The first comes last, so that all its mirrors are there again.
        for known in self.known.iter_mut().rev().filter(|known| known.is_stopped) {
            let after = known.own().going_on();
            if let Err(err) = known.changes(&self.shared, after, deadline).await {
                left.push(format!("{}: {}", known.quorum, err.kind()));
            }
        }
        let detail = why.detail().unwrap_or_default();
        let detail = match left.is_empty() {
            true => format!("{detail}; nothing was changed"),
            false => format!(
                "{detail}; these take no writes until that is done for some quorum: {}",
                left.join(" and ")
            ),
        };
        why.with_detail(detail)
    }

    /// Makes the chosen one the first, and has the others follow it.
    pub(crate) async fn raise(mut self) -> Result<Identity, Error> {
        let deadline = Deadline::after(self.shared.options.wait);
        let risen = self.risen;
        let old = self.known.first().map(|chosen| chosen.own().clone());
        let follows = |own: &Identity| {
            old.as_ref().is_some_and(|old| own.is_of_the_first_of(old) || old.comes_from(own))
        };
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
            if !after.is(own) {
                known.changes(&self.shared, after, deadline).await?;
            }
        }
        Ok(risen)
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

/// What the chosen quorum will be, if it may.
fn check(known: &[Known], chosen: &Quorum, word: &Promotion) -> Result<Identity, Error> {
    let Some(own) = known.iter().find(|one| one.quorum.number == chosen.number).map(Known::own)
    else {
        return Err(chosen.wrong(&Wrong::Missing));
    };
    for other in known {
        if other.own().set != own.set {
            let err = Error::new(VERB, "", ErrorKind::WrongQuorum);
            return Err(err.with_detail(format!(
                "{chosen} is of set {}, but {} of set {}: check the addresses; nothing was changed",
                own.set,
                other.quorum,
                other.own().set
            )));
        }
    }
    let latest = known.iter().map(|one| one.own().epoch).max().unwrap_or(0);
    if own.epoch < latest {
        return Err(chosen.wrong(&Wrong::Older(own.epoch, latest)));
    }
    if let Some(rival) = known.iter().find(|one| one.own().rivals(own))
        && !word.over_rivals
    {
        let err = Error::new(VERB, "", ErrorKind::WrongQuorum);
        return Err(err.with_detail(format!(
            "{chosen} and {} follow different firsts of the same epoch {latest}: what was written on \
             the other alone would be lost; compare them, then say --over-rivals",
            rival.quorum
        )));
    }
    if !own.complete && !word.though_incomplete {
        let err = Error::new(VERB, "", ErrorKind::WrongQuorum);
        return Err(err.with_detail(format!(
            "{chosen} is not complete: it came into the set, or got another first, and has not been \
             repaired since, so whatever of the tree it lacks would be lost; choose a complete one (see \
             {}), or say --though-incomplete",
            chosen.remedy.status()
        )));
    }
    Ok(own.risen(latest))
}
