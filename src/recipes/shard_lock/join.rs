//! How a worker becomes a member of the group that awaits members.
//!
//! The own node is made in one transaction with a condition on the group's data version, so nobody
//! gets into a group that has been published. Where there is no such group yet, it is made in the
//! same transaction, under the name that the server would give it: of many who come at once one
//! makes it, and the others join.
//!
//! A member that comes between a leader's look and its publication is in nobody's list. Leaders of
//! this crate see to that themselves (`member/lead.rs`), so who joins them only checks the version: any
//! number can at once. An original leader's publication depends on the data version alone, so who
//! joins one raises that: the leader's set fails, and it lists again. That costs a wake-up of each
//! original member, and joiners get in each other's way, so it is done for original leaders only.

use bytes::Bytes;

use super::groups::{self, Group, View};
use super::member::Member;
use super::names::NODE;
use super::stay::Stay;
use super::{ShardLock, VERB};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt, Pending};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Mode, Stat, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::recipes::names;
use crate::recipes::ours::Ours;
use crate::recipes::owner::Owner;
use crate::recipes::passing::may_stand;
use crate::recipes::place::Place;
use crate::recipes::wait::{Patience, session as session_of};
use crate::request::{Multi, MultiReply};
use crate::session::Session;

/// How often it is tried again when others come between.
const ROUNDS: u32 = 100;

/// What stands before the own node in the transaction that makes it.
struct Door {
    group: ZkPath,
    steps: Multi,
    /// Whether somebody held an older range when this was seen.
    is_behind: bool,
}

impl ShardLock {
    /// Makes the own node in a group that awaits members.
    pub(super) async fn join(&self, base: &ZkPath, patience: Patience) -> Result<Member, Error> {
        let by = patience.deadline();
        let long = Deadline::after(Deadline::DEFAULT);
        for round in 0..ROUNDS {
            pause::after(round, patience.remaining()).await;
            if by.is_some_and(Deadline::is_past) {
                return Err(Error::new(VERB, base, ErrorKind::Timeout)
                    .with_detail("there was no time left to join others"));
            }
            // A session that ended in an earlier round is not known by then.
            let session = session_of(&self.conn, base, by).await?;
            let conn = BoundConn::new(self.conn.clone(), &session).by(by);
            let door = match self.door(&conn, base).await {
                Ok(door) => door,
                Err(err) if err.kind() == ErrorKind::SessionExpired && round == 0 => continue,
                Err(err) => return Err(err),
            };
            let mut stay = self.enter(&conn, &session, &door);
            let made = match stay.place.made().await {
                // Whoever raised the version may have been listed before the reply could be asked for.
                Err(err) if may_stand(err.kind()) => {
                    stay.place.found().await.ok().flatten().ok_or(err)
                }
                made => made,
            };
            let err = match made {
                Ok((path, stat)) => {
                    if !session.owns(&stat) {
                        return Err(Error::new(VERB, base, ErrorKind::SessionExpired));
                    }
                    let joined = (conn, session, stay);
                    return Member::new(joined, base.clone(), (path, stat), door.is_behind);
                }
                // Whatever there is of it is removed with the stay; another try has another id.
                Err(err) if may_stand(err.kind()) && !long.is_past() => continue,
                Err(err) => err,
            };
            if !may_stand(err.kind()) {
                stay.never_began();
            }
            match err.kind() {
                ErrorKind::NodeExists if err.index() == Some(door.steps.len()) => {
                    return Err(Error::new(VERB, &door.group, ErrorKind::NodeExists).with_detail(
                        "the number of its next member is taken by a node that no server numbered; \
                         delete that",
                    ));
                }
                // Published, deleted, or made by another: look again.
                ErrorKind::BadVersion | ErrorKind::NodeExists => {}
                ErrorKind::NoNode => self.can_be_there(&conn, base).await?,
                ErrorKind::SessionExpired if round == 0 => {}
                _ => return Err(err),
            }
        }
        Err(Error::new(VERB, base, ErrorKind::Contended).with_detail("groups come and go"))
    }

    /// Which group to enter, and on which conditions.
    async fn door(&self, conn: &BoundConn<Ours>, base: &ZkPath) -> Result<Door, Error> {
        let open = |mode: Mode| CreateOptions::from(mode).with_acl(self.acl.clone());
        let Some(mut view) = View::of(conn, base, None).await? else {
            let group = groups::first(base);
            let steps = Multi::new().create(base, "", open(Mode::Persistent)).create(
                &group,
                "",
                open(Mode::Persistent),
            );
            return Ok(Door { group, steps, is_behind: false });
        };
        view.tidy(conn).await;
        let is_behind = view.held().is_some();
        let Some(group) = view.awaiting() else {
            let group = view.next(base);
            let steps = Multi::new()
                // Nobody has published since, so no list was ever of a group with this number.
                .check(base, Version::Exact(view.base.version))
                .create(&group, "", open(Mode::Persistent));
            return Ok(Door { group, steps, is_behind });
        };
        let at = Version::Exact(group.stat.version);
        let steps = match is_led_by_an_original(conn, group).await? {
            true => Multi::new().set(&group.path, "", at),
            false => Multi::new().check(&group.path, at),
        };
        Ok(Door { group: group.path.clone(), steps, is_behind })
    }

    /// Asks for the own node.
    fn enter(&self, conn: &BoundConn<Ours>, session: &Session, door: &Door) -> Stay {
        let id = names::random_id();
        let data = Bytes::from(Owner::here(&id).to_json());
        let options = CreateOptions::from(Mode::EphemeralSequential)
            .with_acl(self.acl.clone())
            .with_id(id.as_str());
        let steps = door.steps.clone().create(door.group.child(NODE), &data, &options);
        let asked = made_last(conn, conn.multi(steps));
        let place = Place::awaiting(conn, session, &door.group, (data, &id), asked);
        Stay::new(conn, session, door.group.clone(), place)
    }

    /// Why the group could not be entered, unless another try may.
    async fn can_be_there(&self, conn: &dyn Conn, base: &ZkPath) -> Result<(), Error> {
        let Some(parent) = base.parent() else { return Ok(()) };
        if conn.exists(&parent).await?.is_some() {
            return Ok(());
        }
        Err(Error::new(VERB, base, ErrorKind::NoNode)
            .with_detail(format!("its parent must exist; create {parent}")))
    }
}

/// Whether whoever leads the group is of the original: those of this crate say who they are.
async fn is_led_by_an_original(conn: &dyn Conn, group: &Group) -> Result<bool, Error> {
    let Some((first, _)) = group.nodes.members.first() else { return Ok(false) };
    let leader = conn.exists(group.path.child(first)).await?;
    Ok(leader.is_some_and(|stat| stat.data_length == 0))
}

/// The node that the last step of a transaction made, with its facts; older servers do not tell those.
fn made_last(conn: &BoundConn<Ours>, joined: Pending<Vec<MultiReply>>) -> Pending<(ZkPath, Stat)> {
    let conn = conn.clone();
    Pending::new(async move {
        let mut replies = joined.await?;
        let Some(MultiReply::Created { path, stat }) = replies.pop() else {
            return Err(Error::new(VERB, "", ErrorKind::Unexpected));
        };
        if let Some(stat) = stat {
            return Ok((path, stat));
        }
        // The node is there, so whatever this meets must not read as a refusal.
        match conn.by(None).exists(&path).await {
            Ok(Some(stat)) => Ok((path, stat)),
            Ok(None) => Err(Error::new(VERB, &path, ErrorKind::Revoked)),
            Err(err) if err.kind() == ErrorKind::SessionExpired => Err(err),
            Err(err) => Err(Error::new(VERB, &path, ErrorKind::OutcomeUnknown).with_cause(err)),
        }
    })
}
