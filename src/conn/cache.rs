//! At most one connection for each cell, made when it is first asked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::dialer::{self, Dialer, Dialled};
use super::{Conn, Pending};
use crate::cells::{CellConfig, Cells};
use crate::error::{Error, ErrorKind};
use crate::path::CellName;
use crate::request::{Reply, Request};

/// The connections of a process, one for each cell however the cell is spelled.
///
/// A connection is made when its cell is first asked for, and dials when it is first used; the lock
/// here is never held over that, so closing is never blocked by a dial. A connection that could not
/// be made is not kept.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{CellName, Cells, ConnCache, ConnExt};
/// let cells = Cells::builder().cell("nyc", "memory:").local_cell("nyc").build()?;
/// let cache = ConnCache::new(cells);
/// let (local, nyc) = (cache.conn(&CellName::local())?, cache.conn(&CellName::new("nyc")?)?);
/// assert_eq!(local.session("/").await?.id(), nyc.session("/").await?.id());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ConnCache(Arc<Inner>);

struct Inner {
    dialers: Vec<Arc<dyn Dialer>>,
    state: Mutex<State>,
}

struct State {
    cells: Cells,
    /// Counts what makes a connection that was given out the wrong one.
    epoch: u64,
    /// `None` once it is closed.
    slots: Option<BTreeMap<CellName, Slot>>,
}

/// A connection, and what it was made for.
struct Slot {
    cell: CellConfig,
    dialled: Dialled,
}

impl ConnCache {
    /// A cache over `cells` with the dialers of this build. Nothing is dialled yet.
    pub fn new(cells: Cells) -> Self {
        Self::with_dialers(cells, dialer::all())
    }

    /// A cache that makes its connections by `dialers`; the first that knows an address is taken.
    pub fn with_dialers(cells: Cells, dialers: Vec<Arc<dyn Dialer>>) -> Self {
        let state = State { cells, epoch: 0, slots: Some(BTreeMap::new()) };
        ConnCache(Arc::new(Inner { dialers, state: Mutex::new(state) }))
    }

    /// The cells that it connects to, as they are now.
    pub fn cells(&self) -> Cells {
        self.0.state().cells.clone()
    }

    /// A number that grows when a connection that [`conn`](Self::conn) gave is no longer the one
    /// that it would give.
    pub(super) fn epoch(&self) -> u64 {
        self.0.state().epoch
    }

    /// The connection to `cell`. Its paths are those of the cell's servers.
    ///
    /// Closing what is returned closes it for everybody; the next call makes a new one.
    ///
    /// # Errors
    ///
    /// `UnknownCell`, `Closed` after [`close`](Self::close), `Unsupported` for an address that no
    /// dialer knows, and what the dialer says.
    pub fn conn(&self, cell: &CellName) -> Result<Arc<dyn Conn>, Error> {
        let mut state = self.0.state();
        let config = state.cells.cell(cell)?;
        let name = config.name.clone();
        let Some(slots) = state.slots.as_mut() else {
            return Err(Error::new("cell", cell.as_str(), ErrorKind::Closed));
        };
        let slot = match slots.entry(name.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => {
                let dialled = self.0.dial(&config)?;
                place.insert(Slot { cell: config, dialled })
            }
        };
        let conn = slot.dialled.conn().clone();
        Ok(Arc::new(Cached { cache: Arc::downgrade(&self.0), cell: name, conn }))
    }

    /// Goes over to `cells`. Connections whose cells are the same stay as they are; one whose cell
    /// has only another address goes there with its session, if it can; the others are closed
    /// after what was asked of them is answered, and what they hold is lost.
    pub fn replace(&self, cells: Cells) {
        let mut state = self.0.state();
        state.cells = cells.clone();
        state.epoch += 1;
        let Some(slots) = state.slots.as_mut() else { return };
        slots.retain(|name, slot| {
            let stays = cells.cell(name).is_ok_and(|cell| slot.follow(cell));
            if !stays {
                // It ends by itself; nobody waits for it.
                drop(slot.dialled.conn().close());
            }
            stays
        });
    }

    /// Closes all connections, and makes no more.
    pub fn close(&self) -> Pending<()> {
        let slots = {
            let mut state = self.0.state();
            state.epoch += 1;
            state.slots.take().unwrap_or_default()
        };
        let closing: Vec<_> = slots.values().map(|slot| slot.dialled.conn().close()).collect();
        Pending::new(async move {
            let closed = futures::future::join_all(closing).await;
            closed.into_iter().collect()
        })
    }
}

impl Slot {
    /// Whether this connection serves `cell` from now on.
    fn follow(&mut self, cell: CellConfig) -> bool {
        if self.cell == cell {
            return true;
        }
        let moved = CellConfig { address: cell.address.clone(), ..self.cell.clone() } == cell;
        let follows = moved && self.dialled.follow(&cell);
        self.cell = cell;
        follows
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dial(&self, config: &CellConfig) -> Result<Dialled, Error> {
        let dialled = self.dialers.iter().find_map(|dialer| dialer.dial(config));
        dialled.unwrap_or_else(|| {
            Err(Error::new("cell", config.name.as_str(), ErrorKind::Unsupported)
                .with_detail(format!("this build cannot connect to {}", config.address)))
        })
    }
}

/// Prints the connections that there are: `nyc=zk(127.0.0.1:2181)`.
impl fmt::Display for ConnCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        let slots = state.slots.iter().flatten();
        let shown = slots.map(|(cell, slot)| format!("{cell}={}", slot.dialled.conn()));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for ConnCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnCache({self})")
    }
}

/// A connection of a cache: closing it empties its place, if that still holds this connection.
#[derive(Debug)]
struct Cached {
    cache: Weak<Inner>,
    cell: CellName,
    conn: Arc<dyn Conn>,
}

impl Conn for Cached {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.conn.call(request)
    }

    fn close(&self) -> Pending<()> {
        if let Some(cache) = self.cache.upgrade() {
            let state = &mut *cache.state();
            if let Some(slots) = state.slots.as_mut()
                && slots
                    .get(&self.cell)
                    .is_some_and(|slot| Arc::ptr_eq(slot.dialled.conn(), &self.conn))
            {
                slots.remove(&self.cell);
                state.epoch += 1;
            }
        }
        self.conn.close()
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.conn.fmt(f)
    }
}
