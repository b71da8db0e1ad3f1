//! Small requests leave at once.
//!
//! The client crate leaves Nagle's algorithm on: the second of two small requests in a row waits until
//! the server has acknowledged the first, which it does with its answer. So two requests in one flight
//! took two round trips. The crate shows its socket to nobody, so the sockets that came while it
//! connected are found among those of this process, and told not to wait. Where a system refuses
//! that, all is as slow as before, and nothing else is different.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::path::PathBuf;

use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{SocketAddr, getpeername};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The sockets of this process at one moment.
pub(super) struct Sockets(HashSet<PathBuf>);

impl Sockets {
    /// Those that there are now.
    pub(super) fn now() -> Self {
        Sockets(listed().map(|(_, socket)| socket).collect())
    }

    /// Lets those that have come since and lead to one of `hosts` send at once.
    pub(super) fn undelay_new(&self, hosts: &str) {
        let ports: HashSet<u16> = hosts
            .split(',')
            .filter_map(|host| host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()))
            .collect();
        let Ok(own) = pidfd_open(getpid(), PidfdFlags::empty()) else { return };
        for (fd, _) in listed().filter(|(_, socket)| !self.0.contains(socket)) {
            // Another handle on the same socket: what is set for one holds for both.
            let Ok(socket) = pidfd_getfd(&own, fd, PidfdGetfdFlags::empty()) else { continue };
            let peer = getpeername(&socket).ok().and_then(|peer| SocketAddr::try_from(peer?).ok());
            if peer.is_some_and(|peer| ports.contains(&peer.port())) {
                // Of another kind of socket this is refused.
                let _ = set_tcp_nodelay(&socket, true);
            }
        }
    }
}

/// Each open socket, with its number.
fn listed() -> impl Iterator<Item = (RawFd, PathBuf)> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_str()?.starts_with("socket:").then_some((fd, target))
    })
}
