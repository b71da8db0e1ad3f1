//! The command `zk`, by transcripts over the demo cells, and its ways out.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod transcript;

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    cat cells configuration cp dead_cell json ls rm set stat touch usage
}

/// `zk` with arguments, over a cell `dead` that takes connections and never answers.
fn over_a_dead_cell(dead: &TcpListener, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    let config = format!("{{\"dead\": \"{}\"}}", dead.local_addr().unwrap());
    let file = std::env::temp_dir().join(format!(
        "zkcells-dead-{}-{}.json",
        std::process::id(),
        dead.local_addr().unwrap().port()
    ));
    std::fs::write(&file, config).unwrap();
    command.env("ZK_CLIENT_CONFIG", file).args(args).stdin(Stdio::null());
    command
}

/// How it ends, which must be soon.
fn end(mut child: Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_ends_it_while_a_cell_does_not_answer() {
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let dead = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = over_a_dead_cell(&dead, &["--timeout", "1h", "cat", "/zk/dead/x"]);
        let child = command.spawn().unwrap();
        // It has dialled, so it listens to signals too.
        let _held = dead.accept().unwrap();
        signal(&child, name);
        assert_eq!(end(child), Some(code), "{name}");
    }
}

#[test]
fn a_signal_ends_it_while_it_reads_standard_input() {
    let sandbox = demo("stdin");
    let (held, writer) = std::io::pipe().unwrap();
    let mut command = Command::new("sh");
    // The shell tells when the command is there to be told.
    command.args(["-c", "echo started; exec zk set /zk/nyc/x -"]).current_dir(sandbox.path());
    prepare(&mut command);
    let mut child = command.stdin(held).stdout(Stdio::piped()).spawn().unwrap();
    let mut started = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut started).unwrap();
    // A signal before its handlers stand ends it at once, with no code at all; then again.
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    assert_eq!(end(child), Some(130));
    drop(writer);
}

#[test]
fn a_cell_that_does_not_answer_costs_one_timeout() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let mut command = over_a_dead_cell(&dead, &["--timeout", "1s", "cat", "/zk/dead/x"]);
    let output = command.output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.starts_with("zk: cat /zk/dead/x: ") && line.lines().count() == 1, "{line}");
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
