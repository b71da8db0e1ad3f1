//! `zk lock`: runs a command while a lock is held.

use std::io::IsTerminal as _;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::conn::Conn;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::{Guard, Lock, LockNames, Released, RwLock, WriteGuard};

use super::args;
use super::context::{Context, NOT_ACQUIRED};
use super::held;
use super::output::{Stop, complain, say};
use super::target;
use super::who;

const VERB: &str = "lock";

/// Who waits longer than this is told for whom.
const SOON: Duration = Duration::from_millis(500);

pub(super) async fn run(context: &mut Context, args: args::Lock) -> Result<(), Stop> {
    let path = target::literal(&args.run.path).map_err(|err| Stop::Failed(err.during(VERB)))?;
    let acquire = acquire(context.conn.clone(), &path, &args);
    let Some(guard) = acquired(context, VERB, &path, acquire).await? else { return Ok(()) };
    let outcome = held::run(context, VERB, &path, &guard, &args.run).await?;
    let released = guard.release().await;
    outcome.end(context, VERB, &path, released);
    Ok(())
}

/// What is held: a lock, or one side of it.
enum Mine {
    One(Guard),
    Written(WriteGuard),
}

impl Deref for Mine {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        match self {
            Mine::One(guard) => guard,
            Mine::Written(guard) => guard,
        }
    }
}

impl Mine {
    async fn release(self) -> Released {
        match self {
            Mine::One(guard) => guard.release().await,
            Mine::Written(guard) => guard.release().await,
        }
    }
}

/// Takes the lock, in time; `None` if it is not free and there is no time to wait.
async fn acquire(
    conn: Arc<dyn Conn>,
    path: &ZkPath,
    args: &args::Lock,
) -> Result<Option<Mine>, Error> {
    let names = args.names.map(LockNames::from);
    if !args.shared && !args.write {
        let lock = Lock::new(conn, path).with_names(names.unwrap_or(LockNames::Vitess));
        let guard = match args.timeout {
            None => lock.acquire().await.map(Some),
            Some(Duration::ZERO) => lock.try_acquire().await,
            Some(wait) => lock.acquire_within(wait).await.map(Some),
        };
        return guard.map(|guard| guard.map(Mine::One));
    }
    let lock = RwLock::new(conn, path).with_names(names.unwrap_or(LockNames::Zksync));
    if args.shared {
        let guard = match args.timeout {
            None => lock.read().await.map(Some),
            Some(Duration::ZERO) => lock.try_read().await,
            Some(wait) => lock.read_within(wait).await.map(Some),
        };
        return guard.map(|guard| guard.map(Mine::One));
    }
    let guard = match args.timeout {
        None => lock.write().await.map(Some),
        Some(Duration::ZERO) => lock.try_write().await,
        Some(wait) => lock.write_within(wait).await.map(Some),
    };
    guard.map(|guard| guard.map(Mine::Written))
}

/// What came of waiting for what there is at `path`; `None` if it was not ours in time, which has been
/// told and is in the exit code.
pub(super) async fn acquired<G>(
    context: &mut Context,
    verb: &'static str,
    path: &ZkPath,
    acquire: impl Future<Output = Result<Option<G>, Error>>,
) -> Result<Option<G>, Stop> {
    let late = match telling(verb, &*context.conn, path, acquire).await {
        Ok(Some(guard)) => return Ok(Some(guard)),
        Ok(None) => {
            let err = Error::new(verb, path, ErrorKind::Timeout);
            match who::holder(&*context.conn, path).await {
                Some(holder) => err.with_detail(holder),
                None => err,
            }
        }
        Err(err) if err.kind() == ErrorKind::Timeout => err.during(verb),
        Err(err) => return Err(Stop::Failed(err.during(verb))),
    };
    complain(&late);
    context.end_with(NOT_ACQUIRED);
    Ok(None)
}

/// Waits for `acquire`, and says for whom if that takes long and somebody sits at a terminal.
async fn telling<T>(
    verb: &'static str,
    conn: &dyn Conn,
    path: &ZkPath,
    acquire: impl Future<Output = T>,
) -> T {
    let mut acquire = pin!(acquire);
    if !std::io::stderr().is_terminal() {
        return acquire.await;
    }
    let holder = async {
        tokio::time::sleep(SOON).await;
        who::holder(conn, path).await
    };
    tokio::select! {
        biased;
        acquired = &mut acquire => return acquired,
        holder = holder => if let Some(holder) = holder {
            say(format_args!("{verb} {path}: waiting, {holder}"));
        }
    }
    acquire.await
}
