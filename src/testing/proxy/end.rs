//! Ends sessions at the server as their owner would, with the passwords that have passed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::faults::Shared;
use crate::testing::wire::{ClientFrame, ConnectRequest, ConnectResponse, Hidden, Request, frame};

/// How long a server may take for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets new connections go on, whatever comes.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.set(|faults| faults.waiting = true);
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(|faults| faults.waiting = false);
    }
}

/// Ends the sessions of all connections; says how many.
pub(super) async fn end_sessions(shared: &Shared, server: SocketAddr) -> io::Result<usize> {
    // A client whose session is taken from it comes back for it at once, and must not get it.
    let _waiting = Waiting::begin(shared);
    let mut ended = 0;
    for (id, passwd) in shared.credentials() {
        let end = end_session(server, id, passwd);
        if tokio::time::timeout(PATIENCE, end).await.map_err(io::Error::other)?? {
            ended += 1;
            shared.bite(|bites| bites.ended += 1);
        }
    }
    Ok(ended)
}

/// Whether there was such a session to end.
async fn end_session(server: SocketAddr, id: i64, passwd: Hidden) -> io::Result<bool> {
    let mut stream = TcpStream::connect(server).await?;
    let connect = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout: 10_000,
        session_id: id,
        passwd,
        read_only: Some(false),
    };
    stream.write_all(&frame::framed(&connect.encode())).await?;
    let mut bytes = BytesMut::new();
    let answer = receive(&mut stream, &mut bytes).await?;
    let answer = ConnectResponse::decode(answer).map_err(io::Error::other)?;
    if answer.session_id != id {
        return Ok(false);
    }
    let close = ClientFrame::Request { xid: 1, request: Request::CloseSession {} };
    stream.write_all(&frame::framed(&close.encode())).await?;
    // Its reply comes when the session is over everywhere.
    receive(&mut stream, &mut bytes).await?;
    Ok(true)
}

async fn receive(stream: &mut TcpStream, bytes: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        if let Some(payload) = frame::next(bytes, frame::FROM_SERVER).map_err(io::Error::other)? {
            return Ok(payload);
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
