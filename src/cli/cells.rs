//! `zk cells`: the cells that this host knows.

use serde::Serialize;

use crate::cells::CellConfig;
use crate::path::CellName;

use super::context::Context;
use super::output::{Stop, complain};

#[derive(Debug, Serialize)]
struct CellItem<'a> {
    name: &'a str,
    address: String,
    local: bool,
    global: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_timeout_ms: Option<u128>,
}

pub(super) fn run(context: &mut Context) -> Result<(), Stop> {
    let cells = context.cells.clone();
    let local = match cells.cell(&CellName::local()) {
        Ok(cell) => Some(cell.name),
        Err(err) => {
            // The list is complete without it, so this is a word and not a failure.
            complain(&err);
            None
        }
    };
    let known: Vec<CellConfig> =
        cells.known().iter().filter_map(|name| cells.cell(name).ok()).collect();
    let width = known.iter().map(|cell| cell.name.as_str().len()).max().unwrap_or(0);
    for cell in &known {
        let is_local = local.as_ref() == Some(&cell.name);
        if context.out.is_json() {
            context.out.item(&CellItem {
                name: cell.name.as_str(),
                address: cell.address.to_string(),
                local: is_local,
                global: cell.name.is_global(),
                root: cell.root.as_ref().map(|root| root.as_str()),
                read_server: cells.read_server_of(&cell.name).ok().flatten(),
                session_timeout_ms: cell.session_timeout.map(|wait| wait.as_millis()),
            })?;
        } else {
            let mut line = format!("{:width$}  {}", cell.name.as_str(), cell.address);
            if let Some(root) = &cell.root {
                line.push_str(&format!("  root {root}"));
            }
            if is_local {
                line.push_str("  local");
            }
            context.out.line(line)?;
        }
        context.done();
    }
    Ok(())
}
