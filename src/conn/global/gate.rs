//! The gate before the first: nobody writes before it is known who the quorums are.
//!
//! ```text
//!              a write                     they are right
//!   unchecked ─────────▶ checking, calls   ───────────────▶ open ──▶ a new access list: calls wait in
//!      ▲                 wait in order                        │      order until the first has said that
//!      │                     │ they are not                   │      it still is one
//!      └─────────────────────┴────────────────────────────────┘ somebody says otherwise
//! ```
//!
//! What is for the first alone, as ephemeral nodes are, needs the first, and no mirror's word; then the
//! gate is open for that only. Calls that only read pass unless they would overtake one that waits.
//! Nobody waits here beyond his own deadline; the quorums are asked for as long as somebody does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;
use super::init::{InitOptions, init};
use super::who::Agreed;
use super::{Busy, Shared, who};
use crate::background::{self, KEEPER};
use crate::conn::{Conn as _, Pending, Responder};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::node::CreateOptions;
use crate::path::ZkPath;
use crate::request::{MultiOp, Op, Reply, Request};

/// Who the quorums are, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Standing,
    /// Calls that go out next, in this order.
    leaving: VecDeque<Waiting>,
    is_closed: bool,
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Unchecked,
    Checking(VecDeque<Waiting>),
    /// Who the first is; of too many mirrors it is not known whether they are its mirrors.
    Alone(Identity),
    /// Who the first is, and enough mirrors are its mirrors.
    Open(Identity),
}

/// A call that waits for the check, or for its turn.
#[derive(Debug)]
struct Waiting {
    request: Request,
    responder: Responder<Reply>,
    busy: Busy,
    needs: Needs,
    guard: Guard,
}

/// Who has to be who he should be before a call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// It only reads.
    Nobody,
    /// It changes what is the first's alone.
    First,
    Mirrors,
}

/// Whether the first has to say that it still is one right before a call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// The call says so itself, or changes nothing.
    Within,
    Wanted,
    UnderWay,
    Passed(Chosen),
}

/// Who chose the session in which a call is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    ByCaller,
    ByUs,
}

/// How long mirrors that must confirm are waited for, where others stand behind that need none of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// What those want who wait.
struct Wanted {
    soonest: Deadline,
    latest: Deadline,
    needs: Needs,
}

impl Shared {
    /// Who must be known for a request.
    fn needs(&self, request: &Request) -> Needs {
        let path = &request.path;
        let of_own = |path: &ZkPath| match self.own().contains(path) {
            true => Needs::First,
            false => Needs::Mirrors,
        };
        let of_new = |options: &CreateOptions| match options.mode.is_ephemeral() {
            true => Needs::First,
            false => Needs::Mirrors,
        };
        match &request.op {
            Op::Create { options, .. } => of_new(options),
            Op::Set { .. } | Op::Delete { .. } => of_own(path),
            Op::Multi(ops) => {
                let of = |op: &MultiOp| match op {
                    MultiOp::Check { .. } => Needs::Nobody,
                    MultiOp::Create { options, .. } => of_new(options),
                    op => of_own(op.path()),
                };
                ops.iter().map(of).max().unwrap_or(Needs::Nobody)
            }
            op if op.is_write() => Needs::Mirrors,
            _ => Needs::Nobody,
        }
    }

    /// Lets a call through in its turn.
    pub(super) fn enter(self: &Arc<Self>, request: Request) -> Pending<Reply> {
        if let Err(err) = request.check().and_then(|()| self.check_inside(&request)) {
            return Pending::ready(Err(err));
        }
        if let Some(answers) = self.read_inside(&request) {
            return answers;
        }
        // Held while a request goes out: their order is that of the calls.
        let mut gate = self.gate();
        if gate.is_closed {
            return Pending::ready(Err(request.error(ErrorKind::Closed)));
        }
        let needs = self.needs(&request);
        let is_free = gate.leaving.is_empty() && !matches!(gate.standing, Standing::Checking(_));
        if is_free && needs == Needs::Nobody {
            return self.read(request, gate.first());
        }
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody is left to send it");
        let (responder, pending) = Pending::channel(move || gone);
        let guard = match &request.op {
            // No multi can hold it.
            Op::SetAcl { .. } => Guard::Wanted,
            _ => Guard::Within,
        };
        let waiting = Waiting { request, responder, busy: self.busy(), needs, guard };
        if let Standing::Checking(queue) = &mut gate.standing {
            queue.push_back(waiting);
            self.queued.notify_one();
            return pending;
        }
        gate.leaving.push_back(waiting);
        if gate.leaving.len() == 1 {
            drop(gate);
            let shared = self.clone();
            // What a write sends to a quorum goes out from the thread on which sessions live, so that
            // it leaves together: one by one, the second packet would wait for an answer to the first.
            if KEEPER.spawn(async move { shared.send_off() }).is_err() {
                self.gate().leaving.clear();
            }
        }
        pending
    }

    /// Sends all that is to leave.
    fn send_off(self: &Arc<Self>) {
        let mut gate = self.gate();
        while let Some(mut waiting) = gate.leaving.pop_front() {
            // Dropped before it was sent: withdrawn.
            if waiting.responder.is_withdrawn() {
                continue;
            }
            let Waiting { guard, request, needs, .. } = &waiting;
            let is_known = *needs == Needs::Nobody || self.knows_the_count();
            let first = gate.for_who(*needs).filter(|_| is_known).cloned();
            let next = match first {
                first if *needs == Needs::Nobody => {
                    let Waiting { request, responder, busy, .. } = waiting;
                    forward(self.read(request, first.as_ref()), responder, busy);
                    continue;
                }
                Some(first) if *guard != Guard::Wanted => {
                    let Waiting { request, responder, busy, guard, .. } = waiting;
                    let chosen = match guard {
                        Guard::Passed(chosen) => chosen,
                        _ => Chosen::ByCaller,
                    };
                    self.write(request, first, chosen, responder, busy);
                    continue;
                }
                first => first,
            };
            let request = request.clone();
            if next.is_some() {
                waiting.guard = Guard::UnderWay;
            }
            let queue = std::iter::once(waiting).chain(gate.leaving.drain(..)).collect();
            gate.standing = Standing::Checking(queue);
            drop(gate);
            let shared = self.clone();
            let spawned = match next {
                Some(first) => KEEPER.spawn(async move { shared.guard(first, request).await }),
                None => KEEPER.spawn(async move { shared.check().await }),
            };
            // Without a thread the responders are dropped, and tell it.
            if spawned.is_err() {
                self.gate().standing = Standing::Unchecked;
            }
            return;
        }
    }

    /// Opens the gate to those who wait, in their order.
    fn open(self: &Arc<Self>, standing: Standing) {
        if let Standing::Alone(first) | Standing::Open(first) = &standing {
            self.in_epoch_of(first);
        }
        let mut gate = self.gate();
        let Standing::Checking(queue) = std::mem::replace(&mut gate.standing, standing) else {
            // It was closed meanwhile.
            gate.standing = Standing::Unchecked;
            return;
        };
        gate.leaving = queue;
        drop(gate);
        self.send_off();
    }

    /// Asks who they are, and lets those in who wait.
    async fn check(self: Arc<Self>) {
        let mut standing = Standing::Unchecked;
        while let Some(Wanted { soonest, latest, needs }) = self.waits() {
            let while_ = latest.min(Deadline::after(PATIENCE));
            let mirrors = (needs == Needs::Mirrors).then_some(while_);
            let asking = async {
                if self.begins {
                    init(&self, InitOptions::default()).await?;
                }
                who::agree(&self, soonest, latest, mirrors).await
            };
            match self.attend(asking).await {
                None => break,
                Some(Ok(Agreed { first, lacking: None })) if mirrors.is_some() => {
                    return self.open(Standing::Open(first));
                }
                Some(Ok(Agreed { first, lacking })) => {
                    standing = Standing::Alone(first.clone());
                    if let Some(err) = lacking {
                        // They may come yet, and nobody stands behind who needs none of them.
                        let is_early = while_.is_past() && while_ < latest;
                        if is_early && !self.is_holding_up() {
                            continue;
                        }
                        self.refuse(&err, Needs::Mirrors, latest);
                    }
                    self.let_by(Some(&first));
                }
                // Whoever came meanwhile and has more time has it asked again.
                Some(Err(err)) => {
                    standing = Standing::Unchecked;
                    self.refuse(&err, Needs::First, latest);
                    self.let_by(None);
                }
            }
        }
        // Somebody may have come right now.
        self.open(standing);
    }

    /// Whether somebody who needs no mirror stands behind one who does.
    fn is_holding_up(&self) -> bool {
        let Standing::Checking(queue) = &self.gate().standing else { return false };
        let mut behind = queue.iter().skip_while(|waiting| waiting.needs < Needs::Mirrors);
        behind.any(|waiting| waiting.needs < Needs::Mirrors)
    }

    /// Sends those who stand in front of whoever still has to wait.
    fn let_by(self: &Arc<Self>, first: Option<&Identity>) {
        if let Some(first) = first {
            self.in_epoch_of(first);
        }
        let most = if first.is_some() { Needs::First } else { Needs::Nobody };
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return };
        while queue.front().is_some_and(|waiting| waiting.needs <= most) {
            let Some(Waiting { request, responder, busy, needs, .. }) = queue.pop_front() else {
                return;
            };
            match first {
                Some(first) if needs == Needs::First => {
                    self.write(request, first.clone(), Chosen::ByCaller, responder, busy);
                }
                first => forward(self.read(request, first), responder, busy),
            }
        }
    }

    /// Has the first say that it is still `first`, for a new access list that is sent right behind, in
    /// the same session.
    async fn guard(self: Arc<Self>, first: Identity, request: Request) {
        let asking = async {
            let session = match request.session {
                Some(session) => session,
                None => {
                    let mut asked = Request::new(Op::Session, self.home.path().clone());
                    asked.deadline = request.deadline;
                    match self.first.conn.call(asked).await? {
                        Reply::Session(session) => session.id(),
                        _ => return Err(request.error(ErrorKind::Unexpected)),
                    }
                }
            };
            let check = Op::Multi(vec![self.home.check(&first)]);
            let mut check = Request::new(check, self.home.path().clone());
            (check.deadline, check.session) = (request.deadline, Some(session));
            self.first.conn.call(check).await.map(|_| session)
        };
        let Some(answer) = self.attend(asking).await else {
            return self.open(Standing::Unchecked);
        };
        let mut open = Standing::Open(first);
        let mut refused = None;
        if let Standing::Checking(queue) = &mut self.gate().standing
            // If it is not there, its time was over.
            && let Some(index) = queue.iter().position(|one| one.guard == Guard::UnderWay)
            && let Some(waiting) = queue.get_mut(index)
        {
            match &answer {
                Ok(session) => {
                    let by_caller = waiting.request.session.is_some();
                    let chosen = if by_caller { Chosen::ByCaller } else { Chosen::ByUs };
                    waiting.guard = Guard::Passed(chosen);
                    waiting.request.session = Some(*session);
                }
                Err(err) if err.index().is_some() => waiting.guard = Guard::Wanted,
                Err(err) => refused = queue.remove(index).map(|waiting| (waiting, err.clone())),
            }
        }
        if let Err(err) = &answer
            && err.index().is_some()
        {
            open = Standing::Unchecked;
        }
        if let Some((Waiting { request, responder, .. }, why)) = refused {
            let kind = match why.kind() {
                // That of the caller is over; of any other nobody has to know.
                ErrorKind::SessionExpired if request.session.is_some() => why.kind(),
                ErrorKind::Closed => why.kind(),
                _ => ErrorKind::NotSent,
            };
            let err = request.error(kind).with_detail(self.first.blame(&why));
            responder.send(Err(err));
        }
        self.open(open);
    }

    /// Carries out `work` while the deadlines of those who wait are kept; `None` once nobody is left.
    async fn attend<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let next = self.expire()?;
            tokio::select! {
                done = &mut work => return Some(done),
                () = background::sleep(next.remaining()) => {}
                () = self.queued.notified() => {}
            }
        }
    }

    /// Who the first is, if that is known, and that enough mirrors are its mirrors.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.gate().for_who(Needs::Mirrors).cloned()
    }

    /// Has everybody asked again before the next write.
    pub(super) fn doubt(&self) {
        let mut gate = self.gate();
        if let Standing::Open(_) | Standing::Alone(_) = gate.standing {
            gate.standing = Standing::Unchecked;
        }
    }

    /// Lets nobody in any more. Those who wait are still seen to. Whether this is news.
    pub(super) fn shut(&self) -> bool {
        !std::mem::replace(&mut self.gate().is_closed, true)
    }

    /// Sends those away who wait: they have not been sent.
    pub(super) fn clear(&self) {
        let standing = std::mem::take(&mut self.gate().standing);
        if let Standing::Checking(queue) = standing {
            for Waiting { request, responder, .. } in queue {
                responder.send(Err(request.error(ErrorKind::Closed)));
            }
        }
        self.queued.notify_one();
    }

    /// Who must be known for those who wait to write, and by when they want an answer: whoever waits
    /// least, and whoever waits longest.
    fn waits(&self) -> Option<Wanted> {
        let Standing::Checking(queue) = &self.gate().standing else { return None };
        let waiting = || queue.iter().filter(|waiting| waiting.needs > Needs::Nobody);
        let deadlines = || waiting().map(|waiting| waiting.request.deadline);
        let needs = waiting().map(|waiting| waiting.needs).max()?;
        Some(Wanted { soonest: deadlines().min()?, latest: deadlines().max()?, needs })
    }

    /// Answers those whose time is over, and says when the next one's is; `None` with nobody left.
    fn expire(&self) -> Option<Deadline> {
        let late = self.take_out(|waiting| waiting.request.deadline.is_past());
        for Waiting { request, responder, .. } in late {
            let err = request.error(ErrorKind::NotSent);
            let why = "the quorums did not say who they are by the deadline";
            responder.send(Err(err.with_detail(why)));
        }
        match &self.gate().standing {
            Standing::Checking(queue) => queue.iter().map(|waiting| waiting.request.deadline).min(),
            _ => None,
        }
    }

    /// Tells those who were there when the quorums were asked until `asked`, and need at least so much, what
    /// came of it.
    fn refuse(&self, err: &Error, needs: Needs, asked: Deadline) {
        let is_meant =
            |waiting: &Waiting| waiting.needs >= needs && waiting.request.deadline <= asked;
        for Waiting { request, responder, .. } in self.take_out(is_meant) {
            let err = request.error(err.kind()).with_detail(err.detail().unwrap_or_default());
            responder.send(Err(err));
        }
    }

    fn take_out(&self, is_meant: impl Fn(&Waiting) -> bool) -> VecDeque<Waiting> {
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return VecDeque::new() };
        let (out, left) = std::mem::take(queue).into_iter().partition(is_meant);
        *queue = left;
        out
    }
}

impl Gate {
    /// The first, if it is known.
    fn first(&self) -> Option<&Identity> {
        self.for_who(Needs::First)
    }

    /// The first, if as much is known as whoever needs so much must know.
    fn for_who(&self, needs: Needs) -> Option<&Identity> {
        match &self.standing {
            Standing::Open(first) => Some(first),
            Standing::Alone(first) if needs < Needs::Mirrors => Some(first),
            _ => None,
        }
    }
}

/// Gives an answer on; whoever no longer waits withdraws what was asked.
fn forward(answer: Pending<Reply>, mut responder: Responder<Reply>, busy: Busy) {
    // Without a thread the responder is dropped, and tells it.
    let _ = KEEPER.spawn(async move {
        let _busy = busy;
        tokio::select! {
            answer = answer => responder.send(answer),
            () = responder.withdrawn() => {}
        }
    });
}
