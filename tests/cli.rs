//! The command `zk`, by transcripts over the demo cells, and its ways out.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod transcript;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use transcript::Sandbox;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

/// The demo cells in a directory of their own.
fn demo(name: &str) -> Sandbox {
    let sandbox = Sandbox::new(name);
    sandbox.copy("etc");
    sandbox.copy("cells/trees");
    sandbox
}

fn prepare(command: &mut Command) {
    let zk = Path::new(env!("CARGO_BIN_EXE_zk")).parent().unwrap();
    let path = format!("{}:{}", zk.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path);
    command.env("ZK_CLIENT_CONFIG", "etc/demo.json").env("ZK_CLIENT_LOCAL_CELL", "nyc");
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                let sandbox = demo(name);
                transcript::check(&directory().join(name), sandbox.path(), prepare);
            }
        )*

        #[test]
        fn every_transcript_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(directory())
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),*]);
        }
    };
}

transcripts! {
    barrier cat cells configuration cp dead_cell global json lock ls rm set shards stat touch usage
    who
}

/// A cell `dead` that takes connections and never answers.
struct Dead {
    listener: TcpListener,
    sandbox: Sandbox,
}

impl Dead {
    fn new(name: &str) -> Dead {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::new(name);
        let config = format!("{{\"dead\": \"{}\"}}", listener.local_addr().unwrap());
        std::fs::write(sandbox.path().join("dead.json"), config).unwrap();
        Dead { listener, sandbox }
    }

    fn zk(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
        command.current_dir(self.sandbox.path()).env("ZK_CLIENT_CONFIG", "dead.json");
        command.args(args).stdin(Stdio::null());
        command
    }
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The code that it ends with; none if it had to be ended.
fn code(mut child: Child) -> Option<i32> {
    let process = child.id();
    let (ended, told) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if told.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
            signal(process, "-KILL");
        }
    });
    let status = child.wait().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    status.code()
}

#[test]
fn a_signal_ends_it_while_a_cell_does_not_answer() {
    for (name, expected) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let dead = Dead::new(&format!("signal{name}"));
        let child = dead.zk(&["--timeout", "1h", "cat", "/zk/dead/x"]).spawn().unwrap();
        // It has dialled, so it listens to signals, too.
        let _held = dead.listener.accept().unwrap();
        signal(child.id(), name);
        assert_eq!(code(child), Some(expected), "{name}");
    }
}

#[test]
fn a_signal_ends_it_while_it_reads_standard_input() {
    let sandbox = demo("stdin");
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    prepare(&mut command);
    command.args(["set", "/zk/nyc/x", "-"]).current_dir(sandbox.path());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: when this returns, it is reading.
    stdin.write_all(&[b'x'; 200_000]).unwrap();
    signal(child.id(), "-INT");
    assert_eq!(code(child), Some(130));
    drop(stdin);
}

#[test]
fn a_cell_that_does_not_answer_costs_one_timeout() {
    let dead = Dead::new("timeout");
    let start = Instant::now();
    let output = dead.zk(&["--timeout", "1s", "cat", "/zk/dead/x"]).output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let address = dead.listener.local_addr().unwrap();
    let why = "did not take it by the deadline; check that the servers run and answer";
    let line = format!("zk: cat /zk/dead/x: not sent: {address} {why}\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), line);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = demo("pipe");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    prepare(&mut command);
    command.args(["ls", "-R", "/zk"]).current_dir(sandbox.path()).stdout(writer);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_barrier_of_a_cell_that_does_not_answer_is_not_said_to_be_closed() {
    let dead = Dead::new("barrier");
    let wait = ["barrier", "wait", "--timeout", "300ms", "/zk/dead/x"];
    let output = dead.zk(&wait).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("zk: wait /zk/dead/x: not sent"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn who_watches_shards_ends_with_its_reader_though_nothing_changes() {
    let sandbox = demo("unread");
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    prepare(&mut command);
    command.args(["shards", "--watch", "/zk/nyc/vt"]).current_dir(sandbox.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    drop(reader);
    assert_eq!(code(child), Some(0));
}
