//! What may be the first, as far as quorums tell by who they are.

use super::{Known, VERB};
use crate::conn::global::identity::{Identity, Wrong};
use crate::conn::global::promote::Promotion;
use crate::conn::global::quorum::Quorum;
use crate::error::{Error, ErrorKind};

/// What the chosen quorum will be, if it may.
pub(super) fn check(known: &[Known], chosen: &Quorum, word: &Promotion) -> Result<Identity, Error> {
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
    for (index, one) in known.iter().enumerate() {
        let before = known.iter().take(index).map(|other| (other.quorum.number, other.own()));
        if let Some(wrong) = one.own().twin(before) {
            return Err(one.quorum.wrong(&wrong));
        }
    }
    let latest = known.iter().map(|one| one.own().epoch).max().unwrap_or(0);
    if own.epoch < latest {
        if let Some(first) = known.iter().find(|one| one.own().comes_from(own)) {
            return Err(untold(chosen, &first.quorum));
        }
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

/// The error for a quorum that was not told that `first` was made the first.
fn untold(chosen: &Quorum, first: &Quorum) -> Error {
    let number = first.number;
    Error::new(VERB, "", ErrorKind::WrongQuorum).with_detail(format!(
        "{chosen} was not told yet that quorum {number} was made the first: finish that by {}, then repair \
         it, and make it the first after that",
        first.remedy.promote(number, &[])
    ))
}
