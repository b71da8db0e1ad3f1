//! One tree over many ZooKeeper quorums.
//!
//! Large deployments run many ZooKeeper quorums, one *cell* for each site and one that spans them
//! all. This crate makes them one tree: `/zk/<cell>/…` names a node anywhere, `/zk/local/…` means
//! the cell that this process runs in, `/zk/global/…` the one that spans sites.
//!
//! # A tour
//!
//! A configuration says which cells there are; a [`MetaConn`] connects to all of them. Here they
//! are quorums in memory, so this runs as it stands.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use zkcells::{Cells, Conn, ConnExt, ErrorKind, MetaConn, Mode, Version};
//! use zkcells::{change, tree, wildcard};
//!
//! let cells = Cells::builder()
//!     .cell("nyc", "memory:")
//!     .cell("sjc", "memory:")
//!     .local_cell("nyc")
//!     .build()?;
//! let conn = MetaConn::new(cells);
//!
//! // Operations are methods of `ConnExt`. A path is a string, and is checked.
//! conn.create("/zk/local/motd", "hello", Mode::Persistent).await?;
//! let (node, watch) = conn.get_watch("/zk/nyc/motd").await?;
//! conn.set("/zk/nyc/motd", "bye", Version::Exact(node.stat.version)).await?;
//! assert_eq!(watch.await.path, "/zk/nyc/motd");
//!
//! // Code branches on the kind of an error; its text is one line for people.
//! let err = conn.get("/zk/sjc/motd").await.unwrap_err();
//! assert_eq!(err.kind(), ErrorKind::NoNode);
//! assert_eq!(err.to_string(), "get /zk/sjc/motd: no such node");
//!
//! // Whole trees, wildcards over all cells, and compare-and-set until it sticks.
//! for tablet in ["/zk/nyc/vt/tablets/1", "/zk/sjc/vt/tablets/2"] {
//!     tree::create_all(&conn, tablet, "", Mode::Persistent).await?;
//! }
//! let found = wildcard::resolve(&conn, ["/zk/*/vt/tablets/*"]).await?;
//! assert_eq!(found.paths, ["/zk/nyc/vt/tablets/1", "/zk/sjc/vt/tablets/2"]);
//! change::retry_change(&conn, "/zk/nyc/count", Mode::Persistent, |node| {
//!     let count = node.map_or(0, |node| node.data.len());
//!     Ok::<_, zkcells::Error>(Some("x".repeat(count + 1)))
//! })
//! .await?;
//! conn.close().await?;
//! # Ok(()) }
//! ```
//!
//! # Layers
//!
//! A module uses only those above it in this table, and within a row those to its left.
//!
//! | layer | modules |
//! |---|---|
//! | nouns | [`Error`], [`ZkPath`], [`Hosts`], [`Auth`], [`Deadline`], [`Stat`], [`Watch`], [`Session`], [`Request`], [`fault`] |
//! | contract | [`Conn`] and [`ConnExt`]; [`cells`] |
//! | connections | [`ZkConn`], [`MemoryConn`], [`GlobalConn`], [`ConnCache`], [`MetaConn`], [`Within`] |
//! | helpers | [`tree`], [`change`], [`wildcard`], [`repair`] |
//! | recipes | [`recipes`]: locks, read-write locks, queue locks, elections, barriers, shard locks, pid nodes, fenced registers |
//! | programs | the command `zk` |
//! | `testing` | ZooKeeper's frames, the fault proxy, local cells, ensembles to break, the contract suite, a judge of histories |
//!
//! # Seeing it
//!
//! Connections to servers tell of themselves through [`tracing`](https://docs.rs/tracing) and
//! [`metrics`](https://docs.rs/metrics); whoever installs a subscriber or a recorder sees it. Data
//! and secrets are in none of it, paths in events of level debug only. The name of a cell is that
//! of the configuration; a connection made by hand has [`SessionOptions::with_label`], or else its
//! servers.
//!
//! | target | level | events |
//! |---|---|---|
//! | `zkcells::conn::zk` | info | `session opened`, `session closed` |
//! | | warn | `session expired`, `holds lost` |
//! | | debug | `dialling`, `dial failed`, `disconnected`, `attached again`, `asked again`, `write settled` (`applied`, `not applied`, `unknown`) |
//! | `zkcells::conn::global` | warn, info | `mirror behind`, when a mirror lacks a write, and `mirror caught up` |
//! | `zkcells::conn::meta` | info, warn | `configuration reloaded`; `reload failed`, once for each reason |
//!
//! Their fields are `cell`, `session` (in hexadecimal), `op`, and what the event adds: `generation`,
//! `timeout_ms`, `version`, `reason`, `outcome`, `quorum` (its place in a set).
//!
//! | metric | labels | what it is |
//! |---|---|---|
//! | `zkcells_sessions_connected`, `zkcells_sessions_disconnected` | `cell` | gauges of the state: sessions that a server answers, and that none answers just now |
//! | `zkcells_sessions_opened_total` | `cell` | counts sessions |
//! | `zkcells_watches` | `cell` | gauge of the watches that stand, those of trees included |
//! | `zkcells_operations_ok_total`, `…_refused_total` | `cell`, `op` | count operations that a server did, or refused, as with `NoNode` |
//! | `zkcells_operations_not_sent_total`, `…_unknown_total` | `cell`, `op` | count those that no server got, and those whose answer was lost or late |
//! | `zkcells_operation_seconds` | `cell`, `op` | histogram: from the call to a server's answer, queueing and dials included |
//! | `zkcells_retries_total` | `cell`, `op` | counts operations sent once more |
//! | `zkcells_writes_forgotten_total` | `cell` | counts writes that a mirror of a set lacks and that were too many to be remembered: `repair` finds them |
//!
//! Install the recorder before the first connection is made: handles are made once. A `read_many` is
//! counted by the requests that it takes.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` (default) | the command `zk` |
//! | `testing` | `testing`: the contract suite for implementations of [`Conn`], local cells, faults, and a judge of histories |
//!
//! Without features this is a lean library. What each operation promises in each fault is said in
//! [`promises`], and how one tree is kept on several quorums in [`sets`].

mod auth;
mod background;
pub mod cells;
pub mod change;
#[cfg(feature = "cli")]
pub mod cli;
pub mod conn;
mod deadline;
mod error;
pub mod fault;
mod hold;
mod hosts;
mod node;
mod path;
mod pause;
pub mod repair;
mod request;
mod session;
#[cfg(test)]
mod spy;
#[cfg(feature = "testing")]
pub mod testing;
#[doc = include_str!("../etc/promises.md")]
pub mod promises {}
pub mod recipes;
#[doc = include_str!("../etc/sets.md")]
pub mod sets {}
pub mod tree;
mod watch;
pub mod wildcard;

pub use auth::{Auth, Secret};
pub use cells::{Address, CellConfig, Cells, CellsBuilder, Reads, Require, SetAddress, Subprocess};
pub use conn::bound::BoundConn;
pub use conn::cache::ConnCache;
pub use conn::dialer::{Dialer, Dialled};
pub use conn::global::{
    EmptyFirst, GlobalConn, GlobalOptions, Identity, InitOptions, Promotion, QuorumStatus, Rejoin,
    Role, TakeOver,
};
pub use conn::meta::MetaConn;
pub use conn::options::SessionOptions;
pub use conn::within::Within;
pub use conn::zk::ZkConn;
pub use conn::{Conn, ConnExt, MemoryConn, MemoryQuorum, Pending, Responder};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use hold::{Hold, HoldSender, Loss};
pub use hosts::Hosts;
pub use node::{Acl, Children, CreateOptions, Mode, Node, Perms, Stat, Version, is_directory};
pub use path::{CellName, IntoPath, Rebase, ZkPath};
pub use request::{
    HoldFrom, LeaveWatch, MAX_REQUEST, Multi, MultiOp, MultiReply, Op, Read, ReadReply, Reply,
    Request,
};
pub use session::{Session, SessionSender, SessionState};
pub use watch::{Event, EventKind, TreeEvent, TreeSender, TreeWatch, Watch, WatchSender};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
