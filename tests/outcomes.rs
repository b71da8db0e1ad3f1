//! A write whose reply was lost is never answered wrongly, whatever a rival does meanwhile.
//!
//! Each round breaks one write at the proxy, either behind the server (it was applied) or before it
//! (it was not), lets a rival act while nobody can look, and compares the answer with the history
//! that a witness has seen on a tree watch of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;
use futures::FutureExt as _;
use support::random::{random, rounds};
use support::soon;
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{FaultProxy, OpKind};
use zkcells::{
    Acl, Auth, Conn as _, ConnExt as _, CreateOptions, Error, ErrorKind, EventKind, Mode, Multi,
    MultiReply, Op, Perms, Reply, Request, SessionOptions, Stat, TreeEvent, TreeWatch, Version,
    ZkConn, ZkPath,
};

/// The kinds of writes, and where a create carries its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Create(Mode, Id),
    SetExact,
    SetAny,
    DeleteExact,
    DeleteAny,
    AclExact,
    AclAny,
    Multi(Id),
    Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    None,
    InName,
    InData,
    /// In the name of a node that only the witness may read.
    Hidden,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The write was applied.
    Swallow,
    /// It was not.
    Drop,
}

/// What another client does between the fault and the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rival {
    Nothing,
    /// The same write, or data.
    Equal,
    Different,
    /// Leaves a node of its own where the write's was, or was to be.
    Recreate,
    /// Leaves no node there.
    Delete,
}

const KINDS: [Kind; 20] = [
    Kind::Create(Mode::Persistent, Id::None),
    Kind::Create(Mode::Persistent, Id::InName),
    Kind::Create(Mode::Persistent, Id::InData),
    Kind::Create(Mode::Persistent, Id::Hidden),
    Kind::Create(Mode::Ephemeral, Id::None),
    Kind::Create(Mode::Ephemeral, Id::InData),
    Kind::Create(Mode::PersistentSequential, Id::None),
    Kind::Create(Mode::PersistentSequential, Id::InName),
    Kind::Create(Mode::PersistentSequential, Id::InData),
    Kind::Create(Mode::EphemeralSequential, Id::None),
    Kind::Create(Mode::EphemeralSequential, Id::Hidden),
    Kind::SetExact,
    Kind::SetAny,
    Kind::DeleteExact,
    Kind::DeleteAny,
    Kind::AclExact,
    Kind::AclAny,
    Kind::Multi(Id::None),
    Kind::Multi(Id::InData),
    Kind::Checks,
];
const RIVALS: [Rival; 5] =
    [Rival::Nothing, Rival::Equal, Rival::Different, Rival::Recreate, Rival::Delete];

impl Kind {
    fn op(self) -> OpKind {
        match self {
            Kind::Create(..) => OpKind::Create,
            Kind::SetExact | Kind::SetAny => OpKind::Set,
            Kind::DeleteExact | Kind::DeleteAny => OpKind::Delete,
            Kind::AclExact | Kind::AclAny => OpKind::SetAcl,
            Kind::Multi(_) => OpKind::Multi,
            Kind::Checks => OpKind::Check,
        }
    }

    fn is_sequential(self) -> bool {
        matches!(self, Kind::Create(mode, _) if mode.is_sequential())
    }

    /// What the answer must be; `None` where servers cannot tell.
    fn exactly(self, fault: Fault, rival: Rival) -> Option<Result<(), ErrorKind>> {
        use Rival::{Delete, Different, Equal, Nothing, Recreate};
        let is_dropped = fault == Fault::Drop;
        match (self, rival) {
            (Kind::Checks, Nothing | Equal | Different | Recreate) => Some(Ok(())),
            (Kind::Checks, Delete) => Some(Err(ErrorKind::NoNode)),
            // The directory, the version, or the node's age tells that it was not applied.
            (Kind::AclAny, _) => None,
            (_, Nothing) if is_dropped => Some(Ok(())),
            (Kind::SetExact, Different) if is_dropped => Some(Err(ErrorKind::BadVersion)),
            (Kind::DeleteExact, Equal | Different) if is_dropped => {
                Some(Err(ErrorKind::BadVersion))
            }
            (Kind::DeleteAny, Equal | Different) if is_dropped => Some(Ok(())),
            // What carried the id carries it no more.
            (Kind::Create(mode, Id::InData), Different) if mode.is_sequential() && !is_dropped => {
                None
            }
            // Whoever has a node of its own is always found, or made.
            (Kind::Create(mode, id), _) if mode.is_sequential() && id != Id::None => Some(Ok(())),
            (Kind::Create(_, id), Nothing) if id != Id::None => Some(Ok(())),
            (Kind::Create(_, id), Delete) if id != Id::None => Some(Ok(())),
            (Kind::Create(_, Id::InName | Id::Hidden), _) => Some(Ok(())),
            (Kind::Create(_, Id::InData), Equal) if !is_dropped => Some(Ok(())),
            (Kind::Multi(Id::InData), Nothing) => Some(Ok(())),
            _ => None,
        }
    }
}

/// What has happened to each path below a directory, by the events of a tree watch.
#[derive(Default)]
struct History(BTreeMap<String, Vec<EventKind>>);

impl History {
    /// All that has happened before `witness` is asked.
    async fn until_now(witness: &ZkConn, tree: &mut TreeWatch) -> History {
        witness.sync("/").await.unwrap();
        // A read behind it: events come before answers that show their change.
        witness.exists(tree.path().as_str()).await.unwrap();
        let mut history = History::default();
        // All that is there, however much this task has done already.
        while let Some(event) = tokio::task::unconstrained(tree.next()).now_or_never() {
            match event.unwrap() {
                TreeEvent::Changed(event) => {
                    history.0.entry(event.path.to_string()).or_default().push(event.kind);
                }
                other => panic!("the witness is not to be broken: {other:?}"),
            }
        }
        history
    }

    /// How often `kind` has happened to paths that begin so.
    fn count(&self, path: &str, kind: EventKind) -> usize {
        let at = self.0.iter().filter(|(at, _)| at.starts_with(path));
        at.flat_map(|(_, kinds)| kinds).filter(|found| **found == kind).count()
    }
}

/// One connection that is broken, and one that never is.
struct Ring {
    proxy: FaultProxy,
    conn: ZkConn,
    witness: ZkConn,
    bites: u64,
}

/// One write, and what is known of its node before it.
struct Round {
    kind: Kind,
    /// The directory, and what the write names in it.
    dir: String,
    path: String,
    data: String,
    options: CreateOptions,
    /// Another node, that a multi sets.
    other: String,
    before: Option<Stat>,
}

impl Ring {
    async fn new() -> Ring {
        let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
        let proxy = FaultProxy::to(&nyc).await.unwrap();
        let options = SessionOptions::default();
        let conn = ZkConn::connect(&proxy.addr(), options.clone()).await.unwrap();
        // Events of nodes that may not be read are not told.
        let options = options.with_auth(Auth::digest("witness", "sees all"));
        let witness = ZkConn::connect(&nyc, options).await.unwrap();
        Ring { proxy, conn, witness, bites: 0 }
    }

    /// Makes what the write needs, and lets `conn` see it, as one does that counts on versions.
    async fn prepare(&self, kind: Kind, rng: &mut Rng) -> Round {
        let (dir, id) = (format!("/{}", fresh_root()), format!("{:016x}", rng.u64(..)));
        self.witness.create(&dir, "", Mode::Persistent).await.unwrap();
        let other = format!("{dir}/other");
        self.witness.create(&other, "", Mode::Persistent).await.unwrap();
        let mut path = format!("{dir}/node");
        let mut data = format!("ours {}", rng.u32(..));
        let (mode, place) = match kind {
            Kind::Create(mode, id) => (mode, id),
            Kind::Multi(id) => (Mode::Persistent, id),
            _ => (Mode::Persistent, Id::None),
        };
        let mut options = CreateOptions::from(mode);
        match place {
            Id::None => {}
            Id::InName => write!(path, "-{id}-").unwrap(),
            Id::InData => write!(data, " {id}").unwrap(),
            Id::Hidden => {
                write!(path, "-{id}-").unwrap();
                let all_but_read = Perms::WRITE | Perms::CREATE | Perms::DELETE | Perms::ADMIN;
                let witness = Acl::digest(Perms::ALL, "witness", "sees all");
                options = options.with_acl(vec![Acl::world(all_but_read), witness]);
            }
        }
        if place != Id::None {
            options = options.with_id(id);
        }
        let creates = matches!(kind, Kind::Create(..) | Kind::Multi(_));
        if !creates {
            self.witness.create(&path, "first", Mode::Persistent).await.unwrap();
            for n in 0..rng.usize(..3) {
                self.witness.set(&path, n.to_string(), Version::Any).await.unwrap();
                self.witness.set_acl(&path, Acl::open(), Version::Any).await.unwrap();
            }
        }
        self.conn.sync("/").await.unwrap();
        for seen in [&dir, &other] {
            self.conn.exists(seen).await.unwrap().unwrap();
        }
        let before = if creates { None } else { self.conn.exists(&path).await.unwrap() };
        Round { kind, dir, path, data, options, other, before }
    }

    /// Breaks one write, and says how often it was applied, what was answered, and what is wrong.
    async fn round(&mut self, kind: Kind, fault: Fault, rival: Rival, rng: &mut Rng) -> Outcome {
        let round = self.prepare(kind, rng).await;
        let mut tree = self.witness.watch_tree(&round.dir).await.unwrap();
        match fault {
            Fault::Swallow => self.proxy.swallow_reply(kind.op().below(&round.dir)),
            Fault::Drop => self.proxy.drop_request(kind.op().below(&round.dir)),
        }
        // Nobody is to look before the rival has acted.
        self.proxy.refuse();
        self.bites += 1;
        let answer = self.conn.call(round.request());
        self.proxy.until(|bites| bites.swallowed + bites.dropped == self.bites).await;
        self.witness.sync("/").await.unwrap();
        let ours = History::until_now(&self.witness, &mut tree).await;
        let applied = round.applied(&self.witness, &ours, None).await;
        let bitten = usize::from(fault == Fault::Swallow && kind != Kind::Checks);
        assert_eq!(applied, bitten, "{kind:?}, {fault:?}, {rival:?}: {:?}", ours.0);
        let node = round.own_path(&ours);
        let created = self.witness.exists(&node).await.unwrap();
        let rival_did = round.rival(&self.witness, rival, &node, rng).await;
        self.proxy.join();
        let answer = soon("the answer", answer).await;
        let later = History::until_now(&self.witness, &mut tree).await;
        let again = round.applied(&self.witness, &later, Some(&rival_did)).await;
        let wrong = round.judge(&self.witness, (fault, rival), (applied, again), created, &answer);
        Outcome { wrong: wrong.await, unknown: is_unknown(&answer), answer: format!("{answer:?}") }
    }
}

struct Outcome {
    wrong: Option<&'static str>,
    unknown: bool,
    answer: String,
}

fn is_unknown(answer: &Result<Reply, Error>) -> bool {
    answer.as_ref().is_err_and(|err| err.kind() == ErrorKind::OutcomeUnknown)
}

/// How often a rival did what the write does.
#[derive(Default)]
struct RivalDid {
    created: usize,
    set: usize,
    deleted: usize,
    acls: usize,
}

impl Round {
    fn request(&self) -> Request {
        let version = self.before.map_or(0, |stat| stat.version);
        let aversion = self.before.map_or(0, |stat| stat.aversion);
        let data = self.data.clone().into();
        let set = |version| Op::Set { data: self.data.clone().into(), version };
        let acl = |version| Op::SetAcl { acl: vec![Acl::world(Perms::ALL)], version };
        let op = match self.kind {
            Kind::Create(..) => Op::Create { data, options: self.options.clone() },
            Kind::SetExact => set(Version::Exact(version)),
            Kind::SetAny => set(Version::Any),
            Kind::DeleteExact => Op::Delete { version: Version::Exact(version) },
            Kind::DeleteAny => Op::Delete { version: Version::Any },
            Kind::AclExact => acl(Version::Exact(aversion)),
            Kind::AclAny => acl(Version::Any),
            Kind::Multi(_) => {
                let steps = Multi::new().check(&self.dir, Version::Any);
                let steps = steps.set(&self.other, &self.data, Version::Any);
                let steps = steps.create(&self.path, &self.data, self.options.clone());
                Op::Multi(steps.into_ops().unwrap())
            }
            Kind::Checks => {
                let steps = Multi::new().check(&self.dir, Version::Any);
                Op::Multi(steps.check(&self.path, Version::Any).into_ops().unwrap())
            }
        };
        Request::new(op, ZkPath::new(&self.path).unwrap())
    }

    /// The node of the write: with its number, if one was made.
    fn own_path(&self, history: &History) -> String {
        let made = history.0.keys().find(|path| path.starts_with(&self.path));
        made.cloned().unwrap_or_else(|| self.path.clone())
    }

    /// How often the write was applied in a history, apart from what the rival did.
    async fn applied(
        &self,
        witness: &ZkConn,
        history: &History,
        rival: Option<&RivalDid>,
    ) -> usize {
        let none = RivalDid::default();
        let did = rival.unwrap_or(&none);
        match self.kind {
            Kind::Create(..) | Kind::Multi(_) => {
                history.count(&self.path, EventKind::Created) - did.created
            }
            Kind::SetExact | Kind::SetAny => {
                history.count(&self.path, EventKind::DataChanged) - did.set
            }
            Kind::DeleteExact | Kind::DeleteAny => {
                history.count(&self.path, EventKind::Deleted) - did.deleted
            }
            // No watch tells of these, and a node made anew has lost its count.
            Kind::AclExact | Kind::AclAny => {
                let Some(stat) = witness.exists(&self.path).await.unwrap() else { return 0 };
                let before = self.before.map_or(0, |stat| stat.aversion);
                let before = if did.created > 0 { 0 } else { before };
                // Counted from the start, in the later look too.
                usize::try_from(stat.aversion - before).unwrap() - did.acls
            }
            Kind::Checks => 0,
        }
    }

    async fn rival(&self, witness: &ZkConn, rival: Rival, node: &str, rng: &mut Rng) -> RivalDid {
        let mut did = RivalDid::default();
        let is_there = witness.exists(node).await.unwrap().is_some();
        // An id is nobody else's: who makes the same data without it is another.
        let is_own = self.options.id.is_some();
        let equal = if is_own { "ours".to_string() } else { self.data.clone() };
        let different = format!("theirs {}", rng.u32(..));
        if matches!(self.kind, Kind::AclExact | Kind::AclAny)
            && matches!(rival, Rival::Equal | Rival::Different)
        {
            let perms = if rival == Rival::Equal { Perms::ALL } else { Perms::READ | Perms::ADMIN };
            witness.set_acl(node, vec![Acl::world(perms)], Version::Any).await.unwrap();
            did.acls += 1;
            return did;
        }
        match rival {
            Rival::Nothing => {}
            Rival::Equal | Rival::Different => {
                let set = if rival == Rival::Equal { &self.data } else { &different };
                let make = if rival == Rival::Equal { &equal } else { &different };
                if matches!(self.kind, Kind::Multi(_)) {
                    witness.set(&self.other, set, Version::Any).await.unwrap();
                }
                if self.is_beside() {
                    // Somebody else's node in the same directory.
                    let mode = Mode::PersistentSequential;
                    witness.create(format!("{}/rival-", self.dir), make, mode).await.unwrap();
                    if is_there && rival == Rival::Different {
                        witness.set(node, set, Version::Any).await.unwrap();
                    }
                } else if is_there {
                    witness.set(node, set, Version::Any).await.unwrap();
                    did.set += 1;
                } else {
                    witness.create(node, make, Mode::Persistent).await.unwrap();
                    did.created += 1;
                }
            }
            Rival::Recreate if self.is_beside() => {
                let path = format!("{}/rival", self.dir);
                witness.create(&path, &equal, Mode::Persistent).await.unwrap();
                witness.delete(&path, Version::Any).await.unwrap();
            }
            Rival::Recreate => {
                let data = if rng.bool() { &equal } else { &different };
                if is_there {
                    witness.delete(node, Version::Any).await.unwrap();
                    did.deleted += 1;
                }
                witness.create(node, data, Mode::Persistent).await.unwrap();
                did.created += 1;
            }
            Rival::Delete => {
                if is_there {
                    witness.delete(node, Version::Any).await.unwrap();
                    did.deleted += 1;
                } else if self.is_beside() {
                    let path = format!("{}/rival", self.dir);
                    witness.create(&path, &equal, Mode::Persistent).await.unwrap();
                    witness.delete(&path, Version::Any).await.unwrap();
                } else {
                    witness.create(node, &equal, Mode::Persistent).await.unwrap();
                    witness.delete(node, Version::Any).await.unwrap();
                    did.created += 1;
                    did.deleted += 1;
                }
            }
        }
        did
    }

    /// Whether a rival can only make nodes beside this one: nobody else has its number, or its id.
    fn is_beside(&self) -> bool {
        let by_name = matches!(self.kind, Kind::Create(_, Id::InName | Id::Hidden));
        by_name || self.kind.is_sequential()
    }

    /// What is wrong about an answer, given how often the write was applied before the rival acted
    /// and after.
    async fn judge(
        &self,
        witness: &ZkConn,
        (fault, rival): (Fault, Rival),
        (applied, again): (usize, usize),
        created: Option<Stat>,
        answer: &Result<Reply, Error>,
    ) -> Option<&'static str> {
        let is_acl = matches!(self.kind, Kind::AclExact | Kind::AclAny);
        // The ACL version counts from the start, and a node made anew has none of it.
        let remade = matches!(rival, Rival::Recreate | Rival::Delete);
        let times = if is_acl && !remade { again } else { applied + again };
        // What was ours and was deleted by another may be made again: that is what was asked for.
        let made_again = applied == 1 && again == 1 && rival == Rival::Delete;
        let twice = times > 1 && !(made_again && self.options.id.is_some());
        match answer {
            _ if twice => return Some("applied twice"),
            Ok(_) if times == 0 && self.kind != Kind::Checks => {
                return Some("told as applied, and was not");
            }
            Err(err) if err.kind() != ErrorKind::OutcomeUnknown && times > 0 => {
                return Some("told as not applied, and was");
            }
            _ => {}
        }
        let told = answer.as_ref().map(|_| ()).map_err(Error::kind);
        match self.kind.exactly(fault, rival) {
            Some(must) if must != told => return Some("not as exact as it must be"),
            _ => {}
        }
        let Ok(reply) = answer else { return None };
        let now = |path: &str| witness.exists(path);
        match reply {
            Reply::Created(path, stat) => {
                let Some(node) = now(path.as_str()).await.unwrap() else {
                    return Some("the node that it names is not there");
                };
                if node.czxid != stat.czxid
                    || (applied == 1 && again == 0 && created != Some(*stat))
                {
                    return Some("it has the stat of another moment");
                }
                if self.kind.is_sequential() {
                    let names = witness.children(&self.dir).await.unwrap().names;
                    let stem = self.path.rsplit('/').next().unwrap();
                    if names.iter().filter(|name| name.starts_with(stem)).count() != 1 {
                        return Some("there is a second node");
                    }
                }
            }
            Reply::Multi(replies) if self.kind != Kind::Checks => {
                let [_, MultiReply::Set(set), MultiReply::Created { .. }] = replies.as_slice()
                else {
                    return Some("it is the answer to another multi");
                };
                // The first set of that node was ours, or came before the rival's.
                let theirs = usize::from(matches!(rival, Rival::Equal | Rival::Different));
                let ours = if applied == 1 { 1 } else { 1 + theirs };
                if set.version != i32::try_from(ours).unwrap() {
                    return Some("it shows a rival's version as ours");
                }
            }
            Reply::Stat(stat) if matches!(self.kind, Kind::SetExact | Kind::SetAny) => {
                let now = now(&self.path).await.unwrap();
                return (Some(*stat) != now).then_some("it has the stat of another moment");
            }
            _ => {}
        }
        None
    }
}

#[tokio::test]
async fn a_write_whose_reply_was_lost_is_never_answered_wrongly() {
    let mut rng = random("outcomes");
    let turns = rounds(1, 50);
    let each = KINDS.map(|kind| {
        let mut rng = rng.fork();
        async move {
            let mut ring = Ring::new().await;
            let (mut wrong, mut unknown) = (Vec::new(), 0);
            for _ in 0..turns {
                for (fault, rival) in faults() {
                    let outcome = ring.round(kind, fault, rival, &mut rng).await;
                    unknown += usize::from(outcome.unknown);
                    if let Some(why) = outcome.wrong {
                        let answer = outcome.answer;
                        wrong.push(format!("{kind:?}, {fault:?}, {rival:?}: {why}: {answer}"));
                    }
                }
            }
            let bites = ring.proxy.bites();
            assert_eq!(bites.swallowed, bites.dropped);
            assert_eq!(bites.swallowed as usize, turns * RIVALS.len());
            (wrong, bites.swallowed + bites.dropped, unknown)
        }
    });
    let all = futures::future::join_all(each).await;
    let wrong: Vec<&String> = all.iter().flat_map(|(wrong, ..)| wrong).collect();
    let broken: u64 = all.iter().map(|(_, broken, _)| broken).sum();
    let unknown: usize = all.iter().map(|(.., unknown)| unknown).sum();
    println!("{broken} writes broken, {unknown} unknown, {} answered wrongly", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn faults() -> impl Iterator<Item = (Fault, Rival)> {
    let both = [Fault::Swallow, Fault::Drop].into_iter();
    both.flat_map(|fault| RIVALS.into_iter().map(move |rival| (fault, rival)))
}

#[tokio::test]
async fn what_was_done_and_undone_by_another_is_not_told_as_never_done() {
    let ring = Ring::new().await;
    let (dir, id) = (format!("/{}", fresh_root()), "an id of its own");
    ring.witness.create(&dir, "", Mode::Persistent).await.unwrap();
    ring.proxy.swallow_reply(OpKind::Create);
    ring.proxy.refuse();
    let options = CreateOptions::from(Mode::Persistent).with_id(id);
    let answer = ring.conn.create(format!("{dir}/node"), id, options);
    ring.proxy.until(|bites| bites.swallowed == 1).await;
    ring.witness.delete(format!("{dir}/node"), Version::Any).await.unwrap();
    ring.witness.delete(&dir, Version::Any).await.unwrap();
    ring.proxy.join();
    // It is tried again, and refused; that says nothing about the first time.
    let err = soon("the answer", answer).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown);
    assert!(err.to_string().ends_with("no such node"), "{err}");
}

#[tokio::test]
async fn a_connection_goes_on_when_its_session_ends_with_a_write_in_doubt() {
    let nyc = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&nyc).await.unwrap();
    let conn = ZkConn::connect(&proxy.addr(), SessionOptions::default()).await.unwrap();
    let path = format!("/{}", fresh_root());
    proxy.refuse();
    proxy.swallow_reply(OpKind::Create);
    let create = conn.create(&path, "", Mode::Persistent);
    proxy.until(|bites| bites.swallowed == 1 && bites.refused > 0).await;
    proxy.tell_expired();
    proxy.join();
    proxy.until(|bites| bites.told_expired == 1).await;
    let err = soon("the answer", create).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::OutcomeUnknown, "{err}");
    assert!(soon("the node", conn.exists(&path)).await.unwrap().is_some());
    assert_eq!(conn.session("/").await.unwrap().generation(), 2);
}
