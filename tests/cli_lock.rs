//! `zk lock` and its like on real servers: commands that end when what they hold is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use zkcells::recipes::{Barrier, CyclicBarrier, DoubleBarrier};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Conn as _, ConnExt as _, Mode, ZkConn};

/// Who traps TERM and goes on, with a child that ignores it.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & trap 'echo TERM' TERM; echo up $PPID
    while :; do wait; done";

/// How long anything may take before it counts as not coming.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cell nyc, a path of the test's own in it, and a directory with the configuration.
struct Site {
    dir: PathBuf,
    nyc: String,
    root: String,
}

impl Site {
    fn new() -> Site {
        Site::at(&LocalCells::up().unwrap().addrs("nyc").unwrap(), "10s")
    }

    /// Reached at `addrs` by the command, with sessions of `timeout`.
    fn at(addrs: &str, timeout: &str) -> Site {
        let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
        let root = fresh_root();
        let dir = std::env::temp_dir().join(&root);
        std::fs::create_dir(&dir).unwrap();
        let json = format!(r#"{{"nyc": {{"addrs": "{addrs}", "session_timeout": "{timeout}"}}}}"#);
        std::fs::write(dir.join("cells.json"), json).unwrap();
        Site { dir, nyc, root }
    }

    fn path(&self, name: &str) -> String {
        format!("/zk/nyc/{}/{name}", self.root)
    }

    fn zk(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
        command.current_dir(&self.dir).args(args).stdin(Stdio::null());
        command.env("ZK_CLIENT_CONFIG", "cells.json").env("ZK_CLIENT_LOCAL_CELL", "nyc");
        command
    }

    /// Exit code, standard output and standard error.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        told(self.zk(args).output().unwrap())
    }

    /// The same, of a lock on `l` around a script.
    fn lock(&self, options: &[&str], script: &str) -> (Option<i32>, String, String) {
        let path = self.path("l");
        self.run(&[&["lock"], options, &[&path, "--", "sh", "-c", script]].concat())
    }

    /// A lock on `l` that goes on.
    fn start(&self, options: &[&str], script: &str) -> Running {
        let path = self.path("l");
        let args = [&["lock"], options, &[&path, "--", "sh", "-c"]].concat();
        Running::of(self.zk(&args), &self.dir, script)
    }

    /// Those who have a node below `l`.
    fn nodes(&self) -> Vec<String> {
        let (_, output, _) = self.run(&["ls", "-f", &self.path("l")]);
        output.lines().map(String::from).collect()
    }

    /// Who is alive of a process group in the moment when another session sees that the node of
    /// whoever holds `l` is gone.
    fn end_of_holder(&self, group: u32) -> Receiver<Vec<String>> {
        let (tell, told) = mpsc::channel();
        let (started, ready) = mpsc::channel();
        let (nyc, path) = (self.nyc.clone(), self.path("l"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let conn = ZkConn::connect(&nyc, Default::default()).await.unwrap();
                let node = conn.children(&path).await.unwrap().names.remove(0);
                let (stat, watch) = conn.exists_watch(format!("{path}/{node}")).await.unwrap();
                assert!(stat.is_some());
                started.send(()).unwrap();
                watch.await;
                tell.send(living(group)).unwrap();
                conn.close().await.unwrap();
            });
        });
        ready.recv_timeout(PATIENCE).unwrap();
        told
    }
}

/// The processes of a group that are not dead.
fn living(group: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = processes.filter_map(|one| std::fs::read_to_string(one.path().join("stat")).ok());
    stats
        .filter(|stat| {
            // Behind the name, which may hold anything: state, parent, group.
            let mut words = stat.rsplit(')').next().unwrap().split_whitespace();
            let dead = matches!(words.next(), Some("Z" | "X"));
            !dead && words.nth(1) == Some(&group.to_string())
        })
        .collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        // What stays behind is the system's to clean; the test has said what it had to say.
        let _ = std::fs::remove_dir_all(&self.dir);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _ = runtime.block_on(async {
            let conn = ZkConn::connect(&self.nyc, Default::default()).await?;
            zkcells::tree::remove_all(&conn, format!("/zk/nyc/{}", self.root)).await?;
            conn.close().await
        });
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn done(output: &str) -> (Option<i32>, String, String) {
    (Some(0), output.into(), String::new())
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A command that runs a script, and what that and all that it starts print.
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Told when the last process that could print is gone.
    silent: Receiver<()>,
}

impl Running {
    /// `command` with the script as its last argument. Only the script's processes have the pipe that
    /// they print to, so its end is theirs.
    fn of(mut command: Command, dir: &Path, script: &str) -> Running {
        let pipe = dir.join(fresh_root());
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        command.arg(format!("exec >{} 2>/dev/null; {script}", pipe.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (print, lines) = mpsc::channel();
        let (end, silent) = mpsc::channel();
        std::thread::spawn(move || {
            let output = BufReader::new(File::open(pipe).unwrap());
            // The test may have seen enough.
            output.lines().map_while(Result::ok).for_each(|line| drop(print.send(line)));
            let _ = end.send(());
        });
        Running { child, lines, silent }
    }

    /// Waits for the next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Waits until the script is up, and returns the process group that it is in.
    fn up(&self) -> u32 {
        let line = self.line();
        line.strip_prefix("up ").expect("up and the group").parse().unwrap()
    }

    /// Waits until nobody is left who could print, neither a child nor a grandchild.
    fn silent(&self) {
        self.silent.recv_timeout(PATIENCE).expect("all of the group dead")
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Exit code and standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        self.silent();
        let code = self.child.wait().unwrap().code();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (code, errors)
    }
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let zk = Site::new();
    assert_eq!(zk.lock(&[], "exit 7"), (Some(7), String::new(), String::new()));
    assert_eq!(zk.lock(&[], "kill -KILL $$").0, Some(137));
    let (code, _, errors) = zk.run(&["lock", &zk.path("l"), "--", "no-such-command"]);
    assert_eq!(code, Some(127));
    assert!(errors.starts_with("zk: run no-such-command: "), "{errors}");
    let (code, _, errors) = zk.run(&["lock", &zk.path("l"), "--", "./cells.json"]);
    assert_eq!((code, errors.lines().count()), (Some(126), 1), "{errors}");
    assert_eq!(zk.nodes(), [""; 0]);
}

#[test]
fn the_command_knows_its_token_and_later_grants_have_greater_ones() {
    let zk = Site::new();
    let script = "echo $ZK_TOKEN $ZK_TOKEN_ZXID $ZK_LOCK_PATH";
    let mut zxids = Vec::new();
    for names in ["vitess", "curator", "kazoo", "zksync"] {
        let (code, output, _) = zk.lock(&["--names", names], script);
        assert_eq!(code, Some(0));
        let [token, zxid, path] = output.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{output}")
        };
        assert_eq!(path, zk.path("l"));
        zxids.push(zxid.parse::<i64>().unwrap());
        assert_eq!(token, format!("nyc/0/w/{:#x}", zxids.last().unwrap()));
    }
    assert!(zxids.is_sorted() && zxids[0] < zxids[3], "{zxids:?}");
}

#[test]
fn who_does_not_get_it_in_time_is_told_who_has_it() {
    let zk = Site::new();
    let holder = zk.start(&[], "echo up $PPID; exec sleep 1000");
    holder.up();
    for wait in ["0", "0s", "300ms"] {
        let (code, output, errors) = zk.lock(&["--timeout", wait], "echo never");
        assert_eq!((code, output.as_str()), (Some(5), ""), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("zk: lock {}: timed out: ", zk.path("l"))), "{errors}");
    }
    let (code, output, _) = zk.run(&["who", &zk.path("l")]);
    let columns: Vec<&str> = output.split_whitespace().collect();
    let pid = holder.child.id().to_string();
    assert_eq!((code, columns.len()), (Some(0), 7), "{output}");
    assert_eq!((columns[0], columns[2], columns[5]), ("holds", &*pid, "vitess"), "{output}");
    holder.signal("-TERM");
    assert_eq!(holder.ended().0, Some(143));
    assert_eq!(zk.nodes(), [""; 0]);
}

#[test]
fn one_command_runs_at_a_time() {
    let zk = Site::new();
    std::fs::write(zk.dir.join("count"), "0").unwrap();
    let script = r#"mkdir alone || exit 99
        read n < count; echo $((n + 1)) > count; echo $ZK_TOKEN_ZXID >> tokens; rmdir alone"#;
    let all: Vec<Running> = (0..6)
        .map(|n| zk.start(&["--names", ["vitess", "kazoo", "curator"][n % 3]], script))
        .collect();
    for one in all {
        assert_eq!(one.ended(), (Some(0), String::new()));
    }
    assert_eq!(std::fs::read_to_string(zk.dir.join("count")).unwrap(), "6\n");
    let tokens = std::fs::read_to_string(zk.dir.join("tokens")).unwrap();
    let tokens: Vec<i64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert!(tokens.is_sorted(), "{tokens:?}");
}

#[test]
fn readers_run_together_and_writers_alone() {
    let zk = Site::new();
    let script = "trap 'exit 3' TERM; echo up $PPID; sleep 1000 & wait";
    let reader = zk.start(&["--shared"], script);
    reader.up();
    let (code, out, _) = zk.lock(&["--shared", "--timeout", "0s"], "echo $ZK_TOKEN");
    assert_eq!(code, Some(0), "readers share");
    assert!(out.contains("/r/"), "{out}");
    let (code, ..) = zk.lock(&["--write", "--timeout", "0s"], "true");
    assert_eq!(code, Some(5), "a writer among readers");
    reader.signal("-TERM");
    assert_eq!(reader.ended().0, Some(3));
    let writer = zk.start(&["--write"], script);
    writer.up();
    for side in [&["--shared", "--timeout", "0s"], &["--write", "--timeout", "0s"]] {
        let (code, ..) = zk.lock(side, "true");
        assert_eq!(code, Some(5), "{side:?} beside a writer");
    }
    let (code, _, err) = zk.lock(&["--write", "--names", "vitess"], "true");
    assert_eq!(code, Some(1));
    assert!(err.contains("vitess") || err.contains("Vitess"), "{err}");
    writer.signal("-TERM");
    assert_eq!(writer.ended().0, Some(3));
}

#[test]
fn an_operators_delete_ends_the_whole_group() {
    let zk = Site::new();
    let running = zk.start(&[], STUBBORN);
    running.up();
    assert_eq!(zk.run(&["rm", &format!("{}/*", zk.path("l"))]), done(""));
    assert_eq!(running.line(), "TERM");
    let (code, errors) = running.ended();
    let why = "revoked: the own node was deleted by another: the command is ended";
    assert_eq!((code, errors), (Some(4), format!("zk: lock {}: {why}\n", zk.path("l"))));
}

#[test]
fn cut_off_from_the_cell_all_are_dead_before_another_can_have_the_lock() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = runtime.block_on(FaultProxy::to(&nyc)).unwrap();
    let zk = Site::at(&proxy.addr(), "3s");
    let running = zk.start(&[], STUBBORN);
    let group = running.up();
    let end = zk.end_of_holder(group);
    proxy.black_hole(Direction::Both);
    assert_eq!(running.line(), "TERM");
    assert!(end.try_recv().is_err(), "the lock was free when the command was told to end");
    running.silent();
    assert_eq!(end.recv_timeout(PATIENCE).unwrap(), [""; 0]);
    let mut child = running.child;
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn killed_with_its_holder() {
    let zk = Site::at(&LocalCells::up().unwrap().addrs("nyc").unwrap(), "2s");
    let mut running = zk.start(&[], STUBBORN);
    let group = running.up();
    let end = zk.end_of_holder(group);
    running.signal("-KILL");
    running.silent();
    assert_eq!(end.recv_timeout(PATIENCE).unwrap(), [""; 0]);
    running.child.wait().unwrap();
    assert_eq!(zk.lock(&["--timeout", "10s"], "echo mine"), done("mine\n"));
}

#[test]
fn a_holder_that_stands_still_does_not_let_its_command_go_on() {
    let zk = Site::at(&LocalCells::up().unwrap().addrs("nyc").unwrap(), "2s");
    let running = zk.start(&[], STUBBORN);
    let group = running.up();
    let end = zk.end_of_holder(group);
    running.signal("-STOP");
    running.silent();
    assert_eq!(end.recv_timeout(PATIENCE).unwrap(), [""; 0]);
    running.signal("-CONT");
    let mut child = running.child;
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn a_signal_goes_to_the_command_and_its_answer_is_the_exit_code() {
    let zk = Site::new();
    for (name, code) in [("INT", 11), ("TERM", 12), ("HUP", 13)] {
        let script =
            format!("trap 'echo bye; exit {code}' {name}; echo up $PPID; sleep 1000 & wait");
        let running = zk.start(&[], &script);
        running.up();
        running.signal(&format!("-{name}"));
        assert_eq!(running.line(), "bye");
        assert_eq!(running.ended(), (Some(code), String::new()), "{name}");
        assert_eq!(zk.nodes(), [""; 0], "{name}");
    }
}

#[test]
fn a_signal_that_is_not_heeded_is_followed_by_the_kill() {
    let zk = Site::new();
    let running = zk.start(&["--kill-after", "1s"], STUBBORN);
    running.up();
    running.signal("-TERM");
    assert_eq!(running.line(), "TERM");
    assert_eq!(running.ended(), (Some(137), String::new()));
    assert_eq!(zk.nodes(), [""; 0]);
}

#[test]
fn who_is_left_behind_by_the_command_is_ended_before_the_release() {
    let zk = Site::new();
    let left =
        "(trap 'echo TERM' TERM; echo up $PPID; touch up; sleep 1000 & while :; do wait; done) &
        while [ ! -e up ]; do sleep 0.01; done; exit 3";
    let running = zk.start(&["--kill-after", "500ms"], left);
    let group = running.up();
    let end = zk.end_of_holder(group);
    assert_eq!(running.line(), "TERM");
    assert_eq!(end.recv_timeout(PATIENCE).unwrap(), [""; 0]);
    let mut child = running.child;
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_supervisor_that_is_killed_takes_the_group_along() {
    let zk = Site::new();
    let running = zk.start(&[], "echo $PPID; sleep 1000 & wait");
    signal(running.line().parse().unwrap(), "-KILL");
    assert_eq!(running.ended(), (Some(137), String::new()));
    assert_eq!(zk.nodes(), [""; 0]);
}

#[test]
fn a_leader_runs_its_command_and_is_shown() {
    let zk = Site::new();
    let path = zk.path("election");
    let elect = |more: &[&str]| zk.zk(&[&["elect", "--info", "it", &path], more].concat());
    let leader =
        Running::of(elect(&["--", "sh", "-c"]), &zk.dir, "echo $ZK_TOKEN; exec sleep 1000");
    let token = leader.line();
    let (code, output, _) = zk.run(&["who", &path]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        (code, lines.len(), lines[0]),
        (Some(0), 2, "an election; these are its candidates")
    );
    assert!(lines[1].starts_with("leads  ") && lines[1].contains(&token), "{output}");
    let (_, said, _) = zk.run(&["cat", &format!("{path}/leader")]);
    assert!(said.contains(&token) && said.contains(r#""info":"it""#), "{said}");
    let late = told(elect(&["--timeout", "0", "--", "true"]).output().unwrap());
    assert_eq!((late.0, late.2.lines().count()), (Some(5), 1), "{late:?}");
    leader.signal("-TERM");
    assert_eq!(leader.ended(), (Some(143), String::new()));
    let next = Running::of(elect(&["--", "sh", "-c"]), &zk.dir, "echo up $PPID; exec sleep 1000");
    next.up();
    assert_eq!(zk.run(&["rm", &format!("{path}/candidates/*")]), done(""));
    let (code, errors) = next.ended();
    assert_eq!((code, errors.lines().count()), (Some(4), 1), "{errors}");
}

#[test]
fn nodes_of_other_systems_are_shown_and_what_they_say_obeys_no_terminal() {
    let zk = Site::new();
    let path = zk.path("l");
    let nodes = [
        ("_c_01234567-89ab-cdef-0123-456789abcdef-lock-0000000003", &b"10.0.0.7"[..]),
        ("0123456789abcdef0123456789abcdef__rlock__0000000004", b"web-7\x1b[31m"),
        ("_c_0123456789abcdef0123456789abcdef-read-0000000005", b"\xff"),
        ("lock-0000000006", br#"{"hostname": "web-8", "pid": 4711}"#),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let conn = ZkConn::connect(&zk.nyc, Default::default()).await.unwrap();
        for (name, data) in nodes {
            let node = format!("{path}/{name}");
            zkcells::tree::create_all(&conn, node, data, Mode::Persistent).await.unwrap();
        }
        zkcells::tree::create_all(&conn, format!("{path}/config"), "", Mode::Persistent)
            .await
            .unwrap();
        conn.close().await.unwrap();
    });
    let (code, output, errors) = zk.run(&["who", &path]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let rows: Vec<Vec<&str>> = output
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect())
        .collect();
    assert_eq!(rows.len(), 4, "{output}");
    for (row, (part, host, pid, system)) in rows.iter().zip([
        ("holds", "10.0.0.7", "-", "curator"),
        ("waits shared", "web-7?[31m", "-", "kazoo"),
        ("waits shared", "?", "-", "zksync"),
        ("waits", "web-8", "4711", "vitess"),
    ]) {
        assert_eq!((row[0], row[1], row[2], row[5]), (part, host, pid, system), "{output}");
        assert_eq!(row[4] == "-", part != "holds", "{output}");
    }
    assert!(output.contains(nodes[0].0), "{output}");
    let (_, json, _) = zk.run(&["--json", "who", &path]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["data"], "10.0.0.7");
    assert_eq!(json[2]["data_base64"], "/w==");
    assert_eq!((&json[3]["hostname"], &json[3]["pid"]), (&"web-8".into(), &4711.into()));
    assert!(json[0]["token"].is_string() && json[3].get("token").is_none());
}

#[test]
fn a_held_node_is_there_until_it_is_given_back_or_lost() {
    let zk = Site::new();
    let path = zk.path("e");
    assert_eq!(zk.run(&["touch", "-p", &zk.path("")]), done(""));
    for lost in [false, true] {
        let mut child = zk.zk(&["elock", &path]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("elock: locked {path}\n"));
        let (code, _, errors) = zk.run(&["elock", &path]);
        assert_eq!((code, errors), (Some(5), format!("zk: elock {path}: node exists\n")));
        match lost {
            false => signal(child.id(), "-INT"),
            true => assert_eq!(zk.run(&["rm", &path]), done("")),
        }
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        let expected = if lost { String::new() } else { format!("elock: released {path}\n") };
        assert_eq!(rest, expected);
        assert_eq!(child.wait().unwrap().code(), Some(if lost { 4 } else { 0 }));
        assert_eq!(zk.run(&["stat", &path]).0, Some(1));
    }
}

#[test]
fn a_node_waits_for_its_turn_in_a_queue() {
    let zk = Site::new();
    let (first, second) = (zk.path("q/a"), zk.path("q/b"));
    assert_eq!(zk.run(&["touch", "-p", &first, &second]), done(""));
    assert_eq!(zk.run(&["qlock", &first]), done(&format!("qlock: locked {first}\n")));
    for wait in [&[][..], &["--timeout", "0"], &["--lock-wait-timeout", "200ms"]] {
        let (code, output, errors) = zk.run(&[&["qlock"], wait, &[&second]].concat());
        assert_eq!((code, output.as_str(), errors.lines().count()), (Some(5), "", 1), "{errors}");
    }
    let waiting = zk.zk(&["qlock", "--timeout", "20s", &second]).stdout(Stdio::piped()).spawn();
    assert_eq!(zk.run(&["rm", &first]), done(""));
    let waited = told(waiting.unwrap().wait_with_output().unwrap());
    assert_eq!((waited.0, waited.1), (Some(0), format!("qlock: locked {second}\n")));
    assert_eq!(zk.run(&["qlock", &zk.path("q/none")]).0, Some(1));
}

#[test]
fn a_supervisor_that_stands_still_does_not_keep_the_group() {
    let zk = Site::new();
    let stop = "while :; do kill -STOP $PPID; sleep 0.01; done";
    let running = zk.start(&[], &format!("trap '{stop}' TERM; echo up $PPID; sleep 1000 & wait"));
    running.up();
    assert_eq!(zk.run(&["rm", &format!("{}/*", zk.path("l"))]), done(""));
    assert_eq!(running.ended().0, Some(4));
}

#[test]
fn who_has_left_the_group_ends_with_the_lock_only_if_that_is_lost() {
    let zk = Site::new();
    // It ends by TERM, so nobody is left of the group when the stray is.
    let stray = zk.start(&[], "setsid sleep 1000 & echo up $PPID; exec sleep 1000");
    stray.up();
    assert_eq!(zk.run(&["rm", &format!("{}/*", zk.path("l"))]), done(""));
    assert_eq!(stray.ended().0, Some(4));

    let left = "setsid sh -c 'echo away $$; exec sleep 1000' & read x <go; exit 3";
    assert!(Command::new("mkfifo").arg(zk.dir.join("go")).status().unwrap().success());
    let mut running = zk.start(&[], left);
    let away = running.line();
    std::fs::write(zk.dir.join("go"), "\n").unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(3));
    // Still there to be ended.
    signal(away.strip_prefix("away ").unwrap().parse().unwrap(), "-KILL");
    running.silent();
}

#[test]
fn who_ends_soon_behind_the_command_is_not_disturbed() {
    let zk = Site::new();
    // The command is gone, and this one has something to say yet.
    let late = "(while kill -0 $$; do sleep 0.01; done; echo late) & exit 3";
    let running = zk.start(&[], late);
    assert_eq!(running.line(), "late");
    assert_eq!(running.ended(), (Some(3), String::new()));
}

#[test]
fn barriers_tell_who_is_there_and_who_is_missing() {
    let zk = Site::new();
    let (gate, step, phase) = (zk.path("gate"), zk.path("step"), zk.path("phase"));
    let us = std::process::id().to_string();
    let who = |path: &str| {
        let (code, output, errors) = zk.run(&["who", path]);
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        let (_, json, _) = zk.run(&["--json", "who", path]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let lines: Vec<String> = output.lines().map(String::from).collect();
        (lines, json[0].clone())
    };
    // Closed by a command, which is gone.
    assert_eq!(zk.run(&["barrier", "set", &gate]), done(""));
    let (lines, json) = who(&gate);
    assert!(lines[0].starts_with("a barrier, closed by ") && lines.len() == 1, "{lines:?}");
    assert!(!lines[0].contains("until session"), "{lines:?}");
    assert!(json["kind"] == "barrier" && json.get("session").is_none(), "{json}");
    let look = ["barrier", "wait", "--timeout", "0s", &gate];
    assert_eq!(zk.run(&look).0, Some(5));
    assert_eq!(zk.run(&["barrier", "unset", &gate]), done(""));
    assert_eq!(zk.run(&look), done(""));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let conn = runtime.block_on(ZkConn::connect(&zk.nyc, Default::default())).unwrap();
    let conn = std::sync::Arc::new(conn);
    let session = format!("{:#x}", runtime.block_on(conn.session("/")).unwrap().id());
    // And by a session that lives.
    let bound = Barrier::new(conn.clone(), &gate).with_mode(Mode::Ephemeral);
    runtime.block_on(bound.set()).unwrap();
    let (lines, json) = who(&gate);
    assert!(lines[0].contains(&format!("pid {us}")) && lines[0].contains(&session), "{lines:?}");
    assert_eq!(json["session"], session.as_str(), "{json}");
    let (code, _, errors) = zk.run(&["barrier", "wait", "--timeout", "100ms", &gate]);
    assert!(code == Some(5) && errors.contains("timed out"), "{code:?} {errors}");
    // A round that waits, and one that is on.
    let until = async |path: String, count: usize| {
        loop {
            let (there, made) = conn.exists_watch(&path).await.unwrap();
            if there.is_none() {
                made.await;
                continue;
            }
            let (children, changed) = conn.children_watch(&path).await.unwrap();
            if children.names.len() == count {
                break;
            }
            changed.await;
        }
    };
    let party = |id: &str| {
        let party = DoubleBarrier::new(conn.clone(), &step, id, 3);
        runtime.spawn(async move { party.enter().await })
    };
    let mut parties = vec![party("a"), party("b")];
    runtime.block_on(until(step.clone(), 2));
    let (lines, json) = who(&step);
    assert_eq!(lines[0], "a double barrier for 3: 2 waiting, 1 missing");
    assert!(lines.len() == 3 && lines[1].starts_with("waits") && lines[1].contains(&us));
    assert_eq!((&json["parties"], &json["missing"]), (&3.into(), &1.into()), "{json}");
    assert_eq!(json["members"][0]["session"], session.as_str(), "{json}");
    parties.push(party("c"));
    let inside: Vec<_> = parties
        .into_iter()
        .map(|one| runtime.block_on(async { one.await.unwrap().unwrap() }))
        .collect();
    let (lines, json) = who(&step);
    assert!(lines[0].ends_with(" ago, 3 inside"), "{lines:?}");
    assert!(json["ready"] == true && json.get("missing").is_none(), "{json}");
    runtime.block_on(async { drop(inside) });
    // A generation that waits, and one that is broken.
    let cyclic = CyclicBarrier::new(conn.clone(), &phase, 2);
    let waiting = runtime.spawn({
        let cyclic = cyclic.clone();
        async move { cyclic.wait().await }
    });
    runtime.block_on(until(phase.clone(), 1));
    let (lines, json) = who(&phase);
    assert_eq!(lines[0], "a cyclic barrier for 2, generation 0: 1 waiting, 1 missing");
    assert!(lines.len() == 2 && lines[1].contains(&us), "{lines:?}");
    assert_eq!((&json["generation"], &json["waiting"]), (&0.into(), &1.into()), "{json}");
    waiting.abort();
    runtime.block_on(until(phase.clone(), 0));
    let (lines, json) = who(&phase);
    assert!(lines[0].contains("generation 0: broken, ") && lines.len() == 1, "{lines:?}");
    assert!(json["broken"].as_str().unwrap().contains("gave up"), "{json}");
    // Parties of another system, which do not say what they are.
    let (round, party) = (zk.path("round"), zk.path("round/x"));
    runtime.block_on(conn.create(&round, "", Mode::Persistent)).unwrap();
    runtime.block_on(conn.create(&party, "", Mode::Ephemeral)).unwrap();
    let (_, output, _) = zk.run(&["who", &round]);
    assert!(output.starts_with("nobody who is known; ") && output.contains("1 wait"), "{output}");
    runtime.block_on(conn.close()).unwrap();
}

#[test]
fn both_sides_of_a_read_write_lock_are_shown() {
    let zk = Site::new();
    let script = "trap 'exit 3' TERM; echo up $PPID; sleep 1000 & wait";
    let holder = zk.start(&["--shared"], script);
    holder.up();
    let waiter = zk.start(&["--write"], script);
    let start = Instant::now();
    while zk.nodes().len() < 2 {
        assert!(start.elapsed() < PATIENCE, "it does not wait");
    }
    let (code, output, _) = zk.run(&["who", &zk.path("l")]);
    let parts: Vec<&str> = output.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!((code, parts.as_slice()), (Some(0), &["holds shared", "waits"][..]), "{output}");
    let (_, json, _) = zk.run(&["--json", "who", &zk.path("l")]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["mode"], &json[1]["mode"]), (&"shared".into(), &"exclusive".into()));
    holder.signal("-TERM");
    waiter.up();
    let (_, output, _) = zk.run(&["who", &zk.path("l")]);
    assert!(output.starts_with("holds ") && output.lines().count() == 1, "{output}");
    waiter.signal("-TERM");
    holder.ended();
    waiter.ended();
}
