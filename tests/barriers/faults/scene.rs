//! Three parties of a meeting, one of them behind a proxy, and what is owed to them all.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zkcells::recipes::{CyclicBarrier, DoubleBarrier, Inside};
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Bites, Direction, Fate, FaultProxy, LogEntry, OpKind};
use zkcells::testing::wire::OpCode;
use zkcells::{ConnExt as _, Error, ErrorKind, Mode, Session, ZkConn};

use crate::support::all_answered;
use crate::support::rig::{GRACE, SOON, TIMEOUT, connect, soon, turn};

/// How long the session of one lasts who is to bear what comes.
pub const PATIENT: Duration = Duration::from_secs(20);
/// How many it takes in each of these.
pub const PARTIES: usize = 3;
/// What the party behind the proxy is called, between two others by name.
pub const SUFFERS: &str = "m";

/// A recipe at which parties wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    Double,
    Strict,
    Tolerant,
}

pub const MEETINGS: [Meeting; 3] = [Meeting::Double, Meeting::Strict, Meeting::Tolerant];

/// A party on its way, or what became of it.
pub type Coming = JoinHandle<Result<Through, Error>>;

/// What a party has that came through.
#[derive(Debug)]
pub enum Through {
    Inside(Box<Inside>),
    Index(usize),
}

impl Meeting {
    /// What makes a party arrive.
    pub fn arrives(self) -> OpKind {
        match self {
            Meeting::Double => OpKind::Create,
            Meeting::Strict | Meeting::Tolerant => OpKind::Multi,
        }
    }

    pub fn is_cyclic(self) -> bool {
        self != Meeting::Double
    }

    fn barrier(self, conn: &Arc<ZkConn>, path: &str) -> CyclicBarrier {
        let barrier = CyclicBarrier::new(conn.clone(), path, PARTIES);
        if self == Meeting::Tolerant { barrier.with_tolerated_failures() } else { barrier }
    }
}

pub struct Scene {
    pub meeting: Meeting,
    pub proxy: FaultProxy,
    /// Behind the proxy.
    pub faulty: Arc<ZkConn>,
    /// Not behind it, as the next one.
    pub well: Arc<ZkConn>,
    pub third: Arc<ZkConn>,
    pub path: String,
}

impl Scene {
    /// Somebody at `server` through a proxy, whose session lasts for `wait`, and others at `healthy`.
    pub async fn new(meeting: Meeting, server: &str, healthy: &str, wait: Duration) -> Scene {
        let proxy = FaultProxy::to(server).await.unwrap();
        let addr = proxy.addr();
        let (faulty, well, third) = tokio::join!(
            connect(&addr, wait),
            connect(healthy, PATIENT),
            connect(healthy, PATIENT)
        );
        let root = format!("/{}", fresh_root());
        well.create(&root, "", Mode::Persistent).await.unwrap();
        // It is there, so that the first requests are those of parties.
        let path = format!("{root}/{meeting:?}");
        well.create(&path, "", Mode::Persistent).await.unwrap();
        faulty.sync(&path).await.unwrap();
        proxy.clear_log();
        Scene { meeting, proxy, faulty, well, third, path }
    }

    pub async fn session(&self) -> Session {
        self.faulty.session("/").await.unwrap()
    }

    /// A party called `id` on its way.
    pub fn coming(&self, conn: &Arc<ZkConn>, id: &str) -> Coming {
        match self.meeting {
            Meeting::Double => {
                let party = DoubleBarrier::new(conn.clone(), &self.path, id, PARTIES);
                tokio::spawn(async move { party.enter().await.map(Box::new).map(Through::Inside) })
            }
            Meeting::Strict | Meeting::Tolerant => {
                let party = self.meeting.barrier(conn, &self.path);
                tokio::spawn(async move { party.wait().await.map(Through::Index) })
            }
        }
    }

    /// A party that has arrived, and waits.
    pub async fn arrived(&self, conn: &Arc<ZkConn>, id: &str) -> Coming {
        let before = self.there().await.len();
        let coming = self.coming(conn, id);
        let there = async {
            while self.there().await.len() == before {
                assert!(!coming.is_finished(), "it did not wait");
                turn().await;
            }
        };
        soon("its node", there).await;
        coming
    }

    /// The party behind the proxy, with `before` others there before it and all its watches left, and
    /// those others.
    pub async fn waiting(&self, before: usize) -> (Coming, Vec<Coming>) {
        let mut others = Vec::new();
        for _ in 0..before {
            others.push(self.arrived(&self.well, "a").await);
        }
        let faulty = self.arrived(&self.faulty, SUFFERS).await;
        let watches = async {
            while !self.has_watches(before) {
                turn().await;
            }
        };
        soon("its watches", watches).await;
        (faulty, others)
    }

    /// Whether the party behind the proxy has asked for all that it waits for, and been answered.
    fn has_watches(&self, before: usize) -> bool {
        let log = self.proxy.log();
        if !all_answered(&log) {
            return false;
        }
        if self.meeting.is_cyclic() {
            let answered = log.iter().rposition(|entry| {
                entry.kind == Some(OpKind::Multi) && entry.direction == Direction::ToClient
            });
            return answered
                .is_some_and(|at| log[at..].iter().any(|entry| entry.is_request(OpKind::Read)));
        }
        let asked: Vec<_> = log.iter().filter(|entry| entry.is_request(OpKind::Read)).collect();
        let count = |ops: &[OpCode], below: &str| {
            let path = format!("{}{below}", self.path);
            let is_it = |entry: &&&LogEntry| {
                entry.op.is_some_and(|op| ops.contains(&op)) && entry.paths.contains(&path)
            };
            asked.iter().filter(is_it).count()
        };
        let own = format!("/{SUFFERS}");
        // Of `ready`, of who is there and what one of them says, of the own node; the first by name
        // looks at each change.
        let lists = if before == 0 { 2 } else { 1 };
        count(&[OpCode::Exists], "/ready") >= 1
            && count(&[OpCode::MultiRead, OpCode::GetData], "/a") >= before.min(1)
            && count(&[OpCode::Exists], &own) >= 1
            && count(&[OpCode::GetChildren, OpCode::GetChildren2], "") >= lists
    }

    /// The other parties that are missing, `before` of which are there.
    pub fn rest(&self, before: usize) -> Vec<Coming> {
        let mut rest = Vec::new();
        if before < 1 {
            rest.push(self.coming(&self.well, "a"));
        }
        rest.push(self.coming(&self.third, "z"));
        rest
    }

    /// The names of the parties' nodes.
    pub async fn there(&self) -> Vec<String> {
        self.well.sync(&self.path).await.unwrap();
        let mut names = match self.well.children(&self.path).await {
            Ok(children) => children.names,
            Err(err) if err.kind() == ErrorKind::NoNode => Vec::new(),
            Err(err) => panic!("{err}"),
        };
        names.retain(|name| {
            name != "ready"
                && !name.starts_with("foreign")
                && (!self.meeting.is_cyclic() || name.starts_with("party-"))
        });
        names
    }

    /// The state of a cyclic barrier.
    pub async fn state(&self) -> Value {
        self.well.sync(&self.path).await.unwrap();
        serde_json::from_slice(&self.well.get(&self.path).await.unwrap().data).unwrap()
    }

    pub async fn reset(&self) {
        self.meeting.barrier(&self.well, &self.path).reset().await.unwrap();
    }

    pub async fn bitten(&self, how: impl Fn(&Bites) -> bool) {
        self.proxy.until(how).await;
    }

    /// How many requests of `kind` have reached the server.
    pub fn passed(&self, kind: OpKind) -> usize {
        let log = self.proxy.log();
        let passed = |fate| fate == Fate::Passed;
        log.iter().filter(|entry| entry.is_request(kind) && passed(entry.fate)).count()
    }

    /// Waits until a session is over, as far as its nodes tell.
    pub async fn nothing_left_of(&self, session: i64, within: Duration) {
        let gone = async {
            loop {
                let mut left = 0;
                for name in self.there().await {
                    let path = format!("{}/{name}", self.path);
                    let stat = self.well.exists(path).await.unwrap();
                    left += usize::from(stat.is_some_and(|stat| stat.ephemeral_owner == session));
                }
                if left == 0 {
                    break;
                }
                turn().await;
            }
        };
        assert!(timeout(within, gone).await.is_ok(), "left within {within:?}: {:?}", self.path);
    }

    /// A node that is there as long as the session of the one behind the proxy.
    pub async fn sign_of_life(&self) -> String {
        let path = format!("{}-lives", self.path);
        self.faulty.create(&path, "", Mode::Ephemeral).await.unwrap();
        path
    }

    /// Waits until no party has a node.
    pub async fn nobody_is_there(&self) {
        let gone = async {
            while !self.there().await.is_empty() {
                turn().await;
            }
        };
        soon("the end of their nodes", gone).await;
    }

    /// Has the one behind the proxy told that its session is over, until it has heard it.
    pub async fn told_expired(&self) {
        let session = self.session().await;
        for n in 1.. {
            self.proxy.tell_expired();
            self.bitten(|bites| bites.told_expired >= n).await;
            if timeout(Duration::from_secs(3), session.lost()).await.is_ok() {
                return;
            }
        }
    }

    /// All three come through, in one generation or round, and out again; nothing is left.
    pub async fn through(&self, all: Vec<Coming>) {
        assert_eq!(all.len(), PARTIES);
        let mut through = Vec::new();
        for one in all {
            through.push(comes_through(one).await);
        }
        self.out(through).await;
    }

    /// The way out of those who came through.
    pub async fn out(&self, all: Vec<Through>) {
        let (mut inside, mut indexes) = (Vec::new(), Vec::new());
        for one in all {
            match one {
                Through::Inside(one) => inside.push(*one),
                Through::Index(index) => indexes.push(index),
            }
        }
        if self.meeting.is_cyclic() {
            indexes.sort_unstable();
            assert!(indexes.iter().copied().eq(0..PARTIES), "{indexes:?}");
            assert_eq!(self.there().await, [""; 0]);
            return;
        }
        assert!(inside.iter().all(|one| one.token() == inside[0].token()), "two rounds");
        assert!(inside.iter().all(|one| one.is_valid()));
        all_leave(inside).await;
        assert_eq!(self.there().await, [""; 0]);
        let ready = self.well.exists(format!("{}/ready", self.path)).await.unwrap();
        assert!(ready.is_none(), "`ready` is left");
    }

    /// Whoever comes now goes through all of it, with nobody of before.
    pub async fn next_ones(&self) {
        let ids = [(&self.well, "a"), (&self.third, "m"), (&self.third, "z")];
        self.through(ids.map(|(conn, id)| self.coming(conn, id)).into()).await;
    }
}

pub async fn all_leave(inside: Vec<Inside>) {
    for out in soon("the way out", join_all(inside.into_iter().map(Inside::exit))).await {
        out.unwrap();
    }
}

/// Waits until a party is through.
pub async fn comes_through(coming: Coming) -> Through {
    comes_through_within(coming, SOON).await
}

pub async fn comes_through_within(coming: Coming, within: Duration) -> Through {
    match timeout(within, coming).await {
        Ok(through) => through.unwrap().unwrap(),
        Err(_) => panic!("not through within {within:?}"),
    }
}

/// Waits until a party is told why it is not through.
pub async fn is_told(coming: Coming, why: ErrorKind) -> Error {
    match timeout(2 * TIMEOUT + GRACE, coming).await {
        Ok(told) => {
            let err = told.unwrap().expect_err("it came through");
            assert_eq!(err.kind(), why, "{err}");
            err
        }
        Err(_) => panic!("not told of {why:?}"),
    }
}

/// Waits until servers have ended the session whose node this is.
pub async fn session_ends(well: &ZkConn, sign: &str) {
    let gone = async {
        loop {
            let (there, watch) = well.exists_watch(sign).await.unwrap();
            if there.is_none() {
                break;
            }
            watch.await;
        }
    };
    timeout(TIMEOUT + GRACE, gone).await.expect("servers let it live");
}

/// The error of something that fails soon.
pub async fn is_told_why(fails: impl Future<Output = Result<(), Error>>) -> Error {
    soon("word of it", fails).await.expect_err("it did not fail")
}
