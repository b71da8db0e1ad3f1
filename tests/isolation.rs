//! A cell that is sick is alone with it: others neither wait for it nor fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "support/sick.rs"]
mod sick;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sick::{Sickness, Ward};
use zkcells::{
    Conn, ConnExt as _, LeaveWatch, Mode, Op, Pending, Reply, Request, Version, Within, ZkPath,
    wildcard,
};

/// How long a cell may take for one call.
const DEADLINE: Duration = Duration::from_secs(1);
/// What finding the others may take besides.
const GRACE: Duration = Duration::from_millis(500);

/// Many calls on the sick cell, of which none is awaited.
fn calls_on_the_sick(conn: &dyn Conn, ward: &Ward) -> Vec<Pending<Reply>> {
    let path = |below: &str| ZkPath::new(ward.at("sick", below)).unwrap();
    let mut calls = Vec::new();
    for n in 0..400 {
        let set = Op::Set { data: "x".into(), version: Version::Any };
        let create = Op::Create { data: "x".into(), options: Mode::Persistent.into() };
        let (op, path) = match n % 5 {
            0 => (Op::Get(LeaveWatch::No), path("/a")),
            1 => (Op::Get(LeaveWatch::Yes), path("")),
            2 => (Op::Sync, path("")),
            3 => (set, path("/b")),
            _ => (create, path(&format!("/{n}"))),
        };
        calls.push(conn.call(Request::new(op, path)));
    }
    calls
}

/// All kinds of calls on those that are well, one by one and many at once.
async fn calls_on_the_others(conn: &dyn Conn, ward: &Ward, who: &str) {
    for turn in 0..15 {
        let mut gets = Vec::new();
        for cell in ["nyc", "sjc"] {
            let new = ward.at(cell, &format!("/{who}-{turn}"));
            let (_, made) = conn.exists_watch(&new).await.unwrap();
            conn.create(&new, "", Mode::Persistent).await.unwrap();
            made.await;
            conn.set(&new, "x", Version::Exact(0)).await.unwrap();
            conn.sync(&new).await.unwrap();
            gets.extend((0..10).map(|_| conn.get(&new)));
            assert!(conn.children(ward.at(cell, "")).await.unwrap().names.len() > 2);
            conn.session(&new).await.unwrap();
        }
        for get in gets {
            assert_eq!(get.await.unwrap().data, "x");
        }
    }
}

async fn others_do_not_notice(sickness: Sickness) {
    let ward = Ward::new(sickness).await;
    let (warm, cold) = (ward.connect(), ward.connect());
    warm.exists(ward.at("sick", "")).await.unwrap();
    ward.infect();
    // One that had a session there, and one that has to dial.
    for (who, conn) in [("warm", warm), ("cold", cold)] {
        let conn = Arc::new(conn);
        let sick = calls_on_the_sick(&conn, &ward);
        calls_on_the_others(&Within::new(conn.clone(), Duration::from_secs(4)), &ward, who).await;
        for call in sick {
            let answer = call.now_or_never();
            // Had one of the others waited for it, it would have an answer by now.
            assert!(answer.is_none() || !sickness.is_silent(), "{sickness}: {answer:?}");
            assert!(!matches!(answer, Some(Ok(_))), "{sickness}: {answer:?}");
        }
    }
    ward.until_felt().await;
}

async fn resolve_names_the_sick_one(sickness: Sickness) {
    let ward = Ward::new(sickness).await;
    let (warm, cold) = (ward.connect(), ward.connect());
    for cell in ["nyc", "sjc", "sick"] {
        warm.exists(ward.at(cell, "")).await.unwrap();
    }
    ward.infect();
    for conn in [warm, cold] {
        let conn = Within::new(conn, DEADLINE);
        let start = Instant::now();
        let found = wildcard::resolve(&conn, [ward.at("*", "/*")]).await.unwrap();
        let took = start.elapsed();
        assert!(took < DEADLINE + GRACE, "{sickness}: {took:?}");
        let expected = [("nyc", "/a"), ("nyc", "/b"), ("sjc", "/a"), ("sjc", "/b")];
        let found_paths: Vec<&str> = found.paths.iter().map(ZkPath::as_str).collect();
        assert_eq!(found_paths, expected.map(|(cell, node)| ward.at(cell, node)));
        let failed: Vec<&str> = found.failed.iter().map(|failed| failed.prefix.as_str()).collect();
        assert_eq!(failed, ["/zk/sick"], "{sickness}: {:?}", found.failed);
    }
    ward.until_felt().await;
}

async fn ls_shows_the_others_and_ends_with_3(sickness: Sickness) {
    let ward = Ward::new(sickness).await;
    ward.infect();
    let config = std::env::temp_dir().join(format!("{}.json", ward.root));
    std::fs::write(&config, &ward.config).unwrap();
    let mut zk = Command::new(env!("CARGO_BIN_EXE_zk"));
    zk.args(["--timeout", "1s", "ls", "-d", &ward.at("*", "/a")]).stdin(Stdio::null());
    zk.env("ZK_CLIENT_CONFIG", &config).env("ZK_CLIENT_LOCAL_CELL", "nyc");
    let output = tokio::task::spawn_blocking(move || zk.output()).await.unwrap().unwrap();
    let (shown, told) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(3), "{sickness}: {told}");
    assert_eq!(shown, format!("{}\n{}\n", ward.at("nyc", "/a"), ward.at("sjc", "/a")));
    assert!(told.contains("/zk/sick"), "{sickness}: {told}");
    // It is the system's to clean, if not ours.
    let _ = std::fs::remove_file(config);
}

macro_rules! each_sickness {
    ($($name:ident: $sickness:ident,)+) => {$(
        mod $name {
            use super::Sickness;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn others_do_not_notice() {
                super::others_do_not_notice(Sickness::$sickness).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn resolve_names_the_sick_one() {
                super::resolve_names_the_sick_one(Sickness::$sickness).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn ls_shows_the_others_and_ends_with_3() {
                super::ls_shows_the_others_and_ends_with_3(Sickness::$sickness).await;
            }
        }
    )+};
}

each_sickness! {
    a_cell_that_is_black_holed: BlackHoled,
    a_cell_that_is_stopped: Stopped,
    a_cell_that_refuses: Refusing,
    a_cell_that_is_slow: Slow,
}
