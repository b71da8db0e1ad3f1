//! How a configuration is put together: what was set, and where the rest is found.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind};

use super::Cells;
use super::address::Address;
use super::file::{Context, Entries, check_timeout};
use super::local::Local;
use super::surroundings::Surroundings;

pub(super) const FILE_VARIABLE: &str = "ZK_CLIENT_CONFIG";

/// A larger file is surely not a list of cells.
const MAX_FILE: u64 = 1 << 20;

/// Puts a [`Cells`] together, for tests and for tools that have flags.
///
/// What is not set is found as [`Cells::from_env`] finds it; but no file is looked for once
/// [`config_file`](Self::config_file), [`config_json`](Self::config_json) or a
/// [`cell`](Self::cell) is given.
///
/// ```
/// use zkcells::{CellName, Cells};
/// let cells = Cells::builder().cell("nyc", "db1:2181,db2:2181").local_cell("nyc").build()?;
/// assert_eq!(cells.resolve(&CellName::local())?.as_str(), "nyc");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CellsBuilder {
    source: Source,
    cells: Vec<(String, String)>,
    pub(super) local_cell: Option<String>,
    pub(super) global_addrs: Option<String>,
    pub(super) session_timeout: Option<Duration>,
    surroundings: Surroundings,
}

#[derive(Clone, Debug)]
enum Source {
    Found,
    File(PathBuf),
    Text(String),
}

impl CellsBuilder {
    pub(super) fn new() -> Self {
        CellsBuilder {
            source: Source::Found,
            cells: Vec::new(),
            local_cell: None,
            global_addrs: None,
            session_timeout: None,
            surroundings: Surroundings::real(),
        }
    }

    /// Reads this file, whatever the environment says.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::File(path.into());
        self
    }

    /// Reads this text in place of a file. What it names is relative to the current directory.
    pub fn config_json(mut self, text: impl Into<String>) -> Self {
        self.source = Source::Text(text.into());
        self
    }

    /// Adds a cell, or replaces what the file says of it. `name` may be any key that a file may
    /// have, and `addrs` any string that may stand there.
    pub fn cell(mut self, name: impl Into<String>, addrs: impl Into<String>) -> Self {
        self.cells.push((name.into(), addrs.into()));
        self
    }

    /// Says which cell `local` is.
    pub fn local_cell(mut self, name: impl Into<String>) -> Self {
        self.local_cell = Some(name.into());
        self
    }

    /// Says where `global` is. A root and identities that the file has for it stay.
    pub fn global_addrs(mut self, addrs: impl Into<String>) -> Self {
        self.global_addrs = Some(addrs.into());
        self
    }

    /// Asks every cell for this timeout, whatever the file says.
    #[doc(alias = "base-timeout")]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = Some(timeout);
        self
    }

    #[cfg(test)]
    pub(super) fn surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// `Config`, in one line that names the file, the key, what was found and what was expected.
    pub fn build(self) -> Result<Cells, Error> {
        let (mut entries, file) = self.read()?;
        let here = Context { directory: Path::new(""), surroundings: &self.surroundings };
        for (name, addrs) in &self.cells {
            entries.insert_text(name, addrs, &here).map_err(|why| refused("", why))?;
        }
        let global_addrs = match &self.global_addrs {
            None => None,
            Some(addrs) => Some(
                Address::parse(addrs, here.directory)
                    .map_err(|why| refused("", format!("global addrs: {why}")))?,
            ),
        };
        if let Some(timeout) = self.session_timeout {
            check_timeout(timeout).map_err(|why| refused("", why))?;
        }
        let local = Local::find(self.local_cell.as_deref(), &self.surroundings);
        if let (Some(_), Err(err)) = (&self.local_cell, &local.cell) {
            return Err(refused("", err.detail().unwrap_or_default()));
        }
        Ok(Cells::assemble(entries, file, global_addrs, local, self))
    }

    fn read(&self) -> Result<(Entries, Option<PathBuf>), Error> {
        let file = match &self.source {
            Source::File(file) => file.clone(),
            Source::Text(text) => {
                let context =
                    Context { directory: Path::new(""), surroundings: &self.surroundings };
                let entries = Entries::parse(text.as_bytes(), &context)
                    .map_err(|why| refused("(text)", why))?;
                return Ok((entries, None));
            }
            Source::Found if !self.cells.is_empty() => return Ok((Entries::default(), None)),
            Source::Found => {
                match self.surroundings.variable(FILE_VARIABLE).filter(|file| !file.is_empty()) {
                    Some(file) => file.into(),
                    None => return self.read_default(),
                }
            }
        };
        let text = match read_bounded(&file) {
            Ok(text) => text,
            Err(err) => {
                let why = match self.source {
                    Source::Found => format!("{FILE_VARIABLE} names it, and it "),
                    _ => "it ".to_string(),
                };
                return Err(refused(
                    &file.to_string_lossy(),
                    format!("{why}cannot be read: {err}"),
                ));
            }
        };
        Ok((self.parse(&text, &file)?, Some(file)))
    }

    fn read_default(&self) -> Result<(Entries, Option<PathBuf>), Error> {
        let file = &self.surroundings.default_file;
        let name = file.to_string_lossy();
        match read_bounded(file) {
            Ok(text) => Ok((self.parse(&text, file)?, Some(file.clone()))),
            Err(err) if err.kind() == IoKind::NotFound && self.global_addrs.is_some() => {
                Ok((Entries::default(), None))
            }
            Err(err) if err.kind() == IoKind::NotFound => Err(refused(
                "",
                format!(
                    "no file: {FILE_VARIABLE} is not set, and there is no {name}; \
                     write one such as {{\"nyc\": \"host:2181\"}} and set {FILE_VARIABLE} to it"
                ),
            )),
            Err(err) => Err(refused(&name, format!("it cannot be read: {err}"))),
        }
    }

    fn parse(&self, text: &[u8], file: &Path) -> Result<Entries, Error> {
        let directory = file.parent().unwrap_or(Path::new(""));
        let context = Context { directory, surroundings: &self.surroundings };
        Entries::parse(text, &context).map_err(|why| refused(&file.to_string_lossy(), why))
    }

    /// The file that was set, as seen from any directory.
    pub(super) fn explicit_file(&self) -> Option<PathBuf> {
        match &self.source {
            Source::File(file) => {
                // Fails only for an empty path, which was refused when it was read.
                Some(std::path::absolute(file).unwrap_or_else(|_| file.clone()))
            }
            _ => None,
        }
    }
}

fn refused(place: &str, why: impl Into<String>) -> Error {
    let shown: String = place.escape_debug().collect();
    Error::new("config", shown, ErrorKind::Config).with_detail(why)
}

fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other("it has more than 1 MiB"));
    }
    Ok(text)
}
