//! ZooKeeper's wire protocol as values: every request, every reply, both ways.
//!
//! A connection is a stream of [frames](frame): a length and a payload. The first payload each way
//! is a [`ConnectRequest`] and a [`ConnectResponse`]; afterwards clients send a header (an `xid`
//! and an [`OpCode`]) with a [`Request`], and servers answer a header (the same `xid`, a zxid, an
//! [`ErrorCode`]) with a [`Response`], or tell a [`WatchEvent`]. What a reply is made of depends on
//! the request that it answers, so whoever reads both ways keeps a [`Dialogue`] per connection.
//!
//! Nothing here does I/O, panics on foreign bytes, or sets memory aside by a length that the bytes
//! at hand do not bear out.
//!
//! ```
//! # fn main() -> Result<(), zkcells::testing::wire::WireError> {
//! use zkcells::testing::wire::{ClientFrame, Dialogue, Request, Response, ServerFrame};
//! let ask = Request::Exists { path: "/motd".into(), watch: false };
//! let mut dialogue = Dialogue::connected();
//! let sent = ClientFrame::Request { xid: 7, request: ask.clone() }.encode();
//! assert_eq!(dialogue.client(sent)?, ClientFrame::Request { xid: 7, request: ask });
//! let stat = zkcells::Stat::default();
//! let answer = ServerFrame::Reply { xid: 7, zxid: 1, result: Ok(Response::Exists { stat }) };
//! assert_eq!(dialogue.server(answer.encode())?, answer);
//! # Ok(()) }
//! ```

mod code;
mod connect;
mod dialogue;
mod error;
mod event;
pub mod frame;
mod jute;
mod multi;
mod records;
mod request;
mod response;

pub use code::{ErrorCode, OpCode, xid};
pub use connect::{ConnectRequest, ConnectResponse};
pub use dialogue::{ClientFrame, Dialogue, ServerFrame};
pub use error::WireError;
pub use event::WatchEvent;
pub use jute::Hidden;
pub use multi::{MultiRequest, MultiResult};
pub use records::{Acl, ClientInfo};
pub use request::Request;
pub use response::Response;

#[cfg(test)]
mod tests;
