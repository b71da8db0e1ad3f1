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
//! gate is open for that only. That a node is ephemeral is only remembered, so the first is asked for it
//! right before, in the same session, as long as no mirror would get what is written. Calls that only read pass unless they would overtake one that waits.
//! Nobody waits here beyond his own deadline; the quorums are asked for as long as somebody does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;
use super::init::{InitOptions, init};
use super::needs::{Chosen, Guard, Needs};
use super::who::Agreed;
use super::{Busy, Shared, who};
use crate::background::{self, KEEPER};
use crate::conn::{Conn as _, Pending, Responder};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply, Request};

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
    Checking(Queue),
    /// Who the first is; of too many mirrors it is not known whether they are its mirrors.
    Alone(Identity),
    /// Who the first is, and enough mirrors are its mirrors.
    Open(Identity),
}

/// Calls that wait for the check, in their order.
#[derive(Debug)]
struct Queue {
    calls: VecDeque<Waiting>,
    /// When none of them is late yet.
    soonest: Deadline,
}

impl Queue {
    fn new(calls: VecDeque<Waiting>) -> Self {
        let soonest = calls.iter().map(|waiting| waiting.request.deadline).min();
        Queue { calls, soonest: soonest.unwrap_or(Deadline::now()) }
    }

    fn push(&mut self, waiting: Waiting) {
        self.soonest = self.soonest.min(waiting.request.deadline);
        self.calls.push_back(waiting);
    }
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

/// How many calls may wait at once; another one is refused as not sent.
const WAITING: usize = 64 * 1024;

/// How long mirrors that must confirm are waited for, where others stand behind that need none of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of whoever stands in front once others were let by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// It needs more than is known.
    Waiting,
    /// The first is to be asked right before it.
    Asking,
}

/// What those want who wait.
struct Wanted {
    soonest: Deadline,
    latest: Deadline,
    needs: Needs,
}

impl Shared {
    /// Whether the first has to be asked right before a call that needs nobody else.
    fn is_asked_before(&self, waiting: &Waiting) -> bool {
        match waiting.guard {
            Guard::Wanted => true,
            Guard::Within => !self.relied(&waiting.request).is_empty(),
            Guard::UnderWay | Guard::Passed(_) => false,
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
        if gate.waiting() >= WAITING {
            gate.drop_withdrawn();
        }
        if gate.waiting() >= WAITING {
            let err = request.error(ErrorKind::NotSent);
            return Pending::ready(Err(err.with_detail(format!(
                "{WAITING} requests wait for this set already; call it with fewer at once"
            ))));
        }
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody is left to send it");
        let (responder, pending) = Pending::channel(move || gone);
        let guard = Guard::of(&request);
        let waiting = Waiting { request, responder, busy: self.busy(), needs, guard };
        if let Standing::Checking(queue) = &mut gate.standing {
            queue.push(waiting);
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
            // What it changes may be ephemeral no more.
            waiting.needs = waiting.needs.max(self.needs(&waiting.request));
            let needs = waiting.needs;
            let is_known = needs == Needs::Nobody || self.knows_the_count();
            let first = gate.for_who(needs).filter(|_| is_known).cloned();
            let is_asked = match &gate.standing {
                Standing::Alone(_) => self.is_asked_before(&waiting),
                _ => waiting.guard == Guard::Wanted,
            };
            let next = match first {
                first if needs == Needs::Nobody => {
                    let Waiting { request, responder, busy, .. } = waiting;
                    forward(self.read(request, first.as_ref()), responder, busy);
                    continue;
                }
                Some(first) if !is_asked => {
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
            let request = waiting.request.clone();
            if next.is_some() {
                waiting.guard = Guard::UnderWay;
            }
            let queue = std::iter::once(waiting).chain(gate.leaving.drain(..)).collect();
            let checking = Standing::Checking(Queue::new(queue));
            let standing = std::mem::replace(&mut gate.standing, checking);
            drop(gate);
            let shared = self.clone();
            let spawned = match next {
                Some(first) => {
                    KEEPER.spawn(async move { shared.guard(standing, first, request).await })
                }
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
        gate.leaving = queue.calls;
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
                    if self.let_by(Some(&first)) == By::Asking {
                        break;
                    }
                }
                // Whoever came meanwhile and has more time has it asked again.
                Some(Err(err)) => {
                    standing = Standing::Unchecked;
                    self.refuse(&err, Needs::First, latest);
                    let _ = self.let_by(None);
                }
            }
        }
        // Somebody may have come right now.
        self.open(standing);
    }

    /// Whether somebody who needs no mirror stands behind one who does.
    fn is_holding_up(&self) -> bool {
        let Standing::Checking(queue) = &self.gate().standing else { return false };
        let mut behind = queue.calls.iter().skip_while(|waiting| waiting.needs < Needs::Mirrors);
        behind.any(|waiting| waiting.needs < Needs::Mirrors)
    }

    /// Sends those who stand in front of whoever still has to wait, be it only for a word of the first.
    fn let_by(self: &Arc<Self>, first: Option<&Identity>) -> By {
        if let Some(first) = first {
            self.in_epoch_of(first);
        }
        let most = if first.is_some() { Needs::First } else { Needs::Nobody };
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return By::Waiting };
        while let Some(front) = queue.calls.front_mut() {
            front.needs = front.needs.max(self.needs(&front.request));
            if front.needs > most {
                break;
            }
            if front.needs == Needs::First && self.is_asked_before(front) {
                return By::Asking;
            }
            let Some(Waiting { request, responder, busy, needs, .. }) = queue.calls.pop_front()
            else {
                break;
            };
            match first {
                Some(first) if needs == Needs::First => {
                    self.write(request, first.clone(), Chosen::ByCaller, responder, busy);
                }
                first => forward(self.read(request, first), responder, busy),
            }
        }
        By::Waiting
    }

    /// Has the first say that it is still `first`, and what is ephemeral there, for a call that is sent right
    /// behind, in the same session. Then all is as it was: `standing`.
    async fn guard(self: Arc<Self>, standing: Standing, first: Identity, request: Request) {
        // With mirrors that are known it does not matter what it was: they get what they are to have.
        let relied = match standing {
            Standing::Alone(_) => self.relied(&request),
            _ => Vec::new(),
        };
        let asking = async {
            let home = self.home.path();
            let session = match request.session {
                Some(session) => session,
                None => self.first.session(home, request.deadline).await?,
            };
            let call = |op: Op, path: &ZkPath| {
                let mut asked = Request::new(op, path.clone());
                (asked.deadline, asked.session) = (request.deadline, Some(session));
                self.first.conn.call(asked)
            };
            let check = call(Op::Multi(vec![self.home.check(&first)]), home);
            let looks = relied.iter().map(|path| (path, call(Op::Exists(LeaveWatch::No), path)));
            let looks: Vec<_> = looks.collect();
            check.await?;
            let mut lasting = Vec::new();
            for (path, look) in looks {
                if let Reply::Exists(Some(stat), _) = look.await?
                    && !stat.is_ephemeral()
                {
                    lasting.push(path.clone());
                }
            }
            Ok((session, lasting))
        };
        let answer: Result<(i64, Vec<ZkPath>), Error> = match self.attend(asking).await {
            Some(answer) => answer,
            None => return self.open(Standing::Unchecked),
        };
        let mut refused = None;
        if let Standing::Checking(queue) = &mut self.gate().standing
            // If it is not there, its time was over.
            && let Some(index) = queue.calls.iter().position(|one| one.guard == Guard::UnderWay)
            && let Some(waiting) = queue.calls.get_mut(index)
        {
            match &answer {
                Ok((session, lasting)) if lasting.is_empty() => {
                    let by_caller = waiting.request.session.is_some();
                    let chosen = if by_caller { Chosen::ByCaller } else { Chosen::ByUs };
                    waiting.guard = Guard::Passed(chosen);
                    waiting.request.session = Some(*session);
                }
                // Another took the place of the node that was remembered.
                Ok(_) => {
                    waiting.needs = Needs::Mirrors;
                    waiting.guard = Guard::of(&waiting.request);
                }
                Err(err) if err.index().is_some() => {
                    waiting.guard = Guard::of(&waiting.request);
                }
                Err(err) => refused = queue.calls.remove(index).map(|one| (one, err.clone())),
            }
        }
        for path in answer.iter().flat_map(|(_, lasting)| lasting) {
            self.own().remove(path);
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
        match answer {
            // It is another by now.
            Err(err) if err.index().is_some() => self.open(Standing::Unchecked),
            _ => self.open(standing),
        }
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
            for Waiting { request, responder, .. } in queue.calls {
                responder.send(Err(request.error(ErrorKind::Closed)));
            }
        }
        self.queued.notify_one();
    }

    /// Who must be known for those who wait to write, and by when they want an answer: whoever waits
    /// least, and whoever waits longest.
    fn waits(&self) -> Option<Wanted> {
        let Standing::Checking(queue) = &self.gate().standing else { return None };
        let waiting = || queue.calls.iter().filter(|waiting| waiting.needs > Needs::Nobody);
        let deadlines = || waiting().map(|waiting| waiting.request.deadline);
        let needs = waiting().map(|waiting| waiting.needs).max()?;
        Some(Wanted { soonest: deadlines().min()?, latest: deadlines().max()?, needs })
    }

    /// Answers those whose time is over, and says when the next one's is; `None` with nobody left.
    fn expire(&self) -> Option<Deadline> {
        if let Standing::Checking(queue) = &self.gate().standing
            && !queue.calls.is_empty()
            && !queue.soonest.is_past()
        {
            return Some(queue.soonest);
        }
        let late = self.take_out(|waiting| waiting.request.deadline.is_past());
        for Waiting { request, responder, .. } in late {
            let err = request.error(ErrorKind::NotSent);
            let why = "the quorums did not say who they are by the deadline";
            responder.send(Err(err.with_detail(why)));
        }
        match &self.gate().standing {
            Standing::Checking(queue) if !queue.calls.is_empty() => Some(queue.soonest),
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
        let (out, left) = std::mem::take(&mut queue.calls).into_iter().partition(is_meant);
        *queue = Queue::new(left);
        out
    }
}

impl Gate {
    /// How many calls have not left.
    fn waiting(&self) -> usize {
        let checking = match &self.standing {
            Standing::Checking(queue) => queue.calls.len(),
            _ => 0,
        };
        self.leaving.len() + checking
    }

    /// Gives the places of those back who have left.
    fn drop_withdrawn(&mut self) {
        let is_wanted = |waiting: &Waiting| !waiting.responder.is_withdrawn();
        self.leaving.retain(is_wanted);
        if let Standing::Checking(queue) = &mut self.standing {
            queue.calls.retain(is_wanted);
        }
    }

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
