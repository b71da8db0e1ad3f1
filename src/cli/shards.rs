//! `zk shards`: who holds which range of a system, drawn as a bar.

mod bar;
mod watching;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures::stream::{StreamExt as _, select_all};
use serde::Serialize;

use crate::conn::ConnExt as _;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::recipes::{ShardContender, shard_contenders};

use self::bar::bar;
use self::watching::changes;
use super::context::{Context, Missing};
use super::output::{Stop, table, unread};
use super::target;

const VERB: &str = "shards";

/// Changes that come together are drawn together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Of `shards`.
#[derive(Debug, Args)]
#[command(after_help = "\
The bar is [0, 1): what has = is held, what has . was left and is not assigned anew yet. Where there are
too many ranges to tell them apart, + is where some are held and some were left. A line for each range
shows its place, the range, and who holds it: host and process, if its node says so, as those of
shard-lock for Node do not, and the node; or that it was left. Then come those who wait. Those who hold
are who keeps the others waiting.")]
pub(super) struct Shards {
    /// Draw it again at each change, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Say nothing of nodes that are not there
    #[arg(short = 'f')]
    force: bool,
    /// Paths or patterns
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
}

/// What becomes of a path that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    IsTold(Missing),
    /// Nobody is there yet.
    IsEmpty,
}

/// A system in a JSON document.
#[derive(Debug, Serialize)]
struct System<'a> {
    path: &'a str,
    /// How many ranges there are; of the oldest generation that is held, if there are several.
    of: usize,
    workers: Vec<Worker<'a>>,
}

#[derive(Debug, Serialize)]
struct Worker<'a> {
    group: &'a str,
    node: &'a str,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Since when the node is there, by the clock of its server.
    ctime: i64,
    session: String,
}

impl<'a> Worker<'a> {
    fn new(one: &'a ShardContender) -> Self {
        let owner = one.owner.as_ref();
        Worker {
            group: one.group.name(),
            node: one.path.name(),
            holds: one.holds(),
            index: one.index,
            of: one.of,
            from: one.from(),
            to: one.to(),
            hostname: owner.map(|owner| owner.hostname.as_str()),
            pid: owner.map(|owner| owner.pid),
            token: one.token.as_ref().map(ToString::to_string),
            ctime: one.stat.ctime,
            session: format!("{:#x}", one.stat.ephemeral_owner),
        }
    }
}

/// A system that is drawn.
struct Drawn {
    path: ZkPath,
    /// Whether it can be; `None` while that is not known yet.
    seen: Option<Result<(), Error>>,
}

impl Drawn {
    fn is_there(&self) -> bool {
        matches!(self.seen, Some(Ok(())))
    }

    fn has_failed(&self) -> bool {
        matches!(self.seen, Some(Err(_)))
    }

    /// Whether what was seen of it makes another picture: that a cell is still away does not.
    fn is_changed_by(&mut self, seen: Result<(), Error>) -> bool {
        let is_changed = seen.is_ok() || !self.has_failed();
        self.seen = Some(seen);
        is_changed
    }
}

pub(super) async fn run(context: &mut Context, args: Shards) -> Result<(), Stop> {
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    let seen = (!args.watch).then_some(Ok(()));
    let systems = targets.into_iter().map(|target| Drawn { path: target.path, seen: seen.clone() });
    match args.watch {
        true => watch(context, systems.collect()).await,
        false => draw(context, &systems.collect::<Vec<_>>(), Absent::IsTold(missing)).await,
    }
}

/// Draws the systems at each change, for as long as one of them can be watched. They are watched before
/// the first look, so nothing is missed between the two, and none waits for another.
async fn watch(context: &mut Context, mut systems: Vec<Drawn>) -> Result<(), Stop> {
    let each = systems.iter().enumerate().map(|(number, system)| {
        changes(context.conn.clone(), system.path.clone()).map(move |seen| (number, seen)).boxed()
    });
    let mut changes = select_all(each);
    let clears = std::io::stdout().is_terminal() && !context.out.is_json();
    let mut pictures = 0_u64;
    let mut unread = pin!(unread());
    loop {
        let change = tokio::select! {
            biased;
            // The next change may be long in coming.
            () = &mut unread => return Err(Stop::NobodyReads),
            change = changes.next() => match change {
                Some(change) => change,
                None => return Ok(()),
            },
        };
        let mut news = vec![change];
        // However many there are, they are one picture.
        let mut end = pin!(tokio::time::sleep(TOGETHER));
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(more) = changes.next() => news.push(more),
            }
        }
        let mut is_changed = false;
        for (number, seen) in news {
            is_changed |= systems.get_mut(number).is_some_and(|one| one.is_changed_by(seen));
        }
        let all_failed = systems.iter().all(Drawn::has_failed);
        let is_one_there = systems.iter().any(Drawn::is_there);
        if !is_changed || (pictures == 0 && !is_one_there && !all_failed) {
            continue;
        }
        if clears {
            context.out.raw(b"\x1b[H\x1b[2J")?;
        } else if pictures > 0 && !context.out.is_json() {
            context.out.line("")?;
        }
        draw(context, &systems, Absent::IsEmpty).await?;
        if context.out.is_json() {
            // Whoever reads by lines has the whole picture at once.
            context.out.raw(b"\n")?;
        }
        context.out.flush()?;
        // Where none answers, there is nothing to wait for.
        if pictures == 0 && all_failed {
            return Ok(());
        }
        pictures += 1;
    }
}

async fn draw(context: &mut Context, systems: &[Drawn], absent: Absent) -> Result<(), Stop> {
    let conn = context.conn.clone();
    let mut first = true;
    for system in systems {
        let path = &system.path;
        let found = match &system.seen {
            Some(Ok(())) => shard_contenders(&*conn, path).await,
            Some(Err(err)) => Err(err.clone()),
            None => continue,
        };
        let found = match (found, absent) {
            (Ok(found), Absent::IsTold(_)) if found.is_empty() => match conn.exists(path).await {
                Ok(Some(_)) => Ok(found),
                Ok(None) => Err(Error::new(VERB, path, ErrorKind::NoNode)),
                Err(err) => Err(err),
            },
            (found, _) => found,
        };
        let workers = match (found, absent) {
            (Ok(workers), _) => workers,
            (Err(err), Absent::IsTold(missing)) => {
                context.report_unless(missing, VERB, err);
                continue;
            }
            (Err(err), Absent::IsEmpty) => {
                context.report(VERB, err);
                continue;
            }
        };
        context.done();
        let of = workers.iter().find_map(|one| one.of).unwrap_or(0);
        if context.out.is_json() {
            let workers = workers.iter().map(Worker::new).collect();
            context.out.item(&System { path: path.as_str(), of, workers })?;
            continue;
        }
        if systems.len() > 1 {
            let before = if first { "" } else { "\n" };
            context.out.line(format_args!("{before}{path}:"))?;
            first = false;
        }
        let (holders, waiters): (Vec<_>, Vec<_>) = workers.iter().partition(|one| one.holds());
        if holders.is_empty() {
            context.out.line(bar(of, &[]))?;
        }
        if workers.is_empty() {
            context.out.line("nobody")?;
        }
        // There is one generation, unless a worker of the original has published beside another.
        let mut generations = holders.chunk_by(|one, next| one.group == next.group).peekable();
        let mut waiters = Some(waiters);
        while let Some(holders) = generations.next() {
            let of = holders.iter().find_map(|one| one.of).unwrap_or(0);
            let held: Vec<usize> = holders.iter().filter_map(|one| one.index).collect();
            context.out.line(bar(of, &held))?;
            let mut lines = rows(of, holders);
            if generations.peek().is_none() {
                lines.extend(waiters.take().into_iter().flatten().map(row));
            }
            table(&mut context.out, &lines)?;
        }
        let waiters: Vec<_> = waiters.into_iter().flatten().map(row).collect();
        table(&mut context.out, &waiters)?;
    }
    Ok(())
}

/// A line for each range.
fn rows(of: usize, holders: &[&ShardContender]) -> Vec<Vec<String>> {
    let left = |index: usize| {
        let edges = (index as f64 / of as f64, (index + 1) as f64 / of as f64);
        let nobody = || "-".to_owned();
        vec![index.to_string(), range(edges), nobody(), nobody(), "left".to_owned()]
    };
    let mut rows = Vec::new();
    for index in 0..of {
        let mut found = holders.iter().filter(|one| one.index == Some(index)).peekable();
        if found.peek().is_none() {
            rows.push(left(index));
        }
        rows.extend(found.map(|one| row(one)));
    }
    rows
}

fn row(one: &ShardContender) -> Vec<String> {
    let (host, pid) = match &one.owner {
        Some(owner) => (shown(&owner.hostname), owner.pid.to_string()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let place = one.index.map_or("-".to_owned(), |index| index.to_string());
    let range = match (one.from(), one.to()) {
        (Some(from), Some(to)) => range((from, to)),
        _ => "waits".to_owned(),
    };
    vec![place, range, host, pid, format!("{}/{}", one.group.name(), one.path.name())]
}

fn range((from, to): (f64, f64)) -> String {
    format!("[{}, {})", short(from), short(to))
}

/// A number without zeros at its end.
fn short(edge: f64) -> String {
    let text = format!("{edge:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What others wrote obeys no terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_short() {
        assert_eq!([0.0, 0.5, 1.0 / 3.0, 1.0].map(short), ["0", "0.5", "0.3333", "1"]);
    }
}
