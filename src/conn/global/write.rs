//! A write: to the first, which decides, and then to all mirrors side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join;
use tokio::sync::mpsc;

use super::agree::{Agreed, Checked, agree};
use super::bring::Job;
use super::count::{count, is_behind};
use super::guard::{CHECK, ROOM, Refusal, guarded, opened, steps};
use super::home::Home;
use super::identity::{Identity, Wrong};
use super::look::{Freshness, Look, What, look};
use super::needs::Needs;
use super::owed::Debt;
use super::touched::{Answered, Touched, stats, stats_each};
use super::{Busy, Shared};
use crate::background::KEEPER;
use crate::conn::{Conn as _, Responder};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MAX_REQUEST, MultiOp, MultiReply, Op, Read, Reply, Request};

impl Shared {
    /// Sends a write to the first, in its turn, and sees to the mirrors. Unless it belongs to a session, it goes
    /// out in the one in which the first was asked who it is; if that is over, it comes again.
    pub(super) fn write(
        self: &Arc<Self>,
        request: Request,
        first: Checked,
        mut responder: Responder<Reply>,
        busy: Busy,
    ) {
        let steps = steps(&request).unwrap_or_default();
        if let Err(err) = self.check_write(&request, &steps) {
            return responder.send(Err(err));
        }
        let touched = Touched::new(self, &request, &steps);
        let moment = self.tick();
        let call = |op: Op, path: &ZkPath| {
            let mut call = Request::new(op, path.clone());
            (call.deadline, call.session) = (request.deadline, request.session);
            self.first.conn.call(call)
        };
        // What was ephemeral is the first's alone, also when it ends; of others nobody need ask. One by one:
        // of many reads in one call, some would leave behind the write.
        let before: Vec<_> = {
            let own = self.own();
            let own = touched.deleted.iter().filter(|path| own.contains(*path));
            own.map(|path| (path.clone(), call(Op::Exists(LeaveWatch::No), path))).collect()
        };
        let Checked { identity: first, session } = first;
        let floor = self.floor(&first);
        let bound = Request { session: request.session.or(Some(session)), ..request.clone() };
        let answer = first_answer(self.clone(), &bound, &steps, &first, floor.unwrap_or(0));
        let paths: Vec<ZkPath> = touched.paths.iter().cloned().collect();
        let created = {
            let reads = touched.created.iter().cloned().map(Read::Exists).collect();
            let asked = touched.created.first().map(|path| call(Op::ReadMany(reads), path));
            (touched.created.clone(), asked)
        };
        let fences: BTreeSet<_> = paths.iter().map(Home::fence_of).collect();
        let fences: Vec<_> = fences.into_iter().collect();
        let what = What {
            home: &self.home,
            fences: &fences,
            paths: &paths,
            depth: touched.depth,
            freshness: Freshness::AsItIs,
            session: None,
            deadline: request.deadline,
        };
        let is_foreseen = !paths.is_empty() && touched.numbered.is_empty();
        let early: Vec<_> = self
            .mirrors
            .iter()
            .map(|mirror| is_foreseen.then(|| look(&mirror.quorum, what)))
            .collect();

        let shared = self.clone();
        let work = async move {
            let busy = busy;
            let answered = tokio::select! {
                answered = answer => answered,
                // It runs on if it was sent, and nobody will be told.
                () = responder.withdrawn() => {
                    let err = request.error(ErrorKind::OutcomeUnknown);
                    return shared.owe_all(touched.debts(), &err);
                }
            };
            let answered = match answered {
                Ok(answered) => answered,
                Err(Refusal::Guard) => {
                    let err = shared.wrong_first(&request).await;
                    return responder.send(Err(err));
                }
                // It was not sent: the first may be another quorum by now.
                Err(Refusal::Other(err))
                    if err.kind() == ErrorKind::SessionExpired && request.session.is_none() =>
                {
                    return shared.readmit(request, responder, busy, session, moment);
                }
                Err(Refusal::Other(err)) => {
                    if err.kind() == ErrorKind::OutcomeUnknown {
                        shared.owe_all(touched.debts(), &err);
                    }
                    return responder.send(Err(err));
                }
            };
            let count = answered.counted.map(|version| count(floor.unwrap_or(0), version));
            let is_less = |floor: i64| count.is_some_and(|count| !is_behind(floor, count));
            if floor.is_some_and(is_less) || shared.disbelieves(&first) {
                let by = Deadline::after(shared.options.wait);
                let mut noting = std::pin::pin!(shared.disbelieve(&shared.first, &first, by));
                // Before that is noted, others might count on.
                let noted = tokio::time::timeout(request.deadline.remaining(), &mut noting).await;
                let why = shared.first.wrong(&Wrong::Restored);
                let why = why.detail().unwrap_or_default();
                let err = request.error(ErrorKind::NotMirrored);
                let detail = format!("the write stands on the first alone: {why}");
                responder.send(Err(err.with_detail(detail)));
                if noted.is_err() {
                    noting.await;
                }
                return;
            }
            if let Some(count) = count {
                shared.counted(&first, count);
            }
            let before = stats_each(before).await;
            let outcome = answered.outcome(&shared, &request, &steps, &before);
            for path in outcome.passing {
                shared.mind(path);
            }
            // Servers before 3.8.2 do not tell it in a multi; it is read while mirrors are at work.
            let reply = async {
                let created = stats(created).await;
                answered.reply(&shared, &request, &created).await
            };
            if outcome.paths.is_empty() || shared.mirrors.is_empty() {
                return responder.send(reply.await);
            }
            let job = Arc::new(Job {
                moment,
                paths: outcome.paths,
                first: outcome.first,
                left: outcome.left,
                depth: touched.depth,
                identity: first,
                count,
                deadline: request.deadline,
            });
            let (enough, reply) = join(shared.mirror(&request, job, early), reply).await;
            responder.send(match (enough, reply) {
                (Err(err), Ok(reply)) => Err(naming(err, &request, &reply)),
                (enough, reply) => enough.and(reply),
            });
        };
        // Without a thread the responder is dropped, and tells it.
        let _ = KEEPER.spawn(work);
    }

    /// Refuses what could be written on the first and not on the mirrors, and what is not the user's.
    fn check_write(&self, request: &Request, steps: &[MultiOp]) -> Result<(), Error> {
        let paths = steps.iter().map(MultiOp::path);
        let reserved = paths.chain([&request.path]).find(|path| self.home.is_reserved(path));
        if let Some(reserved) = reserved {
            let err = Error::new(request.op.name(), reserved, ErrorKind::ReadOnly);
            return Err(err.with_detail("it belongs to sets of quorums themselves"));
        }
        let is_set = |step: &&MultiOp| matches!(step, MultiOp::Set { .. });
        let set = steps.iter().filter(is_set).map(MultiOp::path);
        let own = matches!(request.op, Op::SetAcl { .. }).then_some(&request.path);
        if let Some(path) = set.chain(own).find(|path| self.home.is_below(path)) {
            return Err(Error::new(request.op.name(), path, ErrorKind::ReadOnly).with_detail(format!(
                "the nodes of the set, {}, stand on it, so it is each quorum's own: write it on each of them",
                self.home.path()
            )));
        }
        let size = request.wire_size();
        // On a mirror each step may go alone, behind a check and some fences.
        let largest = steps.iter().map(MultiOp::wire_size).max().unwrap_or(size);
        if size + CHECK > MAX_REQUEST || largest + ROOM > MAX_REQUEST {
            let most = MAX_REQUEST - ROOM;
            return Err(request.error(ErrorKind::TooLarge).with_detail(format!(
                "the request has {size} bytes and sets of quorums take {most}; store less in one node"
            )));
        }
        Ok(())
    }

    /// Why a write was barred by its guard.
    async fn wrong_first(&self, request: &Request) -> Error {
        self.doubt();
        let by = request.deadline;
        let mirrors = (self.needs(request) == Needs::Mirrors).then_some(by);
        match agree(self, by, by, mirrors).await.and_then(Agreed::whole) {
            Ok(_) => request
                .error(ErrorKind::NotSent)
                .with_detail("the identity of the first has changed meanwhile; call again"),
            Err(err) => request.error(err.kind()).with_detail(err.detail().unwrap_or_default()),
        }
    }

    fn owe_all(self: &Arc<Self>, debts: Vec<Debt>, why: &Error) {
        for index in 0..self.mirrors.len() {
            self.owe(index, debts.clone(), why);
        }
    }

    /// Brings all mirrors up side by side, and returns when enough of them are: at once where none has to
    /// confirm.
    async fn mirror<F>(
        self: &Arc<Self>,
        request: &Request,
        job: Arc<Job>,
        early: Vec<Option<F>>,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<Look, Error>> + Send + 'static,
    {
        let (tell, mut told) = mpsc::unbounded_channel();
        let first = job.identity.clone();
        for (index, early) in early.into_iter().enumerate() {
            let (shared, job, tell) = (self.clone(), job.clone(), tell.clone());
            let busy = self.busy();
            let up = async move {
                let _busy = busy;
                let Some(mirror) = shared.mirrors.get(index) else { return };
                let bringing = async {
                    let early = match early {
                        Some(early) => early.await.ok(),
                        None => None,
                    };
                    mirror.bring_up(&shared, &job, early).await
                };
                let done = tokio::time::timeout(job.deadline.remaining(), bringing).await;
                let done = done.unwrap_or_else(|_| {
                    Err(Error::new("mirror", "", ErrorKind::Timeout)
                        .with_detail("it was not done by the deadline"))
                });
                if let Err(err) = &done {
                    shared.owe(index, job.paths.iter().cloned().map(Debt::Node), err);
                }
                // Nobody listens once enough have answered.
                let _ = tell.send((index, done));
            };
            // It is told below as one that did not answer.
            let _ = KEEPER.spawn(up);
        }
        drop(tell);
        let (mut have, mut lack) = (Vec::new(), Vec::new());
        while !self.is_enough(request, &first, &have)
            && let Some((index, done)) = told.recv().await
        {
            match done {
                Ok(()) => have.push(index),
                Err(err) => lack.push((index, err)),
            }
        }
        match self.is_enough(request, &first, &have) {
            true => Ok(()),
            false => Err(self.not_mirrored(request, &first, &have, &lack)),
        }
    }

    /// Whether these mirrors are enough to confirm a write to `first`. One that is not complete counts
    /// only for want of a complete one: it cannot take the first's place.
    fn is_enough(&self, request: &Request, first: &Identity, have: &[usize]) -> bool {
        let required = match request.is_confirmed_by_first() {
            true => 0,
            false => self.required(),
        };
        let may_follow =
            |index: &usize| self.mirrors.get(*index).is_some_and(|one| one.may_follow(first));
        let able = (0..self.mirrors.len()).filter(may_follow).count();
        let complete = have.iter().filter(|index| may_follow(index)).count();
        have.len() >= required && complete >= required.min(able)
    }

    /// Who has a write that too few have, who has not, and what to do.
    fn not_mirrored(
        &self,
        request: &Request,
        first: &Identity,
        have: &[usize],
        lack: &[(usize, Error)],
    ) -> Error {
        let mirror = |index: &usize| self.mirrors.get(*index);
        let mut on = vec![self.first.to_string()];
        on.extend(have.iter().filter_map(mirror).map(|mirror| match mirror.may_follow(first) {
            true => mirror.quorum.to_string(),
            false => format!("{} (which is not complete)", mirror.quorum),
        }));
        let off: Vec<String> =
            lack.iter().filter_map(|(index, err)| Some(mirror(index)?.quorum.blame(err))).collect();
        request.error(ErrorKind::NotMirrored).with_detail(format!(
            "the write stands on {}; not on {}; it is brought there while this connection lives, and \
             after that by {}",
            on.join(" and "),
            off.join("; nor on "),
            self.first.remedy.repair(),
        ))
    }
}

/// The error for a write that stands, with the names that were given: whoever made a node must find it.
fn naming(err: Error, request: &Request, reply: &Reply) -> Error {
    let steps = match &request.op {
        Op::Multi(steps) => &steps[..],
        _ => &[],
    };
    let made = match reply {
        Reply::Created(path, _) => vec![(&request.path, path)],
        Reply::Multi(replies) => steps
            .iter()
            .zip(replies)
            .filter_map(|(step, reply)| match reply {
                MultiReply::Created { path, .. } => Some((step.path(), path)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let named = made.into_iter().filter(|(asked, made)| asked != made);
    let names: Vec<&str> = named.map(|(_, made)| made.as_str()).collect();
    match (names.as_slice(), err.detail()) {
        ([_, ..], Some(detail)) => {
            let detail = format!("it made {}; {detail}", names.join(", "));
            err.with_detail(detail)
        }
        _ => err,
    }
}

/// Sends the write itself. A new access list cannot stand in a multi: its guard has passed before it, and
/// goes out once more right behind it.
fn first_answer(
    shared: Arc<Shared>,
    request: &Request,
    steps: &[MultiOp],
    first: &Identity,
    known: i64,
) -> impl Future<Output = Result<Answered, Refusal>> + Send + use<> {
    let acl =
        matches!(request.op, Op::SetAcl { .. }).then(|| shared.first.conn.call(request.clone()));
    let guarded = guarded(request, steps, &shared.home, first, known);
    let multi = shared.first.conn.call(guarded.clone());
    let request = request.clone();
    async move {
        let Some(acl) = acl else {
            let (replies, counted) = opened(&request, multi.await)?;
            return Ok(Answered { replies, acl: None, counted });
        };
        let stat = match acl.await {
            Ok(Reply::Stat(stat)) => stat,
            Ok(_) => return Err(Refusal::Other(request.error(ErrorKind::Unexpected))),
            Err(err) => return Err(Refusal::Other(err)),
        };
        let mut proof = opened(&request, multi.await);
        if let Err(Refusal::Other(_)) = proof {
            // No identity comes twice: what is so now was so then, in whatever session it is asked.
            let again = Request { session: None, ..guarded };
            proof = opened(&request, shared.first.conn.call(again).await);
        }
        match proof {
            Ok((_, counted)) => Ok(Answered { replies: Vec::new(), acl: Some(stat), counted }),
            Err(refusal) => {
                shared.doubt();
                let why = match refusal {
                    Refusal::Guard => "its identity changed at that moment".to_string(),
                    Refusal::Other(err) => format!("it could not be asked who it is since: {err}"),
                };
                let err = request.error(ErrorKind::OutcomeUnknown);
                Err(Refusal::Other(err.with_detail(format!(
                    "the access list was set on {}, but {why}: if it was the first no more, that \
                     counts for nothing; read it again",
                    shared.first
                ))))
            }
        }
    }
}
