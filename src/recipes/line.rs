//! A line of contenders: each has a node with a number, and whoever has the lowest is first.
//!
//! ```text
//!   create own node, list ──▶ own node missing ──▶ revoked
//!         ▲                   nobody before ─────▶ first: hold it
//!         │                   somebody before ───▶ watch the nearest of them
//!         └──────────── woken, or a while later ────────────┘
//! ```
//!
//! A wake-up is a hint to look again, and never a proof. The own node carries a random id, so a lost
//! reply makes no second one; it goes with its session, and every way out removes it ([`Place`]).

use std::sync::Arc;
use std::time::Duration;

use super::ending::Ending;
use super::guard::{Guard, Parts, loss_error, recheck};
use super::names::{self, ContenderName, LockMode, LockNames, Standing, standing};
use super::owner::Owner;
use super::place::{Place, is_over};
use super::token::Token;
use crate::background::sleep;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Acl, Children, CreateOptions, Mode, Perms, Stat};
use crate::path::ZkPath;
use crate::pause;
use crate::session::Session;
use crate::tree;

/// How often a directory that others delete is made again.
const ROUNDS: u32 = 10;
/// The pause behind a read that failed while the session lives.
const PAUSE: Duration = Duration::from_millis(100);

/// A line, and how to stand in it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) conn: Arc<dyn Conn>,
    pub(crate) dir: Result<ZkPath, Error>,
    pub(crate) form: Form,
    pub(crate) acl: Vec<Acl>,
    /// What errors call it.
    pub(crate) verb: &'static str,
}

/// How an own node is named, and for whom it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) names: LockNames,
    pub(crate) mode: LockMode,
    /// The name up to its number, with an id in it.
    pub(crate) stem: fn(LockNames, &str) -> String,
    /// Whether a contender with this name and a lower number is waited for.
    pub(crate) waits_for: fn(&ContenderName<'_>) -> bool,
}

/// How long to wait for a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    Until(Deadline),
    Endless,
}

impl Patience {
    fn deadline(self) -> Option<Deadline> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Endless => None,
        }
    }
}

/// Why a contender looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// Whoever was before it is gone, and nobody else was.
    AsNext,
    /// Something may have changed.
    ByChance,
}

/// A contender on its way.
struct Contender {
    conn: BoundConn<Arc<dyn Conn>>,
    session: Session,
    place: Place,
    path: ZkPath,
    stat: Stat,
    ending: Option<Ending>,
}

impl Line {
    /// Waits until the own node is first, and holds it.
    ///
    /// `None`: somebody is before it, and no patience.
    pub(crate) async fn stand(&self, patience: Patience) -> Result<Option<Guard>, Error> {
        let dir = self.dir.clone().map_err(|err| err.during(self.verb))?;
        let stood = self.stand_in(&dir, patience).await;
        stood.map_err(|err| self.told(err, patience))
    }

    async fn stand_in(&self, dir: &ZkPath, patience: Patience) -> Result<Option<Guard>, Error> {
        let (mut contender, mut listing) = self.enter(dir, patience).await?;
        let mut held = None;
        let mut woken = Woken::ByChance;
        loop {
            match listing {
                Ok(children) => {
                    let own = contender.path.name();
                    match standing(&children.names, own, self.form.waits_for) {
                        Standing::Missing => return Err(self.missing(&contender).await),
                        Standing::First => {
                            if let Some(hold) = self.hold(&contender, held.take(), patience).await?
                            {
                                return Ok(Some(self.guard(contender, hold)));
                            }
                        }
                        Standing::Behind(..) if matches!(patience, Patience::None) => {
                            contender.place.leave().await;
                            return Ok(None);
                        }
                        Standing::Behind(name, ahead) => {
                            let next = dir.child(&name);
                            woken = self.wait(&mut contender, &next, ahead, patience).await?;
                        }
                    }
                }
                Err(err) => self.bear(&contender, err, patience).await?,
            }
            let asked = contender.conn.children(dir);
            // Whoever is likely to be first proves it in the same flight.
            let proved =
                (woken == Woken::AsNext).then(|| contender.conn.hold_seen(&contender.path));
            listing = asked.await;
            held = match proved {
                Some(proved) => proved.await.ok(),
                None => None,
            };
        }
    }

    /// Makes the own node, and lists the others behind it in the same flight.
    async fn enter(
        &self,
        dir: &ZkPath,
        patience: Patience,
    ) -> Result<(Contender, Result<Children, Error>), Error> {
        let by = patience.deadline();
        let id = names::random_id();
        let owner = Owner::here(&id);
        let options = CreateOptions::from(Mode::EphemeralSequential)
            .with_acl(self.acl.clone())
            .with_id(match self.form.names {
                LockNames::Curator => names::dashed(&id),
                _ => id.clone(),
            });
        let stem = (self.form.stem)(self.form.names, &id);
        for round in 0..ROUNDS {
            let left = by.map_or(Duration::MAX, Deadline::remaining);
            pause::after(round, left).await;
            let session = self.session(dir, by).await?;
            let conn = BoundConn::new(self.conn.clone(), &session).by(by);
            let mut place = Place::ask(&conn, &session, (dir, &stem), &owner, &options);
            let listing = conn.children(dir);
            match place.made().await {
                Ok((path, stat)) => {
                    if !session.owns(&stat) {
                        return Err(Error::new(self.verb, dir, ErrorKind::SessionExpired));
                    }
                    let contender = Contender { conn, session, place, path, stat, ending: None };
                    return Ok((contender, listing.await));
                }
                Err(err) if err.kind() == ErrorKind::NoNode => self.make(&conn, dir).await?,
                Err(err) if err.kind() == ErrorKind::NodeExists => {
                    return Err(err.with_detail(
                        "the directory's numbers are used up; delete it while nobody is in it",
                    ));
                }
                Err(err) => return Err(err),
            }
        }
        Err(Error::new(self.verb, dir, ErrorKind::Contended).with_detail("it keeps being deleted"))
    }

    async fn session(&self, dir: &ZkPath, by: Option<Deadline>) -> Result<Session, Error> {
        let mut request = crate::request::Request::new(crate::request::Op::Session, dir.clone());
        request.deadline = by.map_or(request.deadline, |by| by.min(request.deadline));
        match self.conn.call(request).await? {
            crate::request::Reply::Session(session) => Ok(session),
            _ => Err(Error::new(self.verb, dir, ErrorKind::Unexpected)),
        }
    }

    /// Makes the directory: a container, which servers delete when it is empty, unless clients of
    /// another system count on it.
    async fn make(&self, conn: &dyn Conn, dir: &ZkPath) -> Result<(), Error> {
        let open = |entry: &Acl| Acl { perms: Perms::DIRECTORY, ..entry.clone() };
        let acl: Vec<Acl> = self.acl.iter().map(open).collect();
        let with = |mode: Mode| CreateOptions::from(mode).with_acl(acl.clone());
        let mode = match self.form.names {
            LockNames::Kazoo => Mode::Persistent,
            _ => Mode::Container,
        };
        let mut made = tree::create_all(conn, dir, "", with(mode)).await;
        if made.as_ref().is_err_and(|err| err.kind() == ErrorKind::Unsupported) {
            made = tree::create_all(conn, dir, "", with(Mode::Persistent)).await;
        }
        match made {
            Ok(_) => Ok(()),
            Err(err) if err.kind() == ErrorKind::NodeExists => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Proof that the own node is there, unless `held` is one.
    ///
    /// `None`: nothing was proved; look again.
    async fn hold(
        &self,
        contender: &Contender,
        held: Option<Hold>,
        patience: Patience,
    ) -> Result<Option<Hold>, Error> {
        if let Some(hold) = held.filter(Hold::is_valid) {
            return Ok(Some(hold));
        }
        match contender.conn.hold_seen(&contender.path).await {
            Ok(hold) if hold.is_valid() => Ok(Some(hold)),
            // It came too late to prove anything.
            Ok(_) => self.in_time(contender, patience).map(|()| None),
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            Err(err) => self.bear(contender, err, patience).await.map(|()| None),
        }
    }

    fn guard(&self, contender: Contender, hold: Hold) -> Guard {
        let Contender { conn, session, place, path, stat, ending } = contender;
        let conn = conn.by(None);
        let ending = ending.unwrap_or_else(|| ending_of(&conn, &session, &path, &stat));
        let token = Token::new(session.cell(), 0, self.form.mode, stat.czxid);
        Guard::new(Parts { conn, place, path, hold, ending, token })
    }

    /// Waits for the end of `next`, or of anything that makes waiting vain.
    async fn wait(
        &self,
        contender: &mut Contender,
        next: &ZkPath,
        ahead: usize,
        patience: Patience,
    ) -> Result<Woken, Error> {
        let next_goes = if ahead == 1 { Woken::AsNext } else { Woken::ByChance };
        let Contender { conn, session, path, stat, ending, .. } = contender;
        let watched = conn.exists_watch(next);
        let ending = ending.get_or_insert_with(|| ending_of(conn, session, path, stat));
        let lost_watch = sleep(recheck(session));
        let gone = async {
            match watched.await {
                Ok((None, _)) => Ok(()),
                Ok((Some(_), watch)) => {
                    watch.await;
                    Ok(())
                }
                Err(err) => Err(err),
            }
        };
        let err = tokio::select! {
            biased;
            loss = ending.wait() => return Err(loss_error(self.verb, path, loss)),
            _ = session.lost() => {
                return Err(Error::new(self.verb, &*path, ErrorKind::SessionExpired));
            }
            gone = gone => match gone {
                Ok(()) => return Ok(next_goes),
                Err(err) => err,
            },
            () = until(patience) => {
                let err = Error::new(self.verb, dir_of(path), ErrorKind::Timeout);
                return Err(err.with_detail(format!("{ahead} ahead, the next is {}", next.name())));
            }
            () = lost_watch => return Ok(Woken::ByChance),
        };
        // What may not be read is waited for all the same, by looking at the list.
        self.bear(contender, err, patience).await?;
        Ok(Woken::ByChance)
    }

    /// Bears an error that a later try may not meet.
    async fn bear(
        &self,
        contender: &Contender,
        err: Error,
        patience: Patience,
    ) -> Result<(), Error> {
        let passing = matches!(
            err.kind(),
            ErrorKind::NotSent
                | ErrorKind::Timeout
                | ErrorKind::ConnectionLoss
                | ErrorKind::OutcomeUnknown
                | ErrorKind::TooManyWatches
                | ErrorKind::NoAuth
        );
        let listed = err.op() == "children";
        if !passing || listed && err.kind() == ErrorKind::NoAuth {
            return Err(err);
        }
        self.in_time(contender, patience)?;
        let pause = if err.kind() == ErrorKind::NoAuth { 10 * PAUSE } else { PAUSE };
        sleep(pause.min(patience.deadline().map_or(pause, Deadline::remaining))).await;
        Ok(())
    }

    fn in_time(&self, contender: &Contender, patience: Patience) -> Result<(), Error> {
        if contender.session.state().is_over() {
            return Err(Error::new(self.verb, &contender.path, ErrorKind::SessionExpired));
        }
        match patience.deadline() {
            Some(by) if by.is_past() => {
                Err(Error::new(self.verb, dir_of(&contender.path), ErrorKind::Timeout))
            }
            _ => Ok(()),
        }
    }

    /// Why the own node is not listed: its session is over, or somebody deleted it.
    async fn missing(&self, contender: &Contender) -> Error {
        let kind = match contender.conn.clone().by(None).sync(&contender.path).await {
            Err(err) if is_over(err.kind()) => ErrorKind::SessionExpired,
            _ if contender.session.state().is_over() => ErrorKind::SessionExpired,
            _ => ErrorKind::Revoked,
        };
        Error::new(self.verb, &contender.path, kind)
    }

    /// An error of the whole.
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        match &self.dir {
            Ok(dir) => Error::new(self.verb, dir, kind),
            Err(err) => err.clone().during(self.verb),
        }
    }

    /// The error as its caller is to see it.
    fn told(&self, err: Error, patience: Patience) -> Error {
        let late = patience.deadline().is_some_and(Deadline::is_past);
        let err = err.during(self.verb);
        match err.kind() {
            ErrorKind::NotSent | ErrorKind::OutcomeUnknown | ErrorKind::ConnectionLoss if late => {
                let why = err.detail().map(str::to_owned);
                let late = Error::new(self.verb, err.path(), ErrorKind::Timeout);
                match why {
                    Some(why) => late.with_detail(why),
                    None => late,
                }
            }
            _ => err,
        }
    }
}

fn dir_of(path: &ZkPath) -> ZkPath {
    path.parent().unwrap_or_else(ZkPath::root)
}

fn ending_of(
    conn: &BoundConn<Arc<dyn Conn>>,
    session: &Session,
    path: &ZkPath,
    stat: &Stat,
) -> Ending {
    Ending::of(conn.clone().by(None), path.clone(), stat.czxid, session.timeout() / 6)
}

/// Waits until patience has an end.
pub(crate) async fn until(patience: Patience) {
    match patience {
        Patience::Until(by) => sleep(by.remaining()).await,
        Patience::None | Patience::Endless => std::future::pending().await,
    }
}
