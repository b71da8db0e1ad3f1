//! One way of one connection: frames wait here until they may go on, in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connection::{End, Live};
use super::faults::{Direction, Shared};
use crate::fault::Bites;
use crate::testing::wire::frame;

/// How many frames wait in one line before whoever sends them has to.
const ROOM: usize = 4096;

/// What waits in a line.
pub(super) enum Item {
    /// Bytes to deliver, and the fault that this is.
    Frame(Bytes, Option<Bite>),
    /// Bytes to deliver behind later ones.
    Late(Bytes, Duration),
    /// The sender has ended its side.
    Eof,
    /// The connection breaks here, by a fault that is counted then.
    Break(Bite),
}

impl Item {
    /// A payload to deliver as a frame.
    pub(super) fn frame(payload: &[u8]) -> Item {
        Item::Frame(frame::framed(payload), None)
    }
}

/// A fault that bites when it is its turn in a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bite {
    Swallowed,
    Dropped,
    ToldExpired,
    Doubled,
}

impl Bite {
    fn count(self, bites: &mut Bites) {
        match self {
            Bite::Swallowed => bites.swallowed += 1,
            Bite::Dropped => bites.dropped += 1,
            Bite::ToldExpired => bites.told_expired += 1,
            Bite::Doubled => bites.doubled += 1,
        }
    }
}

/// Where frames of one way are put in.
#[derive(Clone)]
pub(super) struct Entrance {
    items: mpsc::Sender<(Option<Instant>, Item)>,
    shared: Arc<Shared>,
    direction: Direction,
}

impl Entrance {
    /// Puts `item` in; an error when the line has ended.
    pub(super) async fn put(&self, item: Item) -> Result<(), ()> {
        let delay = self.shared.faults.borrow().way(self.direction).delay;
        let due = (!delay.is_zero()).then(|| Instant::now() + delay);
        self.items.send((due, item)).await.map_err(|_| ())
    }
}

/// One way of one connection.
pub(super) struct Line {
    items: mpsc::Receiver<(Option<Instant>, Item)>,
    late: BTreeMap<(Instant, u64), Bytes>,
    late_count: u64,
    output: Option<OwnedWriteHalf>,
    /// Whether nobody is there any more to read what is delivered.
    deaf: bool,
    free_at: Instant,
    shared: Arc<Shared>,
    live: Live,
    direction: Direction,
}

impl Line {
    pub(super) fn new(
        output: OwnedWriteHalf,
        shared: Arc<Shared>,
        live: Live,
        direction: Direction,
    ) -> (Entrance, Line) {
        let (sender, items) = mpsc::channel(ROOM);
        let entrance = Entrance { items: sender, shared: shared.clone(), direction };
        let line = Line {
            items,
            late: BTreeMap::new(),
            late_count: 0,
            output: Some(output),
            deaf: false,
            free_at: Instant::now(),
            shared,
            live,
            direction,
        };
        (entrance, line)
    }

    /// Delivers what is put in, until the other side has ended or the connection is broken.
    pub(super) async fn run(mut self) {
        loop {
            let late = self.late.first_key_value().map(|(key, _)| *key);
            tokio::select! {
                biased;
                () = sleep_until(late.map_or_else(Instant::now, |(due, _)| due)), if late.is_some() => {
                    if let Some((_, frame)) = self.late.pop_first() {
                        self.pass_holes().await;
                        self.shared.bite(|bites| bites.late += 1);
                        self.deliver(&frame).await;
                    }
                }
                item = self.items.recv() => match item {
                    Some((due, item)) => {
                        if !self.take(due, item).await {
                            return;
                        }
                    }
                    None => return,
                }
            }
        }
    }

    /// Whether the line goes on behind `item`.
    async fn take(&mut self, due: Option<Instant>, item: Item) -> bool {
        if let Some(due) = due {
            sleep_until(due).await;
        }
        match item {
            Item::Late(frame, delay) => {
                self.late_count += 1;
                self.late.insert((Instant::now() + delay, self.late_count), frame);
            }
            Item::Frame(frame, bite) => {
                self.pass_holes().await;
                if due.is_some() {
                    self.shared.bite(|bites| bites.delayed += 1);
                }
                if let Some(bite) = bite {
                    self.shared.bite(|bites| bite.count(bites));
                }
                self.deliver(&frame).await;
            }
            Item::Eof => {
                self.pass_holes().await;
                // Whoever has gone already needs not be told.
                if let Some(output) = &mut self.output {
                    let _ = output.shutdown().await;
                }
                return false;
            }
            Item::Break(bite) => {
                self.pass_holes().await;
                self.shared.bite(|bites| bite.count(bites));
                self.live.kill(End::Close);
                return false;
            }
        }
        true
    }

    /// Waits until there is no black hole this way.
    async fn pass_holes(&self) {
        if self.shared.faults.borrow().way(self.direction).hole {
            self.shared.bite(|bites| bites.held += 1);
            let mut faults = self.shared.faults.subscribe();
            // The sender lives as long as `shared`.
            let _ = faults.wait_for(|faults| !faults.way(self.direction).hole).await;
        }
    }

    async fn deliver(&mut self, frame: &Bytes) {
        let rate = self.shared.faults.borrow().rate;
        if let Some(rate) = rate {
            let time = Duration::from_secs_f64(frame.len() as f64 / f64::from(rate));
            self.free_at = self.free_at.max(Instant::now()) + time;
            sleep_until(self.free_at).await;
            self.shared.bite(|bites| bites.throttled += 1);
        }
        if let Some(output) = self.output.as_mut().filter(|_| !self.deaf && !self.live.is_killed())
        {
            self.deaf = output.write_all(frame).await.is_err();
        }
    }
}

impl Drop for Line {
    /// A half that is dropped ends its side; a connection that is reset must not end before.
    fn drop(&mut self) {
        if let Some(output) = self.output.take() {
            output.forget();
        }
    }
}
