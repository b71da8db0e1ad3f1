//! Clients that take something from each other, hold it, write with its token, and give it up.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zkcells::recipes::{FencedRegister, Token};
use zkcells::{Conn, Deadline, ErrorKind, Within};

use super::grants::{Grant, Grants};
use super::recipes::{Held, Recipe};

/// How a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Mostly for a moment, sometimes for long; gives up at times.
    Mixed,
    /// Until it is lost, or for some seconds.
    Clings,
    /// For a moment; gives up at times.
    Fickle,
    /// For a moment.
    Brief,
}

/// Clients of one recipe at one path.
pub struct Contest {
    pub grants: Grants,
    /// Who holds it for long just now.
    pub clung: Arc<Mutex<Option<usize>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

struct Client {
    number: usize,
    conn: Arc<dyn Conn>,
    recipe: Arc<dyn Recipe>,
    path: String,
    style: Style,
    register: FencedRegister,
    /// The same, for whoever can wait.
    late: FencedRegister,
    grants: Grants,
    rng: Rng,
    /// Whether this is about to hold for the first time, and is to do so for long.
    first: bool,
    stop: Arc<AtomicBool>,
    clung: Arc<Mutex<Option<usize>>>,
}

impl Contest {
    /// Starts a client for each connection; several may have one in common.
    pub fn start(
        recipe: &Arc<dyn Recipe>,
        path: &str,
        conns: &[(Arc<dyn Conn>, Style)],
        rng: &mut Rng,
    ) -> Contest {
        let (grants, stop) = (Grants::default(), Arc::new(AtomicBool::new(false)));
        let clung = Arc::<Mutex<_>>::default();
        let client = |(number, (conn, style)): (usize, &(Arc<dyn Conn>, Style))| {
            let writes = Within::new(conn.clone(), Duration::from_secs(1));
            let client = Client {
                number,
                conn: conn.clone(),
                recipe: recipe.clone(),
                path: path.to_owned(),
                style: *style,
                register: FencedRegister::new(writes, format!("{path}-register")),
                late: FencedRegister::new(conn.clone(), format!("{path}-register")),
                grants: grants.clone(),
                rng: rng.fork(),
                first: number == 0,
                stop: stop.clone(),
                clung: clung.clone(),
            };
            tokio::spawn(client.run())
        };
        let clients = conns.iter().enumerate().map(client).collect();
        Contest { grants, clung, stop, clients }
    }

    /// Ends the clients, and waits for them.
    pub async fn end(self) -> Grants {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.grants
    }
}

impl Client {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn run(mut self) {
        while !self.is_over() {
            let patience = match self.rng.u8(..8) {
                0 if matches!(self.style, Style::Mixed | Style::Fickle) => {
                    Duration::from_millis(self.rng.u64(1..100))
                }
                _ => Duration::from_secs(5),
            };
            let taking = self.recipe.acquire(self.conn.clone(), &self.path);
            match timeout(patience, taking).await {
                Ok(Ok(held)) => self.hold(held).await,
                Ok(Err(_)) => {
                    self.grants.failed();
                    sleep(Duration::from_millis(20)).await;
                }
                Err(_) => self.grants.gave_up(),
            }
        }
    }

    async fn hold(&mut self, mut held: Box<dyn Held>) {
        while self.keeps(&*held).await && held.steps_down() {
            match timeout(Duration::from_secs(5), held.step_down()).await {
                Ok(Ok(less)) => held = less,
                Ok(Err(_)) => return self.grants.failed(),
                Err(_) => return self.grants.gave_up(),
            }
        }
        if self.rng.bool() {
            // A release may be waited for, or not.
            timeout(Duration::from_secs(5), held.release()).await.ok();
        }
    }

    /// Holds it for a while, and says whether it was held until then.
    async fn keeps(&mut self, held: &dyn Held) -> bool {
        let start = Deadline::now();
        let mut end = start;
        let long = match self.style {
            // One of them surely is.
            Style::Mixed => mem::take(&mut self.first) || self.rng.u8(..20) == 0,
            Style::Clings => true,
            Style::Fickle | Style::Brief => false,
        };
        let until = match long {
            true => Duration::from_millis(self.rng.u64(1500..3000)),
            false => Duration::from_millis(self.rng.u64(..20)),
        };
        let until = start.plus(if self.style == Style::Clings { 4 * until } else { until });
        let token = held.token().clone();
        // A write that a server keeps for itself would tell its client that something is wrong.
        let mut writes = if self.style == Style::Clings { 3 } else { 0 };
        *self.clung.lock().unwrap() = long.then_some(self.number);
        let mut was_valid = false;
        while !self.is_over() {
            // The clock is read first, so the guard vouches for this moment.
            let now = Deadline::now();
            if !held.is_valid() {
                break;
            }
            (end, was_valid) = (now, true);
            if until <= now {
                break;
            }
            if writes < 3 {
                writes += 1;
                Self::write(&self.register, self.number, &token, &self.grants).await;
            } else {
                sleep(Duration::from_millis(2)).await;
            }
        }
        if was_valid {
            let grant = Grant { client: self.number, start, end, token: token.clone() };
            self.grants.granted(grant);
        }
        let lost = !held.is_valid();
        self.clung.lock().unwrap().take_if(|number| *number == self.number);
        if lost {
            self.grants.lost();
            // As one who does not know it yet.
            sleep(Duration::from_millis(self.rng.u64(2000..3500))).await;
            Self::write(&self.late, self.number, &token, &self.grants).await;
        }
        !lost
    }

    async fn write(register: &FencedRegister, number: usize, token: &Token, grants: &Grants) {
        match register.write(token, number.to_string()).await {
            Ok(stat) => grants.wrote(stat.version, token),
            Err(err) if err.kind() == ErrorKind::StaleToken => grants.refused(),
            // No answer, or none that says.
            Err(_) => {}
        }
    }
}
