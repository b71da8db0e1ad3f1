//! One party: it arrives, waits, and takes its arrival back when it gives up.

use std::time::Duration;

use tracing::warn;

use super::state::{Arrival, Fate, State, whoami};
use super::way::Way;
use super::{CyclicBarrier, VERB};
use crate::background::{KEEPER, sleep};
use crate::conn::ConnExt;
use crate::conn::bound::BoundConn;
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::pause;
use crate::recipes::names;
use crate::recipes::ours::Ours;

/// How long whoever gives up waits for word of how it went.
const WORD: Duration = Duration::from_millis(500);

/// One call of `wait`.
pub(super) struct Party {
    way: Way,
    stage: Stage,
    /// Who has arrived right before it.
    before: Option<Arrival>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Outside,
    /// An arrival in this generation was asked for, and its reply lost.
    InDoubt(u64),
    Arrived(Arrived),
    /// It is over.
    Done,
}

/// Where a party has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived {
    origin: Origin,
    generation: u64,
    place: usize,
}

/// Which barrier it is: where its node is made anew, or its state, it is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    czxid: i64,
    id: u64,
}

impl Origin {
    fn of(node: &Node, state: &State) -> Self {
        Origin { czxid: node.stat.czxid, id: state.id }
    }
}

impl Party {
    pub(super) async fn new(barrier: &CyclicBarrier) -> Result<Self, Error> {
        let path = barrier.path.clone().map_err(|err| err.during(VERB))?;
        if barrier.parties == 0 {
            let err = Error::new(VERB, &path, ErrorKind::BadArguments);
            return Err(err.with_detail("expected one party at least"));
        }
        let session = barrier.conn.session(&path).await.map_err(|err| err.during(VERB))?;
        let conn: Ours = match barrier.tolerant {
            true => barrier.conn.clone(),
            false => Ours::new(BoundConn::new(barrier.conn.clone(), &session)),
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
            let (node, state) = match self.way.look().await {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.way.barrier.make(&self.way.path).await?;
                    conflicts += 1;
                    continue;
                }
                Err(err) if matches!(self.stage, Stage::InDoubt(_)) => {
                    self.way.bear(err).await?;
                    continue;
                }
                Err(err) => return Err(err),
            };
            if let Some(told) = self.recognise(&node, &state)? {
                return Ok(told);
            }
            if let Some(why) = &state.broken {
                return Err(self.way.broken(why));
            }
            if !state.agrees(&self.way.barrier) {
                // The dead are of no mind; while one of them lives it sees to those who died before it.
                let newest = state.arrived.last().filter(|_| !state.tolerate_failures);
                if self.way.bury(&node, &state, newest).await? {
                    conflicts += 1;
                    continue;
                }
                return Err(self.way.disagreement(&state));
            }
            let state = state.of(&self.way.barrier);
            let next = state.arrive(self.way.arrival.clone());
            let opens = next.generation > state.generation;
            let was = self.stage;
            self.stage = Stage::InDoubt(state.generation);
            self.before = state.arrived.last().cloned();
            let (stage, asked) = if opens {
                (Stage::Done, self.way.opening(&node, &state, &next).await?)
            } else {
                let (generation, place) = (state.generation, state.arrived.len());
                let arrived = Arrived { origin: Origin::of(&node, &state), generation, place };
                (Stage::Arrived(arrived), self.way.arriving(&node, &state, &next))
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
                    conflicts += 1;
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
            let (origin, generation) = (Origin::of(node, state), state.generation);
            self.before = place.checked_sub(1).and_then(|place| state.arrived.get(place)).cloned();
            self.stage = Stage::Arrived(Arrived { origin, generation, place });
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
        let Stage::Arrived(arrived) = self.stage else {
            return Err(Error::new(VERB, &self.way.path, ErrorKind::Unexpected));
        };
        // Whoever has nobody before it watches the state.
        let mut before = self.before.take();
        loop {
            let waited = match &before {
                Some(before) => self.way.watch_before(before).await,
                None => self.way.watch_state(arrived.generation).await,
            };
            let missing = match waited {
                Ok(missing) => missing,
                Err(err) => {
                    self.way.bear(err).await?;
                    continue;
                }
            };
            match self.way.look().await {
                Ok(Some((node, state))) => {
                    if let Some(index) = self.index(arrived, &node, &state)? {
                        return Ok(index);
                    }
                }
                Ok(None) => return Err(Error::new(VERB, &self.way.path, ErrorKind::Revoked)),
                Err(err) => {
                    self.way.bear(err).await?;
                    continue;
                }
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

    /// The index of who has arrived, if its generation has opened; `None` while it waits.
    ///
    /// # Errors
    ///
    /// It is broken, or its arrival is not there any more.
    fn index(&self, arrived: Arrived, node: &Node, state: &State) -> Result<Option<usize>, Error> {
        let Arrived { origin, generation, place } = arrived;
        let id = &self.way.arrival.id;
        let told = |kind| Error::new(VERB, &self.way.path, kind);
        // Somebody made the node anew, or wrote over what it said.
        let is_lost = origin != Origin::of(node, state) || generation > state.generation;
        match state.fate(generation) {
            _ if is_lost => Err(told(ErrorKind::Revoked)),
            Fate::Broken(why) => Err(self.way.broken(&why)),
            Fate::Forgotten => Err(told(ErrorKind::OutcomeUnknown)),
            Fate::Waiting if state.place(id).is_some() => Ok(None),
            Fate::Opened if state.was_in_opened(id, generation) => Ok(Some(self.way.index(place))),
            Fate::Waiting | Fate::Opened => Err(told(ErrorKind::Revoked)),
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
        let Ok((node, state)) = told else { return Err(err) };
        // The last one may have come in time.
        let id = &self.way.arrival.id;
        let index = match self.stage {
            Stage::Arrived(arrived) => self.index(arrived, &node, &state).ok().flatten(),
            _ => state.place_in_opened(id).map(|place| self.way.index(place)),
        };
        // Of what the state does not know there may be a node.
        if index.is_some() || state.place(id).is_some() {
            self.stage = Stage::Done;
        }
        index.ok_or(err)
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
