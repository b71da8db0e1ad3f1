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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::delay;
use super::directory;
use super::ending::Ending;
use super::guard::Guard;
use super::held::Held;
use super::names::{self, ContenderName, LockMode, LockNames, Standing, standing};
use super::ours::Ours;
use super::owner::Owner;
use super::place::Place;
use super::proof::Proof;
use super::token::Token;
use super::wait::{Patience, Waiting, Woken, session as session_of, told};
use crate::background::sleep;
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
    pub(crate) conn: Ours,
    pub(crate) dir: Result<ZkPath, Error>,
    pub(crate) form: Form,
    pub(crate) acl: Vec<Acl>,
    /// The pause behind a holder who died.
    pub(crate) delay: Option<Duration>,
    /// What errors call it.
    pub(crate) verb: &'static str,
    /// The session that somebody stood in last.
    pub(crate) session: Arc<Mutex<Option<Session>>>,
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
    conn: BoundConn<Ours>,
    session: Session,
    place: Place,
    path: ZkPath,
    stat: Stat,
    /// The end of the own node, from when it is watched.
    ending: Option<Ending>,
}

impl Line {
    /// The line in `dir`, open to everybody.
    pub(crate) fn new(
        conn: Ours,
        dir: Result<ZkPath, Error>,
        form: Form,
        verb: &'static str,
    ) -> Self {
        Line { conn, dir, form, acl: Acl::open(), delay: None, verb, session: Arc::default() }
    }

    /// Waits until the own node is first, and holds it.
    ///
    /// `None`: somebody is before it, and no patience.
    pub(crate) async fn stand(&self, patience: Patience) -> Result<Option<Guard>, Error> {
        let dir = self.dir.clone().map_err(|err| err.during(self.verb))?;
        let late = || self.error(ErrorKind::Timeout);
        let stood = patience.bounds(late, self.stand_in(&dir, patience)).await;
        stood.map_err(|err| told(err.during(self.verb), patience))
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
                            contender.place.keep();
                            return Err(self.waiting(&contender, patience).missing().await);
                        }
                        Standing::First => {
                            if let Some(delay) = self.delay
                                && !self.take_over(&mut contender, dir, delay, patience).await?
                            {
                                return self.turn_back(contender).await;
                            }
                            let held = held.take();
                            if let Some(proof) = self.prove(&contender, held, patience).await? {
                                return Ok(Some(self.guard(contender, proof)));
                            }
                        }
                        Standing::Behind(..) if matches!(patience, Patience::None) => {
                            return self.turn_back(contender).await;
                        }
                        Standing::Behind(name, ahead) => {
                            contender.watch();
                            // Nothing is renewed while nothing is held.
                            drop(held.take());
                            let waiting = self.waiting(&contender, patience);
                            woken = waiting.for_end_of(&dir.child(&name), ahead).await?;
                            alone = ahead == 1;
                        }
                    }
                }
                // The directory is gone, and the own node with it.
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    contender.place.keep();
                    return Err(self.waiting(&contender, patience).missing().await);
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

    /// Leaves the line. What a server does not confirm in time is done in the background.
    async fn turn_back(&self, mut contender: Contender) -> Result<Option<Guard>, Error> {
        tokio::select! {
            _ = contender.place.leave() => {}
            () = sleep(Deadline::DEFAULT) => {}
        }
        Ok(None)
    }

    /// Makes the own node, and lists the others behind it in the same flight.
    async fn enter(
        &self,
        dir: &ZkPath,
        patience: Patience,
    ) -> Result<(Contender, Result<Children, Error>), Error> {
        let by = patience.deadline();
        let long = Deadline::after(Deadline::DEFAULT);
        for round in 0..ROUNDS {
            pause::after(round, patience.remaining()).await;
            let session = self.session(dir, by, round == 0).await?;
            // What an earlier round left is removed by its own id.
            let id = names::random_id();
            let data = Bytes::from(Owner::here(&id).to_json());
            let options = CreateOptions::from(Mode::EphemeralSequential)
                .with_acl(self.acl.clone())
                .with_id(match self.form.names {
                    LockNames::Curator => names::dashed(&id),
                    _ => id.clone(),
                });
            let stem = (self.form.stem)(self.form.names, &id);
            let conn = BoundConn::new(self.conn.clone(), &session).by(by);
            let mut place = Place::ask(&conn, &session, (dir, &stem), data, &options);
            let listing = conn.children(dir);
            match place.made().await {
                Ok((path, stat)) => {
                    if !session.owns(&stat) {
                        return Err(Error::new(self.verb, dir, ErrorKind::SessionExpired));
                    }
                    let contender = Contender { conn, session, place, path, stat, ending: None };
                    return Ok((contender, listing.await));
                }
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    self.make(&conn, &session, dir).await?
                }
                // The session that was known is over, and another one not yet asked for.
                Err(err) if err.kind() == ErrorKind::SessionExpired && round == 0 => {}
                // Whatever there is of it is removed by its place, and another try has another id.
                Err(err) if err.kind() == ErrorKind::OutcomeUnknown && !long.is_past() => {}
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

    /// The session to stand in: the last one, without asking, if it `may` be and still lives.
    async fn session(
        &self,
        dir: &ZkPath,
        by: Option<Deadline>,
        may: bool,
    ) -> Result<Session, Error> {
        let known = self.known().clone();
        if let Some(session) = known.filter(|session| may && !session.state().is_over()) {
            return Ok(session);
        }
        let session = session_of(&self.conn, dir, by).await?;
        *self.known() = Some(session.clone());
        Ok(session)
    }

    fn known(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the directory: to last, if clients of another system count on it.
    async fn make(&self, conn: &dyn Conn, session: &Session, dir: &ZkPath) -> Result<(), Error> {
        let mode = match self.form.names {
            LockNames::Kazoo => Mode::Persistent,
            // Its data says who was granted last.
            _ if self.delay.is_some() => Mode::Persistent,
            _ => directory::mode(session),
        };
        directory::make(conn, dir, "", &self.acl, mode).await
    }

    async fn take_over(
        &self,
        contender: &mut Contender,
        dir: &ZkPath,
        delay: Duration,
        patience: Patience,
    ) -> Result<bool, Error> {
        let ending = contender.watch();
        let Contender { conn, session, place, path, stat, .. } = contender;
        let waiting =
            Waiting { conn, session, own: path, ending: Some(&ending), patience, verb: self.verb };
        delay::take_over(conn, dir, (path, stat), delay, &waiting, place).await
    }

    /// Proof that the session lives, and with it the own node, which has been seen: `held` if there
    /// is one, its last write if that is as young as a renewal would be, or else a check.
    ///
    /// `None`: nothing was proved; look again.
    async fn prove(
        &self,
        contender: &Contender,
        held: Option<Hold>,
        patience: Patience,
    ) -> Result<Option<Proof>, Error> {
        if let Some(hold) = held.filter(Hold::is_valid) {
            return Ok(Some(Proof::held(hold)));
        }
        let Contender { conn, session, path, .. } = contender;
        let asked = conn.clone().by(None).hold_seen(path);
        if !session.proved().plus(session.timeout() / 6).is_past() {
            return Ok(Some(Proof::asked(asked, session.valid_until())));
        }
        match asked.await {
            Ok(hold) if hold.is_valid() => Ok(Some(Proof::held(hold))),
            // It came too late to prove anything.
            Ok(_) => self.waiting(contender, patience).in_time().map(|()| None),
            Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
            Err(err) => self.waiting(contender, patience).bear(err).await.map(|()| None),
        }
    }

    fn guard(&self, mut contender: Contender, proof: Proof) -> Guard {
        let ending = contender.watch();
        let Contender { conn, session, place, path, stat, .. } = contender;
        let conn = conn.by(None);
        let token = Token::of(&session, self.form.mode, stat.czxid);
        Guard::new(Held { conn, path, session, proof, ending, token }, place)
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
}

impl Contender {
    /// Watches the own node from soon on.
    fn watch(&mut self) -> Ending {
        let ending = self.place.ending(&self.path, &self.stat);
        self.ending = Some(ending.clone());
        ending
    }
}
