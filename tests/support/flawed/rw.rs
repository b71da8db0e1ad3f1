//! A read-write lock with one rule of the real one broken, and one without.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::sleep;
use zkcells::recipes::{LockMode, Released, Token};
use zkcells::{
    Conn, ConnExt as _, CreateOptions, Deadline, Error, ErrorKind, Loss, Mode, Multi, Version,
    ZkPath, tree,
};

use super::{FlawedGuard, Own, Proof};
use crate::support::recipes::{Held, Recipe, Taking, boxed};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RwFlaw {
    /// Nothing.
    None,
    /// Whoever reads waits for nobody.
    HastyReader,
    /// A writer that goes on as a reader takes its node away, and makes the other one then.
    DowngradeInTwo,
}

/// A simple read-write lock, read, written, and stepped down from, at random.
pub struct FlawedRw {
    flaw: RwFlaw,
    rng: Mutex<Rng>,
}

struct RwGuard {
    guard: FlawedGuard,
    flaw: RwFlaw,
}

impl FlawedRw {
    pub fn of(flaw: RwFlaw, rng: &mut Rng) -> Self {
        FlawedRw { flaw, rng: Mutex::new(rng.fork()) }
    }
}

/// Whether a node's name is a reader's, and its number.
fn parse(name: &str) -> Option<(bool, &str)> {
    let (kind, number) = name.split_once('-')?;
    Some((kind == "read", number))
}

async fn wait(flaw: RwFlaw, own: &Own, dir: &ZkPath) -> Result<(), Error> {
    let (reads, mine) = parse(own.path.name()).unwrap();
    loop {
        let names = own.conn.children(dir).await?.names;
        if !names.iter().any(|name| name == own.path.name()) {
            return Err(Error::new("acquire", &own.path, ErrorKind::Revoked));
        }
        let ahead = names.iter().filter_map(|name| {
            let (other_reads, number) = parse(name)?;
            let matters = !reads || !other_reads && flaw != RwFlaw::HastyReader;
            (number < mine && matters).then_some((number, name))
        });
        let Some((_, nearest)) = ahead.max() else { return Ok(()) };
        if let (Some(_), gone) = own.conn.exists_watch(dir.join(nearest)?).await? {
            gone.await;
        }
    }
}

async fn guard(flaw: RwFlaw, own: Own, token: Token) -> Result<Box<dyn Held>, Error> {
    let proof = Proof::Committed(own.conn.hold(&own.path).await?);
    Ok(boxed(RwGuard { guard: FlawedGuard { own, proof, token }, flaw }))
}

impl Recipe for FlawedRw {
    fn name(&self) -> &'static str {
        match self.flaw {
            RwFlaw::None => "no flaw",
            RwFlaw::HastyReader => "hasty reader",
            RwFlaw::DowngradeInTwo => "downgrade in two steps",
        }
    }

    fn acquire(&self, conn: Arc<dyn Conn>, path: &str) -> Taking {
        let (flaw, path) = (self.flaw, path.to_owned());
        let (kind, mode) = match self.rng.lock().unwrap().bool() {
            true => ("read", LockMode::Shared),
            false => ("write", LockMode::Exclusive),
        };
        async move {
            let (dir, session) = (ZkPath::new(path.as_str())?, conn.session(&path).await?);
            let maker = conn.clone();
            // Whoever is dropped meanwhile leaves no node either.
            let own = tokio::spawn(async move {
                let asked = format!("{path}/{kind}-");
                let (path, stat) = maker.create(asked, "", Mode::EphemeralSequential).await?;
                Ok::<_, Error>(Own { conn: maker, path, stat })
            });
            let own = own.await.unwrap()?;
            wait(flaw, &own, &dir).await?;
            let token = Token::new(session.cell(), 0, mode, own.stat.czxid);
            guard(flaw, own, token).await
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

    fn is_exclusive(&self) -> bool {
        false
    }
}

impl Held for RwGuard {
    fn is_valid(&self) -> bool {
        self.guard.is_valid()
    }
    fn valid_until(&self) -> Deadline {
        self.guard.valid_until()
    }
    fn token(&self) -> &Token {
        self.guard.token()
    }
    fn path(&self) -> &ZkPath {
        self.guard.path()
    }
    fn lost(&self) -> BoxFuture<'_, Loss> {
        self.guard.lost()
    }
    fn release(self: Box<Self>) -> BoxFuture<'static, Released> {
        Box::new(self.guard).release()
    }
    fn steps_down(&self) -> bool {
        self.guard.token().mode() == LockMode::Exclusive
    }
    fn step_down(self: Box<Self>) -> Taking {
        async move {
            let (conn, writer) = (self.guard.own.conn.clone(), self.path().clone());
            let reader = ZkPath::new(writer.as_str().replace("/write-", "/read-"))?;
            let options = CreateOptions::from(Mode::Ephemeral);
            if self.flaw == RwFlaw::DowngradeInTwo {
                conn.delete(&writer, Version::Any).await?;
                sleep(Duration::from_millis(2)).await;
                conn.create(&reader, "", options).await?;
            } else {
                let both = Multi::new().delete(&writer, Version::Any);
                conn.multi(both.create(&reader, "", options)).await?;
            }
            let stat = self.guard.own.stat;
            let token = self.token();
            let token = Token::new(token.cell(), 0, LockMode::Shared, token.zxid());
            guard(self.flaw, Own { conn, path: reader, stat }, token).await
        }
        .boxed()
    }
}
