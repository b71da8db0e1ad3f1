//! What the command says: results on stdout, errors on stderr, one line each.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind as IoKind, Stdout, Write as _};
use std::os::fd::AsFd as _;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

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

    /// Hands on what is in the buffer, for those who wait for it.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        self.to.flush().map_err(stop)
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

/// Waits until nobody reads standard output any more; for ever where that cannot be known, as of a file.
pub(super) async fn unread() {
    // Nothing is written by this one, so it need not be able to without waiting.
    let watched = std::io::stdout().as_fd().try_clone_to_owned();
    match watched.and_then(pipe::Sender::from_owned_fd_unchecked) {
        Ok(watched) if watched.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// Prints rows of text; all columns but the last are made equally wide.
pub(super) fn table(out: &mut Output, rows: &[Vec<String>]) -> Result<(), Stop> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns.saturating_sub(1)];
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    for row in rows {
        let widths = widths.iter().chain([&0]);
        let padded = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}"));
        out.line(padded.collect::<Vec<_>>().join("  "))?;
    }
    Ok(())
}

/// Tells an error on stderr, with its causes, in one line.
pub(super) fn complain(err: &Error) {
    let mut line = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        line.push_str(&format!(": {err}"));
        cause = err.source();
    }
    say(line);
}

/// Says a line on stderr.
pub(super) fn say(line: impl Display) {
    let line = line.to_string();
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "zk: {line}");
}
