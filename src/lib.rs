//! One tree over many ZooKeeper quorums.

mod auth;
pub mod cells;
pub mod change;
#[cfg(feature = "cli")]
pub mod cli;
pub mod conn;
mod deadline;
mod error;
mod hosts;
mod node;
mod path;
mod pause;
mod request;
mod session;
#[cfg(test)]
mod spy;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tree;
mod watch;
pub mod wildcard;

pub use auth::{Auth, Secret};
pub use cells::{Address, CellConfig, Cells, CellsBuilder, Subprocess};
pub use conn::cache::ConnCache;
pub use conn::dialer::Dialer;
pub use conn::meta::MetaConn;
pub use conn::options::SessionOptions;
pub use conn::within::Within;
pub use conn::zk::ZkConn;
pub use conn::{Conn, ConnExt, MemoryConn, MemoryQuorum, Pending, Responder};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use hosts::Hosts;
pub use node::{Acl, Children, CreateOptions, Mode, Node, Perms, Stat, Version, is_directory};
pub use path::{CellName, IntoPath, Rebase, ZkPath};
pub use request::{
    LeaveWatch, MAX_REQUEST, Multi, MultiOp, MultiReply, Op, Read, ReadReply, Reply, Request,
};
pub use session::{Session, SessionSender, SessionState};
pub use watch::{Event, EventKind, TreeEvent, TreeSender, TreeWatch, Watch, WatchSender};
