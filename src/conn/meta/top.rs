//! The node `/zk`, which no quorum has: its children are the cells.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cells::Cells;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Children, Node, Perms, Stat};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::watch::{EventKind, Watch, WatchSender};

pub(super) fn is_top(path: &ZkPath) -> bool {
    path.as_str() == Cells::PREFIX
}

/// The watches on it: a change of the cells is a change of its children.
#[derive(Default)]
pub(super) struct Top {
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    /// On what it holds, which never changes.
    data: Vec<WatchSender>,
    children: Vec<WatchSender>,
    closed: bool,
}

impl Top {
    pub(super) fn answer(&self, cells: &Cells, request: &Request) -> Result<Reply, Error> {
        if self.watches().closed {
            return Err(request.error(ErrorKind::Closed));
        }
        let names: Vec<String> = cells.known().iter().map(ToString::to_string).collect();
        let stat =
            Stat { num_children: names.len().try_into().unwrap_or(i32::MAX), ..Stat::default() };
        let path = &request.path;
        Ok(match &request.op {
            Op::Get(leave) => {
                Reply::Node(Node { stat, ..Node::default() }, self.watch(path, *leave))
            }
            Op::Children(leave) => {
                Reply::Children(Children { names, stat }, self.watch_children(path, *leave))
            }
            Op::Exists(leave) => Reply::Exists(Some(stat), self.watch(path, *leave)),
            Op::Acl => Reply::Acl(vec![Acl::world(Perms::READ)], stat),
            op if op.is_write() => {
                let err = request.error(ErrorKind::ReadOnly);
                return Err(err.with_detail(
                    "it is no node of any quorum, its children are the cells; \
                     write below /zk/<cell>",
                ));
            }
            _ => {
                let err = request.error(ErrorKind::UnknownCell);
                return Err(err.with_detail("it names no cell; expected /zk/<cell>/…"));
            }
        })
    }

    fn watch(&self, path: &ZkPath, leave: LeaveWatch) -> Option<Watch> {
        leave_in(&mut self.watches().data, path, leave)
    }

    fn watch_children(&self, path: &ZkPath, leave: LeaveWatch) -> Option<Watch> {
        leave_in(&mut self.watches().children, path, leave)
    }

    /// The cells are others now.
    pub(super) fn changed(&self) {
        for sender in std::mem::take(&mut self.watches().children) {
            sender.fire(EventKind::ChildrenChanged);
        }
    }

    /// Watches tell the end as they are dropped.
    pub(super) fn close(&self) {
        *self.watches() = Watches { closed: true, ..Watches::default() };
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leave_in(waiting: &mut Vec<WatchSender>, path: &ZkPath, leave: LeaveWatch) -> Option<Watch> {
    if leave == LeaveWatch::No {
        return None;
    }
    let (sender, watch) = Watch::channel(path.clone());
    waiting.retain(|waiting| !waiting.is_withdrawn());
    waiting.push(sender);
    Some(watch)
}
