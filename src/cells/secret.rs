//! Where the proof of an identity is read from: a file or a variable.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::auth::Secret;

use super::surroundings::Surroundings;

/// More than this is surely not a password but the wrong file.
const MAX_SECRET: u64 = 64 * 1024;

/// What `file` holds, without the line end that editors leave behind it.
pub(super) fn from_file(file: &Path) -> Result<Secret, String> {
    let shown = file.display();
    let mut text = String::new();
    File::open(file)
        .and_then(|open| open.take(MAX_SECRET + 1).read_to_string(&mut text))
        .map_err(|err| format!("the file {shown} cannot be read: {err}"))?;
    if text.len() as u64 > MAX_SECRET {
        return Err(format!("the file {shown} has more than 64 KiB"));
    }
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    match trimmed.strip_suffix('\r').unwrap_or(trimmed) {
        "" => Err(format!("the file {shown} is empty")),
        secret => Ok(Secret::new(secret)),
    }
}

/// What the environment holds under `variable`.
pub(super) fn from_variable(variable: &str, surroundings: &Surroundings) -> Result<Secret, String> {
    let Some(value) = surroundings.variable(variable) else {
        return Err(format!("the variable {variable:?} is not set"));
    };
    match value.into_string() {
        Ok(value) if !value.is_empty() => Ok(Secret::new(value)),
        Ok(_) => Err(format!("the variable {variable:?} is empty")),
        // The value itself is not told, however broken it is.
        Err(_) => Err(format!("the variable {variable:?} is not UTF-8")),
    }
}
