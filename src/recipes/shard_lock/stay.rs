//! A stay in a group, and what becomes of the group when it ends without a range.

use futures::FutureExt as _;

use super::groups;
use crate::background::KEEPER;
use crate::conn::bound::BoundConn;
use crate::path::ZkPath;
use crate::recipes::ours::Ours;
use crate::recipes::place::Place;
use crate::session::Session;

/// An own node in a group. Whoever drops it leaves, and takes the group along if nobody else is in it:
/// holders would be asked to reshard for nobody.
#[derive(Debug)]
pub(super) struct Stay {
    conn: BoundConn<Ours>,
    session: Session,
    group: ZkPath,
    pub(super) place: Place,
    /// Whether nothing is left to be cleared up here.
    is_over: bool,
}

impl Stay {
    pub(super) fn new(
        conn: &BoundConn<Ours>,
        session: &Session,
        group: ZkPath,
        place: Place,
    ) -> Self {
        let (conn, session) = (conn.clone().by(None), session.clone());
        Stay { conn, session, group, place, is_over: false }
    }

    /// It never began: the own node was refused.
    pub(super) fn never_began(mut self) {
        self.is_over = true;
    }

    /// The own node, which somebody holds a range with.
    pub(super) fn into_place(mut self) -> Place {
        self.is_over = true;
        self.place.take()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (conn, session) = (self.conn.clone(), self.session.clone());
        let (group, mut place) = (self.group.clone(), self.place.take());
        let mut leaving = async move {
            // Whichever way it went; behind the end of the session the look is refused.
            let _ = place.leave().await;
            groups::clear(&conn, &session, &group, None).await;
        }
        .boxed();
        // The node is asked to go before whatever the caller does next; nobody waits for the rest.
        if (&mut leaving).now_or_never().is_none() {
            // Without a thread for it, the place sees to the node, and the group stays.
            let _ = KEEPER.spawn(leaving);
        }
    }
}
