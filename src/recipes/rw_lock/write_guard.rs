//! What a writer gets, and how it becomes a reader without letting go.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::read_stem;
use crate::conn::bound::BoundConn;
use crate::conn::{ConnExt, Pending};
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{Acl, CreateOptions, Mode, Stat, Version};
use crate::path::ZkPath;
use crate::recipes::ending::Ending;
use crate::recipes::guard::{Guard, Released};
use crate::recipes::held::{Held, loss_error};
use crate::recipes::names::{self, ContenderName, LockMode, LockNames};
use crate::recipes::ours::Ours;
use crate::recipes::owner::Owner;
use crate::recipes::place::Place;
use crate::recipes::proof::Proof;
use crate::recipes::token::Token;
use crate::recipes::wait::{Patience, Waiting};
use crate::request::{Multi, MultiReply};

/// What errors call it.
const VERB: &str = "downgrade";

/// What a writer of an [`RwLock`](super::RwLock) holds: a [`Guard`] that can become a reader's.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::{RwLock, with};
/// let lock = RwLock::new(Arc::new(MemoryConn::new()), "/app/table");
/// let writes = lock.write().await?;
/// assert!(writes.is_valid());
/// with(writes.into(), async { /* alone */ }).await?;
/// # Ok(()) }
/// ```
///
/// Dropping it releases in the background, without a wait.
#[must_use = "dropping it releases what is held"]
pub struct WriteGuard {
    guard: Guard,
    names: LockNames,
    acl: Vec<Acl>,
}

/// The node of a reader who was the writer until now.
struct Successor<'a> {
    writer: &'a Held,
    dir: ZkPath,
    path: ZkPath,
    owner: Owner,
    data: Bytes,
    options: CreateOptions,
}

impl WriteGuard {
    pub(super) fn new(guard: Guard, names: LockNames, acl: Vec<Acl>) -> Self {
        WriteGuard { guard, names, acl }
    }

    /// Goes on as a reader, in the same place and without a moment in which somebody else could
    /// write; readers who wait behind it come in.
    ///
    /// The [token](Guard::token) has the transaction of the first one, and shares: a resource that
    /// has seen it refuses it only for a writer who came later.
    ///
    /// # Errors
    ///
    /// `Revoked` or `SessionExpired` when it was lost; `NoAuth` and the like when a reader's node may
    /// not be made. Then nothing is held any more. A server that does not answer is waited for as
    /// long as the session may live.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases in the background, whichever of the two is held by then.
    pub async fn downgrade(self) -> Result<Guard, Error> {
        let WriteGuard { guard, names, acl } = self;
        let (writer, mut place) = guard.into_parts();
        if let Some(loss) = writer.loss() {
            return Err(loss_error(VERB, &writer.path, loss));
        }
        let successor = Successor::of(&writer, names, acl)?;
        let reader = successor.replace().await.map_err(|err| err.during(VERB))?;
        // Its node went in the same transaction.
        place.keep();
        successor.hold(reader).await.map_err(|err| err.during(VERB))
    }

    /// Gives the lock back, as [`Guard::release`] does.
    ///
    /// # Cancel safety
    ///
    /// The release goes on in the background when the future is dropped.
    pub async fn release(self) -> Released {
        self.guard.release().await
    }
}

impl<'a> Successor<'a> {
    fn of(writer: &'a Held, names: LockNames, acl: Vec<Acl>) -> Result<Self, Error> {
        let id = names::random_id();
        let named = ContenderName::parse(writer.path.name());
        let (Some(dir), Some(named)) = (writer.path.parent(), named) else {
            return Err(Error::new(VERB, &writer.path, ErrorKind::Unexpected));
        };
        let stem = read_stem(names, &id);
        let path = dir.child(&format!("{stem}{:010}", named.sequence));
        let owner = Owner { granted: writer.token.zxid(), ..Owner::here(&id) };
        let known_by = match names {
            LockNames::Curator => names::dashed(&id),
            _ => id,
        };
        let options = CreateOptions::from(Mode::Ephemeral).with_acl(acl).with_id(known_by);
        let data = owner.to_json().into();
        Ok(Successor { writer, dir, path, owner, data, options })
    }

    fn conn(&self) -> &BoundConn<Ours> {
        &self.writer.conn
    }

    /// Puts the reader's node in the place of the writer's.
    async fn replace(&self) -> Result<Place, Error> {
        let session = &self.writer.session;
        loop {
            let asked = self.ask();
            let known = (self.data.clone(), self.owner.id.as_str());
            let mut place = Place::awaiting(self.conn(), session, &self.dir, known, asked);
            match place.made().await {
                Ok(_) => return Ok(place),
                Err(err) => match (err.kind(), err.index()) {
                    (ErrorKind::NotSent | ErrorKind::OutcomeUnknown, _) => {}
                    // Somebody deleted it, or an earlier try did, which was lost.
                    (ErrorKind::NoNode, Some(0)) => {}
                    _ => return Err(err),
                },
            }
            // Until it is known, the place looks after what may be there.
            let found = self.look().await?;
            place.keep();
            if let Some(stat) = found {
                return Ok(Place::taken_over(self.conn(), session, self.path.clone(), stat));
            }
        }
    }

    /// Asks for the exchange, and behind it for the facts of the new node: servers before 3.8.2 do
    /// not tell them in a multi.
    fn ask(&self) -> Pending<(ZkPath, Stat)> {
        let exchange = Multi::new().delete(&self.writer.path, Version::Any).create(
            &self.path,
            &self.data,
            &self.options,
        );
        let written = self.conn().multi(exchange);
        let read = self.conn().exists(&self.path);
        let path = self.path.clone();
        Pending::new(async move {
            let told = written.await?.into_iter().find_map(|reply| match reply {
                MultiReply::Created { stat, .. } => stat,
                _ => None,
            });
            let stat = match told {
                Some(stat) => Some(stat),
                None => read.await.ok().flatten(),
            };
            // Who knows that it was made, and not when, looks again.
            let unseen = || Error::new(VERB, &path, ErrorKind::OutcomeUnknown);
            stat.map(|stat| (path.clone(), stat)).ok_or_else(unseen)
        })
    }

    /// Whether the reader's node is there; if not, the writer's is.
    async fn look(&self) -> Result<Option<Stat>, Error> {
        loop {
            // What was sent before is carried out before this, or never.
            let synced = self.conn().sync(&self.dir);
            let (reader, writer) =
                (self.conn().exists(&self.path), self.conn().exists(&self.writer.path));
            let seen = async { synced.await.and(Ok((reader.await?, writer.await?))) };
            match seen.await {
                Ok((Some(stat), _)) => return Ok(Some(stat)),
                Ok((None, Some(_))) => return Ok(None),
                Ok((None, None)) => return Err(loss_error(VERB, &self.path, Loss::Deleted)),
                Err(err) => self.waiting(&self.writer.path, None).bear(err).await?,
            }
        }
    }

    /// Proves that the reader's node is there.
    async fn hold(&self, mut place: Place) -> Result<Guard, Error> {
        let (path, stat) = place.made().await?;
        let (conn, session) = (self.conn().clone(), self.writer.session.clone());
        let ending = place.ending(&path, &stat);
        let proof = Proof::held(self.waiting(&path, Some(&ending)).hold().await?);
        let first = &self.writer.token;
        let token = Token::new(first.cell(), first.epoch(), LockMode::Shared, first.zxid());
        Ok(Guard::new(Held { conn, path, session, proof, ending, token }, place))
    }

    fn waiting<'w>(&'w self, own: &'w ZkPath, ending: Option<&'w Ending>) -> Waiting<'w> {
        let session = &self.writer.session;
        let (conn, patience) = (self.conn(), Patience::Endless);
        Waiting { conn, session, own, ending, patience, verb: VERB }
    }
}

impl Deref for WriteGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

impl From<WriteGuard> for Guard {
    fn from(writes: WriteGuard) -> Guard {
        writes.guard
    }
}

impl fmt::Debug for WriteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteGuard").field(&self.guard).finish()
    }
}
