//! Both sides of one connection: pairs answers with the requests that say how to read them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::code::{ErrorCode, OpCode, xid};
use super::connect::{ConnectRequest, ConnectResponse};
use super::error::WireError;
use super::event::WatchEvent;
use super::jute::{Record, end, whole};
use super::request::Request;
use super::response::Response;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientFrame {
    /// The first frame.
    Connect(ConnectRequest),
    /// Every other one.
    Request {
        /// The number that the answer will have.
        xid: i32,
        /// What is asked for.
        request: Request,
    },
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerFrame {
    /// The first frame.
    Connected(ConnectResponse),
    /// The answer to a request.
    Reply {
        /// The number of the request.
        xid: i32,
        /// The latest transaction that the server has seen.
        zxid: i64,
        /// What it came to.
        result: Result<Response, ErrorCode>,
    },
    /// The news for a watch.
    Event {
        /// -1; since ZooKeeper 3.9 the transaction that made the news.
        zxid: i64,
        /// What happened.
        event: WatchEvent,
    },
}

impl ClientFrame {
    /// The payload.
    pub fn encode(&self) -> Bytes {
        match self {
            ClientFrame::Connect(connect) => connect.encode(),
            ClientFrame::Request { xid, request } => {
                let mut to = BytesMut::new();
                xid.write(&mut to);
                request.op().write(&mut to);
                request.write(&mut to);
                to.freeze()
            }
        }
    }
}

impl ServerFrame {
    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        match self {
            ServerFrame::Connected(connected) => return connected.encode(),
            ServerFrame::Reply { xid, zxid, result } => {
                xid.write(&mut to);
                zxid.write(&mut to);
                match result {
                    Ok(response) => {
                        ErrorCode::OK.write(&mut to);
                        response.write(&mut to);
                    }
                    Err(error) => error.write(&mut to),
                }
            }
            ServerFrame::Event { zxid, event } => {
                xid::EVENT.write(&mut to);
                zxid.write(&mut to);
                ErrorCode::OK.write(&mut to);
                event.write(&mut to);
            }
        }
        to.freeze()
    }
}

/// Reads the payloads of one connection, both ways, in the order of the wire.
///
/// A payload that is refused costs nothing but itself: the dialogue goes on with the next one.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    client_connected: bool,
    server_connected: bool,
    /// What has no answer yet. Answers come in order, but for pings and a broken order of xids.
    pending: VecDeque<(i32, i32)>,
}

impl Dialogue {
    /// A connection of which nothing was read.
    pub fn new() -> Self {
        Dialogue::default()
    }

    /// A connection whose first payloads each way were read elsewhere.
    pub fn connected() -> Self {
        Dialogue { client_connected: true, server_connected: true, ..Dialogue::default() }
    }

    /// Reads the next payload of the client.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes; its answer is known all the same when the header was good.
    pub fn client(&mut self, mut payload: Bytes) -> Result<ClientFrame, WireError> {
        if !std::mem::replace(&mut self.client_connected, true) {
            return ConnectRequest::decode(payload).map(ClientFrame::Connect);
        }
        let xid = i32::read(&mut payload)?;
        let op = i32::read(&mut payload)?;
        self.pending.push_back((xid, op));
        let request = Request::decode(OpCode::try_from(op)?, payload)?;
        Ok(ClientFrame::Request { xid, request })
    }

    /// Reads the next payload of the server.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes; `Xid` for an answer to nothing that was asked.
    pub fn server(&mut self, mut payload: Bytes) -> Result<ServerFrame, WireError> {
        if !std::mem::replace(&mut self.server_connected, true) {
            return ConnectResponse::decode(payload).map(ServerFrame::Connected);
        }
        let xid = i32::read(&mut payload)?;
        let zxid = i64::read(&mut payload)?;
        let error = ErrorCode::read(&mut payload)?;
        if xid == xid::EVENT {
            return Ok(ServerFrame::Event { zxid, event: whole(payload)? });
        }
        let place = self.pending.iter().position(|(pending, _)| *pending == xid);
        let (_, op) =
            place.and_then(|place| self.pending.remove(place)).ok_or(WireError::Xid(xid))?;
        let result = if error == ErrorCode::OK {
            Ok(Response::decode(OpCode::try_from(op)?, payload)?)
        } else {
            end(&payload)?;
            Err(error)
        };
        Ok(ServerFrame::Reply { xid, zxid, result })
    }

    /// What the client has asked for and has no answer to, oldest first: the xid, and the number of
    /// the operation, which may be an unknown one.
    pub fn pending(&self) -> impl Iterator<Item = (i32, i32)> + '_ {
        self.pending.iter().copied()
    }
}
