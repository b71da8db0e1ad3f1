//! What the command says: results on stdout, errors on stderr, one line each.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind as IoKind, Stdout, Write as _};

use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// Why a command ends before it is through.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads what it says any more (`zk ls … | head -1`), which is no failure.
    NobodyReads,
    /// The command line makes no sense.
    Usage(Error),
    /// Going on makes no sense.
    Failed(Error),
}

/// Standard output, as text or as one JSON array with an object a line.
#[derive(Debug)]
pub(super) struct Output {
    to: BufWriter<Stdout>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Text,
    Json { items: usize },
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let form = if json { Form::Json { items: 0 } } else { Form::Text };
        Output { to: BufWriter::new(std::io::stdout()), form }
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.form, Form::Json { .. })
    }

    /// Prints a line of text.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), Stop> {
        writeln!(self.to, "{text}").map_err(stop)
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.to.write_all(bytes).map_err(stop)
    }

    /// Adds an object to the JSON array; prints nothing where text is wanted.
    pub(super) fn item(&mut self, item: &impl Serialize) -> Result<(), Stop> {
        let Form::Json { items } = &mut self.form else { return Ok(()) };
        let text = serde_json::to_string(item).map_err(|err| stop(err.into()))?;
        let before = if *items == 0 { "[\n" } else { ",\n" };
        *items += 1;
        write!(self.to, "{before}{text}").map_err(stop)
    }

    /// Ends the document, and hands on what is still in the buffer.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        match self.form {
            Form::Text => Ok(()),
            Form::Json { items: 0 } => writeln!(self.to, "[]"),
            Form::Json { .. } => writeln!(self.to, "\n]"),
        }
        .and_then(|()| self.to.flush())
        .map_err(stop)
    }
}

fn stop(err: std::io::Error) -> Stop {
    if err.kind() == IoKind::BrokenPipe {
        return Stop::NobodyReads;
    }
    Stop::Failed(Error::new("write", "standard output", ErrorKind::Input).with_cause(err))
}

/// Tells an error on stderr, with its causes, in one line.
pub(super) fn complain(err: &Error) {
    let mut line = format!("zk: {err}");
    let mut cause = err.source();
    while let Some(err) = cause {
        line.push_str(&format!(": {err}"));
        cause = err.source();
    }
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tells on stderr what is no error, in one line.
pub(super) fn say(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "zk: {text}");
}
