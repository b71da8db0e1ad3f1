//! The servers of one quorum, as everybody writes them: `h1:2181,h2:2181/chroot`.

use std::fmt;
use std::net::Ipv6Addr;
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

    /// Reads a connect string; the error is the reason in words.
    pub(crate) fn parse(text: &str) -> Result<Hosts, String> {
        let (list, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
        let hosts = hosts_and_ports(list, Some(Self::PORT))?;
        let chroot = if chroot.is_empty() { ZkPath::root() } else { chroot_path(chroot)? };
        Ok(Hosts { hosts, chroot })
    }

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
        Hosts::parse(text).map_err(|why| {
            let shown: String = text.escape_debug().take(200).collect();
            Error::new("address", format!("\"{shown}\""), ErrorKind::Config)
                .with_detail(format!("{why}; expected host:port,host:port/chroot"))
        })
    }
}

fn chroot_path(chroot: &str) -> Result<ZkPath, String> {
    match ZkPath::new(chroot) {
        Ok(path) if !path.is_root() => Ok(path),
        Ok(_) => Err("the chroot / is no chroot; leave the slash out".into()),
        Err(err) => Err(format!(
            "the chroot {chroot:?} is not a path: {}",
            err.detail().unwrap_or("expected /name/name")
        )),
    }
}

/// The list with every port written out. As ZooKeeper does it, spaces around a part do not count.
pub(crate) fn hosts_and_ports(text: &str, default: Option<u16>) -> Result<Vec<String>, String> {
    text.split(',').map(|part| host_and_port(part.trim(), default)).collect()
}

fn host_and_port(part: &str, default: Option<u16>) -> Result<String, String> {
    if part.is_empty() {
        return Err("there is an empty part".into());
    }
    let (host, port) = match part.strip_prefix('[') {
        Some(rest) => {
            let Some((v6, port)) = rest.split_once(']') else {
                return Err(format!("{part:?} has no closing bracket"));
            };
            if v6.parse::<Ipv6Addr>().is_err() {
                return Err(format!("{v6:?} is no IPv6 address"));
            }
            (format!("[{v6}]"), port)
        }
        None if part.matches(':').count() > 1 => {
            return Err(format!("{part:?} has more than one colon (write IPv6 as [::1]:2181)"));
        }
        None => {
            let (host, port) = part.split_at(part.find(':').unwrap_or(part.len()));
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || !host.chars().all(plain) {
                return Err(format!("{host:?} is no host name"));
            }
            (host.to_string(), port)
        }
    };
    let port = match (port.strip_prefix(':'), default) {
        (Some(digits), _) => number(digits)?,
        (None, _) if !port.is_empty() => return Err(format!("{port:?} is no port")),
        (None, Some(default)) => default,
        (None, None) => return Err(format!("{part:?} has no port")),
    };
    Ok(format!("{host}:{port}"))
}

fn number(digits: &str) -> Result<u16, String> {
    let plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port != 0 => Ok(port),
        _ => Err(format!("{digits:?} is no port from 1 to 65535")),
    }
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
    fn what_cannot_be_a_connect_string_says_why() {
        let err = "a:1,b:0".parse::<Hosts>().unwrap_err();
        assert_eq!(
            err.to_string(),
            "address \"a:1,b:0\": bad configuration: \"0\" is no port from 1 to 65535; \
             expected host:port,host:port/chroot"
        );
    }

    #[test]
    fn a_chroot_stands_behind_the_last_host() {
        let hosts: Hosts = "a,b:1/app/x".parse().unwrap();
        assert_eq!((hosts.hosts().len(), hosts.chroot().as_str()), (2, "/app/x"));
        assert_eq!(hosts.to_string(), "a:2181,b:1/app/x");
    }
}
