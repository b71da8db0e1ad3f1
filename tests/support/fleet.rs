//! Clients of several libraries that contend for one lock, each in turn counting up in a file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};
use zkcells::recipes::{Guard, Lock, LockNames, RwLock};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{ConnExt as _, Mode, ZkConn};

use super::rig::connect;

/// How long may be waited for a word of another library's side.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often each member takes it.
const TIMES: usize = 150;
/// More than a session of anybody here lasts without a sign of life.
const LONG: Duration = Duration::from_secs(30);

/// Makes another library available, and says how its side is started.
pub fn install(library: &str) -> String {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/rivals/install");
    let output = Command::new(install).arg(library).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The side of another library. It is ended when this is dropped.
pub struct Side {
    _child: Child,
    to: ChildStdin,
    from: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Side {
    pub fn start(line: &str, servers: &str) -> Side {
        let mut command = tokio::process::Command::new("bash");
        command.arg("-c").arg(format!("exec {line} {servers}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Side { _child: child, to, from: BufReader::new(from).lines() }
    }

    pub async fn tell(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Its next word.
    pub async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.from.next_line()).await.expect("a word of it");
        let line = line.unwrap().expect("it goes on");
        let word: Value = serde_json::from_str(&line).unwrap();
        assert!(word.get("error").is_none(), "{line}");
        word
    }
}

/// Where they count, and where each writes down when it held.
#[derive(Clone)]
pub struct Counter {
    file: PathBuf,
}

fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

impl Counter {
    pub fn new(name: &str) -> Counter {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, "0\n").unwrap();
        Counter { file }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    fn log(&self) -> PathBuf {
        PathBuf::from(format!("{}.log", self.file.display()))
    }

    fn value(&self) -> u64 {
        std::fs::read_to_string(&self.file).unwrap().trim().parse().unwrap()
    }

    /// What the other sides do by `contend`, by this crate.
    pub async fn contend(&self, who: &str, lock: &Lock, times: usize) {
        for _ in 0..times {
            let guard = lock.acquire().await.unwrap();
            self.count(who, &guard).await;
            guard.release().await;
        }
    }

    /// The same by the write side of a lock.
    pub async fn write(&self, who: &str, lock: &RwLock, times: usize) {
        for _ in 0..times {
            let guard = lock.write().await.unwrap();
            self.count(who, &guard).await;
            guard.release().await;
        }
    }

    /// Looks twice that the number stays, while it may be read.
    pub async fn read(&self, lock: &RwLock, times: usize) {
        for _ in 0..times {
            let guard = lock.read().await.unwrap();
            let before = self.value();
            sleep(Duration::from_micros(fastrand::u64(..1000))).await;
            assert_eq!(self.value(), before, "written beside a reader");
            assert!(guard.is_valid(), "this machine stood still");
            guard.release().await;
        }
    }

    async fn count(&self, who: &str, guard: &Guard) {
        let start = now();
        let value = self.value() + 1;
        sleep(Duration::from_micros(fastrand::u64(..1000))).await;
        assert!(guard.is_valid(), "this machine stood still");
        std::fs::write(&self.file, format!("{value}\n")).unwrap();
        let line =
            json!({"who": who, "kind": "lock", "start": start, "end": now(), "value": value});
        let mut log = std::fs::OpenOptions::new();
        let mut log = log.append(true).create(true).open(self.log()).unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// What they did, once all are done.
    pub fn judge(&self) -> Fleet {
        let text = std::fs::read_to_string(self.log()).unwrap();
        let mut turns: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Readers look for themselves that nobody writes beside them.
        turns.retain(|turn| turn["kind"] != "read");
        let number = |turn: &Value, key: &str| turn[key].as_i64().unwrap();
        turns.sort_by_key(|turn| number(turn, "start"));
        let mut fleet = Fleet { turns: turns.len(), count: self.value(), ..Fleet::default() };
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (n, turn) in turns.iter().enumerate() {
            let who = turn["who"].as_str().unwrap();
            if let Some(before) = n.checked_sub(1).map(|before| &turns[before]) {
                fleet.handovers += usize::from(before["who"] != turn["who"]);
                fleet.overlaps += usize::from(number(before, "end") > number(turn, "start"));
            }
            let before = last.insert(who, n);
            // While all take part.
            if let Some(before) = before.filter(|_| n < turns.len() / 2) {
                fleet.longest_gap = fleet.longest_gap.max(n - before);
            }
        }
        fleet.members = last.len();
        fleet
    }
}

/// What a fleet did.
#[derive(Debug, Default)]
pub struct Fleet {
    pub members: usize,
    pub turns: usize,
    /// Turns behind those of somebody else.
    pub handovers: usize,
    pub overlaps: usize,
    /// What the file says at the end.
    pub count: u64,
    /// The most turns between two of one member.
    pub longest_gap: usize,
}

/// Two clients of another library that contend already, and two connections of this crate.
struct Met {
    conns: [Arc<ZkConn>; 2],
    path: String,
    counter: Counter,
    sides: [Side; 2],
}

/// Has two clients of `library` contend on a fresh path, each as its words say.
async fn meet(library: &str, words: [&str; 2]) -> Met {
    let line = install(library);
    let servers = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let conns = [connect(&servers, LONG).await, connect(&servers, LONG).await];
    let root = format!("/{}", fresh_root());
    conns[0].create(&root, "", Mode::Persistent).await.unwrap();
    let path = format!("{root}/it");
    // Clients of some others do not make it again when it is gone.
    conns[0].create(&path, "", Mode::Persistent).await.unwrap();
    let counter = Counter::new(path.trim_start_matches('/').replace('/', "-").as_str());
    let mut sides = [Side::start(&line, &servers), Side::start(&line, &servers)];
    for (side, words) in sides.iter_mut().zip(words) {
        let file = counter.file().display();
        side.tell(&format!("contend {path} {TIMES} {file} {words}")).await;
        assert_eq!(side.hear().await["event"], "ready");
    }
    for side in &mut sides {
        side.tell("go").await;
    }
    Met { conns, path, counter, sides }
}

/// Two clients of another library and two of this crate take a lock from each other.
pub async fn mixed(library: &str, names: LockNames, patterns: &str) {
    let words = format!("lock {patterns}");
    let Met { conns, path, counter, mut sides } = meet(library, [&words, &words]).await;
    let ours = conns.iter().zip(["first", "second"]).map(|(conn, who)| {
        let (counter, lock) = (&counter, Lock::new(conn.clone(), &*path).with_names(names));
        async move { counter.contend(who, &lock, TIMES).await }
    });
    let theirs = sides.iter_mut().map(Side::hear);
    tokio::join!(join_all(ours), join_all(theirs));
    let fleet = counter.judge();
    println!("{library}, {names:?}: {fleet:?}");
    assert_eq!((fleet.members, fleet.turns, fleet.overlaps), (4, 4 * TIMES, 0), "{fleet:?}");
    assert_eq!(fleet.count, 4 * TIMES as u64, "a count was lost: {fleet:?}");
    assert!(fleet.handovers >= 500, "{fleet:?}");
    // In the order of arrival everybody comes again behind the other three, but for who is slow to
    // come: a busy machine stops a process for some turns, and a starved one misses most.
    assert!(fleet.longest_gap <= 60, "somebody starved: {fleet:?}");
}

/// A reader and a writer of another library and of this crate share a read-write lock.
pub async fn mixed_sides(library: &str, names: LockNames) {
    let Met { conns, path, counter, mut sides } = meet(library, ["read", "write"]).await;
    let lock = |n: usize| RwLock::new(conns[n].clone(), &*path).with_names(names);
    let (reads, writes) = (lock(0), lock(1));
    let theirs = join_all(sides.iter_mut().map(Side::hear));
    let (_, (), told) =
        tokio::join!(counter.read(&reads, TIMES), counter.write("ours", &writes, TIMES), theirs);
    assert_eq!(told[0]["changed"], 0, "written beside a reader of theirs");
    let fleet = counter.judge();
    println!("{library}, {names:?}, two sides: {fleet:?}");
    assert_eq!((fleet.members, fleet.turns, fleet.overlaps), (2, 2 * TIMES, 0), "{fleet:?}");
    assert_eq!(fleet.count, 2 * TIMES as u64, "a count was lost: {fleet:?}");
    assert!(fleet.handovers > TIMES / 4, "they did not meet: {fleet:?}");
}
