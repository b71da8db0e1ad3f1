//! A cell that is several quorums: where they are, and what is asked of them.

use std::fmt;
use std::path::Path;

use super::address::Address;
use super::json::Json;

/// How many mirrors must have a write, besides the first quorum, before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Require {
    /// All of them: losing any one quorum loses nothing.
    #[default]
    All,
    /// So many; the others follow in the background. More than there are means all.
    AtLeast(usize),
}

/// Which quorums answer reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reads {
    /// The first: it costs what one quorum's reads do.
    #[default]
    First,
    /// All: what differs is read again, and then told as
    /// [`Diverged`](crate::ErrorKind::Diverged). A quorum that does not answer fails the read.
    Compare,
}

/// The quorums that hold one tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SetAddress {
    /// Each of them; the first decides, the others mirror it.
    pub quorums: Vec<Address>,
    /// How many mirrors must confirm a write.
    pub require: Require,
    /// Which of them answer reads.
    pub reads: Reads,
}

const EXPECTED: &str = "expected a list of addresses, the first quorum's in front: \
                        [\"a1:2181,a2:2181\", \"b1:2181,b2:2181\"]";

impl SetAddress {
    /// Reads the list of quorums; the error is the reason in words.
    pub(super) fn parse(items: Vec<Json>, directory: &Path) -> Result<SetAddress, String> {
        let mut quorums = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Json::Text(text) = item else {
                return Err(format!("quorum {}: found {}; {EXPECTED}", index + 1, item.shown()));
            };
            let address = Address::parse(&text, directory);
            let address = address.map_err(|why| format!("quorum {}: {why}", index + 1))?;
            let is_shared = !matches!(address, Address::Memory(_));
            if is_shared && quorums.contains(&address) {
                return Err(format!("quorum {}: {address} is there twice; {EXPECTED}", index + 1));
            }
            quorums.push(address);
        }
        if quorums.is_empty() {
            return Err(format!("the list is empty; {EXPECTED}"));
        }
        Ok(SetAddress { quorums, require: Require::All, reads: Reads::First })
    }

    /// Whether all of it lives in this process, so that nobody else can have begun it.
    pub fn is_memory(&self) -> bool {
        self.quorums.iter().all(|address| matches!(address, Address::Memory(_)))
    }
}

pub(super) fn require(value: Json) -> Result<Require, String> {
    match &value {
        Json::Text(text) if text == "all" => return Ok(Require::All),
        Json::Number(number) => {
            if let Ok(count) = number.parse() {
                return Ok(Require::AtLeast(count));
            }
        }
        _ => {}
    }
    Err(format!(
        "require: found {}; expected \"all\" or how many mirrors, such as 1",
        value.shown()
    ))
}

pub(super) fn reads(value: Json) -> Result<Reads, String> {
    match &value {
        Json::Text(text) if text == "first" => Ok(Reads::First),
        Json::Text(text) if text == "compare" => Ok(Reads::Compare),
        _ => Err(format!("reads: found {}; expected \"first\" or \"compare\"", value.shown())),
    }
}

/// Prints the quorums, the first one first: `a1:2181,a2:2181 | b1:2181`.
impl fmt::Display for SetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.quorums.iter().map(ToString::to_string).collect();
        f.write_str(&shown.join(" | "))
    }
}
