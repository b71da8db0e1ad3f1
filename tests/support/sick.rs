//! One tree over three cells, one of which falls sick.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

use std::fmt;
use std::time::Duration;

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::testing::servers::Ensemble;
use zkcells::{Cells, ConnExt as _, MetaConn, Mode};

/// What a cell suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sickness {
    /// Nothing comes through, either way.
    BlackHoled,
    /// Its server stands still.
    Stopped,
    /// Connections break as soon as they are made.
    Refusing,
    /// It answers after 5 s.
    Slow,
}

impl Sickness {
    pub const ALL: [Sickness; 4] =
        [Sickness::BlackHoled, Sickness::Stopped, Sickness::Refusing, Sickness::Slow];

    /// Whether calls on the sick cell stay unanswered for 5 s at least.
    pub fn is_silent(self) -> bool {
        self != Sickness::Refusing
    }
}

impl fmt::Display for Sickness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sickness::BlackHoled => "black-holed",
            Sickness::Stopped => "stopped",
            Sickness::Refusing => "refusing",
            Sickness::Slow => "slow",
        })
    }
}

/// The cells `nyc` and `sjc`, which are well, and `sick`.
pub struct Ward {
    /// A server of its own where one has to be stopped.
    ensemble: Option<Ensemble>,
    proxy: FaultProxy,
    sickness: Sickness,
    /// `zk_client.json`.
    pub config: String,
    /// The name of a node in each cell.
    pub root: String,
}

impl Ward {
    /// Three cells that are well, each with the node `root` and below it `a` and `b`.
    pub async fn new(sickness: Sickness) -> Ward {
        let local = LocalCells::up().unwrap();
        let (nyc, sjc) = (local.addrs("nyc").unwrap(), local.addrs("sjc").unwrap());
        let (ensemble, server) = if sickness == Sickness::Stopped {
            let ensemble = Ensemble::start(1).await.unwrap();
            let addr = ensemble.addr(1).to_string();
            (Some(ensemble), addr)
        } else {
            let addrs = local.addrs("global").unwrap();
            (None, addrs.split(',').next().unwrap().to_string())
        };
        let proxy = FaultProxy::to(&server).await.unwrap();
        let sick = proxy.addr();
        let config = format!(r#"{{"nyc": "{nyc}", "sjc": "{sjc}", "sick": "{sick}"}}"#);
        let ward = Ward { ensemble, proxy, sickness, config, root: fresh_root() };
        let conn = ward.connect();
        for cell in ["nyc", "sjc", "sick"] {
            for node in ["", "/a", "/b"] {
                let path = ward.at(cell, node);
                conn.create(path, "", Mode::Persistent).await.unwrap();
            }
        }
        ward
    }

    /// A tree over the three, with connections of its own. Nothing is dialled yet.
    pub fn connect(&self) -> MetaConn {
        let cells = Cells::builder().config_json(self.config.clone()).local_cell("nyc");
        MetaConn::new(cells.build().unwrap())
    }

    /// A path below the node of a cell.
    pub fn at(&self, cell: &str, below: &str) -> String {
        format!("/zk/{cell}/{}{below}", self.root)
    }

    /// Lets the cell fall sick.
    pub fn infect(&self) {
        match self.sickness {
            Sickness::BlackHoled => self.proxy.black_hole(Direction::Both),
            Sickness::Stopped => self.ensemble.as_ref().unwrap().stop(1),
            Sickness::Refusing => {
                self.proxy.refuse();
                self.proxy.cut();
            }
            Sickness::Slow => self.proxy.round_trip(Duration::from_secs(5)),
        }
    }

    /// Makes it well again.
    pub fn cure(&self) {
        if let Some(ensemble) = &self.ensemble {
            ensemble.cont(1);
        }
        self.proxy.delay(Duration::ZERO);
        // What is on its way is lost, or it would still come late.
        self.proxy.cut();
        self.proxy.heal();
        self.proxy.join();
    }

    /// Waits until somebody has felt it. Of a server that stands still nothing can be counted.
    pub async fn until_felt(&self) {
        if self.sickness != Sickness::Stopped {
            self.proxy.until(|bites| bites.held + bites.refused + bites.delayed > 0).await;
        }
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.cure();
    }
}
