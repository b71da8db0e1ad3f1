//! The work behind a pid node: makes it, looks after it, makes it again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{PidNode, PidPolicy, VERB};
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::conn::bound::BoundConn;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{CreateOptions, Mode, Node, Stat, Version};
use crate::path::ZkPath;
use crate::pause::Backoff;
use crate::recipes::held::Held;
use crate::recipes::names::LockMode;
use crate::recipes::ours::Ours;
use crate::recipes::passing::is_over;
use crate::recipes::place::{Place, Removed};
use crate::recipes::proof::Proof;
use crate::recipes::token::Token;
use crate::recipes::wait::{Patience, Waiting};
use crate::request::{Multi, MultiReply};
use crate::session::Session;
use crate::tree;

/// The pause behind a failed proof.
const PAUSE: Duration = Duration::from_millis(100);
/// The pauses behind failed tries.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// How things are.
#[derive(Clone, Debug)]
pub(super) enum Now {
    Starting,
    Held(Arc<Held>),
    Away,
    Ended(End),
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Released,
    WasLost,
    Taken(Bytes),
    Failed(Error),
}

/// One node to be kept.
pub(super) struct Keeping {
    node: PidNode,
    path: ZkPath,
    now: watch::Sender<Now>,
    /// The session that made the node last, with the node.
    own: Option<(i64, Stat)>,
    /// Whether it has been there before.
    was_held: bool,
    /// Whether another's node was waited for.
    waited: bool,
    /// A node that may have been made by a write that nobody answered.
    doubt: Option<Place>,
}

/// A node that is there.
struct Kept {
    place: Place,
    held: Arc<Held>,
}

impl Keeping {
    pub(super) fn new(node: &PidNode, path: ZkPath, now: watch::Sender<Now>) -> Self {
        Keeping {
            node: node.clone(),
            path,
            now,
            own: None,
            was_held: false,
            waited: false,
            doubt: None,
        }
    }

    /// Keeps the node until `stop`, or until it is to be given up.
    pub(super) async fn run(mut self, stop: oneshot::Receiver<()>) {
        // Whoever is dropped stops as well.
        let mut stop = Box::pin(async move { drop(stop.await) });
        let mut kept: Option<Kept> = None;
        let end = loop {
            let made = tokio::select! {
                biased;
                () = &mut stop => break self.leave(kept).await,
                made = self.make(kept.take()) => made,
            };
            let there = match made {
                Ok(there) => there,
                Err(end) => break end,
            };
            self.was_held = true;
            self.now.send_replace(Now::Held(there.held.clone()));
            let mut there = there;
            let loss = tokio::select! {
                biased;
                () = &mut stop => break self.leave(Some(there)).await,
                loss = there.held.lost() => loss,
            };
            if loss == Loss::Deleted {
                // By now there may be another's, or a new one of ours.
                there.place.keep();
            }
            self.now.send_replace(Now::Away);
            // What is not proved may still be there; else nothing of it is left to remove.
            kept = (loss == Loss::Unproven).then_some(there);
            if loss == Loss::SessionEnded {
                tokio::select! {
                    () = sleep(self.node.jitter.mul_f64(fastrand::f64())) => {}
                    () = &mut stop => break End::WasLost,
                }
            }
        };
        self.now.send_replace(Now::Ended(end));
    }

    async fn leave(&self, kept: Option<Kept>) -> End {
        let Some(mut kept) = kept else { return End::WasLost };
        let lasted = kept.held.loss().is_none();
        match kept.place.leave().await {
            Removed::ByUs if lasted => End::Released,
            _ => End::WasLost,
        }
    }

    /// Has the node there, whatever that takes.
    async fn make(&mut self, mut kept: Option<Kept>) -> Result<Kept, End> {
        let mut pauses = PAUSES;
        loop {
            match self.try_to_make(&mut kept).await {
                Ok(Some(there)) => return Ok(there),
                Ok(None) => {}
                Err(Trouble::End(end)) => return Err(end),
                Err(Trouble::Error(err))
                    if is_passing(err.kind())
                        && (self.was_held
                            || self.waited
                            || err.kind() == ErrorKind::SessionExpired) =>
                {
                    sleep(pauses.failed()).await;
                }
                Err(Trouble::Error(err)) => return Err(End::Failed(err.during(VERB))),
            }
        }
    }

    /// One try; `None` when something changed and it is worth another look.
    async fn try_to_make(&mut self, kept: &mut Option<Kept>) -> Result<Option<Kept>, Trouble> {
        let session = self.node.conn.session(&self.path).await?;
        let conn = BoundConn::new(self.node.conn.clone(), &session);
        let node = match conn.get(&self.path).await {
            Ok(node) => node,
            Err(err) if err.kind() == ErrorKind::NoNode => {
                kept.take();
                return self.create(&conn, &session).await;
            }
            Err(err) => return Err(err.into()),
        };
        if self.is_own(&session, &node) {
            let place = match kept.take() {
                Some(kept) => kept.place,
                None => Place::taken_over(&conn, &session, self.path.clone(), node.stat),
            };
            self.own = Some((session.id(), node.stat));
            return self.hold(conn, &session, place, node.stat).await;
        }
        if let Some(mut kept) = kept.take() {
            // Another's is there: ours is gone.
            kept.place.keep();
        }
        if self.is_former(&session, &node) {
            self.waited = true;
            self.wait_for_end(&conn, &session).await?;
            return Ok(None);
        }
        match self.node.policy {
            PidPolicy::Wait => {
                self.waited = true;
                self.wait_for_end(&conn, &session).await?;
                Ok(None)
            }
            PidPolicy::Replace if !self.was_held => self.replace(&conn, &session, &node).await,
            PidPolicy::Fail | PidPolicy::Replace => Err(Trouble::End(End::Taken(node.data))),
        }
    }

    /// Whether this is the node that was made here, in this session.
    fn is_own(&self, session: &Session, node: &Node) -> bool {
        let known =
            self.own.is_some_and(|(id, stat)| id == session.id() && stat.czxid == node.stat.czxid);
        let lost_reply = self.doubt.is_some() && node.data == self.node.contents;
        session.owns(&node.stat) && (known || lost_reply)
    }

    /// Whether this was left by an earlier session, of this process or of one before it.
    fn is_former(&self, session: &Session, node: &Node) -> bool {
        let made_here = self.own.is_some_and(|(id, _)| id == node.stat.ephemeral_owner);
        node.stat.is_ephemeral()
            && !session.owns(&node.stat)
            && (made_here || node.data == self.node.contents)
    }

    async fn wait_for_end(&self, conn: &BoundConn<Ours>, session: &Session) -> Result<(), Error> {
        let waiting = Waiting {
            conn,
            session,
            own: &self.path,
            ending: None,
            patience: Patience::Endless,
            verb: VERB,
        };
        waiting.for_end_of(&self.path, 1).await.map(drop)
    }

    fn options(&self) -> CreateOptions {
        CreateOptions::from(Mode::Ephemeral).with_acl(self.node.acl.clone())
    }

    async fn create(
        &mut self,
        conn: &BoundConn<Ours>,
        session: &Session,
    ) -> Result<Option<Kept>, Trouble> {
        let dir = self.path.parent().unwrap_or_else(ZkPath::root);
        let at = (&dir, self.path.name());
        let contents = self.node.contents.clone();
        let mut place = Place::ask(conn, session, at, contents, &self.options());
        match place.made().await {
            Ok((_, stat)) => {
                self.own = Some((session.id(), stat));
                self.hold(conn.clone(), session, place, stat).await
            }
            Err(err) if err.kind() == ErrorKind::NodeExists => Ok(None),
            Err(err) if err.kind() == ErrorKind::NoNode => {
                match tree::create_all(conn, &dir, "", Mode::Persistent).await {
                    Err(err) if err.kind() != ErrorKind::NodeExists => Err(err.into()),
                    _ => Ok(None),
                }
            }
            Err(err) if err.kind() == ErrorKind::OutcomeUnknown => {
                // The next look tells whether it is there.
                self.doubt = Some(place);
                conn.sync(&dir).await?;
                Ok(None)
            }
            Err(err) => Err(err.into()),
        }
    }

    /// Puts the own node in the place of another's, in one transaction.
    async fn replace(
        &mut self,
        conn: &BoundConn<Ours>,
        session: &Session,
        other: &Node,
    ) -> Result<Option<Kept>, Trouble> {
        let replacing = Multi::new().delete(&self.path, Version::Exact(other.stat.version)).create(
            &self.path,
            &self.node.contents,
            self.options(),
        );
        let stat = match conn.multi(replacing).await {
            Ok(replies) => replies.into_iter().find_map(|reply| match reply {
                MultiReply::Created { stat, .. } => stat,
                _ => None,
            }),
            Err(err) if matches!(err.kind(), ErrorKind::NoNode | ErrorKind::BadVersion) => {
                return Ok(None);
            }
            Err(err) if err.kind() == ErrorKind::OutcomeUnknown => None,
            Err(err) => return Err(err.into()),
        };
        let Some(stat) = stat else {
            // Servers before 3.8.2 do not tell, and a lost reply does not.
            let lost = Error::new(VERB, &self.path, ErrorKind::OutcomeUnknown);
            let contents = self.node.contents.clone();
            self.doubt = Some(Place::doubtful(conn, session, &self.path, contents, lost));
            conn.sync(&self.path).await?;
            return Ok(None);
        };
        self.own = Some((session.id(), stat));
        let place = Place::taken_over(conn, session, self.path.clone(), stat);
        self.hold(conn.clone(), session, place, stat).await
    }

    async fn hold(
        &mut self,
        conn: BoundConn<Ours>,
        session: &Session,
        mut place: Place,
        stat: Stat,
    ) -> Result<Option<Kept>, Trouble> {
        // What was in doubt is this one, or was never made.
        if let Some(mut doubt) = self.doubt.take() {
            doubt.keep();
        }
        let ending = place.ending(&self.path, &stat);
        let hold = loop {
            match conn.hold_seen(&self.path).await {
                Ok(hold) => break hold,
                Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
                // The node is there all the same.
                Err(err) if is_passing(err.kind()) && !is_over(err.kind()) => {
                    sleep(PAUSE).await;
                }
                Err(err) => return Err(err.into()),
            }
        };
        let token = Token::of(session, LockMode::Exclusive, stat.czxid);
        let (session, proof) = (session.clone(), Proof::held(hold));
        let held = Held { conn, path: self.path.clone(), session, proof, ending, token };
        Ok(Some(Kept { place, held: Arc::new(held) }))
    }
}

/// Why a try did not succeed.
enum Trouble {
    Error(Error),
    End(End),
}

impl From<Error> for Trouble {
    fn from(err: Error) -> Self {
        Trouble::Error(err)
    }
}

/// Whether another try may not meet this again.
fn is_passing(kind: ErrorKind) -> bool {
    is_over(kind) && kind != ErrorKind::Closed
        || matches!(
            kind,
            ErrorKind::NotSent
                | ErrorKind::Timeout
                | ErrorKind::ConnectionLoss
                | ErrorKind::OutcomeUnknown
                | ErrorKind::Contended
        )
}
