//! The pause drill: three processes with sessions of 2 s, whoever holds is stopped past its session,
//! or killed.
//!
//! On a write that nobody checks, a guard cannot help against a pause between the look at it and the
//! write, so there is at most one such write a pause; a register that checks tokens takes none.
//!
//! This program has no harness of libtest: it starts itself again as the processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "support/pauses.rs"]
#[allow(unreachable_pub, reason = "tests")]
mod pauses;
#[path = "support/random.rs"]
#[allow(dead_code, unreachable_pub, reason = "each program uses a part of it")]
mod random;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use pauses::{Looks, Outcome, TIMEOUT, Writer, kill, pause};
use random::rounds;
use rustix::process::{Signal, set_parent_process_death_signal};
use zkcells::testing::cells::{LocalCells, fresh_root};

/// That of the servers.
const TICK: Duration = Duration::from_millis(250);

type Test = (&'static str, fn());

const TESTS: [Test; 5] = [
    ("a_holder_that_was_paused_past_its_session_writes_once_more_at_most", checked),
    ("a_holder_that_does_not_look_is_caught", unchecked),
    ("a_holder_that_was_killed_is_followed_when_its_session_ends", killed),
    ("a_worker_that_was_paused_past_its_session_writes_once_more_at_most", workers),
    ("kazoos_holders_in_the_same_rig", kazoo),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--writer", servers, path, file, looks] => {
            let looks = if looks == "each-time" { Looks::EachTime } else { Looks::Seldom };
            return be(pauses::write(servers, path, Path::new(file), looks));
        }
        ["--worker", servers, path, file] => {
            return be(pauses::work(servers, path, Path::new(file)));
        }
        _ => {}
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(*part));
    // What others do is measured in long runs, and promised by nobody.
    let here = TESTS.len() - usize::from(rounds(0, 1) == 0);
    let tests = TESTS.into_iter().take(here).filter(|(name, _)| is_wanted(name));
    if args.iter().any(|arg| arg == "--list") {
        tests.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // They wait most of the time, so they do it together.
    let running: Vec<_> =
        tests.map(|(name, test)| (name, std::thread::spawn(move || catch_unwind(test)))).collect();
    let mut code = ExitCode::SUCCESS;
    for (name, test) in running {
        let passed = matches!(test.join(), Ok(Ok(())));
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Is one of the processes.
fn be(writer: impl Future<Output = ()>) -> ExitCode {
    // Whoever started it may be killed: then this ends, too, stopped or not.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(writer);
    ExitCode::SUCCESS
}

/// Servers, the path of a lock, and a file, for one drill.
fn place(name: &str) -> (String, String, PathBuf) {
    let servers = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let root = fresh_root();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&root);
    std::fs::create_dir_all(&dir).unwrap();
    (servers, format!("/{root}/{name}"), dir.join(name))
}

fn drill(name: &str, looks: Looks, pauses: usize) -> Outcome {
    let (servers, path, file) = place(name);
    let writers: Vec<_> = (0..3).map(|_| Writer::start(&servers, &path, &file, looks)).collect();
    let outcome = pause(&writers, &file, pauses, None);
    println!("{name}: {outcome}");
    outcome
}

fn checked() {
    let outcome = drill("checked", Looks::EachTime, rounds(3, 100));
    assert_eq!(outcome.stale_taken, 0, "{outcome}");
    assert!(outcome.stale.iter().all(|stale| *stale <= 1), "{outcome:?}");
    // Each one that was lost wrote once more to the register.
    assert!(outcome.refused >= outcome.pauses && outcome.taken > 50, "{outcome}");
}

fn unchecked() {
    let outcome = drill("unchecked", Looks::Seldom, rounds(2, 20));
    assert_eq!(outcome.stale_taken, 0, "{outcome}");
    assert!(outcome.stale.iter().any(|stale| *stale > 1), "{outcome:?}");
}

/// Three who divide a system, and one of those who hold a range is stopped: the others go on without it.
fn workers() {
    let (servers, path, file) = place("workers");
    let workers: Vec<_> = (0..3).map(|_| Writer::start_worker(&servers, &path, &file)).collect();
    let outcome = pause(&workers, &file, rounds(3, 100), None);
    println!("workers: {outcome}");
    assert_eq!(outcome.stale_taken, 0, "{outcome}");
    assert!(outcome.stale.iter().all(|stale| *stale <= 1), "{outcome:?}");
    // Each one that was lost wrote once more to the register.
    assert!(outcome.refused >= outcome.pauses && outcome.taken > 50, "{outcome}");
}

fn killed() {
    let (servers, path, file) = place("killed");
    let mut all = Vec::new();
    for n in 0..rounds(1, 10) {
        let (path, file) = (format!("{path}-{n}"), file.with_file_name(format!("killed-{n}")));
        let start = |_| Writer::start(&servers, &path, &file, Looks::EachTime);
        all.extend(kill((0..3).map(start).collect(), &file));
    }
    let most = all.iter().max().unwrap();
    println!("killed: {} holders, the next one in within {most:?}", all.len());
    // The session's timeout, two ticks of the servers, and a machine that is busy.
    let bound = TIMEOUT + 2 * TICK + Duration::from_secs(1);
    assert!(*most <= bound, "{all:?}");
}

/// What `is_acquired` is worth, with the listener that Kazoo recommends and without a look at it.
fn kazoo() {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/rivals/install");
    let output = Command::new(install).arg("kazoo").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let side = String::from_utf8(output.stdout).unwrap();
    let (servers, path, file) = place("kazoo");
    let start = |_| Writer::start_other(side.trim(), &servers, &path, &file, "lost");
    let writers: Vec<_> = (0..3).map(start).collect();
    let outcome = pause(&writers, &file, rounds(0, 11), Some(TIMEOUT + Duration::from_secs(1)));
    println!("kazoo: {outcome}");
    assert!(outcome.lines > 50, "{outcome}");
}
