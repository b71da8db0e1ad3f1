//! Making another quorum the first.

use std::collections::BTreeSet;

use tracing::warn;

use super::admin::change;
use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
use super::quorum::Quorum;
use super::who::Told;
use super::{GlobalConn, Shared, TARGET, who};
use crate::cells::Require;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

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
    /// Mirror `number` cannot answer, and no other was made the first there.
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

    /// The chosen quorum may lack writes that another mirror has: those are lost.
    #[must_use]
    pub fn though_behind(mut self) -> Self {
        self.though_behind = true;
        self
    }
}

const VERB: &str = "promote";

/// A quorum that said who it is, and the version of the node that says it.
struct Known<'a> {
    quorum: &'a Quorum,
    own: Identity,
    version: i32,
}

impl GlobalConn {
    /// Makes quorum `number` the first, in an epoch of its own. **The old first must be gone**: what
    /// it alone has, or takes from now on, is lost. If it does answer, it is made a mirror before
    /// anything else, so that it takes no more writes.
    ///
    /// Afterwards `number` must stand in front in every configuration; this connection still has the
    /// old order, and takes no writes. The mirrors of the new first are not
    /// [complete](Identity::complete) before they are repaired. Returns the identity of the new first.
    ///
    /// # Errors
    ///
    /// With nothing changed: `BadArguments` when there is no such quorum; `WrongQuorum` when it is none
    /// of the set, is not complete or of an older epoch, when another mirror was told more of the first,
    /// when a quorum belongs to another set, or when two were made the first apart from each other; `NotSent` when it, or a mirror, does not answer:
    /// a mirror might know of another first. [`promote_with`](Self::promote_with) takes the operator's
    /// word for some of that. `Contended` when somebody else changed an identity meanwhile, and why a
    /// change failed: some quorums may have changed then; done again, it is finished, in the same epoch if
    /// there is a new first already. Whoever missed an earlier promotion, or followed another first, is left
    /// as it is, with a warning.
    pub async fn promote(&self, number: usize) -> Result<Identity, Error> {
        self.promote_with(number, &Promotion::default()).await
    }

    /// As [`promote`](Self::promote), on the operator's word.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    pub async fn promote_with(&self, number: usize, word: &Promotion) -> Result<Identity, Error> {
        let shared = &*self.shared;
        if shared.begins {
            init(shared, InitOptions::default()).await?;
        }
        let risen = promote(shared, number, word).await.map_err(|err| err.during(VERB));
        shared.doubt();
        risen
    }
}

async fn promote(shared: &Shared, number: usize, word: &Promotion) -> Result<Identity, Error> {
    let deadline = Deadline::after(shared.options.wait);
    let Some(chosen) = shared.quorums().find(|quorum| quorum.number == number) else {
        let count = shared.quorums().count();
        let err = Error::new(VERB, "", ErrorKind::BadArguments);
        return Err(err.with_detail(format!("there is no quorum {number}, only 1 to {count}")));
    };
    let said = who::all(shared, deadline).await;
    let mut known = Vec::new();
    let is_restored = match said.get(number - 1) {
        Some(Ok(told)) if number == 1 => {
            let mirrors = said.iter().skip(1).flatten();
            who::is_restored(shared, told, mirrors, deadline)
                .await
                .map_err(|err| chosen.told(err))?
        }
        _ => false,
    };
    let behind = behind(shared, chosen, &said);
    for (quorum, said) in shared.quorums().zip(said) {
        match said {
            Ok(Told { identity: own, version, .. }) => known.push(Known { quorum, own, version }),
            Err(err) if quorum.number == number => return Err(quorum.told(err)),
            // It lost its data, and knows of nobody.
            Err(err) if quorum.says_nothing(&err) => {}
            // Of the old first the caller has said that it is gone.
            Err(_) if quorum.number == 1 || word.without.contains(&quorum.number) => {}
            Err(err) => return Err(silent(quorum, &err)),
        }
    }
    if is_restored && !word.though_incomplete {
        return Err(chosen.wrong(&Wrong::Restored));
    }
    // Where each write is answered when all mirrors have it, a record that is older than another is of
    // how each of them came to it, and says nothing of what is lacking.
    let may_lack = shared.options.require != Require::All;
    if let Some(err) = behind
        && may_lack
        && !word.though_behind
    {
        return Err(err);
    }
    let mut risen = check(&known, chosen, word)?;
    if let Some(Known { own, .. }) = known.iter().find(|one| one.quorum.number == number) {
        let is_untold = known.iter().any(|one| own.comes_from(&one.own));
        let has_rival = known.iter().any(|one| own.rivals(&one.own));
        if is_untold && !has_rival && !is_restored {
            // It was made the first, and not all were told: they follow it now.
            risen = own.clone();
        }
    }
    // Whoever was a first takes no more writes before there is another. Its epoch stays for now, so that
    // all this can be done again if it ends half-way.
    for Known { quorum, own, version } in &mut known {
        if quorum.number != number && own.role == Role::First {
            let after = own.demoted();
            *version = change(shared, quorum, own, &after, *version, VERB).await?;
            *own = after;
        }
    }
    known.sort_by_key(|known| known.quorum.number != number);
    let old = known.first().map(|chosen| chosen.own.clone());
    for Known { quorum, own, version } in &known {
        let follows = |old: &Identity| own.is_of_the_first_of(old) || old.comes_from(own);
        let after = match quorum.number == number {
            true => risen.clone(),
            false if old.as_ref().is_some_and(follows) => own.behind(&risen),
            false => {
                let why = Wrong::Older(own.epoch, risen.epoch);
                warn!(target: TARGET, quorum = quorum.number, "left behind: {quorum} {why}");
                continue;
            }
        };
        if after.is(own) {
            continue;
        }
        change(shared, quorum, own, &after, *version, VERB).await?;
    }
    Ok(risen)
}

/// Why a mirror may lack what another mirror of the same first has: by their fences, which keep how far
/// the first was when each was moved last.
fn behind(shared: &Shared, chosen: &Quorum, said: &[Result<Told, Error>]) -> Option<Error> {
    let told: Vec<(&Quorum, &Told)> = shared
        .quorums()
        .zip(said)
        .filter_map(|(quorum, said)| Some((quorum, said.as_ref().ok()?)))
        .collect();
    let (_, own) = told.iter().find(|(quorum, _)| quorum.number == chosen.number)?;
    let follows = |told: &Told| {
        told.identity.role == Role::Mirror && told.identity.is_of_the_first_of(&own.identity)
    };
    // Of one that is not complete this is said anyway.
    if !follows(own) || !own.identity.complete {
        return None;
    }
    let mirrors: Vec<_> = told.iter().filter(|(_, told)| follows(told)).collect();
    let (ahead, parts) = mirrors
        .iter()
        .map(|(quorum, told)| (quorum, own.lacks_of(told)))
        .max_by_key(|(_, parts)| *parts)
        .filter(|(_, parts)| *parts > 0)?;
    let has_all = |one: &&&(&Quorum, &Told)| {
        one.1.identity.complete && mirrors.iter().all(|other| one.1.lacks_of(other.1) == 0)
    };
    let way_out = match mirrors.iter().find(has_all) {
        Some((best, _)) => format!(
            "choose quorum {number}, which lacks nothing of what the others have (`zk global promote … \
             {number}`)",
            number = best.number
        ),
        None => "no complete mirror has all that the others have".to_string(),
    };
    let err = Error::new(VERB, "", ErrorKind::WrongQuorum);
    Some(err.with_detail(format!(
        "{chosen} may lack writes that {ahead} has (in {parts} of 256 parts of the tree it was told less \
         of the first): {way_out}; or, if they may be lost, say --though-behind; nothing was changed"
    )))
}

/// What the chosen quorum will be, if it may.
fn check(known: &[Known<'_>], chosen: &Quorum, word: &Promotion) -> Result<Identity, Error> {
    let Some(Known { own, .. }) = known.iter().find(|one| one.quorum.number == chosen.number)
    else {
        return Err(chosen.wrong(&Wrong::Missing));
    };
    for other in known {
        if other.own.set != own.set {
            let err = Error::new(VERB, "", ErrorKind::WrongQuorum);
            return Err(err.with_detail(format!(
                "{chosen} is of set {}, but {} of set {}: check the addresses; nothing was changed",
                own.set, other.quorum, other.own.set
            )));
        }
    }
    let latest = known.iter().map(|one| one.own.epoch).max().unwrap_or(0);
    if own.epoch < latest {
        return Err(chosen.wrong(&Wrong::Older(own.epoch, latest)));
    }
    if let Some(rival) = known.iter().find(|one| one.own.rivals(own))
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
             `zk global status`), or say --though-incomplete"
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
