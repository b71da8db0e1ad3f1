//! The configuration as its users meet it. Every bad input is held to its exact line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::surroundings::Surroundings;
use super::*;

fn path(text: &str) -> ZkPath {
    ZkPath::new(text).unwrap()
}

fn cell(text: &str) -> CellName {
    CellName::new(text).unwrap()
}

fn names(cells: &[CellName]) -> Vec<&str> {
    cells.iter().map(CellName::as_str).collect()
}

/// A fresh directory that goes away with the value.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("zkcells-cells-{}-{unique}", std::process::id()));
        // A run that was killed may have left one; process ids come again.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What stays behind is the system's to clean; the test has said what it had to say.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Vitess's own: a cell, a read server of another, and the site's view of global.
fn vitess() -> Cells {
    let text = r#"{"nyc": "localhost:2181", "nycz:_zkocc": "localhost:2182",
                   "nyc-global": "localhost:2183", "sjc-global": "localhost:2184"}"#;
    let dir = Dir::new();
    let file = dir.file("zk_client.json", text);
    let variables = [("ZK_CLIENT_CONFIG", file.to_str().unwrap())];
    Cells::builder().surroundings(Surroundings::fake("nyc-db-1.x.y", &variables)).build().unwrap()
}

#[test]
fn vitess_addresses_by_path() {
    let cells = vitess();
    for name in ["/zk/nyc", "/zk/nyc/x", "/zk/local", "/zk/local/x"] {
        let address = cells.address_of(&path(name)).unwrap();
        assert_eq!(address, Address::Zk("localhost:2181".parse().unwrap()), "{name}");
    }
    assert_eq!(cells.address_of(&path("/zk/global/x")).unwrap().to_string(), "localhost:2183");
}

#[test]
fn vitess_known_cells() {
    let cells = vitess();
    assert_eq!(names(&cells.known()), ["global", "nyc"]);
    assert_eq!(names(&cells.with_read_server()), ["nycz"]);
    assert_eq!(cells.read_server_of(&cell("nycz")).unwrap(), Some("localhost:2182"));
    assert_eq!(cells.read_server_of(&cell("local")).unwrap(), None);
}

#[test]
fn vitess_paths_without_a_cell() {
    let line = |text: &str| Cells::cell_of(&path(text)).unwrap_err().to_string();
    assert_eq!(line("/"), "cell /: unknown cell: expected /zk/<cell>/…");
    assert_eq!(line("/bad/zk/path"), "cell /bad/zk/path: unknown cell: expected /zk/<cell>/…");
    assert_eq!(line("/zkfoo/nyc"), "cell /zkfoo/nyc: unknown cell: expected /zk/<cell>/…");
    assert_eq!(line("/zk"), "cell /zk: unknown cell: it names no cell; expected /zk/<cell>/…");
    assert_eq!(
        line("/zk/bad-cell-name-/x"),
        "cell /zk/bad-cell-name-/x: unknown cell: a cell's name starts and ends with a-z or 0-9"
    );
    assert_eq!(
        line("/zk/nyc-global/x"),
        "cell /zk/nyc-global/x: unknown cell: nyc-global is a site's own view of the global \
         cell; use /zk/global/…"
    );
    for good in ["/zk/nyc", "/zk/us-east-1/x", "/zk/local", "/zk/global/x/y"] {
        assert_eq!(Cells::cell_of(&path(good)).unwrap().as_str(), good.split('/').nth(2).unwrap());
    }
}

#[test]
fn an_object_says_more() {
    let dir = Dir::new();
    dir.file("nyc.secret", "app:one\r\n");
    let file = dir.file(
        "cells.json",
        r#"{"nyc": {"addrs": "db1,db2:2182/chroot", "root": "/app", "session_timeout": "1m 500ms",
            "auth": [{"scheme": "digest", "file": "nyc.secret"}, {"scheme": "digest", "env": "NYC"}]},
            "demo": "memory:tree.json", "bare": {"addrs": "memory:"}}"#,
    );
    let cells = Cells::builder()
        .config_file(&file)
        .surroundings(Surroundings::fake("nyc-1", &[("NYC", "app:two")]))
        .build()
        .unwrap();
    let nyc = cells.cell(&cell("local")).unwrap();
    assert_eq!(nyc.name, cell("nyc"));
    assert_eq!(nyc.address, Address::Zk("db1:2181,db2:2182/chroot".parse().unwrap()));
    assert_eq!(nyc.root, Some(path("/app")));
    assert_eq!(nyc.session_timeout, Some(Duration::from_millis(60_500)));
    let secrets: Vec<_> = nyc.auth.iter().map(|auth| auth.secret.expose()).collect();
    assert_eq!(secrets, ["app:one", "app:two"]);
    assert!(!format!("{cells:?} {nyc:?}").contains("app:"));
    assert_eq!(nyc.mount().apply(&path("/zk/nyc/x")), Some(path("/app/x")));

    let demo = cells.cell(&cell("demo")).unwrap();
    assert_eq!(demo.address, Address::Memory(Some(dir.0.join("tree.json"))));
    assert_eq!(demo.mount().apply(&path("/zk/demo/x")), Some(path("/zk/demo/x")));
    assert_eq!(cells.cell(&cell("bare")).unwrap().address, Address::Memory(None));
    assert_eq!(cells.file(), Some(&*file));
}

#[test]
fn a_list_is_several_quorums() {
    let text = r#"{"nyc": ["a1,a2:2182", "b1/x", "memory:"],
                   "sjc": {"quorums": ["a", "b"], "require": 1, "reads": "compare", "root": "/app"},
                   "lax": {"quorums": ["a", "b"], "require": "all", "reads": "first"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    let set = |name: &str| match cells.cell(&cell(name)).unwrap().address {
        Address::Set(set) => set,
        other => panic!("{other}"),
    };
    let nyc = set("nyc");
    assert_eq!(nyc.to_string(), "a1:2181,a2:2182 | b1:2181/x | memory:");
    assert_eq!((nyc.quorums.len(), nyc.require, nyc.reads), (3, Require::All, Reads::First));
    assert!(!nyc.is_memory());
    let sjc = set("sjc");
    assert_eq!((sjc.require, sjc.reads), (Require::AtLeast(1), Reads::Compare));
    assert_eq!(cells.cell(&cell("sjc")).unwrap().root, Some(path("/app")));
    assert_eq!((set("lax").require, set("lax").reads), (Require::All, Reads::First));
}

/// What building from `text` says, after `config (text): bad configuration: `.
fn complaint(text: &str) -> String {
    let surroundings = Surroundings::fake("nyc-1", &[("EMPTY", ""), ("PLAIN", "geheim")]);
    let built = Cells::builder().config_json(text).surroundings(surroundings).build();
    let err = built.expect_err(text);
    assert_eq!(err.kind(), ErrorKind::Config);
    let line = err.to_string();
    assert!(!line.contains(['\n', '\r']) && !line.contains("geheim"), "{line}");
    line.strip_prefix("config (text): bad configuration: ").unwrap().to_string()
}

#[test]
fn bad_json_is_told_with_line_and_column() {
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\"nyc\": \"a:1\",\n}", "trailing comma at line 2 column 1"),
        ("{\"nyc\": \"a:1\"} x", "trailing characters at line 1 column 16"),
        ("{\"a\": \"a:1\",\n\"a\": \"b:1\"}", "the key \"a\" is there twice at line 2 column 3"),
        ("[\"a:1\"]", "found an array; expected an object {\"<cell>\": \"host:port,host:port\"}"),
        ("7", "found the number 7; expected an object {\"<cell>\": \"host:port,host:port\"}"),
    ] {
        assert_eq!(complaint(text), expected);
    }
}

#[test]
fn a_bad_key_is_told() {
    let expected =
        "expected \"<cell>\", \"<cell>:_zkocc\", \"global\" or \"<cell>-global\"".to_string();
    for (key, why) in [
        ("NYC", "a cell's name starts and ends with a-z or 0-9"),
        ("nyc:_zkoc", "a cell's name has a-z, 0-9, - and _ only"),
        ("", "the name is empty; expected /zk/<cell>/…"),
        ("-global", "the name is empty; expected /zk/<cell>/…"),
        (":_zkocc", "the name is empty; expected /zk/<cell>/…"),
    ] {
        let text = format!("{{\"{key}\": \"a:1\"}}");
        assert_eq!(complaint(&text), format!("key \"{key}\": {why}; {expected}"));
    }
    assert_eq!(
        complaint(r#"{"a\nb": "a:1"}"#),
        format!("key \"a\\nb\": a cell's name has a-z, 0-9, - and _ only; {expected}")
    );
    for key in ["local", "local:_zkocc", "local-global"] {
        assert_eq!(
            complaint(&format!("{{\"{key}\": \"a:1\"}}")),
            format!(
                "key \"{key}\": local stands for the cell of each process; write that cell under \
                 its own name, and say which it is with --local-cell or ZK_CLIENT_LOCAL_CELL"
            )
        );
    }
    assert_eq!(
        complaint(r#"{"global-global": "a:1"}"#),
        "key \"global-global\": global has no view of itself; expected \"<cell>-global\""
    );
}

#[test]
fn a_bad_value_is_told() {
    let cell = "expected \"host:port,host:port\" or {\"addrs\": \"host:port,host:port\", …}";
    let auth = "expected {\"scheme\": \"digest\", \"file\": \"path\"} or \
                {\"scheme\": \"digest\", \"env\": \"VARIABLE\"}";
    let duration = "expected a duration such as \"15s\" or \"500ms\"";
    let fields =
        "expected addrs, root, auth or session_timeout, or for a set quorums, require and reads";
    let address = "expected \"host:port,host:port\", perhaps with /chroot behind it, or \
                   \"memory:\" or \"memory:tree.json\"";
    let list = "expected a list of addresses, the first quorum's in front: \
                [\"a1:2181,a2:2181\", \"b1:2181,b2:2181\"]";
    let missing = "No such file or directory (os error 2)";
    let object = |rest: &str| format!("{{\"addrs\": \"a:1\", {rest}}}");
    let auths = |item: &str| object(&format!("\"auth\": [{item}]"));
    for (value, why) in [
        ("null".into(), format!("found null; {cell}")),
        ("2181".into(), format!("found the number 2181; {cell}")),
        ("true".into(), format!("found true; {cell}")),
        ("[]".into(), format!("the list is empty; {list}")),
        ("[\"a:1\", 2]".into(), format!("quorum 2: found the number 2; {list}")),
        ("[\"a:1\", \"a:1\"]".into(), format!("quorum 2: a:1 is there twice; {list}")),
        ("[\"a:1\", \"\"]".into(), format!("quorum 2: the address is empty; {address}")),
        (
            "{\"quorums\": \"a:1\"}".into(),
            "quorums: found the string \"a:1\"; expected a list".into(),
        ),
        ("{\"quorums\": []}".into(), format!("quorums: the list is empty; {list}")),
        (object("\"quorums\": [\"b:1\"]"), format!("both addrs and quorums are there; {cell}")),
        (
            object("\"require\": 1"),
            "require and reads are for a set: they need quorums in place of addrs".into(),
        ),
        (
            "{\"quorums\": [\"a:1\"], \"require\": -1}".into(),
            "require: found the number -1; expected \"all\" or how many mirrors, such as 1".into(),
        ),
        (
            "{\"quorums\": [\"a:1\"], \"reads\": true}".into(),
            "reads: found true; expected \"first\" or \"compare\"".into(),
        ),
        ("\"\"".into(), format!("the address is empty; {address}")),
        (
            "\"a:1/x/\"".into(),
            format!(
                "the chroot \"/x/\" is not a path: it must not end with / in \"a:1/x/\"; {address}"
            ),
        ),
        ("{}".into(), format!("addrs is missing; {cell}")),
        ("{\"adrs\": \"a:1\"}".into(), format!("unknown key \"adrs\"; {fields}")),
        (
            "{\"addrs\": 1}".into(),
            "addrs: found the number 1; expected \"host:port,host:port\"".into(),
        ),
        (
            "{\"addrs\": \"a:1/\"}".into(),
            format!("addrs: the chroot / is no chroot; leave the slash out in \"a:1/\"; {address}"),
        ),
        (object("\"tls\": {}"), "tls is not supported yet; leave it out".into()),
        (
            object("\"root\": \"app\""),
            "root: found \"app\", and it must start with /; expected a path such as \"/app\""
                .into(),
        ),
        (object("\"root\": []"), "root: found an array; expected a path such as \"/app\"".into()),
        (
            object("\"session_timeout\": 15"),
            "session_timeout: found the number 15; expected a duration such as \"15s\"".into(),
        ),
        (
            object("\"session_timeout\": \"15\""),
            format!(
                "session_timeout: found \"15\" (time unit needed, for example 15sec or 15ms); \
                 {duration}"
            ),
        ),
        (
            object("\"session_timeout\": \"0s\""),
            "session_timeout: found 0s; expected between 1ms and 24days".into(),
        ),
        (
            object("\"session_timeout\": \"25days\""),
            "session_timeout: found 25days; expected between 1ms and 24days".into(),
        ),
        (object("\"auth\": {}"), format!("auth: found an object; expected a list: {auth}")),
        (auths("\"app:geheim\""), format!("auth[0]: found a string; {auth}")),
        (auths("{\"scheme\": \"digest\"}"), format!("auth[0]: file or env is missing; {auth}")),
        (auths("{\"env\": \"PLAIN\"}"), format!("auth[0]: scheme is missing; {auth}")),
        (
            auths("{\"scheme\": \"digest\", \"env\": \"PLAIN\", \"file\": \"x\"}"),
            format!("auth[0]: both file and env are there; {auth}"),
        ),
        (
            auths("{\"scheme\": \"digest\", \"password\": \"geheim\"}"),
            format!("auth[0]: unknown key \"password\"; {auth}"),
        ),
        (
            auths("{\"scheme\": \"digest\", \"env\": 7}"),
            format!("auth[0]: env is not a string; {auth}"),
        ),
        (
            auths("{\"scheme\": \"digest\", \"env\": \"UNSET\"}"),
            "auth[0]: the variable \"UNSET\" is not set".into(),
        ),
        (
            auths("{\"scheme\": \"digest\", \"env\": \"EMPTY\"}"),
            "auth[0]: the variable \"EMPTY\" is empty".into(),
        ),
        (
            auths("{\"scheme\": \"digest\", \"env\": \"PLAIN\"}"),
            "auth[0]: the secret of digest has no colon; expected user:password".into(),
        ),
        (
            auths("{\"scheme\": \"digest\", \"file\": \"/nonexistent/s\"}"),
            format!("auth[0]: the file /nonexistent/s cannot be read: {missing}"),
        ),
        (
            object("\"root\": \"/a\", \"root\": \"/b\""),
            "the key \"root\" is there twice at line 1 column 45".into(),
        ),
    ] {
        let line = complaint(&format!("{{\"nyc\": {value}}}"));
        let place = if why.contains(" at line ") { "" } else { "key \"nyc\": " };
        assert_eq!(line, format!("{place}{why}"), "{value}");
    }
    assert_eq!(
        complaint(r#"{"nyc:_zkocc": {"addrs": "a:1"}}"#),
        "key \"nyc:_zkocc\": found an object; expected \"host:port,host:port\""
    );
    assert_eq!(
        complaint(r#"{"nyc:_zkocc": "a"}"#),
        "key \"nyc:_zkocc\": \"a\" has no port in \"a\"; expected \"host:port,host:port\""
    );
}

#[test]
fn a_bad_file_is_told_by_name() {
    let dir = Dir::new();
    let line = |file: &Path| Cells::load(file).unwrap_err().to_string();
    let missing = dir.0.join("missing.json");
    assert_eq!(
        line(&missing),
        format!(
            "config {}: bad configuration: it cannot be read: No such file or directory \
             (os error 2)",
            missing.display()
        )
    );
    let large = dir.file("large.json", vec![b' '; (1 << 20) + 1]);
    assert_eq!(
        line(&large),
        format!(
            "config {}: bad configuration: it cannot be read: it has more than 1 MiB",
            large.display()
        )
    );
    assert!(line(&dir.0).contains("it cannot be read: Is a directory"));
    let binary = dir.file("binary.json", b"{\"nyc\": \"\xff\"}");
    assert_eq!(
        line(&binary),
        format!(
            "config {}: bad configuration: invalid unicode code point at line 1 column 10",
            binary.display()
        )
    );
}

#[test]
fn without_a_file_both_places_are_told() {
    let build = |variables: &[(&str, &str)]| {
        Cells::builder().surroundings(Surroundings::fake("nyc-1", variables))
    };
    assert_eq!(
        build(&[("ZK_CLIENT_CONFIG", "")]).build().unwrap_err().to_string(),
        "config: bad configuration: no file: ZK_CLIENT_CONFIG is not set, and there is no \
         /nonexistent/zk_client.json; write one such as {\"nyc\": \"host:2181\"} and set \
         ZK_CLIENT_CONFIG to it"
    );
    assert_eq!(
        build(&[("ZK_CLIENT_CONFIG", "/nonexistent/x.json")]).build().unwrap_err().to_string(),
        "config /nonexistent/x.json: bad configuration: ZK_CLIENT_CONFIG names it, and it cannot \
         be read: No such file or directory (os error 2)"
    );
    let cells = build(&[]).cell("nyc", "a").build().unwrap();
    assert_eq!(names(&cells.known()), ["nyc"]);
    let cells = build(&[]).global_addrs("g").build().unwrap();
    assert_eq!(names(&cells.known()), ["global"]);
}

#[test]
fn the_default_file_is_read() {
    let dir = Dir::new();
    let mut surroundings = Surroundings::fake("nyc-1", &[]);
    surroundings.default_file = dir.file("zk_client.json", r#"{"nyc": "a"}"#);
    let cells = Cells::builder().surroundings(surroundings).build().unwrap();
    assert_eq!(names(&cells.known()), ["nyc"]);
}

#[test]
fn a_setting_goes_before_the_variable_and_that_before_the_host() {
    let local = |builder: CellsBuilder, variables: &[(&str, &str)]| {
        let builder = builder.surroundings(Surroundings::fake("sjc-db-1", variables));
        builder.cell("nyc", "a").build().unwrap().local().map(|cell| cell.to_string())
    };
    let variable = [("ZK_CLIENT_LOCAL_CELL", "ams")];
    assert_eq!(local(Cells::builder().local_cell("nyc"), &variable).unwrap(), "nyc");
    assert_eq!(local(Cells::builder(), &variable).unwrap(), "ams");
    assert_eq!(local(Cells::builder(), &[("ZK_CLIENT_LOCAL_CELL", "")]).unwrap(), "sjc");
    let bad = local(Cells::builder(), &[("ZK_CLIENT_LOCAL_CELL", "local")]).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "cell local: unknown cell: ZK_CLIENT_LOCAL_CELL says \"local\", and local is no cell of \
         its own"
    );
}

#[test]
fn bad_settings_are_told_at_once() {
    let line = |builder: CellsBuilder| builder.cell("nyc", "a").build().unwrap_err().to_string();
    assert_eq!(
        line(Cells::builder().local_cell("NYC")),
        "config: bad configuration: the setting says \"NYC\", and a cell's name starts and ends \
         with a-z or 0-9"
    );
    assert_eq!(
        line(Cells::builder().global_addrs("a:0")),
        "config: bad configuration: global addrs: \"0\" is no port from 1 to 65535 in \"a:0\"; \
         expected \"host:port,host:port\", perhaps with /chroot behind it, or \"memory:\" or \
         \"memory:tree.json\""
    );
    assert_eq!(
        line(Cells::builder().session_timeout(Duration::ZERO)),
        "config: bad configuration: session_timeout: found 0s; expected between 1ms and 24days"
    );
    assert_eq!(
        line(Cells::builder().cell("local", "a")),
        "config: bad configuration: key \"local\": local stands for the cell of each process; \
         write that cell under its own name, and say which it is with --local-cell or \
         ZK_CLIENT_LOCAL_CELL"
    );
}

#[test]
fn an_unknown_local_cell_matters_only_where_it_is_wanted() {
    let cells = Cells::builder()
        .cell("nyc", "a")
        .cell("nyc-global", "g")
        .surroundings(Surroundings::fake("x", &[]))
        .build()
        .unwrap();
    assert!(cells.address_of(&path("/zk/nyc/x")).is_ok());
    assert_eq!(names(&cells.known()), ["nyc"]);
    let why = "unknown cell: the host name \"x\" is too short to tell the cell; set the local \
               cell (--local-cell, or ZK_CLIENT_LOCAL_CELL)";
    for name in ["/zk/local/x", "/zk/global/x"] {
        let line = cells.address_of(&path(name)).unwrap_err().to_string();
        assert_eq!(line, format!("cell {name}: {why}"));
    }
}

#[test]
fn global_is_the_setting_or_its_key_or_the_sites_view() {
    let sites = || {
        Cells::builder()
            .config_json(
                r#"{"global": {"addrs": "own", "root": "/g"}, "nyc-global": "view", "nyc": "a",
                    "global:_zkocc": "reader:1"}"#,
            )
            .local_cell("nyc")
    };
    let global = cell("global");
    let cells = sites().build().unwrap();
    assert_eq!(cells.cell(&global).unwrap().address.to_string(), "own:2181");
    assert_eq!(cells.read_server_of(&global).unwrap(), Some("reader:1"));
    assert_eq!(names(&cells.known()), ["global", "nyc"]);

    let cells = sites().global_addrs("set").build().unwrap();
    let set = cells.cell(&global).unwrap();
    assert_eq!((set.address.to_string(), set.root), ("set:2181".into(), Some(path("/g"))));
    assert_eq!(set.name, global);
    assert_eq!(cells.read_server_of(&global).unwrap(), None);

    let view = r#"{"nyc-global": "view", "sjc-global": "other"}"#;
    let cells = Cells::builder().config_json(view).local_cell("nyc").build().unwrap();
    assert_eq!(cells.cell(&global).unwrap().address.to_string(), "view:2181");
    assert_eq!(names(&cells.known()), ["global"]);

    let cells = Cells::builder().config_json(view).local_cell("ams").build().unwrap();
    assert_eq!(cells.known(), []);
    assert_eq!(
        cells.cell(&global).unwrap_err().to_string(),
        "cell global: unknown cell: the configuration has no \"global\" or \"ams-global\"; \
         known: none"
    );
}

#[test]
fn an_unknown_cell_is_told_with_those_that_are_known() {
    let line = |cells: &Cells, name: &str| cells.cell(&cell(name)).unwrap_err().to_string();
    let cells = vitess();
    let file = cells.file().unwrap().display().to_string();
    assert_eq!(
        line(&cells, "sjc"),
        format!("cell sjc: unknown cell: {file} has no \"sjc\"; known: global, nyc")
    );
    assert_eq!(
        line(&cells, "nycz"),
        format!(
            "cell nycz: unknown cell: {file} has a read server for it, and no \"nycz\"; known: \
             global, nyc"
        )
    );
    let mut many = Cells::builder().surroundings(Surroundings::fake("ams-1", &[]));
    for n in 10..25 {
        many = many.cell(format!("c{n}"), "a");
    }
    let many = many.build().unwrap();
    assert_eq!(
        line(&many, "local"),
        "cell local: unknown cell: it is ams, from the host name ams-1; the configuration has no \
         \"ams\"; known: c10, c11, c12, c13, c14, c15, c16, c17, c18, c19 and 5 more"
    );
}

#[test]
fn a_child_gets_what_was_set() {
    assert_eq!(vitess().subprocess(), Subprocess::default());
    let dir = Dir::new();
    // What is set goes before what the file says.
    let file = dir.file("cells.json", r#"{"nyc": {"addrs": "a", "session_timeout": "9s"}}"#);
    let cells = Cells::builder()
        .config_file(&file)
        .local_cell("nyc")
        .global_addrs("g:1")
        .session_timeout(Duration::from_millis(1500))
        .build()
        .unwrap();
    let child = cells.subprocess();
    assert_eq!(
        child.args,
        ["--local-cell", "nyc", "--global-addrs", "g:1", "--session-timeout", "1s 500ms"]
    );
    assert_eq!(child.env, [("ZK_CLIENT_CONFIG".to_string(), file.to_str().unwrap().to_string())]);
    assert_eq!(
        cells.cell(&cell("nyc")).unwrap().session_timeout,
        Some(Duration::from_millis(1500))
    );
}

#[test]
fn a_reload_reads_again_and_a_bad_file_keeps_the_old() {
    let dir = Dir::new();
    let file = dir.file("cells.json", r#"{"nyc": "a"}"#);
    let cells = Cells::builder().config_file(&file).local_cell("nyc").build().unwrap();
    dir.file("cells.json", r#"{"nyc": "a", "sjc": "b"}"#);
    let next = cells.reload().unwrap();
    assert_eq!((names(&cells.known()), names(&next.known())), (vec!["nyc"], vec!["nyc", "sjc"]));
    assert_eq!(next.local().unwrap().as_str(), "nyc");
    dir.file("cells.json", "{");
    assert_eq!(next.reload().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(names(&next.known()), ["nyc", "sjc"]);
}
