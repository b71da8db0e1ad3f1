//! Who was granted last, written down in the data of a directory.
//!
//! Where the order of grants is not that of arrival, a list of names does not say who holds: the
//! grant itself is a write, of this record, on the condition that nobody wrote it since it was read.

use serde::{Deserialize, Serialize};

use crate::node::{Node, Stat};

/// The last grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name of the holder's node.
    pub(crate) holder: String,
    /// The transaction that made that node.
    pub(crate) czxid: i64,
    /// Whether it was given back in order.
    #[serde(default)]
    pub(crate) released: bool,
}

impl Record {
    /// The record in a directory; `None` if there is none, or something else.
    pub(crate) fn of(dir: &Node) -> Option<Self> {
        serde_json::from_slice(&dir.data).ok()
    }

    /// The data of a directory.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it is of the node called `name` that has this `stat`.
    pub(crate) fn is_of(&self, name: &str, stat: &Stat) -> bool {
        self.holder == name && self.czxid == stat.czxid
    }
}
