//! One connection of a session to one server, through the client crate, that can be ended at will.
//!
//! The crate goes on reconnecting by itself, with pauses that double without a limit, executes then
//! what was asked long before, and forgets tree watches. So it gets one connection to serve. When
//! that breaks, its task is ended, and with it all that it had queued, and the session is attached
//! anew from here. The task is caught where the crate spawns it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;

use super::nodelay::undelay;

/// A connection that serves a session. Dropping it breaks the connection and leaves the session to
/// its timeout.
pub(super) struct Transport {
    pub(super) client: Arc<zk::Client>,
    _task: Task,
}

/// The crate's task; it ends when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the task that the crate spawns.
#[derive(Default)]
struct Catcher(Mutex<Option<Task>>);

impl spawns_core::Spawn for Catcher {
    fn spawn(&self, task: spawns_core::Task) {
        let task = tokio::spawn(Box::into_pin(task.future)).abort_handle();
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Task(task));
    }
}

impl Transport {
    /// Connects to one of `hosts`, each tried once.
    pub(super) async fn connect(
        connector: zk::Connector,
        hosts: &str,
    ) -> Result<Transport, zk::Error> {
        let catcher = Catcher::default();
        let mut connecting = pin!(connector.with_fail_eagerly().connect(hosts));
        let client = std::future::poll_fn(|cx| -> Poll<_> {
            let _scope = spawns_core::enter(&catcher);
            connecting.as_mut().poll(cx)
        })
        .await?;
        undelay(hosts);
        let task = catcher.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match task {
            Some(task) => Ok(Transport { client: Arc::new(client), _task: task }),
            None => Err(zk::Error::UnexpectedError("the client crate spawned no task".into())),
        }
    }

    /// Ends the session, and resolves when a server has confirmed it or none can be asked any more.
    /// `true` says that it was confirmed.
    ///
    /// The connection may break over it: the server ends it with the session, though not all is
    /// answered that was sent behind the request, such as a ping. So the crate may connect again, and
    /// is told that the session is over, or ends it then. A connection that came before the session was
    /// over may be left open and silent, so there must be time for one that is given up, which takes
    /// two fifths of the session's timeout, and for the next.
    pub(super) async fn close(self) -> bool {
        let Transport { client, _task } = self;
        let mut states = client.state_watcher();
        // Behind a whole timeout the crate says of its own accord that the session is over.
        let patience = client.session_timeout() * 3 / 4;
        drop(client);
        let mut broken = None;
        loop {
            let state = match broken {
                None => states.changed().await,
                Some(by) => match timeout_at(by, states.changed()).await {
                    Ok(state) => state,
                    Err(_) => return false,
                },
            };
            if state.is_terminated() {
                return true;
            }
            if state == zk::SessionState::Disconnected {
                broken.get_or_insert_with(|| Instant::now() + patience);
            }
        }
    }
}
