//! A connection that takes down what passes.

use std::fmt;
use std::sync::Arc;

use super::record::{Asked, History, Told};
use crate::conn::{Conn, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::request::{MultiOp, Op, Reply, Request};

/// A connection that records its calls in a [`History`], which [makes](History::conn) it.
///
/// Gets, looks, creates of persistent nodes, sets, deletes and syncs are understood. Other reads pass
/// unseen; other writes pass too, and the history tells that it cannot be judged.
pub struct HistoryConn {
    inner: Arc<dyn Conn>,
    history: History,
    number: usize,
}

impl HistoryConn {
    pub(super) fn new(inner: Arc<dyn Conn>, history: History, number: usize) -> Self {
        HistoryConn { inner, history, number }
    }
}

impl Conn for HistoryConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        let Some(asked) = asked(&request.op) else { return self.inner.call(request) };
        let place = self.history.asks(self.number, request.path.clone(), asked);
        let history = self.history.clone();
        let answer = self.inner.call(request);
        Pending::new(async move {
            let answer = answer.await;
            history.is_told(place, told(&answer));
            answer
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

fn asked(op: &Op) -> Option<Asked> {
    Some(match op {
        Op::Get(_) => Asked::Get,
        Op::Exists(_) => Asked::Exists,
        Op::Sync => Asked::Sync,
        Op::Create { data, options } if options.mode == Mode::Persistent => {
            Asked::Create { data: data.clone() }
        }
        Op::Set { data, version } => Asked::Set { data: data.clone(), version: *version },
        Op::Delete { version } => Asked::Delete { version: *version },
        Op::Create { .. } => Asked::Other(op.name()),
        Op::Multi(ops) if ops.iter().any(|op| !matches!(op, MultiOp::Check { .. })) => {
            Asked::Other(op.name())
        }
        _ => return None,
    })
}

fn told(answer: &Result<Reply, Error>) -> Told {
    match answer {
        Ok(Reply::Node(node, _)) => Told::Seen(Some((Some(node.data.clone()), node.stat))),
        Ok(Reply::Exists(stat, _)) => Told::Seen(stat.map(|stat| (None, stat))),
        Ok(Reply::Created(_, stat) | Reply::Stat(stat)) => Told::Done(Some(*stat)),
        Ok(_) => Told::Done(None),
        Err(err) if err.op() == "get" && err.kind() == ErrorKind::NoNode => Told::Seen(None),
        Err(err) => Told::Failed(err.kind()),
    }
}

impl fmt::Display for HistoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "history({})", self.inner)
    }
}

impl fmt::Debug for HistoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryConn")
            .field("number", &self.number)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
