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

use super::directory;
use super::ending::Ending;
use super::guard::Guard;
use super::held::Held;
use super::names::{self, ContenderName, LockMode, LockNames, Standing, standing};
use super::owner::Owner;
use super::place::Place;
use super::token::Token;
use super::wait::{Patience, Waiting, Woken};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Acl, Children, CreateOptions, Mode, Stat};
use crate::path::ZkPath;
use crate::pause;
use crate::session::Session;

/// How often a directory that others delete is made again.
const ROUNDS: u32 = 10;

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
        let (mut woken, mut alone) = (Woken::ByChance, false);
        loop {
            match listing {
                Ok(children) => {
                    let own = contender.path.name();
                    match standing(&children.names, own, self.form.waits_for) {
                        Standing::Missing => {
                            return Err(self.waiting(&contender, patience).missing().await);
                        }
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
                            contender.watch_own();
                            let waiting = self.waiting(&contender, patience);
                            woken = waiting.for_end_of(&dir.child(&name), ahead).await?;
                            alone = ahead == 1;
                        }
                    }
                }
                Err(err) => self.waiting(&contender, patience).bear(err).await?,
            }
            let asked = contender.conn.children(dir);
            // Whoever is likely to be first proves it in the same flight.
            let proved =
                (alone && woken == Woken::ByEnd).then(|| contender.conn.hold_seen(&contender.path));
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
            pause::after(round, patience.remaining()).await;
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

    /// Makes the directory: a container, unless clients of another system count on it.
    async fn make(&self, conn: &dyn Conn, dir: &ZkPath) -> Result<(), Error> {
        let mode = match self.form.names {
            LockNames::Kazoo => Mode::Persistent,
            _ => Mode::Container,
        };
        directory::make(conn, dir, "", &self.acl, mode).await
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
            Ok(_) => self.waiting(contender, patience).in_time().map(|()| None),
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            Err(err) => self.waiting(contender, patience).bear(err).await.map(|()| None),
        }
    }

    fn guard(&self, mut contender: Contender, hold: Hold) -> Guard {
        let ending = contender.watch_own();
        let Contender { conn, session, place, path, stat, .. } = contender;
        let conn = conn.by(None);
        let token = Token::new(session.cell(), 0, self.form.mode, stat.czxid);
        Guard::new(Held { conn, path, hold, ending, token }, place)
    }

    fn waiting<'a>(&self, contender: &'a Contender, patience: Patience) -> Waiting<'a> {
        Waiting {
            conn: &contender.conn,
            session: &contender.session,
            own: &contender.path,
            ending: contender.ending.as_ref(),
            patience,
            verb: self.verb,
        }
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

impl Contender {
    /// Watches the own node from now on, if that is not done.
    fn watch_own(&mut self) -> Ending {
        let Contender { conn, session, path, stat, .. } = &*self;
        let watch = || {
            let pause = session.timeout() / 6;
            Ending::of(conn.clone().by(None), path.clone(), stat.czxid, pause)
        };
        let ending = self.ending.clone().unwrap_or_else(watch);
        self.ending = Some(ending.clone());
        ending
    }
}
