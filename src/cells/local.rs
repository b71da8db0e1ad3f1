//! Which cell this process runs in: the setting, the variable, or the host's name.

use crate::error::{Error, ErrorKind};
use crate::path::CellName;

use super::surroundings::Surroundings;

pub(super) const VARIABLE: &str = "ZK_CLIENT_LOCAL_CELL";
const HOW_TO_SET: &str = "set the local cell (--local-cell, or ZK_CLIENT_LOCAL_CELL)";

/// The local cell and where its name came from, or why there is none.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) cell: Result<CellName, Error>,
    /// In the words of an error: `from the host name nyc-db-1`.
    pub(super) origin: String,
}

impl Local {
    /// Looks in order; whatever is wrong is told when the local cell is wanted.
    pub(super) fn find(setting: Option<&str>, surroundings: &Surroundings) -> Local {
        let variable = surroundings.variable(VARIABLE);
        if let Some(name) = setting {
            return Local { cell: named(name, "the setting"), origin: "as set".into() };
        }
        if let Some(name) = variable.filter(|name| !name.is_empty()) {
            let name = name.to_string_lossy();
            return Local { cell: named(&name, VARIABLE), origin: format!("from {VARIABLE}") };
        }
        match surroundings.host_name() {
            Ok(host) => {
                let host = host.to_string_lossy();
                Local { cell: of_host(&host), origin: format!("from the host name {host}") }
            }
            Err(err) => {
                let why = format!("the host name cannot be read: {err}; {HOW_TO_SET}");
                Local { cell: Err(unknown(why)), origin: String::new() }
            }
        }
    }
}

fn unknown(why: impl Into<String>) -> Error {
    Error::new("cell", "local", ErrorKind::UnknownCell).with_detail(why)
}

fn named(name: &str, place: &str) -> Result<CellName, Error> {
    match plain(name) {
        Ok(cell) => Ok(cell),
        Err(why) => Err(unknown(format!("{place} says {name:?}, and {why}"))),
    }
}

/// A cell that is not itself one of the two names that stand for another.
fn plain(name: &str) -> Result<CellName, String> {
    let cell =
        CellName::new(name).map_err(|err| err.detail().unwrap_or("that is no cell").to_string())?;
    if cell.is_local() || cell.is_global() {
        return Err(format!("{name} is no cell of its own"));
    }
    Ok(cell)
}

/// Vitess's rule: of the short name, what stands before the first `-`, or its first two characters.
///
/// Host names do not know upper case from lower case, and cells are lower case.
fn of_host(host: &str) -> Result<CellName, Error> {
    let lower = host.to_lowercase();
    let short = lower.split('.').next().unwrap_or_default();
    let guess: String = match short.split_once('-') {
        Some((site, _)) => site.to_string(),
        None => short.chars().take(2).collect(),
    };
    let why = match plain(&guess) {
        _ if guess.is_empty() || (guess.len() == short.len() && guess.len() < 2) => {
            "is too short to tell the cell".to_string()
        }
        Ok(cell) => return Ok(cell),
        Err(why) => format!("would make {guess:?} the cell, and {why}"),
    };
    Err(unknown(format!("the host name {host:?} {why}; {HOW_TO_SET}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_name_tells_the_cell() {
        for (host, cell) in [
            ("nyc-db-1.x.y", "nyc"),
            ("sjl1", "sj"),
            ("sj", "sj"),
            ("NYC-DB-1", "nyc"),
            ("SJL1.example.com", "sj"),
            ("a-1", "a"),
            ("localhost", "lo"),
        ] {
            assert_eq!(of_host(host).unwrap().as_str(), cell, "{host}");
        }
    }

    #[test]
    fn a_host_name_that_tells_nothing_is_an_error() {
        let line = |host: &str| of_host(host).unwrap_err().to_string();
        let how = "set the local cell (--local-cell, or ZK_CLIENT_LOCAL_CELL)";
        for host in ["", "x", "-foo", ".nyc-1"] {
            assert_eq!(
                line(host),
                format!(
                    "cell local: unknown cell: the host name {host:?} is too short to tell the \
                     cell; {how}"
                )
            );
        }
        assert_eq!(
            line("local-1"),
            format!(
                "cell local: unknown cell: the host name \"local-1\" would make \"local\" the \
                 cell, and local is no cell of its own; {how}"
            )
        );
        assert_eq!(
            line("ünÿ"),
            format!(
                "cell local: unknown cell: the host name \"ünÿ\" would make \"ün\" the cell, \
                 and a cell's name starts and ends with a-z or 0-9; {how}"
            )
        );
    }
}
