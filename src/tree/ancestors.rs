//! Which ancestors are missing, and what they are made of.

use bytes::Bytes;

use super::READS_AT_ONCE;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Perms};
use crate::path::ZkPath;
use crate::request::{MultiOp, Read, ReadReply};

/// The ancestors of `path` from its parent upwards, without `/`, which is always there.
pub(super) fn ancestors(path: &ZkPath) -> impl Iterator<Item = ZkPath> + use<> {
    std::iter::successors(path.parent(), ZkPath::parent).take_while(|path| !path.is_root())
}

/// How ancestors of a node with `options` are made: persistent whatever its mode, and for the same
/// identities, with the rights of a directory.
pub(super) fn directory(options: &CreateOptions) -> CreateOptions {
    let mut acl: Vec<Acl> = Vec::new();
    for entry in &options.acl {
        let entry = Acl { perms: Perms::DIRECTORY, ..entry.clone() };
        if !acl.contains(&entry) {
            acl.push(entry);
        }
    }
    CreateOptions::from(Mode::Persistent).with_acl(acl)
}

/// An empty node at `path`.
pub(super) fn create(path: ZkPath, options: &CreateOptions) -> MultiOp {
    MultiOp::Create { path, data: Bytes::new(), options: options.clone() }
}

/// The missing ancestors of `path`, from the top down.
///
/// It looks from the leaf up and not beyond the first that is there: what lies above may belong to
/// others, who let us see or touch nothing.
pub(super) async fn missing(
    conn: &dyn Conn,
    path: &ZkPath,
    verb: &'static str,
) -> Result<Vec<ZkPath>, Error> {
    let ancestors: Vec<ZkPath> = ancestors(path).collect();
    let there = exist(conn, &ancestors, verb).await?;
    let mut missing = Vec::new();
    for (path, there) in ancestors.into_iter().zip(there) {
        if there? {
            break;
        }
        missing.push(path);
    }
    missing.reverse();
    Ok(missing)
}

/// Whether there is a node, for each of `paths`; a node whose ACL hides even that is there.
pub(super) async fn exist(
    conn: &dyn Conn,
    paths: &[ZkPath],
    verb: &'static str,
) -> Result<Vec<Result<bool, Error>>, Error> {
    let mut there = Vec::with_capacity(paths.len());
    for chunk in paths.chunks(READS_AT_ONCE) {
        let answers = conn.read_many(chunk.iter().cloned().map(Read::Exists)).await;
        for (path, answer) in chunk.iter().zip(answers.map_err(|err| err.during(verb))?) {
            there.push(match answer {
                Ok(ReadReply::Exists(stat)) => Ok(stat.is_some()),
                Err(err) if err.kind() == ErrorKind::NoAuth => Ok(true),
                Err(err) => Err(err.during(verb)),
                Ok(_) => Err(Error::new(verb, path, ErrorKind::Unexpected)),
            });
        }
    }
    Ok(there)
}
