//! One tree over many ZooKeeper quorums.

mod auth;
pub mod conn;
mod deadline;
mod error;
mod node;
mod path;
mod request;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod watch;

pub use auth::{Auth, Secret};
pub use conn::{Conn, ConnExt, Pending, Responder};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use node::{Acl, Children, CreateOptions, Mode, Node, Perms, Stat, Version, is_directory};
pub use path::{CellName, IntoPath, Rebase, ZkPath};
pub use request::{
    LeaveWatch, MAX_REQUEST, Multi, MultiOp, MultiReply, Op, Read, ReadReply, Reply, Request,
};
pub use session::{Session, SessionSender, SessionState};
pub use watch::{Event, EventKind, TreeEvent, TreeSender, TreeWatch, Watch, WatchSender};
