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

    /// Ends the session, and resolves when the server has confirmed it or the connection broke.
    /// `true` says that it was confirmed.
    pub(super) async fn close(self) -> bool {
        let Transport { client, _task } = self;
        let mut states = client.state_watcher();
        drop(client);
        loop {
            match states.changed().await {
                zk::SessionState::Closed => return true,
                state if state.is_terminated() => return true,
                zk::SessionState::Disconnected => return false,
                _ => {}
            }
        }
    }
}
