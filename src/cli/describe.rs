//! How a node looks: to people as text, to programs as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::node::{Acl, Perms, Stat};
use crate::path::ZkPath;

/// A node in a JSON document; what was not asked for is left out.
#[derive(Debug, Serialize)]
pub(super) struct NodeItem<'a> {
    path: &'a str,
    /// The data, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// The data, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<StatItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<AclItem<'a>>>,
}

impl<'a> NodeItem<'a> {
    pub(super) fn new(path: &'a ZkPath) -> Self {
        let path = path.as_str();
        NodeItem { path, data: None, data_base64: None, stat: None, acl: None }
    }

    pub(super) fn with_data(mut self, data: &'a [u8]) -> Self {
        match std::str::from_utf8(data) {
            Ok(text) => self.data = Some(text),
            Err(_) => self.data_base64 = Some(STANDARD.encode(data)),
        }
        self
    }

    pub(super) fn with_stat(mut self, stat: &Stat) -> Self {
        self.stat = Some(StatItem::new(stat));
        self
    }

    pub(super) fn with_acl(mut self, acl: &'a [Acl]) -> Self {
        self.acl = Some(acl.iter().map(AclItem::new).collect());
        self
    }
}

#[derive(Debug, Serialize)]
struct StatItem {
    czxid: i64,
    mzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    cversion: i32,
    aversion: i32,
    /// In hexadecimal, as ZooKeeper's own tools have it; many readers of JSON would round it.
    ephemeral_owner: String,
    data_length: i32,
    num_children: i32,
    pzxid: i64,
}

impl StatItem {
    fn new(stat: &Stat) -> Self {
        StatItem {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            ephemeral_owner: format!("{:#x}", stat.ephemeral_owner),
            data_length: stat.data_length,
            num_children: stat.num_children,
            pzxid: stat.pzxid,
        }
    }
}

#[derive(Debug, Serialize)]
struct AclItem<'a> {
    scheme: &'a str,
    id: &'a str,
    perms: Vec<&'static str>,
}

impl<'a> AclItem<'a> {
    fn new(acl: &'a Acl) -> Self {
        let perms = [
            (Perms::READ, "read"),
            (Perms::WRITE, "write"),
            (Perms::CREATE, "create"),
            (Perms::DELETE, "delete"),
            (Perms::ADMIN, "admin"),
        ];
        let perms = perms.into_iter().filter(|(perm, _)| acl.perms.has(*perm));
        AclItem { scheme: &acl.scheme, id: &acl.id, perms: perms.map(|(_, name)| name).collect() }
    }
}

/// A line of `ls -l`, as Vitess prints it.
pub(super) fn long_line(stat: &Stat, name: &str) -> String {
    let kind = match stat {
        stat if stat.is_ephemeral() => "erw-rw-rw-",
        Stat { num_children: 0, .. } => "-rw-rw-rw-",
        Stat { data_length: 0, .. } => "drwxrwxrwx",
        _ => "nrw-rw-rw-",
    };
    let size = stat.data_length;
    format!("{kind} zk zk {size:>8} {:>20} {name}", time(stat.mtime, "%F %T"))
}

/// A line of `ls -l` for a cell whose own node nobody has made.
pub(super) fn unmade_line(name: &str) -> String {
    format!("d????????? zk zk {:>8} {:>20} {name}", "?", "?")
}

/// Milliseconds since 1970 in local time.
pub(super) fn time(millis: i64, format: &str) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime(format).to_string(),
        // Beyond the year 9999: a server's clock that has gone mad.
        Err(_) => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(num_children: i32, data_length: i32, ephemeral_owner: i64) -> Stat {
        Stat { num_children, data_length, ephemeral_owner, ..Stat::default() }
    }

    #[test]
    fn the_kind_of_a_node_as_vitess_has_it() {
        for (stat, kind) in [
            (stat(0, 0, 0), "-rw-rw-rw-"),
            (stat(0, 5, 0), "-rw-rw-rw-"),
            (stat(2, 0, 0), "drwxrwxrwx"),
            (stat(2, 5, 0), "nrw-rw-rw-"),
            (stat(0, 5, 0x1000), "erw-rw-rw-"),
        ] {
            let line = long_line(&stat, "x");
            assert_eq!(line.split(' ').next(), Some(kind), "{line}");
        }
    }

    #[test]
    fn data_that_is_not_text_is_base64() {
        let path = ZkPath::root();
        let json = |data| serde_json::to_string(&NodeItem::new(&path).with_data(data)).unwrap();
        assert_eq!(json("é".as_bytes()), r#"{"path":"/","data":"é"}"#);
        assert_eq!(json(b"\xff\x00"), r#"{"path":"/","data_base64":"/wA="}"#);
    }
}
