//! Who a quorum is: of which set, in which role, since which epoch.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::remedy::Remedy;

/// What a quorum is in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// It decides everything.
    First,
    /// It is brought to what the first holds.
    Mirror,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::First => "first",
            Role::Mirror => "mirror",
        })
    }
}

/// Who a quorum is, as a node on it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Which quorums belong together: a random text.
    pub set: String,
    /// Counts how often another one was made the first; the highest is right.
    pub epoch: u64,
    /// A random text that is drawn whenever one is made the first. Two that were made the first apart
    /// from each other may have the same epoch, and never the same term.
    pub term: String,
    /// What it is in this epoch.
    pub role: Role,
    /// A random text that is drawn when a quorum without identity gets one, as what it held before
    /// counts no more; and when it is stopped, so that whatever is on its way there does not arrive.
    pub incarnation: String,
    /// Whether it had all that the first held when it came in, so that it may take its place. Later writes
    /// may be missing that it did not have to confirm: what mirrors keep of each other's first tells, and
    /// [`promote`](super::GlobalConn::promote) compares it. A
    /// quorum that comes into a set, and each mirror of a new first, is not complete before a `repair`
    /// of the whole tree found nothing more to do.
    pub complete: bool,
    /// Of a first: what it followed before it was made that. Whoever still follows the same was not told
    /// yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Before>,
    /// Whether it takes no writes, because somebody makes another the first, or began to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) stopped: bool,
    /// Of a first: whether it was found to lack writes that it had counted. That stays so until one is made the
    /// first on the operator's word, however many it counts since.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) restored: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// An epoch of a set, and the term of its first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Before {
    epoch: u64,
    term: String,
}

fn drawn() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn is_drawn(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Identity {
    /// The first of a set that did not exist before.
    pub(super) fn fresh() -> Self {
        Identity {
            set: format!("{:032x}", fastrand::u128(..)),
            epoch: 1,
            term: drawn(),
            role: Role::First,
            incarnation: drawn(),
            complete: true,
            before: None,
            stopped: false,
            restored: false,
        }
    }

    /// What this quorum is after it was made the first, behind all others until `latest`.
    pub(super) fn risen(&self, latest: u64) -> Self {
        Identity {
            epoch: latest + 1,
            term: drawn(),
            role: Role::First,
            complete: true,
            before: Some(Before { epoch: self.epoch, term: self.term.clone() }),
            stopped: false,
            restored: false,
            ..self.clone()
        }
    }

    /// The same quorum, taking no writes before it is told who the first is.
    pub(super) fn stopped(&self) -> Self {
        Identity { stopped: true, incarnation: drawn(), ..self.clone() }
    }

    /// The same quorum, taking writes again.
    pub(super) fn going_on(&self) -> Self {
        Identity { stopped: false, incarnation: drawn(), ..self.clone() }
    }

    /// The same quorum, known to have been restored from an old backup.
    pub(super) fn restored(&self) -> Self {
        Identity { restored: true, incarnation: drawn(), ..self.clone() }
    }

    /// The same quorum, as a mirror in whatever epoch it knows.
    pub(super) fn demoted(&self) -> Self {
        Identity { role: Role::Mirror, stopped: false, restored: false, ..self.clone() }
    }

    /// The same quorum, as a mirror of `first` that may lack anything.
    pub(super) fn behind(&self, first: &Identity) -> Self {
        Identity { incarnation: self.incarnation.clone(), ..Identity::mirror_of(first) }
    }

    /// A quorum that was none of the set, as a mirror of `first`.
    pub(super) fn mirror_of(first: &Identity) -> Self {
        Identity {
            role: Role::Mirror,
            incarnation: drawn(),
            complete: false,
            before: None,
            stopped: false,
            restored: false,
            ..first.clone()
        }
    }

    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let identity: Identity =
            serde_json::from_slice(data).map_err(|err| format!("it is no identity ({err})"))?;
        for text in [&identity.set, &identity.term, &identity.incarnation] {
            if !is_drawn(text) {
                return Err(format!("it is no identity ({text:?} is no hexadecimal number)"));
            }
        }
        Ok(identity)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        // Invariant: text and numbers are always JSON.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// What the node is called that is there exactly as long as the quorum is this. No name comes
    /// twice, so whoever finds it knows that nothing has changed.
    pub(super) fn name(&self) -> String {
        let Identity { set, epoch, term, role, incarnation, .. } = self;
        format!("{NAME}{set}-{epoch}-{term}-{role}-{incarnation}")
    }

    /// Whether it is the same quorum in the same place; how complete it is may change.
    pub(crate) fn is(&self, other: &Identity) -> bool {
        Identity { complete: other.complete, before: other.before.clone(), ..self.clone() }
            == *other
    }

    /// Whether both are of the same epoch, but not of the same first.
    pub(super) fn rivals(&self, other: &Identity) -> bool {
        self.set == other.set && self.epoch == other.epoch && self.term != other.term
    }

    /// Whether this one, a first, was made that of those whom `other` still is of.
    pub(super) fn comes_from(&self, other: &Identity) -> bool {
        let is_it = |before: &Before| (before.epoch, &before.term) == (other.epoch, &other.term);
        self.role == Role::First && self.set == other.set && self.before.as_ref().is_some_and(is_it)
    }

    /// Whether both are of the same first.
    pub(super) fn is_of_the_first_of(&self, other: &Identity) -> bool {
        (&self.set, self.epoch, &self.term) == (&other.set, other.epoch, &other.term)
    }

    /// What is wrong if one of these quorums, by their numbers, said this, and so is listed twice.
    pub(super) fn twin<'a>(
        &self,
        mut others: impl Iterator<Item = (usize, &'a Identity)>,
    ) -> Option<Wrong> {
        let is_same =
            |other: &Identity| (&self.set, &self.incarnation) == (&other.set, &other.incarnation);
        others.find(|(_, other)| is_same(other)).map(|(number, _)| Wrong::Same(number))
    }

    /// What is wrong with a quorum that says this and is used as the first.
    pub(super) fn wrong_as_first(&self) -> Option<Wrong> {
        match self.role {
            Role::Mirror => Some(Wrong::NotFirst(self.epoch)),
            Role::First if self.restored => Some(Wrong::Restored),
            Role::First if self.stopped => Some(Wrong::Stopped),
            Role::First => None,
        }
    }

    /// What is wrong with a quorum that says this and is used as a mirror of `first`.
    pub(super) fn wrong_as_mirror_of(&self, first: &Identity) -> Option<Wrong> {
        match self {
            _ if self.set != first.set => Some(Wrong::Foreign),
            _ if self.epoch > first.epoch => Some(Wrong::Newer(self.epoch, first.epoch)),
            _ if self.epoch < first.epoch => Some(Wrong::Older(self.epoch, first.epoch)),
            _ if self.rivals(first) => Some(Wrong::Two(self.epoch)),
            _ if self.role != Role::Mirror => Some(Wrong::Twice),
            _ if self.stopped => Some(Wrong::Stopped),
            _ => None,
        }
    }
}

/// What the names begin with that say who a quorum is.
pub(super) const NAME: &str = "is-";

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of set {} in epoch {}", self.role, self.set, self.epoch)?;
        if self.complete { Ok(()) } else { f.write_str(", not complete") }
    }
}

/// Why a quorum is not the one that it is used as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It says nothing.
    Missing,
    /// What it says cannot be read.
    Unreadable(String),
    /// It belongs to others.
    Foreign,
    /// It missed that another one was made the first.
    Older(u64, u64),
    /// The first missed it.
    Newer(u64, u64),
    /// Two were made the first in the same epoch, each without the other's knowledge.
    Two(u64),
    /// The first is there twice.
    Twice,
    /// It is the same quorum as the one with that number.
    Same(usize),
    /// It is used as the first and is none.
    NotFirst(u64),
    /// It is the first, and lacks writes that it had counted.
    Restored,
    /// Another is being made the first.
    Stopped,
}

impl Wrong {
    /// Whether nothing may be written as long as one quorum says so, however many agree otherwise:
    /// the first may be none, or one mirror may confirm for two.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self, Wrong::Newer(..) | Wrong::Two(_) | Wrong::Same(_))
    }

    /// What is wrong with the quorum of this number, and what to do.
    pub(super) fn told(&self, number: usize, remedy: &Remedy) -> String {
        let rejoin = || remedy.init(&["--rejoin"]);
        let take_over = || remedy.init(&["--take-over"]);
        match self {
            Wrong::Missing => format!(
                "has no identity: if it is new, or a mirror that lost its data, run {}; if it was the \
                 first and lost its data, make a mirror the first, as by {}",
                remedy.init(&[]),
                remedy.promote(2, &[])
            ),
            Wrong::Unreadable(why) => format!(
                "has an identity that cannot be used: {why}; see who wrote it, then delete it and run {}",
                take_over()
            ),
            Wrong::Foreign => format!(
                "belongs to another set: check the addresses; if it is to join this set, delete its \
                 identity and run {}",
                take_over()
            ),
            Wrong::Older(own, first) => format!(
                "is of epoch {own} and the first of epoch {first}: another was made the first while it \
                 was away; run {}, then {}",
                rejoin(),
                remedy.repair()
            ),
            Wrong::Newer(own, first) => format!(
                "is of epoch {own} and the first of epoch {first}: another was made the first; put that \
                 one in front in the configuration"
            ),
            Wrong::Two(epoch) => format!(
                "follows another first of the same epoch {epoch}: two were made the first apart from \
                 each other, and each may hold what the other lacks, so nothing is written; compare \
                 them, then choose one, as by {}",
                remedy.promote(1, &["--over-rivals"])
            ),
            Wrong::Twice => {
                "says that it is the first, as the first does: check the addresses and their \
                             order"
                    .to_string()
            }
            Wrong::Same(number) => format!(
                "is the same quorum as number {number}: check the addresses, each must lead to another"
            ),
            Wrong::NotFirst(epoch) => format!(
                "is a mirror since epoch {epoch}: put the first in front in the configuration, or make \
                 this one the first by {}",
                remedy.promote(number, &[])
            ),
            Wrong::Restored => format!(
                "lacks writes that it once had, as after it was restored from an old backup: make a \
                 mirror the first, as by {}; or, if what was written since is to be lost, run {}",
                remedy.promote(if number == 1 { 2 } else { 1 }, &[]),
                remedy.promote(number, &["--though-incomplete"])
            ),
            Wrong::Stopped => format!(
                "takes no writes, as somebody makes another the first, or began to: if that has ended \
                 half-way, do it again, as by {}; or, if the first is to stay it and takes writes, run \
                 {}, then {}",
                remedy.promote(2, &[]),
                rejoin(),
                remedy.repair()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_of_the_same_set_epoch_and_term() {
        let first = Identity { epoch: 3, ..Identity::fresh() };
        let mirror = Identity::mirror_of(&first);
        let wrong = |mirror: Identity| mirror.wrong_as_mirror_of(&first);
        assert_eq!(wrong(mirror.clone()), None);
        assert_eq!(wrong(first.clone()), Some(Wrong::Twice));
        assert_eq!(wrong(Identity { epoch: 2, ..first.clone() }), Some(Wrong::Older(2, 3)));
        assert_eq!(wrong(mirror.risen(3)), Some(Wrong::Newer(4, 3)));
        let foreign = Identity::mirror_of(&Identity { epoch: 3, ..Identity::fresh() });
        assert_eq!(wrong(foreign), Some(Wrong::Foreign));
        assert_eq!(wrong(mirror.stopped()), Some(Wrong::Stopped));
        assert_eq!(wrong(mirror.stopped().going_on()), None);
        assert_eq!(first.wrong_as_first(), None);
        assert_eq!(first.stopped().wrong_as_first(), Some(Wrong::Stopped));
        assert_eq!(first.restored().wrong_as_first(), Some(Wrong::Restored));
        assert_eq!(first.restored().stopped().wrong_as_first(), Some(Wrong::Restored));
        assert_eq!(first.restored().risen(3).wrong_as_first(), None);
        assert_eq!(mirror.wrong_as_first(), Some(Wrong::NotFirst(3)));
        // Another first of this epoch, and whoever follows it.
        let rival = mirror.risen(2);
        assert_eq!(wrong(rival.clone()), Some(Wrong::Two(3)));
        assert_eq!(wrong(Identity::mirror_of(&rival)), Some(Wrong::Two(3)));
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let identity = Identity::fresh();
        assert_eq!(Identity::parse(&identity.to_bytes()), Ok(identity.clone()));
        for other in [identity.restored(), identity.stopped(), identity.risen(1)] {
            assert_eq!(Identity::parse(&other.to_bytes()), Ok(other));
        }
        let bad = |set: &str| {
            let bytes = Identity { set: set.into(), ..identity.clone() }.to_bytes();
            Identity::parse(&bytes).is_err()
        };
        assert!(bad("a/b") && bad("") && bad("x"));
        for bad in ["", "{}", r#"{"set":"a","epoch":-1,"role":"first"}"#] {
            assert!(Identity::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_two_identities_have_one_name() {
        let first = Identity::fresh();
        let mirror = Identity::mirror_of(&first);
        let all = [
            first.clone(),
            first.risen(1),
            first.risen(1),
            first.demoted(),
            first.stopped(),
            first.stopped(),
            first.stopped().going_on(),
            first.restored(),
            mirror.clone(),
            Identity::mirror_of(&first),
        ];
        let names: std::collections::BTreeSet<String> = all.iter().map(Identity::name).collect();
        assert_eq!(names.len(), all.len());
        // What is the same but for being complete is the same.
        assert_eq!(Identity { complete: true, ..mirror.clone() }.name(), mirror.name());
        assert!(Identity { complete: true, ..mirror.clone() }.is(&mirror));
    }
}
