//! What stands between servers: a relay for each way from one to another, which can be cut.
//!
//! Each server finds the others at relays instead of their own ports. A server that takes a
//! connection for elections may hang up and call back at the address that the caller has given, so
//! the relay puts its own in that place; nothing goes past the relays then.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

/// How long a leader may take to listen to its followers.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the longest hello that is believed.
const MAX_HELLO: i32 = 2048;

/// The ports of one server.
pub(super) struct Ports {
    pub(super) client: u16,
    quorum: u16,
    election: u16,
}

/// Reads the file in which `cells/up` keeps the ports of a cell; without one, there are none.
pub(super) fn ports(file: &Path) -> Vec<Ports> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(|word| word.parse().ok());
            let mut next = || words.next().flatten();
            Some(Ports { client: next()?, quorum: next()?, election: next()? })
        })
        .collect()
}

/// What servers say to each other on a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Quorum,
    Election,
}

/// One way between two servers.
#[derive(Clone)]
struct Way {
    from: usize,
    to: usize,
    talk: Talk,
    /// Where the relay listens.
    addr: SocketAddr,
}

/// All relays of an ensemble. Dropping it ends them.
pub(super) struct Links {
    ways: Vec<Way>,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    /// The servers that are cut off.
    cut: watch::Sender<BTreeSet<usize>>,
    held: AtomicU64,
    ports: PathBuf,
}

impl Links {
    /// Relays between `servers` servers, whose own ports are in the file `ports` once they are up.
    pub(super) fn between(servers: usize, ports: PathBuf) -> io::Result<Links> {
        let (mut ways, mut listeners) = (Vec::new(), Vec::new());
        for from in 1..=servers {
            for to in (1..=servers).filter(|to| *to != from) {
                for talk in [Talk::Quorum, Talk::Election] {
                    let listener = StdListener::bind("127.0.0.1:0")?;
                    listener.set_nonblocking(true)?;
                    ways.push(Way { from, to, talk, addr: listener.local_addr()? });
                    listeners.push(listener);
                }
            }
        }
        let shared = Arc::new(Shared { cut: watch::Sender::default(), held: 0.into(), ports });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel::<()>();
        let (all, sharing) = (ways.clone(), shared.clone());
        let thread =
            std::thread::Builder::new().name("ensemble-links".into()).spawn(move || {
                runtime.block_on(async move {
                    for (way, listener) in all.iter().zip(listeners) {
                        // An election is told where to call back: at the relay of the other way.
                        let back = all.iter().find(|back| {
                            (back.from, back.to, back.talk) == (way.to, way.from, way.talk)
                        });
                        let back =
                            back.filter(|_| way.talk == Talk::Election).map(|back| back.addr);
                        tokio::spawn(accept(way.clone(), back, listener, sharing.clone()));
                    }
                    // It ends when its sender is dropped.
                    let _ = ended.await;
                });
            })?;
        Ok(Links { ways, shared, running: Some((end, thread)) })
    }

    /// The lines that `cells/up` wants of them.
    pub(super) fn table(&self, cell: &str) -> String {
        let mut table = String::new();
        for way in self.ways.iter().filter(|way| way.talk == Talk::Quorum) {
            let election = self.ways.iter().find(|other| {
                (other.from, other.to, other.talk) == (way.from, way.to, Talk::Election)
            });
            let election = election.map_or(0, |other| other.addr.port());
            // Writing to a text cannot fail.
            let _ =
                writeln!(table, "{cell} {} {} {} {election}", way.from, way.to, way.addr.port());
        }
        table
    }

    pub(super) fn cut(&self, server: usize) {
        self.shared.cut.send_modify(|cut| {
            cut.insert(server);
        });
    }

    pub(super) fn join(&self, server: usize) {
        self.shared.cut.send_modify(|cut| {
            cut.remove(&server);
        });
    }

    pub(super) fn held(&self) -> u64 {
        self.shared.held.load(Ordering::SeqCst)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // It panicked, if at all, without us: a drop is no place to tell.
            let _ = thread.join();
        }
    }
}

impl Way {
    fn is_cut(&self, cut: &BTreeSet<usize>) -> bool {
        cut.contains(&self.from) || cut.contains(&self.to)
    }

    /// Waits until the way is free; what has to wait is counted.
    async fn free(&self, shared: &Shared) {
        if self.is_cut(&shared.cut.borrow()) {
            shared.held.fetch_add(1, Ordering::SeqCst);
            // The sender lives as long as `shared`.
            let _ = shared.cut.subscribe().wait_for(|cut| !self.is_cut(cut)).await;
        }
    }
}

async fn accept(way: Way, back: Option<SocketAddr>, listener: StdListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((caller, _)) = listener.accept().await {
        // It ends with its streams, and at the latest with the runtime.
        tokio::spawn(serve(way.clone(), back, caller, shared.clone()));
    }
}

async fn serve(way: Way, back: Option<SocketAddr>, caller: TcpStream, shared: Arc<Shared>) {
    way.free(&shared).await;
    let Some(called) = call(&way, &shared).await else { return };
    for stream in [&caller, &called] {
        // It is slower without, that is all.
        let _ = stream.set_nodelay(true);
    }
    let (mut from_caller, to_caller) = caller.into_split();
    let (from_called, mut to_called) = called.into_split();
    let there = async {
        if let Some(back) = back {
            way.free(&shared).await;
            if hello(&mut from_caller, &mut to_called, back).await.is_err() {
                return;
            }
        }
        pass(&way, from_caller, to_called, &shared).await;
    };
    tokio::join!(there, pass(&way, from_called, to_caller, &shared));
}

/// Connects to the server that is called; `None` when it is not there.
async fn call(way: &Way, shared: &Shared) -> Option<TcpStream> {
    let ports = ports(&shared.ports);
    let ports = ports.get(way.to.checked_sub(1)?)?;
    let port = if way.talk == Talk::Quorum { ports.quorum } else { ports.election };
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return Some(stream),
            // A follower is often there before its leader. Refused, it would try again; hung up
            // on, it would think that there is no such leader, and call an election.
            Err(_) if way.talk == Talk::Quorum && Instant::now() < end => {
                sleep(Duration::from_millis(10)).await;
            }
            Err(_) => return None,
        }
    }
}

/// Passes the first thing that a caller says at elections on, with `back` as its address.
///
/// It is a version (a negative long), the caller's number (long), and with a length before it the
/// address, or several with `|` between them. Old versions begin with the number alone.
async fn hello(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    back: SocketAddr,
) -> io::Result<()> {
    let version = from.read_i64().await?;
    to.write_i64(version).await?;
    if version >= 0 {
        return Ok(());
    }
    let server = from.read_i64().await?;
    let length = from.read_i32().await?;
    if !(0..=MAX_HELLO).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut address = vec![0; usize::try_from(length).unwrap_or_default()];
    from.read_exact(&mut address).await?;
    let address = back.to_string();
    to.write_i64(server).await?;
    to.write_i32(i32::try_from(address.len()).unwrap_or_default()).await?;
    to.write_all(address.as_bytes()).await
}

/// Passes bytes on in one direction, and at last the end; an error is an end, too.
async fn pass(way: &Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut piece = vec![0; 16384];
    loop {
        let count = from.read(&mut piece).await.unwrap_or(0);
        way.free(shared).await;
        if count == 0 || to.write_all(&piece[..count]).await.is_err() {
            // Dropping its half tells the other side.
            return;
        }
    }
}
