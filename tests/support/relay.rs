//! A TCP relay in front of a server, which a test holds up, cuts and joins again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Passing,
    Held,
    Cut,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    broken: AtomicUsize,
}

/// Passes bytes between clients and one server.
pub struct Relay {
    addr: SocketAddr,
    flow: watch::Sender<Flow>,
    counts: Arc<Counts>,
}

impl Relay {
    /// Listens on a free port of this machine and passes everything on to `server`.
    pub async fn to(server: &str) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (flow, state) = watch::channel(Flow::Passing);
        let counts = Arc::<Counts>::default();
        let (server, counter) = (server.to_string(), counts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counter.opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(client, server.clone(), state.clone(), counter.clone()));
            }
        });
        Relay { addr, flow, counts }
    }

    /// Where clients find it.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Breaks every connection, and every new one at once, until [`join`](Self::join).
    pub fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }

    /// Keeps every connection and lets nothing through, until [`join`](Self::join).
    pub fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    /// Lets everything through again.
    pub fn join(&self) {
        self.flow.send_replace(Flow::Passing);
    }

    /// How many connections were broken: a cut that broke none was no fault.
    pub fn broken(&self) -> usize {
        self.counts.broken.load(Ordering::SeqCst)
    }

    /// How many connections clients have opened.
    pub fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut client: TcpStream,
    server: String,
    mut flow: watch::Receiver<Flow>,
    counts: Arc<Counts>,
) {
    let Ok(first) = flow.wait_for(|flow| *flow != Flow::Held).await.map(|flow| *flow) else {
        return;
    };
    if first == Flow::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&server).await else { return };
    let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut server));
    loop {
        let Ok(now) = flow.wait_for(|flow| *flow != Flow::Held).await.map(|flow| *flow) else {
            return;
        };
        if now == Flow::Cut {
            counts.broken.fetch_add(1, Ordering::SeqCst);
            return;
        }
        tokio::select! {
            biased;
            _ = flow.wait_for(|flow| *flow != Flow::Passing) => {}
            _ = &mut copy => return,
        }
    }
}
