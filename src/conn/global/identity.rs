//! Who a quorum is: of which set, in which role, since which epoch.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
    /// What it is in this epoch.
    pub role: Role,
}

impl Identity {
    /// Of a set that did not exist before.
    pub(super) fn fresh() -> Self {
        Identity { set: format!("{:032x}", fastrand::u128(..)), epoch: 1, role: Role::First }
    }

    pub(super) fn with(&self, epoch: u64, role: Role) -> Self {
        Identity { set: self.set.clone(), epoch, role }
    }

    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(data).map_err(|err| format!("it is no identity ({err})"))
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        // Invariant: text and numbers are always JSON.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// What is wrong with a quorum that says this and is used as a mirror of `first`.
    pub(super) fn wrong_as_mirror_of(&self, first: &Identity) -> Option<Wrong> {
        match self {
            _ if self.set != first.set => Some(Wrong::Foreign),
            _ if self.epoch > first.epoch => Some(Wrong::Newer(self.epoch, first.epoch)),
            _ if self.epoch < first.epoch => Some(Wrong::Older(self.epoch, first.epoch)),
            _ if self.role != Role::Mirror => Some(Wrong::Two),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of set {} in epoch {}", self.role, self.set, self.epoch)
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
    /// It says that it is the first, too.
    Two,
    /// It is used as the first and is none.
    NotFirst(u64),
}

/// What is wrong, and what to do.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Missing => f.write_str(
                "has no identity: if it is new, or a mirror that lost its data, run `zk global \
                 init`; if it was the first and lost its data, run `zk global promote` for a mirror",
            ),
            Wrong::Unreadable(why) => write!(
                f,
                "has an identity that cannot be used: {why}; see who wrote it, then delete it and \
                 run `zk global init`"
            ),
            Wrong::Foreign => f.write_str(
                "belongs to another set: check the addresses; if it is to join this set, delete its \
                 identity and run `zk global init`",
            ),
            Wrong::Older(own, first) => write!(
                f,
                "is of epoch {own} and the first of epoch {first}: another was made the first while \
                 it was away; run `zk global init --rejoin`, then `zk global repair`"
            ),
            Wrong::Newer(own, first) => write!(
                f,
                "is of epoch {own} and the first of epoch {first}: another was made the first; put \
                 that one in front in the configuration"
            ),
            Wrong::Two => f.write_str(
                "says that it is the first, as the first does: check the addresses and their order",
            ),
            Wrong::NotFirst(epoch) => write!(
                f,
                "is a mirror since epoch {epoch}: put the first in front in the configuration, or \
                 make this one the first by `zk global promote`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_of_the_same_set_and_epoch() {
        let first = Identity::fresh().with(3, Role::First);
        let wrong = |mirror: Identity| mirror.wrong_as_mirror_of(&first);
        assert_eq!(wrong(first.with(3, Role::Mirror)), None);
        assert_eq!(wrong(first.clone()), Some(Wrong::Two));
        assert_eq!(wrong(first.with(2, Role::First)), Some(Wrong::Older(2, 3)));
        assert_eq!(wrong(first.with(4, Role::Mirror)), Some(Wrong::Newer(4, 3)));
        assert_eq!(wrong(Identity::fresh().with(3, Role::Mirror)), Some(Wrong::Foreign));
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let identity = Identity::fresh();
        assert_eq!(Identity::parse(&identity.to_bytes()), Ok(identity));
        for bad in ["", "{}", r#"{"set":"a","epoch":-1,"role":"first"}"#] {
            assert!(Identity::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
