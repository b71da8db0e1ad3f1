//! At most one connection for each cell, made when it is first asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::dialer::{self, Dialer};
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
    cells: Cells,
    dialers: Vec<Arc<dyn Dialer>>,
    /// `None` once it is closed.
    conns: Mutex<Option<Conns>>,
}

type Conns = BTreeMap<CellName, Arc<Cached>>;

impl ConnCache {
    /// A cache over `cells` with the dialers of this build. Nothing is dialled yet.
    pub fn new(cells: Cells) -> Self {
        Self::with_dialers(cells, dialer::all())
    }

    /// A cache that makes its connections by `dialers`; the first that knows an address is taken.
    pub fn with_dialers(cells: Cells, dialers: Vec<Arc<dyn Dialer>>) -> Self {
        ConnCache(Arc::new(Inner { cells, dialers, conns: Mutex::new(Some(Conns::new())) }))
    }

    /// The cells that it connects to.
    pub fn cells(&self) -> &Cells {
        &self.0.cells
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
        self.cached(cell).map(|cached| cached as Arc<dyn Conn>)
    }

    pub(super) fn cached(&self, cell: &CellName) -> Result<Arc<Cached>, Error> {
        let config = self.0.cells.cell(cell)?;
        let mut conns = self.0.conns();
        let Some(conns) = conns.as_mut() else {
            return Err(Error::new("cell", cell.as_str(), ErrorKind::Closed));
        };
        if let Some(cached) = conns.get(&config.name) {
            return Ok(cached.clone());
        }
        let conn = self.dial(&config)?;
        let cached = Arc::new(Cached {
            cache: Arc::downgrade(&self.0),
            cell: config.name.clone(),
            conn,
            closed: AtomicBool::new(false),
        });
        conns.insert(config.name, cached.clone());
        Ok(cached)
    }

    fn dial(&self, config: &CellConfig) -> Result<Arc<dyn Conn>, Error> {
        let dialled = self.0.dialers.iter().find_map(|dialer| dialer.dial(config));
        dialled.unwrap_or_else(|| {
            Err(Error::new("cell", config.name.as_str(), ErrorKind::Unsupported)
                .with_detail(format!("this build cannot connect to {}", config.address)))
        })
    }

    /// Closes all connections, and makes no more.
    pub fn close(&self) -> Pending<()> {
        let conns = self.0.conns().take().unwrap_or_default();
        let closing: Vec<_> = conns.values().map(|conn| conn.close()).collect();
        Pending::new(async move {
            let closed = futures::future::join_all(closing).await;
            closed.into_iter().collect()
        })
    }
}

impl Inner {
    fn conns(&self) -> MutexGuard<'_, Option<Conns>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints the connections that there are: `nyc=zk(127.0.0.1:2181)`.
impl fmt::Display for ConnCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conns = self.0.conns();
        let shown = conns.iter().flatten().map(|(cell, conn)| format!("{cell}={conn}"));
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
pub(super) struct Cached {
    cache: Weak<Inner>,
    cell: CellName,
    conn: Arc<dyn Conn>,
    closed: AtomicBool,
}

impl Cached {
    /// Whether somebody closed it, so that the cache has another one or makes it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

impl Conn for Cached {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.conn.call(request)
    }

    fn close(&self) -> Pending<()> {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(cache) = self.cache.upgrade()
            && let Some(conns) = cache.conns().as_mut()
            && conns.get(&self.cell).is_some_and(|cached| std::ptr::eq(&**cached, self))
        {
            conns.remove(&self.cell);
        }
        self.conn.close()
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.conn.fmt(f)
    }
}
