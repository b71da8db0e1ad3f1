//! `zk global`: the quorums that hold one tree: making them a set, how they are, where they differ.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;

use crate::cells::{CellConfig, Cells};
use crate::conn::Conn as _;
use crate::conn::dialer;
use crate::conn::global::remedy::Remedy;
use crate::conn::global::{
    EmptyFirst, GlobalConn, Identity, InitOptions, Promotion, QuorumStatus, Rejoin, TakeOver,
};
use crate::error::{Error, ErrorKind};
use crate::path::{CellName, Rebase, ZkPath};
use crate::repair::{self, Difference, Kind, Progress, Repair};

use super::args::{Global, GlobalPaths};
use super::context::Context;
use super::output::{Stop, say};
use super::target;

const VERB: &str = "global";

/// How often people are told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &mut Context, verb: Global) -> Result<(), Stop> {
    match verb {
        Global::Init { cell, rejoin, empty_first, take_over } => {
            let set = Set::open(context, &cell)?;
            let mut options = InitOptions::default();
            if rejoin {
                options = options.with_rejoin(Rejoin::AsMirrors);
            }
            if empty_first {
                options = options.with_empty_first(EmptyFirst::Allow);
            }
            if take_over {
                options = options.with_take_over(TakeOver::Allow);
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
            though_behind,
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
            if though_behind {
                word = word.though_behind();
            }
            let made = promote(&set.conn, quorum, &word).await;
            let told = made.map(|identity| {
                say(format_args!(
                    "quorum {quorum} is the first now: put it in front of \"{}\" in every \
                     configuration, then run {}",
                    set.cell.name,
                    set.remedy().repair()
                ));
                tell_identity(context, &identity)
            });
            set.done(told).await
        }
        Global::Status { cell } => {
            let set = Set::open(context, &cell)?;
            let all = set.conn.status().await;
            let told = status(context, &all, &set.remedy());
            set.done(Ok(told)).await
        }
        Global::Diff(paths) => each(context, paths, Does::Compares).await,
        Global::Repair { apply: false, paths } => each(context, paths, Does::WouldMend).await,
        Global::Repair { apply: true, paths } => each(context, paths, Does::Mends).await,
    }
}

/// Makes a quorum the first, and tells people how far the comparison before it is.
async fn promote(conn: &GlobalConn, quorum: usize, word: &Promotion) -> Result<Identity, Error> {
    let mut promoting = std::pin::pin!(conn.promote_with(quorum, word));
    let is_watched = std::io::stderr().is_terminal();
    loop {
        match tokio::time::timeout(TOLD_EVERY, &mut promoting).await {
            Ok(made) => return made,
            Err(_) if is_watched => {
                let compared = conn.compared().load(Ordering::Relaxed);
                say(format_args!("{compared} paths compared with what other mirrors have"));
            }
            Err(_) => {}
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

    /// What people are told to type about it.
    fn remedy(&self) -> Remedy {
        Remedy::of(self.conn.options())
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

fn status(context: &mut Context, all: &[QuorumStatus], remedy: &Remedy) -> Result<(), Stop> {
    let incomplete =
        format!("not complete: run {}, before it may take the first's place", remedy.repair());
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
            None => incomplete.as_str(),
        };
        context
            .out
            .line(format!("{}  {role:6}  epoch {epoch}  {}  {state}", one.number, one.name))?;
    }
    Ok(())
}

/// What is done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Compares,
    /// It compares, and says what would keep it from mending.
    WouldMend,
    Mends,
}

impl Does {
    fn begin(self, conn: &Arc<GlobalConn>, top: ZkPath) -> Result<Repair, Error> {
        match self {
            Does::Mends => repair::repair(conn, top),
            Does::Compares | Does::WouldMend => repair::diff(conn, top),
        }
    }

    /// The command that does it, to be typed again.
    fn command(self) -> &'static str {
        match self {
            Does::Compares => "zk global diff",
            Does::WouldMend => "zk global repair",
            Does::Mends => "zk global repair --apply",
        }
    }
}

#[derive(Serialize)]
struct DifferenceItem<'a> {
    kind: String,
    quorum: usize,
    path: &'a str,
}

/// Goes through the trees one after the other.
async fn each(context: &mut Context, args: GlobalPaths, does: Does) -> Result<(), Stop> {
    let usage = |err: Error| Stop::Usage(err.during(VERB));
    let mut trees = Vec::new();
    for text in &args.paths {
        let path = target::literal(text).map_err(usage)?;
        trees.push((Set::open(context, path.as_str())?, path));
    }
    let mut from = args.from.as_deref().map(target::literal).transpose().map_err(usage)?;
    if let (Some(from), Some((set, path))) = (&from, trees.first())
        && !set.there(from)?.is_in(&set.there(path)?)
    {
        let err = Error::new(VERB, from, ErrorKind::BadArguments);
        let why = format!("--from is to go on in the first tree, {path}, and does not lie there");
        return Err(Stop::Usage(err.with_detail(why)));
    }
    let mut trees = trees.into_iter();
    while let Some((set, path)) = trees.next() {
        let later = trees.as_slice().iter().map(|(_, path)| path.clone()).collect();
        let told = tree(context, &set, Tree { path, from: from.take(), later, does }).await;
        set.done(Ok(told)).await?;
    }
    Ok(())
}

/// A tree, and what is to be done with it.
struct Tree {
    path: ZkPath,
    from: Option<ZkPath>,
    /// Those whose turn comes after it.
    later: Vec<ZkPath>,
    does: Does,
}

impl Set {
    /// From paths as they are typed to those of the quorums, which know nothing of `local`.
    fn spelled(&self, path: &ZkPath) -> Result<Rebase, Stop> {
        let cell = Cells::cell_of(path).map_err(|err| Stop::Failed(err.during(VERB)))?;
        Ok(Rebase::new(Cells::path_of(&cell), self.cell.mount().to().clone()))
    }

    fn there(&self, path: &ZkPath) -> Result<ZkPath, Stop> {
        Ok(self.spelled(path)?.apply(path).unwrap_or_else(|| path.clone()))
    }
}

async fn tree(context: &mut Context, set: &Set, tree: Tree) -> Result<(), Stop> {
    let failed = |err: Error| Stop::Failed(err.during(VERB));
    let does = tree.does;
    let top = set.there(&tree.path)?;
    let mut work = does.begin(&set.conn, top).map_err(failed)?;
    if let Some(from) = &tree.from {
        work = work.from(set.there(from)?);
    }
    let back = set.spelled(&tree.path)?.inverse();
    let here = move |path: &ZkPath| back.apply(path).unwrap_or_else(|| path.clone());
    let mut watch =
        Watch { work, here: &here, tree: &tree, found: BTreeMap::new(), is_told: false };
    let mut is_incomplete = false;
    if does == Does::WouldMend {
        for wrong in set.conn.status().await.into_iter().filter_map(|status| status.wrong) {
            is_incomplete = true;
            context.report(VERB, wrong.at(set.cell.name.as_str()));
        }
    }
    while let Some(one) = watch.next(context).await? {
        match one {
            Ok(difference) => {
                if does != Does::Mends {
                    context.differs();
                }
                *watch.found.entry(difference.kind).or_default() += 1;
                let path = here(&difference.path);
                line(context, &difference, &path)?;
            }
            Err(err) => {
                is_incomplete = true;
                let path = ZkPath::new(err.path()).map(|path| here(&path).to_string());
                context.report(VERB, err.clone().at(path.unwrap_or_default()));
            }
        }
    }
    context.out.flush()?;
    watch.end(set.conn.quorums().count());
    if is_incomplete {
        // Whatever else is so: the answer is not one to rely on.
        context.end_with(INCOMPLETE);
    }
    context.done();
    Ok(())
}

/// The exit code when not everything could be compared, or mended.
const INCOMPLETE: u8 = 1;

fn line(context: &mut Context, difference: &Difference, path: &ZkPath) -> Result<(), Stop> {
    let (kind, quorum) = (difference.kind.to_string(), difference.quorum);
    if context.out.is_json() {
        return context.out.item(&DifferenceItem { kind, quorum, path: path.as_str() });
    }
    context.out.line(format!("{kind:7}  {quorum}  {path}"))
}

/// Tells people how far it is, what came of it, and when it is ended early, where to go on.
struct Watch<'a, F: Fn(&ZkPath) -> ZkPath> {
    work: Repair,
    here: &'a F,
    tree: &'a Tree,
    found: BTreeMap<Kind, usize>,
    is_told: bool,
}

impl<F: Fn(&ZkPath) -> ZkPath> Watch<'_, F> {
    /// The next item. Meanwhile nobody waits for what has been found.
    async fn next(
        &mut self,
        context: &mut Context,
    ) -> Result<Option<Result<Difference, Error>>, Stop> {
        if let Some(one) = self.work.next().now_or_never() {
            return Ok(one);
        }
        context.out.flush()?;
        let is_watched = std::io::stderr().is_terminal();
        loop {
            match tokio::time::timeout(TOLD_EVERY, self.work.next()).await {
                Ok(one) => return Ok(one),
                Err(_) if is_watched => say(self.so_far()),
                Err(_) => {}
            }
        }
    }

    fn so_far(&self) -> String {
        let Progress { compared, waiting, next, .. } = self.work.progress();
        let at = next.map(|next| format!(", at {}", (self.here)(&next))).unwrap_or_default();
        format!("{compared} paths compared, {waiting} known{at}; {}", self.differences())
    }

    fn differences(&self) -> String {
        let total: usize = self.found.values().sum();
        let kinds: Vec<String> =
            self.found.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let verb = if self.tree.does == Does::Mends { " mended" } else { "" };
        match total {
            0 => "no differences".into(),
            1 => format!("1 difference{verb} ({})", kinds.join(", ")),
            _ => format!("{total} differences{verb} ({})", kinds.join(", ")),
        }
    }

    /// The last word on a tree that was gone through.
    fn end(&mut self, quorums: usize) {
        self.is_told = true;
        let Progress { compared, failed, next, .. } = self.work.progress();
        let errors = match failed {
            0 => String::new(),
            1 => "; 1 error: not everything was compared".into(),
            _ => format!("; {failed} errors: not everything was compared"),
        };
        let paths = if compared == 1 { "path" } else { "paths" };
        say(format_args!(
            "{}: {compared} {paths} on {quorums} quorums, {}{errors}",
            self.tree.path,
            self.differences()
        ));
        if let Some(next) = next {
            self.tell_where_to_go_on(&next);
        }
    }

    fn tell_where_to_go_on(&self, next: &ZkPath) {
        let trees = std::iter::once(&self.tree.path).chain(&self.tree.later);
        let trees: Vec<String> = trees.map(|path| quoted(path.as_str())).collect();
        say(format_args!(
            "it is not done; go on with: {} --from {} {}",
            self.tree.does.command(),
            quoted((self.here)(next).as_str()),
            trees.join(" ")
        ));
    }
}

impl<F: Fn(&ZkPath) -> ZkPath> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        if let (false, Some(next)) = (self.is_told, self.work.progress().next) {
            say(self.so_far());
            self.tell_where_to_go_on(&next);
        }
    }
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:@%+=".contains(c);
    if text.chars().all(is_plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
