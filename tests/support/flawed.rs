//! A lock with one rule of the real ones broken, to show that what judges them would notice.

pub mod rw;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use zkcells::recipes::{LockMode, Released, Token};
use zkcells::{
    Conn, ConnExt as _, CreateOptions, Deadline, Error, ErrorKind, Hold, Loss, Mode, Stat, Version,
    Within, ZkPath, tree,
};

use super::recipes::{Held, Recipe, Taking, boxed};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// The own id is not checked: behind a lost reply any node of the session will do.
    AnyNode,
    /// Whatever a server answers is a sign of life.
    ReadsProve,
    /// The end of the predecessor is the grant, without another look at the list.
    WatchProves,
    /// Everybody waits for the first.
    Herd,
}

/// A simple lock.
pub struct Flawed(pub Flaw);

/// The own node; it goes with this.
struct Own {
    conn: Arc<dyn Conn>,
    path: ZkPath,
    stat: Stat,
}

impl Drop for Own {
    fn drop(&mut self) {
        let gone = self.conn.delete(&self.path, Version::Any);
        tokio::spawn(async move { gone.await.ok() });
    }
}

enum Proof {
    Committed(Hold),
    /// Until when, by the last answer, and who asks.
    Answered(Arc<Mutex<Deadline>>, JoinHandle<()>),
}

struct FlawedGuard {
    own: Own,
    proof: Proof,
    token: Token,
}

impl Held for FlawedGuard {
    fn is_valid(&self) -> bool {
        match &self.proof {
            Proof::Committed(hold) => hold.is_valid(),
            Proof::Answered(until, _) => !until.lock().unwrap().is_past(),
        }
    }
    fn valid_until(&self) -> Deadline {
        match &self.proof {
            Proof::Committed(hold) => hold.valid_until(),
            Proof::Answered(until, _) => *until.lock().unwrap(),
        }
    }
    fn token(&self) -> &Token {
        &self.token
    }
    fn path(&self) -> &ZkPath {
        &self.own.path
    }
    fn lost(&self) -> BoxFuture<'_, Loss> {
        async {
            while self.is_valid() {
                sleep(Duration::from_millis(5)).await;
            }
            Loss::Unproven
        }
        .boxed()
    }
    fn release(self: Box<Self>) -> BoxFuture<'static, Released> {
        async move {
            let gone = self.own.conn.delete(&self.own.path, Version::Any).await;
            if gone.is_ok() { Released::Released } else { Released::WasLost }
        }
        .boxed()
    }
}

impl Drop for FlawedGuard {
    fn drop(&mut self) {
        if let Proof::Answered(_, asks) = &self.proof {
            asks.abort();
        }
    }
}

fn sequence(name: &str) -> Option<i32> {
    name.strip_prefix("lock-")?.parse().ok()
}

impl Flawed {
    async fn enter(flaw: Flaw, conn: &Arc<dyn Conn>, path: &ZkPath) -> Result<Own, Error> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut options = CreateOptions::from(Mode::EphemeralSequential);
        if flaw != Flaw::AnyNode {
            options = options.with_id(id.as_str());
        }
        let (path, stat) = match conn.create(format!("{path}/lock-"), id, options).await {
            Err(err) if err.kind() == ErrorKind::OutcomeUnknown && flaw == Flaw::AnyNode => {
                let own = conn.ephemerals(path).await?.into_iter().next().ok_or(err)?;
                let stat = conn.get(&own).await?.stat;
                (own, stat)
            }
            made => made?,
        };
        Ok(Own { conn: conn.clone(), path, stat })
    }

    /// Waits until the own node is first, or what the flaw takes for that.
    async fn wait(flaw: Flaw, own: &Own, dir: &ZkPath) -> Result<(), Error> {
        loop {
            let names = own.conn.children(dir).await?.names;
            let mine = sequence(own.path.name());
            let mut ahead: Vec<_> = names
                .iter()
                .filter_map(|name| Some((sequence(name)?, name)))
                .filter(|(other, _)| Some(*other) < mine)
                .collect();
            ahead.sort();
            if !names.iter().any(|name| name == own.path.name()) {
                return Err(Error::new("acquire", &own.path, ErrorKind::Revoked));
            }
            let next = if flaw == Flaw::Herd { ahead.first() } else { ahead.last() };
            let Some((_, next)) = next else { return Ok(()) };
            let (stat, watch) = own.conn.exists_watch(format!("{dir}/{next}")).await?;
            if stat.is_some() {
                watch.await;
            }
            if flaw == Flaw::WatchProves {
                return Ok(());
            }
        }
    }
}

impl Recipe for Flawed {
    fn name(&self) -> &'static str {
        match self.0 {
            Flaw::None => "no flaw",
            Flaw::AnyNode => "any node of the session",
            Flaw::ReadsProve => "reads as proof",
            Flaw::WatchProves => "watch as proof",
            Flaw::Herd => "herd",
        }
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let (flaw, path) = (self.0, path.to_owned());
        async move {
            let session = conn.session(&path).await?;
            let dir = ZkPath::new(path.as_str())?;
            let maker = conn.clone();
            // Whoever is dropped meanwhile leaves no node either.
            let own = tokio::spawn(async move { Self::enter(flaw, &maker, &dir).await });
            let own = own.await.unwrap()?;
            Self::wait(flaw, &own, &ZkPath::new(path)?).await?;
            let token = Token::new(session.cell(), 0, LockMode::Exclusive, own.stat.czxid);
            let half = session.timeout() / 2;
            let proof = if flaw == Flaw::ReadsProve {
                let sent = Deadline::now();
                conn.exists(&own.path).await?;
                let until = Arc::new(Mutex::new(sent.plus(half)));
                let (told, reads, at) = (until.clone(), own.conn.clone(), own.path.clone());
                let reads = Within::new(reads, half);
                let asks = tokio::spawn(async move {
                    loop {
                        let sent = Deadline::now();
                        if let Ok(Some(_)) = reads.exists(&at).await {
                            *told.lock().unwrap() = sent.plus(half);
                        }
                        sleep(Duration::from_millis(20)).await;
                    }
                });
                Proof::Answered(until, asks)
            } else {
                Proof::Committed(conn.hold(&own.path).await?)
            };
            Ok(boxed(FlawedGuard { own, proof, token }))
        }
        .boxed()
    }

    fn prepare(&self, conn: Arc<dyn Conn>, path: &str) -> BoxFuture<'static, ()> {
        let path = path.to_owned();
        async move {
            tree::create_all(&conn, path, "", Mode::Persistent).await.unwrap();
        }
        .boxed()
    }
}
