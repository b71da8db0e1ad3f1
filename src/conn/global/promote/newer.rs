//! Which of two mirrors that differ is the newer one there.

use super::{Promoting, VERB, ask};
use crate::conn::global::home::Home;
use crate::conn::global::record::Record;
use crate::conn::global::told::Told;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::path::ZkPath;

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
    /// The other one has no node.
    Missing,
    /// The chosen one has no node, or they differ in its data.
    Node,
    /// In the access list.
    List,
}

impl Promoting {
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
                    return Err(known.quorum.contended(VERB));
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
}

/// Which of two mirrors of one first is newer at a path where they differ. The chosen one may have been made
/// the first since: what its fences keep of the old first is what it had then.
fn newer(chosen: &Told, other: &Told, path: &ZkPath, what: Differs) -> Newer {
    let number = Home::fence_of(path);
    let term = &other.identity.term;
    let (own, its) = (chosen.record(number, term), other.record(number, term));
    let at_least = |told: Option<&Record>| told.and_then(|told| told.at_least(path));
    let at_most = |told: Option<&Record>| told.and_then(|told| told.at_most(path));
    // `None` is less than any count.
    if what != Differs::List && at_least(own) > at_most(its) {
        return Newer::Chosen;
    }
    if at_least(its) > at_most(own) {
        return Newer::Other;
    }
    let is_ahead = its.map(|its| its.count) > own.map(|own| own.count);
    // It lacks nodes anyway. What it has may be of a write that it alone has confirmed.
    match what == Differs::Missing && !other.identity.complete && !is_ahead {
        true => Newer::Chosen,
        false => Newer::NobodyKnows,
    }
}
