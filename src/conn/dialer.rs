//! From the address of a cell to a connection: one dialer for each kind of address.

use std::fmt::Debug;
use std::sync::Arc;

use super::Conn;
use super::memory::MemoryQuorum;
use super::options::SessionOptions;
use super::zk::ZkConn;
use crate::cells::{Address, CellConfig};
use crate::error::Error;

/// Makes connections to the cells that have one kind of address.
pub trait Dialer: Debug + Send + Sync + 'static {
    /// A connection to `cell`; `None` when its address is of another kind.
    ///
    /// It does no network I/O: the connection dials when it is first used.
    fn dial(&self, cell: &CellConfig) -> Option<Result<Arc<dyn Conn>, Error>>;
}

/// The dialers of this build.
pub(super) fn all() -> Vec<Arc<dyn Dialer>> {
    vec![Arc::new(Quorums), Arc::new(Memories)]
}

/// Dials quorums of real servers.
#[derive(Debug)]
struct Quorums;

impl Dialer for Quorums {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Arc<dyn Conn>, Error>> {
        let Address::Zk(hosts) = &cell.address else { return None };
        let conn = ZkConn::with_hosts(hosts.clone(), options(cell));
        Some(conn.map(|conn| Arc::new(conn) as Arc<dyn Conn>))
    }
}

/// Makes embedded cells: each dial a quorum of its own, as its file has it.
#[derive(Debug)]
struct Memories;

impl Dialer for Memories {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Arc<dyn Conn>, Error>> {
        let Address::Memory(file) = &cell.address else { return None };
        let quorum = match file {
            None => Ok(MemoryQuorum::new()),
            Some(file) => MemoryQuorum::load(file),
        };
        Some(quorum.map(|quorum| Arc::new(quorum.connect_with(options(cell))) as Arc<dyn Conn>))
    }
}

fn options(cell: &CellConfig) -> SessionOptions {
    let options =
        cell.auth.iter().cloned().fold(SessionOptions::default(), SessionOptions::with_auth);
    match cell.session_timeout {
        Some(timeout) => options.with_session_timeout(timeout),
        None => options,
    }
}
