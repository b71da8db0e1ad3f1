//! Modules use only the layers below their own: the table of the crate page, held against the code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module with its layer, in order: within a layer, a module may use what stands before it.
const LAYERS: &[&[&str]] = &[
    &[
        "error",
        "path",
        "hosts",
        "auth",
        "deadline",
        "node",
        "watch",
        "session",
        "hold",
        "request",
        "background",
        "pause",
        "fault",
    ],
    &["conn", "cells"],
    &[
        "conn::options",
        "conn::outcome",
        "conn::rebase",
        "conn::within",
        "conn::bound",
        "conn::zk",
        "conn::memory",
        "conn::global",
        "conn::dialer",
        "conn::cache",
        "conn::meta",
    ],
    &["tree", "change", "wildcard", "repair"],
    &["recipes"],
    &["cli"],
    &["testing", "spy"],
];

/// The place of a module in the order; `None` when the table does not have it.
fn place(module: &str) -> Option<usize> {
    LAYERS.iter().flat_map(|layer| layer.iter()).position(|known| *known == module)
}

/// The module of the table that a file belongs to.
fn module_of(file: &Path) -> String {
    let text = file.with_extension("").to_string_lossy().replace(['/', '\\'], "::");
    let mut parts = text.split("::");
    match (parts.next().unwrap(), parts.next()) {
        ("conn", Some(part)) if place(&format!("conn::{part}")).is_some() => {
            format!("conn::{part}")
        }
        (module, _) => module.to_string(),
    }
}

/// The modules of the table that a line names behind `crate::`.
fn named(line: &str) -> Vec<String> {
    let uses = line.match_indices("crate::").map(|(at, _)| &line[at + "crate::".len()..]);
    uses.flat_map(|rest| {
        let name = |text: &str| -> String {
            text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        let module = name(rest);
        let below = rest.strip_prefix("conn::").unwrap_or_default();
        let parts: Vec<String> = match below.strip_prefix('{') {
            Some(list) => list.split(',').map(|part| name(part.trim())).collect(),
            None => vec![name(below)],
        };
        let inner: Vec<String> = parts
            .iter()
            .map(|part| format!("conn::{part}"))
            .filter(|inner| module == "conn" && place(inner).is_some())
            .collect();
        if inner.is_empty() { vec![module] } else { inner }
    })
    .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn each_source(mut look: impl FnMut(&Path, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "found only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        look(file.strip_prefix(&root).unwrap(), &text);
    }
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    each_source(|file, text| {
        let module = module_of(file);
        if module == "lib" || module == "bin" {
            return;
        }
        let Some(own) = place(&module) else {
            wrong.push(format!("{}: not in the table of layers", file.display()));
            return;
        };
        // Tests may use what they like, examples show what users write.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if file.ends_with("tests.rs") {
            return;
        }
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in named(line) {
                match place(&used) {
                    Some(place) if place <= own => {}
                    Some(_) => wrong.push(format!("{}: {module} uses {used}", file.display())),
                    // Exported macros live at the root of the crate.
                    None if line.contains(&format!("{used}!")) => {}
                    None => wrong.push(format!(
                        "{}: `{}`: by its module, please",
                        file.display(),
                        line.trim()
                    )),
                }
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_conn_zk_names_the_client_crate() {
    each_source(|file, text| {
        let allowed = file.starts_with("conn/zk");
        let names = text
            .lines()
            .any(|line| line.contains("zookeeper_client") && !line.trim_start().starts_with("//"));
        assert!(allowed || !names, "{} names zookeeper_client", file.display());
    });
}

#[test]
fn commands_for_sets_in_messages_come_from_one_place() {
    each_source(|file, text| {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let names = lines.any(|line| line.contains("`zk global") || line.ends_with("`zk \\"));
        let is_place = file.ends_with("conn/global/remedy.rs");
        assert_eq!(names, is_place, "{}: as conn/global/remedy.rs has it, please", file.display());
    });
}

#[test]
fn the_table_reads_what_is_written() {
    assert_eq!(named("use crate::conn::{Conn, rebase};"), ["conn::rebase"]);
    assert_eq!(named("use crate::conn::{Conn, Pending};"), ["conn"]);
    assert_eq!(named("use crate::conn::zk::ZkConn;"), ["conn::zk"]);
    assert_eq!(named("    x: crate::watch::EventKind,"), ["watch"]);
    assert_eq!(module_of(Path::new("conn/zk/driver.rs")), "conn::zk");
    assert_eq!(module_of(Path::new("conn/ext.rs")), "conn");
}
