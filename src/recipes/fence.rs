//! The resource's side of a token: a node that refuses what holds an older one.
//!
//! ```text
//! <path>    {"fence":{"newest":"nyc/0/w/0x1a","exclusive":"nyc/0/w/0x1a","write":"3f…"}}\n
//!           the value, byte for byte
//! ```
//!
//! A write reads the node, refuses if a newer token is there, and sets fence and value in one
//! compare-and-set, so between the check and the write nothing comes. Whoever was paused, cut off or
//! simply slow while another took over is refused from the first write of the other on.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::names::{LockMode, random_id};
use super::token::Token;
use crate::change::{Change, retry_change};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Node, Stat};
use crate::path::{IntoPath, ZkPath};
use crate::tree;

/// How often the ancestors are made and a write with an unknown outcome is looked at again.
const ROUNDS: u32 = 4;

/// A value in a node, written only with a token that is not older than any before.
///
/// It may be in any cell, also another than that of the lock. All tokens must be of one cell.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::recipes::{FencedRegister, Lock};
/// use zkcells::{ErrorKind, MemoryConn};
/// let conn = Arc::new(MemoryConn::new());
/// let lock = Lock::new(conn.clone(), "/app/lock");
/// let register = FencedRegister::new(conn.clone(), "/app/state");
///
/// let paused = lock.acquire().await?.token().clone();
/// let guard = lock.acquire().await?;
/// register.write(guard.token(), "new").await?;
/// let err = register.write(&paused, "old").await.unwrap_err();
/// assert_eq!(err.kind(), ErrorKind::StaleToken);
/// assert_eq!(register.read().await?.unwrap().data, "new");
/// # Ok(()) }
/// ```
///
/// The node must not be deleted while it is in use: with it goes what is known of tokens.
///
/// A newer token is known to the register from its first write on; before that, an older holder's
/// write is taken, as one that came in time would have been.
///
/// After Kleppmann, *How to do distributed locking* (2016), and the sequencers of Chubby.
#[derive(Clone, Debug)]
pub struct FencedRegister {
    conn: Arc<dyn Conn>,
    path: Result<ZkPath, Error>,
    acl: Vec<Acl>,
}

/// What a [`FencedRegister`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencedValue {
    /// The value that was written last.
    pub data: Bytes,
    /// The newest token that was seen; `None` after a reset.
    pub token: Option<Token>,
    /// The facts of the node.
    pub stat: Stat,
}

/// What the node remembers of tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Fence {
    /// The newest of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    /// The newest that was exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclusive: Option<String>,
    /// The id of the last write.
    #[serde(default)]
    write: String,
}

/// The first line of the node.
#[derive(Serialize, Deserialize)]
struct Header {
    fence: Fence,
}

impl FencedRegister {
    /// The register at `path`. Nothing is done yet; the first write makes the node.
    pub fn new(conn: impl Conn, path: impl IntoPath) -> Self {
        FencedRegister { conn: Arc::new(conn), path: path.into_path(), acl: Acl::open() }
    }

    /// The same with another access list for the node, where it has to be made.
    #[must_use]
    pub fn with_acl(mut self, acl: Vec<Acl>) -> Self {
        self.acl = acl;
        self
    }

    /// Writes `data`, unless a newer token has been seen. A shared token is refused by a newer
    /// exclusive one only, an exclusive one by any newer.
    ///
    /// # Errors
    ///
    /// `StaleToken`, with both tokens: whoever holds this one lost what it held.
    /// `BadArguments` for a token of another cell than those before. `Input` when the node holds
    /// something else. `OutcomeUnknown` when the reply was lost and another write has come since.
    /// `NotMirrored` when it was written, and too few mirrors of a set have it yet.
    /// `Contended` and those of a get and a set.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take back a write that was sent.
    pub async fn write(&self, token: &Token, data: impl AsRef<[u8]>) -> Result<Stat, Error> {
        const VERB: &str = "write";
        let path = self.path(VERB)?;
        let id = random_id();
        let (mut unsure, mut tried) = (None, None);
        for _ in 0..ROUNDS {
            let changed = self
                .change(&path, &id, |old| {
                    let (mut fence, _) = open(VERB, &path, old)?;
                    let seen = old.map(|node| (node.stat.czxid, node.stat.version));
                    match &unsure {
                        Some(_) if fence.write == id => return Ok(None),
                        // It may have been written before the one that is here now.
                        Some(unsure) if tried != Some(seen) => return Err(Error::clone(unsure)),
                        _ => tried = Some(seen),
                    }
                    fence.admit(token)?;
                    fence.write.clone_from(&id);
                    Ok(Some(sealed(&fence, data.as_ref())))
                })
                .await;
            match changed {
                Ok(Change::Created(node) | Change::Set(node) | Change::Unchanged(Some(node))) => {
                    return Ok(node.stat);
                }
                Ok(Change::Unchanged(None)) => {}
                Err(err) if err.kind() == ErrorKind::OutcomeUnknown && unsure.is_none() => {
                    unsure = Some(err.during(VERB));
                }
                Err(err) => return Err(err.during(VERB)),
            }
        }
        Err(unsure.unwrap_or_else(|| Error::new(VERB, &path, ErrorKind::Contended)))
    }

    /// The value; `None` if nothing has been written yet. As old as any read.
    ///
    /// # Errors
    ///
    /// `Input` when the node holds something else, and those of a get.
    pub async fn read(&self) -> Result<Option<FencedValue>, Error> {
        const VERB: &str = "read";
        let path = self.path(VERB)?;
        let node = match self.conn.get(&path).await {
            Ok(node) => node,
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
            Err(err) => return Err(err.during(VERB)),
        };
        let (fence, data) = open(VERB, &path, Some(&node))?;
        let token = fence.newest.as_deref().map(str::parse).transpose()?;
        Ok(Some(FencedValue { data, token, stat: node.stat }))
    }

    /// Forgets all tokens and keeps the value: for an operator who has restored the cell of the lock
    /// from a backup, after which its numbers start again from lower ones, or who moves the lock to
    /// another cell. Nobody may hold an old token any more: it would be taken.
    ///
    /// A node that holds something else becomes a register with that as its value.
    ///
    /// # Errors
    ///
    /// `NoNode`, and those of [`change::retry_change`](crate::change::retry_change).
    pub async fn reset(&self) -> Result<(), Error> {
        const VERB: &str = "reset";
        let path = self.path(VERB)?;
        let changed = retry_change(&self.conn, &path, Mode::Persistent, |old| {
            let node = old.ok_or_else(|| Error::new(VERB, &path, ErrorKind::NoNode))?;
            let data = open(VERB, &path, old).map_or_else(|_| node.data.clone(), |(_, data)| data);
            Ok::<_, Error>(Some(sealed(&Fence::default(), &data)))
        });
        changed.await.map(drop).map_err(|err| err.during(VERB))
    }

    fn path(&self, verb: &'static str) -> Result<ZkPath, Error> {
        self.path.clone().map_err(|err| err.during(verb))
    }

    /// As [`retry_change`], making missing ancestors.
    async fn change(
        &self,
        path: &ZkPath,
        id: &str,
        mut compute: impl FnMut(Option<&Node>) -> Result<Option<Bytes>, Error>,
    ) -> Result<Change, Error> {
        let options = CreateOptions::from(Mode::Persistent).with_acl(self.acl.clone()).with_id(id);
        let changed = retry_change(&self.conn, path, &options, &mut compute).await;
        match (changed, path.parent()) {
            (Err(err), Some(parent)) if err.kind() == ErrorKind::NoNode => {
                match tree::create_all(&self.conn, parent, "", Mode::Persistent).await {
                    // On the first they stand, and what becomes of the value is told by its own write.
                    Err(err)
                        if !matches!(
                            err.kind(),
                            ErrorKind::NodeExists | ErrorKind::NotMirrored
                        ) =>
                    {
                        return Err(err);
                    }
                    _ => {}
                }
                retry_change(&self.conn, path, &options, compute).await
            }
            (changed, _) => changed,
        }
    }
}

impl Fence {
    /// Lets `token` in, or says why not.
    fn admit(&mut self, token: &Token) -> Result<(), Error> {
        let refusal = |kind| Error::new("write", token.to_string(), kind);
        let newest: Option<Token> = self.newest.as_deref().map(str::parse).transpose()?;
        let exclusive: Option<Token> = self.exclusive.as_deref().map(str::parse).transpose()?;
        if let Some(newest) = newest.as_ref().filter(|newest| newest.cell() != token.cell()) {
            return Err(refusal(ErrorKind::BadArguments).with_detail(format!(
                "the register knows tokens of cell {}; reset it to take those of another",
                newest.cell()
            )));
        }
        let newer = match token.mode() {
            LockMode::Exclusive => &newest,
            LockMode::Shared => &exclusive,
        };
        if let Some(newer) = newer.as_ref().filter(|newer| !is_past(token, newer)) {
            return Err(refusal(ErrorKind::StaleToken).with_detail(format!("{newer} was seen")));
        }
        let text = || Some(token.to_string());
        if newest.is_none_or(|newest| newest < *token) {
            self.newest = text();
        }
        if token.mode() == LockMode::Exclusive {
            self.exclusive = text();
        }
        Ok(())
    }
}

/// Whether `token` is not older than `seen`.
fn is_past(token: &Token, seen: &Token) -> bool {
    (token.epoch(), token.zxid()) >= (seen.epoch(), seen.zxid())
}

/// Fence and value of a node.
fn open(verb: &'static str, path: &ZkPath, node: Option<&Node>) -> Result<(Fence, Bytes), Error> {
    let Some(node) = node else { return Ok((Fence::default(), Bytes::new())) };
    let end = node.data.iter().position(|byte| *byte == b'\n');
    let header = end.and_then(|end| serde_json::from_slice::<Header>(&node.data[..end]).ok());
    match (header, end) {
        (Some(header), Some(end)) => Ok((header.fence, node.data.slice(end + 1..))),
        _ => Err(Error::new(verb, path, ErrorKind::Input)
            .with_detail("it is no fenced register; reset it to keep its data as the value")),
    }
}

fn sealed(fence: &Fence, data: &[u8]) -> Bytes {
    // Strings always become JSON.
    let header = serde_json::to_vec(&Header { fence: fence.clone() }).unwrap_or_default();
    [&header, b"\n".as_slice(), data].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryQuorum;
    use crate::fault::OpKind;
    use crate::node::Version;

    fn token(mode: LockMode, zxid: i64) -> Token {
        Token::new("nyc", 0, mode, zxid)
    }

    fn register(quorum: &MemoryQuorum) -> FencedRegister {
        FencedRegister::new(quorum.connect(), "/app/state")
    }

    #[tokio::test]
    async fn an_older_token_is_refused_and_its_equal_taken() {
        let register = register(&MemoryQuorum::new());
        let (old, new) = (token(LockMode::Exclusive, 5), token(LockMode::Exclusive, 7));
        register.write(&new, "a").await.unwrap();
        let err = register.write(&old, "b").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::StaleToken);
        assert!(err.to_string().contains("nyc/0/w/0x7 was seen"), "{err}");
        register.write(&new, "c\nd").await.unwrap();
        let value = register.read().await.unwrap().unwrap();
        assert_eq!((value.data.as_ref(), value.token), (&b"c\nd"[..], Some(new)));
    }

    #[tokio::test]
    async fn readers_are_refused_by_newer_writers_only() {
        let register = register(&MemoryQuorum::new());
        register.write(&token(LockMode::Exclusive, 5), "").await.unwrap();
        register.write(&token(LockMode::Shared, 9), "").await.unwrap();
        register.write(&token(LockMode::Shared, 8), "").await.unwrap();
        for stale in [token(LockMode::Exclusive, 6), token(LockMode::Shared, 4)] {
            let err = register.write(&stale, "").await.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::StaleToken, "{stale}");
        }
        // The newest is still known behind an older reader.
        let err = register.write(&token(LockMode::Exclusive, 8), "").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::StaleToken);
    }

    #[tokio::test]
    async fn a_token_of_another_cell_is_refused_until_a_reset() {
        let register = register(&MemoryQuorum::new());
        register.write(&token(LockMode::Exclusive, 5), "kept").await.unwrap();
        let other = Token::new("sjc", 0, LockMode::Exclusive, 3);
        let err = register.write(&other, "").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BadArguments);
        register.reset().await.unwrap();
        let value = register.read().await.unwrap().unwrap();
        assert_eq!((value.data.as_ref(), value.token), (&b"kept"[..], None));
        register.write(&other, "").await.unwrap();
    }

    #[tokio::test]
    async fn data_of_others_is_left_alone_until_a_reset() {
        let quorum = MemoryQuorum::new();
        let (conn, register) = (quorum.connect(), register(&quorum));
        tree::create_all(&conn, "/app/state", "theirs", Mode::Persistent).await.unwrap();
        let err = register.write(&token(LockMode::Exclusive, 1), "").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Input);
        assert_eq!(conn.get("/app/state").await.unwrap().data, "theirs");
        register.reset().await.unwrap();
        assert_eq!(register.read().await.unwrap().unwrap().data, "theirs");
    }

    #[tokio::test]
    async fn a_write_whose_reply_was_lost_is_known_again() {
        let quorum = MemoryQuorum::new();
        let conn = Arc::new(quorum.connect());
        let register = FencedRegister::new(conn.clone(), "/state");
        let token = token(LockMode::Exclusive, 5);
        register.write(&token, "a").await.unwrap();
        conn.swallow_reply(OpKind::Set);
        let stat = register.write(&token, "b").await.unwrap();
        assert_eq!(conn.bites().swallowed, 1);
        assert_eq!(stat.version, 1, "written once");
        assert_eq!(register.read().await.unwrap().unwrap().data, "b");
    }

    /// A register on which `theirs` is written behind its first set, whose reply is lost.
    fn overtaken(quorum: &MemoryQuorum, theirs: Bytes) -> FencedRegister {
        let mut done = false;
        let spy = crate::spy::Spy::meddling(quorum.connect(), move |request, conn| {
            let is_set = matches!(request.op, crate::request::Op::Set { .. });
            if !is_set || std::mem::replace(&mut done, true) {
                return None;
            }
            // Applied, the reply lost, and another one came: as far as we can tell.
            let set = conn.set(&request.path, &theirs, Version::Any);
            assert!(futures::FutureExt::now_or_never(set).is_some());
            Some(request.error(ErrorKind::OutcomeUnknown))
        });
        FencedRegister::new(spy, "/app/state")
    }

    #[tokio::test]
    async fn an_unknown_outcome_behind_another_write_stays_unknown() {
        for newest in [9, 5] {
            let quorum = MemoryQuorum::new();
            let other = register(&quorum);
            let mine = token(LockMode::Exclusive, 5);
            other.write(&mine, "a").await.unwrap();
            let mut fence = Fence { write: "theirs".into(), ..Fence::default() };
            fence.admit(&token(LockMode::Exclusive, newest)).unwrap();
            let register = overtaken(&quorum, sealed(&fence, b"new"));
            let err = register.write(&mine, "b").await.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
            assert_eq!(other.read().await.unwrap().unwrap().data, "new");
        }
    }
}
