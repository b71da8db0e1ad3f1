//! Barriers with one rule broken, and one without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zkcells::{Conn, ConnExt as _, Error, ErrorKind, Mode, Version, tree};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// It opens when one is missing.
    OneTooFew,
    /// Who hears nothing comes once more, and is counted twice.
    CountsTwice,
    /// menagerie's: that it has opened once is never taken back.
    NeverCleared,
    /// zksync's: a `ready` that others have left lets in.
    StaleReady,
}

/// A client of it, which goes from one generation to the next.
pub struct Flawed {
    flaw: Flaw,
    parties: usize,
    generation: AtomicUsize,
}

impl Flawed {
    pub fn new(flaw: Flaw, parties: usize) -> Flawed {
        Flawed { flaw, parties, generation: AtomicUsize::new(0) }
    }

    /// Waits for all.
    pub async fn meet(&self, conn: &Arc<dyn Conn>, path: &str, id: &str) -> Result<(), Error> {
        match self.flaw {
            Flaw::NeverCleared => self.menagerie(conn, path).await,
            Flaw::StaleReady => self.zksync(conn, path, id).await,
            _ => self.generations(conn, path, id).await,
        }
    }

    /// A directory for each generation.
    async fn generations(&self, conn: &Arc<dyn Conn>, path: &str, id: &str) -> Result<(), Error> {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst);
        let dir = format!("{path}/{generation}");
        let (name, mode) = match self.flaw {
            Flaw::CountsTwice => (format!("{dir}/party-"), Mode::PersistentSequential),
            _ => (format!("{dir}/{id}"), Mode::Persistent),
        };
        let enough = self.parties - usize::from(self.flaw == Flaw::OneTooFew);
        loop {
            let made = match conn.create(&name, "", mode).await {
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    drop(tree::create_all(conn, &dir, "", Mode::Persistent).await);
                    continue;
                }
                made => made,
            };
            match made {
                Err(err) if err.kind() != ErrorKind::NodeExists => {}
                _ => break,
            }
        }
        loop {
            let Ok((children, changed)) = conn.children_watch(&dir).await else { continue };
            if children.names.len() >= enough {
                return Ok(());
            }
            changed.await;
        }
    }

    async fn menagerie(&self, conn: &Arc<dyn Conn>, path: &str) -> Result<(), Error> {
        let (own, _) = conn.create(format!("{path}/party-"), "", Mode::EphemeralSequential).await?;
        let cleared = format!("{path}/CLEARED");
        loop {
            let (there, opened) = conn.exists_watch(&cleared).await?;
            let (children, changed) = conn.children_watch(path).await?;
            let parties = children.names.iter().filter(|name| name.starts_with("party-")).count();
            if there.is_some() || parties >= self.parties {
                drop(conn.create(&cleared, "", Mode::Persistent).await);
                return conn.delete(own, Version::Any).await;
            }
            tokio::select! {
                _ = opened => {}
                _ = changed => {}
            }
        }
    }

    async fn zksync(&self, conn: &Arc<dyn Conn>, path: &str, id: &str) -> Result<(), Error> {
        let (own, ready) = (format!("{path}/{id}"), format!("{path}/ready"));
        conn.create(&own, "", Mode::Ephemeral).await?;
        loop {
            let (there, made) = conn.exists_watch(&ready).await?;
            let (children, changed) = conn.children_watch(path).await?;
            let count = children.names.iter().filter(|name| *name != "ready").count();
            if there.is_some() {
                break;
            }
            if count >= self.parties {
                drop(conn.create(&ready, "", Mode::Persistent).await);
                break;
            }
            tokio::select! {
                _ = made => {}
                _ = changed => {}
            }
        }
        // Whoever is the last dies over removing `ready`.
        conn.delete(&own, Version::Any).await?;
        Ok(())
    }
}
