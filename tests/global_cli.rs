//! `zk global` on real servers: a set is made, compared, repaired, and gets another first.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{Conn as _, ConnExt as _, Mode, SessionOptions, Version, ZkConn, tree};

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
    assert_eq!(zk(&["global", "diff", "/zk/global"]), done(""));
    // Somebody meddles.
    let mirror = cells.quorum(2);
    mirror.set("/zk/global/a/b", "bye", Version::Any).await.unwrap();
    mirror.delete("/zk/global/c", Version::Any).await.unwrap();
    tree::create_all(&mirror, "/zk/global/x/y", "", Mode::Persistent).await.unwrap();
    let found = "missing  2  /zk/global/c\nextra    2  /zk/global/x\ndata     2  /zk/global/a/b\n\
                 extra    2  /zk/global/x/y\n";
    assert_eq!(zk(&["global", "diff", "/zk/global"]), (Some(3), found.into(), String::new()));
    // The dry run changes nothing.
    assert_eq!(zk(&["global", "repair", "/zk/global"]), (Some(3), found.into(), String::new()));
    let below = zk(&["global", "diff", "--json", "/zk/global/a"]);
    let item = "[\n{\"kind\":\"data\",\"quorum\":2,\"path\":\"/zk/global/a/b\"}\n]\n";
    assert_eq!(below, (Some(3), item.into(), String::new()));
    let (code, output, errors) = zk(&["global", "repair", "--apply", "/zk/global"]);
    assert_eq!((code, errors.as_str(), output.lines().count()), (Some(0), "", 4), "{output}");
    assert_eq!(zk(&["global", "diff", "/zk/global"]), done(""));
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
