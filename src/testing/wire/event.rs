//! What servers tell without being asked.

use bytes::{Bytes, BytesMut};

use super::error::WireError;
use super::jute::Record;

/// The news for a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened: -1 none, 1 created, 2 deleted, 3 data changed, 4 children changed,
    /// 5 to 7 a watch was removed.
    pub kind: i32,
    /// How the session is: 0 disconnected, 3 connected, 4 authentication failed, 5 read-only,
    /// 6 authenticated by SASL, 7 closed, -112 expired.
    pub state: i32,
    /// Where it happened.
    pub path: String,
}

impl Record for WatchEvent {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Ok(WatchEvent {
            kind: Record::read(from)?,
            state: Record::read(from)?,
            path: Record::read(from)?,
        })
    }

    fn write(&self, to: &mut BytesMut) {
        self.kind.write(to);
        self.state.write(to);
        self.path.write(to);
    }
}
