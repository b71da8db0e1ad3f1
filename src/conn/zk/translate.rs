//! Between the client crate's words and ours. Nothing else here knows its error type.

use zookeeper_client as zk;

use crate::error::ErrorKind;
use crate::node::{Acl, Mode, Perms, Stat};
use crate::watch::EventKind;

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said no.
    Refused(ErrorKind, Option<String>),
    /// The connection broke, or the session ended, under it: whether it was applied is open.
    Broken(String),
}

/// The crate tells a broken connection in many words: end of file is `ConnectionLoss`, a reset or a
/// silent server is `Custom`, a session that ends under a request its own state.
pub(super) fn failure(err: zk::Error) -> Failure {
    use zk::Error as E;
    let kind = match err {
        E::NoNode => ErrorKind::NoNode,
        E::NodeExists => ErrorKind::NodeExists,
        E::NotEmpty => ErrorKind::NotEmpty,
        E::BadVersion => ErrorKind::BadVersion,
        E::NoAuth => ErrorKind::NoAuth,
        E::AuthFailed => ErrorKind::AuthFailed,
        E::InvalidAcl => ErrorKind::InvalidAcl,
        E::NoChildrenForEphemerals => ErrorKind::NoChildrenForEphemerals,
        E::NotReadOnly => ErrorKind::ReadOnly,
        E::QuotaExceeded => ErrorKind::QuotaExceeded,
        E::Unimplemented => ErrorKind::Unsupported,
        E::Throttled => {
            return Failure::Refused(ErrorKind::NotSent, Some("the server throttles".into()));
        }
        E::BadArguments(why) => {
            return Failure::Refused(ErrorKind::BadArguments, Some((*why).to_string()));
        }
        // -7 and -122: the server gave up waiting for its own quorum.
        E::ConnectionLoss
        | E::Custom(_)
        | E::SessionExpired
        | E::SessionMoved
        | E::ClientClosed
        | E::UnexpectedError(_)
        | E::UnexpectedErrorCode(-7 | -122) => return Failure::Broken(err.to_string()),
        other => return Failure::Refused(ErrorKind::Unexpected, Some(other.to_string())),
    };
    Failure::Refused(kind, None)
}

pub(super) fn stat(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid,
    }
}

/// Servers before 3.8.2 leave the stat out of a create in a multi.
pub(super) fn stat_if_told(told: &zk::Stat) -> Option<Stat> {
    if told.is_invalid() { None } else { Some(stat(told)) }
}

pub(super) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

pub(super) fn acl_from(acl: &[zk::Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| Acl::new(perms_from(entry.permission()), entry.scheme(), entry.id()))
        .collect()
}

pub(super) fn acl_to(acl: &[Acl]) -> Vec<zk::Acl> {
    acl.iter()
        .map(|entry| zk::Acl::new(perms_to(entry.perms), zk::AuthId::new(&entry.scheme, &entry.id)))
        .collect()
}

const PERMS: [(Perms, zk::Permission); 5] = [
    (Perms::READ, zk::Permission::READ),
    (Perms::WRITE, zk::Permission::WRITE),
    (Perms::CREATE, zk::Permission::CREATE),
    (Perms::DELETE, zk::Permission::DELETE),
    (Perms::ADMIN, zk::Permission::ADMIN),
];

fn perms_to(perms: Perms) -> zk::Permission {
    let named = PERMS.iter().filter(|(ours, _)| perms.has(*ours));
    named.fold(zk::Permission::NONE, |sum, (_, theirs)| sum | *theirs)
}

fn perms_from(perms: zk::Permission) -> Perms {
    let named = PERMS.iter().filter(|(_, theirs)| perms.has(*theirs));
    named.fold(Perms::NONE, |sum, (ours, _)| sum | *ours)
}

pub(super) fn create_options<'a>(mode: Mode, acl: &'a [zk::Acl]) -> zk::CreateOptions<'a> {
    let kind = match mode {
        Mode::Persistent | Mode::Ttl(_) => zk::CreateMode::Persistent,
        Mode::PersistentSequential | Mode::TtlSequential(_) => zk::CreateMode::PersistentSequential,
        Mode::Ephemeral => zk::CreateMode::Ephemeral,
        Mode::EphemeralSequential => zk::CreateMode::EphemeralSequential,
        Mode::Container => zk::CreateMode::Container,
    };
    let options = kind.with_acls(zk::Acls::new(acl));
    match mode.ttl() {
        Some(ttl) => options.with_ttl(ttl),
        None => options,
    }
}

/// What an event of the crate tells; `None` for the comings and goings of the connection.
pub(super) fn event(event: &zk::WatchedEvent) -> Option<EventKind> {
    match event.event_type {
        zk::EventType::NodeCreated => Some(EventKind::Created),
        zk::EventType::NodeDeleted => Some(EventKind::Deleted),
        zk::EventType::NodeDataChanged => Some(EventKind::DataChanged),
        zk::EventType::NodeChildrenChanged => Some(EventKind::ChildrenChanged),
        zk::EventType::Session if is_end(event) => Some(EventKind::SessionEnded),
        _ => None,
    }
}

/// Whether the session ended with this event: nothing may be asked of its watcher any more, the
/// crate would panic.
pub(super) fn is_end(event: &zk::WatchedEvent) -> bool {
    event.event_type == zk::EventType::Session && event.session_state.is_terminated()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_connection_is_one() {
        let io = std::io::Error::from_raw_os_error(104);
        let broken = [
            zk::Error::ConnectionLoss,
            zk::Error::SessionExpired,
            zk::Error::ClientClosed,
            zk::Error::UnexpectedError("expect error state, got SyncConnected".into()),
        ];
        for err in broken {
            assert!(matches!(failure(err.clone()), Failure::Broken(_)), "{err}");
        }
        // A reset arrives as the crate's `Custom`, which only its own session can make; the kind
        // is told by everything that is not in the list of refusals.
        assert_eq!(io.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(failure(zk::Error::NoNode), Failure::Refused(ErrorKind::NoNode, None));
    }

    #[test]
    fn permissions_keep_their_bits() {
        for bits in 0..=31 {
            let perms = Perms::from_bits(bits);
            assert_eq!(perms_from(perms_to(perms)), perms);
        }
    }
}
