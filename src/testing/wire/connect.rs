//! The first payload each way, which opens a session or takes it up again.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::error::WireError;
use super::jute::{Hidden, Record, end};

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// 0 in all versions that there are.
    pub protocol_version: i32,
    /// The latest transaction that the client has seen; a server that is behind it hangs up.
    pub last_zxid_seen: i64,
    /// The session timeout that is asked for, in milliseconds.
    pub timeout: i32,
    /// The session to take up again; 0 for a new one.
    pub session_id: i64,
    /// What proves that the session is the client's.
    pub passwd: Hidden,
    /// Whether a read-only server will do. Old clients do not say, and are not told either.
    pub read_only: Option<bool>,
}

/// What a server answers first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// 0 in all versions that there are.
    pub protocol_version: i32,
    /// The session timeout that is granted, in milliseconds; 0 says that the session is over.
    pub timeout: i32,
    /// The session; 0 says that it is over.
    pub session_id: i64,
    /// What takes the session up again.
    pub passwd: Hidden,
    /// Whether the server is read-only; only clients that said so themselves are told.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes.
    pub fn decode(mut payload: Bytes) -> Result<Self, WireError> {
        let from = &mut payload;
        Ok(ConnectRequest {
            protocol_version: Record::read(from)?,
            last_zxid_seen: Record::read(from)?,
            timeout: Record::read(from)?,
            session_id: Record::read(from)?,
            passwd: Record::read(from)?,
            read_only: read_only(from)?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        self.protocol_version.write(&mut to);
        self.last_zxid_seen.write(&mut to);
        self.timeout.write(&mut to);
        self.session_id.write(&mut to);
        self.passwd.write(&mut to);
        write_read_only(self.read_only, &mut to);
        to.freeze()
    }
}

impl ConnectResponse {
    /// What servers answer whose session is over, or was never there.
    pub fn expired(request: &ConnectRequest) -> Self {
        ConnectResponse {
            protocol_version: 0,
            timeout: 0,
            session_id: 0,
            passwd: Hidden::from(&[0; 16][..]),
            read_only: request.read_only.map(|_| false),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes.
    pub fn decode(mut payload: Bytes) -> Result<Self, WireError> {
        let from = &mut payload;
        Ok(ConnectResponse {
            protocol_version: Record::read(from)?,
            timeout: Record::read(from)?,
            session_id: Record::read(from)?,
            passwd: Record::read(from)?,
            read_only: read_only(from)?,
        })
    }

    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        self.protocol_version.write(&mut to);
        self.timeout.write(&mut to);
        self.session_id.write(&mut to);
        self.passwd.write(&mut to);
        write_read_only(self.read_only, &mut to);
        to.freeze()
    }
}

/// The byte that old versions leave out; nothing follows it.
fn read_only(from: &mut Bytes) -> Result<Option<bool>, WireError> {
    if !from.has_remaining() {
        return Ok(None);
    }
    let read_only = bool::read(from)?;
    end(from)?;
    Ok(Some(read_only))
}

fn write_read_only(read_only: Option<bool>, to: &mut BytesMut) {
    if let Some(read_only) = read_only {
        to.put_u8(read_only.into());
    }
}
