//! The nodes of a quorum as a JSON object: path to value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// Reads `text`, which came from `source`, as paths and data. Parents come before their children.
///
/// # Errors
///
/// `Input`, with the source, the key and what was expected.
pub(super) fn read(text: &str, source: &str) -> Result<BTreeMap<ZkPath, String>, Error> {
    let fail = |detail: String| Error::new("load", source, ErrorKind::Input).with_detail(detail);
    let expected = "expected an object of paths and values, as in {\"/zk/nyc/motd\": \"hello\"}";
    let entries: Entries =
        serde_json::from_str(text).map_err(|err| fail(format!("{err}; {expected}")))?;
    let mut nodes = BTreeMap::new();
    for (key, value) in entries.0 {
        let path = ZkPath::new(&key).map_err(|err| {
            let why = err.detail().unwrap_or_default();
            fail(format!("key {key:?}: {why}; expected a whole path such as \"/zk/nyc/motd\""))
        })?;
        let data = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if nodes.insert(path, data).is_some() {
            return Err(fail(format!("key {key:?} is there twice; expected each path once")));
        }
    }
    Ok(nodes)
}

/// The entries of an object as they stand: a map of `serde_json` would drop repeated keys.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
