//! Why the quorum does not do something; the caller adds what was asked and where.

use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// A kind and, where there is more to say, a detail.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: ErrorKind,
    detail: Option<String>,
}

impl Refusal {
    pub(super) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Refusal { kind, detail: Some(detail.into()) }
    }

    /// The error of `op` on `path`.
    pub(super) fn of(self, op: &'static str, path: &ZkPath) -> Error {
        let err = Error::new(op, path, self.kind);
        match self.detail {
            Some(detail) => err.with_detail(detail),
            None => err,
        }
    }
}

impl From<ErrorKind> for Refusal {
    fn from(kind: ErrorKind) -> Self {
        Refusal { kind, detail: None }
    }
}
