//! The recipes that give a guard, all of one shape, so that one rig holds each to its promises.
//!
//! Another recipe joins in with a few lines here: an implementation of [`Recipe`], [`Held`] for its
//! guard if that is one of its own, and a line in [`all`].

#[macro_use]
mod by_guard;
pub mod rw;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use zkcells::fault::OpKind;
use zkcells::recipes::{
    Election, Guard, LeaderGuard, Lock, PidGuard, PidNode, PidPolicy, PidState, QueueLock,
    Released, ShardGuard, ShardLock, Token,
};
use zkcells::{
    Conn, ConnExt as _, CreateOptions, Deadline, Error, ErrorKind, Loss, Mode, Pending, Stat,
    Version, ZkPath, tree,
};

use self::rw::TheWriter;

/// Something that one holds, or some do, and others wait for.
pub trait Recipe: Send + Sync + 'static {
    /// What failures call it; fit for a path.
    fn name(&self) -> &'static str;

    /// Waits for it and takes it. Each call is a contender of its own.
    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking;

    /// Other ways to take it: what each is called, and the future. `None` comes of those that do
    /// not wait.
    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let _ = (conn, path);
        Vec::new()
    }

    /// Makes what must be there before anybody takes it; directories that the recipe makes itself
    /// are not.
    fn prepare(&self, conn: Arc<dyn Conn>, path: &str) -> BoxFuture<'static, ()> {
        let _ = (conn, path);
        async {}.boxed()
    }

    /// The directory in which its own nodes are.
    fn dir(&self, path: &str) -> String {
        path.to_owned()
    }

    /// How many reads a contender makes before it does nothing but wait: of the list, of whom it
    /// waits for, of the own node.
    fn reads_to_wait(&self) -> usize {
        3
    }

    /// What a contender writes when its turn comes, and an earlier write proves nothing any more.
    fn proof(&self) -> OpKind {
        OpKind::Check
    }

    /// What a holder writes to go.
    fn removal(&self) -> OpKind {
        OpKind::Delete
    }

    /// Whether each contender has a node, and the order of the nodes is that of the turns.
    fn is_line(&self) -> bool {
        true
    }

    /// What makes the own node.
    fn makes(&self) -> OpKind {
        OpKind::Create
    }

    /// How the path ends by which the own node is asked for, where not all requests of that kind do.
    fn stem(&self) -> &'static str {
        ""
    }

    /// Whether its own nodes are in directories in its directory.
    fn nests(&self) -> bool {
        false
    }

    /// Whether one holds it alone, and not several at once a part of it each.
    fn is_exclusive(&self) -> bool {
        true
    }

    /// Whether its guard tells why it was lost.
    fn tells_why(&self) -> bool {
        true
    }

    /// Names in its directory that are nobody's.
    fn foreign(&self) -> Vec<&'static str> {
        vec!["foreign", "lock-x", "a-0000000000"]
    }
}

/// A contender on its way.
pub type Taking = BoxFuture<'static, Result<Box<dyn Held>, Error>>;
/// A contender who may come back with empty hands.
pub type OtherTaking = BoxFuture<'static, Result<Option<Box<dyn Held>>, Error>>;

/// What a holder has: a guard.
pub trait Held: Send + Sync {
    fn is_valid(&self) -> bool;
    fn valid_until(&self) -> Deadline;
    fn token(&self) -> &Token;
    /// The own node.
    fn path(&self) -> &ZkPath;
    fn lost(&self) -> BoxFuture<'_, Loss>;
    fn release(self: Box<Self>) -> BoxFuture<'static, Released>;
    /// Whether its holder can go on with less.
    fn steps_down(&self) -> bool {
        false
    }
    /// Goes on with less, without letting go.
    fn step_down(self: Box<Self>) -> Taking {
        let err = Error::new("step_down", self.path(), ErrorKind::Unsupported);
        async move { Err(err) }.boxed()
    }
}

held_by_guard!(Guard, release);
held_by_guard!(LeaderGuard, resign);
held_by_guard!(ShardGuard, release);

/// A guard as the rigs have it.
pub fn boxed(guard: impl Held + 'static) -> Box<dyn Held> {
    Box::new(guard)
}

/// Every recipe that gives a guard.
pub fn all() -> Vec<Arc<dyn Recipe>> {
    vec![
        Arc::new(TheLock),
        Arc::new(TheLockWithDelay),
        Arc::new(TheWriter),
        Arc::new(TheQueue),
        Arc::new(TheElection),
        Arc::new(ThePidNode),
        Arc::new(TheShards),
    ]
}

/// [`Lock`].
pub struct TheLock;

impl Recipe for TheLock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = Lock::new(conn, path);
        async move { lock.acquire().await.map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let long = Duration::from_secs(60);
        let (lock, once) = (Lock::new(conn, path), |guard| Some(boxed(guard)));
        let (within, tries) = (lock.clone(), lock);
        vec![
            ("within", async move { within.acquire_within(long).await.map(once) }.boxed()),
            ("try", async move { Ok(tries.try_acquire().await?.map(boxed)) }.boxed()),
        ]
    }
}

/// [`Lock`] with a pause behind holders who died. It writes down who holds.
pub struct TheLockWithDelay;

impl Recipe for TheLockWithDelay {
    fn name(&self) -> &'static str {
        "lock-with-delay"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = Lock::new(conn, path).with_delay(Duration::from_millis(200));
        async move { lock.acquire().await.map(boxed) }.boxed()
    }

    fn proof(&self) -> OpKind {
        OpKind::Multi
    }

    fn removal(&self) -> OpKind {
        OpKind::Multi
    }
}

/// [`QueueLock`] for a node that is made for each turn.
pub struct TheQueue;

/// The node for a turn, which is its maker's until the turn is waited for.
struct ForATurn {
    conn: Arc<dyn Conn>,
    made: Option<Pending<(ZkPath, Stat)>>,
}

impl ForATurn {
    fn make(conn: Arc<dyn Conn>, path: &str) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let options = CreateOptions::from(Mode::EphemeralSequential).with_id(id.as_str());
        let made = Some(conn.create(format!("{path}/turn-"), id, options));
        ForATurn { conn, made }
    }

    async fn queue(mut self) -> Result<QueueLock, Error> {
        let made = self.made.as_mut().unwrap().await;
        self.made = None;
        Ok(QueueLock::new(self.conn.clone(), made?.0))
    }
}

impl Drop for ForATurn {
    fn drop(&mut self) {
        let Some(made) = self.made.take() else { return };
        let conn = self.conn.clone();
        tokio::spawn(async move {
            if let Ok((path, _)) = made.await {
                conn.delete(path, Version::Any).await.ok();
            }
        });
    }
}

impl Recipe for TheQueue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let node = ForATurn::make(conn, path);
        async move { node.queue().await?.wait().await.map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let node = ForATurn::make(conn, path);
        let wait = async move { node.queue().await?.wait_within(Duration::from_secs(60)).await };
        vec![("within", wait.map(|held| Ok(Some(boxed(held?)))).boxed())]
    }

    fn prepare(&self, conn: Arc<dyn Conn>, path: &str) -> BoxFuture<'static, ()> {
        let path = path.to_owned();
        async move {
            tree::create_all(&conn, path, "", Mode::Persistent).await.unwrap();
        }
        .boxed()
    }

    /// Of the own node twice, of the queue, of the list, of the one before.
    fn reads_to_wait(&self) -> usize {
        5
    }

    /// The grant itself.
    fn proof(&self) -> OpKind {
        OpKind::Multi
    }

    /// Whatever is in the queue stands in it.
    fn foreign(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// [`Election`].
pub struct TheElection;

impl Recipe for TheElection {
    fn name(&self) -> &'static str {
        "election"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let election = Election::new(conn, path);
        async move { election.campaign().await.map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let election = Election::new(conn, path);
        let campaign = async move { election.campaign_within(Duration::from_secs(60)).await };
        vec![("within", campaign.map(|held| Ok(Some(boxed(held?)))).boxed())]
    }

    fn dir(&self, path: &str) -> String {
        format!("{path}/candidates")
    }
}

/// [`PidNode`], waiting for another's to go, up to its first loss.
pub struct ThePidNode;

/// Whoever lost it does not come back before the next one was in.
struct FirstPid {
    guard: Mutex<Option<PidGuard>>,
    path: ZkPath,
    token: Token,
}

impl Held for FirstPid {
    fn is_valid(&self) -> bool {
        let guard = self.guard.lock().unwrap();
        guard.as_ref().is_some_and(|guard| {
            guard.token().as_ref() == Some(&self.token) && guard.state() == PidState::Held
        })
    }
    /// It promises nothing but the moment.
    fn valid_until(&self) -> Deadline {
        Deadline::now()
    }
    fn token(&self) -> &Token {
        &self.token
    }
    fn path(&self) -> &ZkPath {
        &self.path
    }
    fn lost(&self) -> BoxFuture<'_, Loss> {
        async {
            while self.is_valid() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(self.guard.lock().unwrap().take());
            Loss::Unproven
        }
        .boxed()
    }
    fn release(self: Box<Self>) -> BoxFuture<'static, Released> {
        async move {
            let was_lost = !self.is_valid();
            let guard = self.guard.lock().unwrap().take();
            match guard {
                Some(guard) if !was_lost => guard.release().await,
                _ => Released::WasLost,
            }
        }
        .boxed()
    }
}

impl ThePidNode {
    fn node(conn: Arc<dyn Conn>, path: &str) -> PidNode {
        PidNode::new(conn, path).with_policy(PidPolicy::Wait).with_jitter(Duration::ZERO)
    }

    /// Its first stay; another one if that is over already.
    fn first(guard: PidGuard) -> Result<Box<dyn Held>, Error> {
        let token = guard.token();
        let path = guard.path().clone();
        let lost = || Error::new("pid_node", &path, ErrorKind::SessionExpired);
        let token = token.ok_or_else(lost)?;
        Ok(boxed(FirstPid { guard: Mutex::new(Some(guard)), path, token }))
    }
}

impl Recipe for ThePidNode {
    fn name(&self) -> &'static str {
        "pid"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let node = Self::node(conn, path);
        async move { Self::first(node.hold().await?) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let node = Self::node(conn, path);
        let hold = async move { node.hold_within(Duration::from_secs(60)).await };
        vec![("within", hold.map(|held| Self::first(held?).map(Some)).boxed())]
    }

    fn dir(&self, path: &str) -> String {
        path.rsplit_once('/').unwrap().0.to_owned()
    }

    fn is_line(&self) -> bool {
        false
    }

    fn tells_why(&self) -> bool {
        false
    }

    fn foreign(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// [`ShardLock`], whose leaders wait for nobody: a holder is followed by those who came meanwhile.
pub struct TheShards;

impl TheShards {
    fn lock(conn: Arc<dyn Conn>, path: &str) -> ShardLock {
        ShardLock::new(conn, path).with_wait_time(Duration::ZERO)
    }
}

impl Recipe for TheShards {
    fn name(&self) -> &'static str {
        "shards"
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let lock = Self::lock(conn, path);
        async move { lock.acquire().await.map(boxed) }.boxed()
    }

    fn others(&self, conn: Arc<dyn Conn>, path: &str) -> Vec<(&'static str, OtherTaking)> {
        let (long, lock) = (Duration::from_secs(60), Self::lock(conn, path));
        let (within, acked) = (lock.clone(), lock);
        vec![
            ("within", async move { Ok(Some(boxed(within.acquire_within(long).await?))) }.boxed()),
            (
                "ack",
                async move {
                    acked.acquire().await?.ack().await;
                    Ok(None)
                }
                .boxed(),
            ),
        ]
    }

    /// The path is made by the recipe, and its parent is not.
    fn prepare(&self, conn: Arc<dyn Conn>, path: &str) -> BoxFuture<'static, ()> {
        let path = path.to_owned();
        async move {
            let parent = path.rsplit_once('/').unwrap().0;
            match tree::create_all(&conn, parent, "", Mode::Persistent).await {
                Ok(_) => {}
                Err(err) => assert_eq!(err.kind(), ErrorKind::NodeExists, "{err}"),
            }
        }
        .boxed()
    }

    fn makes(&self) -> OpKind {
        OpKind::Multi
    }

    /// The list is published by one, too, and again when somebody came or went meanwhile.
    fn stem(&self) -> &'static str {
        "/node-"
    }

    fn nests(&self) -> bool {
        true
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn is_line(&self) -> bool {
        false
    }

    fn foreign(&self) -> Vec<&'static str> {
        vec!["foreign"]
    }
}
