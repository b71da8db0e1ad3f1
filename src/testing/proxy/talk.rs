//! What is said on one connection, and what becomes of each frame by the faults of the moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::connection::Live;
use super::faults::{Direction, Shared, kind_of};
use super::line::Bite;
use super::log::{Fate, LogEntry};
use crate::fault::{OpKind, take};
use crate::testing::wire::{
    ClientFrame, ConnectResponse, Dialogue, ErrorCode, OpCode, Request, Response, ServerFrame,
    frame, xid,
};

/// What came out of a stream.
pub(super) enum Payload {
    /// What a frame held.
    Frame(Bytes),
    /// Bytes that are no frames, as they are.
    Raw(Bytes),
}

/// What becomes of a frame.
pub(super) enum Verdict {
    Pass,
    Withhold,
    /// The connection breaks in its place.
    Break(Bite),
    /// It is answered by the proxy.
    Answer(Bytes, Bite),
    Late(Duration),
    Twice,
}

/// One connection, as far as it was read.
pub(super) struct Talk {
    state: Mutex<State>,
    shared: Arc<Shared>,
    live: Live,
    number: u64,
}

#[derive(Default)]
struct State {
    /// Whether what passes is no frames (any more).
    raw: bool,
    /// Whether the client has been told that its session is over.
    over: bool,
    dialogue: Dialogue,
    asked: HashMap<i32, Asked>,
}

/// A request without an answer.
struct Asked {
    op: OpCode,
    kind: OpKind,
    paths: Vec<String>,
    swallow: bool,
}

impl Talk {
    pub(super) fn new(shared: Arc<Shared>, live: Live, number: u64) -> Self {
        Talk { state: Mutex::default(), shared, live, number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads no frames from here on.
    pub(super) fn is_raw(&self) {
        self.state().raw = true;
    }

    /// Takes the next whole piece out of `bytes`.
    pub(super) fn next(&self, bytes: &mut BytesMut) -> Option<Payload> {
        let mut state = self.state();
        if !state.raw {
            match frame::next(bytes, frame::FROM_SERVER) {
                Ok(payload) => return payload.map(Payload::Frame),
                // The server will know what to do about it.
                Err(_) => state.raw = true,
            }
        }
        (!bytes.is_empty()).then(|| Payload::Raw(bytes.split().freeze()))
    }

    /// Decides about a frame of the client.
    pub(super) fn client(&self, payload: &Bytes) -> Verdict {
        let mut state = self.state();
        let mut entry = self.entry(Direction::ToServer);
        let verdict = match state.dialogue.client(payload.clone()) {
            Ok(ClientFrame::Connect(connect)) => {
                let expire = connect.session_id != 0
                    && self.change(|faults| match faults.expire.checked_sub(1) {
                        Some(rest) => {
                            faults.expire = rest;
                            true
                        }
                        None => false,
                    });
                state.over = expire;
                if expire {
                    let answer = ConnectResponse::expired(&connect).encode();
                    Verdict::Answer(answer, Bite::ToldExpired)
                } else {
                    Verdict::Pass
                }
            }
            Ok(ClientFrame::Request { xid, request }) => {
                let (kind, paths) = (kind_of(&request), paths(&request));
                (entry.xid, entry.op) = (xid, Some(request.op()));
                (entry.kind, entry.paths) = (Some(kind), paths.clone());
                let dropped = self.change(|faults| take(&mut faults.drop, kind, &paths));
                if dropped {
                    Verdict::Break(Bite::Dropped)
                } else {
                    let swallow = self.change(|faults| take(&mut faults.swallow, kind, &paths));
                    let asked = Asked { op: request.op(), kind, paths, swallow };
                    state.asked.insert(xid, asked);
                    Verdict::Pass
                }
            }
            // The server will know what to do about it.
            Err(_) => Verdict::Pass,
        };
        let over = state.over && matches!(verdict, Verdict::Pass);
        self.enter(entry, if over { Verdict::Withhold } else { verdict })
    }

    /// Decides about a frame of the server.
    pub(super) fn server(&self, payload: &Bytes) -> Verdict {
        let mut state = self.state();
        let mut entry = self.entry(Direction::ToClient);
        let verdict = match state.dialogue.server(payload.clone()) {
            Ok(ServerFrame::Connected(connected)) => {
                if connected.session_id != 0 && connected.timeout != 0 {
                    self.live.has_session(connected.session_id, connected.passwd);
                }
                Verdict::Pass
            }
            Ok(ServerFrame::Event { event, .. }) => {
                entry.xid = xid::EVENT;
                entry.paths = vec![event.path];
                if let Some(delay) = self.change(|faults| faults.late.pop_front()) {
                    Verdict::Late(delay)
                } else if self.change(|faults| {
                    let any = faults.twice > 0;
                    faults.twice -= usize::from(any);
                    any
                }) {
                    Verdict::Twice
                } else {
                    Verdict::Pass
                }
            }
            Ok(ServerFrame::Reply { xid, result, .. }) => {
                entry.xid = xid;
                entry.error = error(&result);
                let asked = state.asked.remove(&xid);
                let swallow = asked.as_ref().is_some_and(|asked| asked.swallow);
                if let Some(asked) = asked {
                    (entry.op, entry.kind) = (Some(asked.op), Some(asked.kind));
                    entry.paths = asked.paths;
                }
                if swallow { Verdict::Break(Bite::Swallowed) } else { Verdict::Pass }
            }
            Err(_) => Verdict::Pass,
        };
        self.enter(entry, verdict)
    }

    fn entry(&self, direction: Direction) -> LogEntry {
        LogEntry {
            at: Instant::now(),
            connection: self.number,
            direction,
            xid: 0,
            op: None,
            kind: None,
            paths: Vec::new(),
            error: None,
            fate: Fate::Passed,
        }
    }

    fn enter(&self, mut entry: LogEntry, verdict: Verdict) -> Verdict {
        entry.fate = match verdict {
            Verdict::Pass => Fate::Passed,
            Verdict::Withhold | Verdict::Break(_) | Verdict::Answer(..) => Fate::Withheld,
            Verdict::Late(_) => Fate::Late,
            Verdict::Twice => Fate::Doubled,
        };
        self.shared.log().enter(entry);
        verdict
    }

    /// Uses up what is armed. Lines need not look again for it, so nobody is woken.
    fn change<T>(&self, change: impl FnOnce(&mut super::faults::Faults) -> T) -> T {
        let mut change = Some(change);
        let mut result = None;
        self.shared.faults.send_if_modified(|faults| {
            result = change.take().map(|change| change(faults));
            false
        });
        // The closure above runs once, before `send_if_modified` returns.
        #[allow(clippy::expect_used, reason = "see above")]
        result.expect("the change was made")
    }
}

/// All paths that a request is about.
fn paths(request: &Request) -> Vec<String> {
    match request {
        Request::Multi { ops } | Request::MultiRead { ops } => {
            ops.0.iter().filter_map(Request::path).map(str::to_owned).collect()
        }
        other => other.path().map(str::to_owned).into_iter().collect(),
    }
}

/// The error in an answer, that of a failed multi included.
fn error(result: &Result<Response, ErrorCode>) -> Option<ErrorCode> {
    match result {
        Err(error) => Some(*error),
        Ok(Response::Multi { results }) => {
            let errors = results.0.iter().filter_map(|result| result.as_ref().err());
            let mut errors = errors.filter(|error| **error != ErrorCode::OK);
            errors.next().copied()
        }
        Ok(_) => None,
    }
}
