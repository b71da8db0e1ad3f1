//! A member of a group, from when its node is there until it has its range.
//!
//! ```text
//!              first by name, nobody holds an older range: wait_time, then publish
//!   awaiting ─────────────────────────────────────────────────────────────────────▶ published
//!      ▲   first, older ranges held: watch one of their holders                         │
//!      └── not first: watch the member before and the group's data        listed ──▶ granted
//!                                                                     not listed ──▶ too late
//! ```
//!
//! Whoever publishes does it in one transaction: the own node is there; the base is as it was before
//! the look that found nobody in an older group (publishing raises its version); nobody has joined
//! since the list of members was read (the name that the next of them would get is free); the group
//! is not published. So publications of this crate come one after the other, each behind the end of
//! the one before, however old a server's answers are.

use std::sync::Arc;

use super::groups::{self, Group, Nodes, View, decode};
use super::guard::{Range, ShardGuard};
use super::{ShardLock, VERB};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::node::{Children, Mode, Stat, Version};
use crate::path::ZkPath;
use crate::recipes::ending::Ending;
use crate::recipes::guard::Guard;
use crate::recipes::held::Held;
use crate::recipes::names::LockMode;
use crate::recipes::place::Place;
use crate::recipes::proof::Proof;
use crate::recipes::token::Token;
use crate::recipes::wait::{Patience, Waiting};
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// An own node, and where it is.
pub(super) struct Member {
    conn: BoundConn<Arc<dyn Conn>>,
    session: Session,
    place: Place,
    base: ZkPath,
    group: ZkPath,
    path: ZkPath,
    number: i32,
    ending: Ending,
    /// Whether nobody has held an older range since then, as far as was seen.
    is_next: bool,
}

/// What a look at the own group led to.
enum Next {
    LookAgain,
    /// The list is there, with the transaction that published it; and whether that was ours.
    Published(Vec<i32>, i64, bool),
}

impl Member {
    pub(super) fn new(
        (conn, session, mut place): (BoundConn<Arc<dyn Conn>>, Session, Place),
        base: ZkPath,
        (path, stat): (ZkPath, Stat),
        is_behind: bool,
    ) -> Result<Self, Error> {
        let (Some(group), Some(number)) = (path.parent(), groups::member_number(path.name()))
        else {
            return Err(Error::new(VERB, &path, ErrorKind::Unexpected)
                .with_detail("it has no number that can be listed"));
        };
        let ending = place.ending(&path, &stat);
        let is_next = !is_behind;
        Ok(Member { conn, session, place, base, group, path, number, ending, is_next })
    }

    /// Waits for the own range; `None` when the list was published without the own node, or beside
    /// another: another group has to do.
    pub(super) async fn wait(
        mut self,
        lock: &ShardLock,
        patience: Patience,
    ) -> Result<Option<ShardGuard>, Error> {
        // Whether the window for members has passed.
        let mut waited = false;
        let (members, zxid, ours) = loop {
            let looked = self.look(lock, patience, &mut waited).await;
            match looked {
                Ok(Next::Published(members, zxid, ours)) => break (members, zxid, ours),
                Ok(Next::LookAgain) => self.waiting(patience).in_time()?,
                // Of the wait itself, and not of a request in it.
                Err(err) if err.op() == VERB => return Err(err),
                Err(err) => self.waiting(patience).bear(err).await?,
            }
        };
        let Some(index) = members.iter().position(|number| *number == self.number) else {
            self.place.leave().await;
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
                    self.place.leave().await;
                    return Ok(None);
                }
                Err(err) if err.op() == VERB => return Err(err),
                Err(err) => self.waiting(patience).bear(err).await?,
            }
        }
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

    /// As the first of its group: waits until nobody holds an older range, then for others to join,
    /// and publishes the list.
    async fn lead(
        &mut self,
        lock: &ShardLock,
        patience: Patience,
        waited: &mut bool,
    ) -> Result<Next, Error> {
        if self.is_next && !*waited {
            let wait = lock.wait_time;
            if !wait.is_zero() {
                self.waiting(patience).pause(wait).await?;
            }
            *waited = true;
        }
        let view = View::of(&self.conn, &self.base, Some(&self.group)).await?;
        let Some(view) = view else { return Err(self.waiting(patience).missing().await) };
        if let Some(held) = view.held() {
            (self.is_next, *waited) = (false, false);
            self.drained(held, patience).await?;
            return Ok(Next::LookAgain);
        }
        if !*waited {
            self.is_next = true;
            return Ok(Next::LookAgain);
        }
        let listed = self.conn.children(&self.group).await?;
        if listed.stat.data_length > 0 {
            return self.published().await;
        }
        self.publish(&view, &listed).await
    }

    /// Waits for the end of one who holds a range of another group.
    async fn drained(&self, held: &Group, patience: Patience) -> Result<(), Error> {
        let holders = held.holders();
        let Some(any) = holders.last() else { return Ok(()) };
        let holder = held.path.child(any);
        let waiting = self.waiting(patience);
        let woken = waiting.for_end_of(&holder, holders.len()).await;
        woken.map(drop).map_err(|err| match err.kind() {
            ErrorKind::Timeout => {
                let why = format!("{} in {}", holders.len(), held.path.name());
                err.with_detail(format!("{why} hold older ranges, one of them {any}"))
            }
            _ => err,
        })
    }

    async fn publish(&self, view: &View, listed: &Children) -> Result<Next, Error> {
        let nodes = Nodes::of(&self.group, &listed.names)?;
        let members: Vec<i32> = nodes.members.iter().map(|(_, number)| *number).collect();
        // What the base holds stays; but nobody else publishes on the ground of an earlier look.
        let kept = match view.base.data_length {
            0 => Default::default(),
            _ => {
                let base = self.conn.get(&self.base).await?;
                if base.stat.version != view.base.version {
                    return Ok(Next::LookAgain);
                }
                base.data
            }
        };
        let mut steps = Multi::new().check(&self.path, Version::Any).set(
            &self.base,
            kept,
            Version::Exact(view.base.version),
        );
        let next = groups::node_name(groups::creations(&listed.stat));
        if !listed.names.contains(&next) {
            let next = self.group.child(&next);
            steps = steps.create(&next, "", Mode::Persistent).delete(&next, Version::Any);
        }
        let list = groups::encode(members.iter().copied());
        let steps = steps.set(&self.group, list, Version::Exact(listed.stat.version));
        match self.conn.multi(steps).await {
            Ok(mut replies) => match replies.pop() {
                Some(MultiReply::Set(stat)) => Ok(Next::Published(members, stat.mzxid, true)),
                _ => Ok(Next::LookAgain),
            },
            // Somebody joined, left or published: another look tells.
            Err(err) => match err.kind() {
                ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode => {
                    Ok(Next::LookAgain)
                }
                _ => Err(err),
            },
        }
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
            waiting.in_time()?;
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
        let Member { conn, session, place, base, group, path, ending, .. } = self;
        let conn = conn.by(None);
        let token = Token::new(session.cell(), 0, LockMode::Exclusive, zxid);
        let proof = Proof::held(hold);
        let guard = Guard::new(Held { conn, path, session, proof, ending, token }, place);
        ShardGuard::new(guard, base, group, members, range, lock.acl.clone())
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
