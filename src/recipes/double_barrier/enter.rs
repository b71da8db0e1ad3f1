//! The way in: an own node, and looks at the others until `ready` is made for it.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::exit::Inside;
use super::round::{Begun, Card, Ready, read_ready};
use super::{DoubleBarrier, READY, VERB};
use crate::background::sleep;
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Children, CreateOptions, Mode, Stat, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::recipes::directory;
use crate::recipes::ending::Ending;
use crate::recipes::guard::Guard;
use crate::recipes::held::{Held, loss_error};
use crate::recipes::look::{self, Hint};
use crate::recipes::names::{self, LockMode};
use crate::recipes::ours::Ours;
use crate::recipes::owner::Owner;
use crate::recipes::place::{Place, Removed};
use crate::recipes::proof::Proof;
use crate::recipes::token::Token;
use crate::recipes::wait::{Patience, Waiting, recheck};
use crate::request::Multi;
use crate::session::Session;
use crate::watch::EventKind;

/// How often a directory that others delete is made again.
const ROUNDS: u32 = 10;
/// How long a node of the own session may take to be removed.
const REMOVAL: Duration = Duration::from_secs(1);

/// A party on its way in, with its node.
pub(super) struct Entrant<'a> {
    pub(super) barrier: &'a DoubleBarrier,
    pub(super) dir: &'a ZkPath,
    /// How many there were at the last look.
    pub(super) seen: &'a AtomicUsize,
    pub(super) conn: BoundConn<Ours>,
    session: Session,
    place: Place,
    own: ZkPath,
    pub(super) stat: Stat,
    ending: Ending,
    /// The random id of this attempt.
    pub(super) id: String,
    /// What the directory was like at the first look.
    pub(super) first: Option<Children>,
    /// Whether all who were there first are known to take the same number: they stay so.
    pub(super) agreed: bool,
    /// Whether `ready` has been seen to come since the own node was made.
    pub(super) let_in: bool,
    /// Whether the directory may be written, as far as is known.
    pub(super) may_write: bool,
    /// Whether nothing was told for long, so that whoever is to make `ready` may be gone.
    pub(super) is_overdue: bool,
    /// Whether the own node may have been taken away, to make way: nobody could tell.
    makes_way: bool,
}

/// What an entrant sees at once.
pub(super) struct View {
    pub(super) ready: Option<(Stat, Option<Ready>)>,
    /// Of the change of `ready`.
    changed: Hint,
    pub(super) children: Children,
}

/// What is to be done, by a view.
pub(super) enum Verdict {
    Inside(Begun),
    /// Members of an earlier round are there, at this version of the directory.
    MakeWay(i32),
    LookAgain,
    Wait,
}

/// What has come of a look.
enum Looked {
    Inside(Begun),
    /// The own node has been taken away for an earlier round.
    MadeWay,
    /// Nothing yet.
    Nothing,
}

impl<'a> Entrant<'a> {
    pub(super) async fn new(
        barrier: &'a DoubleBarrier,
        dir: &'a ZkPath,
        own: &ZkPath,
        seen: &'a AtomicUsize,
    ) -> Result<Self, Error> {
        let id = names::random_id();
        let card = Card { owner: Owner::here(&id), parties: barrier.parties };
        let options =
            CreateOptions::from(Mode::Ephemeral).with_acl(barrier.acl.clone()).with_id(id.as_str());
        let mut waited = false;
        for round in 0..ROUNDS {
            pause::after(round, Duration::MAX).await;
            let session = barrier.conn.session(dir).await?;
            let conn = BoundConn::new(barrier.conn.clone(), &session);
            let (stem, data) = (barrier.id.as_str(), card.to_json().into());
            let mut place = Place::ask(&conn, &session, (dir, stem), data, &options);
            let err = match place.made().await {
                Ok((own, stat)) if session.owns(&stat) => {
                    let ending = place.ending(&own, &stat);
                    let (agreed, let_in, is_overdue) = (false, false, false);
                    let (may_write, makes_way) = (true, false);
                    return Ok(Entrant {
                        barrier,
                        dir,
                        seen,
                        conn,
                        session,
                        place,
                        own,
                        stat,
                        ending,
                        id,
                        first: None,
                        agreed,
                        let_in,
                        is_overdue,
                        may_write,
                        makes_way,
                    });
                }
                Ok(_) => return Err(Error::new(VERB, own, ErrorKind::SessionExpired)),
                Err(err) => err,
            };
            match err.kind() {
                ErrorKind::NoNode => {
                    let mode = directory::mode(&session);
                    directory::make(&conn, dir, "", &barrier.acl, mode).await?;
                }
                // Whatever there is of it goes before there is another.
                ErrorKind::OutcomeUnknown => {
                    if place.leave().await == Removed::WithSession {
                        return Err(Error::new(VERB, own, ErrorKind::SessionExpired));
                    }
                }
                // It may be ours, from an attempt that was dropped.
                ErrorKind::NodeExists if !waited => {
                    waited = true;
                    if !is_left(&conn, &session, own).await? {
                        return Err(taken(&conn, err).await);
                    }
                }
                ErrorKind::NodeExists => return Err(taken(&conn, err).await),
                _ => return Err(err),
            }
        }
        Err(Error::new(VERB, dir, ErrorKind::Contended).with_detail("it keeps being deleted"))
    }

    /// Waits until `ready` is made for the own node; `None` while others are inside, and then the own
    /// node is gone.
    pub(super) async fn enter(mut self) -> Result<Option<Inside>, Error> {
        match self.come_in().await {
            Ok(come) => Ok(come.map(|(begun, hold)| self.inside(begun, hold))),
            Err(err) if err.kind() == ErrorKind::Revoked => {
                // What has its name by now is another's.
                self.place.keep();
                // Word of its end may come before word of the end of its session.
                let err = self.waiting().missing().await;
                let made_way = self.makes_way && err.kind() == ErrorKind::Revoked;
                if made_way { Ok(None) } else { Err(err) }
            }
            Err(err) => Err(err),
        }
    }

    /// Looks until the own node is in a round, and proves then that it is there still.
    async fn come_in(&mut self) -> Result<Option<(Begun, Hold)>, Error> {
        loop {
            match self.look().await {
                Ok(Looked::Inside(begun)) => {
                    let hold = self.waiting().hold().await?;
                    return Ok(Some((begun, hold)));
                }
                Ok(Looked::MadeWay) => return Ok(None),
                Ok(Looked::Nothing) => self.waiting().in_time()?,
                Err(err) => self.waiting().bear(err).await?,
            }
        }
    }

    async fn look(&mut self) -> Result<Looked, Error> {
        if self.let_in
            && let Some(begun) = self.begun().await?
        {
            return Ok(Looked::Inside(begun));
        }
        let view = self.view().await?;
        if !view.children.names.contains(&self.barrier.id) {
            return Err(self.revoked());
        }
        self.makes_way = false;
        self.first.get_or_insert_with(|| view.children.clone());
        match self.judge(&view).await? {
            Verdict::Inside(begun) => Ok(Looked::Inside(begun)),
            Verdict::MakeWay(version) => self.make_way(version).await,
            Verdict::LookAgain => Ok(Looked::Nothing),
            Verdict::Wait => {
                self.wait(view).await?;
                Ok(Looked::Nothing)
            }
        }
    }

    /// Takes the own node away while the round of others is on, and says whether that was so: once it
    /// is over, the own node may have been counted for the next one. Whoever ends a round and leaves
    /// the directory writes it.
    async fn make_way(&mut self, version: i32) -> Result<Looked, Error> {
        let removal = Multi::new()
            .check(self.dir, Version::Exact(version))
            .check(self.dir.child(READY), Version::Any)
            .delete(&self.own, Version::Any);
        match self.conn.multi(removal).await {
            Ok(_) => {
                self.place.keep();
                Ok(Looked::MadeWay)
            }
            Err(err) => match err.kind() {
                ErrorKind::BadVersion | ErrorKind::NoNode => Ok(Looked::Nothing),
                ErrorKind::OutcomeUnknown => {
                    self.makes_way = true;
                    Ok(Looked::Nothing)
                }
                _ => Err(err),
            },
        }
    }

    /// Looks at all that counts.
    async fn view(&self) -> Result<View, Error> {
        // A removal of the own node whose reply was lost is carried out before this, or never.
        let synced = self.makes_way.then(|| self.conn.sync(self.dir));
        let stat = look::exists(&self.conn, self.dir.child(READY));
        let listed = self.conn.children(self.dir);
        if let Some(synced) = synced {
            synced.await?;
        }
        let (stat, changed) = stat.await?;
        // Whoever counts by a list takes one that is not older than this.
        let listed = match changed {
            Hint::Watch(_) => listed,
            Hint::Later => self.conn.children(self.dir),
        };
        let children = listed.await.map_err(|err| self.deleted(err))?;
        let ready = match stat {
            None => None,
            Some(stat) => read_ready(&self.conn, self.dir, stat).await?,
        };
        Ok(View { ready, changed, children })
    }

    /// A directory that is gone took the own node along.
    pub(super) fn deleted(&self, err: Error) -> Error {
        match err.kind() {
            ErrorKind::NoNode => self.revoked(),
            _ => err,
        }
    }

    fn revoked(&self) -> Error {
        Error::new(VERB, &self.own, ErrorKind::Revoked)
    }

    /// Waits until there may be something new.
    async fn wait(&mut self, view: View) -> Result<(), Error> {
        // One looks at each change, in case the last to come dies before it made `ready`.
        let looks = view.children.names.first() == Some(&self.barrier.id);
        let watched = looks.then(|| look::children(&self.conn, self.dir.clone()));
        let listed = &view.children;
        let listed_anew = async {
            match watched {
                None => std::future::pending().await,
                Some(watched) => match watched.await {
                    Ok((now, changed)) if now.stat.cversion == listed.stat.cversion => {
                        changed.told().await;
                    }
                    // It has changed meanwhile, or the next look will tell.
                    _ => {}
                },
            }
        };
        tokio::select! {
            biased;
            loss = self.ending.wait() => return Err(loss_error(VERB, &self.own, loss)),
            _ = self.session.lost() => {
                return Err(Error::new(VERB, &self.own, ErrorKind::SessionExpired));
            }
            // It came behind the own node, even if it is gone again.
            told = view.changed.told() => self.let_in |= told == Some(EventKind::Created),
            () = listed_anew => {}
            () = sleep(recheck(&self.session)) => self.is_overdue = true,
        }
        Ok(())
    }

    /// The round, if `ready` has come and says that it was made for the own node: nobody need be
    /// listed then. Everything else is told by a whole look.
    async fn begun(&self) -> Result<Option<Begun>, Error> {
        let Some((stat, Some(ready))) = read_ready(&self.conn, self.dir, Stat::default()).await?
        else {
            return Ok(None);
        };
        let is_ours = stat.czxid > self.stat.czxid
            && ready.parties == self.barrier.parties
            && ready.members.contains(&self.barrier.id);
        Ok(is_ours.then_some(Begun { by: Some(stat.czxid), members: Some(ready.members) }))
    }

    fn inside(self, begun: Begun, hold: Hold) -> Inside {
        let zxid = begun.by.unwrap_or(self.stat.czxid);
        let token = Token::of(&self.session, LockMode::Shared, zxid);
        let Entrant { barrier, conn, session, place, own: path, ending, .. } = self;
        let proof = Proof::held(hold);
        let guard = Guard::new(Held { conn, path, session, proof, ending, token }, place);
        Inside::new(guard, barrier.clone(), begun)
    }

    fn waiting(&self) -> Waiting<'_> {
        Waiting {
            conn: &self.conn,
            session: &self.session,
            own: &self.own,
            ending: Some(&self.ending),
            patience: Patience::Endless,
            verb: VERB,
        }
    }
}

/// Whether a node of the own session goes before long.
async fn is_left(conn: &BoundConn<Ours>, session: &Session, own: &ZkPath) -> Result<bool, Error> {
    match look::exists(conn, own.clone()).await? {
        (None, _) => Ok(true),
        (Some(stat), gone) if session.owns(&stat) => tokio::select! {
            biased;
            _ = gone.told() => Ok(true),
            () = sleep(REMOVAL) => Ok(false),
        },
        (Some(_), _) => Ok(false),
    }
}

/// Whoever has the id, as far as its node says.
async fn taken(conn: &dyn Conn, err: Error) -> Error {
    let owner = match conn.get(err.path()).await {
        Ok(node) => Owner::parse(&node.data),
        Err(_) => None,
    };
    match owner {
        Some(Owner { hostname, pid, .. }) => {
            err.with_detail(format!("it is that of process {pid} on {hostname}"))
        }
        None => err,
    }
}
