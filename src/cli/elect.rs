//! `zk elect`: runs a command while this process leads.

use std::time::Duration;

use crate::error::Error;
use crate::recipes::{Election, LeaderGuard};

use super::args;
use super::context::Context;
use super::held;
use super::lock::acquired;
use super::output::Stop;
use super::target;

const VERB: &str = "elect";

pub(super) async fn run(context: &mut Context, args: args::Elect) -> Result<(), Stop> {
    let path = target::literal(&args.run.path).map_err(|err| Stop::Failed(err.during(VERB)))?;
    let mut election = Election::new(context.conn.clone(), &path);
    if let Some(info) = args.info {
        election = election.with_info(info);
    }
    let campaign = campaign(&election, args.timeout);
    let Some(guard) = acquired(context, VERB, &path, campaign).await? else { return Ok(()) };
    let outcome = held::run(context, VERB, &path, &guard, &args.run).await?;
    let released = guard.resign().await;
    outcome.end(context, VERB, &path, released);
    Ok(())
}

/// Leads within `wait`; `None` if somebody else does and there is no time to wait.
async fn campaign(
    election: &Election,
    wait: Option<Duration>,
) -> Result<Option<LeaderGuard>, Error> {
    match wait {
        None => election.campaign().await.map(Some),
        Some(Duration::ZERO) => election.try_campaign().await,
        Some(wait) => election.campaign_within(wait).await.map(Some),
    }
}
