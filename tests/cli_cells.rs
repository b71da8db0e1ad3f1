//! The command `zk` on real servers: what memory cells cannot show.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use zkcells::recipes::ShardLock;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{Mode, SessionOptions, ZkConn, tree};

/// A directory with a configuration, which goes away with the value.
struct Cells {
    dir: PathBuf,
    nyc: String,
}

impl Cells {
    /// What `json` makes of the addresses of nyc and sjc.
    fn new(json: impl Fn(&str, &str) -> String) -> Cells {
        let local = LocalCells::up().unwrap();
        let (nyc, sjc) = (local.addrs("nyc").unwrap(), local.addrs("sjc").unwrap());
        let dir = std::env::temp_dir().join(fresh_root());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("cells.json"), json(&nyc, &sjc)).unwrap();
        Cells { dir, nyc }
    }

    fn plain() -> Cells {
        Cells::new(|nyc, sjc| format!(r#"{{"nyc": "{nyc}", "sjc": "{sjc}"}}"#))
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

    /// Whether nyc has a connection whose session was given this timeout.
    fn has_session(&self, millis: &str) -> bool {
        let mut server = TcpStream::connect(&self.nyc).unwrap();
        server.write_all(b"cons").unwrap();
        let mut answer = String::new();
        server.read_to_string(&mut answer).unwrap();
        answer.contains(&format!(",to={millis},"))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // What stays behind is the system's to clean; the test has said what it had to say.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn done(output: &str) -> (Option<i32>, String, String) {
    (Some(0), output.into(), String::new())
}

fn failed(line: &str) -> (Option<i32>, String, String) {
    (Some(1), String::new(), format!("zk: {line}\n"))
}

#[test]
fn a_tree_over_two_quorums_is_made_read_copied_and_removed() {
    let (zk, root) = (Cells::plain(), fresh_root());
    let at = |path: &str| path.replace("{}", &root);
    let (one, two) = (at("/zk/nyc/{}/tablets/nyc-1"), at("/zk/sjc/{}/tablets/sjc-2"));
    assert_eq!(zk.run(&["touch", "-p", &one, &two]), done(""));
    let all = at("/zk/*/{}/tablets/*");
    assert_eq!(zk.run(&["ls", "-d", &all]), done(&format!("{one}\n{two}\n")));
    std::fs::write(zk.dir.join("bytes"), b"\xff\0\n").unwrap();
    assert_eq!(zk.run(&["cp", "bytes", &one]), done(""));
    assert_eq!(zk.run(&["cp", &one, &two]), done(""));
    assert_eq!(zk.run(&["cp", &two, "back"]), done(""));
    assert_eq!(std::fs::read(zk.dir.join("back")).unwrap(), b"\xff\0\n");
    // A name with glob characters and one that is not ASCII, in the local cell.
    let (star, odd) = (at("/zk/local/{}/tablets/a*"), at("/zk/local/{}/tablets/日 本"));
    assert_eq!(zk.run(&["touch", &star, &odd]), done(""));
    assert_eq!(zk.run(&["rm", &at("/zk/nyc/{}/tablets/a\\*")]), done(""));
    assert_eq!(zk.run(&["ls", &at("/zk/local/{}/tablets")]), done("nyc-1\n日 本\n"));
    assert_eq!(zk.run(&["rm", "-r", &at("/zk/*/{}/tablets")]), done(""));
    assert_eq!(zk.run(&["rm", &at("/zk/*/{}")]), done(""));
}

#[test]
fn a_wrong_digest_is_told_and_the_secret_is_not() {
    let zk = Cells::new(|nyc, _| {
        let cell = |secret| {
            format!(
                r#"{{"addrs": "{nyc}", "root": "/zk/nyc",
                    "auth": [{{"scheme": "digest", "file": "{secret}"}}]}}"#
            )
        };
        format!(
            r#"{{"nyc": {}, "other": {}, "nobody": {{"addrs": "{nyc}", "root": "/zk/nyc"}}}}"#,
            cell("right"),
            cell("wrong")
        )
    });
    for (file, secret) in [("right", "app:canary-right\n"), ("wrong", "app:canary-wrong\n")] {
        std::fs::write(zk.dir.join(file), secret).unwrap();
    }
    let root = fresh_root();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use zkcells::{Acl, Auth, Conn as _, ConnExt as _, CreateOptions, Mode, Perms, Version};
        let options =
            zkcells::SessionOptions::default().with_auth(Auth::digest("app", "canary-right"));
        let owner = zkcells::ZkConn::connect(&zk.nyc, options).await.unwrap();
        let private =
            CreateOptions::from(Mode::Persistent).with_acl(vec![Acl::creator(Perms::ALL)]);
        zkcells::tree::create_all(&owner, format!("/zk/nyc/{root}"), "", Mode::Persistent)
            .await
            .unwrap();
        owner.create(format!("/zk/nyc/{root}/private"), "mine", private).await.unwrap();
        assert_eq!(zk.run(&["cat", &format!("/zk/nyc/{root}/private")]), done("mine"));
        let other = format!("/zk/other/{root}/private");
        let why = "permission denied: this session authenticated by digest only";
        for verb in [&["cat"][..], &["ls"], &["ls", "-R"]] {
            let line = format!("{} {other}: {why}", verb[0]);
            assert_eq!(zk.run(&[verb, &[&other]].concat()), failed(&line));
        }
        let set = zk.run(&["set", &other, "x"]);
        assert_eq!(set, failed(&format!("set {other}: {why}")));
        let nobody = format!("/zk/nobody/{root}/private");
        let why = "this session has not authenticated; see \"auth\" of the cell";
        let cat = zk.run(&["cat", &nobody]);
        assert_eq!(cat, failed(&format!("cat {nobody}: permission denied: {why}")));
        for verb in [&["cells"][..], &["cells", "--json"], &["stat", &format!("/zk/nyc/{root}")]] {
            let (_, output, errors) = zk.run(verb);
            assert!(!output.contains("canary") && !errors.contains("canary"), "{output}{errors}");
        }
        owner.delete(format!("/zk/nyc/{root}/private"), Version::Any).await.unwrap();
        owner.delete(format!("/zk/nyc/{root}"), Version::Any).await.unwrap();
        owner.close().await.unwrap();
    });
}

#[test]
fn an_identity_that_the_server_refuses_is_a_cell_that_does_not_answer() {
    let zk = Cells::new(|nyc, _| {
        format!(
            r#"{{"odd": {{"addrs": "{nyc}", "auth": [{{"scheme": "nosuch", "file": "it"}}]}},
                "nyc": "{nyc}"}}"#
        )
    });
    std::fs::write(zk.dir.join("it"), "canary").unwrap();
    let line = |verb: &str| {
        format!("{verb}: authentication failed: {} did not accept our identity", zk.nyc)
    };
    assert_eq!(zk.run(&["cat", "/zk/odd/x"]), failed(&line("cat /zk/odd/x")));
    let (code, _, errors) = zk.run(&["ls", "-d", "/zk/nyc", "/zk/odd/*"]);
    assert_eq!(errors, format!("zk: {}\n", line("ls /zk/odd")));
    // 1 where nobody has used nyc yet: then there is no answer to be partial.
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
}

#[test]
fn a_chroot_that_is_missing_is_told_as_such() {
    let root = fresh_root();
    let zk = Cells::new(|nyc, _| format!(r#"{{"nyc": "{nyc}/{root}"}}"#));
    let why = "bad configuration: the chroot in the address of nyc is not on its servers; \
               create it there";
    assert_eq!(zk.run(&["touch", "/zk/nyc/x"]), failed(&format!("touch /zk/nyc/x: {why}")));
    let deep = zk.run(&["touch", "-p", "/zk/nyc/x/y/z"]);
    assert_eq!(deep, failed(&format!("touch /zk/nyc: {why}")));
}

#[test]
fn an_ephemeral_node_shows_whose_it_is() {
    use zkcells::{Conn as _, ConnExt as _, Mode, Version};
    let (zk, root) = (Cells::plain(), fresh_root());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let owner = zkcells::ZkConn::connect(&zk.nyc, Default::default()).await.unwrap();
        let parent = format!("/zk/nyc/{root}");
        let path = format!("{parent}/here");
        zkcells::tree::create_all(&owner, &path, "", Mode::Ephemeral).await.unwrap();
        let id = format!("{:#x}", owner.session("/").await.unwrap().id());
        let (_, stat, _) = zk.run(&["stat", &path]);
        assert!(stat.contains(&format!("\nEphemeral: {id}\n")), "{id} {stat}");
        let (_, stat, _) = zk.run(&["--json", "stat", &path]);
        assert!(stat.contains(&format!(r#""ephemeral_owner":"{id}""#)), "{id} {stat}");
        let (_, list, _) = zk.run(&["ls", "-ld", &path]);
        assert!(list.starts_with("erw-rw-rw- "), "{list}");
        owner.delete(&path, Version::Any).await.unwrap();
        owner.delete(&parent, Version::Any).await.unwrap();
        owner.close().await.unwrap();
    });
}

/// A server that takes connections and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_dead_cell_is_waited_for_once_however_many_nodes_are_touched() {
    let (_held, dead) = silent();
    let (zk, root) =
        (Cells::new(|nyc, _| format!(r#"{{"nyc": "{nyc}", "dead": "{dead}"}}"#)), fresh_root());
    let alive = format!("/zk/nyc/{root}");
    let mut args = vec!["--timeout", "2s", "touch", "-p"];
    let dead: Vec<String> = (0..20).map(|n| format!("/zk/dead/{n}")).collect();
    args.extend(dead.iter().map(String::as_str));
    args.push(&alive);
    let start = Instant::now();
    let (code, _, errors) = zk.run(&args);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!((code, errors.lines().count()), (Some(3), 20), "{errors}");
    assert!(errors.lines().last().unwrap().starts_with("zk: touch /zk/dead/19: not sent: "));
    assert_eq!(zk.run(&["rm", &alive]), done(""));
}

#[test]
fn cells_are_asked_at_once_and_those_that_are_down_cost_one_timeout_together() {
    let dead: Vec<_> = (0..4).map(|_| silent()).collect();
    let zk = Cells::new(|nyc, sjc| {
        let dead = dead.iter().enumerate().map(|(n, (_, at))| format!(r#""dead-{n}": "{at}","#));
        format!(r#"{{{} "nyc": "{nyc}", "sjc": "{sjc}"}}"#, dead.collect::<String>())
    });
    let start = Instant::now();
    let (code, output, errors) = zk.run(&["--timeout", "3s", "cells"]);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert_eq!((code, errors.as_str()), (Some(3), ""), "{output}");
    let lines: Vec<Vec<&str>> = output.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 6, "{output}");
    for (line, (_, at)) in lines.iter().zip(&dead) {
        assert_eq!(line[1..7], ["down", "-", "-", "-", "-", at], "{output}");
        assert!(line[7..].join(" ").contains("did not take it by the deadline"), "{output}");
    }
    for (line, name) in lines[4..].iter().zip(["nyc", "sjc"]) {
        let [cell, state, took, session, timeout, version, ..] = line[..] else {
            panic!("{output}")
        };
        assert_eq!((cell, state, timeout), (name, "connected", "15s"), "{output}");
        let took: f64 = took.strip_suffix("ms").unwrap().parse().unwrap();
        assert!(took > 0.0 && session.starts_with("0x"), "{output}");
        assert!(version.starts_with("3."), "{output}");
    }
    assert!(output.contains(&format!("{}  local", zk.nyc)), "{output}");
    let (code, output, errors) = zk.run(&["cells", "-n"]);
    assert_eq!((code, output.lines().count(), errors.as_str()), (Some(0), 6, ""));
}

#[test]
fn sessions_are_closed_on_every_way_out() {
    let (_held, dead) = silent();
    let (zk, root) =
        (Cells::new(|nyc, _| format!(r#"{{"nyc": "{nyc}", "dead": "{dead}"}}"#)), fresh_root());
    // By this number the server tells the sessions of this test from all others.
    let millis = (20_000 + std::process::id() % 30_000).to_string();
    let timeout = format!("{millis}ms");
    let options = ["--timeout", "2s", "--session-timeout", &timeout];
    let command = |args: &[&str]| zk.zk(&[&options, args].concat());
    let path = format!("/zk/nyc/{root}");
    let (none, below) = (format!("{path}/none"), format!("/zk/*/{root}"));
    for (args, code) in [
        (&["touch", "-p", &path][..], 0),
        (&["cat", &none], 1),
        (&["ls", "-d", &below], 3),
        (&["set", "--version", "7", &path, "x"], 1),
        (&["cp", &path, "no/such/directory"], 1),
    ] {
        let output = command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        assert!(!zk.has_session(&millis), "{args:?}");
    }
    for device in ["/dev/full", "/dev/null"] {
        let full = std::fs::File::options().write(true).open(device).unwrap();
        command(&["ls", "-l", "/zk/nyc"]).stdout(full).output().unwrap();
        assert!(!zk.has_session(&millis), "{device}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(command(&["ls", "-d", &path]).stdout(writer).status().unwrap().success());
    assert!(!zk.has_session(&millis), "a reader that went away");

    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let child = zk
            .zk(&["--timeout", "60s", "--session-timeout", &timeout, "ls", "-d", &below])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_session(&zk, &millis);
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(ended(child), Some(code), "{signal}");
        assert!(!zk.has_session(&millis), "{signal}");
    }
    assert_eq!(zk.run(&["rm", &path]), done(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_shards_draws_each_change() {
    let zk = Cells::plain();
    let drawn = Drawn::of(&zk, &["shards", "--watch"]).await;
    drawn.as_held_and_free(["nobody", "[0, 1)"]).await;
    assert_eq!(drawn.end(), "");
}

/// Whoever reads it line by line is not one change late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_shards_as_json_ends_the_line_with_each_change() {
    let zk = Cells::plain();
    let drawn = Drawn::of(&zk, &["--json", "shards", "--watch"]).await;
    drawn.as_held_and_free([r#""workers":[]}"#, r#""holds":true,"index":0"#]).await;
    assert_eq!(drawn.end(), "");
}

/// Whoever watches several systems is not to lose sight of one because of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_shards_goes_on_beside_cells_that_are_away() {
    let (_held, silent) = silent();
    let zk = Cells::new(|nyc, _| {
        format!(r#"{{"nyc": "{nyc}", "refuses": "127.0.0.1:1", "silent": "{silent}"}}"#)
    });
    // The silent one is waited for longer than this test waits for a picture.
    let options = ["--timeout", "60s", "shards", "--watch", "/zk/refuses/sys", "/zk/silent/sys"];
    let drawn = Drawn::of(&zk, &options).await;
    drawn.as_held_and_free(["nobody", "[0, 1)"]).await;
    let errors = drawn.end();
    assert!(errors.starts_with("zk: shards /zk/refuses/sys: not sent: no server"), "{errors}");
}

/// A watch of a system, among others, as it is drawn line by line.
struct Drawn {
    child: Child,
    lines: Receiver<String>,
    shards: ShardLock,
}

impl Drawn {
    async fn of(zk: &Cells, args: &[&str]) -> Drawn {
        let path = format!("/zk/nyc/{}", fresh_root());
        let conn = ZkConn::connect(&zk.nyc, SessionOptions::default()).await.unwrap();
        tree::create_all(&conn, &path, "", Mode::Persistent).await.unwrap();
        let path = format!("{path}/sys");
        let mut child = zk.zk(&[args, &[&*path]].concat());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let shards = ShardLock::new(conn, &path).with_wait_time(Duration::from_millis(20));
        Drawn { child, lines, shards }
    }

    fn until(&self, what: &str) {
        tokio::task::block_in_place(|| {
            loop {
                let line = self.lines.recv_timeout(Duration::from_secs(20));
                if line.unwrap_or_else(|_| panic!("{what} is not drawn")).contains(what) {
                    break;
                }
            }
        });
    }

    /// What is drawn while nobody holds a range, while somebody does, and behind that.
    async fn as_held_and_free(&self, [free, held]: [&str; 2]) {
        self.until(free);
        let shard = self.shards.acquire().await.unwrap();
        self.until(held);
        shard.release().await;
        self.until(free);
    }

    /// What was said on standard error.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let output = tokio::task::block_in_place(|| self.child.wait_with_output()).unwrap();
        String::from_utf8(output.stderr).unwrap()
    }
}

fn await_session(zk: &Cells, millis: &str) {
    let start = Instant::now();
    while !zk.has_session(millis) {
        assert!(start.elapsed() < Duration::from_secs(20), "it has dialled nobody");
    }
}

fn ended(mut child: Child) -> Option<i32> {
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    // Ends when the process does.
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    child.wait().unwrap().code()
}
