//! The servers of one quorum, as everybody writes them: `h1:2181,h2:2181/chroot`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// The servers of one quorum and the node below which we live there: ZooKeeper's connect string.
///
/// Hosts are separated by commas; a port that is left out is 2181; an IPv6 address stands in
/// brackets; a chroot stands once, behind the last host.
///
/// ```
/// use zkcells::Hosts;
/// let hosts: Hosts = "zk1,zk2:2182,[::1]:2183/app".parse()?;
/// assert_eq!(hosts.to_string(), "zk1:2181,zk2:2182,[::1]:2183/app");
/// assert_eq!(hosts.chroot().as_str(), "/app");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hosts {
    hosts: Vec<String>,
    chroot: ZkPath,
}

impl Hosts {
    /// ZooKeeper's usual port.
    pub const PORT: u16 = 2181;

    /// Each server as `host:port`; never empty.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The node below which every path lies on the servers; `/` if none was named.
    pub fn chroot(&self) -> &ZkPath {
        &self.chroot
    }
}

impl FromStr for Hosts {
    type Err = Error;

    /// # Errors
    ///
    /// `Config` with the text and the part of it that cannot be used.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: String| {
            let shown: String = text.escape_debug().take(200).collect();
            Error::new("address", format!("\"{shown}\""), ErrorKind::Config)
                .with_detail(format!("{why}; expected host:port,host:port/chroot"))
        };
        let (list, chroot) = match text.find('/') {
            None => (text, ZkPath::root()),
            Some(slash) => {
                let (list, chroot) = text.split_at(slash);
                if chroot.contains(',') {
                    return Err(bad("the chroot stands behind the last host".into()));
                }
                let chroot = ZkPath::new(chroot).map_err(|err| {
                    bad(format!("chroot {chroot}: {}", err.detail().unwrap_or_default()))
                })?;
                (list, chroot)
            }
        };
        let hosts: Result<Vec<_>, _> = list.split(',').map(|host| host_port(host.trim())).collect();
        Ok(Hosts { hosts: hosts.map_err(bad)?, chroot })
    }
}

fn host_port(text: &str) -> Result<String, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => (format!("[{v6}]"), port.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host.to_string(), Some(port)),
            None => (text.to_string(), None),
        },
    };
    if host.is_empty() {
        return Err(format!("\"{text}\" names no host"));
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let v6 = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%' | '[' | ']');
    if !host.chars().all(|c| if host.starts_with('[') { v6(c) } else { name(c) }) {
        return Err(format!("\"{text}\" is not a host and a port"));
    }
    let port = match port {
        None => Hosts::PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("\"{text}\" has no port from 1 to 65535 behind its colon")),
        },
    };
    Ok(format!("{host}:{port}"))
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hosts.join(","))?;
        if self.chroot.is_root() { Ok(()) } else { write!(f, "{}", self.chroot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_connect_string_says_which_part() {
        let cases = [
            ("", "\"\" names no host"),
            ("a:1,", "\"\" names no host"),
            (":2181", "\":2181\" names no host"),
            ("a:0", "\"a:0\" has no port from 1 to 65535 behind its colon"),
            ("a:70000", "\"a:70000\" has no port from 1 to 65535 behind its colon"),
            ("a b:1", "\"a b:1\" is not a host and a port"),
            ("a:1/app/", "chroot /app/: it must not end with /"),
            ("a:1/app,b:2", "the chroot stands behind the last host"),
        ];
        for (text, why) in cases {
            let err = text.parse::<Hosts>().unwrap_err();
            assert!(err.to_string().contains(why), "{err}");
        }
    }
}
