//! What a quorum holds from the start, and other things that no client could have done.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::refusal::Refusal;
use super::state::State;
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Version};
use crate::path::ZkPath;
use crate::request::{Op, Request};

impl State {
    /// Stores nodes, parents first; parents that are missing become empty nodes.
    pub(super) fn fill(&mut self, nodes: BTreeMap<ZkPath, String>) -> Result<(), Error> {
        for (path, data) in nodes {
            let data = Bytes::from(data);
            let set = Op::Set { data: data.clone(), version: Version::Any };
            Request::new(set, path.clone()).check()?;
            let refused = |refusal: Refusal| refusal.of("create", &path);
            let mut at = ZkPath::root();
            for component in path.components() {
                at = at.child(component);
                if self.tree.get(&at).is_none() {
                    let data = if at == path { data.clone() } else { Bytes::new() };
                    let options = CreateOptions::default();
                    self.write_freely(|writes| writes.create(&at, data, &options))
                        .map_err(refused)?;
                } else if at == path {
                    self.overwrite(&at, data.clone()).map_err(refused)?;
                }
            }
            if path.is_root() {
                self.overwrite(&path, data).map_err(refused)?;
            }
        }
        Ok(())
    }

    fn overwrite(&mut self, path: &ZkPath, data: Bytes) -> Result<(), Refusal> {
        self.write_freely(|writes| writes.set(path, data, Version::Any)).map(|_| ())
    }

    /// Makes `next` the number of the next sequential node below `parent`.
    pub(super) fn set_sequence(&mut self, parent: &ZkPath, next: i32) -> Result<(), Refusal> {
        let record = self.tree.get_mut(parent).ok_or(ErrorKind::NoNode)?;
        (record.creates, record.next) = (next, next);
        Ok(())
    }
}
