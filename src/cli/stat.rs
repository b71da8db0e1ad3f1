//! `zk stat`: all that is known of nodes.

use futures::stream::{self, StreamExt as _};

use crate::conn::ConnExt as _;
use crate::node::{Acl, Stat};
use crate::path::ZkPath;

use super::args;
use super::context::{Context, Missing};
use super::describe::{NodeItem, time};
use super::output::Stop;
use super::target;

const VERB: &str = "stat";

/// How many access lists are asked for at once: there is no request for many.
const AT_ONCE: usize = 64;

pub(super) async fn run(context: &mut Context, args: args::Stat) -> Result<(), Stop> {
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    let conn = context.conn.clone();
    let asked = targets.into_iter().map(move |target| {
        let answer = conn.acl(&target.path);
        async move { (target.path, answer.await) }
    });
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let mut first = true;
    while let Some((path, answer)) = answers.next().await {
        let (acl, stat) = match answer {
            Ok(answer) => answer,
            Err(err) => {
                context.report_unless(missing, VERB, err);
                continue;
            }
        };
        context.done();
        if context.out.is_json() {
            context.out.item(&NodeItem::new(&path).with_stat(&stat).with_acl(&acl))?;
            continue;
        }
        if !first {
            context.out.line("")?;
        }
        first = false;
        context.out.line(text(&path, &stat, &acl))?;
    }
    Ok(())
}

/// The lines of Vitess's `zk stat`.
fn text(path: &ZkPath, stat: &Stat, acl: &[Acl]) -> String {
    let moment = |millis| time(millis, "%F %T%.6f");
    // In hexadecimal, as in servers' logs and in the JSON document.
    let owner = match stat.ephemeral_owner {
        0 => "0".to_string(),
        owner => format!("{owner:#x}"),
    };
    let mut text = format!(
        "Path: {path}\nCreated: {}\nModified: {}\nSize: {}\nChildren: {}\nVersion: {}\n\
         Ephemeral: {}\nACL:",
        moment(stat.ctime),
        moment(stat.mtime),
        stat.data_length,
        stat.num_children,
        stat.version,
        owner,
    );
    for entry in acl {
        text.push_str(&format!("\n {entry}"));
    }
    text
}
