//! Transcripts: commands with all that they print, kept in files that are read in review.
//!
//! ```text
//! # Why this is worth a line.
//! $ zk cat /zk/nyc/nope
//! 2> zk: cat /zk/nyc/nope: no such node
//! ? 1
//! ```
//!
//! A line behind `$ ` goes to `sh`. Below it stands what came on standard output, then, behind
//! `2> `, what came on standard error, then the exit code if it is not 0. Comments belong to the
//! command below them. `BLESS=1` writes what is, in place of what was expected.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the transcript in `file` with `prepare`d commands, and holds it to what is written there.
pub(crate) fn check(file: &Path, dir: &Path, prepare: impl Fn(&mut Command)) {
    let expected = std::fs::read_to_string(file).unwrap();
    let mut actual = String::new();
    for block in blocks(&expected) {
        for comment in &block.comments {
            writeln!(actual, "{comment}").unwrap();
        }
        if let Some(command) = block.command {
            actual.push_str(&run(command, dir, &prepare));
        }
        actual.push('\n');
    }
    let actual = format!("{}\n", actual.trim_end());
    if actual == expected {
        return;
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file, actual).unwrap();
        return;
    }
    let differing = expected.lines().zip(actual.lines()).position(|(one, other)| one != other);
    let line = differing.unwrap_or(expected.lines().count().min(actual.lines().count())) + 1;
    panic!(
        "{}:{line} differs (BLESS=1 rewrites the file)\n expected: {}\n got:      {}\n\n{actual}",
        file.display(),
        expected.lines().nth(line - 1).unwrap_or("(end)"),
        actual.lines().nth(line - 1).unwrap_or("(end)"),
    );
}

#[derive(Default)]
struct Block<'a> {
    comments: Vec<&'a str>,
    command: Option<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = vec![Block::default()];
    // Output may hold anything; a comment starts a file or stands behind a blank line.
    let mut blank = true;
    for line in text.lines() {
        let last = blocks.last_mut().unwrap();
        if let Some(command) = line.strip_prefix("$ ") {
            match last.command {
                None => last.command = Some(command),
                Some(_) => blocks.push(Block { command: Some(command), ..Block::default() }),
            }
        } else if line.starts_with('#') && (blank || last.command.is_none()) {
            if blank && (last.command.is_some() || !last.comments.is_empty()) {
                blocks.push(Block::default());
            }
            blocks.last_mut().unwrap().comments.push(line);
        }
        blank = line.is_empty();
    }
    blocks
}

fn run(command: &str, dir: &Path, prepare: &impl Fn(&mut Command)) -> String {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(dir).stdin(Stdio::null());
    shell.env_clear().env("TZ", "UTC").env("LC_ALL", "C");
    prepare(&mut shell);
    let output = shell.output().unwrap();
    let mut text = format!("$ {command}\n");
    let stdout = masked(&String::from_utf8_lossy(&output.stdout), dir);
    text.push_str(&stdout);
    if !stdout.is_empty() && !stdout.ends_with('\n') {
        text.push_str(" (no newline)\n");
    }
    for line in masked(&String::from_utf8_lossy(&output.stderr), dir).lines() {
        writeln!(text, "{}", format!("2> {line}").trim_end()).unwrap();
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => writeln!(text, "? {code}").unwrap(),
        None => writeln!(text, "? {}", output.status).unwrap(),
    }
    text
}

/// The text without what differs from run to run: the directory, the time, and how long it took.
fn masked(text: &str, dir: &Path) -> String {
    let text = text.replace(&*dir.to_string_lossy(), "$DIR");
    let mut masked = String::new();
    let mut rest = &*text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let run = |text: &str, plain: &dyn Fn(char) -> bool| {
            text.find(|c| !plain(c)).unwrap_or(text.len())
        };
        let date = run(&rest[start..], &|c| c.is_ascii_digit() || "-: .".contains(c));
        let digits = run(&rest[start..], &|c| c.is_ascii_digit());
        let number = run(&rest[start..], &|c| c.is_ascii_digit() || c == '.');
        masked.push_str(&rest[..start]);
        let (taken, mask) = match &rest[start..start + date] {
            moment if moment.len() >= 19 && is_moment(&moment[..19]) => {
                let fraction = run(&moment[19..], &|c| c.is_ascii_digit() || c == '.');
                (19 + fraction, "<time>")
            }
            // Milliseconds that something took.
            _ if number > digits && rest[start + number..].starts_with("ms") => {
                masked.truncate(masked.trim_end_matches(' ').len());
                (number + 2, "  <took>")
            }
            _ if masked.ends_with("\"latency_ms\":") => (number, "<took>"),
            // Milliseconds since 1970, from 2001 to 2286.
            _ if digits == 13 => (13, "<millis>"),
            _ => (digits, &rest[start..start + digits]),
        };
        masked.push_str(mask);
        rest = &rest[start + taken..];
    }
    masked + rest
}

fn is_moment(text: &str) -> bool {
    let shape = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
    shape.eq("0000-00-00 00:00:00".chars())
}

/// A fresh directory that goes away with the value.
pub(crate) struct Sandbox(PathBuf);

impl Sandbox {
    /// An empty one; `name` tells whose it is.
    pub(crate) fn new(name: &str) -> Sandbox {
        let dir = std::env::temp_dir().join(format!("zkcells-{name}-{}", std::process::id()));
        // A run that was killed may have left one; process ids come again.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Sandbox(dir)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies the files of a directory of the repository to the same place in here.
    pub(crate) fn copy(&self, directory: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        std::fs::create_dir_all(self.0.join(directory)).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = self.0.join(directory).join(entry.file_name());
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // What stays behind is the system's to clean; the test has said what it had to say.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
