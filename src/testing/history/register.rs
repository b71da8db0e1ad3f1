//! One node as a register, for the search of an order.

use porcupine_rs::Model;

use crate::error::ErrorKind;
use crate::node::Version;

/// The model of a node: its version and its data, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Register;

/// What a node holds: its version, and a number for its data.
pub(super) type Held = Option<(i32, usize)>;

/// A call on a node with the answer that it got.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create { data: usize, end: End },
    Set { data: usize, version: Version, end: End },
    Delete { version: Version, end: End },
    Read { seen: Held },
    Look { seen: Option<i32> },
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was done, and made this version, if the answer tells so surely.
    Done(Option<i32>),
    /// It was refused for what the node was.
    Refused(ErrorKind),
    /// It was done or refused; when it comes last, that is as if it had never been.
    Maybe,
}

impl End {
    /// Whether it may be told of a write that makes `next`, or nothing with a refusal.
    fn allows(self, next: Result<Held, ErrorKind>) -> bool {
        match (self, next) {
            (End::Maybe, _) => true,
            (End::Done(Some(version)), Ok(next)) => next.is_some_and(|(now, _)| now == version),
            (End::Done(None), Ok(_)) => true,
            (End::Refused(told), Err(kind)) => told == kind,
            _ => false,
        }
    }
}

impl Model for Register {
    type State = Held;
    type Op = Step;
    type Metadata = ();

    fn init() -> Held {
        None
    }

    fn step(state: &Held, step: &Step) -> (bool, Held) {
        let (end, next) = match step {
            Step::Read { seen } => return (seen == state, *state),
            Step::Look { seen } => return (*seen == state.map(|(version, _)| version), *state),
            Step::Create { data, end } => {
                let free = state.is_none();
                (end, if free { Ok(Some((0, *data))) } else { Err(ErrorKind::NodeExists) })
            }
            Step::Set { data, version, end } => {
                (end, at(state, *version).map(|now| Some((now.wrapping_add(1), *data))))
            }
            Step::Delete { version, end } => (end, at(state, *version).map(|_| None)),
        };
        (end.allows(next), next.unwrap_or(*state))
    }
}

/// The version of the node, if a write that expects `version` is carried out.
fn at(state: &Held, version: Version) -> Result<i32, ErrorKind> {
    match (state, version) {
        (None, _) => Err(ErrorKind::NoNode),
        (Some((now, _)), Version::Exact(expected)) if *now != expected => {
            Err(ErrorKind::BadVersion)
        }
        (Some((now, _)), _) => Ok(*now),
    }
}
