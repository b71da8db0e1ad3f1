//! From the address of a cell to a connection: one dialer for each kind of address.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use super::Conn;
use super::global::{GlobalConn, GlobalOptions};
use super::memory::MemoryQuorum;
use super::options::SessionOptions;
use super::zk::ZkConn;
use crate::cells::{Address, CellConfig, SetAddress};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// Makes connections to the cells that have one kind of address.
pub trait Dialer: Debug + Send + Sync + 'static {
    /// A connection to `cell`; `None` when its address is of another kind.
    ///
    /// It does no network I/O: the connection dials when it is first used.
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>>;
}

/// Takes a connection over to the cell's new address; `false` when it must be made anew.
type Moves = Box<dyn Fn(&CellConfig) -> bool + Send + Sync>;

/// A connection to a cell, and whether it can follow the cell to another address.
pub struct Dialled {
    conn: Arc<dyn Conn>,
    moves: Option<Moves>,
}

impl Dialled {
    /// A connection that stays where it is: a cell that moves gets a new one.
    pub fn new(conn: impl Conn) -> Self {
        Dialled { conn: Arc::new(conn), moves: None }
    }

    /// The same, with `moves` to take it along when only the address of the cell has changed; it
    /// says `false` when that cannot be.
    #[must_use]
    pub fn moving(mut self, moves: impl Fn(&CellConfig) -> bool + Send + Sync + 'static) -> Self {
        self.moves = Some(Box::new(moves));
        self
    }

    pub(super) fn conn(&self) -> &Arc<dyn Conn> {
        &self.conn
    }

    pub(super) fn follow(&self, cell: &CellConfig) -> bool {
        self.moves.as_ref().is_some_and(|moves| moves(cell))
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("conn", &self.conn).finish_non_exhaustive()
    }
}

/// The dialers of this build.
pub(super) fn all() -> Vec<Arc<dyn Dialer>> {
    vec![Arc::new(Quorums), Arc::new(Memories), Arc::new(Sets)]
}

/// Dials quorums of real servers.
#[derive(Debug)]
struct Quorums;

impl Dialer for Quorums {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        let Address::Zk(hosts) = &cell.address else { return None };
        let conn = ZkConn::with_hosts(hosts.clone(), options(cell));
        Some(conn.map(|conn| {
            let moved = conn.clone();
            Dialled::new(conn).moving(move |cell| match &cell.address {
                Address::Zk(hosts) => moved.move_to(hosts.clone()),
                _ => false,
            })
        }))
    }
}

/// Makes embedded cells: each dial a quorum of its own, as its file has it.
#[derive(Debug)]
struct Memories;

impl Dialer for Memories {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        let Address::Memory(file) = &cell.address else { return None };
        let quorum = match file {
            None => Ok(MemoryQuorum::new()),
            Some(file) => MemoryQuorum::load(file),
        };
        Some(quorum.map(|quorum| Dialled::new(quorum.connect_with(options(cell)))))
    }
}

/// Makes one tree of several quorums.
#[derive(Debug)]
struct Sets;

impl Dialer for Sets {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        let Address::Set(before) = &cell.address else { return None };
        let before = Mutex::new(before.clone());
        Some(set(cell).map(|(conn, parts)| {
            Dialled::new(conn).moving(move |cell| {
                let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
                let Address::Set(after) = &cell.address else { return false };
                let follows = moves_in_place(&before, after)
                    && parts.iter().zip(&before.quorums).zip(&after.quorums).all(
                        |((part, old), new)| {
                            let quorum = CellConfig { address: new.clone(), ..cell.clone() };
                            old == new || part.follow(&quorum)
                        },
                    );
                *before = after.clone();
                follows
            })
        }))
    }
}

/// Whether each quorum is the same as before at another address: none has changed places with
/// another, and no session would be looked for at the wrong one.
fn moves_in_place(before: &SetAddress, after: &SetAddress) -> bool {
    let same = SetAddress { quorums: before.quorums.clone(), ..after.clone() } == *before;
    same && before.quorums.len() == after.quorums.len()
        && before.quorums.iter().zip(&after.quorums).all(|(old, new)| {
            old == new || !(before.quorums.contains(new) || after.quorums.contains(old))
        })
}

/// The tree of a cell that is several quorums.
///
/// Its quorums keep their identities in `/zkcells/<cell>`, below the chroots of their addresses. When
/// all of them are in memory they are a set from the start.
///
/// # Errors
///
/// `BadArguments` when the cell is one quorum; what the dialers of its quorums say.
pub(crate) fn set(cell: &CellConfig) -> Result<(GlobalConn, Vec<Dialled>), Error> {
    let Address::Set(set) = &cell.address else {
        let err = Error::new("cell", cell.name.as_str(), ErrorKind::BadArguments);
        return Err(err.with_detail(format!("it is one quorum, {}, and no set", cell.address)));
    };
    let single: [&dyn Dialer; 2] = [&Quorums, &Memories];
    let parts: Result<Vec<Dialled>, Error> = set
        .quorums
        .iter()
        .map(|address| {
            let quorum = CellConfig { address: address.clone(), ..cell.clone() };
            let dialled = single.iter().find_map(|dialer| dialer.dial(&quorum));
            dialled.unwrap_or_else(|| {
                Err(Error::new("cell", cell.name.as_str(), ErrorKind::Unsupported)
                    .with_detail(format!("{address} cannot be part of a set")))
            })
        })
        .collect();
    let options = GlobalOptions::default()
        .with_require(set.require)
        .with_reads(set.reads)
        .with_home(ZkPath::root().child("zkcells").child(cell.name.as_str()))
        .with_top(cell.mount().to().clone());
    let parts = parts?;
    let conn = GlobalConn::new(parts.iter().map(|part| part.conn.clone()), options);
    let conn = if set.is_memory() { conn.begun() } else { conn };
    Ok((conn, parts))
}

fn options(cell: &CellConfig) -> SessionOptions {
    let options = SessionOptions::default().with_label(cell.name.as_str());
    let options = cell.auth.iter().cloned().fold(options, SessionOptions::with_auth);
    match cell.session_timeout {
        Some(timeout) => options.with_session_timeout(timeout),
        None => options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::{Reads, Require};

    fn set(quorums: &[&str]) -> SetAddress {
        let quorums = quorums.iter().map(|hosts| Address::Zk(hosts.parse().unwrap())).collect();
        SetAddress { quorums, require: Require::All, reads: Reads::First }
    }

    #[test]
    fn a_set_follows_its_quorums_but_not_another_order_of_them() {
        let before = set(&["a:1", "b:1", "c:1"]);
        assert!(moves_in_place(&before, &before));
        assert!(moves_in_place(&before, &set(&["a:1", "b:2", "c:1"])));
        for after in [&["b:1", "a:1", "c:1"][..], &["a:1", "b:1"], &["b:1", "d:1", "c:1"]] {
            assert!(!moves_in_place(&before, &set(after)), "{after:?}");
        }
        let others = SetAddress { require: Require::AtLeast(1), ..before.clone() };
        assert!(!moves_in_place(&before, &others));
    }
}
