//! A node of our own among others': made, known again, and removed on every way out.
//!
//! ```text
//!            reply                leave                done
//!   asked ─────────▶ made ──────────────▶ leaving ─────────▶ gone
//!     │ drop           │ drop                │ drop            ▲
//!     └────────────────┴──────── keeper ─────┴─────────────────┘
//! ```
//!
//! Whoever drops a place in whatever state leaves the rest to the keeper, a thread that tries for
//! as long as the session lives: until the reply to the creation is there, and then until the node
//! is gone. A reply that never comes is looked up by the id that the node carries.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::ending::Ending;
use super::ours::Ours;
use super::passing::{is_over, may_stand};
use crate::background::{KEEPER, sleep};
use crate::conn::bound::BoundConn;
use crate::conn::{ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{CreateOptions, Node, Stat, Version};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::request::{Multi, Read, ReadReply};
use crate::session::{Session, SessionState};

/// The pauses behind failed tries to remove a node.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// An own node, from when it is asked for until it is removed.
#[derive(Debug)]
pub(crate) struct Place {
    way: Way,
    state: State,
    /// What tells of the node's end.
    ending: Option<Ending>,
}

/// How the node is reached, and known.
#[derive(Clone, Debug)]
struct Way {
    conn: BoundConn<Ours>,
    session: Session,
    dir: ZkPath,
    /// What only the own node holds.
    data: Bytes,
    id: Arc<str>,
    /// Where the node is, if that is known before it is made.
    at: Option<ZkPath>,
    /// What to write in the transaction that removes the node.
    word: Option<Word>,
    /// Told when the node may not be removed.
    denied: Arc<Notify>,
}

/// What is written as the own node is removed.
#[derive(Clone, Debug)]
enum Word {
    /// New data for a node.
    Set(ZkPath, Bytes),
    /// A new node, until then.
    Create(ZkPath, Bytes, CreateOptions, Deadline),
}

#[derive(Debug)]
enum State {
    Asked(Pending<(ZkPath, Stat)>),
    Made(ZkPath, Stat),
    Leaving(ZkPath, Stat, Pending<()>),
    Gone,
}

/// What became of a node that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// By us.
    ByUs,
    /// It was gone, or had never been.
    Absent,
    /// With its session.
    WithSession,
}

impl Place {
    /// Asks for a node below `dir` whose name begins with `stem`. The request is queued before this
    /// returns. It is known by `data`, which no other node of the session has there, or by the id in
    /// its name.
    pub(crate) fn ask(
        conn: &BoundConn<Ours>,
        session: &Session,
        (dir, stem): (&ZkPath, &str),
        data: Bytes,
        options: &CreateOptions,
    ) -> Self {
        let asked = conn.create(dir.child(stem), &data, options);
        let id = options.id.as_deref().unwrap_or_default();
        let mut place = Place::awaiting(conn, session, dir, (data, id), asked);
        place.way.at = (!options.mode.is_sequential()).then(|| dir.child(stem));
        place
    }

    /// A place for which `asked` stands already: for a node below `dir` that is known by its data or
    /// by the id in its name.
    pub(crate) fn awaiting(
        conn: &BoundConn<Ours>,
        session: &Session,
        dir: &ZkPath,
        (data, id): (Bytes, &str),
        asked: Pending<(ZkPath, Stat)>,
    ) -> Self {
        let (conn, id) = (conn.clone().by(None), id.replace('-', "").into());
        let way = Way {
            conn,
            session: session.clone(),
            dir: dir.clone(),
            data,
            id,
            at: None,
            word: None,
            denied: Arc::default(),
        };
        Place { way, state: State::Asked(asked), ending: None }
    }

    /// A place that somebody else made for us.
    pub(crate) fn taken_over(
        conn: &BoundConn<Ours>,
        session: &Session,
        path: ZkPath,
        stat: Stat,
    ) -> Self {
        let conn = conn.clone().by(None);
        let dir = path.parent().unwrap_or_else(ZkPath::root);
        let (data, id, at) = (Bytes::new(), Arc::default(), Some(path.clone()));
        let (word, denied) = (None, Arc::default());
        let way = Way { conn, session: session.clone(), dir, data, id, at, word, denied };
        Place { way, state: State::Made(path, stat), ending: None }
    }

    /// A node that may be there or not: the reply to its creation was lost with `err`.
    pub(crate) fn doubtful(
        conn: &BoundConn<Ours>,
        session: &Session,
        path: &ZkPath,
        data: Bytes,
        err: Error,
    ) -> Self {
        let conn = conn.clone().by(None);
        let (dir, id) = (path.parent().unwrap_or_else(ZkPath::root), Arc::default());
        let at = Some(path.clone());
        let (word, denied) = (None, Arc::default());
        let way = Way { conn, session: session.clone(), dir, data, id, at, word, denied };
        Place { way, state: State::Asked(Pending::ready(Err(err))), ending: None }
    }

    /// Waits until the node is there.
    ///
    /// # Errors
    ///
    /// Of the creation. If it may have been applied, dropping the place looks for the node.
    ///
    /// # Cancel safety
    ///
    /// A later call waits on.
    pub(crate) async fn made(&mut self) -> Result<(ZkPath, Stat), Error> {
        if let State::Asked(asked) = &mut self.state {
            match asked.await {
                Ok((path, stat)) => self.state = State::Made(path, stat),
                Err(err) => {
                    // What may be there after all is looked for when this is dropped.
                    let lost = Pending::ready(Err(err.clone()));
                    self.state = State::Asked(lost);
                    return Err(err);
                }
            }
        }
        match &self.state {
            State::Made(path, stat) | State::Leaving(path, stat, _) => Ok((path.clone(), *stat)),
            _ => Err(Error::new("create", &self.way.dir, ErrorKind::NoNode)),
        }
    }

    /// Looks for the node behind a lost reply to its creation; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Of the look.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn found(&mut self) -> Result<Option<(ZkPath, Stat)>, Error> {
        let found = self.way.find(None, 0).await?;
        if let Some((path, stat)) = &found {
            self.state = State::Made(path.clone(), *stat);
        }
        Ok(found)
    }

    /// What tells of the end of the node, which is at `path`.
    pub(crate) fn ending(&mut self, path: &ZkPath, stat: &Stat) -> Ending {
        let Way { conn, session, .. } = &self.way;
        let watch = || Ending::of(conn.clone(), path.clone(), stat.czxid, session.timeout() / 6);
        self.ending.get_or_insert_with(watch).clone()
    }

    /// Removes the node, and says how it went.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it.
    pub(crate) async fn leave(&mut self) -> Removed {
        self.start_leaving();
        if let State::Leaving(_, _, leaving) = &mut self.state {
            let left = leaving.await;
            let (path, stat) = match mem::replace(&mut self.state, State::Gone) {
                State::Leaving(path, stat, _) => (path, stat),
                _ => return Removed::Absent,
            };
            if let Some(removed) = removed(&left) {
                return removed;
            }
            self.state = State::Leaving(path, stat, Pending::ready(left));
        }
        let (tell, told) = oneshot::channel();
        self.hand_over(Some(tell));
        // A keeper that went away without a word could not be started: the session's end is left.
        told.await.unwrap_or(Removed::WithSession)
    }

    /// Waits for word that the node may not be removed. Whoever leaves tries on all the same.
    pub(crate) fn denied(&self) -> impl Future<Output = ()> + use<> {
        let denied = self.way.denied.clone();
        async move { denied.notified().await }
    }

    /// Writes `data` to the node at `path` in the transaction that removes the own one.
    pub(crate) fn leave_word(&mut self, path: &ZkPath, data: Vec<u8>) {
        self.way.word = Some(Word::Set(path.clone(), data.into()));
    }

    /// Creates a node in the transaction that removes the own one, so it is created at most once; and
    /// none that is sent later than `by`.
    pub(crate) fn leave_node(
        &mut self,
        path: ZkPath,
        data: Vec<u8>,
        options: CreateOptions,
        by: Deadline,
    ) {
        self.way.word = Some(Word::Create(path, data.into(), options, by));
    }

    /// Hands the node on to whoever has the new place.
    pub(crate) fn take(&mut self) -> Place {
        let state = mem::replace(&mut self.state, State::Gone);
        Place { way: self.way.clone(), state, ending: self.ending.take() }
    }

    /// Leaves no word: it would not be true.
    pub(crate) fn forget_word(&mut self) {
        self.way.word = None;
    }

    /// Forgets the node: it stays.
    pub(crate) fn keep(&mut self) {
        self.state = State::Gone;
    }

    fn start_leaving(&mut self) {
        match mem::replace(&mut self.state, State::Gone) {
            // By now there may be another's node of the same name.
            State::Made(..) if self.is_known_to_be_gone() => {}
            // While no server answers, nobody tells what happens to it: the keeper looks first.
            State::Made(path, stat) if self.way.session.state() != SessionState::Connected => {
                self.state = State::Made(path, stat);
            }
            State::Made(path, stat) => {
                let leaving = self.way.delete(&path);
                self.state = State::Leaving(path, stat, leaving);
            }
            other => self.state = other,
        }
    }

    fn is_known_to_be_gone(&self) -> bool {
        let told = self.ending.as_ref().and_then(Ending::told);
        told == Some(Loss::Deleted)
    }

    /// Leaves the rest to the keeper.
    fn hand_over(&mut self, tell: Option<oneshot::Sender<Removed>>) {
        self.start_leaving();
        let state = mem::replace(&mut self.state, State::Gone);
        if matches!(state, State::Gone) {
            return;
        }
        let way = self.way.clone();
        let removal = async move {
            let removed = way.remove(state).await;
            if let Some(tell) = tell {
                // Whoever waited may have gone.
                let _ = tell.send(removed);
            }
        };
        if let Err(why) = KEEPER.spawn(removal) {
            warn!(target: "zkcells::recipes", why, "an own node stays until its session ends");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hand_over(None);
    }
}

/// What became of the node by the answer to its deletion; `None` if that does not say.
fn removed(answer: &Result<(), Error>) -> Option<Removed> {
    match answer {
        Ok(()) => Some(Removed::ByUs),
        Err(err) => match err.kind() {
            ErrorKind::NoNode => Some(Removed::Absent),
            kind if is_over(kind) => Some(Removed::WithSession),
            _ => None,
        },
    }
}

impl Way {
    fn delete(&self, path: &ZkPath) -> Pending<()> {
        let last = Multi::new().delete(path, Version::Any);
        match &self.word {
            Some(Word::Set(at, data)) => {
                self.conn.multi(last.set(at, data, Version::Any)).and_then(|_| Ok(()))
            }
            Some(Word::Create(at, data, options, by)) if !by.is_past() => {
                let conn = self.conn.clone().by(Some(*by));
                conn.multi(last.create(at, data, options)).and_then(|_| Ok(()))
            }
            None | Some(Word::Create(..)) => self.conn.delete(path, Version::Any),
        }
    }

    /// The answer to the creation, unless the connection breaks before. Nobody waits for the node any
    /// more, so it is not asked for again: what is not sent yet is withdrawn.
    async fn answered(
        &self,
        asked: Pending<(ZkPath, Stat)>,
    ) -> Option<Result<(ZkPath, Stat), Error>> {
        tokio::select! {
            biased;
            answer = asked => Some(answer),
            () = self.session.interrupted() => None,
        }
    }

    async fn remove(mut self, state: State) -> Removed {
        let (mut path, mut czxid, mut leaving) = match state {
            State::Made(path, stat) => (Some(path), stat.czxid, None),
            State::Leaving(path, stat, leaving) => (Some(path), stat.czxid, Some(leaving)),
            State::Asked(asked) => match self.answered(asked).await {
                Some(Ok((path, stat))) => (Some(path), stat.czxid, None),
                Some(Err(err)) if may_stand(err.kind()) => (None, 0, None),
                None => (None, 0, None),
                Some(Err(err)) if is_over(err.kind()) => return Removed::WithSession,
                // Refused, or never sent.
                Some(Err(_)) => return Removed::Absent,
            },
            State::Gone => return Removed::Absent,
        };
        let (mut tried, mut warned) = (false, false);
        let mut pauses = PAUSES;
        loop {
            let answer = match leaving.take() {
                Some(leaving) => {
                    tried = true;
                    leaving.await
                }
                None => match self.find(path.as_ref(), czxid).await {
                    // Its name may be another's by now, so it is deleted only where it was seen.
                    Ok(Some((found, stat))) => {
                        leaving = Some(self.delete(&found));
                        (path, czxid) = (Some(found), stat.czxid);
                        continue;
                    }
                    // A try whose reply was lost did it.
                    Ok(None) if tried => return Removed::ByUs,
                    Ok(None) => return Removed::Absent,
                    Err(err) => Err(err),
                },
            };
            if let Some(removed) = removed(&answer) {
                return removed;
            }
            if let Err(err) = &answer
                && err.index() == Some(1)
                && matches!(self.word, Some(Word::Create(..)))
            {
                // Refused for good, or nearly: the own node keeps nobody waiting for that.
                warn!(target: "zkcells::recipes", reason = %err, cell = self.session.cell(),
                    "left without a word");
                self.word = None;
                leaving = path.as_ref().map(|path| self.delete(path));
                continue;
            }
            if self.session.state().is_over() {
                return Removed::WithSession;
            }
            if let Err(err) = &answer
                && err.kind() == ErrorKind::NoAuth
                && !std::mem::replace(&mut warned, true)
            {
                self.denied.notify_one();
                warn!(target: "zkcells::recipes", reason = %err.kind(), cell = self.session.cell(),
                    "an own node may not be removed; it stays until its session ends");
            }
            tokio::select! {
                () = sleep(pauses.failed()) => {}
                _ = self.session.lost() => return Removed::WithSession,
            }
        }
    }

    /// The own node as it is now: at `path`, or wherever it carries the id.
    async fn find(
        &self,
        path: Option<&ZkPath>,
        czxid: i64,
    ) -> Result<Option<(ZkPath, Stat)>, Error> {
        if let Some(path) = path {
            let stat = self.conn.exists(path).await?;
            return Ok(stat.filter(|stat| stat.czxid == czxid).map(|stat| (path.clone(), stat)));
        }
        // What an earlier connection of the session sent is applied before this, or never.
        let synced = self.conn.sync(&self.dir);
        if let Some(path) = &self.at {
            let read = self.conn.get(path);
            synced.await?;
            return match read.await {
                Ok(node) => Ok(self.is_ours(&node).then(|| (path.clone(), node.stat))),
                Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
                Err(err) => Err(err),
            };
        }
        let listed = self.conn.children(&self.dir);
        synced.await?;
        let names = match listed.await {
            Ok(children) => children.names,
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
            Err(err) => return Err(err),
        };
        // A name tells, also of a node that may not be read.
        let named =
            |name: &&String| !self.id.is_empty() && name.replace('-', "").contains(&*self.id);
        if let Some(name) = names.iter().find(named) {
            let path = self.dir.child(name);
            let stat = self.conn.exists(&path).await?;
            return Ok(stat.filter(|stat| self.session.owns(stat)).map(|stat| (path, stat)));
        }
        let paths: Vec<ZkPath> = names.iter().map(|name| self.dir.child(name)).collect();
        let found = self.conn.read_many(paths.iter().cloned().map(Read::Get)).await?;
        Ok(paths.into_iter().zip(found).find_map(|(path, found)| match found {
            Ok(ReadReply::Node(node)) if self.is_ours(&node) => Some((path, node.stat)),
            _ => None,
        }))
    }

    fn is_ours(&self, node: &Node) -> bool {
        self.session.owns(&node.stat) && node.data == self.data
    }
}
