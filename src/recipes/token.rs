//! Fencing tokens: which of two grants came later.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::names::LockMode;
use crate::error::{Error, ErrorKind};
use crate::session::Session;

/// The mark of one grant: a later grant of the same thing has a greater one.
///
/// A resource that is told the token with each request, and refuses tokens older than the newest it
/// has seen, is safe from holders who do not know yet that they lost what they held: no clock and no
/// timeout is in it. [`FencedRegister`](super::FencedRegister) is such a resource.
///
/// Tokens are transaction numbers of one quorum. Those of two cells do not compare, and after a
/// quorum was restored from a backup its numbers may start again from lower ones. Where several quorums
/// hold one tree ([`GlobalConn`](crate::GlobalConn)), another one that becomes the first has numbers of
/// its own: so the epoch ([`Session::epoch`](crate::Session::epoch)) comes before them.
///
/// It prints as `cell/epoch/mode/zxid`, and reads that again:
///
/// ```
/// use zkcells::recipes::Token;
/// let older: Token = "nyc/0/w/0x100000002".parse()?;
/// let newer: Token = "nyc/0/w/0x100000003".parse()?;
/// assert!(older < newer);
/// assert_eq!(newer.to_string(), "nyc/0/w/0x100000003");
/// let other: Token = "sjc/0/w/0x1".parse()?;
/// assert_eq!(older.partial_cmp(&other), None);
/// # Ok::<(), zkcells::Error>(())
/// ```
///
/// Fencing tokens are the sequencers of Chubby (Burrows, 2006).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    cell: Arc<str>,
    epoch: u64,
    mode: LockMode,
    zxid: i64,
}

impl Token {
    /// The token of a grant in `cell` by transaction `zxid`.
    pub fn new(cell: impl Into<Arc<str>>, epoch: u64, mode: LockMode, zxid: i64) -> Self {
        Token { cell: cell.into(), epoch, mode, zxid }
    }

    /// The token of a grant in the cell and the epoch of `session` by transaction `zxid`.
    pub(super) fn of(session: &Session, mode: LockMode, zxid: i64) -> Self {
        Token::new(session.cell(), session.epoch(), mode, zxid)
    }

    /// The cell that it was granted in ([`Session::cell`](crate::Session::cell)).
    pub fn cell(&self) -> &str {
        &self.cell
    }

    /// How often the cell's first quorum was replaced by another, where several hold one tree.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether others may hold one too.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// The transaction that granted it.
    pub fn zxid(&self) -> i64 {
        self.zxid
    }
}

impl PartialOrd for Token {
    /// `None` for tokens of two cells.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self.cell != other.cell {
            return None;
        }
        match (self.epoch, self.zxid).cmp(&(other.epoch, other.zxid)) {
            Ordering::Equal if self.mode != other.mode => None,
            ordering => Some(ordering),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            LockMode::Exclusive => 'w',
            LockMode::Shared => 'r',
        };
        write!(f, "{}/{}/{mode}/{:#x}", self.cell, self.epoch, self.zxid)
    }
}

impl FromStr for Token {
    type Err = Error;

    /// # Errors
    ///
    /// `BadArguments`, with the text and what was expected.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| {
            Error::new("token", text, ErrorKind::BadArguments)
                .with_detail("expected cell/epoch/mode/zxid, as in nyc/0/w/0x100000002")
        })
    }
}

fn parse(text: &str) -> Option<Token> {
    let mut parts = text.rsplitn(4, '/');
    let zxid = i64::from_str_radix(parts.next()?.strip_prefix("0x")?, 16).ok()?;
    let mode = match parts.next()? {
        "w" => LockMode::Exclusive,
        "r" => LockMode::Shared,
        _ => return None,
    };
    let epoch = parts.next()?.parse().ok()?;
    let cell = parts.next().filter(|cell| !cell.is_empty())?;
    Some(Token::new(cell, epoch, mode, zxid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_first_quorum_counts_before_any_transaction() {
        let old = Token::new("global", 1, LockMode::Exclusive, 900);
        let new = Token::new("global", 2, LockMode::Exclusive, 5);
        assert!(old < new);
    }

    #[test]
    fn a_cell_may_be_called_by_its_servers() {
        let token = Token::new("127.0.0.1:2181/app", 0, LockMode::Shared, 7);
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
    }

    #[test]
    fn what_is_no_token_is_told() {
        for text in ["", "nyc/0/w/7", "nyc/0/x/0x7", "/0/w/0x7", "0/w/0x7", "nyc/a/w/0x7"] {
            let err = text.parse::<Token>().unwrap_err();
            assert_eq!(err.kind(), ErrorKind::BadArguments, "{text}");
        }
    }
}
