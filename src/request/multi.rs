//! Many writes as one: their steps, what each of them did, and how they are put together.

use bytes::Bytes;

use super::create_path;
use crate::error::Error;
use crate::node::{CreateOptions, Stat, Version};
use crate::path::{IntoPath, ZkPath};

/// One step of a [`Multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiOp {
    /// A new node.
    Create {
        /// Where.
        path: ZkPath,
        /// What it holds.
        data: Bytes,
        /// How it lives and who may touch it.
        options: CreateOptions,
    },
    /// New data for a node.
    Set {
        /// Which.
        path: ZkPath,
        /// What it holds from now on.
        data: Bytes,
        /// The data version that it must have.
        version: Version,
    },
    /// The end of a node.
    Delete {
        /// Which.
        path: ZkPath,
        /// The data version that it must have.
        version: Version,
    },
    /// The node must be there.
    Check {
        /// Which.
        path: ZkPath,
        /// The data version that it must have.
        version: Version,
    },
}

impl MultiOp {
    /// The path of this step.
    pub fn path(&self) -> &ZkPath {
        match self {
            MultiOp::Create { path, .. }
            | MultiOp::Set { path, .. }
            | MultiOp::Delete { path, .. }
            | MultiOp::Check { path, .. } => path,
        }
    }

    pub(super) fn path_mut(&mut self) -> &mut ZkPath {
        match self {
            MultiOp::Create { path, .. }
            | MultiOp::Set { path, .. }
            | MultiOp::Delete { path, .. }
            | MultiOp::Check { path, .. } => path,
        }
    }

    /// The word for it in errors.
    pub fn name(&self) -> &'static str {
        match self {
            MultiOp::Create { .. } => "create",
            MultiOp::Set { .. } => "set",
            MultiOp::Delete { .. } => "delete",
            MultiOp::Check { .. } => "check",
        }
    }
}

/// What one step of a [`Multi`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiReply {
    /// Of [`MultiOp::Create`].
    Created {
        /// The path, with its number when it is sequential.
        path: ZkPath,
        /// The facts about it, from servers that tell them here (3.8.2 and later).
        stat: Option<Stat>,
    },
    /// Of [`MultiOp::Set`].
    Set(Stat),
    /// Of [`MultiOp::Delete`].
    Deleted,
    /// Of [`MultiOp::Check`].
    Checked,
}

/// Steps that happen all together or not at all, within one cell.
///
/// A path that is no path is kept as an error and told when the whole is sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, ErrorKind, MemoryConn, Mode, Multi, Version};
/// let conn = MemoryConn::new();
/// let both = Multi::new()
///     .create("/a", "1", Mode::Persistent)
///     .check("/missing", Version::Any);
/// let err = conn.multi(both).await.unwrap_err();
/// assert_eq!((err.kind(), err.index()), (ErrorKind::NoNode, Some(1)));
/// assert!(conn.exists("/a").await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Multi {
    ops: Vec<MultiOp>,
    error: Option<Error>,
}

impl Multi {
    /// No steps yet; with none, nothing is sent and nothing answered.
    pub fn new() -> Self {
        Multi::default()
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.error.is_none()
    }

    /// Adds a new node.
    #[must_use]
    pub fn create(
        self,
        path: impl IntoPath,
        data: impl AsRef<[u8]>,
        options: impl Into<CreateOptions>,
    ) -> Self {
        let options = options.into();
        let path = create_path(path, &options);
        let data = Bytes::copy_from_slice(data.as_ref());
        self.push(path.map(|path| MultiOp::Create { path, data, options }))
    }

    /// Adds new data for a node.
    #[must_use]
    pub fn set(self, path: impl IntoPath, data: impl AsRef<[u8]>, version: Version) -> Self {
        let data = Bytes::copy_from_slice(data.as_ref());
        self.push(path.into_path().map(|path| MultiOp::Set { path, data, version }))
    }

    /// Adds the end of a node.
    #[must_use]
    pub fn delete(self, path: impl IntoPath, version: Version) -> Self {
        self.push(path.into_path().map(|path| MultiOp::Delete { path, version }))
    }

    /// Adds the condition that a node is there, at `version`.
    #[must_use]
    pub fn check(self, path: impl IntoPath, version: Version) -> Self {
        self.push(path.into_path().map(|path| MultiOp::Check { path, version }))
    }

    fn push(mut self, op: Result<MultiOp, Error>) -> Self {
        let index = self.ops.len();
        match op {
            Ok(op) if self.error.is_none() => self.ops.push(op),
            Ok(_) => {}
            Err(err) => {
                self.error.get_or_insert(err.with_index(index));
            }
        }
        self
    }

    /// The steps.
    ///
    /// # Errors
    ///
    /// The first `BadPath` among them, with its index.
    pub fn into_ops(self) -> Result<Vec<MultiOp>, Error> {
        match self.error {
            None => Ok(self.ops),
            Some(err) => Err(err),
        }
    }
}

impl From<Vec<MultiOp>> for Multi {
    fn from(ops: Vec<MultiOp>) -> Self {
        Multi { ops, error: None }
    }
}

impl FromIterator<MultiOp> for Multi {
    fn from_iter<I: IntoIterator<Item = MultiOp>>(ops: I) -> Self {
        Multi::from(ops.into_iter().collect::<Vec<_>>())
    }
}

impl Extend<MultiOp> for Multi {
    fn extend<I: IntoIterator<Item = MultiOp>>(&mut self, ops: I) {
        self.ops.extend(ops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_multi_tells_its_first_bad_path() {
        let multi = Multi::new().check("/a", Version::Any).delete("b", Version::Any).set(
            "c",
            "",
            Version::Any,
        );
        let err = multi.into_ops().unwrap_err();
        assert_eq!((err.kind(), err.index(), err.path()), (ErrorKind::BadPath, Some(1), "b"));
    }
}
