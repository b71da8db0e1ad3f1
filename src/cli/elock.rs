//! `zk elock`: holds an ephemeral node until a signal comes.

use crate::conn::ConnExt as _;
use crate::conn::bound::BoundConn;
use crate::error::{Error, ErrorKind};
use crate::hold::Loss;
use crate::node::{Mode, Version};
use crate::watch::EventKind;

use super::args;
use super::context::{Context, LOST, NOT_ACQUIRED};
use super::held::lost_error;
use super::output::{Stop, complain};
use super::signals::Signals;
use super::target;

const VERB: &str = "elock";

pub(super) async fn run(context: &mut Context, args: args::Elock) -> Result<(), Stop> {
    let failed = |err: Error| Stop::Failed(err.during(VERB));
    let path = target::literal(&args.path).map_err(failed)?;
    let session = context.conn.session(&path).await.map_err(failed)?;
    // Another session would find another's node.
    let conn = BoundConn::new(context.conn.clone(), &session);
    match conn.create(&path, "", Mode::Ephemeral).await {
        Ok(_) => {}
        Err(err) if err.kind() == ErrorKind::NodeExists => {
            complain(&err.during(VERB));
            context.end_with(NOT_ACQUIRED);
            return Ok(());
        }
        Err(err) => return Err(failed(err)),
    }
    let hold = conn.hold_seen(&path);
    let watch = conn.exists_watch(&path);
    let hold = hold.await.map_err(failed)?;
    let (_, watch) = watch.await.map_err(failed)?;
    let mut signals = Signals::new().map_err(|err| {
        Stop::Failed(Error::new(VERB, &path, ErrorKind::Unexpected).with_cause(err))
    })?;
    if !context.minder.leave_to_verb() {
        std::future::pending::<()>().await;
    }
    context.out.line(format_args!("elock: locked {path}"))?;
    context.out.flush()?;
    let gone = async {
        match watch.await.kind {
            EventKind::Deleted => Loss::Deleted,
            EventKind::SessionEnded => Loss::SessionEnded,
            // Data that somebody wrote: the hold goes on looking.
            _ => std::future::pending().await,
        }
    };
    let lost = tokio::select! {
        biased;
        _ = signals.recv() => None,
        loss = hold.lost() => Some(loss),
        loss = gone => Some(loss),
    };
    let lost = match lost {
        Some(loss) => Some(loss),
        None => match conn.delete(&path, Version::Any).await {
            Ok(()) => None,
            Err(err) if err.kind() == ErrorKind::NoNode => Some(Loss::Deleted),
            Err(err) => return Err(failed(err)),
        },
    };
    let Some(loss) = lost else {
        return context.out.line(format_args!("elock: released {path}"));
    };
    complain(&lost_error(VERB, &path, loss, "it is held no longer"));
    context.end_with(LOST);
    Ok(())
}
