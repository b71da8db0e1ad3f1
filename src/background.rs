//! Threads of this process on which work goes on that no caller waits for.
//!
//! Each has a current-thread runtime of its own: deadlines there run in real time whatever clock
//! the caller's runtime has, and work goes on whatever becomes of that runtime. Nobody waits for
//! these threads to end.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::Sleep;

/// Where sessions live. A current-thread runtime costs half the processor time per request of a
/// multi-threaded one. No user code runs on it.
pub(crate) static IO: Background = Background::new("zkcells-io");

/// Where recipes clear up behind those who left, and mirrors are brought up. It calls connections,
/// which may be a user's.
pub(crate) static KEEPER: Background = Background::new("zkcells-keeper");

/// Waits in real time, on whatever runtime it is awaited and whatever clock that has.
pub(crate) async fn sleep(wait: Duration) {
    // No timer reaches as far as a deadline may.
    let wait = wait.min(Duration::from_secs(1 << 25));
    match KEEPER.timer(wait) {
        Ok(timer) => timer.await,
        Err(_) => tokio::time::sleep(wait).await,
    }
}

/// A thread that starts with its first task.
pub(crate) struct Background {
    name: &'static str,
    handle: OnceLock<Result<Handle, String>>,
}

impl Background {
    const fn new(name: &'static str) -> Self {
        Background { name, handle: OnceLock::new() }
    }

    /// Starts `task` there.
    ///
    /// # Errors
    ///
    /// Why there is no such thread: the process may start no thread, or open no file.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), String> {
        self.handle()?.spawn(task);
        Ok(())
    }

    fn timer(&self, wait: Duration) -> Result<Sleep, String> {
        let _there = self.handle()?.enter();
        Ok(tokio::time::sleep(wait))
    }

    fn handle(&self) -> Result<&Handle, String> {
        self.handle.get_or_init(|| self.start()).as_ref().map_err(Clone::clone)
    }

    fn start(&self) -> Result<Handle, String> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|err| err.to_string())?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name(self.name.into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(|err| err.to_string())?;
        Ok(handle)
    }
}
