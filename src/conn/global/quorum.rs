//! One quorum of a set: its connection, and what it is called in messages.

use std::fmt;
use std::sync::Arc;

use super::identity::{Identity, Wrong};
use super::remedy::Remedy;
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::path::ZkPath;
use crate::request::{Op, Reply, Request};

/// A quorum of a set, counted from 1; the first is number 1.
#[derive(Clone, Debug)]
pub(super) struct Quorum {
    pub(super) number: usize,
    pub(super) conn: Arc<dyn Conn>,
    /// What people are told to type.
    pub(super) remedy: Arc<Remedy>,
}

impl Quorum {
    /// `err`, saying where it came from.
    pub(super) fn blame(&self, err: &Error) -> String {
        match err.detail() {
            // It has been said already.
            Some(detail) if err.kind() == ErrorKind::WrongQuorum => detail.to_string(),
            Some(detail) => format!("{self}: {}: {detail}", err.kind()),
            None if err.path().is_empty() => format!("{self}: {}", err.kind()),
            None => format!("{self}: {} {}: {}", err.op(), err.path(), err.kind()),
        }
    }

    /// The same, saying where it came from.
    pub(super) fn told(&self, err: Error) -> Error {
        let detail = self.blame(&err);
        err.with_detail(detail)
    }

    /// The session in which it is asked now.
    pub(super) async fn session(&self, home: &ZkPath, deadline: Deadline) -> Result<i64, Error> {
        let mut asked = Request::new(Op::Session, home.clone());
        asked.deadline = deadline;
        match self.conn.call(asked).await? {
            Reply::Session(session) => Ok(session.id()),
            _ => Err(Error::odd("session", home)),
        }
    }

    /// The error for a quorum that is not the one that it is used as.
    pub(super) fn wrong(&self, why: &Wrong) -> Error {
        let why = why.told(self.number, &self.remedy);
        Error::new("identity", "", ErrorKind::WrongQuorum).with_detail(format!("{self} {why}"))
    }

    /// The error for a quorum of which somebody else made another meanwhile.
    pub(super) fn contended(&self, verb: &'static str) -> Error {
        Error::new(verb, "", ErrorKind::Contended)
            .with_detail(format!("the identity of {self} changed meanwhile; look again"))
    }

    /// Whether `err` is what is told of this quorum when it has no identity, and not that it cannot
    /// answer.
    pub(super) fn says_nothing(&self, err: &Error) -> bool {
        err.kind() == ErrorKind::WrongQuorum && err.detail() == self.wrong(&Wrong::Missing).detail()
    }

    /// The identity in an answer, with its version.
    pub(super) fn identity(&self, answer: Result<Node, Error>) -> Result<(Identity, i32), Error> {
        match answer {
            Ok(node) => match Identity::parse(&node.data) {
                Ok(identity) => Ok((identity, node.stat.version)),
                Err(why) => Err(self.wrong(&Wrong::Unreadable(why))),
            },
            Err(err) if err.kind() == ErrorKind::NoNode => Err(self.wrong(&Wrong::Missing)),
            Err(err) => Err(err),
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => write!(f, "quorum 1, the first, {}", self.conn),
            number => write!(f, "quorum {number}, a mirror, {}", self.conn),
        }
    }
}
