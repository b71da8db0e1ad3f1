//! `zk cells`: the cells that this host knows, and how each one is.

use std::error::Error as _;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Serialize;

use crate::cells::{Address, CellConfig, Cells};
use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::path::CellName;
use crate::session::Session;

use super::args;
use super::context::Context;
use super::output::{Stop, complain, table};

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
    #[serde(flatten)]
    found: Option<FoundItem>,
}

/// What a cell said when it was asked.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum FoundItem {
    Connected {
        latency_ms: f64,
        session: String,
        granted_timeout_ms: u128,
        #[serde(skip_serializing_if = "Option::is_none")]
        server_version: Option<String>,
    },
    Down {
        why: String,
    },
}

/// A cell that answers.
struct Up {
    session: Session,
    latency: Duration,
    version: Option<String>,
}

pub(super) async fn run(context: &mut Context, args: args::Cells) -> Result<(), Stop> {
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
    let found: Vec<Option<Result<Up, String>>> = if args.offline {
        known.iter().map(|_| None).collect()
    } else {
        // All at once, so that all that are dead cost one timeout together.
        let asked = known.iter().map(|cell| ask(&*context.conn, cell, context.timeout));
        join_all(asked).await.into_iter().map(Some).collect()
    };
    let mut rows = Vec::new();
    for (cell, found) in known.iter().zip(found) {
        match &found {
            Some(Err(_)) => context.cell_is_away(),
            _ => context.done(),
        }
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
                found: found.map(item),
            })?;
        } else {
            rows.push(row(cell, is_local, found));
        }
    }
    table(&mut context.out, &rows)
}

/// Opens a session and has the quorum agree once; that takes `wait` in the most.
async fn ask(conn: &dyn Conn, cell: &CellConfig, wait: Duration) -> Result<Up, String> {
    let (path, start) = (Cells::path_of(&cell.name), Instant::now());
    let session = conn.session(&path).await.map_err(|err| why(&err))?;
    let (left, asked) = (wait.saturating_sub(start.elapsed()), Instant::now());
    let Ok(agreed) = tokio::time::timeout(left, conn.sync(&path)).await else {
        return Err(format!("{}: a server opened a session, then no answer", ErrorKind::Timeout));
    };
    agreed.map_err(|err| why(&err))?;
    let version = match &cell.address {
        Address::Memory(_) => Some("memory".to_string()),
        _ => session.server_version(),
    };
    Ok(Up { session, latency: asked.elapsed(), version })
}

/// An error in words, but for what was asked where: that is the row.
fn why(err: &Error) -> String {
    let mut text = err.kind().to_string();
    if let Some(detail) = err.detail() {
        text.push_str(&format!(": {detail}"));
    }
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(&format!(": {err}"));
        cause = err.source();
    }
    text
}

fn item(found: Result<Up, String>) -> FoundItem {
    match found {
        Ok(up) => FoundItem::Connected {
            latency_ms: (up.latency.as_secs_f64() * 1e6).round() / 1e3,
            session: format!("{:#x}", up.session.id()),
            granted_timeout_ms: up.session.timeout().as_millis(),
            server_version: up.version,
        },
        Err(why) => FoundItem::Down { why },
    }
}

/// The cells of one line; all but the last are made equally wide.
fn row(cell: &CellConfig, is_local: bool, found: Option<Result<Up, String>>) -> Vec<String> {
    let mut last = cell.address.to_string();
    if let Some(root) = &cell.root {
        last.push_str(&format!("  root {root}"));
    }
    if is_local {
        last.push_str("  local");
    }
    let mut row = vec![cell.name.to_string()];
    match found {
        None => {}
        Some(Ok(up)) => row.extend([
            "connected".to_string(),
            format!("{:>7}", format!("{:.1}ms", up.latency.as_secs_f64() * 1e3)),
            format!("{:#x}", up.session.id()),
            humantime::format_duration(up.session.timeout()).to_string(),
            up.version.unwrap_or_else(|| "-".to_string()),
        ]),
        Some(Err(why)) => {
            row.extend(["down", "      -", "-", "-", "-"].map(String::from));
            last.push_str(&format!("  {why}"));
        }
    }
    row.push(last);
    row
}
