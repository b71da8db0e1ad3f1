//! The cells that this process knows: where each is, which is `local`, and what is `global`.
//!
//! [`Cells`] is a snapshot: it is read once, checked as a whole, and cheap to clone. Nothing looks
//! at the file or the environment again until [`Cells::reload`].
//!
//! # The file
//!
//! One JSON object. A value is the list of a quorum's servers, or an object that says more:
//!
//! ```json
//! {
//!   "nyc": "db1.nyc:2181,db2.nyc:2181,db3.nyc:2181",
//!   "nyc:_zkocc": "reader.nyc:14850",
//!   "nyc-global": "observer.nyc:2181",
//!   "sjc": {
//!     "addrs": "db1.sjc:2181,db2.sjc:2181/chroot",
//!     "root": "/app",
//!     "auth": [{"scheme": "digest", "file": "sjc.secret"}, {"scheme": "digest", "env": "SJC"}],
//!     "session_timeout": "15s"
//!   },
//!   "safe": ["a1:2181,a2:2181,a3:2181", "b1:2181,b2:2181,b3:2181", "c1:2181"],
//!   "demo": "memory:demo.json"
//! }
//! ```
//!
//! * `<cell>` is a cell. Its servers hold the whole path `/zk/<cell>/…`, as Vitess has it; with
//!   `root`, `/zk/<cell>/x` is `<root>/x` there. A port that is left out is 2181.
//! * `global` is the cell that spans sites. Without that key, `<cell>-global` of the local cell is
//!   it: the site's own view, say by observers. No path names `<cell>-global`.
//! * `<cell>:_zkocc` is the cell's read server, and not a cell. A cell that has no other address
//!   cannot be written and is not among the known cells.
//! * `memory:` is a quorum inside this process, and `memory:<file>` one that starts with a tree.
//! * A list is the addresses of several quorums that hold one tree, the first one in front: see
//!   [`GlobalConn`](crate::GlobalConn). The object form is `{"quorums": […], "require": 1, "reads":
//!   "compare"}`: how many mirrors must have a write (`"all"` unless it says so), and whether reads
//!   ask all of them (`"first"` unless it says so). `zk global init` makes them a set once.
//! * `local` is no key: which cell is local differs from process to process.
//!
//! Files are meant relative to the configuration's directory. Secrets are read together with the
//! file, lose one line end, and print as `***`. What is not understood is an error: an unknown or
//! doubled key, a wrong type, a file of more than 1 MiB.

mod address;
mod builder;
mod file;
mod json;
mod local;
mod missing;
mod secret;
mod set;
mod subprocess;
mod surroundings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use address::Address;
pub use builder::CellsBuilder;
pub use set::{Reads, Require, SetAddress};
pub use subprocess::Subprocess;

use crate::auth::Auth;
use crate::error::{Error, ErrorKind};
use crate::path::{CellName, Rebase, ZkPath};

use file::{Entries, Entry};
use local::Local;

/// The cells that this process knows, as they were read at one moment.
///
/// ```
/// use zkcells::{Cells, ZkPath};
/// let cells = Cells::builder()
///     .config_json(r#"{"nyc": "db1:2181", "sjc": "db2", "nyc-global": "db3:2181"}"#)
///     .local_cell("nyc")
///     .build()?;
/// let names: Vec<_> = cells.known().iter().map(|cell| cell.to_string()).collect();
/// assert_eq!(names, ["global", "nyc", "sjc"]);
/// assert_eq!(cells.address_of(&ZkPath::new("/zk/local/motd")?)?.to_string(), "db1:2181");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cells(Arc<Snapshot>);

#[derive(Debug)]
struct Snapshot {
    entries: Entries,
    file: Option<PathBuf>,
    global_addrs: Option<Address>,
    local: Local,
    settings: CellsBuilder,
}

/// All that is known of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CellConfig {
    /// Its own name; `global`, but never `local`.
    pub name: CellName,
    /// Where it is.
    pub address: Address,
    /// What `/zk/<cell>` is on its servers, when it is not `/zk/<cell>`.
    pub root: Option<ZkPath>,
    /// Who we prove to be.
    pub auth: Vec<Auth>,
    /// How long servers are asked to wait for a sign of life; `None` leaves it to the connection.
    pub session_timeout: Option<Duration>,
}

impl CellConfig {
    /// How the caller's paths become those of the servers: `/zk/<cell>/x` is `<root>/x`.
    pub fn mount(&self) -> Rebase {
        let top = Cells::path_of(&self.name);
        let root = self.root.clone().unwrap_or_else(|| top.clone());
        Rebase::new(top, root)
    }
}

impl Cells {
    /// What every path that names a cell starts with.
    #[doc(alias = "MagicPrefix")]
    pub const PREFIX: &'static str = "/zk";

    /// Reads the configuration that the environment names:
    ///
    /// * `ZK_CLIENT_CONFIG`: the file. If it is not set or empty, `/etc/zookeeper/zk_client.json`.
    /// * `ZK_CLIENT_LOCAL_CELL`: the local cell. If it is not set or empty, the host's name tells
    ///   it: of the short name in lower case what stands before the first `-`, or else the first
    ///   two characters.
    ///
    /// # Errors
    ///
    /// `Config` when there is no such file or something in it is wrong. A local cell that cannot
    /// be told is an error only where it is asked for.
    pub fn from_env() -> Result<Cells, Error> {
        Cells::builder().build()
    }

    /// Reads the configuration in `path`.
    ///
    /// # Errors
    ///
    /// `Config` when it cannot be read or something in it is wrong.
    pub fn load(path: impl Into<PathBuf>) -> Result<Cells, Error> {
        Cells::builder().config_file(path).build()
    }

    /// Starts a configuration that is put together by hand.
    pub fn builder() -> CellsBuilder {
        CellsBuilder::new()
    }

    /// Reads the same sources again, with the same settings. This snapshot stays as it is.
    ///
    /// # Errors
    ///
    /// `Config`, as when it was first read.
    pub fn reload(&self) -> Result<Cells, Error> {
        self.0.settings.clone().build()
    }

    /// `/zk/<cell>`.
    pub fn path_of(cell: &CellName) -> ZkPath {
        ZkPath::root().child("zk").child(cell.as_str())
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The cell that `local` stands for, found once, when the configuration was read.
    ///
    /// # Errors
    ///
    /// `UnknownCell` when neither setting nor environment nor host name tells it.
    #[doc(alias = "GuessLocalCell")]
    pub fn local(&self) -> Result<CellName, Error> {
        self.0.local.cell.clone()
    }

    /// The cells that can be named in a path, in ascending order; what `/zk` has as children.
    ///
    /// `global` is among them when it has an address here: set, by its own key, or by
    /// `<cell>-global` of the local cell. Other sites' views of it are not, nor are read servers.
    #[doc(alias = "ZkKnownCells")]
    pub fn known(&self) -> Vec<CellName> {
        let names = self.0.entries.cells.keys();
        // A site's view of global is the one kind of key that is no name of a cell.
        let mut known: Vec<CellName> =
            names.filter_map(|name| CellName::new(name).ok()).filter(|n| !n.is_global()).collect();
        if self.cell(&CellName::global()).is_ok() {
            known.push(CellName::global());
        }
        known.sort();
        known
    }

    /// The cells that have a read server, in ascending order, whether or not they have servers.
    pub fn with_read_server(&self) -> Vec<CellName> {
        let names = self.0.entries.read_servers.keys();
        let mut found: Vec<CellName> =
            names.filter_map(|name| CellName::new(name).ok()).filter(|n| !n.is_global()).collect();
        if matches!(self.read_server_of(&CellName::global()), Ok(Some(_))) {
            found.push(CellName::global());
        }
        found.sort();
        found
    }

    /// The cell that `path` names, as it is written there.
    ///
    /// # Errors
    ///
    /// `UnknownCell` when the path is not below `/zk` or what stands there is no name of a cell.
    #[doc(alias = "ZkCellFromZkPath")]
    pub fn cell_of(path: &ZkPath) -> Result<CellName, Error> {
        let refused = |why: &str| Err(unknown(path.as_str(), why));
        let mut components = path.components();
        if components.next() != Some("zk") {
            return refused("expected /zk/<cell>/…");
        }
        match components.next() {
            None => refused("it names no cell; expected /zk/<cell>/…"),
            Some(name) => CellName::new(name).map_err(|err| err.at(path)),
        }
    }

    /// The cell that `cell` stands for: for `local` the cell of this process, for others itself.
    ///
    /// # Errors
    ///
    /// `UnknownCell` when the local cell is asked for and cannot be told.
    pub fn resolve(&self, cell: &CellName) -> Result<CellName, Error> {
        if cell.is_local() { self.local() } else { Ok(cell.clone()) }
    }

    /// All that is known of `cell`.
    ///
    /// # Errors
    ///
    /// `UnknownCell`, with the names that are known.
    pub fn cell(&self, cell: &CellName) -> Result<CellConfig, Error> {
        let name = self.resolve(cell)?;
        let entry = match name.is_global() {
            true => self.global()?,
            false => self.0.entries.cells.get(name.as_str()).cloned(),
        };
        let Some(entry) = entry else { return Err(self.not_here(cell, &name)) };
        let Entry { address, root, auth, session_timeout } = entry;
        let session_timeout = self.0.settings.session_timeout.or(session_timeout);
        Ok(CellConfig { name, address, root, auth, session_timeout })
    }

    /// Where the cell of `path` is.
    ///
    /// # Errors
    ///
    /// `UnknownCell`, as [`cell_of`](Self::cell_of) and [`cell`](Self::cell) say.
    #[doc(alias = "ZkPathToZkAddr")]
    pub fn address_of(&self, path: &ZkPath) -> Result<Address, Error> {
        let cell = Self::cell_of(path)?;
        Ok(self.cell(&cell).map_err(|err| err.at(path))?.address)
    }

    /// The address of the read server of `cell`, if it has one. A quorum for `global` that was set
    /// has none: the one in the file stands before another quorum.
    ///
    /// # Errors
    ///
    /// `UnknownCell` when the local cell is asked for and cannot be told.
    pub fn read_server_of(&self, cell: &CellName) -> Result<Option<&str>, Error> {
        let name = self.resolve(cell)?;
        let key = match name.is_global() {
            true if self.0.global_addrs.is_some() => None,
            true => self.global_key(|key| self.0.entries.read_servers.contains_key(key))?,
            false => Some(name.to_string()),
        };
        Ok(key.and_then(|key| self.0.entries.read_servers.get(&key)).map(String::as_str))
    }

    fn assemble(
        entries: Entries,
        file: Option<PathBuf>,
        global_addrs: Option<Address>,
        local: Local,
        settings: CellsBuilder,
    ) -> Cells {
        Cells(Arc::new(Snapshot { entries, file, global_addrs, local, settings }))
    }

    fn settings(&self) -> &CellsBuilder {
        &self.0.settings
    }

    fn global(&self) -> Result<Option<Entry>, Error> {
        let cells = &self.0.entries.cells;
        let written = self.global_key(|key| cells.contains_key(key));
        match &self.0.global_addrs {
            None => Ok(written?.and_then(|key| cells.get(&key)).cloned()),
            Some(address) => {
                // With an address set, not knowing the local cell does not matter.
                let key = written.ok().flatten();
                let rest = key.and_then(|key| cells.get(&key)).cloned();
                Ok(Some(match rest {
                    Some(entry) => Entry { address: address.clone(), ..entry },
                    None => address.clone().into(),
                }))
            }
        }
    }

    /// The key that says where global is: its own, or the local site's view of it.
    fn global_key(&self, has: impl Fn(&str) -> bool) -> Result<Option<String>, Error> {
        if has("global") {
            return Ok(Some("global".into()));
        }
        // Without any site's view, no local cell is needed to know that there is none.
        let keys = || self.0.entries.cells.keys().chain(self.0.entries.read_servers.keys());
        if !keys().any(|key| key.ends_with("-global")) {
            return Ok(None);
        }
        let key = format!("{}-global", self.local()?);
        Ok(has(&key).then_some(key))
    }
}

fn unknown(place: &str, why: impl Into<String>) -> Error {
    Error::new("cell", place, ErrorKind::UnknownCell).with_detail(why)
}
