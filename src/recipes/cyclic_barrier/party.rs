//! One party: it arrives, waits, and takes its arrival back when it gives up.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::state::{Arrival, Fate, State, whoami};
use super::{CyclicBarrier, VERB, bear};
use crate::background::{KEEPER, sleep};
use crate::conn::bound::BoundConn;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Mode, Node, Version};
use crate::path::ZkPath;
use crate::pause;
use crate::recipes::names;
use crate::recipes::owner::Owner;
use crate::recipes::place::is_over;
use crate::recipes::wait::recheck;
use crate::request::Multi;
use crate::session::Session;

/// How long whoever gives up waits for word of how it went.
const WORD: Duration = Duration::from_millis(500);
/// The pause behind a failed try to break what was left, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// One call of `wait`.
pub(super) struct Party {
    way: Way,
    stage: Stage,
    /// Who has arrived right before it.
    before: Option<Arrival>,
}

/// How the barrier is reached, and the party known there.
#[derive(Clone)]
struct Way {
    /// With a connection of one session, unless failures are tolerated.
    barrier: CyclicBarrier,
    session: Session,
    path: ZkPath,
    arrival: Arrival,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Outside,
    /// An arrival in this generation was asked for, and its reply lost.
    InDoubt(u64),
    /// Arrived in `generation` at `place`, at the node that transaction `made` made.
    Arrived {
        generation: u64,
        place: usize,
        made: i64,
    },
    /// It is over.
    Done,
}

/// How a write of the state went.
pub(super) enum Written {
    Yes,
    /// The state is not as it was, or a node is gone that was to be deleted.
    No,
}

impl Party {
    pub(super) async fn new(barrier: &CyclicBarrier) -> Result<Self, Error> {
        let path = barrier.path.clone().map_err(|err| err.during(VERB))?;
        if barrier.parties == 0 {
            let err = Error::new(VERB, &path, ErrorKind::BadArguments);
            return Err(err.with_detail("expected one party at least"));
        }
        let session = barrier.conn.session(&path).await.map_err(|err| err.during(VERB))?;
        let conn: Arc<dyn Conn> = match barrier.tolerant {
            true => barrier.conn.clone(),
            false => Arc::new(BoundConn::new(barrier.conn.clone(), &session)),
        };
        let arrival = Arrival { id: names::random_id(), who: whoami() };
        let barrier = CyclicBarrier { conn, ..barrier.clone() };
        let way = Way { barrier, session, path, arrival };
        Ok(Party { way, stage: Stage::Outside, before: None })
    }

    /// Arrives, and waits until the generation is over.
    pub(super) async fn run(&mut self) -> Result<usize, Error> {
        let opened = match self.arrive().await? {
            Some(index) => Ok(index),
            None => self.wait().await,
        };
        if opened.as_ref().map_or_else(|err| err.kind() == ErrorKind::Broken, |_| true) {
            self.stage = Stage::Done;
        }
        opened
    }

    /// Arrives; the index of who was there last already, or recognised too late that it had arrived.
    async fn arrive(&mut self) -> Result<Option<usize>, Error> {
        let mut conflicts = 0;
        loop {
            pause::after(conflicts, Duration::MAX).await;
            let Some((node, state)) = self.way.look().await? else {
                self.way.barrier.make(&self.way.path).await?;
                continue;
            };
            if let Some(told) = self.recognise(&node, &state)? {
                return Ok(told);
            }
            if let Some(why) = &state.broken {
                return Err(self.way.broken(why));
            }
            if !state.agrees(&self.way.barrier) {
                return Err(self.way.disagreement(&state));
            }
            let state = state.of(&self.way.barrier);
            let next = state.arrive(self.way.arrival.clone());
            let opens = next.generation > state.generation;
            let was = self.stage;
            self.stage = Stage::InDoubt(state.generation);
            let (generation, place) = (state.generation, state.arrived.len());
            self.before = state.arrived.last().cloned();
            let (stage, asked) = if opens {
                (Stage::Done, self.way.opening(&node, &state, &next).await?)
            } else {
                let made = node.stat.czxid;
                (
                    Stage::Arrived { generation, place, made },
                    self.way.arriving(&node, &state, &next),
                )
            };
            let Err(err) = self.way.conn().multi(asked).await else {
                self.stage = stage;
                return Ok(opens.then_some(0));
            };
            match (err.kind(), err.index()) {
                (ErrorKind::BadVersion, Some(0)) => {
                    self.stage = was;
                    conflicts += 1;
                }
                (ErrorKind::NoNode, Some(0)) => self.stage = was,
                // Somebody who had arrived is not there; nobody has noticed yet, or nobody could.
                (ErrorKind::NoNode, Some(index)) => {
                    self.stage = was;
                    if !self.way.barrier.tolerant {
                        let gone = match opens {
                            true => state.arrived.get(index - 1),
                            false => state.arrived.last(),
                        };
                        self.way.bury(&node, &state, gone).await?;
                    }
                }
                (kind, _) => {
                    if kind == ErrorKind::NotSent {
                        self.stage = was;
                    }
                    self.way.bear(err).await?;
                }
            }
        }
    }

    /// Whether an arrival in doubt was one: then the index if the generation opened, else `None` in it.
    fn recognise(&mut self, node: &Node, state: &State) -> Result<Option<Option<usize>>, Error> {
        let Stage::InDoubt(asked) = self.stage else { return Ok(None) };
        let id = &self.way.arrival.id;
        if let Some(place) = state.place(id) {
            let (generation, made) = (state.generation, node.stat.czxid);
            self.before = place.checked_sub(1).and_then(|place| state.arrived.get(place)).cloned();
            self.stage = Stage::Arrived { generation, place, made };
            return Ok(Some(None));
        }
        if let Some(place) = state.place_in_opened(id) {
            self.stage = Stage::Done;
            return Ok(Some(Some(self.way.index(place))));
        }
        match state.fate(asked) {
            Fate::Waiting => Ok(None),
            // Whether it was there or not, it is told so.
            Fate::Broken(why) => Err(self.way.broken(&why)),
            Fate::Opened if state.tells_who_opened(asked) => {
                self.stage = Stage::Outside;
                Ok(None)
            }
            Fate::Opened | Fate::Forgotten => {
                Err(Error::new(VERB, &self.way.path, ErrorKind::OutcomeUnknown))
            }
        }
    }

    /// Waits for the end of the own generation.
    async fn wait(&mut self) -> Result<usize, Error> {
        let Stage::Arrived { generation, place, made } = self.stage else {
            return Err(Error::new(VERB, &self.way.path, ErrorKind::Unexpected));
        };
        // Whoever has nobody before it watches the state.
        let mut before = self.before.take();
        loop {
            let waited = match &before {
                Some(before) => self.way.watch_before(before).await,
                None => self.way.watch_state(generation).await,
            };
            let missing = match waited {
                Ok(missing) => missing,
                Err(err) => {
                    self.way.bear(err).await?;
                    continue;
                }
            };
            let state = match self.way.look().await {
                Ok(Some((node, state))) if node.stat.czxid == made => state,
                Ok(_) => return Err(Error::new(VERB, &self.way.path, ErrorKind::Revoked)),
                Err(err) => {
                    self.way.bear(err).await?;
                    continue;
                }
            };
            match state.fate(generation) {
                Fate::Opened => return Ok(self.way.index(place)),
                Fate::Broken(why) => return Err(self.way.broken(&why)),
                Fate::Forgotten => {
                    return Err(Error::new(VERB, &self.way.path, ErrorKind::OutcomeUnknown));
                }
                Fate::Waiting => {}
            }
            match missing {
                Some(_) if self.way.barrier.tolerant => before = None,
                Some(gone) => match self.way.break_off(&gone.gone()).await {
                    // Told by the state at the next look.
                    Ok(_) => {}
                    Err(err) => self.way.bear(err).await?,
                },
                None => {}
            }
        }
    }

    /// Breaks the generation, unless it is over; what whoever gave up is told.
    pub(super) async fn give_up(mut self, err: Error) -> Result<usize, Error> {
        if matches!(self.stage, Stage::Outside | Stage::Done) {
            return Err(err);
        }
        let why = format!("{} gave up: {}", self.way.arrival.who, err.kind());
        let told = tokio::select! {
            biased;
            told = self.way.break_off(&why) => told,
            () = sleep(WORD) => return Err(err.with_detail("and no server has confirmed it")),
        };
        let Ok(state) = told else { return Err(err) };
        let stage = mem::replace(&mut self.stage, Stage::Done);
        let place = state.place_in_opened(&self.way.arrival.id);
        match stage {
            // The last one came in time.
            Stage::Arrived { generation, place, .. } => match state.fate(generation) {
                Fate::Opened => Ok(self.way.index(place)),
                _ => Err(err),
            },
            _ => place.map(|place| self.way.index(place)).ok_or(err),
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Outside | Stage::Done) {
            return;
        }
        let way = self.way.clone();
        let why = format!("{} gave up", way.arrival.who);
        let breaking = async move { way.break_off_at_last(&why).await };
        if let Err(why) = KEEPER.spawn(breaking) {
            warn!(target: "zkcells::recipes", why, "a party that gave up still counts as waiting");
        }
    }
}

impl Arrival {
    fn gone(&self) -> String {
        format!("{} is gone: its session ended, or its node was deleted", self.who)
    }
}

impl Way {
    fn conn(&self) -> &Arc<dyn Conn> {
        &self.barrier.conn
    }

    async fn look(&self) -> Result<Option<(Node, State)>, Error> {
        self.barrier.read(&self.path).await
    }

    fn node(&self, arrival: &Arrival) -> ZkPath {
        self.path.child(&arrival.node())
    }

    fn index(&self, place: usize) -> usize {
        (self.barrier.parties - 1).saturating_sub(place)
    }

    /// One more arrival, with its node, behind one who is there.
    fn arriving(&self, node: &Node, state: &State, next: &State) -> Multi {
        let mode = if self.barrier.tolerant { Mode::Persistent } else { Mode::Ephemeral };
        let options = CreateOptions::from(mode)
            .with_acl(self.barrier.acl.clone())
            .with_id(self.arrival.id.as_str());
        let owner = Owner::here(&self.arrival.id);
        let mut ops = Multi::new()
            .set(&self.path, next.to_json(), Version::Exact(node.stat.version))
            .create(self.node(&self.arrival), owner.to_json(), options);
        if let Some(last) = state.arrived.last().filter(|_| !self.barrier.tolerant) {
            ops = ops.check(self.node(last), Version::Any);
        }
        ops
    }

    /// The last arrival. Strict, each of the others must be there.
    async fn opening(&self, node: &Node, state: &State, next: &State) -> Result<Multi, Error> {
        let mut ops =
            Multi::new().set(&self.path, next.to_json(), Version::Exact(node.stat.version));
        let nodes = match self.barrier.tolerant {
            true => nodes(self.conn(), &self.path, state).await?,
            false => state.arrived.iter().map(|arrival| self.node(arrival)).collect(),
        };
        for node in nodes {
            ops = ops.delete(node, Version::Any);
        }
        Ok(ops)
    }

    /// Breaks a generation in which somebody has died, and tells so.
    async fn bury(&self, node: &Node, state: &State, gone: Option<&Arrival>) -> Result<(), Error> {
        let Some(gone) = gone else { return Ok(()) };
        // It was there at the version that was read, or that version is no more.
        if self.conn().exists(self.node(gone)).await?.is_some() {
            return Ok(());
        }
        let why = gone.gone();
        match write(self.conn(), &self.path, node, state, &state.break_off(&why)).await? {
            Written::Yes => Err(self.broken(&why)),
            Written::No => Ok(()),
        }
    }

    /// Waits until the node of the one `before` is gone, or a while; that one, if it was gone at once.
    async fn watch_before(&self, before: &Arrival) -> Result<Option<Arrival>, Error> {
        let (there, watch) = self.conn().exists_watch(self.node(before)).await?;
        if there.is_none() {
            return Ok(Some(before.clone()));
        }
        tokio::select! {
            biased;
            _ = watch => Ok(None),
            over = self.over() => Err(over),
            () = sleep(recheck(&self.session)) => Ok(None),
        }
    }

    /// Waits until the state changes or the newest of those who wait is gone; that one, if it was gone
    /// at once.
    async fn watch_state(&self, generation: u64) -> Result<Option<Arrival>, Error> {
        let (node, changed) = match self.conn().get_watch(&self.path).await {
            Ok(found) => found,
            Err(err) if err.kind() == ErrorKind::NoNode => return Ok(None),
            Err(err) => return Err(err),
        };
        let state = self.barrier.state(&self.path, &node)?;
        if state.fate(generation) != Fate::Waiting {
            return Ok(None);
        }
        let newest = state.arrived.last().filter(|newest| newest.id != self.arrival.id);
        let gone = match newest.filter(|_| !self.barrier.tolerant) {
            None => None,
            Some(newest) => match self.conn().exists_watch(self.node(newest)).await? {
                (None, _) => return Ok(Some(newest.clone())),
                (Some(_), gone) => Some(gone),
            },
        };
        let gone = async {
            match gone {
                Some(gone) => gone.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = changed => Ok(None),
            _ = gone => Ok(None),
            over = self.over() => Err(over),
            () = sleep(recheck(&self.session)) => Ok(None),
        }
    }

    /// Waits for the end of the session, where that ends all.
    async fn over(&self) -> Error {
        match self.barrier.tolerant {
            true => std::future::pending().await,
            false => {
                self.session.lost().await;
                Error::new(VERB, &self.path, ErrorKind::SessionExpired)
            }
        }
    }

    /// Bears what a later look may not meet.
    async fn bear(&self, err: Error) -> Result<(), Error> {
        match err.kind() {
            ErrorKind::SessionExpired if self.barrier.tolerant => Ok(()),
            _ => bear(err).await,
        }
    }

    /// Breaks the generation in which the own party waits, if it does; the state then.
    async fn break_off(&self, why: &str) -> Result<State, Error> {
        let mut conflicts = 0;
        loop {
            pause::after(conflicts, Duration::MAX).await;
            // An arrival that was on its way has come by then, or never will.
            self.conn().sync(&self.path).await?;
            let Some((node, state)) = self.look().await? else {
                return Err(Error::new(VERB, &self.path, ErrorKind::Revoked));
            };
            if state.place(&self.arrival.id).is_none() || state.broken.is_some() {
                return Ok(state);
            }
            let next = state.break_off(why);
            match write(self.conn(), &self.path, &node, &state, &next).await? {
                Written::Yes => return Ok(next),
                Written::No => conflicts += 1,
            }
        }
    }

    /// Breaks it however long that takes, unless others will.
    async fn break_off_at_last(&self, why: &str) {
        let mut pause = PAUSES.0;
        loop {
            match self.break_off(why).await {
                Ok(_) => return,
                Err(err) if is_over(err.kind()) || err.kind() == ErrorKind::Revoked => return,
                Err(_) if self.session.state().is_over() => return,
                Err(_) => {}
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn broken(&self, why: &str) -> Error {
        Error::new(VERB, &self.path, ErrorKind::Broken).with_detail(why)
    }

    fn disagreement(&self, state: &State) -> Error {
        let say = |parties: usize, tolerant: bool| {
            let failures = if tolerant { "tolerated" } else { "not tolerated" };
            format!("{parties} parties with failures {failures}")
        };
        let ours = say(self.barrier.parties, self.barrier.tolerant);
        let theirs = say(state.parties, state.tolerate_failures);
        Error::new(VERB, &self.path, ErrorKind::Disagreement)
            .with_detail(format!("expected {ours}, and those who wait expect {theirs}"))
    }
}

/// The nodes of those who have arrived, as far as they are there.
async fn nodes(conn: &dyn Conn, path: &ZkPath, state: &State) -> Result<Vec<ZkPath>, Error> {
    let names = conn.children(path).await?.names;
    let of = |arrival: &Arrival| names.binary_search(&arrival.node()).ok();
    Ok(state.arrived.iter().filter_map(of).map(|at| path.child(&names[at])).collect())
}

/// Writes `next` in the place of `state`, which ends its generation: the nodes of those who wait go
/// with it.
pub(super) async fn write(
    conn: &dyn Conn,
    path: &ZkPath,
    node: &Node,
    state: &State,
    next: &State,
) -> Result<Written, Error> {
    let mut ops = Multi::new().set(path, next.to_json(), Version::Exact(node.stat.version));
    for party in nodes(conn, path, state).await? {
        ops = ops.delete(party, Version::Any);
    }
    match conn.multi(ops).await {
        Ok(_) => Ok(Written::Yes),
        Err(err) => match err.kind() {
            ErrorKind::BadVersion | ErrorKind::NoNode | ErrorKind::OutcomeUnknown => {
                Ok(Written::No)
            }
            _ => Err(err),
        },
    }
}
