//! What stands in the node of a barrier that is closed.

use serde::{Deserialize, Serialize};

use crate::recipes::owner::Owner;

/// The data of the node: who closed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Closing {
    #[serde(flatten)]
    owner: Owner,
    /// So that people can tell it from other nodes with an owner.
    barrier: Closed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Closed {
    Closed,
}

/// Who closed the barrier whose node has this data; `None` if it is none, or another system's.
#[cfg(feature = "cli")]
pub(crate) fn closing(data: &[u8]) -> Option<Owner> {
    serde_json::from_slice(data).ok().map(|Closing { owner, .. }| owner)
}

impl Closing {
    pub(super) fn here(id: &str) -> Self {
        Closing { owner: Owner::here(id), barrier: Closed::Closed }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
