//! `zk set`: new data for a node that is there.

use crate::conn::ConnExt as _;
use crate::error::Error;
use crate::node::Version;

use super::args::Set;
use super::context::Context;
use super::describe::NodeItem;
use super::dest;
use super::output::Stop;
use super::target;

const VERB: &str = "set";

pub(super) async fn run(context: &mut Context, args: Set) -> Result<(), Stop> {
    let failed = |err: Error| Stop::Failed(err.during(VERB));
    let path = target::literal(&args.path).map_err(failed)?;
    let data = match args.value {
        value if value == "-" => dest::read_stdin().await.map_err(failed)?,
        value => value.into(),
    };
    let version = args.version.map_or(Version::Any, Version::Exact);
    let stat = context.conn.set(&path, data, version).await.map_err(failed)?;
    context.done();
    context.out.item(&NodeItem::new(&path).with_stat(&stat))
}
