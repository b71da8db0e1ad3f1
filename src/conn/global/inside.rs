//! What is in the tree of a set, and what is not its business.

use std::sync::Arc;

use super::Shared;
use crate::conn::Pending;
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::path::ZkPath;
use crate::request::{MultiOp, Op, Read, Reply, Request};

impl Shared {
    /// Refuses what is not in the tree of this set. What that tree stands on may be made, as otherwise
    /// nobody could.
    pub(super) fn check_inside(&self, request: &Request) -> Result<(), Error> {
        let is_allowed = |path: &ZkPath, mode: Option<Mode>| {
            let is_ground = self.home.is_above(path) && mode == Some(Mode::Persistent);
            self.home.is_inside(path) || is_ground
        };
        let outside = match &request.op {
            Op::Multi(steps) => steps.iter().find_map(|step| {
                let mode = match step {
                    MultiOp::Create { options, .. } => Some(options.mode),
                    _ => None,
                };
                (!is_allowed(step.path(), mode)).then(|| step.path())
            }),
            // Each of them has an answer of its own.
            Op::Session | Op::Sync | Op::ReadMany(_) => None,
            Op::Create { options, .. } => {
                (!is_allowed(&request.path, Some(options.mode))).then_some(&request.path)
            }
            _ => (!is_allowed(&request.path, None)).then_some(&request.path),
        };
        outside.map_or(Ok(()), |path| Err(self.outside(request.op.name(), path)))
    }

    /// Sends those of many reads on that are in the tree of this set, and answers all of them one by one;
    /// `None` if all are.
    pub(super) fn read_inside(self: &Arc<Self>, request: &Request) -> Option<Pending<Reply>> {
        let Op::ReadMany(reads) = &request.op else { return None };
        let is_inside = |read: &&Read| self.home.is_inside(read.path());
        let inside: Vec<Read> = reads.iter().filter(is_inside).cloned().collect();
        if inside.len() == reads.len() {
            return None;
        }
        let refused: Vec<Option<Error>> = reads
            .iter()
            .map(|read| {
                let is_out = !self.home.is_inside(read.path());
                is_out.then(|| self.outside(read.name(), read.path()))
            })
            .collect();
        let asked = match inside.first() {
            None => Pending::ready(Ok(Reply::Many(Vec::new()))),
            Some(first) => {
                let path = first.path().clone();
                self.enter(Request { op: Op::ReadMany(inside), path, ..request.clone() })
            }
        };
        let shown = request.path.clone();
        Some(asked.and_then(move |reply| {
            let Reply::Many(found) = reply else { return Err(Error::odd("read_many", &shown)) };
            let mut found = found.into_iter();
            let answer = |refused: Option<Error>| match refused {
                Some(err) => Err(err),
                None => found.next().unwrap_or_else(|| Err(Error::odd("read_many", &shown))),
            };
            Ok(Reply::Many(refused.into_iter().map(answer).collect()))
        }))
    }

    fn outside(&self, verb: &'static str, path: &ZkPath) -> Error {
        let top = self.home.top();
        let why = format!("this set of quorums holds {top}, and nothing else");
        Error::new(verb, path, ErrorKind::BadPath).with_detail(why)
    }
}
