//! The directory of a recipe, made when the first one comes.

use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, CreateOptions, Mode, Perms};
use crate::path::ZkPath;
use crate::session::Session;
use crate::tree;

/// How a directory lives that nobody needs when it is empty, in this session: as a container, which
/// servers delete then. On a set of quorums it is persistent: mirrors cannot end it by themselves, and it
/// would be made and deleted there again and again.
pub(super) fn mode(session: &Session) -> Mode {
    if session.epoch() > 0 { Mode::Persistent } else { Mode::Container }
}

/// Makes `dir` with `data`, and what is missing above it; whoever is named in `acl` may do in it what
/// one does in directories. A container becomes a persistent node where servers do not know such. That it
/// is there already is no error, nor that nobody can tell, nor that mirrors lack it: whoever needs it tries
/// again.
pub(super) async fn make(
    conn: &dyn Conn,
    dir: &ZkPath,
    data: impl AsRef<[u8]>,
    acl: &[Acl],
    mode: Mode,
) -> Result<(), Error> {
    let open = |entry: &Acl| Acl { perms: Perms::DIRECTORY, ..entry.clone() };
    let acl: Vec<Acl> = acl.iter().map(open).collect();
    let with = |mode: Mode| CreateOptions::from(mode).with_acl(acl.clone());
    let mut made = tree::create_all(conn, dir, data.as_ref(), with(mode)).await;
    if made.as_ref().is_err_and(|err| err.kind() == ErrorKind::Unsupported) {
        made = tree::create_all(conn, dir, data.as_ref(), with(Mode::Persistent)).await;
    }
    match made {
        Ok(_) => Ok(()),
        Err(err) => match err.kind() {
            ErrorKind::NodeExists | ErrorKind::OutcomeUnknown | ErrorKind::NotMirrored => Ok(()),
            _ => Err(err),
        },
    }
}
