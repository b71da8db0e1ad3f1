//! How the quorums of a set are.

use std::fmt;

use super::identity::{Identity, Role, Wrong};
use super::init::{InitOptions, init};
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
    /// Where two were made the first apart from each other, the first one is wrong, too.
    pub async fn status(&self) -> Vec<QuorumStatus> {
        let shared = &*self.shared;
        if shared.begins {
            // If it fails, the quorums say why.
            let _ = init(shared, InitOptions::default()).await;
        }
        let said = who::all(shared, Deadline::after(shared.options.wait)).await;
        let first = said.first().and_then(|said| said.as_ref().ok()).map(|(own, _)| own.clone());
        let mut all: Vec<QuorumStatus> = Vec::new();
        let mut rival = None;
        for (quorum, said) in shared.quorums().zip(said) {
            let wrong = match (&said, &first) {
                (Err(err), _) => Some(quorum.told(err.clone())),
                (Ok((own, _)), _) if quorum.number == 1 => {
                    (own.role != Role::First).then(|| quorum.wrong(&Wrong::NotFirst(own.epoch)))
                }
                (Ok((own, _)), Some(first)) => own.wrong_as_mirror_of(first).map(|wrong| {
                    if let Wrong::Two(_) = wrong {
                        rival = Some(wrong.clone());
                    }
                    quorum.wrong(&wrong)
                }),
                // Without the first nobody can say.
                (Ok(_), None) => None,
            };
            let owed = quorum.number.checked_sub(2).and_then(|index| shared.mirrors.get(index));
            all.push(QuorumStatus {
                number: quorum.number,
                name: quorum.conn.to_string(),
                identity: said.map(|(own, _)| own),
                wrong,
                owed: owed.map_or(0, |mirror| mirror.owed.count()),
                forgotten: owed.map_or(0, |mirror| mirror.owed.forgotten()),
            });
        }
        if let (Some(first), Some(rival)) = (all.first_mut(), rival)
            && first.wrong.is_none()
        {
            first.wrong = Some(shared.first.wrong(&rival));
        }
        all
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
