//! One connection through the proxy: two streams, two lines between them, and how it ends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;

use super::faults::{Direction, Shared};
use super::line::{Bite, Entrance, Item, Line};
use super::talk::{Payload, Talk, Verdict};
use crate::testing::wire::{Hidden, frame};

/// How a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As when a process has ended.
    Close,
    /// As when a host has restarted.
    Reset,
}

/// A connection that is open, as others see it.
#[derive(Clone)]
pub(super) struct Live {
    end: Arc<watch::Sender<Option<End>>>,
    session: Arc<Mutex<Option<(i64, Hidden)>>>,
}

impl Live {
    fn new() -> Self {
        Live { end: Arc::default(), session: Arc::default() }
    }

    /// Breaks it: nothing more is delivered.
    pub(super) fn kill(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    pub(super) fn is_killed(&self) -> bool {
        self.end.borrow().is_some()
    }

    async fn killed(&self) -> Option<End> {
        let mut end = self.end.subscribe();
        // The sender is ours.
        end.wait_for(Option::is_some).await.ok().and_then(|end| *end)
    }

    /// The session that it carries, once the server has granted one, with its password.
    pub(super) fn session(&self) -> Option<(i64, Hidden)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_session(&self, id: i64, passwd: Hidden) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, passwd));
    }
}

/// Serves one client until either side, or a fault, ends it.
pub(super) async fn serve(client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    // The sender lives as long as `shared`.
    let _ = shared.faults.subscribe().wait_for(|faults| !faults.waiting).await;
    if shared.faults.borrow().refusing {
        shared.bite(|bites| bites.refused += 1);
        reset(&client);
        return;
    }
    // Entered before the server is asked: a cut meets it from now on.
    let live = Live::new();
    let number = shared.open(live.clone());
    tokio::select! {
        biased;
        _ = live.killed() => reset(&client),
        server = TcpStream::connect(server) => match server {
            Ok(server) => relay(client, server, &shared, &live, number).await,
            Err(_) => reset(&client),
        },
    }
    shared.closed(number);
}

/// Makes the end of `stream` a reset; one that cannot be reset ends more gently.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    shared: &Arc<Shared>,
    live: &Live,
    number: u64,
) {
    for stream in [&client, &server] {
        // A frame that waits for the next one would be a fault that nobody ordered.
        let _ = stream.set_nodelay(true);
    }
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let line = |output, way| Line::new(output, shared.clone(), live.clone(), way);
    let (client_entrance, client_line) = line(to_client, Direction::ToClient);
    let (server_entrance, server_line) = line(to_server, Direction::ToServer);
    let talk = Talk::new(shared.clone(), live.clone(), number);
    let passing = async {
        tokio::join!(
            read_client(&mut from_client, &talk, server_entrance, client_entrance.clone()),
            read_server(&mut from_server, &talk, client_entrance),
            client_line.run(),
            server_line.run(),
        )
    };
    let end = tokio::select! {
        biased;
        end = live.killed() => end,
        _ = passing => None,
    };
    if end == Some(End::Reset) {
        reset(from_client.as_ref());
        reset(from_server.as_ref());
    }
}

/// Puts what the client sends into the line to the server.
async fn read_client(input: &mut OwnedReadHalf, talk: &Talk, server: Entrance, client: Entrance) {
    let mut bytes = BytesMut::new();
    // An error here is an end like any other.
    while matches!(input.read_buf(&mut bytes).await, Ok(1..)) {
        if frame::four_letter_word(&bytes).is_some() {
            talk.is_raw();
        }
        while let Some(payload) = talk.next(&mut bytes) {
            match payload {
                Payload::Raw(bytes) => put(&server, Item::Frame(bytes, None)).await,
                Payload::Frame(payload) => match talk.client(&payload) {
                    Verdict::Pass => put(&server, Item::frame(&payload)).await,
                    Verdict::Withhold => {}
                    Verdict::Break(bite) => put(&server, Item::Break(bite)).await,
                    Verdict::Answer(answer, bite) => {
                        put(&client, Item::Frame(frame::framed(&answer), Some(bite))).await;
                        put(&client, Item::Eof).await;
                    }
                    // Events come from servers.
                    Verdict::Late(_) | Verdict::Twice => {}
                },
            }
        }
    }
    put(&server, Item::Eof).await;
}

/// Puts what the server sends into the line to the client.
async fn read_server(input: &mut OwnedReadHalf, talk: &Talk, client: Entrance) {
    let mut bytes = BytesMut::new();
    while matches!(input.read_buf(&mut bytes).await, Ok(1..)) {
        while let Some(payload) = talk.next(&mut bytes) {
            match payload {
                Payload::Raw(bytes) => put(&client, Item::Frame(bytes, None)).await,
                Payload::Frame(payload) => match talk.server(&payload) {
                    Verdict::Break(bite) => put(&client, Item::Break(bite)).await,
                    Verdict::Late(delay) => {
                        put(&client, Item::Late(frame::framed(&payload), delay)).await;
                    }
                    Verdict::Twice => {
                        put(&client, Item::frame(&payload)).await;
                        put(&client, Item::Frame(frame::framed(&payload), Some(Bite::Doubled)))
                            .await;
                    }
                    Verdict::Pass | Verdict::Answer(..) => {
                        put(&client, Item::frame(&payload)).await;
                    }
                    Verdict::Withhold => {}
                },
            }
        }
    }
    put(&client, Item::Eof).await;
}

/// A line that has ended takes nothing more; its reader goes on until its own side ends.
async fn put(entrance: &Entrance, item: Item) {
    let _ = entrance.put(item).await;
}
