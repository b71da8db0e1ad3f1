//! Real local cells: ZooKeeper servers on this machine, started when a test wants them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::deadline::wall_clock;
use crate::error::{Error, ErrorKind};

/// The cells of `cells/cells.map`, up and serving.
///
/// They are started by the project's own `cells/up`, once per process, and go on when the process
/// ends: the next one finds them running. `cells/down` ends them. This works in a checkout of the
/// project only; elsewhere, point `ZK_CLIENT_CONFIG` at cells of your own.
///
/// ```no_run
/// # fn main() -> Result<(), zkcells::Error> {
/// use zkcells::testing::cells::LocalCells;
/// let cells = LocalCells::up()?;
/// println!("nyc answers at {}", cells.addrs("nyc")?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct LocalCells {
    config: PathBuf,
    addrs: BTreeMap<String, String>,
}

impl LocalCells {
    /// Starts the cells unless they run, and waits until all of them serve.
    ///
    /// It blocks: a second or two when it has to start them, some 20 ms when it has not.
    ///
    /// # Errors
    ///
    /// `Config` with what `cells/up` said and how to start the cells by hand. It is kept: later
    /// calls of the same process tell the same and do not wait again.
    pub fn up() -> Result<LocalCells, Error> {
        static CELLS: OnceLock<Result<LocalCells, Error>> = OnceLock::new();
        CELLS.get_or_init(start).clone()
    }

    /// The `zk_client.json` of these cells, as `ZK_CLIENT_CONFIG` wants it.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The servers of a cell, as `127.0.0.1:2181,127.0.0.1:2182`.
    ///
    /// # Errors
    ///
    /// `UnknownCell` with the cells that there are.
    pub fn addrs(&self, cell: &str) -> Result<String, Error> {
        self.addrs.get(cell).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.addrs.keys().map(String::as_str).collect();
            Error::new("cells", cell, ErrorKind::UnknownCell)
                .with_detail(format!("the local cells are {}", known.join(", ")))
        })
    }

    /// The names of the cells.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.addrs.keys().map(String::as_str)
    }
}

/// A name that no other test has, in this process or another one: the root of a test's own tree.
///
/// ```
/// use zkcells::testing::cells::fresh_root;
/// assert_ne!(fresh_root(), fresh_root());
/// ```
pub fn fresh_root() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = wall_clock().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{nanos:x}-{count}", std::process::id())
}

fn start() -> Result<LocalCells, Error> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cells/up");
    let wrong = |why: &str| {
        Error::new("cells", script, ErrorKind::Config)
            .with_detail(format!("{why}; start the cells by hand with: eval \"$(cells/up)\""))
    };
    let output = Command::new(script)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| wrong("it does not run").with_cause(err))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(said.trim().lines().last().unwrap_or("it said nothing")));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let config = said.trim().strip_prefix("export ZK_CLIENT_CONFIG=");
    let config = unquoted(config.ok_or_else(|| wrong("it names no configuration"))?);
    let text = std::fs::read_to_string(&config)
        .map_err(|err| wrong("its configuration cannot be read").with_cause(err))?;
    let addrs = serde_json::from_str(&text).map_err(|err| {
        wrong("its configuration is no map of names to addresses").with_cause(err)
    })?;
    Ok(LocalCells { config, addrs })
}

/// Undoes what bash's `printf %q` does to a path: a backslash before each odd character.
fn unquoted(word: &str) -> PathBuf {
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_out_of_the_shells_quotes() {
        assert_eq!(
            unquoted("/srv/my\\ cells/zk_client.json"),
            Path::new("/srv/my cells/zk_client.json")
        );
    }

    #[test]
    fn roots_differ() {
        assert_ne!(fresh_root(), fresh_root());
    }
}
