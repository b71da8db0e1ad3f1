//! The two ends of a copy: a node, a file, or a standard stream.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::cells::Cells;
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::path::ZkPath;
use crate::request::MAX_REQUEST;
use crate::tree;

use super::target;

/// A place that data is read from or written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Node(ZkPath),
    File(PathBuf),
    /// Standard input or output.
    Stream,
}

/// Whether the text names a node and not a file.
pub(super) fn is_node(text: &str) -> bool {
    text.strip_prefix(Cells::PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Place {
    /// What `text` names, without wildcards.
    pub(super) fn new(text: &str) -> Result<Place, Error> {
        Ok(match text {
            "-" => Place::Stream,
            text if is_node(text) => Place::Node(target::literal(text)?),
            text => Place::File(text.into()),
        })
    }

    pub(super) fn is_node(&self) -> bool {
        matches!(self, Place::Node(_))
    }

    /// Its last name, which a copy in a directory gets.
    pub(super) fn name(&self) -> Option<String> {
        let name = match self {
            Place::Node(path) => path.name().to_string(),
            Place::File(file) => file.file_name()?.to_string_lossy().into_owned(),
            Place::Stream => return None,
        };
        (!name.is_empty()).then_some(name)
    }

    /// The place called `name` in this directory.
    pub(super) fn inside(&self, name: &str) -> Result<Place, Error> {
        Ok(match self {
            Place::Node(path) => Place::Node(path.join(name)?),
            Place::File(file) => Place::File(file.join(name)),
            Place::Stream => Place::Stream,
        })
    }

    /// All data that is there.
    pub(super) async fn read(&self, conn: &dyn Conn) -> Result<Bytes, Error> {
        match self {
            Place::Node(path) => Ok(conn.get(path).await?.data),
            Place::File(file) => {
                let file = file.clone();
                blocking(move || read(&file.to_string_lossy(), || File::open(&file))).await
            }
            Place::Stream => read_stdin().await,
        }
    }

    /// Makes `data` what is there, and creates what is missing on the way to a node.
    pub(super) async fn write(&self, conn: &dyn Conn, data: Bytes) -> Result<(), Error> {
        match self {
            Place::Node(path) => tree::put(conn, path, data, Mode::Persistent).await.map(|_| ()),
            Place::File(file) => {
                let file = file.clone();
                blocking(move || std::fs::write(&file, data).map_err(|err| unusable(&file, err)))
                    .await
            }
            // Invariant: what goes to standard output is written in order by the caller.
            Place::Stream => Ok(()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Node(path) => write!(f, "{path}"),
            Place::File(file) => write!(f, "{}", file.display()),
            Place::Stream => f.write_str("-"),
        }
    }
}

/// All of standard input.
pub(super) async fn read_stdin() -> Result<Bytes, Error> {
    blocking(|| read("standard input", || Ok(std::io::stdin().lock()))).await
}

fn read<R: Read>(name: &str, open: impl FnOnce() -> std::io::Result<R>) -> Result<Bytes, Error> {
    let mut data = Vec::new();
    open()
        .and_then(|from| from.take(MAX_REQUEST as u64 + 1).read_to_end(&mut data))
        .map_err(|err| unusable(Path::new(name), err))?;
    if data.len() > MAX_REQUEST {
        let err = Error::new("read", name, ErrorKind::TooLarge);
        return Err(err.with_detail(format!("a node holds less than {MAX_REQUEST} bytes")));
    }
    Ok(data.into())
}

fn unusable(file: &Path, err: std::io::Error) -> Error {
    Error::new("cp", file.to_string_lossy().into_owned(), ErrorKind::Input).with_cause(err)
}

/// Files and pipes block their thread, which must not be one that others wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => Err(Error::new("read", "", ErrorKind::Unexpected).with_cause(err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_zk_is_a_node() {
        for node in ["/zk", "/zk/", "/zk/nyc/x"] {
            assert!(is_node(node), "{node}");
        }
        for file in ["/zkfoo", "zk/nyc", "./zk/nyc", "-", "/"] {
            assert!(!is_node(file), "{file}");
        }
    }
}
