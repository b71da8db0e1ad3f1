//! Every connection against the contract.
//!
//! The real cells are started when they are not up; `cells/down` ends them.

use std::sync::Arc;
use std::time::Duration;

use zkcells::testing::cells::LocalCells;
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
