//! `zk global`: the quorums that hold one tree: making them a set, how they are, where they differ.

use std::io::IsTerminal as _;
use std::sync::Arc;

use serde::Serialize;

use crate::cells::{CellConfig, Cells};
use crate::conn::Conn as _;
use crate::conn::dialer;
use crate::conn::global::{
    EmptyFirst, GlobalConn, Identity, InitOptions, Promotion, QuorumStatus, Rejoin,
};
use crate::error::{Error, ErrorKind};
use crate::path::{CellName, Rebase, ZkPath};
use crate::repair::{self, Difference, Repair};

use super::args::{Global, GlobalPaths};
use super::context::Context;
use super::output::{Stop, say};
use super::target;

const VERB: &str = "global";

/// How often, in paths, people are told how far it is.
const TOLD_EVERY: usize = 1000;

pub(super) async fn run(context: &mut Context, verb: Global) -> Result<(), Stop> {
    match verb {
        Global::Init { cell, rejoin, empty_first } => {
            let set = Set::open(context, &cell)?;
            let mut options = InitOptions::default();
            if rejoin {
                options = options.with_rejoin(Rejoin::AsMirrors);
            }
            if empty_first {
                options = options.with_empty_first(EmptyFirst::Allow);
            }
            let made = set.conn.init_with(options).await;
            let told = made.map(|identity| tell_identity(context, &identity));
            set.done(told).await
        }
        Global::Promote {
            cell,
            quorum,
            old_first_is_gone,
            without,
            though_incomplete,
            over_rivals,
        } => {
            if !old_first_is_gone {
                let err = Error::new(VERB, cell, ErrorKind::BadArguments);
                return Err(Stop::Failed(err.with_detail(
                    "what the old first alone has would be lost; when it is gone for good, say \
                     --old-first-is-gone",
                )));
            }
            let set = Set::open(context, &cell)?;
            let mut word = without.into_iter().fold(Promotion::default(), Promotion::without);
            if though_incomplete {
                word = word.though_incomplete();
            }
            if over_rivals {
                word = word.over_rivals();
            }
            let made = set.conn.promote_with(quorum, &word).await;
            let told = made.map(|identity| {
                say(format_args!(
                    "quorum {quorum} is the first now: put it in front of \"{}\" in every \
                     configuration, then run `zk global repair`",
                    set.cell.name
                ));
                tell_identity(context, &identity)
            });
            set.done(told).await
        }
        Global::Status { cell } => {
            let set = Set::open(context, &cell)?;
            let all = set.conn.status().await;
            let told = status(context, &all);
            set.done(Ok(told)).await
        }
        Global::Diff(paths) => each(context, paths, repair::diff, Does::Compares).await,
        Global::Repair { apply: false, paths } => {
            each(context, paths, repair::diff, Does::Compares).await
        }
        Global::Repair { apply: true, paths } => {
            each(context, paths, repair::repair, Does::Mends).await
        }
    }
}

/// A set of quorums, by connections of its own.
struct Set {
    cell: CellConfig,
    conn: Arc<GlobalConn>,
}

impl Set {
    /// The set of a cell, named as `global` or `/zk/global`.
    fn open(context: &Context, text: &str) -> Result<Set, Stop> {
        let failed = |err: Error| Stop::Failed(err.during(VERB));
        let name = match text.starts_with('/') {
            true => target::literal(text).and_then(|path| Cells::cell_of(&path)),
            false => CellName::new(text),
        };
        let cell = name.and_then(|name| context.cells.cell(&name)).map_err(failed)?;
        let (conn, _) = dialer::set(&cell).map_err(failed)?;
        let conn = Arc::new(conn.taking(context.timeout));
        Ok(Set { cell, conn })
    }

    /// Closes it, and ends with what came of it.
    async fn done(self, told: Result<Result<(), Stop>, Error>) -> Result<(), Stop> {
        // A session that cannot be closed ends by itself; the outcome stands.
        let _ = self.conn.close().await;
        match told {
            Ok(told) => told,
            Err(err) => Err(Stop::Failed(err.at(self.cell.name.as_str()))),
        }
    }
}

#[derive(Serialize)]
struct IdentityItem<'a> {
    set: &'a str,
    epoch: u64,
}

fn tell_identity(context: &mut Context, identity: &Identity) -> Result<(), Stop> {
    context.done();
    context.out.item(&IdentityItem { set: &identity.set, epoch: identity.epoch })?;
    if !context.out.is_json() {
        context.out.line(format!("set {} epoch {}", identity.set, identity.epoch))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct StatusItem<'a> {
    quorum: usize,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

fn status(context: &mut Context, all: &[QuorumStatus]) -> Result<(), Stop> {
    for one in all {
        let identity = one.identity.as_ref().ok();
        let is_complete = identity.is_none_or(|identity| identity.complete);
        match one.wrong {
            None if is_complete => context.done(),
            _ => context.differs(),
        }
        let wrong = one.wrong.as_ref().map(|err| match err.detail() {
            // Which quorum it is stands in the line.
            Some(detail) => match detail.split_once(&format!(", {}", one.name)) {
                Some((_, why)) => why.trim_start_matches([':', ' ']).to_string(),
                None => detail.to_string(),
            },
            None => err.kind().to_string(),
        });
        let item = StatusItem { quorum: one.number, name: &one.name, identity, wrong };
        context.out.item(&item)?;
        if context.out.is_json() {
            continue;
        }
        let (role, epoch) = match identity {
            Some(identity) => (identity.role.to_string(), identity.epoch.to_string()),
            None => ("-".into(), "-".into()),
        };
        let state = match item.wrong.as_deref() {
            Some(wrong) => wrong,
            None if is_complete => "ok",
            None => "not complete: run `zk global repair`, before it may take the first's place",
        };
        context
            .out
            .line(format!("{}  {role:6}  epoch {epoch}  {}  {state}", one.number, one.name))?;
    }
    Ok(())
}

/// What is done about differences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Compares,
    Mends,
}

type Begin = fn(&Arc<GlobalConn>, ZkPath) -> Result<Repair, Error>;

#[derive(Serialize)]
struct DifferenceItem<'a> {
    kind: String,
    quorum: usize,
    path: &'a str,
}

/// Goes through the trees one after the other.
async fn each(
    context: &mut Context,
    args: GlobalPaths,
    begin: Begin,
    does: Does,
) -> Result<(), Stop> {
    for text in &args.paths {
        let path = match target::literal(text) {
            Ok(path) => path,
            Err(err) => {
                context.report(VERB, err);
                continue;
            }
        };
        let set = Set::open(context, path.as_str())?;
        let told = tree(context, &set, &path, args.from.as_deref(), begin, does).await;
        set.done(Ok(told)).await?;
    }
    Ok(())
}

async fn tree(
    context: &mut Context,
    set: &Set,
    path: &ZkPath,
    from: Option<&str>,
    begin: Begin,
    does: Does,
) -> Result<(), Stop> {
    let failed = |err: Error| Stop::Failed(err.during(VERB));
    // Their cell by its own name: the quorums know nothing of `local`.
    let spelled = Rebase::new(
        Cells::path_of(&Cells::cell_of(path).map_err(failed)?),
        set.cell.mount().to().clone(),
    );
    let there = |path: &ZkPath| spelled.apply(path).unwrap_or_else(|| path.clone());
    let mut work = begin(&set.conn, there(path)).map_err(failed)?;
    if let Some(from) = from {
        let from = target::literal(from).map_err(failed)?;
        work = work.from(there(&from));
    }
    let back = spelled.inverse();
    let here = move |path: &ZkPath| back.apply(path).unwrap_or_else(|| path.clone());
    let mut watch = Watch { work, told: 0, here: &here, is_done: false };
    while let Some(one) = watch.work.next().await {
        watch.tell();
        match one {
            Ok(difference) => {
                if does == Does::Compares {
                    context.differs();
                }
                let path = here(&difference.path);
                line(context, &difference, &path)?;
            }
            Err(err) => {
                let path = ZkPath::new(err.path()).map(|path| here(&path).to_string());
                context.report(VERB, err.clone().at(path.unwrap_or_default()));
            }
        }
    }
    watch.is_done = true;
    context.done();
    Ok(())
}

fn line(context: &mut Context, difference: &Difference, path: &ZkPath) -> Result<(), Stop> {
    let (kind, quorum) = (difference.kind.to_string(), difference.quorum);
    if context.out.is_json() {
        return context.out.item(&DifferenceItem { kind, quorum, path: path.as_str() });
    }
    context.out.line(format!("{kind:7}  {quorum}  {path}"))
}

/// Tells people how far it is, and when it is ended early, where to go on.
struct Watch<'a, F: Fn(&ZkPath) -> ZkPath> {
    work: Repair,
    told: usize,
    here: &'a F,
    is_done: bool,
}

impl<F: Fn(&ZkPath) -> ZkPath> Watch<'_, F> {
    fn tell(&mut self) {
        let progress = self.work.progress();
        if std::io::stderr().is_terminal() && progress.compared >= self.told + TOLD_EVERY {
            self.told = progress.compared;
            say(format_args!("{} paths compared, {} known", self.told, progress.waiting));
        }
    }
}

impl<F: Fn(&ZkPath) -> ZkPath> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        if let (false, Some(next)) = (self.is_done, self.work.progress().next) {
            say(format_args!("ended early; go on with --from {}", (self.here)(&next)));
        }
    }
}
