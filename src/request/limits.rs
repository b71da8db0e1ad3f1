//! What servers refuse by closing the connection, or by no error that would help: refused before it
//! is sent.

use bytes::Bytes;

use super::{MultiOp, Op, Read, Request};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Version};
use crate::path::ZkPath;

/// The largest request that servers take with their default `jute.maxbuffer` of 1 MiB − 1, less
/// what they add when they pass a write on. A larger one would cost the whole connection.
pub const MAX_REQUEST: usize = 1_048_575 - 512;

const REQUEST_HEADER: usize = 4 + 8;
const MULTI_HEADER: usize = 9;

fn text_size(path: &ZkPath) -> usize {
    4 + path.as_str().len()
}

fn acl_size(acl: &[Acl]) -> usize {
    4 + acl.iter().map(|entry| 12 + entry.scheme.len() + entry.id.len()).sum::<usize>()
}

fn create_size(path: &ZkPath, data: &Bytes, options: &CreateOptions) -> usize {
    let ttl = if matches!(options.mode, Mode::Ttl(_) | Mode::TtlSequential(_)) { 8 } else { 0 };
    text_size(path) + 4 + data.len() + acl_size(&options.acl) + 4 + ttl
}

impl Request {
    /// Refuses what no server takes, before it costs the connection.
    ///
    /// # Errors
    ///
    /// `TooLarge` past [`MAX_REQUEST`], `BadPath` for a bare sequence prefix outside a sequential
    /// create, `InvalidAcl` for an empty list, `BadArguments` for a time to live that is not
    /// between 1 ms and 2^40 − 1 ms.
    pub fn check(&self) -> Result<(), Error> {
        match &self.op {
            Op::Create { options, .. } => self.check_create(&self.path, options)?,
            Op::SetAcl { acl, .. } if acl.is_empty() => {
                return Err(self.error(ErrorKind::InvalidAcl).with_detail("the list is empty"));
            }
            Op::Set { version, .. } | Op::Delete { version } | Op::SetAcl { version, .. } => {
                check_version(self.op.name(), &self.path, *version)?;
            }
            Op::ReadMany(reads) => {
                if let Some(read) = reads.iter().find(|read| read.path().is_bare_prefix()) {
                    return Err(bare_prefix(read.name(), read.path()));
                }
            }
            Op::Multi(ops) => {
                for (index, op) in ops.iter().enumerate() {
                    if let MultiOp::Set { version, .. }
                    | MultiOp::Delete { version, .. }
                    | MultiOp::Check { version, .. } = op
                    {
                        check_version("multi", op.path(), *version)
                            .map_err(|err| err.with_index(index))?;
                    }
                    if let MultiOp::Create { path, options, .. } = op {
                        self.check_create(path, options).map_err(|err| err.with_index(index))?;
                    } else if op.path().is_bare_prefix() {
                        return Err(bare_prefix("multi", op.path()).with_index(index));
                    }
                }
            }
            _ => {}
        }
        if self.path.is_bare_prefix() && !matches!(self.op, Op::Create { .. } | Op::Multi(_)) {
            return Err(bare_prefix(self.op.name(), &self.path));
        }
        let size = self.wire_size();
        // Many reads are sent in as many requests as it takes.
        if size > MAX_REQUEST && !matches!(self.op, Op::ReadMany(_)) {
            return Err(self.error(ErrorKind::TooLarge).with_detail(format!(
                "the request has {size} bytes and servers take {MAX_REQUEST}; store less in one node"
            )));
        }
        Ok(())
    }

    fn check_create(&self, path: &ZkPath, options: &CreateOptions) -> Result<(), Error> {
        let op = self.op.name();
        if options.acl.is_empty() {
            return Err(
                Error::new(op, path, ErrorKind::InvalidAcl).with_detail("the list is empty")
            );
        }
        if path.is_bare_prefix() && !options.mode.is_sequential() {
            return Err(bare_prefix(op, path));
        }
        if path.is_root() && !options.mode.is_sequential() {
            return Err(Error::new(op, path, ErrorKind::NodeExists));
        }
        let longest = (1 << 40) - 1;
        match options.mode.ttl().map(|ttl| ttl.as_millis()) {
            Some(ttl) if ttl == 0 || ttl > longest => {
                let detail = format!("a time to live is 1 to {longest} ms");
                Err(Error::new(op, path, ErrorKind::BadArguments).with_detail(detail))
            }
            _ => Ok(()),
        }
    }

    /// About how many bytes it takes on the wire, never less.
    pub fn wire_size(&self) -> usize {
        let body = match &self.op {
            Op::Create { data, options } => create_size(&self.path, data, options),
            Op::Set { data, .. } => text_size(&self.path) + 4 + data.len() + 4,
            Op::SetAcl { acl, .. } => text_size(&self.path) + acl_size(acl) + 4,
            Op::Multi(ops) => MULTI_HEADER + ops.iter().map(MultiOp::wire_size).sum::<usize>(),
            Op::ReadMany(reads) => {
                let each = |read: &Read| MULTI_HEADER + text_size(read.path()) + 1;
                MULTI_HEADER + reads.iter().map(each).sum::<usize>()
            }
            _ => text_size(&self.path) + 8,
        };
        REQUEST_HEADER + body
    }
}

impl MultiOp {
    /// About how many bytes it takes in a request.
    pub fn wire_size(&self) -> usize {
        MULTI_HEADER
            + match self {
                MultiOp::Create { path, data, options } => create_size(path, data, options),
                MultiOp::Set { path, data, .. } => text_size(path) + 4 + data.len() + 4,
                MultiOp::Delete { path, .. } | MultiOp::Check { path, .. } => text_size(path) + 4,
            }
    }
}

/// On the wire -1 means any version, so a slip there would write without a condition.
fn check_version(op: &'static str, path: &ZkPath, version: Version) -> Result<(), Error> {
    match version {
        Version::Exact(number) if number < 0 => {
            let detail = format!("no node has version {number}; use Version::Any for any");
            Err(Error::new(op, path, ErrorKind::BadArguments).with_detail(detail))
        }
        _ => Ok(()),
    }
}

fn bare_prefix(op: &'static str, path: &ZkPath) -> Error {
    Error::new(op, path, ErrorKind::BadPath).with_detail("only a sequential create may end in /")
}
