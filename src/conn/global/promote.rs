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

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::admin::change;
use super::home::Home;
use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
use super::look::Freshness;
use super::quorum::Quorum;
use super::who::{Ask, Told};
use super::{GlobalConn, Shared, TARGET, who};
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// What an operator takes upon himself when another quorum is made the first. By default, nothing.
///
/// ```
/// use zkcells::Promotion;
/// let word = Promotion::default().without(3);
/// # assert_ne!(word, Promotion::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Promotion {
    without: BTreeSet<usize>,
    though_incomplete: bool,
    over_rivals: bool,
    though_behind: bool,
}

impl Promotion {
    /// Mirror `number` cannot answer, and no other was made the first there. What it alone has of
    /// answered writes is lost.
    #[must_use]
    pub fn without(mut self, number: usize) -> Self {
        self.without.insert(number);
        self
    }

    /// The chosen quorum may be one that is not [complete](Identity::complete): what it lacks of the
    /// tree is lost.
    #[must_use]
    pub fn though_incomplete(mut self) -> Self {
        self.though_incomplete = true;
        self
    }

    /// Of two that were made the first apart from each other, the chosen one, or the one whose mirror it
    /// is, is right: what was written on the other alone is lost.
    #[must_use]
    pub fn over_rivals(mut self) -> Self {
        self.over_rivals = true;
        self
    }

    /// The chosen quorum may lack writes that another mirror has: those are lost. Nothing is compared.
    #[must_use]
    pub fn though_behind(mut self) -> Self {
        self.though_behind = true;
        self
    }
}

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

/// Which of two mirrors that differ is the newer one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newer {
    Chosen,
    Other,
    NobodyKnows,
}

/// What two mirrors differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Differs {
    /// Whether there is a node, or in its data.
    Node,
    /// In the access list.
    List,
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
        Some(Ok(told)) if number == 1 => {
            let mirrors = said.iter().skip(1).flatten();
            who::is_restored(&shared, told, mirrors, deadline)
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

    /// Which is newer at a path where the chosen one and mirror `other` differ: as they are known to be, or
    /// else as they are now.
    pub(crate) async fn newer(
        &mut self,
        path: &ZkPath,
        other: usize,
        what: Differs,
    ) -> Result<Newer, Error> {
        let newer = self.newer_as_told(path, other, what);
        if newer == Newer::Chosen {
            return Ok(newer);
        }
        let deadline = Deadline::after(self.shared.options.wait);
        let shared = self.shared.clone();
        for known in &mut self.known {
            if [self.chosen, other].contains(&known.quorum.number) {
                let again = ask(&shared, &known.quorum, deadline).await?;
                if !again.identity.is(&known.told.identity) {
                    return Err(contended(&known.quorum));
                }
                known.told.records = again.records;
            }
        }
        Ok(self.newer_as_told(path, other, what))
    }

    fn newer_as_told(&self, path: &ZkPath, other: usize, what: Differs) -> Newer {
        let other = self.known.iter().find(|known| known.quorum.number == other);
        match (self.known.first(), other) {
            (Some(chosen), Some(other)) => newer(&chosen.told, &other.told, path, what),
            _ => Newer::NobodyKnows,
        }
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
                return Err(contended(&known.quorum));
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

    /// Why the chosen one may not be the first, `lacking` what mirror `other` has at these paths.
    pub(crate) fn refusal(&self, other: usize, lacking: &[(ZkPath, Newer)]) -> Error {
        let find = |number: usize| self.known.iter().find(|known| known.quorum.number == number);
        let paths: Vec<&str> = lacking.iter().map(|(path, _)| path.as_str()).collect();
        let (Some(chosen), Some(other)) = (find(self.chosen), find(other)) else {
            return Error::new(VERB, "", ErrorKind::WrongQuorum);
        };
        let is_newer = lacking.iter().all(|(_, newer)| *newer == Newer::Other);
        let number = other.quorum.number;
        let way_out = match (is_newer, other.own().complete) {
            (true, true) => format!(
                "that one was told more of the first there, so choose quorum {number} ({})",
                other.quorum.remedy.promote(number, &[])
            ),
            (true, false) => {
                "that one was told more of the first there, but is not complete".into()
            }
            (false, _) => "nobody knows which of both is newer there, so look at them".into(),
        };
        let (chosen, other) = (&chosen.quorum, &other.quorum);
        Error::new(VERB, "", ErrorKind::WrongQuorum).with_detail(format!(
            "{chosen} may lack writes that {other} has, as they differ at {}: {way_out}; or, if such \
             writes may be lost, say --though-behind",
            paths.join(", ")
        ))
    }

    /// Why nobody knows what the chosen one lacks of what mirror `other` has.
    pub(crate) fn unknown(&self, other: usize, why: &Error) -> Error {
        let find = |number: usize| self.known.iter().find(|known| known.quorum.number == number);
        let names: Vec<String> = [find(self.chosen), find(other)]
            .iter()
            .flatten()
            .map(|one| one.quorum.to_string())
            .collect();
        let at = match why.path() {
            "" => String::new(),
            path => format!(" at {path}"),
        };
        let help = match why.kind() {
            ErrorKind::NoAuth => "add an identity with READ and ADMIN to the cell, ",
            _ => "",
        };
        Error::new(VERB, "", why.kind()).with_detail(format!(
            "{} could not be compared{at}, so nobody knows what the former lacks: {help}try again, or, if \
             writes may be lost that only the latter has, say --though-behind",
            names.join(" and ")
        ))
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

fn contended(quorum: &Quorum) -> Error {
    let err = Error::new(VERB, "", ErrorKind::Contended);
    err.with_detail(format!("the identity of {quorum} changed meanwhile; look again"))
}

/// Which of two mirrors of one first is newer at a path where they differ.
fn newer(chosen: &Told, other: &Told, path: &ZkPath, what: Differs) -> Newer {
    let number = Home::fence_of(path);
    let (own, its) = (chosen.record(number), other.record(number));
    let at_least = |told: Option<&super::record::Record>| told.and_then(|told| told.at_least(path));
    let at_most = |told: Option<&super::record::Record>| told.and_then(|told| told.at_most(path));
    // `None` is less than any count.
    if what == Differs::Node && at_least(own) > at_most(its) {
        return Newer::Chosen;
    }
    if at_least(its) > at_most(own) {
        return Newer::Other;
    }
    let is_ahead = its.map(|its| its.count) > own.map(|own| own.count);
    match other.identity.complete || is_ahead {
        true => Newer::NobodyKnows,
        // It lacks things anyway.
        false => Newer::Chosen,
    }
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

/// The error for a quorum that cannot be asked.
fn silent(quorum: &Quorum, err: &Error) -> Error {
    let (why, number) = (quorum.blame(err), quorum.number);
    Error::new(VERB, "", ErrorKind::NotSent).with_detail(format!(
        "{why}; it may know of another first: wait until it answers, or, if it cannot, say --without \
         {number}; nothing was changed"
    ))
}
