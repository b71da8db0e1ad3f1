//! `zk global` on real servers: a set is made, compared, repaired, and gets another first.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{Acl, Conn as _, ConnExt as _, Mode, Perms, SessionOptions, Version, ZkConn, tree};

/// A directory with two configurations: the set in one order, and in the other.
struct Cells {
    dir: PathBuf,
    servers: Vec<String>,
}

impl Cells {
    /// Below a node of its own on each quorum, so that nobody else sees this set.
    async fn new() -> Cells {
        let (local, root) = (LocalCells::up().unwrap(), fresh_root());
        let mut servers = Vec::new();
        for cell in ["nyc", "sjc", "global"] {
            let addrs = local.addrs(cell).unwrap();
            let plain = ZkConn::new(&addrs, SessionOptions::default()).unwrap();
            plain.create(format!("/{root}"), "", Mode::Persistent).await.unwrap();
            plain.close().await.unwrap();
            servers.push(format!("{addrs}/{root}"));
        }
        let dir = std::env::temp_dir().join(fresh_root());
        std::fs::create_dir(&dir).unwrap();
        let [a, b, c] = [&servers[0], &servers[1], &servers[2]];
        std::fs::write(dir.join("old.json"), format!(r#"{{"global": ["{a}", "{b}", "{c}"]}}"#))
            .unwrap();
        std::fs::write(dir.join("new.json"), format!(r#"{{"global": ["{b}", "{a}", "{c}"]}}"#))
            .unwrap();
        Cells { dir, servers }
    }

    /// Exit code, standard output and standard error.
    fn zk(&self, config: &str, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
        command.current_dir(&self.dir).args(args).stdin(Stdio::null());
        command.env("ZK_CLIENT_CONFIG", config).env("ZK_CLIENT_LOCAL_CELL", "nyc");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn quorum(&self, number: usize) -> ZkConn {
        ZkConn::new(&self.servers[number - 1], SessionOptions::default()).unwrap()
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // What stays behind is the system's to clean; the test has said what it had to say.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn done(output: &str) -> (Option<i32>, String, String) {
    (Some(0), output.into(), String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_made_compared_repaired_and_gets_another_first() {
    let cells = Cells::new().await;
    let zk = |args: &[&str]| cells.zk("old.json", args);
    // Not a set yet.
    let (code, output, _) = zk(&["global", "status"]);
    assert_eq!((code, output.matches("has no identity").count()), (Some(3), 3), "{output}");
    let (code, _, errors) = zk(&["touch", "-p", "/zk/global/a/b"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("wrong quorum") && errors.contains("zk global init"), "{errors}");
    let (code, output, errors) = zk(&["global", "init"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.starts_with("set ") && output.ends_with(" epoch 1\n"), "{output}");
    assert_eq!(zk(&["global", "init", "/zk/global"]), (Some(0), output, String::new()));
    let (code, output, _) = zk(&["global", "status"]);
    assert_eq!((code, output.matches("  ok\n").count()), (Some(0), 3), "{output}");
    // Everything works on it, and all quorums have it.
    assert_eq!(zk(&["touch", "-p", "/zk/global/a/b", "/zk/global/c"]), done(""));
    assert_eq!(zk(&["set", "/zk/global/a/b", "hello"]), done(""));
    assert_eq!(
        zk(&["ls", "-R", "/zk/global"]),
        done("/zk/global/a\n/zk/global/a/b\n/zk/global/c\n")
    );
    for number in 1..=3 {
        let quorum = cells.quorum(number);
        assert_eq!(quorum.get("/zk/global/a/b").await.unwrap().data, "hello");
        quorum.close().await.unwrap();
    }
    let agree = "zk: /zk/global: 4 paths on 3 quorums, no differences\n";
    assert_eq!(zk(&["global", "diff", "/zk/global"]), (Some(0), String::new(), agree.into()));
    // Somebody meddles.
    let mirror = cells.quorum(2);
    mirror.set("/zk/global/a/b", "bye", Version::Any).await.unwrap();
    mirror.delete("/zk/global/c", Version::Any).await.unwrap();
    tree::create_all(&mirror, "/zk/global/x/y", "", Mode::Persistent).await.unwrap();
    let found = "missing  2  /zk/global/c\nextra    2  /zk/global/x\ndata     2  /zk/global/a/b\n\
                 extra    2  /zk/global/x/y\n";
    let told = "zk: /zk/global: 6 paths on 3 quorums, 4 differences (1 missing, 2 extra, 1 data)\n";
    let differ = (Some(3), found.to_string(), told.to_string());
    assert_eq!(zk(&["global", "diff", "/zk/global"]), differ);
    // The dry run changes nothing.
    assert_eq!(zk(&["global", "repair", "/zk/global"]), differ);
    let below = zk(&["global", "diff", "--json", "/zk/global/a"]);
    let item = "[\n{\"kind\":\"data\",\"quorum\":2,\"path\":\"/zk/global/a/b\"}\n]\n";
    let told = "zk: /zk/global/a: 2 paths on 3 quorums, 1 difference (1 data)\n";
    assert_eq!(below, (Some(3), item.into(), told.into()));
    // Only the rest, and only of that tree.
    let (code, output, _) = zk(&["global", "diff", "--from", "/zk/global/b", "/zk/global"]);
    let rest = "missing  2  /zk/global/c\nextra    2  /zk/global/x\nextra    2  /zk/global/x/y\n";
    assert_eq!((code, output.as_str()), (Some(3), rest));
    let (code, output, errors) =
        zk(&["global", "repair", "--from", "/zk/global/c", "/zk/global/a"]);
    assert_eq!((code, output.as_str()), (Some(2), ""));
    assert!(errors.contains("--from is to go on in the first tree, /zk/global/a"), "{errors}");
    let (code, output, errors) = zk(&["global", "repair", "--apply", "/zk/global"]);
    assert_eq!((code, output.lines().count()), (Some(0), 4), "{output}{errors}");
    let told = "4 differences mended (1 missing, 2 extra, 1 data)";
    assert!(errors.contains(told) && errors.lines().count() == 1, "{errors}");
    assert_eq!(zk(&["global", "diff", "/zk/global"]), (Some(0), String::new(), agree.into()));
    assert_eq!(mirror.get("/zk/global/a/b").await.unwrap().data, "hello");
    mirror.close().await.unwrap();
    // Another first, but only on the operator's word.
    let (code, _, errors) = zk(&["global", "promote", "global", "2"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--old-first-is-gone"), "{errors}");
    let (code, output, errors) = zk(&["global", "promote", "global", "2", "--old-first-is-gone"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        output.ends_with(" epoch 2\n") && errors.contains("put it in front"),
        "{output}{errors}"
    );
    let (code, _, errors) = zk(&["set", "/zk/global/a/b", "x"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("is a mirror since epoch 2"), "{errors}");
    let zk = |args: &[&str]| cells.zk("new.json", args);
    assert_eq!(zk(&["set", "/zk/global/a/b", "new"]), done(""));
    assert_eq!(zk(&["cat", "/zk/global/a/b"]), done("new"));
    // The others may lack something of what it holds.
    let (code, output, _) = zk(&["global", "status", "--json"]);
    assert_eq!((code, output.matches("\"epoch\":2").count()), (Some(3), 3), "{output}");
    assert_eq!(output.matches("\"complete\":false").count(), 2, "{output}");
    // A part says nothing of the rest; all of it does.
    assert_eq!(zk(&["global", "repair", "--apply", "/zk/global/a"]).0, Some(0));
    assert_eq!(zk(&["global", "status"]).0, Some(3));
    assert_eq!(zk(&["global", "repair", "--apply", "/zk/global"]).0, Some(0));
    let (code, output, _) = zk(&["global", "status"]);
    assert_eq!((code, output.matches("  ok\n").count()), (Some(0), 3), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_of_one_quorum_is_no_set() {
    let cells = Cells::new().await;
    std::fs::write(cells.dir.join("one.json"), r#"{"global": "memory:"}"#).unwrap();
    let (code, _, errors) = cells.zk("one.json", &["global", "status"]);
    assert_eq!(code, Some(1));
    let line = "zk: global global: bad argument: it is one quorum, memory:, and no set\n";
    assert_eq!(errors, line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_complete_is_neither_agreement_nor_difference() {
    let cells = Cells::new().await;
    let zk = |args: &[&str]| cells.zk("old.json", args);
    // Not made a set yet: it can be compared, and would not be repaired.
    for number in 1..=3 {
        let quorum = cells.quorum(number);
        tree::create_all(&quorum, "/zk/global/a", "", Mode::Persistent).await.unwrap();
        quorum.close().await.unwrap();
    }
    assert_eq!(zk(&["global", "diff", "/zk/global"]).0, Some(0));
    for apply in [&[][..], &["--apply"]] {
        let (code, _, errors) = zk(&[&["global", "repair", "/zk/global"], apply].concat());
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("wrong quorum") && errors.contains("zk global init"), "{errors}");
    }
    assert_eq!(zk(&["global", "init"]).0, Some(0));
    assert_eq!(zk(&["global", "repair", "/zk/global"]).0, Some(0));
    // What may not be read.
    let mirror = cells.quorum(3);
    tree::create_all(&mirror, "/zk/global/b", "x", Mode::Persistent).await.unwrap();
    let shut = vec![Acl::digest(Perms::ALL, "bob", "secret")];
    mirror.set_acl("/zk/global/a", shut, Version::Any).await.unwrap();
    mirror.close().await.unwrap();
    let (code, output, errors) = zk(&["global", "diff", "/zk/global"]);
    assert_eq!((code, output.as_str()), (Some(1), "extra    3  /zk/global/b\n"), "{errors}");
    assert!(errors.contains("zk: global /zk/global/a: permission denied: on quorum 3"), "{errors}");
    assert!(errors.contains("1 error: not everything was compared"), "{errors}");
    // A quorum that does not answer.
    let [a, b, _] = &cells.servers[..] else { panic!("three") };
    let away = format!(r#"{{"global": ["{a}", "{b}", "127.0.0.1:1"]}}"#);
    std::fs::write(cells.dir.join("away.json"), away).unwrap();
    let away = |args: &[&str]| cells.zk("away.json", &[&["--timeout", "1s"], args].concat());
    for verb in [&["diff"][..], &["repair"], &["repair", "--apply"]] {
        let (code, _, errors) = away(&[&["global"], verb, &["/zk/global"]].concat());
        assert_eq!(code, Some(1), "{verb:?}: {errors}");
        assert!(errors.contains("left out") && errors.contains("--from /zk/global"), "{errors}");
    }
    let (code, _, errors) = {
        let away = format!(r#"{{"global": ["127.0.0.1:1", "{a}", "{b}"]}}"#);
        std::fs::write(cells.dir.join("first.json"), away).unwrap();
        cells.zk("first.json", &["--timeout", "1s", "global", "diff", "/zk/global"])
    };
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("on quorum 1"), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_interrupts_it_is_told_where_to_go_on() {
    let cells = Cells::new().await;
    assert_eq!(cells.zk("old.json", &["global", "init"]).0, Some(0));
    // More than is compared at once; the way to the first mirror is long.
    let nodes: Vec<_> = (0..2500).map(|n| (format!("/zk/global/{n:04}"), "")).collect();
    for number in 1..=3 {
        let quorum = cells.quorum(number);
        tree::create_many(&quorum, nodes.clone(), Mode::Persistent).await.unwrap();
        if number == 2 {
            quorum.delete("/zk/global/0000", Version::Any).await.unwrap();
        }
        quorum.close().await.unwrap();
    }
    let (hosts, root) = cells.servers[1].split_once('/').unwrap();
    let proxy = FaultProxy::to(hosts.split(',').next().unwrap()).await.unwrap();
    let [a, _, c] = &cells.servers[..] else { panic!("three") };
    let slow = format!(r#"{{"global": ["{a}", "{}/{root}", "{c}"]}}"#, proxy.addr());
    std::fs::write(cells.dir.join("slow.json"), slow).unwrap();
    proxy.delay(Duration::from_millis(60));
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    command.current_dir(&cells.dir).args(["global", "repair", "--apply", "/zk/global"]);
    command.env("ZK_CLIENT_CONFIG", "slow.json").env("ZK_CLIENT_LOCAL_CELL", "nyc");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // What is mended is told at once, and the rest cannot be any more.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert_eq!(line, "missing  2  /zk/global/0000");
    proxy.black_hole(Direction::Both);
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest = lines.map_while(Result::ok).count();
    let output = child.wait_with_output().unwrap();
    assert_eq!(rest, 0);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{errors}");
    let from = errors.split("zk global repair --apply --from ").nth(1).unwrap();
    let from = from.split(' ').next().unwrap();
    assert!(errors.ends_with(&format!("--from {from} /zk/global\n")), "{errors}");
    // As it says.
    let args = ["global", "repair", "--apply", "--from", from, "/zk/global"];
    let (code, _, errors) = cells.zk("old.json", &args);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(cells.zk("old.json", &["global", "diff", "/zk/global"]).0, Some(0));
}
