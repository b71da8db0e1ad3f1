//! Every connection against the contract.
//!
//! The real cells are started when they are not up; `cells/down` ends them.

use std::sync::Arc;
use std::time::Duration;

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::contract::Subject;
use zkcells::{
    Address, Auth, CellConfig, Cells, Conn, ConnExt, Dialer, Dialled, EmptyFirst, Error, ErrorKind,
    GlobalConn, GlobalOptions, InitOptions, MemoryQuorum, MetaConn, Mode, Pending, SessionOptions,
    ZkConn, ZkPath, contract_suite,
};

fn options(auth: &[Auth]) -> SessionOptions {
    auth.iter().cloned().fold(SessionOptions::default(), SessionOptions::with_auth)
}

/// The servers of a real cell.
fn servers(cell: &str) -> String {
    match LocalCells::up().and_then(|cells| cells.addrs(cell)) {
        Ok(addrs) => addrs,
        Err(err) => panic!("no real cells: {err}"),
    }
}

/// Makes a node that tests share.
async fn share(conn: &dyn Conn, path: &str) -> Result<(), Error> {
    match conn.create(path, "", Mode::Persistent).await {
        Err(err) if err.kind() == ErrorKind::NodeExists => Ok(()),
        made => made.map(drop),
    }
}

/// A quorum in this process.
struct Memory(MemoryQuorum);

impl Memory {
    fn new() -> Self {
        Memory(MemoryQuorum::new())
    }
}

impl Subject for Memory {
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
        Pending::ready(Ok(Arc::new(self.0.connect_with(options(&auth)))))
    }

    fn top(&self) -> ZkPath {
        ZkPath::root()
    }

    fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

/// A quorum of real servers, perhaps seen from a node of it.
struct Zk {
    servers: String,
    chroot: &'static str,
}

impl Zk {
    fn of(cell: &str) -> Self {
        Zk { servers: servers(cell), chroot: "" }
    }

    fn below(cell: &str, chroot: &'static str) -> Self {
        Zk { chroot, ..Zk::of(cell) }
    }
}

impl Subject for Zk {
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
        let (servers, chroot) = (self.servers.clone(), self.chroot);
        Pending::new(async move {
            if !chroot.is_empty() {
                let plain = ZkConn::new(&servers, SessionOptions::default())?;
                share(&plain, chroot).await?;
                plain.close().await?;
            }
            let conn = ZkConn::connect(&format!("{servers}{chroot}"), options(&auth)).await?;
            Ok(Arc::new(conn) as Arc<dyn Conn>)
        })
    }

    fn top(&self) -> ZkPath {
        ZkPath::root()
    }
}

/// Dials any cell, with the identities that a clause wants; all memory cells are one quorum, so
/// that several connections see the same tree.
#[derive(Debug)]
struct Dials {
    memory: MemoryQuorum,
    auth: Vec<Auth>,
}

impl Dialer for Dials {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        let options = options(&self.auth);
        Some(match &cell.address {
            Address::Memory(_) => Ok(Dialled::new(self.memory.connect_with(options))),
            Address::Zk(hosts) => ZkConn::with_hosts(hosts.clone(), options).map(Dialled::new),
            _ => return None,
        })
    }
}

/// One cell of the whole tree.
struct Meta {
    cells: Cells,
    memory: MemoryQuorum,
    top: &'static str,
}

impl Meta {
    /// `address` is the value of the cell `nyc` in a configuration.
    fn new(address: &str, top: &'static str) -> Self {
        let text = format!("{{\"nyc\": {address}}}");
        let cells = Cells::builder().config_json(text).local_cell("nyc").build();
        Meta { cells: cells.expect("a configuration"), memory: MemoryQuorum::new(), top }
    }
}

impl Subject for Meta {
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
        let (cells, memory) = (self.cells.clone(), self.memory.clone());
        Pending::new(async move {
            // Servers store the whole path `/zk/nyc/…`, and nobody else makes `/zk` there.
            let address = cells.address_of(&ZkPath::new("/zk/nyc")?)?;
            match address {
                Address::Zk(hosts) => {
                    let plain = ZkConn::with_hosts(hosts, SessionOptions::default())?;
                    share(&plain, "/zk").await?;
                    plain.close().await?;
                }
                _ => share(&memory.connect(), "/zk").await?,
            }
            let dialer = Arc::new(Dials { memory, auth });
            Ok(Arc::new(MetaConn::with_dialers(cells, vec![dialer])) as Arc<dyn Conn>)
        })
    }

    fn top(&self) -> ZkPath {
        ZkPath::new(self.top).expect("a path")
    }

    fn advance(&self, by: Duration) {
        self.memory.advance(by);
    }
}

/// The tree on three quorums.
enum Global {
    Memory([MemoryQuorum; 3]),
    Zk([String; 3]),
}

impl Global {
    fn memory() -> Self {
        Global::Memory([MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()])
    }

    fn zk() -> Self {
        Global::Zk([servers("nyc"), servers("sjc"), servers("global")])
    }
}

impl Subject for Global {
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
        let options = options(&auth);
        let conns: Result<Vec<Arc<dyn Conn>>, Error> = match self {
            Global::Memory(quorums) => Ok(quorums
                .iter()
                .map(|quorum| Arc::new(quorum.connect_with(options.clone())) as Arc<dyn Conn>)
                .collect()),
            Global::Zk(servers) => servers
                .iter()
                .map(
                    |servers| Ok(Arc::new(ZkConn::new(servers, options.clone())?) as Arc<dyn Conn>),
                )
                .collect(),
        };
        Pending::new(async move {
            let home = ZkPath::new("/zkcells/contract")?;
            let conn = GlobalConn::new(conns?, GlobalOptions::default().with_home(home));
            // They hold what other tests left there, the one more and the other less.
            let any = InitOptions::default().with_empty_first(EmptyFirst::Allow);
            conn.init_with(any).await?;
            Ok(Arc::new(conn) as Arc<dyn Conn>)
        })
    }

    fn top(&self) -> ZkPath {
        ZkPath::root()
    }

    fn advance(&self, by: Duration) {
        if let Global::Memory(quorums) = self {
            quorums.iter().for_each(|quorum| quorum.advance(by));
        }
    }
}

/// The tree on three quorums as one cell of the whole tree, as a configuration has it.
enum Listed {
    Memory([MemoryQuorum; 3]),
    /// Each with a node of this suite's own as its root.
    Zk([String; 3]),
}

impl Listed {
    fn memory() -> Self {
        Listed::Memory([MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()])
    }

    fn zk() -> Self {
        Listed::Zk(["nyc", "sjc", "global"].map(|cell| format!("{}{LISTED}", servers(cell))))
    }
}

/// Where the quorums of [`Listed::Zk`] are.
const LISTED: &str = "/contract-listed";

/// A set of quorums that all connections share, whatever their addresses are.
#[derive(Debug)]
struct Shared([MemoryQuorum; 3], Vec<Auth>);

impl Dialer for Shared {
    fn dial(&self, cell: &CellConfig) -> Option<Result<Dialled, Error>> {
        let Address::Set(_) = &cell.address else { return None };
        let conns = self
            .0
            .iter()
            .map(|quorum| Arc::new(quorum.connect_with(options(&self.1))) as Arc<dyn Conn>);
        Some(Ok(Dialled::new(GlobalConn::new(conns, in_cell()))))
    }
}

/// What a set is that is the cell `nyc`.
fn in_cell() -> GlobalOptions {
    let path = |text| ZkPath::new(text).expect("a path");
    GlobalOptions::default().with_home(path("/zkcells/nyc")).with_top(path("/zk/nyc"))
}

/// A configuration with identities, whose secrets stand in files.
async fn listed(quorums: &[String; 3], auth: &[Auth]) -> Result<Cells, Error> {
    let dir = std::env::temp_dir().join(fresh_root());
    std::fs::create_dir(&dir).expect("a directory");
    let mut entries = Vec::new();
    for (number, auth) in auth.iter().enumerate() {
        let file = dir.join(number.to_string());
        std::fs::write(&file, auth.secret.expose()).expect("a file");
        entries.push(format!(r#"{{"scheme": "{}", "file": "{}"}}"#, auth.scheme, file.display()));
    }
    let text = format!(
        r#"{{"nyc": {{"quorums": ["{}"], "auth": [{}]}}}}"#,
        quorums.join("\", \""),
        entries.join(", ")
    );
    let cells = Cells::builder().config_json(text).local_cell("nyc").build();
    std::fs::remove_dir_all(&dir).expect("its end");
    cells
}

impl Subject for Listed {
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
        match self {
            Listed::Memory(quorums) => {
                let quorums = quorums.clone();
                Pending::new(async move {
                    let text = r#"{"nyc": ["memory:", "memory:", "memory:"]}"#;
                    let cells = Cells::builder().config_json(text).local_cell("nyc").build()?;
                    let set = quorums.each_ref().map(|quorum| Arc::new(quorum.connect()));
                    let set = GlobalConn::new(set.map(|conn| conn as Arc<dyn Conn>), in_cell());
                    set.init().await?;
                    let dialer = Arc::new(Shared(quorums, auth));
                    Ok(Arc::new(MetaConn::with_dialers(cells, vec![dialer])) as Arc<dyn Conn>)
                })
            }
            Listed::Zk(quorums) => {
                let quorums = quorums.clone();
                Pending::new(async move {
                    let mut conns = Vec::new();
                    for quorum in &quorums {
                        let plain = quorum.strip_suffix(LISTED).unwrap_or(quorum);
                        let plain = ZkConn::new(plain, SessionOptions::default())?;
                        share(&plain, LISTED).await?;
                        plain.close().await?;
                        let conn = ZkConn::new(quorum, SessionOptions::default())?;
                        conns.push(Arc::new(conn) as Arc<dyn Conn>);
                    }
                    let set = GlobalConn::new(conns, in_cell());
                    set.init().await?;
                    set.close().await?;
                    let conn = MetaConn::new(listed(&quorums, &auth).await?);
                    Ok(Arc::new(conn) as Arc<dyn Conn>)
                })
            }
        }
    }

    fn top(&self) -> ZkPath {
        ZkPath::new("/zk/nyc").expect("a path")
    }

    fn advance(&self, by: Duration) {
        if let Listed::Memory(quorums) = self {
            quorums.iter().for_each(|quorum| quorum.advance(by));
        }
    }
}

contract_suite!(listed_memory, Listed::memory());
contract_suite!(listed_zk, Listed::zk());
contract_suite!(memory, Memory::new());
contract_suite!(global_memory, Global::memory());
contract_suite!(global_zk, Global::zk());
contract_suite!(zk, Zk::of("nyc"));
contract_suite!(zk_of_three, Zk::of("global"));
contract_suite!(zk_below_a_node, Zk::below("sjc", "/contract-chroot"));
contract_suite!(meta_memory, Meta::new("\"memory:\"", "/zk/nyc"));
contract_suite!(meta_local, Meta::new("\"memory:\"", "/zk/local"));
contract_suite!(meta_root, Meta::new(r#"{"addrs": "memory:", "root": "/"}"#, "/zk/nyc"));
contract_suite!(meta_zk, Meta::new(&format!("\"{}\"", servers("nyc")), "/zk/nyc"));
contract_suite!(
    meta_zk_root,
    Meta::new(
        &format!(r#"{{"addrs": "{}", "root": "/contract-mount"}}"#, servers("sjc")),
        "/zk/local/deeper"
    )
);
