//! `zk who`: who holds a lock and who waits for it, and who is at a barrier.

mod barriers;
mod strangers;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::conn::Conn;
use crate::deadline::wall_clock;
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::{Contender, LockMode, LockNames, contenders, shard_contenders};

use self::barriers::Gathering;
use self::strangers::Strangers;
use super::args::Who;
use super::context::{Context, Missing};
use super::output::{Output, Stop, table};
use super::target;

const VERB: &str = "who";

/// Where candidates of an election stand, below its path.
const CANDIDATES: &str = "candidates";

/// How many paths are looked at at once.
const AT_ONCE: usize = 16;

/// How much of a node's data is shown to people.
const SHOWN: usize = 60;

/// Who is at a path.
#[derive(Debug)]
enum Found {
    Line(Line),
    /// A system of shards, and how many are in it.
    Shards(ZkPath, usize),
    Gathering(ZkPath, Gathering),
    Nobody(ZkPath, Strangers),
}

impl Found {
    fn path(&self) -> &ZkPath {
        match self {
            Found::Line(line) => &line.path,
            Found::Shards(path, _) | Found::Gathering(path, _) | Found::Nobody(path, _) => path,
        }
    }
}

/// Those who contend at a path.
#[derive(Debug)]
struct Line {
    path: ZkPath,
    /// Whether they stand for election.
    elects: bool,
    contenders: Vec<Contender>,
}

pub(super) async fn run(context: &mut Context, args: Who) -> Result<(), Stop> {
    let missing = Missing::ignored_if(args.force);
    let targets = target::resolve(context, VERB, &args.paths, missing).await;
    let headers = targets.len() > 1;
    let conn = context.conn.clone();
    let asked = targets.into_iter().map(|target| find(&*conn, target.path));
    let mut all = stream::iter(asked).buffered(AT_ONCE);
    let mut first = true;
    while let Some(found) = all.next().await {
        let found = match found {
            Ok(found) => found,
            Err(err) => {
                context.report_unless(missing, VERB, err);
                continue;
            }
        };
        context.done();
        if context.out.is_json() {
            match &found {
                Found::Line(line) => {
                    for contender in &line.contenders {
                        context.out.item(&Item::new(line, contender))?;
                    }
                }
                Found::Shards(path, workers) => {
                    let (path, workers) = (path.as_str(), *workers);
                    context.out.item(&Shards { path, kind: "shards", workers })?;
                }
                Found::Gathering(path, gathering) => context.out.item(&gathering.item(path))?,
                Found::Nobody(..) => {}
            }
            continue;
        }
        if headers {
            let before = if first { "" } else { "\n" };
            context.out.line(format_args!("{before}{}:", found.path()))?;
            first = false;
        }
        match &found {
            Found::Line(line) => show(&mut context.out, line)?,
            Found::Shards(path, workers) => {
                context.out.line(format_args!("shards, of {workers}; see zk shards {path}"))?;
            }
            Found::Gathering(_, gathering) => gathering.show(&mut context.out)?,
            Found::Nobody(_, strangers) => context.out.line(strangers)?,
        }
    }
    Ok(())
}

fn show(out: &mut Output, line: &Line) -> Result<(), Stop> {
    if line.elects {
        out.line("an election; these are its candidates")?;
    }
    let rows: Vec<_> = line.contenders.iter().map(|one| row(one, line.elects)).collect();
    table(out, &rows)
}

/// In one line, who holds what there is at `path`; `None` if nobody does, or that cannot be told.
pub(super) async fn holder(conn: &dyn Conn, path: &ZkPath) -> Option<String> {
    let Ok(Found::Line(line)) = find(conn, path.clone()).await else { return None };
    let first = line.contenders.iter().find(|contender| contender.holds)?;
    let waiting = line.contenders.iter().filter(|contender| !contender.holds).count();
    let (host, pid) = identity(first);
    let who = if pid == "-" { host } else { format!("{host} pid {pid}") };
    Some(format!("held by {who} for {}, {waiting} waiting", age(&first.stat)))
}

async fn find(conn: &dyn Conn, path: ZkPath) -> Result<Found, Error> {
    let found = contenders(conn, &path).await?;
    if !found.is_empty() {
        return Ok(Found::Line(Line { path, elects: false, contenders: found }));
    }
    if let Some(gathering) = Gathering::find(conn, &path).await? {
        return Ok(Found::Gathering(path, gathering));
    }
    // What may not be read of it, `zk shards` tells.
    let workers = shard_contenders(conn, &path).await.map_or(0, |found| found.len());
    if workers > 0 {
        return Ok(Found::Shards(path, workers));
    }
    let candidates = match contenders(conn, path.child(CANDIDATES)).await {
        Ok(found) => found,
        // Below /zk there are cells only.
        Err(err) if err.kind() == ErrorKind::UnknownCell => Vec::new(),
        Err(err) => return Err(err),
    };
    if candidates.is_empty() {
        let strangers = Strangers::find(conn, &path).await?;
        return Ok(Found::Nobody(path, strangers));
    }
    Ok(Found::Line(Line { path, elects: true, contenders: candidates }))
}

/// A system of shards in a JSON document.
#[derive(Debug, Serialize)]
struct Shards<'a> {
    path: &'a str,
    kind: &'static str,
    workers: usize,
}

/// A contender in a JSON document.
#[derive(Debug, Serialize)]
struct Item<'a> {
    path: &'a str,
    node: &'a str,
    kind: &'static str,
    holds: bool,
    mode: String,
    names: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// What the node says, if that is no owner: as text, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    /// Of whoever holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Since when the node is there, by the clock of its server.
    ctime: i64,
    session: String,
}

impl<'a> Item<'a> {
    fn new(line: &'a Line, contender: &'a Contender) -> Self {
        let owner = contender.owner.as_ref();
        let data = owner.is_none().then_some(&*contender.data);
        let text = data.and_then(|data| std::str::from_utf8(data).ok());
        Item {
            path: line.path.as_str(),
            node: contender.path.name(),
            kind: if line.elects { "election" } else { "lock" },
            holds: contender.holds,
            mode: contender.mode.to_string(),
            names: system(contender.names),
            hostname: owner.map(|owner| owner.hostname.as_str()),
            pid: owner.map(|owner| owner.pid),
            data: text,
            data_base64: data.filter(|_| text.is_none()).map(|data| STANDARD.encode(data)),
            token: contender.holds.then(|| contender.token.to_string()),
            ctime: contender.stat.ctime,
            session: session(&contender.stat),
        }
    }
}

fn row(contender: &Contender, elects: bool) -> Vec<String> {
    let (host, pid) = identity(contender);
    let part = match (contender.holds, elects) {
        (true, true) => "leads",
        (true, false) => "holds",
        (false, _) => "waits",
    };
    let mode = if contender.mode == LockMode::Shared { " shared" } else { "" };
    let mut row = vec![
        format!("{part}{mode}"),
        host,
        pid,
        age(&contender.stat),
        if contender.holds { contender.token.to_string() } else { "-".into() },
        system(contender.names).into(),
        contender.path.name().to_owned(),
    ];
    // Somebody made it by hand, say, and all others wait until it is deleted.
    row.extend((!contender.stat.is_ephemeral()).then(|| "of no session".to_owned()));
    row
}

/// Host and process, or what else the node says.
fn identity(contender: &Contender) -> (String, String) {
    match &contender.owner {
        Some(owner) => (plain(&owner.hostname), owner.pid.to_string()),
        None => (plain(&String::from_utf8_lossy(&contender.data)), "-".into()),
    }
}

/// What others wrote, in one short word without anything that a terminal would obey.
fn plain(text: &str) -> String {
    let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let mut plain: String =
        text.trim().chars().map(|c| if odd(c) { '?' } else { c }).take(SHOWN).collect();
    if text.trim().chars().nth(SHOWN).is_some() {
        plain.push('…');
    }
    if plain.is_empty() { "-".into() } else { plain }
}

/// How long a node has been there, by the clock of its server.
fn age(stat: &Stat) -> String {
    let since = Duration::from_millis(stat.ctime.try_into().unwrap_or(0));
    let age = Duration::from_secs(wall_clock().saturating_sub(since).as_secs());
    humantime::format_duration(age).to_string()
}

fn session(stat: &Stat) -> String {
    format!("{:#x}", stat.ephemeral_owner)
}

fn system(names: LockNames) -> &'static str {
    match names {
        LockNames::Vitess => "vitess",
        LockNames::Curator => "curator",
        LockNames::Kazoo => "kazoo",
        LockNames::Zksync => "zksync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_without_what_a_terminal_would_obey() {
        assert_eq!(plain("web-7\n"), "web-7");
        assert_eq!(plain("a\x1b[31mb\u{9b}c"), "a?[31mb?c");
        assert_eq!(plain(&String::from_utf8_lossy(&[b'x', 0xff, 0])), "x??");
        assert_eq!(plain(""), "-");
        assert_eq!(plain(&"é".repeat(100)).chars().count(), SHOWN + 1);
    }
}
