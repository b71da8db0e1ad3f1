//! What is told of a cell that the configuration does not have.

use crate::error::Error;
use crate::path::CellName;

use super::{Cells, unknown};

impl Cells {
    /// The error for `asked`, which stands for `name`.
    pub(super) fn not_here(&self, asked: &CellName, name: &CellName) -> Error {
        let mut why = String::new();
        if asked.is_local() {
            why = format!("it is {name}, {}; ", self.0.local.origin);
        }
        let file = match &self.0.file {
            Some(file) => file.display().to_string(),
            None => "the configuration".to_string(),
        };
        if self.0.entries.read_servers.contains_key(name.as_str()) {
            why.push_str(&format!("{file} has a read server for it, and no \"{name}\""));
        } else if name.is_global() {
            let views = match self.local() {
                Ok(local) => format!("\"global\" or \"{local}-global\""),
                Err(_) => "\"global\"".into(),
            };
            why.push_str(&format!("{file} has no {views}"));
        } else {
            why.push_str(&format!("{file} has no \"{name}\""));
        }
        why.push_str(&format!("; known: {}", listed(&self.names_for_error(name))));
        unknown(asked.as_str(), why)
    }

    /// As `known`, but never asks for the cell whose absence is being told.
    fn names_for_error(&self, missing: &CellName) -> Vec<CellName> {
        if !missing.is_global() {
            return self.known();
        }
        let names = self.0.entries.cells.keys();
        names.filter_map(|name| CellName::new(name).ok()).collect()
    }
}

/// The first few names: a line stays a line however many cells there are.
fn listed(names: &[CellName]) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "none".into();
    }
    let start: Vec<&str> = names.iter().take(SHOWN).map(CellName::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => start.join(", "),
        more => format!("{} and {more} more", start.join(", ")),
    }
}
