//! Where a connection stands with its quorum: not yet, dialling, waiting to dial again, or up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zookeeper_client as zk;

use super::dial::{DialError, Dialled};
use super::transport::Transport;
use crate::session::{Session, SessionSender, SessionState};

/// The pauses between dials: doubling from the first to the last, each with up to half less. The
/// last is what a server's return may wait for us.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) enum Link {
    /// Nothing is under way.
    #[default]
    Idle,
    Dialling(BoxFuture<'static, Result<Dialled, DialError>>),
    /// A dial failed; the next one comes when the future resolves.
    Pausing(Pin<Box<tokio::time::Sleep>>),
    Up(Up),
}

/// A server that serves our session.
pub(super) struct Up {
    pub(super) transport: Transport,
    states: zk::StateWatcher,
}

/// A session that servers have not ended, as far as we know.
pub(super) struct Alive {
    pub(super) session: Session,
    pub(super) sender: SessionSender,
    /// What servers want to see to give it back to us.
    pub(super) info: zk::SessionInfo,
}

pub(super) enum LinkEvent {
    Dialled(Result<Dialled, DialError>),
    PauseOver,
    /// The connection broke, or a server ended the session.
    Broke(zk::SessionState),
}

impl Link {
    /// The next thing that happens; never, when nothing can.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> LinkEvent {
        match self {
            Link::Idle => std::future::pending().await,
            Link::Dialling(dial) => LinkEvent::Dialled(dial.await),
            Link::Pausing(pause) => {
                pause.await;
                LinkEvent::PauseOver
            }
            Link::Up(up) => loop {
                let state = up.states.changed().await;
                if state != zk::SessionState::SyncConnected {
                    return LinkEvent::Broke(state);
                }
            },
        }
    }

    pub(super) fn dial(
        dial: impl Future<Output = Result<Dialled, DialError>> + Send + 'static,
    ) -> Self {
        Link::Dialling(dial.boxed())
    }

    /// The pause after `failures` dials in a row that failed.
    pub(super) fn pause(failures: u32) -> Self {
        let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(LAST_PAUSE);
        let pause = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        Link::Pausing(Box::pin(tokio::time::sleep(pause)))
    }

    /// The way to the server, while one serves us.
    pub(super) fn client(&self) -> Option<&Arc<zk::Client>> {
        match self {
            // The crate knows of a break before it has told us.
            Link::Up(up) => Some(&up.transport.client)
                .filter(|client| client.state() == zk::SessionState::SyncConnected),
            _ => None,
        }
    }
}

impl Up {
    pub(super) fn new(transport: Transport) -> Self {
        Up { states: transport.client.state_watcher(), transport }
    }
}

impl Alive {
    pub(super) fn new(cell: &str, dialled: &Dialled, generation: u64) -> Self {
        let client = &dialled.transport.client;
        let id = client.session_id().0;
        let (sender, session) =
            Session::channel(cell, id, client.session_timeout(), generation, dialled.sent);
        Alive { session, sender, info: client.session().clone() }
    }

    /// Says how it ended.
    pub(super) fn end(self, how: SessionState) {
        self.sender.set(how);
    }
}
