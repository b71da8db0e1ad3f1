//! A lock in the order of names, on a node that the caller has made.
//!
//! ```text
//! <queue>            data: who was granted last (JSON; clients of Vitess ignore it)
//! <queue>/<any>      one per contender, made by its owner, of whatever mode and name
//! ```
//!
//! Whose name sorts first among the children, byte by byte, comes next; so names decide, and a later
//! one may go before an earlier. A grant is a `multi`: the own node is there, and the queue's data,
//! as it was when it named nobody whose node still exists, names the own node from now on. So a name
//! that sorts before the holder's waits until the holder's node is gone, and the number of that
//! transaction is the token.
//!
//! Clients of Vitess neither write nor read that record: for them the first name holds. Among them
//! and these exclusion holds as long as nobody makes a name that sorts before those that are there,
//! as with sequential nodes, which is how Vitess used it.
//!
//! After Vitess's `ObtainQueueLock`.

use std::time::Duration;

use super::ending::Ending;
use super::guard::Guard;
use super::held::Held;
use super::names::LockMode;
use super::ours::Ours;
use super::passing::may_try_again;
use super::place::Place;
use super::proof::Proof;
use super::record::Record;
use super::token::Token;
use super::wait::{self, Patience, Waiting};
use crate::background::{KEEPER, sleep};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Node, Stat, Version};
use crate::path::{IntoPath, ZkPath};
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// What errors call it.
const VERB: &str = "queue_lock";
/// How often a node that was not found yet is looked for, to be removed, and the pause between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_secs(1);

/// A turn in a queue of nodes, for the node at a path.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::recipes::QueueLock;
/// use zkcells::{ConnExt, MemoryConn, Mode};
/// let conn = Arc::new(MemoryConn::new());
/// conn.create("/actions", "", Mode::Persistent).await?;
/// let (node, _) = conn.create("/actions/a-", "backup", Mode::EphemeralSequential).await?;
/// let guard = QueueLock::new(conn.clone(), &node).wait().await?;
/// assert!(guard.is_valid());
/// guard.release().await;
/// assert!(conn.exists(&node).await?.is_none());
/// # Ok(()) }
/// ```
///
/// Two waits for one node are one turn: both get it, with the same token.
///
/// The node is the lock's from the first call of a `wait` on: it is removed when the wait fails or is
/// dropped, and when the guard is released. [`turn`](Self::turn) leaves it to the caller.
#[derive(Clone, Debug)]
#[doc(alias = "ObtainQueueLock")]
pub struct QueueLock {
    conn: Ours,
    path: Result<ZkPath, Error>,
}

/// The own node, from when it was looked up.
struct Turn {
    conn: BoundConn<Ours>,
    session: Session,
    dir: ZkPath,
    path: ZkPath,
    stat: Stat,
    ending: Ending,
    place: Place,
}

/// A wait that has not found the node yet: dropped, it finds and removes it all the same.
struct LookingUp(Option<QueueLock>);

impl QueueLock {
    /// The turn of the node at `path`, which exists. Nothing is done yet.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        QueueLock { conn: Ours::new(conn), path: path.into_path() }
    }

    /// Waits for the turn of the own node, however long it takes.
    ///
    /// # Errors
    ///
    /// `NoNode` when there is no such node, `Revoked` when somebody deleted it meanwhile,
    /// `BadArguments` when it is an ephemeral node of another session, whose life cannot be proved
    /// from here; `SessionExpired`. `NoAuth` without `WRITE` on the queue. A cell that does not
    /// answer is waited for as long as the session may live.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the turn; the node is removed in the background.
    pub async fn wait(&self) -> Result<Guard, Error> {
        self.guard(Patience::Endless).await.and_then(|guard| guard.ok_or_else(|| self.late()))
    }

    /// Waits for the turn of the own node, at most for `wait` in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when it had not come by then, and those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_within(&self, wait: Duration) -> Result<Guard, Error> {
        let guard = self.guard(Patience::within(wait)).await?;
        guard.ok_or_else(|| self.late())
    }

    /// Waits for the turn of the own node unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn wait_unless(&self, stop: impl Future<Output = ()>) -> Result<Guard, Error> {
        tokio::select! {
            biased;
            guard = self.wait() => guard,
            () = stop => Err(self.late_by(ErrorKind::Cancelled)),
        }
    }

    /// Takes the turn if it has come; `None` if not, and the node is kept for another try.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As of [`wait`](Self::wait).
    pub async fn try_take(&self) -> Result<Option<Guard>, Error> {
        self.guard(Patience::None).await
    }

    /// Waits, for `wait` at most and not at all if it is zero, until the own node is granted, and
    /// leaves the node to the caller, who may have made it in another session: it holds for as long
    /// as that node is there, and nothing here looks after it.
    ///
    /// # Errors
    ///
    /// `Timeout` when it had not come by then, and those of [`wait`](Self::wait) but for
    /// `BadArguments`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the node as it is; it may have been granted.
    pub async fn turn(&self, wait: Duration) -> Result<Token, Error> {
        let patience = if wait.is_zero() { Patience::None } else { Patience::within(wait) };
        patience.bounds(|| self.late(), self.take_turn(patience)).await
    }

    async fn take_turn(&self, patience: Patience) -> Result<Token, Error> {
        let mut turn = self.look_up(patience).await?;
        turn.place.keep();
        let granted = turn.granted(patience).await.map_err(|err| wait::told(err, patience))?;
        granted.ok_or_else(|| self.late())
    }

    async fn guard(&self, patience: Patience) -> Result<Option<Guard>, Error> {
        patience.bounds(|| self.late(), self.take_guard(patience)).await
    }

    async fn take_guard(&self, patience: Patience) -> Result<Option<Guard>, Error> {
        let mut looking = LookingUp(Some(self.clone()));
        let found = self.look_up(patience).await;
        // What is not there must not be removed when it comes, nor what cannot be a turn.
        if !found.as_ref().is_err_and(|err| may_try_again(err.kind())) {
            looking.0 = None;
        }
        let mut turn = found?;
        if turn.is_another_s() {
            turn.place.keep();
            return Err(Error::new(VERB, &turn.path, ErrorKind::BadArguments).with_detail(
                "it is an ephemeral node of another session; create it by this connection",
            ));
        }
        let token = match turn.granted(patience).await {
            Ok(Some(token)) => token,
            Ok(None) => {
                turn.place.keep();
                return Ok(None);
            }
            Err(err) => {
                // It is gone; by now there may be another's of the same name.
                if err.kind() == ErrorKind::Revoked {
                    turn.place.keep();
                }
                return Err(wait::told(err, patience));
            }
        };
        let hold = turn.waiting(patience).hold().await?;
        let Turn { conn, session, path, ending, place, .. } = turn;
        let conn = conn.by(None);
        let proof = Proof::held(hold);
        Ok(Some(Guard::new(Held { conn, path, session, proof, ending, token }, place)))
    }

    async fn look_up(&self, patience: Patience) -> Result<Turn, Error> {
        let path = self.path.clone().map_err(|err| err.during(VERB))?;
        let Some(dir) = path.parent() else {
            return Err(Error::new(VERB, &path, ErrorKind::BadArguments)
                .with_detail("expected a node in a queue"));
        };
        let by = patience.deadline();
        let told = |err: Error| wait::told(err.during(VERB), patience);
        let session = wait::session(&self.conn, &path, by).await.map_err(told)?;
        let conn = BoundConn::new(self.conn.clone(), &session).by(by);
        match conn.exists(&path).await.map_err(told)? {
            Some(stat) => {
                let mut place = Place::taken_over(&conn, &session, path.clone(), stat);
                let ending = place.ending(&path, &stat);
                Ok(Turn { conn, session, dir, path, stat, ending, place })
            }
            None => Err(Error::new(VERB, &path, ErrorKind::NoNode)),
        }
    }

    fn late(&self) -> Error {
        self.late_by(ErrorKind::Timeout)
    }

    fn late_by(&self, kind: ErrorKind) -> Error {
        match &self.path {
            Ok(path) => Error::new(VERB, path, kind),
            Err(err) => err.clone().during(VERB),
        }
    }
}

/// What the queue looks like to a contender.
enum View {
    /// Nobody is before it: the record may be written in place of this one.
    First(Node),
    /// Granted already.
    Granted(Node),
    Behind(ZkPath),
    Missing,
}

impl Drop for LookingUp {
    fn drop(&mut self) {
        let Some(lock) = self.0.take() else { return };
        let removal = async move {
            for _ in 0..TRIES {
                match lock.look_up(Patience::Endless).await {
                    Ok(mut turn) if turn.is_another_s() => return turn.place.keep(),
                    Ok(mut turn) => {
                        turn.place.leave().await;
                        return;
                    }
                    // A server may answer later.
                    Err(err) if may_try_again(err.kind()) => sleep(PAUSE).await,
                    Err(_) => return,
                }
            }
        };
        // Without a thread nothing waits in the background either.
        let _ = KEEPER.spawn(removal);
    }
}

impl Turn {
    /// Whether the node lives as long as another session.
    fn is_another_s(&self) -> bool {
        self.stat.is_ephemeral() && !self.session.owns(&self.stat)
    }

    /// Waits for the grant; `None` without patience.
    async fn granted(&self, patience: Patience) -> Result<Option<Token>, Error> {
        loop {
            let next = match self.view().await {
                Ok(View::Granted(dir)) => return Ok(Some(self.token(&dir.stat))),
                Ok(View::Missing) => return Err(self.waiting(patience).missing().await),
                Ok(View::First(dir)) => {
                    self.waiting(patience).in_time()?;
                    match self.grant(&dir).await {
                        Ok(Some(token)) => return Ok(Some(token)),
                        // Somebody wrote the record.
                        Ok(None) => {}
                        Err(err) => self.waiting(patience).bear(err).await?,
                    }
                    continue;
                }
                Ok(View::Behind(_)) if matches!(patience, Patience::None) => return Ok(None),
                Ok(View::Behind(next)) => next,
                Err(err) => {
                    self.waiting(patience).bear(err).await?;
                    continue;
                }
            };
            self.waiting(patience).for_end_of(&next, 1).await?;
        }
    }

    /// Who is before us. The record is read before the list, so whoever it names is in the list
    /// unless that node is gone.
    async fn view(&self) -> Result<View, Error> {
        let read = self.conn.get(&self.dir);
        let listed = self.conn.children(&self.dir);
        let (dir, names) = (read.await?, listed.await?.names);
        let own = self.path.name();
        if !names.iter().any(|name| name == own) {
            return Ok(View::Missing);
        }
        let record = Record::of(&dir).filter(|record| !record.released);
        if record.as_ref().is_some_and(|record| record.is_of(own, &self.stat)) {
            // By a write whose reply was lost, or in an earlier wait.
            return Ok(View::Granted(dir));
        }
        // Sorted by their bytes, as connections list them.
        if let Some(before) = names.iter().take_while(|name| *name != own).last() {
            return Ok(View::Behind(self.dir.child(before)));
        }
        // Only the first waits for a holder whose name sorts behind its own, or all would be woken.
        if let Some(record) = record
            && record.holder != own
            && names.contains(&record.holder)
        {
            let holder = self.dir.child(&record.holder);
            let stat = self.conn.exists(&holder).await?;
            if stat.is_some_and(|stat| stat.czxid == record.czxid) {
                return Ok(View::Behind(holder));
            }
        }
        Ok(View::First(dir))
    }

    /// Writes the own grant down; `None` when the queue is not as it was read.
    async fn grant(&self, dir: &Node) -> Result<Option<Token>, Error> {
        let record =
            Record { holder: self.path.name().to_owned(), czxid: self.stat.czxid, released: false };
        let granting = Multi::new().check(&self.path, Version::Any).set(
            &self.dir,
            record.to_json(),
            Version::Exact(dir.stat.version),
        );
        match self.conn.multi(granting).await {
            Ok(replies) => Ok(replies.iter().find_map(|reply| match reply {
                MultiReply::Set(stat) => Some(self.token(stat)),
                _ => None,
            })),
            // The view tells what is the matter.
            Err(err) if matches!(err.kind(), ErrorKind::BadVersion | ErrorKind::NoNode) => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn token(&self, dir: &Stat) -> Token {
        Token::of(&self.session, LockMode::Exclusive, dir.mzxid)
    }

    fn waiting(&self, patience: Patience) -> Waiting<'_> {
        Waiting {
            conn: &self.conn,
            session: &self.session,
            own: &self.path,
            ending: Some(&self.ending),
            patience,
            verb: VERB,
        }
    }
}

#[cfg(test)]
mod tests;
