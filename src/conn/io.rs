//! The one thread of this process on which sessions live.
//!
//! A current-thread runtime costs half the processor time per request of a multi-threaded one, and
//! deadlines here run in real time whatever clock the caller's runtime has. No user code runs on
//! it, and nobody waits for it to end.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

static IO: OnceLock<Result<Handle, String>> = OnceLock::new();

/// Starts `task` on the io thread.
///
/// # Errors
///
/// Why there is no io thread: the process may start no thread, or open no file.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let handle = IO.get_or_init(start).as_ref().map_err(Clone::clone)?;
    handle.spawn(task);
    Ok(())
}

fn start() -> Result<Handle, String> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|err| err.to_string())?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("zkcells-io".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .map_err(|err| err.to_string())?;
    Ok(handle)
}
