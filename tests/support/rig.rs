//! One who suffers a fault, others who do not, and what is owed to them all.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zkcells::recipes::Released;
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Bites, FaultProxy, OpKind};
use zkcells::{
    ConnExt as _, Deadline, Error, ErrorKind, Loss, Mode, Read, ReadReply, Session, SessionOptions,
    ZkConn, ZkPath,
};

use super::all_answered;
use super::recipes::{Held, Recipe};

/// The session timeout of the one who suffers.
pub const TIMEOUT: Duration = Duration::from_secs(4);
/// What servers may take besides to end a session: two ticks, and a machine that is busy.
pub const GRACE: Duration = Duration::from_millis(2500);
/// How much later than its deadline a loss may be told. Looks come every 250 ms.
pub const LATE: Duration = Duration::from_secs(1);
/// For what takes no time but what the machine takes.
pub const SOON: Duration = Duration::from_secs(8);

/// A contender on its way, or what became of it.
pub type Contender = JoinHandle<Result<Box<dyn Held>, Error>>;

/// A recipe at a path of its own, somebody behind a proxy, and somebody who is well.
pub struct Rig {
    pub recipe: Arc<dyn Recipe>,
    pub proxy: FaultProxy,
    /// Behind the proxy.
    pub faulty: Arc<ZkConn>,
    /// Not behind it.
    pub well: Arc<ZkConn>,
    /// As well as the one before.
    pub third: Arc<ZkConn>,
    pub path: String,
}

pub async fn connect(addrs: &str, wait: Duration) -> Arc<ZkConn> {
    // Tokens compare within a cell: its name must not depend on which servers one is told.
    let options = SessionOptions::default().with_session_timeout(wait).with_label("ensemble");
    Arc::new(ZkConn::connect(addrs, options).await.unwrap())
}

impl Rig {
    /// Somebody at `server` through a proxy, and others at `healthy`.
    pub async fn new(recipe: Arc<dyn Recipe>, server: &str, healthy: &str) -> Rig {
        let proxy = FaultProxy::to(server).await.unwrap();
        let patient = Duration::from_secs(20);
        let addr = proxy.addr();
        let (faulty, well, third) = tokio::join!(
            connect(&addr, TIMEOUT),
            connect(healthy, patient),
            connect(healthy, patient)
        );
        let root = format!("/{}", fresh_root());
        well.create(&root, "", Mode::Persistent).await.unwrap();
        let path = format!("{root}/{}", recipe.name());
        Rig { recipe, proxy, faulty, well, third, path }
    }

    /// Makes what the recipe needs and makes, so that later requests are those of contenders.
    pub async fn prepared(self) -> Rig {
        self.recipe.prepare(self.well.clone(), &self.path).await;
        let held = self.take(&self.well).await;
        // Servers delete empty containers.
        for name in self.recipe.foreign().iter().take(1) {
            let keep = format!("{}/{name}", self.dir());
            self.well.create(keep, "", Mode::Persistent).await.unwrap();
        }
        assert_eq!(held.release().await, Released::Released);
        self.faulty.sync(&self.path).await.unwrap();
        self.proxy.clear_log();
        self
    }

    /// The same with a longer session for the one who suffers: what is to be borne must be, however
    /// busy the machine is.
    pub async fn patient(mut self) -> Rig {
        self.faulty = connect(&self.proxy.addr(), 3 * TIMEOUT).await;
        self
    }

    pub fn dir(&self) -> String {
        self.recipe.dir(&self.path)
    }

    pub async fn session(&self) -> Session {
        self.faulty.session("/").await.unwrap()
    }

    /// Takes it, which nobody keeps back.
    pub async fn take(&self, conn: &Arc<ZkConn>) -> Box<dyn Held> {
        soon("the grant", self.recipe.acquire(conn.clone(), &self.path)).await.unwrap()
    }

    /// A contender, whose node is there if contenders have one.
    pub async fn contend(&self, conn: &Arc<ZkConn>) -> Contender {
        let id = conn.session("/").await.unwrap().id();
        let before = self.nodes_of(id).await.len();
        let contender = tokio::spawn(self.recipe.acquire(conn.clone(), &self.path));
        if !self.recipe.is_line() {
            // Nobody sees it wait.
            return contender;
        }
        let there = async {
            while self.nodes_of(id).await.len() == before {
                assert!(!contender.is_finished(), "it did not wait");
                turn().await;
            }
        };
        soon("a place in the line", there).await;
        contender
    }

    /// A contender behind the proxy, who has looked for whom to wait and left its watches.
    pub async fn contend_and_watch(&self) -> Contender {
        let contender = self.contend(&self.faulty).await;
        assert!(self.recipe.is_line());
        let watches = async {
            loop {
                let log = self.proxy.log();
                let asked = log.iter().filter(|entry| entry.is_request(OpKind::Read)).count();
                if asked >= self.recipe.reads_to_wait() && all_answered(&log) {
                    break;
                }
                turn().await;
            }
        };
        soon("its watches", watches).await;
        contender
    }

    /// The nodes of a session in the recipe's directory.
    pub async fn nodes_of(&self, session: i64) -> Vec<ZkPath> {
        let dir = ZkPath::new(self.dir()).unwrap();
        // It may be at another server than the one of that session.
        self.well.sync(&dir).await.unwrap();
        let names = match self.well.children(&dir).await {
            Ok(children) => children.names,
            Err(err) if err.kind() == ErrorKind::NoNode => return Vec::new(),
            Err(err) => panic!("{err}"),
        };
        let below = |dir: &ZkPath, names: &[String]| -> Vec<ZkPath> {
            names.iter().map(|name| ZkPath::new(format!("{dir}/{name}")).unwrap()).collect()
        };
        let mut paths = below(&dir, &names);
        if self.recipe.nests() {
            let dirs = paths.clone();
            for dir in dirs {
                if let Ok(children) = self.well.children(&dir).await {
                    paths.extend(below(&dir, &children.names));
                }
            }
        }
        let found = self.well.read_many(paths.iter().cloned().map(Read::Exists)).await.unwrap();
        let of_session = |found: &Result<ReadReply, Error>| matches!(found, Ok(ReadReply::Exists(Some(stat))) if stat.ephemeral_owner == session);
        let all = paths.into_iter().zip(found);
        all.filter(|(_, found)| of_session(found)).map(|(path, _)| path).collect()
    }

    /// Waits until no node of a session is left: what is not removed by its owner goes with it.
    pub async fn nothing_left_of(&self, session: i64, within: Duration) {
        let gone = async {
            while !self.nodes_of(session).await.is_empty() {
                turn().await;
            }
        };
        assert!(
            timeout(within, gone).await.is_ok(),
            "left within {within:?}: {:?}",
            self.nodes_of(session).await
        );
    }

    /// Waits until the faults have bitten.
    pub async fn bitten(&self, how: impl Fn(&Bites) -> bool) {
        self.proxy.until(how).await;
    }

    /// Has the one behind the proxy told that its session is over, until it has heard it: an answer
    /// that comes late is one that it asks for again.
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

    /// Waits until a later proof came, and it is held.
    pub async fn proved_again(&self, held: &dyn Held) {
        let before = held.valid_until();
        let proved = async {
            while held.valid_until() <= before {
                assert!(held.is_valid(), "lost by a fault that it should bear");
                turn().await;
            }
        };
        soon("another proof", proved).await;
        assert!(held.is_valid());
    }

    /// The end of a case in which the holder stays the holder: it releases, `next` gets in.
    pub async fn passes_on(&self, held: Box<dyn Held>, next: Contender) {
        let (token, id) = (held.token().clone(), self.session().await.id());
        assert!(held.is_valid());
        assert_eq!(soon("the release", held.release()).await, Released::Released);
        let next = gets_in(next, SOON).await;
        assert!(*next.token() > token, "{} behind {token}", next.token());
        self.nothing_left_of(id, SOON).await;
    }

    /// The end of a case in which the holder loses it, for one of these reasons and by its own
    /// deadline: `next` gets in, and not before.
    pub async fn loses(&self, held: Box<dyn Held>, next: Contender, why: &[Loss], id: i64) {
        let granted = async {
            let next = gets_in(next, TIMEOUT + GRACE).await;
            // Looked at when the other is in: from now on nobody else may say that he holds it.
            assert!(
                !held.is_valid(),
                "two hold it: valid for {:?}",
                held.valid_until().remaining()
            );
            next
        };
        let lost = async {
            let mut promised = held.valid_until();
            let lost = held.lost();
            tokio::pin!(lost);
            let loss = loop {
                tokio::select! {
                    biased;
                    loss = &mut lost => break loss,
                    () = sleep(Duration::from_millis(5)) => {
                        let until = held.valid_until();
                        promised = promised.max(until);
                    }
                }
                assert!(promised.plus(LATE) > Deadline::now(), "lost late");
            };
            let told = why.contains(&loss) || !self.recipe.tells_why();
            assert!(told, "{loss:?}, not one of {why:?}");
            assert!(!held.is_valid() && held.valid_until().is_past(), "lost is final");
        };
        let (next, ()) = tokio::join!(granted, lost);
        assert!(*next.token() > *held.token());
        assert_eq!(soon("the release", held.release()).await, Released::WasLost);
        assert!(next.is_valid(), "somebody else's release is nothing to it");
        self.nothing_left_of(id, TIMEOUT + GRACE).await;
    }

    /// The end of a case in which a contender who suffered comes to its turn all the same.
    pub async fn comes_to_its_turn(&self, holder: Box<dyn Held>, contender: Contender) {
        let last = self.contend(&self.third).await;
        assert!(!contender.is_finished(), "in before its turn");
        assert!(holder.is_valid());
        assert_eq!(holder.release().await, Released::Released);
        let held = gets_in(contender, TIMEOUT + GRACE).await;
        let id = self.session().await.id();
        assert_eq!(self.nodes_of(id).await.len(), 1, "{:?}", self.nodes_of(id).await);
        assert!(!last.is_finished(), "two are in");
        self.passes_on(held, last).await;
    }

    /// The end of a case in which a contender fails: it is told why, and keeps nobody out.
    pub async fn fails(
        &self,
        holder: Box<dyn Held>,
        contender: Contender,
        why: ErrorKind,
        (id, within): (i64, Duration),
    ) {
        let failed = timeout(within, contender).await;
        match failed.unwrap_or_else(|_| panic!("not told within {within:?}")).unwrap() {
            Ok(_) => panic!("two hold it"),
            Err(err) => {
                assert_eq!(err.kind(), why, "{err}");
                assert!(err.to_string().contains(&self.path), "{err}");
            }
        }
        assert!(holder.is_valid());
        let next = self.contend(&self.third).await;
        assert_eq!(holder.release().await, Released::Released);
        gets_in(next, TIMEOUT + GRACE).await;
        self.nothing_left_of(id, TIMEOUT + GRACE).await;
    }
}

/// Waits until a contender is in.
pub async fn gets_in(contender: Contender, within: Duration) -> Box<dyn Held> {
    match timeout(within, contender).await {
        Ok(held) => {
            let held = held.unwrap().unwrap();
            assert!(held.is_valid());
            held
        }
        Err(_) => panic!("the next one is not in within {within:?}"),
    }
}

/// A future that must come to its end.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {SOON:?}"),
    }
}

/// Lets others go on; often enough, and no load.
pub async fn turn() {
    sleep(Duration::from_millis(5)).await;
}

/// Runs cases side by side, and tells all that fail.
pub async fn side_by_side(cases: Vec<(String, futures::future::BoxFuture<'static, ()>)>) {
    let (names, cases): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let ends = join_all(cases.into_iter().map(tokio::spawn)).await;
    let failed = names.iter().zip(ends).filter_map(|(name, end)| {
        let why = end.err()?.try_into_panic().ok()?;
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(format!("{name}: {}", text.unwrap_or_default()))
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), names.len(), failed.join("\n"));
    println!("{} cases", names.len());
}
