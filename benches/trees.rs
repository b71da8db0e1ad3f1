//! Reads and writes of many nodes: this crate against Kazoo, same servers, one run.
//!
//! `eval "$(cells/up)"; cargo bench --bench trees`
//!
//! Five cells are spread over the servers that `cells/up` starts. Kazoo's side is `kazoo_side.py`,
//! which does what a Python program would; its rounds alternate with ours, each side measures its
//! own time, both must find and leave the same number of nodes, and the median of the rounds counts.
//! Kazoo itself is put below `target/` by `benches/rivals/install`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use zkcells::{Cells, Conn as _, ConnExt as _, MetaConn, Mode, ZkPath, tree, wildcard};

const CELLS: usize = 5;
const TABLETS: usize = 2000;
/// One tablet in so many has no `action`, so that a look can fail.
const WITHOUT: usize = 10;
const ROUNDS: usize = 3;
/// An item that took so long gets no further round.
const LONG: Duration = Duration::from_secs(20);
/// Kazoo is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(150);

/// The tree that is walked: 100,000 nodes.
const WALKED: Shape = Shape { directories: 1000, leaves: 99 };
/// The tree that is created and removed: 10,000 nodes.
const WRITTEN: Shape = Shape { directories: 100, leaves: 99 };
const DATA: &str = "a value such as configuration has, some forty bytes";

type Failure = Box<dyn std::error::Error>;

/// Directories side by side, and leaves in each.
#[derive(Clone, Copy)]
struct Shape {
    directories: usize,
    leaves: usize,
}

impl Shape {
    fn count(self) -> usize {
        self.directories * (self.leaves + 1)
    }

    /// The nodes of directories `from` to `to`, without their top.
    fn nodes(self, top: &str, from: usize, to: usize) -> Vec<(String, &'static str)> {
        let directories = from..to.min(self.directories);
        let nodes = directories.flat_map(|directory| {
            let directory = format!("{top}/{directory:03}");
            let leaves: Vec<_> =
                (0..self.leaves).map(|leaf| (format!("{directory}/{leaf:03}"), DATA)).collect();
            std::iter::once((directory, "")).chain(leaves)
        });
        nodes.collect()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Err(why) = run().await {
        eprintln!("trees: {why}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Failure> {
    let servers = servers()?;
    let kazoo = install_kazoo()?;
    let names: Vec<String> =
        (1..=CELLS).map(|n| format!("bench{n}-{}", std::process::id())).collect();
    let hosts = servers.iter().cycle();
    let config: Value =
        names.iter().cloned().zip(hosts.map(|hosts| Value::from(hosts.as_str()))).collect();
    let cells =
        Cells::builder().config_json(config.to_string()).local_cell(names[0].as_str()).build()?;
    let conn = MetaConn::new(cells);
    let done = async {
        let mut kazoo = Kazoo::start(&kazoo)?;
        kazoo.ask(json!({"do": "connect", "cells": config})).await?;
        compare(&conn, &mut kazoo, &names).await
    };
    let done = done.await;
    for name in &names {
        // What a failed run never made is not there to be removed.
        let _ = tree::remove_all(&conn, format!("/zk/{name}")).await;
    }
    conn.close().await?;
    done
}

/// What `cells/up` started, as connect strings: single servers and a quorum of three.
fn servers() -> Result<Vec<String>, Failure> {
    let cells = Cells::from_env()
        .map_err(|why| format!("{why}; start cells with: eval \"$(cells/up)\""))?;
    let known = cells.known().into_iter();
    let addresses: Result<Vec<_>, _> =
        known.map(|name| cells.address_of(&Cells::path_of(&name)).map(|a| a.to_string())).collect();
    let mut addresses = addresses?;
    // The trees are written to the first ones; a quorum of three servers would measure itself.
    addresses.sort_by_key(|address| address.matches(',').count());
    Ok(addresses)
}

async fn compare(conn: &MetaConn, kazoo: &mut Kazoo, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let tablets = (0..TABLETS).map(|n| {
            let leaf = if n % WITHOUT == 0 { "" } else { "/action" };
            (format!("/zk/{name}/vt/tablets/{n:010}{leaf}"), DATA)
        });
        tree::create_many(conn, tablets, Mode::Persistent).await?;
    }
    let version = kazoo.version().await?;
    println!("zkcells against Kazoo ({version}), nodes a second, medians of up to {ROUNDS} rounds");
    println!("{:34} {:>9} {:>9} {:>7}  goal", "", "zkcells", "kazoo", "ratio");
    resolve(conn, kazoo).await?;
    write(conn, kazoo, &names[0]).await?;
    walk(conn, kazoo, &names[1]).await
}

async fn resolve(conn: &MetaConn, kazoo: &mut Kazoo) -> Result<(), Failure> {
    let with_action = CELLS * (TABLETS - TABLETS / WITHOUT);
    for (tail, leaf, count, goal) in
        [("", "", CELLS * TABLETS, None), ("/action", "action", with_action, Some(30))]
    {
        let pattern = format!("/zk/*/vt/tablets/*{tail}");
        let mut item = Item::new(&format!("resolve …/tablets/*{tail}"), goal);
        while item.wants_more() {
            let ours = timed(async {
                let found = wildcard::resolve(conn, [pattern.as_str()]).await?;
                Ok(found.complete()?.len())
            });
            let ours = ours.await?.of(CELLS * TABLETS, count)?;
            let theirs = kazoo.ask(json!({"do": "resolve", "leaf": leaf})).await?;
            item.add(ours, theirs.of(CELLS * TABLETS, count)?);
        }
        item.print();
        if !leaf.is_empty() {
            let theirs = kazoo.ask(json!({"do": "resolve_async", "leaf": leaf})).await?;
            item.print_pipelined(theirs.of(CELLS * TABLETS, count)?);
        }
    }
    Ok(())
}

async fn write(conn: &MetaConn, kazoo: &mut Kazoo, cell: &str) -> Result<(), Failure> {
    let count = WRITTEN.count();
    let (ours_at, theirs_at) = (format!("/zk/{cell}/ours"), format!("/zk/{cell}/theirs"));
    let create_theirs = |command: &str| {
        json!({"do": command, "path": theirs_at, "data": DATA,
               "directories": WRITTEN.directories, "leaves": WRITTEN.leaves})
    };
    let mut create = Item::new("create 10,000 nodes", Some(10));
    let mut remove = Item::new("remove_all of 10,000 nodes", Some(30));
    while create.wants_more() {
        let ours = timed(async {
            let nodes = WRITTEN.nodes(&ours_at, 0, WRITTEN.directories);
            Ok(tree::create_many(conn, nodes, Mode::Persistent).await?.created)
        });
        let ours = ours.await?.of(count, count)?;
        let theirs = kazoo.ask(create_theirs("create")).await?;
        create.add(ours, theirs.of(count, count)?);
        same_names(conn, &ours_at, &theirs_at, count).await?;

        let ours = timed(async { Ok(tree::remove_all(conn, &ours_at).await?) }).await?;
        let theirs = kazoo.ask(json!({"do": "remove", "path": theirs_at})).await?;
        remove.add(ours.of(count, count + 1)?, theirs.of(count, 0)?);
        are_gone(conn, &[&ours_at, &theirs_at]).await?;
    }
    create.print();
    let theirs = kazoo.ask(create_theirs("create_async")).await?.of(count, count)?;
    create.print_pipelined(theirs);
    remove.print();
    Ok(())
}

async fn walk(conn: &MetaConn, kazoo: &mut Kazoo, cell: &str) -> Result<(), Failure> {
    const AT_ONCE: usize = 100;
    let (top, count) = (format!("/zk/{cell}/walked"), WALKED.count());
    for from in (0..WALKED.directories).step_by(AT_ONCE) {
        let nodes = WALKED.nodes(&top, from, from + AT_ONCE);
        tree::create_many(conn, nodes, Mode::Persistent).await?;
    }
    let before = forget_peak();
    let mut item = Item::new("walk of 100,000 nodes", Some(30));
    let first = ours_walks(conn, &top).await?.of(count, count)?;
    let peak = peak();
    let mut ours = vec![first];
    let theirs = kazoo.ask(json!({"do": "walk", "path": top})).await?.of(count, count)?;
    // One walk of Kazoo takes its time; ours stand on both sides of it.
    for _ in 1..ROUNDS {
        ours.push(ours_walks(conn, &top).await?.of(count, count)?);
    }
    item.add(median(ours), theirs);
    item.print();
    let theirs = kazoo.ask(json!({"do": "walk_async", "path": top})).await?.of(count, count)?;
    item.print_pipelined(theirs);
    match (before, peak) {
        (Some(before), Some(peak)) => println!(
            "peak memory of the walk: {} MiB, of which {} MiB were there before it",
            peak / 1024,
            before / 1024
        ),
        _ => println!("peak memory of the walk: unknown, this system has no /proc/self/status"),
    }
    Ok(())
}

async fn ours_walks(conn: &MetaConn, top: &str) -> Result<Measured, Failure> {
    timed(async { Ok(tree::walk(conn, top).await?.len()) }).await
}

/// Both sides made the same tree.
async fn same_names(conn: &MetaConn, one: &str, other: &str, count: usize) -> Result<(), Failure> {
    let below = |found: Vec<ZkPath>, top: &str| -> Vec<String> {
        found.iter().map(|path| path.as_str()[top.len()..].to_string()).collect()
    };
    let ours = below(tree::walk(conn, one).await?, one);
    let theirs = below(tree::walk(conn, other).await?, other);
    if ours == theirs && ours.len() == count {
        return Ok(());
    }
    Err(format!("the trees differ: {} and {} nodes, not {count}", ours.len(), theirs.len()).into())
}

async fn are_gone(conn: &MetaConn, paths: &[&str]) -> Result<(), Failure> {
    for path in paths {
        if conn.exists(*path).await?.is_some() {
            return Err(format!("{path} is still there").into());
        }
    }
    Ok(())
}

/// What one side did, and in what time.
struct Measured {
    found: usize,
    seconds: f64,
}

impl Measured {
    /// Nodes a second, if the right number was found.
    fn of(self, nodes: usize, expected: usize) -> Result<f64, Failure> {
        if self.found != expected {
            return Err(format!("{} nodes found, not {expected}", self.found).into());
        }
        Ok(nodes as f64 / self.seconds)
    }
}

async fn timed(work: impl Future<Output = Result<usize, Failure>>) -> Result<Measured, Failure> {
    let start = Instant::now();
    let found = work.await?;
    Ok(Measured { found, seconds: start.elapsed().as_secs_f64() })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line of the report.
struct Item {
    name: String,
    goal: Option<u32>,
    pairs: Vec<(f64, f64)>,
    start: Instant,
}

impl Item {
    fn new(name: &str, goal: Option<u32>) -> Self {
        Item { name: name.into(), goal, pairs: Vec::new(), start: Instant::now() }
    }

    fn wants_more(&self) -> bool {
        self.pairs.len() < ROUNDS && (self.pairs.is_empty() || self.start.elapsed() < LONG)
    }

    fn add(&mut self, ours: f64, theirs: f64) {
        self.pairs.push((ours, theirs));
    }

    fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.0).collect())
    }

    fn print(&self) {
        let theirs = median(self.pairs.iter().map(|pair| pair.1).collect());
        let ratio = median(self.pairs.iter().map(|(ours, theirs)| ours / theirs).collect());
        let goal = match self.goal {
            None => "-".to_string(),
            Some(goal) if ratio >= f64::from(goal) => format!("{goal}: met"),
            Some(goal) => format!("{goal}: MISSED"),
        };
        println!("{:34} {:9.0} {theirs:9.0} {ratio:7.1}  {goal}", self.name, self.ours());
    }

    /// For information: Kazoo's asynchronous calls, which few programs go to the trouble of.
    fn print_pipelined(&self, theirs: f64) {
        let name = "  against Kazoo, pipelined";
        println!("{name:34} {:9.0} {theirs:9.0} {:7.1}  -", self.ours(), self.ours() / theirs);
    }
}

/// The Python process.
struct Kazoo {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// It ends with this.
    _process: Child,
}

impl Kazoo {
    fn start(library: &Path) -> Result<Self, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/kazoo_side.py");
        let mut process = tokio::process::Command::new("python3")
            .arg(script)
            .env("PYTHONPATH", library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| format!("cannot start python3: {why}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("python3 has no pipes".into());
        };
        Ok(Kazoo { input, output: BufReader::new(output).lines(), _process: process })
    }

    async fn ask(&mut self, command: Value) -> Result<Measured, Failure> {
        let answer = self.answer(&command).await?;
        match (answer["result"].as_u64(), answer["seconds"].as_f64()) {
            (Some(found), Some(seconds)) => Ok(Measured { found: found as usize, seconds }),
            _ => Err(format!("Kazoo's side answered {answer} to {command}").into()),
        }
    }

    async fn version(&mut self) -> Result<String, Failure> {
        let answer = self.answer(&json!({"do": "version"})).await?;
        Ok(answer["result"].as_str().unwrap_or("?").to_string())
    }

    async fn answer(&mut self, command: &Value) -> Result<Value, Failure> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line.map_err(|_| format!("Kazoo's side takes too long over {command}"))??;
        Ok(serde_json::from_str(&line.ok_or("Kazoo's side has ended")?)?)
    }
}

/// Where Kazoo is; it is put below `target/`, and the environment of the machine stays as it is.
fn install_kazoo() -> Result<PathBuf, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rivals/install");
    let output = Command::new(&script)
        .arg("kazoo-directory")
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join(".."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("cannot run {}: {why}", script.display()))?;
    if !output.status.success() {
        return Err("there is no Kazoo to compare with".into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Lets the peak begin anew, and tells where it begins, in KiB.
fn forget_peak() -> Option<u64> {
    // A system that refuses this shows the peak so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    peak()
}

/// The most memory that this process had, in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
