//! What a request leaves with its caller.

use std::sync::Arc;

use super::events::{Ear, Events, Held, Listener};
use super::watches::Watcher;
use crate::hold::Hold;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::session::Session;
use crate::watch::{TreeWatch, Watch};

/// A watch or a hold, until the reply takes it along.
pub(super) enum Left {
    Nothing,
    Once(Watch),
    Tree(TreeWatch),
    Hold(Hold),
}

impl Left {
    /// What `request` leaves, and the other end of it, for the quorum.
    pub(super) fn by(
        request: &Request,
        session: &Session,
        events: &Arc<Events>,
    ) -> (Option<Box<dyn Watcher>>, Left) {
        match request.op {
            Op::Get(LeaveWatch::Yes)
            | Op::Children(LeaveWatch::Yes)
            | Op::Exists(LeaveWatch::Yes) => {
                let (sender, watch) = Watch::channel(request.path.clone());
                let listener = Listener::new(Ear::Once(sender), events);
                (Some(Box::new(listener)), Left::Once(watch))
            }
            Op::WatchTree => {
                let (sender, tree) = TreeWatch::channel(request.path.clone());
                let listener = Listener::new(Ear::Tree(sender), events);
                (Some(Box::new(listener)), Left::Tree(tree))
            }
            Op::Hold(_) => {
                let path = request.path.clone();
                let (sender, hold) = Hold::channel(path.clone(), session.clone(), None);
                (Some(Box::new(Held { path, sender })), Left::Hold(hold))
            }
            _ => (None, Left::Nothing),
        }
    }

    pub(super) fn put_into(self, reply: Reply) -> Reply {
        match (self, reply) {
            (Left::Once(watch), Reply::Node(node, _)) => Reply::Node(node, Some(watch)),
            (Left::Once(watch), Reply::Children(children, _)) => {
                Reply::Children(children, Some(watch))
            }
            (Left::Once(watch), Reply::Exists(stat, _)) => Reply::Exists(stat, Some(watch)),
            (Left::Tree(tree), _) => Reply::Tree(tree),
            (Left::Hold(hold), _) => Reply::Hold(hold),
            (_, reply) => reply,
        }
    }
}
