//! Where a connection stands with its quorum: not yet, dialling, waiting to dial again, or up.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zookeeper_client as zk;

use super::dial::{DialError, Dialled};
use crate::session::{Session, SessionSender, SessionState};

/// The pauses between dials: doubling from the first to the last, each with up to half more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) enum Link {
    /// Nobody has asked for anything since the last session ended.
    #[default]
    Idle,
    Dialling(BoxFuture<'static, Result<Dialled, DialError>>),
    /// A dial failed; the next one comes when the future resolves.
    Pausing(Pin<Box<tokio::time::Sleep>>),
    Up(Up),
}

/// A live session.
pub(super) struct Up {
    pub(super) client: zk::Client,
    pub(super) session: Session,
    pub(super) sender: SessionSender,
    pub(super) connected: bool,
    states: zk::StateWatcher,
}

pub(super) enum LinkEvent {
    Dialled(Result<Dialled, DialError>),
    PauseOver,
    State(zk::SessionState),
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
            Link::Up(up) => LinkEvent::State(up.states.changed().await),
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

    /// The session, while a server answers it.
    pub(super) fn connected(&self) -> Option<&Up> {
        match self {
            // The crate knows of a break before it has told us.
            Link::Up(up)
                if up.connected && up.client.state() == zk::SessionState::SyncConnected =>
            {
                Some(up)
            }
            _ => None,
        }
    }
}

impl Up {
    pub(super) fn new(dialled: Dialled, generation: u64) -> Self {
        let Dialled { client, sent } = dialled;
        let id = client.session_id().0;
        let (sender, session) = Session::channel(id, client.session_timeout(), generation, sent);
        Up { states: client.state_watcher(), client, session, sender, connected: true }
    }

    /// Ends the session, and waits until the server has seen it.
    pub(super) async fn close(self) {
        let Up { client, sender, mut states, .. } = self;
        sender.set(SessionState::Closed);
        drop(client);
        while !states.changed().await.is_terminated() {}
    }
}
