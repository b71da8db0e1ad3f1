//! A barrier at which all begin together, and from which all leave together.
//!
//! ```text
//! <path>          a container
//! <path>/<id>     one per member: ephemeral; its owner and how many it takes, as JSON
//! <path>/ready    while a round is on: {"parties": 3, "members": ["a", "b", "c"], "id": …}
//!
//!             n members                      exit            all others gone
//!   waiting ────────────▶ ready made: inside ──────▶ leaving ────────────────▶ out
//! ```
//!
//! **In.** Whoever is there makes `ready` when it counts n members, in one transaction that checks
//! each of them; so nobody is let in by a member that has gone. The last to come always counts n. If it
//! dies over that, the member whose name sorts first looks at each change, and all look once in a
//! session timeout. `ready` lets in those whose own node is older: it was made for them. It lists them,
//! so one too many is told. Whoever comes asks all who were there first how many it takes; if one of them
//! says another n, it is told so, and goes.
//!
//! **Before a round is over.** A `ready` that is older than the own node was made for others. As long
//! as one of these is there a newcomer takes its node away and waits, so that it holds nobody up who
//! leaves; once none is, it removes that `ready`, which a crash has left. Whoever makes `ready`, or removes
//! it and not the directory, writes the directory, as it was. A newcomer takes its node away only at the
//! version at which it has seen the old `ready`: later it may have been counted for the next round. And
//! one who hears of a `ready` that is gone again is let in only if none of ours took it away: they do that
//! when all members are out.
//!
//! **Out.** Whose name sorts first waits for the last to go, the others delete their node and wait for
//! the first; it takes its node, `ready` and the directory away at once. A member that dies goes with
//! its session. Nodes younger than `ready` are not waited for.
//!
//! Whose own node is lost while inside is told so, by the guard and by `exit`.
//!
//! Clients of zksync share a path with these; they neither store nor read what stands in the nodes, let
//! themselves in by a `ready` that a crash has left, and do not count again. So do those of Curator
//! (`DistributedDoubleBarrier`) and Kazoo (`DoubleBarrier`), whose members take `ready` away before all
//! have left: one who comes then is not told apart from a member of the next round.

mod enter;
mod exit;
mod judge;
mod outlast;
#[cfg(feature = "cli")]
mod roster;
mod round;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use exit::Inside;
#[cfg(feature = "cli")]
pub(crate) use roster::{Attendee, Roster, roster};

use self::enter::Entrant;
use self::outlast::outlast;
use super::ours::Ours;
use crate::background::sleep;
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Acl;
use crate::path::{IntoPath, ZkPath};

/// The child that says that a round is on.
const READY: &str = "ready";
/// What errors call it.
const VERB: &str = "enter";

/// A place that so many parties enter together and leave together.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::MemoryConn;
/// use zkcells::recipes::DoubleBarrier;
/// let conn = Arc::new(MemoryConn::new());
/// let [a, b] = ["a", "b"].map(|id| DoubleBarrier::new(conn.clone(), "/app/step", id, 2));
/// let (a, b) = futures::join!(a.enter(), b.enter());
/// let (a, b) = (a?, b?);
/// assert_eq!(a.token(), b.token());
/// let (a, b) = futures::join!(a.exit(), b.exit());
/// (a?, b?);
/// # Ok(()) }
/// ```
///
/// Each party has an id of its own, and all say how many they are. One object takes part in any number
/// of rounds, one after the other.
///
/// After zksync's `DoubleBarrier`.
#[derive(Clone, Debug)]
#[doc(alias = "DistributedDoubleBarrier")]
pub struct DoubleBarrier {
    conn: Ours,
    dir: Result<ZkPath, Error>,
    id: String,
    parties: usize,
    acl: Vec<Acl>,
}

impl DoubleBarrier {
    /// The barrier at `path`, for the party called `id` of `parties`. Nothing is done yet; what cannot
    /// be is told by the first use.
    pub fn new(
        conn: impl Conn,
        path: impl IntoPath,
        id: impl Into<String>,
        parties: usize,
    ) -> Self {
        let (conn, dir) = (Ours::new(conn), path.into_path());
        DoubleBarrier { conn, dir, id: id.into(), parties, acl: Acl::open() }
    }

    /// The same with another access list for the own nodes, and for the directory if it has to be
    /// made. All parties must be able to read and delete what is in it.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Enters, and waits until all parties have.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::recipes::DoubleBarrier;
    /// use zkcells::{ConnExt, MemoryConn};
    /// let conn = std::sync::Arc::new(MemoryConn::new());
    /// let inside = DoubleBarrier::new(conn.clone(), "/app/step", "only", 1).enter().await?;
    /// assert!(inside.is_valid());
    /// inside.exit().await?;
    /// assert!(conn.exists("/app/step").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `NodeExists` when somebody with this id is there; an own node of the same session that is just
    /// being removed is waited for, for a second. `Disagreement` when others take another number of
    /// parties, or more than that many came. `BadArguments` for no parties, and for an id that is
    /// empty, `ready`, or no name of a node. `Revoked` when somebody deleted the own node,
    /// `SessionExpired`, and whatever keeps the own node from being made. Once it is made, a cell that
    /// does not answer is waited for until a server says that the session is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the own node away, in the background. It may have been counted by
    /// then: for the others it has left at once.
    pub async fn enter(&self) -> Result<Inside, Error> {
        self.enter_seen(&AtomicUsize::new(0)).await
    }

    /// As [`enter`](Self::enter), waiting for `wait` at most in all.
    ///
    /// # Errors
    ///
    /// `Timeout` when not all had come by then, and those of [`enter`](Self::enter).
    ///
    /// # Cancel safety
    ///
    /// As of [`enter`](Self::enter).
    pub async fn enter_within(&self, wait: Duration) -> Result<Inside, Error> {
        let (by, seen) = (Deadline::after(wait), AtomicUsize::new(0));
        tokio::select! {
            biased;
            inside = self.enter_seen(&seen) => inside,
            () = sleep(by.remaining()) => {
                let seen = seen.load(Ordering::Relaxed);
                let why = format!("of {} parties, {seen} were there", self.parties);
                Err(self.error(VERB, ErrorKind::Timeout).with_detail(why))
            }
        }
    }

    /// As [`enter`](Self::enter), unless `stop` comes first.
    ///
    /// # Errors
    ///
    /// `Cancelled` when `stop` came first, and those of [`enter`](Self::enter).
    ///
    /// # Cancel safety
    ///
    /// As of [`enter`](Self::enter).
    pub async fn enter_unless(&self, stop: impl Future<Output = ()>) -> Result<Inside, Error> {
        tokio::select! {
            biased;
            inside = self.enter() => inside,
            () = stop => Err(self.error(VERB, ErrorKind::Cancelled)),
        }
    }

    async fn enter_seen(&self, seen: &AtomicUsize) -> Result<Inside, Error> {
        let (dir, own) = self.checked()?;
        let entered = async {
            loop {
                if let Some(inside) = Entrant::new(self, &dir, &own, seen).await?.enter().await? {
                    return Ok(inside);
                }
                // Another round is on.
                outlast(&self.conn, &dir).await?;
            }
        };
        entered.await.map_err(|err: Error| err.during(VERB))
    }

    /// The directory and the own node, if all can be so.
    fn checked(&self) -> Result<(ZkPath, ZkPath), Error> {
        let dir = self.dir.clone().map_err(|err| err.during(VERB))?;
        let refused =
            |why: String| Err(Error::new(VERB, &dir, ErrorKind::BadArguments).with_detail(why));
        if self.parties == 0 {
            return refused("expected one party at least".into());
        }
        let id = &self.id;
        if id.is_empty() || id == READY || id.contains('/') {
            return refused(format!("the id {id:?} cannot be the name of a member"));
        }
        match ZkPath::new(dir.child(id).as_str()) {
            Ok(own) => Ok((dir, own)),
            Err(err) => Err(err.during(VERB)),
        }
    }

    fn error(&self, verb: &'static str, kind: ErrorKind) -> Error {
        match &self.dir {
            Ok(dir) => Error::new(verb, dir, kind),
            Err(err) => err.clone().during(verb),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conn::{ConnExt, MemoryConn, MemoryQuorum};
    use crate::node::{Mode, Version};
    use crate::request::{Multi, Op};
    use crate::spy::Spy;

    #[tokio::test]
    async fn what_cannot_be_is_refused_before_anything_is_made() {
        let conn = Arc::new(MemoryConn::new());
        for (id, parties) in [("ready", 2), ("", 2), ("a/b", 2), ("..", 2), ("a", 0)] {
            let barrier = DoubleBarrier::new(conn.clone(), "/step", id, parties);
            let kind = barrier.enter().await.unwrap_err().kind();
            let expected = if id == ".." { ErrorKind::BadPath } else { ErrorKind::BadArguments };
            assert_eq!(kind, expected, "{id:?} of {parties}");
        }
        assert!(conn.exists("/step").await.unwrap().is_none());
    }

    /// Between the count and the transaction that makes `ready`, one who was counted goes.
    #[tokio::test]
    async fn nobody_is_let_in_by_a_member_that_has_gone() {
        let quorum = MemoryQuorum::new();
        let (member, other) = (quorum.connect(), quorum.connect());
        member.create("/step", "", Mode::Persistent).await.unwrap();
        member.create("/step/a", "", Mode::Ephemeral).await.unwrap();
        let mut leaves = true;
        let conn = Spy::meddling(other, move |request, _| {
            if matches!(request.op, Op::Multi(_)) && std::mem::take(&mut leaves) {
                member.expire();
            }
            None
        });
        let conn = Arc::new(conn);
        let late = DoubleBarrier::new(conn.clone(), "/step", "b", 2);
        let mut entering = Box::pin(late.enter());
        let short = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(short, &mut entering).await.is_err());
        assert_eq!(conn.children("/step").await.unwrap().names, ["b"]);
        let third = DoubleBarrier::new(quorum.connect(), "/step", "c", 2);
        let (late, third) = futures::join!(entering, third.enter());
        assert!(late.unwrap().is_valid() && third.unwrap().is_valid());
    }

    /// A round of others is on, so one who has come takes its node away; before it does, that round
    /// ends and the next one begins, for which its node is counted.
    #[tokio::test]
    async fn whoever_is_counted_while_it_makes_way_is_inside() {
        let quorum = MemoryQuorum::new();
        let other = quorum.connect();
        other.create("/step", "", Mode::Persistent).await.unwrap();
        other.create("/step/a", "", Mode::Ephemeral).await.unwrap();
        let first = r#"{"parties":2,"members":["a","b"],"id":"1"}"#;
        other.create("/step/ready", first, Mode::Persistent).await.unwrap();
        let mut once = true;
        let conn = Spy::meddling(quorum.connect(), move |request, _| {
            let goes = match &request.op {
                Op::Delete { .. } => request.path.as_str() == "/step/c",
                Op::Multi(steps) => steps.iter().any(|step| step.path().as_str() == "/step/c"),
                _ => false,
            };
            if goes && std::mem::take(&mut once) {
                let over = Multi::new()
                    .delete("/step/a", Version::Any)
                    .delete("/step/ready", Version::Any)
                    .set("/step", "", Version::Any);
                drop(other.multi(over));
                drop(other.create("/step/d", "", Mode::Ephemeral));
                let next = r#"{"parties":2,"members":["c","d"],"id":"2"}"#;
                drop(other.create("/step/ready", next, Mode::Persistent));
            }
            None
        });
        let conn = Arc::new(conn);
        let inside = DoubleBarrier::new(conn.clone(), "/step", "c", 2)
            .enter_within(std::time::Duration::from_secs(2))
            .await
            .expect("it was counted");
        let ready = conn.exists("/step/ready").await.unwrap().unwrap();
        assert_eq!(inside.token().zxid(), ready.czxid);
    }
}
