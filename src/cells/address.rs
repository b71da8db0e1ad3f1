//! Where a cell is: the servers of a quorum, or a tree in this process.

use std::fmt;
use std::path::{Path, PathBuf};

use super::set::SetAddress;
use crate::hosts::{Hosts, hosts_and_ports};

/// Where a cell is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// The servers of one quorum, perhaps with a chroot behind them.
    Zk(Hosts),
    /// A quorum in this process, empty or as the JSON file has it.
    Memory(Option<PathBuf>),
    /// Several quorums that hold one tree.
    Set(SetAddress),
}

const EXPECTED: &str = "expected \"host:port,host:port\", perhaps with /chroot behind it, or \
                        \"memory:\" or \"memory:tree.json\"";

impl Address {
    /// Reads what a configuration says; files are meant relative to `directory`. The error is the
    /// reason in words.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Address, String> {
        let text = text.trim();
        if let Some(file) = text.strip_prefix("memory:") {
            return Ok(Address::Memory((!file.is_empty()).then(|| directory.join(file))));
        }
        if text.is_empty() {
            return Err(format!("the address is empty; {EXPECTED}"));
        }
        let hosts = Hosts::parse(text).map_err(|why| format!("{why} in {text:?}; {EXPECTED}"))?;
        Ok(Address::Zk(hosts))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Zk(hosts) => hosts.fmt(f),
            Address::Set(set) => set.fmt(f),
            Address::Memory(None) => f.write_str("memory:"),
            Address::Memory(Some(file)) => write!(f, "memory:{}", file.display()),
        }
    }
}

/// Checks the address of a read server: hosts with their ports, and nothing else.
pub(super) fn read_server(text: &str) -> Result<String, String> {
    hosts_and_ports(text.trim(), None)
        .map(|hosts| hosts.join(","))
        .map_err(|why| format!("{why} in {text:?}; expected \"host:port,host:port\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(text, Path::new("/etc/zookeeper"))
    }

    #[test]
    fn good_addresses() {
        for (given, expected) in [
            ("db1", "db1:2181"),
            ("db1:2182", "db1:2182"),
            ("db1:2181,db2", "db1:2181,db2:2181"),
            (" db1:1 , db2:2 ", "db1:1,db2:2"),
            ("10.0.0.1:2181,[::1]:2182,[fe80::1]", "10.0.0.1:2181,[::1]:2182,[fe80::1]:2181"),
            ("my_host-1.example.com/app/x", "my_host-1.example.com:2181/app/x"),
        ] {
            assert_eq!(
                parse(given).map(|address| address.to_string()),
                Ok(expected.into()),
                "{given}"
            );
        }
        assert_eq!(parse("memory:"), Ok(Address::Memory(None)));
        let tree = Address::Memory(Some("/etc/zookeeper/trees/nyc.json".into()));
        assert_eq!(tree.to_string(), "memory:/etc/zookeeper/trees/nyc.json");
        assert_eq!(parse("memory:trees/nyc.json"), Ok(tree));
        assert_eq!(parse("memory:/x.json"), Ok(Address::Memory(Some("/x.json".into()))));
    }

    #[test]
    fn bad_addresses_say_why() {
        for (given, why) in [
            ("", "the address is empty"),
            ("a:1,", "there is an empty part in \"a:1,\""),
            (",a:1", "there is an empty part in \",a:1\""),
            ("a:1,,b:1", "there is an empty part in \"a:1,,b:1\""),
            ("a:", "\"\" is no port from 1 to 65535 in \"a:\""),
            ("a:0", "\"0\" is no port from 1 to 65535 in \"a:0\""),
            ("a:65536", "\"65536\" is no port from 1 to 65535 in \"a:65536\""),
            ("a:+1", "\"+1\" is no port from 1 to 65535 in \"a:+1\""),
            ("a:x", "\"x\" is no port from 1 to 65535 in \"a:x\""),
            (":2181", "\"\" is no host name in \":2181\""),
            ("a b:1", "\"a b\" is no host name in \"a b:1\""),
            ("::1", "\"::1\" has more than one colon (write IPv6 as [::1]:2181) in \"::1\""),
            ("[::1", "\"[::1\" has no closing bracket in \"[::1\""),
            ("[x]:1", "\"x\" is no IPv6 address in \"[x]:1\""),
            ("[::1]2181", "\"2181\" is no port in \"[::1]2181\""),
            ("http://a:1", "\"\" is no port from 1 to 65535 in \"http://a:1\""),
        ] {
            assert_eq!(parse(given), Err(format!("{why}; {EXPECTED}")));
        }
        for (given, why) in [
            ("a:1/", "the chroot / is no chroot; leave the slash out"),
            ("a:1/x/", "the chroot \"/x/\" is not a path: it must not end with /"),
            ("a:1/x/../y", "the chroot \"/x/../y\" is not a path: .. is not a name in ZooKeeper"),
        ] {
            assert_eq!(parse(given), Err(format!("{why} in {given:?}; {EXPECTED}")));
        }
    }

    #[test]
    fn a_read_server_needs_a_port_and_has_no_chroot() {
        assert_eq!(read_server("a:14850, b:2"), Ok("a:14850,b:2".into()));
        let expected = "expected \"host:port,host:port\"";
        assert_eq!(read_server("a"), Err(format!("\"a\" has no port in \"a\"; {expected}")));
        assert_eq!(
            read_server("a:1/x"),
            Err(format!("\"1/x\" is no port from 1 to 65535 in \"a:1/x\"; {expected}"))
        );
    }
}
