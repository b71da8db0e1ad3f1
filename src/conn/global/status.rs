//! How the quorums of a set are.

use std::fmt;

use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
use super::look::Freshness;
use super::restored::is_restored;
use super::{GlobalConn, who};
use crate::deadline::Deadline;
use crate::error::Error;

/// What a quorum of a set says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuorumStatus {
    /// Its place in the configuration, counted from 1; 1 is used as the first.
    pub number: usize,
    /// What its connection is called.
    pub name: String,
    /// Who it says it is; an error when it says nothing, or does not answer.
    pub identity: Result<Identity, Error>,
    /// Why it takes no writes as what it is used as; `None` when it does.
    pub wrong: Option<Error>,
    /// How many writes of this connection it lacks.
    pub owed: usize,
    /// How many more there were than can be remembered: `repair` finds them.
    pub forgotten: usize,
}

impl GlobalConn {
    /// What each quorum says of itself, the first one first.
    ///
    /// Where two were made the first apart from each other, the first is wrong, too. Of one that was restored
    /// from an old backup that is noted in its identity.
    pub async fn status(&self) -> Vec<QuorumStatus> {
        let shared = &*self.shared;
        if shared.begins {
            // If it fails, the quorums say why.
            let _ = init(shared, InitOptions::default()).await;
        }
        let deadline = Deadline::after(shared.options.wait);
        let said = who::all(shared, Freshness::AsItIs, deadline).await;
        let first = said.first().and_then(|said| said.as_ref().ok());
        let (mut of_first, mut in_doubt) = (None, None);
        if let Some(first) = first.filter(|first| first.identity.role == Role::First) {
            let mirrors = || said.iter().skip(1).flatten();
            let rival = mirrors().find(|told| told.identity.rivals(&first.identity));
            of_first = rival.map(|rival| Wrong::Two(rival.identity.epoch));
            // Whoever was silent has taken all of the time.
            let deadline = Deadline::after(shared.options.wait);
            match is_restored(shared, &shared.first, first, mirrors(), deadline).await {
                Ok(true) => {
                    shared.disbelieve(&shared.first, &first.identity, deadline).await;
                    of_first = Some(Wrong::Restored);
                }
                Ok(false) => {}
                Err(err) => in_doubt = Some(shared.first.told(err)),
            }
        }
        let all = &said;
        let each = shared.quorums().zip(&said).map(|(quorum, said)| {
            let wrong = match (said.as_ref().map(|told| &told.identity), first) {
                (Err(err), _) => Some(quorum.told(err.clone())),
                (Ok(own), _) if quorum.number == 1 => {
                    let wrong = own.wrong_as_first().or_else(|| of_first.take());
                    wrong.map(|wrong| quorum.wrong(&wrong)).or_else(|| in_doubt.take())
                }
                (Ok(own), Some(first)) => {
                    let before = all
                        .iter()
                        .zip(1..quorum.number)
                        .filter_map(|(told, number)| Some((number, &told.as_ref().ok()?.identity)));
                    let wrong = own.wrong_as_mirror_of(&first.identity);
                    let wrong = wrong.or_else(|| own.twin(before));
                    wrong.map(|wrong| quorum.wrong(&wrong))
                }
                // Without the first there is more that nobody can say.
                (Ok(own), None) => {
                    let mut others = all.iter().flatten().map(|told| &told.identity);
                    let wrong = match others.any(|other| own.rivals(other)) {
                        true => Some(Wrong::Two(own.epoch)),
                        false => own.stopped.then_some(Wrong::Stopped),
                    };
                    wrong.map(|wrong| quorum.wrong(&wrong))
                }
            };
            let owed = quorum.number.checked_sub(2).and_then(|index| shared.mirrors.get(index));
            QuorumStatus {
                number: quorum.number,
                name: quorum.conn.to_string(),
                identity: said.as_ref().map(|told| told.identity.clone()).map_err(Clone::clone),
                wrong,
                owed: owed.map_or(0, |mirror| mirror.owed.count()),
                forgotten: owed.map_or(0, |mirror| mirror.owed.forgotten()),
            }
        });
        each.collect()
    }
}

/// Prints as a line of `zk global status`.
impl fmt::Display for QuorumStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  ", self.number, self.name)?;
        match (&self.identity, &self.wrong) {
            (_, Some(wrong)) => f.write_str(wrong.detail().unwrap_or("wrong")),
            (Ok(identity), None) => identity.fmt(f),
            (Err(err), None) => err.fmt(f),
        }
    }
}
