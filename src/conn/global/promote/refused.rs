//! Why a promotion is refused, and what to do.

use super::newer::Newer;
use super::{Promoting, VERB};
use crate::conn::global::quorum::Quorum;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

impl Promoting {
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

/// The error for a quorum that cannot be asked.
pub(super) fn silent(quorum: &Quorum, err: &Error) -> Error {
    let (why, number) = (quorum.blame(err), quorum.number);
    Error::new(VERB, "", ErrorKind::NotSent).with_detail(format!(
        "{why}; it may know of another first: wait until it answers, or, if it cannot, say --without \
         {number}; nothing was changed"
    ))
}
