//! A member of a group, from when its node is there until it has its range.
//!
//! ```text
//!              first by name, nobody holds an older range: wait_time, then publish
//!   awaiting ─────────────────────────────────────────────────────────────────────▶ published
//!      ▲   first, older ranges held: watch one of their holders                         │
//!      ├── not first: watch the member before and the group's data        listed ──▶ granted
//!      └── first, others wait in a group before: join them            not listed ──▶ too late
//! ```

mod lead;

use std::time::Duration;

use super::groups::{Nodes, View};
use super::guard::ShardGuard;
use super::list::decode;
use super::names;
use super::shard::{Facts, Range};
use super::stay::Stay;
use super::{ShardLock, VERB};
use crate::background::sleep;
use crate::conn::ConnExt;
use crate::conn::bound::BoundConn;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::ending::Ending;
use crate::recipes::guard::Guard;
use crate::recipes::held::Held;
use crate::recipes::names::LockMode;
use crate::recipes::ours::Ours;
use crate::recipes::proof::Proof;
use crate::recipes::token::Token;
use crate::recipes::wait::{Patience, Waiting};
use crate::session::Session;

/// An own node, and where it is.
pub(super) struct Member {
    conn: BoundConn<Ours>,
    session: Session,
    stay: Stay,
    base: ZkPath,
    group: ZkPath,
    path: ZkPath,
    number: i32,
    ending: Ending,
    /// Whether nobody has held an older range since then, as far as was seen.
    is_next: bool,
    /// How often its publication was refused.
    refused: u32,
}

/// What a look at the own group led to.
enum Next {
    LookAgain,
    /// Others wait in a group that is to be published before: there is room with them.
    GiveWay,
    /// The list is there, with the transaction that published it; and whether that was ours.
    Published(Vec<i32>, i64, bool),
}

/// How long the end of an own node is waited for before the next group is joined.
const LEAVE: Duration = Duration::from_secs(1);

impl Member {
    pub(super) fn new(
        (conn, session, mut stay): (BoundConn<Ours>, Session, Stay),
        base: ZkPath,
        (path, stat): (ZkPath, Stat),
        is_behind: bool,
    ) -> Result<Self, Error> {
        let (Some(group), Some(number)) = (path.parent(), names::member_number(path.name())) else {
            return Err(Error::new(VERB, &path, ErrorKind::Unexpected)
                .with_detail("it has no number that can be listed"));
        };
        let ending = stay.place.ending(&path, &stat);
        let is_next = !is_behind;
        let refused = 0;
        Ok(Member { conn, session, stay, base, group, path, number, ending, is_next, refused })
    }

    /// Waits for the own range; `None` when another group has to do: the list was published without
    /// the own node, or beside another, or others wait in a group before.
    pub(super) async fn wait(
        mut self,
        lock: &ShardLock,
        patience: Patience,
    ) -> Result<Option<ShardGuard>, Error> {
        // Whether the window for members has passed.
        let mut waited = false;
        // Nobody was there before the first number, so there is nobody to look for.
        let mut is_first = self.number == 0;
        let (members, zxid, ours) = loop {
            let looked = match std::mem::take(&mut is_first) {
                true => self.lead(lock, patience, &mut waited).await,
                false => self.look(lock, patience, &mut waited).await,
            };
            match looked {
                Ok(Next::Published(members, zxid, ours)) => break (members, zxid, ours),
                Ok(Next::GiveWay) => {
                    self.leave(patience).await;
                    return Ok(None);
                }
                Ok(Next::LookAgain) => {
                    let why = || "others come and go all the time".to_owned();
                    self.waiting(patience).in_time().map_err(|err| late(err, why))?;
                }
                // Of the wait itself, and not of a request in it.
                Err(err) if err.op() == VERB => return Err(err),
                Err(err) => self.bear(err, patience).await?,
            }
        };
        let Some(index) = members.iter().position(|number| *number == self.number) else {
            // The keeper goes on with it, if nobody confirms it soon.
            self.leave(patience).await;
            return Ok(None);
        };
        loop {
            match self.proved(ours, patience).await {
                Ok(Some(hold)) => {
                    let range = Range { index, of: members.len() };
                    return Ok(Some(self.guard(lock, hold, members, range, zxid)));
                }
                // Somebody of another protocol has published beside it. Whoever holds nothing yet gives
                // way, so nobody waits for ever.
                Ok(None) => {
                    self.leave(patience).await;
                    return Ok(None);
                }
                Err(err) if err.op() == VERB => return Err(err),
                Err(err) => self.bear(err, patience).await?,
            }
        }
    }

    /// Bears an error that a later try may not meet, and pauses. If it is too late for one, that is told.
    async fn bear(&self, err: Error, patience: Patience) -> Result<(), Error> {
        let why = err.to_string();
        self.waiting(patience).bear(err).await.map_err(|err| late(err, || why))
    }

    /// Looks at the group, and waits for what may lead on.
    async fn look(
        &mut self,
        lock: &ShardLock,
        patience: Patience,
        waited: &mut bool,
    ) -> Result<Next, Error> {
        let listed = self.conn.children(&self.group).await?;
        if listed.stat.data_length > 0 {
            return self.published().await;
        }
        let nodes = Nodes::of(&self.group, &listed.names)?;
        let own = nodes.members.iter().position(|(name, _)| name == self.path.name());
        match own {
            None => Err(self.waiting(patience).missing().await),
            Some(0) => self.lead(lock, patience, waited).await,
            Some(place) => {
                *waited = false;
                let before = self.group.child(&nodes.members[place - 1].0);
                self.follow(&before, place, patience).await
            }
        }
    }

    async fn published(&self) -> Result<Next, Error> {
        let node = self.conn.get(&self.group).await?;
        Ok(match decode(&self.group, &node)? {
            Some(members) => Next::Published(members, node.stat.mzxid, false),
            None => Next::LookAgain,
        })
    }

    /// Waits for the list, or the end of the member before the own one: so one is woken by that, and
    /// all by the list.
    async fn follow(
        &self,
        before: &ZkPath,
        ahead: usize,
        patience: Patience,
    ) -> Result<Next, Error> {
        let group = self.conn.get_watch(&self.group);
        let member = self.conn.exists_watch(before);
        let (node, listed) = group.await?;
        if let Some(members) = decode(&self.group, &node)? {
            return Ok(Next::Published(members, node.stat.mzxid, false));
        }
        let gone = async {
            match member.await? {
                (None, _) => {}
                (Some(stat), _) if stat.ephemeral_owner == 0 => {
                    return Err(of_no_session(before));
                }
                (Some(_), watch) => {
                    watch.await;
                }
            }
            Ok(())
        };
        let word = async {
            tokio::select! {
                gone = gone => gone,
                _ = listed => Ok(()),
            }
        };
        let late = || format!("{} is not published yet, and {ahead} are before", self.group.name());
        self.waiting(patience).for_word(word, late).await?;
        let node = self.conn.get(&self.group).await?;
        Ok(match decode(&self.group, &node)? {
            Some(members) => Next::Published(members, node.stat.mzxid, false),
            None => Next::LookAgain,
        })
    }

    /// Proof that the own node is there, by a commit, and behind it a look for others: `None` if
    /// somebody else holds a range of another group.
    async fn proved(&self, ours: bool, patience: Patience) -> Result<Option<Hold>, Error> {
        let waiting = self.waiting(patience);
        let hold = loop {
            if ours {
                // Who published has just committed a check of the own node.
                break waiting.hold().await?;
            }
            let hold = self.conn.hold(&self.path).await?;
            if hold.is_valid() {
                break hold;
            }
            waiting.in_time().map_err(|err| late(err, || "no server confirms it".to_owned()))?;
        };
        let view = View::of(&self.conn, &self.base, Some(&self.group)).await?;
        let other = view.as_ref().and_then(View::held);
        Ok(other.is_none().then_some(hold))
    }

    fn guard(
        self,
        lock: &ShardLock,
        hold: Hold,
        members: Vec<i32>,
        range: Range,
        zxid: i64,
    ) -> ShardGuard {
        let Member { conn, session, stay, base, group, path, ending, .. } = self;
        let conn = conn.by(None);
        let token = Token::of(&session, LockMode::Exclusive, zxid);
        let proof = Proof::held(hold);
        let guard =
            Guard::new(Held { conn, path, session, proof, ending, token }, stay.into_place());
        ShardGuard::new(guard, Facts { base, group, members, range }, lock.acl.clone())
    }

    /// Asks the own node to go. Who waits for another group need not wait for that.
    async fn leave(&mut self, patience: Patience) {
        tokio::select! {
            _ = self.stay.place.leave() => {}
            () = sleep(patience.remaining().min(LEAVE)) => {}
        }
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

/// What a copy of the tree makes of a member: it would be waited for without end.
fn of_no_session(member: &ZkPath) -> Error {
    Error::new(VERB, member, ErrorKind::Unexpected)
        .with_detail("it is of no session, so it never ends by itself; delete it")
}

/// The error of a wait, with what was waited for if it took too long.
fn late(err: Error, why: impl FnOnce() -> String) -> Error {
    match err.kind() {
        ErrorKind::Timeout => err.with_detail(why()),
        _ => err,
    }
}
