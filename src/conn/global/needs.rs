//! What has to be known before a call is sent to the first.

use super::Shared;
use crate::node::CreateOptions;
use crate::path::ZkPath;
use crate::request::{MultiOp, Op, Request};

/// Who has to be who he should be before a call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// It only reads.
    Nobody,
    /// It changes what is the first's alone.
    First,
    Mirrors,
}

/// Whether the first has to say that it still is one right before a call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// The call says so itself, or changes nothing.
    Within,
    Wanted,
    UnderWay,
    Passed,
}

impl Guard {
    pub(super) fn of(request: &Request) -> Self {
        match &request.op {
            // No multi can hold it.
            Op::SetAcl { .. } => Guard::Wanted,
            _ => Guard::Within,
        }
    }
}

impl Shared {
    /// Who must be known for a request.
    pub(super) fn needs(&self, request: &Request) -> Needs {
        let path = &request.path;
        let of_own = |path: &ZkPath| match self.own().contains(path) {
            true => Needs::First,
            false => Needs::Mirrors,
        };
        let of_new = |options: &CreateOptions| match options.mode.is_ephemeral() {
            true => Needs::First,
            false => Needs::Mirrors,
        };
        let needs = match &request.op {
            Op::Create { options, .. } => of_new(options),
            Op::Set { .. } | Op::Delete { .. } | Op::SetAcl { .. } => of_own(path),
            Op::Multi(ops) => {
                let of = |op: &MultiOp| match op {
                    MultiOp::Check { .. } => Needs::Nobody,
                    MultiOp::Create { options, .. } => of_new(options),
                    op => of_own(op.path()),
                };
                ops.iter().map(of).max().unwrap_or(Needs::Nobody)
            }
            op if op.is_write() => Needs::Mirrors,
            _ => Needs::Nobody,
        };
        match request.is_confirmed_by_first() {
            true => needs.min(Needs::First),
            false => needs,
        }
    }

    /// Where a request changes what is remembered to be ephemeral, if it matters whether it still is.
    pub(super) fn relied(&self, request: &Request) -> Vec<ZkPath> {
        // Mirrors need not be known for it, whatever it changes.
        if request.is_confirmed_by_first() {
            return Vec::new();
        }
        let changed: Vec<&ZkPath> = match &request.op {
            Op::Set { .. } | Op::Delete { .. } | Op::SetAcl { .. } => vec![&request.path],
            Op::Multi(ops) => ops
                .iter()
                .filter(|op| matches!(op, MultiOp::Set { .. } | MultiOp::Delete { .. }))
                .map(MultiOp::path)
                .collect(),
            _ => Vec::new(),
        };
        let own = self.own();
        changed.into_iter().filter(|path| own.contains(*path)).cloned().collect()
    }
}
