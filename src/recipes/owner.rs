//! Who is behind a node: host, process, and the random id of one attempt.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::deadline::wall_clock;

/// Who made a node, as its data says.
///
/// It is JSON, with the keys that Vitess has (`hostname`, `pid`) and two more:
///
/// ```
/// use zkcells::recipes::Owner;
/// let owner = Owner::parse(br#"{"hostname": "web-7", "pid": 4711}"#).unwrap();
/// assert_eq!((owner.hostname.as_str(), owner.pid), ("web-7", 4711));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Owner {
    /// The name of the host.
    pub hostname: String,
    /// The number of the process there.
    pub pid: u32,
    /// The random id of this attempt, if the system has such.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// When the attempt began by the owner's clock, in milliseconds since 1970; 0 if it is not
    /// said.
    #[serde(default, skip_serializing_if = "is_unknown", rename = "time_ms")]
    pub time: u64,
    /// The transaction that granted it, where the node is younger than the grant, as behind a
    /// [downgrade](super::WriteGuard::downgrade); 0 otherwise.
    #[serde(default, skip_serializing_if = "is_none", rename = "granted_zxid")]
    pub granted: i64,
}

fn is_unknown(time: &u64) -> bool {
    *time == 0
}

fn is_none(zxid: &i64) -> bool {
    *zxid == 0
}

impl Owner {
    /// This process, in an attempt called `id`.
    pub(crate) fn here(id: &str) -> Self {
        let hostname = hostname::get().map(|name| name.to_string_lossy().into_owned());
        Owner {
            hostname: hostname.unwrap_or_else(|_| "unknown".into()),
            pid: std::process::id(),
            id: id.to_owned(),
            time: wall_clock().as_millis().try_into().unwrap_or(u64::MAX),
            granted: 0,
        }
    }

    /// Reads the data of a node; `None` if it is something else.
    pub fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// The data of a node.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// When the attempt began, by the owner's clock.
    pub fn since(&self) -> Option<SystemTime> {
        (self.time > 0)
            .then(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.time)))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let owner = Owner::here("0123");
        assert_eq!(Owner::parse(&owner.to_json()).as_ref(), Some(&owner));
        assert!(owner.since().is_some());
    }

    #[test]
    fn other_data_is_nobodys() {
        assert_eq!(Owner::parse(b""), None);
        assert_eq!(Owner::parse(b"10.0.0.7"), None);
        assert_eq!(Owner::parse(b"{}"), None);
    }
}
