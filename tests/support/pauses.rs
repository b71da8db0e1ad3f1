//! Processes that write while they hold a lock, or a range, and are stopped past their session; what they
//! wrote.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use zkcells::recipes::{FencedRegister, Lock, ShardLock, Token};
use zkcells::{ConnExt as _, ErrorKind, Mode, SessionOptions, Within, ZkConn, ZkPath, tree};

/// The session timeout of the writers.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// How long may be waited for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// The pause between two writes of a writer.
const BETWEEN: Duration = Duration::from_millis(5);
/// The same of a worker: while one is stopped, the others go on.
const BETWEEN_WORK: Duration = Duration::from_millis(15);
/// How long workers wait for others to join.
const WAIT_TIME: Duration = Duration::from_millis(50);

/// When a writer looks at its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Before each write.
    EachTime,
    /// Before every fiftieth.
    Seldom,
}

/// What a writer says of a write, or of the end of a hold.
fn append(file: &Path, line: &Value) {
    let mut out = OpenOptions::new().append(true).create(true).open(file).unwrap();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn beside(file: &Path, what: &str) -> PathBuf {
    file.with_extension(what)
}

async fn connect(servers: &str) -> Arc<ZkConn> {
    let options = SessionOptions::default().with_session_timeout(TIMEOUT).with_label("cell");
    let conn = Arc::new(ZkConn::connect(servers, options).await.unwrap());
    let granted = conn.session("/").await.unwrap().timeout();
    assert_eq!(granted, TIMEOUT, "servers grant another timeout");
    conn
}

/// The register that goes with `path`.
fn register(conn: Arc<ZkConn>, path: &str) -> FencedRegister {
    FencedRegister::new(Within::new(conn, Duration::from_secs(1)), format!("{path}-register"))
}

/// A writer: takes the lock again and again, and writes for as long as it may.
///
/// It appends to `file` what nobody checks, and writes to the register, which checks tokens.
pub async fn write(servers: &str, path: &str, file: &Path, looks: Looks) {
    let conn = connect(servers).await;
    let (lock, register) = (Lock::new(conn.clone(), path), register(conn, path));
    loop {
        let Ok(guard) = lock.acquire().await else { continue };
        for turn in 0_u64.. {
            let looks_now = looks == Looks::EachTime || turn % 50 == 0;
            if looks_now && !guard.is_valid() {
                break;
            }
            write_both(&register, guard.token(), file).await;
            tokio::time::sleep(BETWEEN).await;
        }
        end_lost(&register, guard.token(), file).await;
    }
}

/// The same with a range of a system, as long as no reshard is wanted.
pub async fn work(servers: &str, path: &str, file: &Path) {
    let conn = connect(servers).await;
    let parent = ZkPath::new(path).unwrap().parent().unwrap();
    // Another one may have made it.
    tree::create_all(&conn, &parent, "", Mode::Persistent).await.ok();
    let shards = ShardLock::new(conn.clone(), path).with_wait_time(WAIT_TIME);
    let register = register(conn, path);
    loop {
        let Ok(guard) = shards.acquire().await else { continue };
        let shard = guard.shard().clone();
        let mut asked = std::pin::pin!(shard.requested());
        while guard.is_valid() {
            write_both(&register, guard.token(), file).await;
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_WORK) => {}
                _ = &mut asked => break,
            }
        }
        if guard.is_valid() {
            guard.ack().await;
        } else {
            end_lost(&register, guard.token(), file).await;
        }
    }
}

async fn write_both(register: &FencedRegister, token: &Token, file: &Path) {
    append(file, &json!({"pid": std::process::id(), "czxid": token.zxid()}));
    write_fenced(register, token, file).await;
}

/// Writes once more, as one who does not know yet that it is lost; says that it is.
async fn end_lost(register: &FencedRegister, token: &Token, file: &Path) {
    write_fenced(register, token, file).await;
    append(&beside(file, "lost"), &json!({"pid": std::process::id()}));
}

async fn write_fenced(register: &FencedRegister, token: &Token, file: &Path) {
    let zxid = token.zxid();
    match register.write(token, b"").await {
        Ok(stat) => {
            append(&beside(file, "taken"), &json!({"version": stat.version, "czxid": zxid}));
        }
        Err(err) if err.kind() == ErrorKind::StaleToken => {
            append(&beside(file, "refused"), &json!({"czxid": zxid}));
        }
        Err(_) => {}
    }
}

/// A process that writes. It is ended when this is dropped.
pub struct Writer {
    child: Child,
    said: Receiver<String>,
}

impl Writer {
    /// Starts one of this crate's: this very program, told to be one.
    pub fn start(servers: &str, path: &str, file: &Path, looks: Looks) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let looks = if looks == Looks::EachTime { "each-time" } else { "seldom" };
        command.args(["--writer", servers, path]).arg(file).arg(looks);
        Writer::spawn(command)
    }

    /// Starts one that takes ranges.
    pub fn start_worker(servers: &str, path: &str, file: &Path) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--worker", servers, path]).arg(file);
        Writer::spawn(command)
    }

    /// Starts one of another library's, told by a line of its command language.
    pub fn start_other(side: &str, servers: &str, path: &str, file: &Path, until: &str) -> Writer {
        let mut command = Command::new("bash");
        let timeout = TIMEOUT.as_millis();
        command.arg("-c").arg(format!("exec {side} {servers} {timeout}"));
        let mut writer = Writer::spawn(command);
        writer.tell(&format!("pause-writer {path} {} {until}", file.display()));
        writer.hear("ready");
        writer.tell("go");
        writer.hear("running");
        writer
    }

    fn spawn(mut command: Command) -> Writer {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|l| say.send(l)));
        Writer { child, said }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&self, what: &str) {
        let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no word: {what}"));
        assert!(line.contains(what), "{line}");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    fn lines(&self, file: &Path) -> impl Iterator<Item = Value> {
        let pid = i64::from(self.pid());
        lines(file).into_iter().filter(move |line| number(line, "pid") == pid)
    }

    /// How often it has said that it was lost.
    fn losses(&self, file: &Path) -> usize {
        self.lines(&beside(file, "lost")).count()
    }

    fn signal(&self, signal: Signal) {
        // Our own child, which nobody has waited for.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What was written, as far as it is whole.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(line: &Value, key: &str) -> i64 {
    line[key].as_i64().unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

/// What came of some pauses.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pauses: usize,
    /// Lines in the file that nobody checks.
    pub lines: usize,
    /// Of these, those behind a line with a newer token, for each pause.
    pub stale: Vec<usize>,
    /// Writes that the register took.
    pub taken: usize,
    /// Of these, those behind one with a newer token.
    pub stale_taken: usize,
    pub refused: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hit = self.stale.iter().filter(|stale| **stale > 0).count();
        write!(
            f,
            "{} pauses, {} lines; {} stale lines, in {hit} pauses, {} to {} a pause; register: {} \
             taken, {} stale taken, {} refused",
            self.pauses,
            self.lines,
            self.stale.iter().sum::<usize>(),
            self.stale.iter().min().unwrap_or(&0),
            self.stale.iter().max().unwrap_or(&0),
            self.taken,
            self.stale_taken,
            self.refused,
        )
    }
}

/// One that holds and has settled, behind holds with token `before`: its number among `writers`, and its
/// token.
fn holder(writers: &[Writer], file: &Path, before: i64, settled: usize) -> (usize, i64) {
    until("nobody holds it", || {
        let written = lines(file);
        let last = written.last()?;
        let own = written.iter().filter(|line| *line == last).count();
        let (pid, czxid) = (number(last, "pid"), number(last, "czxid"));
        let place = writers.iter().position(|writer| i64::from(writer.pid()) == pid)?;
        (czxid > before && own >= settled).then_some((place, czxid))
    })
}

fn until_others_have_written(file: &Path, czxid: i64, so_much: usize) {
    until("no successor", || {
        let written = lines(file);
        let newer = written.iter().filter(|line| number(line, "czxid") > czxid).count();
        (newer >= so_much).then_some(())
    });
}

/// Kills whoever holds, one after the other, and says how long it took each time until another one
/// held. One is left.
pub fn kill(mut writers: Vec<Writer>, file: &Path) -> Vec<Duration> {
    let (mut took, mut before) = (Vec::new(), 0);
    while writers.len() > 1 {
        let (place, czxid) = holder(&writers, file, before, 20);
        let start = Instant::now();
        drop(writers.remove(place));
        until_others_have_written(file, czxid, 1);
        took.push(start.elapsed());
        before = czxid;
    }
    took
}

/// Stops whoever holds until another one does and has written, again and again. Whoever is continued
/// gets `rest` to do what it may, if it does not say that it has noticed.
pub fn pause(writers: &[Writer], file: &Path, pauses: usize, rest: Option<Duration>) -> Outcome {
    let mut held = Vec::new();
    while held.len() < pauses {
        let before = held.last().copied().unwrap_or_default();
        // Anywhere between two writes, when it has settled.
        let (place, czxid) = holder(writers, file, before, 20 + held.len() % 7);
        let writer = &writers[place];
        let losses = writer.losses(file);
        writer.signal(Signal::STOP);
        until_others_have_written(file, czxid, 6);
        writer.signal(Signal::CONT);
        let lost = match rest {
            Some(rest) => {
                std::thread::sleep(rest);
                true
            }
            None => until("it does not notice", || {
                let goes_on = writer.lines(file).any(|line| number(&line, "czxid") > czxid);
                let lost = writer.losses(file) > losses;
                (lost || goes_on).then_some(lost)
            }),
        };
        // Whoever had just given it back when it was stopped has lost nothing.
        if lost {
            held.push(czxid);
        }
    }
    let written = lines(file);
    let mut outcome = Outcome { pauses, lines: written.len(), ..Outcome::default() };
    outcome.stale = held.iter().map(|_| 0).collect();
    let mut newest = 0;
    for czxid in written.iter().map(|line| number(line, "czxid")) {
        if czxid < newest {
            let pause = held.iter().position(|held| *held == czxid);
            outcome.stale[pause.expect("only who was paused can be late")] += 1;
        }
        newest = newest.max(czxid);
    }
    let mut taken = lines(&beside(file, "taken"));
    taken.sort_by_key(|line| number(line, "version"));
    outcome.taken = taken.len();
    let mut newest = 0;
    for czxid in taken.iter().map(|line| number(line, "czxid")) {
        outcome.stale_taken += usize::from(czxid < newest);
        newest = newest.max(czxid);
    }
    outcome.refused = lines(&beside(file, "refused")).len();
    outcome
}
