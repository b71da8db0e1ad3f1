//! The node `/zk`, which no quorum has: its children are the cells.

use std::sync::{Mutex, PoisonError};

use crate::cells::Cells;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Children, Node, Perms, Stat};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply, Request};
use crate::watch::{Watch, WatchSender};

pub(super) fn is_top(path: &ZkPath) -> bool {
    path.as_str() == Cells::PREFIX
}

/// The watches on it. The set of cells stays as it is while the connection lives, so all that they
/// have to tell is the end.
#[derive(Default)]
pub(super) struct Top {
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    waiting: Vec<WatchSender>,
    closed: bool,
}

impl Top {
    pub(super) fn answer(&self, cells: &Cells, request: &Request) -> Result<Reply, Error> {
        if self.watches.lock().unwrap_or_else(PoisonError::into_inner).closed {
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
                Reply::Children(Children { names, stat }, self.watch(path, *leave))
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
        if leave == LeaveWatch::No {
            return None;
        }
        let (sender, watch) = Watch::channel(path.clone());
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.waiting.retain(|waiting| !waiting.is_withdrawn());
        watches.waiting.push(sender);
        Some(watch)
    }

    /// Watches tell the end as they are dropped.
    pub(super) fn close(&self) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.closed = true;
        watches.waiting.clear();
    }
}
