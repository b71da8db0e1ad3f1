//! Another library's side of a benchmark: a process that is told in words what to do, and answers in
//! JSON. What it understands is said at the top of `kazoo_locks.py`.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A side is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(300);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A process of another library.
pub struct Side {
    pub name: &'static str,
    pub version: String,
    _child: Child,
    words: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Side {
    /// Installs what is missing and starts both sides: Kazoo's and Curator's.
    pub async fn both(servers: &str) -> Result<[Side; 2], Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rivals/install");
        let output = Command::new(&script)
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join(".."))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await?;
        if !output.status.success() {
            return Err("there is no other library to compare with".into());
        }
        let lines = String::from_utf8(output.stdout)?;
        let mut lines = lines.lines();
        let mut line = || lines.next().ok_or("the install script told too little");
        let (kazoo, curator) = (line()?, line()?);
        Ok([
            Side::start("Kazoo", kazoo, servers).await?,
            Side::start("Curator", curator, servers).await?,
        ])
    }

    async fn start(name: &'static str, line: &str, servers: &str) -> Result<Side, Failure> {
        let mut child = Command::new("bash")
            .args(["-c", &format!("exec {line} {servers}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let words = child.stdin.take().ok_or("no standard input")?;
        let answers = child.stdout.take().ok_or("no standard output")?;
        let answers = BufReader::new(answers).lines();
        let mut side = Side { name, version: String::new(), _child: child, words, answers };
        let told = side.ask("version").await?;
        side.version = told["version"].as_str().unwrap_or("?").to_owned();
        Ok(side)
    }

    /// Has it do `command`, and returns what it answers.
    pub async fn ask(&mut self, command: &str) -> Result<Value, Failure> {
        self.words.write_all(format!("{command}\n").as_bytes()).await?;
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line()).await??;
        let line = line.ok_or_else(|| format!("{} ended", self.name))?;
        let answer: Value = serde_json::from_str(&line)?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => Err(format!("{}: {command}: {error}", self.name).into()),
        }
    }

    /// A number of what it answers to `command`.
    pub async fn measure(&mut self, command: &str, what: &str) -> Result<f64, Failure> {
        let answer = self.ask(command).await?;
        answer[what].as_f64().ok_or_else(|| format!("no {what} in {answer}").into())
    }
}

/// How many packets `server` has got so far.
pub async fn packets(server: &str) -> Result<f64, Failure> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"srvr").await?;
    let mut told = String::new();
    stream.read_to_string(&mut told).await?;
    let received = told.lines().find_map(|line| line.strip_prefix("Received: "));
    Ok(received.ok_or("the server does not tell its packets")?.parse()?)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
