//! Making a set: identities for its quorums, another first, and how each of them is.

use std::fmt;

use super::identity::{Identity, Role, Wrong};
use super::quorum::Quorum;
use super::{GlobalConn, Shared, who};
use crate::conn::ConnExt as _;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Version;
use crate::path::ZkPath;

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

/// Whether quorums of an older epoch may come in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejoin {
    /// No: what they wrote on their own is looked at first.
    #[default]
    Refuse,
    /// Yes, as mirrors. What only they have is deleted by the next `repair`.
    AsMirrors,
}

const INIT: &str = "init";
const PROMOTE: &str = "promote";

impl GlobalConn {
    /// Gives identities to the quorums that have none: to all of a new set, or to mirrors that are
    /// new or lost their data. Those that are right stay as they are, so it may be done again.
    /// Nothing else is written: `repair` brings mirrors to what the first holds.
    ///
    /// # Errors
    ///
    /// `WrongQuorum`, with nothing written, when the first has no identity and a mirror has one (the
    /// first lost its data: promote a mirror), or a quorum belongs to another set or an older epoch.
    /// `NotSent` when one does not answer.
    pub async fn init(&self) -> Result<Identity, Error> {
        self.init_with(Rejoin::Refuse).await
    }

    /// As [`init`](Self::init); `rejoin` says what becomes of quorums of an older epoch.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub async fn init_with(&self, rejoin: Rejoin) -> Result<Identity, Error> {
        let made = init(&self.shared, rejoin).await;
        self.shared.doubt();
        made
    }

    /// Makes quorum `number` the first, in an epoch of its own. **The old first must be gone**: what
    /// it alone has, or takes from now on, is lost. If it does answer, it is made a mirror before
    /// anything else, so that it takes no more writes.
    ///
    /// Afterwards `number` must stand in front in every configuration; this connection still has the
    /// old order, and takes no writes. Returns the identity of the new first.
    ///
    /// # Errors
    ///
    /// `BadArguments` when there is no such quorum; `WrongQuorum` when it is none of the set;
    /// `NotSent` when it does not answer.
    pub async fn promote(&self, number: usize) -> Result<Identity, Error> {
        let shared = &*self.shared;
        if shared.begins {
            init(shared, Rejoin::Refuse).await?;
        }
        let deadline = Deadline::after(shared.options.wait);
        let Some(chosen) = shared.quorums().find(|quorum| quorum.number == number) else {
            let count = shared.quorums().count();
            let err = Error::new(PROMOTE, "", ErrorKind::BadArguments);
            return Err(err.with_detail(format!("there is no quorum {number}, only 1 to {count}")));
        };
        let said = who::all(shared, deadline).await;
        let mut known = Vec::new();
        for (quorum, said) in shared.quorums().zip(said) {
            match said {
                Ok((identity, version)) => known.push((quorum, identity, version)),
                Err(err) if quorum.number == number => {
                    return Err(quorum.told(err).during(PROMOTE));
                }
                // It is gone, or has nothing to say.
                Err(_) => {}
            }
        }
        let set = known.iter().find(|(quorum, ..)| quorum.number == number);
        let Some(set) = set.map(|(_, identity, _)| identity.set.clone()) else {
            return Err(chosen.wrong(&Wrong::Missing).during(PROMOTE));
        };
        known.retain(|(_, identity, _)| identity.set == set);
        let latest = known.iter().map(|(_, identity, _)| identity.epoch).max().unwrap_or(0);
        let behind = known.iter().find(|(q, own, _)| q.number == number && own.epoch < latest);
        if let Some((quorum, own, _)) = behind {
            let wrong = Wrong::Older(own.epoch, latest);
            return Err(quorum.wrong(&wrong).during(PROMOTE));
        }
        let next = Identity { set, epoch: latest + 1, role: Role::First };
        // Whoever was a first takes no more writes before there is another. Its epoch stays for now,
        // so that all this can be done again if it ends half-way.
        for (quorum, own, version) in &mut known {
            if quorum.number != number && own.role == Role::First {
                own.role = Role::Mirror;
                *version = change(shared, quorum, own, *version, PROMOTE).await?;
            }
        }
        known.sort_by_key(|(quorum, ..)| quorum.number != number);
        for (quorum, _, version) in &known {
            let role = if quorum.number == number { Role::First } else { Role::Mirror };
            change(shared, quorum, &next.with(next.epoch, role), *version, PROMOTE).await?;
        }
        self.shared.doubt();
        Ok(next)
    }

    /// What each quorum says of itself, the first one first.
    pub async fn status(&self) -> Vec<QuorumStatus> {
        let shared = &*self.shared;
        if shared.begins {
            // If it fails, the quorums say why.
            let _ = init(shared, Rejoin::Refuse).await;
        }
        let said = who::all(shared, Deadline::after(shared.options.wait)).await;
        let first = said.first().and_then(|said| said.as_ref().ok()).map(|(own, _)| own.clone());
        let mut all = Vec::new();
        for (quorum, said) in shared.quorums().zip(said) {
            let wrong = match (&said, &first) {
                (Err(err), _) => Some(quorum.told(err.clone())),
                (Ok((own, _)), _) if quorum.number == 1 => {
                    (own.role != Role::First).then(|| quorum.wrong(&Wrong::NotFirst(own.epoch)))
                }
                (Ok((own, _)), Some(first)) => {
                    own.wrong_as_mirror_of(first).map(|wrong| quorum.wrong(&wrong))
                }
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
        all
    }
}

/// Gives identities to those quorums that have none.
pub(super) async fn init(shared: &Shared, rejoin: Rejoin) -> Result<Identity, Error> {
    let deadline = Deadline::after(shared.options.wait);
    let said = who::all(shared, deadline).await;
    let mut known = Vec::with_capacity(said.len());
    for (quorum, said) in shared.quorums().zip(said) {
        known.push(match said {
            Ok(known) => Some(known),
            Err(err) if is_missing(quorum, &err) => None,
            Err(err) => return Err(quorum.told(err).during(INIT)),
        });
    }
    let (first, mirrors) = known.split_first().unwrap_or((&None, &[]));
    let identity = match first {
        Some((identity, _)) => identity.clone(),
        None if mirrors.iter().any(Option::is_some) => {
            return Err(shared.first.wrong(&Wrong::Missing).during(INIT));
        }
        None => Identity::fresh(),
    };
    if identity.role != Role::First {
        return Err(shared.first.wrong(&Wrong::NotFirst(identity.epoch)).during(INIT));
    }
    for (mirror, known) in shared.mirrors.iter().zip(mirrors) {
        let wrong = known.as_ref().and_then(|(own, _)| own.wrong_as_mirror_of(&identity));
        match wrong {
            None => {}
            Some(Wrong::Older(..)) if rejoin == Rejoin::AsMirrors => {}
            Some(wrong) => return Err(mirror.quorum.wrong(&wrong).during(INIT)),
        }
    }
    // The first goes first: of two who do this at once, whoever is later follows.
    let identity = match first {
        Some(_) => identity,
        None => make(shared, &shared.first, &identity).await?,
    };
    let own = identity.with(identity.epoch, Role::Mirror);
    for (mirror, known) in shared.mirrors.iter().zip(mirrors) {
        match known {
            None => {
                let made = make(shared, &mirror.quorum, &own).await?;
                if let Some(wrong) = made.wrong_as_mirror_of(&identity) {
                    return Err(mirror.quorum.wrong(&wrong).during(INIT));
                }
            }
            Some((found, version)) if found != &own => {
                change(shared, &mirror.quorum, &own, *version, INIT).await?;
            }
            Some(_) => {}
        }
    }
    Ok(identity)
}

/// Whether a quorum answered that it has no identity, and not that it cannot answer.
fn is_missing(quorum: &Quorum, err: &Error) -> bool {
    err.kind() == ErrorKind::WrongQuorum && err.detail() == quorum.wrong(&Wrong::Missing).detail()
}

/// Gives a quorum an identity, unless somebody was faster; then that one counts.
async fn make(shared: &Shared, quorum: &Quorum, identity: &Identity) -> Result<Identity, Error> {
    let told = |err: Error| quorum.told(err).during(INIT);
    let home = shared.home.path();
    let mut above: Vec<ZkPath> = std::iter::successors(home.parent(), ZkPath::parent)
        .filter(|path| !path.is_root())
        .collect();
    above.reverse();
    for path in &above {
        match quorum.conn.create(path, "", crate::node::Mode::Persistent).await {
            Err(err) if err.kind() != ErrorKind::NodeExists => return Err(told(err)),
            _ => {}
        }
    }
    let creation = shared.home.creation(identity);
    match quorum.conn.multi(creation).await {
        Ok(_) => Ok(identity.clone()),
        Err(err) if err.kind() == ErrorKind::NodeExists => {
            let deadline = Deadline::after(shared.options.wait);
            who::is(shared, quorum, deadline).await.map(|(own, _)| own).map_err(told)
        }
        Err(err) => Err(told(err)),
    }
}

/// Gives a quorum another identity, and returns the version of the node that says it.
async fn change(
    shared: &Shared,
    quorum: &Quorum,
    identity: &Identity,
    version: i32,
    verb: &'static str,
) -> Result<i32, Error> {
    let set = quorum.conn.set(shared.home.path(), identity.to_bytes(), Version::Exact(version));
    set.await.map(|stat| stat.version).map_err(|err| quorum.told(err).during(verb))
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
