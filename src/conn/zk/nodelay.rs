//! Small requests leave at once.
//!
//! The client crate leaves Nagle's algorithm on: the second of two small requests in a row waits until
//! the server has acknowledged the first, which it does with its answer. So two requests in one flight
//! took two round trips. The crate shows its socket to nobody, so the sockets of this process that lead
//! to servers are looked up soon behind a dial, those of many dials at once, and told not to wait. Where
//! a system refuses that, all is as slow as before, and nothing else is different.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{SocketAddr, getpeername};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::background::{KEEPER, sleep};

/// How long dials are gathered: to look at every socket for each would cost many of them dearly.
const SOON: Duration = Duration::from_millis(10);

/// The ports of servers that were dialled and not looked for yet.
static DIALLED: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// Lets the sockets that lead to one of `hosts` send at once, soon.
pub(super) fn undelay(hosts: &str) {
    let first = {
        let mut dialled = DIALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let first = dialled.is_empty();
        dialled.extend(hosts.split(',').filter_map(port));
        first && !dialled.is_empty()
    };
    let look = async {
        sleep(SOON).await;
        let ports = std::mem::take(&mut *DIALLED.lock().unwrap_or_else(PoisonError::into_inner));
        undelay_all(&ports.into_iter().collect());
    };
    if first {
        // Without a thread for it they are as slow as before.
        let _ = KEEPER.spawn(look);
    }
}

fn port(host: &str) -> Option<u16> {
    host.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

fn undelay_all(ports: &HashSet<u16>) {
    let Ok(own) = pidfd_open(getpid(), PidfdFlags::empty()) else { return };
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_str().is_some_and(|text| text.starts_with("socket:")));
        let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
        let (true, Some(fd)) = (is_socket, fd) else { continue };
        // Another handle on the same socket: what is set for one holds for both.
        let Ok(socket) = pidfd_getfd(&own, fd, PidfdGetfdFlags::empty()) else { continue };
        let peer = getpeername(&socket).ok().and_then(|peer| SocketAddr::try_from(peer?).ok());
        if peer.is_some_and(|peer| ports.contains(&peer.port())) {
            // Of another kind of socket this is refused.
            let _ = set_tcp_nodelay(&socket, true);
        }
    }
}
