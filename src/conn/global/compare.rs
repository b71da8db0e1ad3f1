//! Reads that ask all quorums, and tell when they differ.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::{join, join_all};

use super::Shared;
use super::identity::Identity;
use super::quorum::Quorum;
use crate::background::KEEPER;
use crate::cells::Reads;
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::{Acl, Stat};
use crate::path::ZkPath;
use crate::pause;
use crate::request::{LeaveWatch, Op, Read, ReadReply, Reply, Request};

/// So many looks must show the same difference before it is told: a write may be on its way.
const LOOKS: u32 = 5;

/// How much of differing data an error shows.
const SHOWN: usize = 24;

/// What quorums are compared by: the answers without versions, numbers and times, which are each
/// quorum's own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Absent,
    /// It is there, and may be all that is known of it.
    There,
    Data(bytes::Bytes),
    Names(Vec<String>),
    /// What a list grants.
    Acl(BTreeSet<String>),
    Refused(ErrorKind),
}

/// What all quorums answered, and a number of each that moves with the answer.
type Seen = Vec<(Result<Part, Error>, i64)>;

/// A read that was looked at, and did not agree yet.
struct Open {
    request: Request,
    seen: Seen,
    /// How often in a row it has shown the same difference.
    same: u32,
}

/// The same request as reads without a watch; `None` for what only the first can answer.
fn plain(request: &Request) -> Option<Vec<Request>> {
    let again = |op: Op, path: &ZkPath| {
        let mut again = Request::new(op, path.clone());
        again.deadline = request.deadline;
        again
    };
    let path = &request.path;
    Some(match &request.op {
        Op::Get(_) => vec![again(Op::Get(LeaveWatch::No), path)],
        Op::Children(_) => vec![again(Op::Children(LeaveWatch::No), path)],
        Op::Exists(_) => vec![again(Op::Exists(LeaveWatch::No), path)],
        Op::Acl => vec![again(Op::Acl, path)],
        Op::ReadMany(reads) => reads
            .iter()
            .map(|read| match read {
                Read::Get(path) => again(Op::Get(LeaveWatch::No), path),
                Read::Children(path) => again(Op::Children(LeaveWatch::No), path),
                Read::Exists(path) => again(Op::Exists(LeaveWatch::No), path),
            })
            .collect(),
        _ => return None,
    })
}

impl Shared {
    /// A request that changes nothing.
    pub(super) fn read(
        self: &Arc<Self>,
        request: Request,
        known: Option<&Identity>,
    ) -> Pending<Reply> {
        if let Op::Session = request.op {
            return self.session(request, known);
        }
        if let Op::Hold(from) = request.op {
            return self.hold(request, from, known);
        }
        let compared = match self.options.reads {
            Reads::Compare => plain(&request),
            Reads::First => None,
        };
        let Some(mut single) = compared else { return self.first.conn.call(request) };
        single.retain(|request| self.home.is_mirrored(&request.path));
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody sees to it");
        let first = self.first.conn.call(request.clone());
        // They go out now, all at once.
        let looks: Vec<_> = single.iter().map(|request| self.both(request)).collect();
        let (responder, pending) = Pending::channel(move || gone);
        let shared = self.clone();
        // Without a thread the responder is dropped, and tells it.
        let _ = KEEPER.spawn(async move {
            let reply = first.await;
            let seen = join_all(looks).await;
            let open = single.into_iter().zip(seen);
            let open = open.map(|(request, seen)| Open { request, seen, same: 0 });
            responder.send(match shared.compare(open.collect()).await {
                Ok(()) => reply,
                Err(err) => Err(err.during(request.op.name())),
            });
        });
        pending
    }

    /// One look at all quorums: the first's answer and those of the mirrors.
    fn both(self: &Arc<Self>, request: &Request) -> impl Future<Output = Seen> + Send + use<> {
        let answers: Vec<_> =
            self.quorums().map(|quorum| quorum.conn.call(request.clone())).collect();
        async move { join_all(answers).await.into_iter().map(part).collect() }
    }

    /// Looks until the quorums agree on all of them, or differ on one in the same way again and again. Those
    /// that differ are looked at again together.
    async fn compare(self: &Arc<Self>, mut open: Vec<Open>) -> Result<(), Error> {
        loop {
            let (left, first) = self.left(open).await?;
            let Some((request, err)) = first else { return Ok(()) };
            open = left;
            let most = open.iter().map(|open| open.same).max().unwrap_or_default();
            // Seen once, it may be a write on its way.
            let undecided = || match open.first().is_some_and(|open| open.same > 1) {
                true => err.clone(),
                false => request.error(ErrorKind::Contended).with_detail(
                    "it changed whenever all quorums were looked at, so nobody can say by the \
                     deadline whether they agree",
                ),
            };
            pause::after(most + LOOKS, request.deadline.remaining()).await;
            if request.deadline.is_past() {
                return Err(undecided());
            }
            let synced = self.quorums().map(|quorum| {
                let mut sync = Request::new(Op::Sync, request.path.clone());
                sync.deadline = request.deadline;
                quorum.conn.call(sync)
            });
            let synced: Vec<_> = synced.collect();
            let again: Vec<_> = open.iter().map(|open| self.both(&open.request)).collect();
            let (synced, again) = join(join_all(synced), join_all(again)).await;
            for (index, (quorum, synced)) in self.quorums().zip(synced).enumerate() {
                let looks = open.iter().zip(&again).filter_map(|(open, seen)| {
                    let (part, _) = seen.get(index)?;
                    Some((&open.request.path, part.as_ref().err()?.clone()))
                });
                let failed = synced.err().map(|err| (&request.path, err));
                if let Some((path, err)) = failed.into_iter().chain(looks).next() {
                    return Err(match request.deadline.is_past() {
                        true => undecided(),
                        false => quorum.told(err).at(path),
                    });
                }
            }
            for (open, seen) in open.iter_mut().zip(again) {
                // What still moves will be looked at for longer.
                let moments = |seen: &Seen| seen.iter().map(|(_, at)| *at).collect::<Vec<_>>();
                if moments(&seen) != moments(&open.seen) {
                    open.same = 0;
                }
                open.seen = seen;
            }
        }
    }

    /// Those that do not agree as they were seen, with the first of them and in what it differs.
    ///
    /// # Errors
    ///
    /// When one has shown the same difference often enough, or could not be compared.
    async fn left(&self, open: Vec<Open>) -> Result<(Vec<Open>, Option<(Request, Error)>), Error> {
        let looked = open.into_iter().map(|mut open| async move {
            self.without_ephemerals(&open.request, &mut open.seen).await;
            let err = self.difference(&open.request, &open.seen)?;
            open.same += 1;
            Some((open, err))
        });
        let (mut left, mut first) = (Vec::new(), None);
        for (open, err) in join_all(looked).await.into_iter().flatten() {
            if err.kind() != ErrorKind::Diverged || open.same >= LOOKS {
                return Err(err);
            }
            first.get_or_insert_with(|| (open.request.clone(), err));
            left.push(open);
        }
        Ok((left, first))
    }

    /// Takes out what is the first's alone.
    async fn without_ephemerals(&self, request: &Request, seen: &mut Seen) {
        let Some(((first, _), mirrors)) = seen.split_first_mut() else { return };
        let there = match first {
            Ok(Part::Names(names)) => {
                let others: HashSet<&String> = mirrors
                    .iter()
                    .filter_map(|(part, _)| match part {
                        Ok(Part::Names(names)) => Some(names),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                let suspects: Vec<String> =
                    names.iter().filter(|name| !others.contains(name)).cloned().collect();
                if suspects.is_empty() {
                    return;
                }
                let reads = suspects.iter().map(|name| Read::Exists(request.path.child(name)));
                let found = match self.ask_first(request, Op::ReadMany(reads.collect())).await {
                    Ok(Reply::Many(found)) => found,
                    _ => Vec::new(),
                };
                let gone: HashSet<&String> = suspects
                    .iter()
                    .zip(found)
                    .filter(|(_, found)| match found {
                        Ok(ReadReply::Exists(stat)) => stat.is_none_or(|stat| stat.is_ephemeral()),
                        _ => false,
                    })
                    .map(|(name, _)| name)
                    .collect();
                names.retain(|name| !gone.contains(name));
                return;
            }
            Ok(Part::Absent | Part::Refused(_)) | Err(_) => return,
            // Where all agree there is nothing to take out.
            Ok(first)
                if mirrors
                    .iter()
                    .all(|(part, _)| part.as_ref().is_ok_and(|part| part == first)) =>
            {
                return;
            }
            Ok(_) => self.ask_first(request, Op::Exists(LeaveWatch::No)).await,
        };
        if matches!(there, Ok(Reply::Exists(Some(stat), _)) if stat.is_ephemeral()) {
            *first = Ok(Part::Absent);
        }
    }

    /// Asks the first something else at the path of `request`, and by its deadline.
    fn ask_first(&self, request: &Request, op: Op) -> Pending<Reply> {
        let mut asked = Request::new(op, request.path.clone());
        asked.deadline = request.deadline;
        self.first.conn.call(asked)
    }

    /// What is wrong with an answer, if anything is.
    fn difference(&self, request: &Request, seen: &Seen) -> Option<Error> {
        let ((first, _), mirrors) = seen.split_first()?;
        let Ok(first) = first else { return None };
        let mut differ = Vec::new();
        for ((part, _), mirror) in mirrors.iter().zip(&self.mirrors) {
            match part {
                Err(err) => return Some(mirror.quorum.told(err.clone()).at(&request.path)),
                Ok(part) if part == first => {}
                Ok(part) => differ.push(shown(&mirror.quorum, first, part)),
            }
        }
        (!differ.is_empty()).then(|| {
            request.error(ErrorKind::Diverged).with_detail(format!(
                "{}; see {}, and mend it by {}",
                differ.join("; "),
                self.first.remedy.diff(),
                self.first.remedy.repair()
            ))
        })
    }
}

/// What an answer is compared by, and a number that moves with it.
fn part(answer: Result<Reply, Error>) -> (Result<Part, Error>, i64) {
    let of = |stat: &Stat| stat.mzxid.max(stat.pzxid);
    match answer {
        Ok(Reply::Node(node, _)) => {
            let moment = of(&node.stat);
            (Ok(Part::Data(node.data)), moment)
        }
        Ok(Reply::Children(children, _)) => {
            let moment = of(&children.stat);
            (Ok(Part::Names(children.names)), moment)
        }
        Ok(Reply::Exists(Some(stat), _)) => (Ok(Part::There), of(&stat)),
        Ok(Reply::Exists(None, _)) => (Ok(Part::Absent), 0),
        Ok(Reply::Acl(acl, stat)) => (Ok(Part::Acl(Acl::granted(&acl))), i64::from(stat.aversion)),
        Err(err) if err.kind() == ErrorKind::NoNode => (Ok(Part::Absent), 0),
        Err(err) if err.kind() == ErrorKind::NoAuth => (Ok(Part::Refused(err.kind())), 0),
        Err(err) => (Err(err), 0),
        Ok(_) => (Ok(Part::There), 0),
    }
}

/// The parts in which a mirror differs from the first.
fn shown(mirror: &Quorum, first: &Part, part: &Part) -> String {
    match (first, part) {
        (Part::Data(first), Part::Data(data)) => {
            let same = first.iter().zip(data).take_while(|(one, other)| one == other).count();
            format!(
                "from byte {same} on the first has {} and {mirror} has {}",
                excerpt(first, same),
                excerpt(data, same)
            )
        }
        (Part::Names(first), Part::Names(names)) => {
            let only = |one: &[String], other: &[String]| {
                let only: Vec<&str> =
                    one.iter().filter(|name| !other.contains(name)).map(String::as_str).collect();
                match only.len() {
                    0 => "none".to_string(),
                    count if count > 5 => {
                        format!("{} and {} more", only[..5].join(", "), count - 5)
                    }
                    _ => only.join(", "),
                }
            };
            format!(
                "only the first has the children {}, only {mirror} has {}",
                only(first, names),
                only(names, first)
            )
        }
        (first, part) => format!("the first has {}, {mirror} has {}", worded(first), worded(part)),
    }
}

fn worded(part: &Part) -> String {
    match part {
        Part::Absent => "no node that is to be mirrored".into(),
        Part::Acl(acl) => {
            let entries: Vec<&str> = acl.iter().map(String::as_str).collect();
            format!("the access list {}", entries.join(", "))
        }
        Part::Refused(kind) => format!("an access list that says: {kind}"),
        Part::There | Part::Data(_) | Part::Names(_) => "a node".into(),
    }
}

fn excerpt(data: &[u8], from: usize) -> String {
    let rest = data.get(from..).unwrap_or_default();
    let start = &rest[..rest.len().min(SHOWN)];
    let more = if rest.len() > SHOWN { "…" } else { "" };
    format!("\"{}{more}\" ({} bytes in all)", start.escape_ascii(), data.len())
}
