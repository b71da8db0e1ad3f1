//! Writes to the first that happen only if it is who we took it for: each becomes a multi whose first
//! step checks the identity. So even a quorum that came back empty between two calls takes none. The
//! second step counts them.

use super::home::Home;
use super::identity::Identity;
use crate::error::{Error, ErrorKind};
use crate::request::{MultiOp, MultiReply, Op, Reply, Request};

/// How much more a write takes on its way than in the hands of its caller, in the most: on the
/// mirrors, a check and a fence stand before it.
pub(super) const ROOM: usize = 2048;

/// How much of that is the check of the first's identity.
pub(super) const CHECK: usize = 512;

/// What was asked for, as steps; `None` for what no multi can do: a new access list.
pub(super) fn steps(request: &Request) -> Option<Vec<MultiOp>> {
    let path = request.path.clone();
    Some(match &request.op {
        Op::Create { data, options } => {
            vec![MultiOp::Create { path, data: data.clone(), options: options.clone() }]
        }
        Op::Set { data, version } => {
            vec![MultiOp::Set { path, data: data.clone(), version: *version }]
        }
        Op::Delete { version } => vec![MultiOp::Delete { path, version: *version }],
        Op::Multi(ops) => ops.clone(),
        _ => return None,
    })
}

/// How many steps stand before those that were asked for.
const AHEAD: usize = 2;

/// `steps`, behind the check that the first is still `first`, and counted from what is `known`.
pub(super) fn guarded(
    request: &Request,
    steps: &[MultiOp],
    home: &Home,
    first: &Identity,
    known: i64,
) -> Request {
    let ops =
        [home.check(first), home.counted(known)].into_iter().chain(steps.iter().cloned()).collect();
    let mut guarded = Request::new(Op::Multi(ops), home.path().clone());
    (guarded.deadline, guarded.session) = (request.deadline, request.session);
    guarded.counting = AHEAD;
    guarded
}

/// Why a guarded write was not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The quorum is not who we took it for.
    Guard,
    /// Something else, in the words of what was asked.
    Other(Error),
}

/// The answer to a guarded write as one reply for each step, and the version that counts it, if that is
/// known.
pub(super) fn opened(
    request: &Request,
    answer: Result<Reply, Error>,
) -> Result<(Vec<MultiReply>, Option<i32>), Refusal> {
    match answer {
        Ok(Reply::Multi(mut replies)) if replies.len() >= AHEAD => {
            let asked = replies.split_off(AHEAD);
            match replies.pop() {
                Some(MultiReply::Set(stat)) => Ok((asked, Some(stat.version))),
                // It was counted, and others were since.
                Some(MultiReply::Checked) => Ok((asked, None)),
                _ => Err(Refusal::Other(request.error(ErrorKind::Unexpected))),
            }
        }
        Ok(_) => Err(Refusal::Other(Error::odd(request.op.name(), &request.path))),
        Err(err) => Err(match (err.index(), &request.op) {
            (Some(..AHEAD), _) => Refusal::Guard,
            (Some(index), Op::Multi(_)) => Refusal::Other(err.at_index(Some(index - AHEAD))),
            (_, op) => Refusal::Other(err.at_index(None).during(op.name()).at(&request.path)),
        }),
    }
}
