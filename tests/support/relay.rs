//! A TCP relay in front of a server, which a test cuts and joins again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes between clients and one server.
pub struct Relay {
    addr: SocketAddr,
    joined: watch::Sender<bool>,
    cut: Arc<AtomicUsize>,
}

impl Relay {
    /// Listens on a free port of this machine and passes everything on to `server`.
    pub async fn to(server: &str) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (joined, state) = watch::channel(true);
        let cut = Arc::new(AtomicUsize::new(0));
        let (server, counter) = (server.to_string(), cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), state.clone(), counter.clone()));
            }
        });
        Relay { addr, joined, cut }
    }

    /// Where clients find it.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Breaks every connection, and every new one at once, until [`join`](Self::join).
    pub fn cut(&self) {
        self.joined.send_replace(false);
    }

    /// Lets connections through again.
    pub fn join(&self) {
        self.joined.send_replace(true);
    }

    /// How many connections were broken: a cut that broke none was no fault.
    pub fn broken(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut client: TcpStream,
    server: String,
    mut joined: watch::Receiver<bool>,
    cut: Arc<AtomicUsize>,
) {
    if !*joined.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = joined.wait_for(|joined| !joined) => {
            cut.fetch_add(1, Ordering::SeqCst);
        }
    }
}
