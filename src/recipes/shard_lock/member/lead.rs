//! The first of a group: it waits for older ranges to end and for others to join, and publishes.
//!
//! Whoever publishes does it in one transaction: the own node is there; the base is as it was before
//! the look that found nobody in an older group (publishing raises its version); nobody has joined
//! since the list of members was read; the group is not published. So publications of this crate come
//! one after the other, each behind the end of the one before, however old a server's answers are.
//!
//! That nobody has joined is asked of the server's count of creations, which no departure takes back:
//! a node is made that the server numbers, and deleted under the number that the list's facts promise
//! it. If anybody came since, whether he is still there or not, it has another number, and nothing is
//! done. As both are in one transaction nobody ever sees that node, and no original takes it for a
//! member.

use bytes::Bytes;

use super::{Member, Next, late, of_no_session};
use crate::conn::ConnExt;
use crate::error::{Error, ErrorKind};
use crate::node::{Children, Mode, Stat, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::recipes::shard_lock::ShardLock;
use crate::recipes::shard_lock::groups::{self, Group, Nodes, View};
use crate::recipes::shard_lock::list;
use crate::recipes::wait::Patience;
use crate::request::{Multi, MultiReply, Read, ReadReply};

/// How the name of the node begins that shows the count of creations: neither a member's nor a word's.
const PROBE: &str = "probe-";

/// Who is in the own group.
struct Roll {
    /// The facts of the group.
    stat: Stat,
    /// In the order of the ranges.
    members: Vec<i32>,
}

impl Member {
    /// As the first of its group: waits until nobody holds an older range, then for others to join,
    /// and publishes the list.
    pub(super) async fn lead(
        &mut self,
        lock: &ShardLock,
        patience: Patience,
        waited: &mut bool,
    ) -> Result<Next, Error> {
        loop {
            if self.is_next && !*waited {
                let wait = lock.wait_time;
                if !wait.is_zero() {
                    let why = || format!("it leads, and waits {wait:?} for others to join");
                    self.waiting(patience).pause(wait).await.map_err(|err| late(err, why))?;
                }
                *waited = true;
            }
            // In one flight: the transaction goes by both, and whatever comes between fails it.
            let roll = async {
                match *waited {
                    true => self.roll().await.map(Some),
                    false => Ok(None),
                }
            };
            let view = View::of(&self.conn, &self.base, Some(&self.group));
            let (view, roll) = tokio::try_join!(view, roll)?;
            let Some(view) = view else { return Err(self.waiting(patience).missing().await) };
            if let Some(held) = view.held() {
                (self.is_next, *waited) = (false, false);
                self.drained(held, patience).await?;
                return Ok(Next::LookAgain);
            }
            if view.is_awaited_before(&self.group) {
                return Ok(Next::GiveWay);
            }
            match roll {
                Some(None) => return self.published().await,
                Some(Some(roll)) => return self.publish(&view, roll, patience).await,
                None => self.is_next = true,
            }
        }
    }

    /// Who is in the own group: those who are there by their session. The range of anybody else would be
    /// nobody's, and its holder waited for without end. `None` if it is published.
    async fn roll(&self) -> Result<Option<Roll>, Error> {
        let Children { names, stat } = self.conn.children(&self.group).await?;
        // Somebody else has published it: then that list counts.
        if stat.data_length > 0 {
            return Ok(None);
        }
        let mut nodes = Nodes::of(&self.group, &names)?.members;
        let paths = nodes.iter().map(|(name, _)| self.group.child(name));
        let others: Vec<ZkPath> = paths.filter(|path| *path != self.path).collect();
        let found = self.conn.read_many(others.iter().cloned().map(Read::Exists)).await?;
        let mut gone = Vec::new();
        for (other, found) in others.iter().zip(found) {
            match found? {
                ReadReply::Exists(Some(stat)) if stat.ephemeral_owner == 0 => {
                    return Err(of_no_session(other));
                }
                ReadReply::Exists(Some(_)) => {}
                _ => gone.push(other.name()),
            }
        }
        nodes.retain(|(name, _)| !gone.contains(&name.as_str()));
        Ok(Some(Roll { stat, members: nodes.into_iter().map(|(_, number)| number).collect() }))
    }

    /// Waits for the end of one who holds a range of another group.
    async fn drained(&self, held: &Group, patience: Patience) -> Result<(), Error> {
        let holders = held.holders();
        let Some(any) = holders.last() else { return Ok(()) };
        let holder = held.path.child(any);
        let waiting = self.waiting(patience);
        let woken = waiting.for_end_of(&holder, holders.len()).await;
        let (count, group) = (holders.len(), held.path.name());
        let why = || format!("{count} in {group} hold older ranges, one of them {any}");
        woken.map(drop).map_err(|err| late(err, why))
    }

    async fn publish(
        &mut self,
        view: &View,
        Roll { stat, members }: Roll,
        patience: Patience,
    ) -> Result<Next, Error> {
        // What the base holds stays; but nobody else publishes on the ground of an earlier look.
        let kept = match view.base.data_length {
            0 => Bytes::new(),
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
        // The count shows no more than 31 bits, and is beyond the own number.
        let count = match groups::creations(&stat) {
            count if count > self.number => count,
            count => count | i32::MIN,
        };
        let (stem, probe) = (self.group.child(PROBE), format!("{PROBE}{count:010}"));
        steps = steps
            .create(&stem, "", Mode::PersistentSequential)
            .delete(self.group.child(&probe), Version::Any);
        let list = list::encode(members.iter().copied());
        let steps = steps.set(&self.group, list, Version::Exact(stat.version));
        match self.conn.multi(steps).await {
            Ok(mut replies) => match replies.pop() {
                Some(MultiReply::Set(stat)) => Ok(Next::Published(members, stat.mzxid, true)),
                _ => Ok(Next::LookAgain),
            },
            // Somebody joined, left or published: another look tells.
            Err(err) => match err.kind() {
                ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode => {
                    // Workers that come and go all the time leave a gap for it at some time.
                    self.refused += 1;
                    pause::after(self.refused, patience.remaining()).await;
                    Ok(Next::LookAgain)
                }
                _ => Err(err),
            },
        }
    }
}
