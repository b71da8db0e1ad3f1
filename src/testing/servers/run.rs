//! A directory in which `cells/up` keeps servers, and a keeper that ends them with this process.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use crate::error::{Error, ErrorKind};
use crate::testing::cells::fresh_root;

/// The servers of one directory. Dropping it ends them and removes the directory.
pub(super) struct Run {
    dir: PathBuf,
    /// Lives as long as its input is open, and clears everything away then.
    keeper: Child,
    open: Option<ChildStdin>,
}

impl Run {
    /// A new directory without servers.
    pub(super) fn begin() -> Result<Run, Error> {
        let dir = fresh_dir();
        std::fs::create_dir_all(&dir).map_err(|err| error(&dir, "it cannot be made", err))?;
        let mut keeper = script("keep", &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|err| error(&dir, "cells/keep does not run", err))?;
        let open = keeper.stdin.take();
        Ok(Run { dir, keeper, open })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn error(&self, why: &str, cause: io::Error) -> Error {
        error(&self.dir, why, cause)
    }

    /// Writes a file for `cells/up`.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let written = std::fs::write(self.dir.join(name), text);
        written.map_err(|err| self.error("it cannot be written", err))
    }

    /// Starts all servers and waits until they serve.
    pub(super) async fn up(&mut self) -> Result<(), Error> {
        let up = script("up", &self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|err| self.error("cells/up does not run", err))?;
        if let Some(open) = &mut self.open {
            // So that it need not wait for it, should we end meanwhile.
            let told = writeln!(open, "{}", up.id());
            told.map_err(|err| self.error("cells/keep has ended", err))?;
        }
        let output = tokio::task::spawn_blocking(move || up.wait_with_output());
        let output = output.await.map_err(io::Error::other).and_then(|output| output);
        self.judge(output)
    }

    /// Starts server `n` of `cell`, and does not wait until it serves.
    pub(super) fn start(&self, cell: &str, n: usize) -> Result<(), Error> {
        let mut up = script("up", &self.dir);
        self.judge(up.arg(cell).arg(n.to_string()).stdin(Stdio::null()).output())
    }

    fn judge(&self, output: io::Result<Output>) -> Result<(), Error> {
        let output = output.map_err(|err| self.error("cells/up does not run", err))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("cells/up said nothing");
        let dir = self.dir.to_string_lossy();
        Err(Error::new("ensemble", dir, ErrorKind::Config).with_detail(last))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.open.take());
        // It is bounded, and goes on if we do not wait: a drop is no place to tell.
        let _ = self.keeper.wait();
    }
}

fn error(dir: &Path, why: &str, cause: io::Error) -> Error {
    Error::new("ensemble", dir.to_string_lossy(), ErrorKind::Config)
        .with_detail(why)
        .with_cause(cause)
}

/// A directory that no other ensemble has, in this process or another one.
fn fresh_dir() -> PathBuf {
    let name = format!("zkcells-{}", fresh_root());
    // As the scripts spell it, or a server would not be known by its directory.
    let temp = std::env::temp_dir();
    temp.canonicalize().unwrap_or(temp).join(name)
}

/// One of the scripts that care for local cells, told to do so in `dir`.
fn script(name: &str, dir: &Path) -> Command {
    let mut script = Command::new(format!("{}/cells/{name}", env!("CARGO_MANIFEST_DIR")));
    script.env("ZKCELLS_RUN", dir).env("ZKCELLS_MAP", dir.join("map"));
    script
}
