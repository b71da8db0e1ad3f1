//! All cells as one tree: `/zk/<cell>/…` goes to the quorum that the configuration names.

mod bottom;
mod many;
mod reload;
mod top;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::ConnCache;
use super::dialer::Dialer;
use super::{Conn, Pending, rebase};
use crate::cells::Cells;
use crate::error::{Error, ErrorKind};
use crate::path::{CellName, Rebase, ZkPath};
use crate::request::{Op, Reply, Request};

/// One tree over all cells.
///
/// `/zk/<cell>/…` goes to that cell's quorum, `/zk/local/…` to the cell that this process runs in,
/// `/zk/global/…` to the one that spans sites. `/zk` itself is no node of any quorum: its children
/// are the known cells, and it cannot be written. Each cell has at most one session, however it is
/// spelled; results, events and errors come in the spelling of the caller. Nothing is dialled
/// before it is used, and a cell that is down does not hold up another one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{Cells, ConnExt, MetaConn, Mode};
/// let cells = Cells::builder()
///     .cell("nyc", "memory:")
///     .cell("sjc", "memory:")
///     .local_cell("nyc")
///     .build()?;
/// let conn = MetaConn::new(cells);
/// assert_eq!(conn.children("/zk").await?.names, ["nyc", "sjc"]);
/// conn.create("/zk/local/motd", "hello", Mode::Persistent).await?;
/// assert_eq!(conn.get("/zk/nyc/motd").await?.data, "hello");
/// # Ok(()) }
/// ```
#[doc(alias = "NewMetaConn")]
pub struct MetaConn {
    cache: ConnCache,
    routes: Mutex<Routes>,
    reload: reload::Reload,
    top: top::Top,
}

/// Where paths go, as long as the connections are those of one epoch of the cache.
#[derive(Default)]
struct Routes {
    epoch: u64,
    /// By the cell as callers write it.
    by_cell: HashMap<Box<str>, Arc<Route>>,
}

/// Where the paths of one cell go.
struct Route {
    /// The cell's own name.
    cell: CellName,
    conn: Arc<dyn Conn>,
    /// How they are spelled there, if not as here.
    rebase: Rebase,
}

impl Route {
    fn call(&self, request: Request) -> Pending<Reply> {
        if self.rebase.is_identity() {
            self.conn.call(request)
        } else {
            rebase::call(&self.rebase, request, |request| self.conn.call(request))
        }
    }
}

impl MetaConn {
    /// The tree of `cells`. Nothing is dialled yet.
    pub fn new(cells: Cells) -> Self {
        Self::over(ConnCache::new(cells))
    }

    /// The tree of `cells`, each reached by the first of `dialers` that knows its address.
    pub fn with_dialers(cells: Cells, dialers: Vec<Arc<dyn Dialer>>) -> Self {
        Self::over(ConnCache::with_dialers(cells, dialers))
    }

    /// The tree over connections that are used elsewhere too.
    pub fn over(cache: ConnCache) -> Self {
        MetaConn {
            cache,
            routes: Mutex::default(),
            reload: reload::Reload::default(),
            top: top::Top::default(),
        }
    }

    /// The cells of this tree, as they are now.
    pub fn cells(&self) -> Cells {
        self.cache.cells()
    }

    fn route(&self, path: &ZkPath) -> Result<Arc<Route>, Error> {
        let mut components = path.components();
        let written = match (components.next(), components.next()) {
            (Some("zk"), Some(cell)) => cell,
            // Says what is wrong with it.
            _ => return Err(Cells::cell_of(path).err().unwrap_or_else(|| no_cell(path))),
        };
        let epoch = self.cache.epoch();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.epoch != epoch {
            *routes = Routes { epoch, ..Routes::default() };
        }
        if let Some(route) = routes.by_cell.get(written) {
            return Ok(route.clone());
        }
        let name = CellName::new(written).map_err(|err| err.at(path))?;
        let cells = self.cells();
        let config = cells.cell(&name).map_err(|err| err.at(path))?;
        let conn = self.cache.conn(&config.name).map_err(|err| err.at(path))?;
        let rebase = Rebase::new(Cells::path_of(&name), config.mount().to().clone());
        let route = Arc::new(Route { cell: config.name, conn, rebase });
        routes.by_cell.insert(written.into(), route.clone());
        Ok(route)
    }
}

fn no_cell(path: &ZkPath) -> Error {
    Error::new("cell", path, ErrorKind::UnknownCell).with_detail("expected /zk/<cell>/…")
}

impl Conn for MetaConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        let op = request.op.name();
        let answer = match &request.op {
            Op::ReadMany(_) => return self.read_many(request),
            Op::Multi(_) => self.multi(request),
            _ if top::is_top(&request.path) => {
                self.top.answer(&self.cells(), &request).map(|reply| Pending::ready(Ok(reply)))
            }
            Op::Create { .. } => self.create(request),
            _ => self.route(&request.path).map(|route| route.call(request)),
        };
        answer.unwrap_or_else(|err| Pending::ready(Err(err.during(op))))
    }

    fn close(&self) -> Pending<()> {
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = Routes::default();
        self.reload.stop();
        self.top.close();
        self.cache.close()
    }
}

impl fmt::Display for MetaConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meta({})", self.cache)
    }
}

impl fmt::Debug for MetaConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaConn").field("cache", &self.cache).finish_non_exhaustive()
    }
}
