//! Who is at a barrier: closed by whom, waiting for how many, and what is broken.

use serde::Serialize;

use crate::conn::{Conn, ConnExt as _};
use crate::error::{Error, ErrorKind};
use crate::node::Stat;
use crate::path::ZkPath;
use crate::recipes::{Attendee, Census, Owner, Roster, Waiter, census, closing, roster};

use super::super::output::{Output, Stop, table};
use super::{age, plain, session};

/// A barrier of one kind, and who is there.
#[derive(Debug)]
pub(super) enum Gathering {
    /// A barrier that somebody has closed.
    Closed(Owner, Stat),
    Double(Roster),
    Cyclic(Census),
}

impl Gathering {
    /// What there is at `path`; `None` if it is none of these.
    pub(super) async fn find(conn: &dyn Conn, path: &ZkPath) -> Result<Option<Self>, Error> {
        let node = match conn.get(path).await {
            Ok(node) => node,
            // What may not be read may have children that can. Below /zk there are cells only.
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::NoAuth | ErrorKind::NoNode | ErrorKind::UnknownCell
                ) =>
            {
                return Ok(roster(conn, path).await?.map(Gathering::Double));
            }
            Err(err) => return Err(err),
        };
        if let Some(owner) = closing(&node.data) {
            return Ok(Some(Gathering::Closed(owner, node.stat)));
        }
        if let Some(census) = census(conn, path, &node.data).await? {
            return Ok(Some(Gathering::Cyclic(census)));
        }
        Ok(roster(conn, path).await?.map(Gathering::Double))
    }

    pub(super) fn show(&self, out: &mut Output) -> Result<(), Stop> {
        out.line(self.headline())?;
        let rows: Vec<_> = match self {
            Gathering::Closed(..) => Vec::new(),
            Gathering::Double(roster) => {
                roster.members.iter().map(|one| member(one, roster)).collect()
            }
            Gathering::Cyclic(census) => census.arrived.iter().map(waiter).collect(),
        };
        table(out, &rows)
    }

    fn headline(&self) -> String {
        match self {
            Gathering::Closed(owner, stat) => {
                let (host, age) = (plain(&owner.hostname), age(stat));
                let until = match stat.is_ephemeral() {
                    true => format!(", until session {} ends at the latest", session(stat)),
                    false => String::new(),
                };
                format!("a barrier, closed by {host} pid {} for {age}{until}", owner.pid)
            }
            Gathering::Double(roster) => {
                let size = size(roster.parties);
                let waiting = roster.waiting();
                match (&roster.ready, roster.parties) {
                    (Some(ready), _) => {
                        let inside = roster.members.len() - outside(roster);
                        let age = age(ready);
                        format!("a double barrier for {size}: begun {age} ago, {inside} inside")
                    }
                    (None, Some(parties)) => {
                        let missing = parties.saturating_sub(waiting);
                        format!("a double barrier for {size}: {waiting} waiting, {missing} missing")
                    }
                    (None, None) => format!("a double barrier for {size}: {waiting} waiting"),
                }
            }
            Gathering::Cyclic(census) => {
                let Census { generation, parties, .. } = census;
                let dead = if census.tolerant { ", the dead included" } else { "" };
                let of = format!("a cyclic barrier for {parties}{dead}, generation {generation}");
                match &census.broken {
                    Some(why) => format!("{of}: broken, {}", plain_line(why)),
                    None => {
                        let waiting = census.arrived.len();
                        let missing = parties.saturating_sub(waiting);
                        format!("{of}: {waiting} waiting, {missing} missing")
                    }
                }
            }
        }
    }

    /// The same as an object of a JSON document.
    pub(super) fn item<'a>(&'a self, path: &'a ZkPath) -> Item<'a> {
        let path = path.as_str();
        match self {
            Gathering::Closed(owner, stat) => Item::Barrier {
                path,
                hostname: &owner.hostname,
                pid: owner.pid,
                ctime: stat.ctime,
                session: stat.is_ephemeral().then(|| session(stat)),
            },
            Gathering::Double(roster) => Item::DoubleBarrier {
                path,
                parties: roster.parties,
                ready: roster.ready.is_some(),
                begun: roster.ready.map(|ready| ready.ctime),
                waiting: roster.waiting(),
                missing: match roster.ready {
                    Some(_) => None,
                    None => roster.parties.map(|n| n.saturating_sub(roster.waiting())),
                },
                members: roster.members.iter().map(Party::of_member).collect(),
            },
            Gathering::Cyclic(census) => Item::CyclicBarrier {
                path,
                parties: census.parties,
                tolerates_failures: census.tolerant,
                generation: census.generation,
                waiting: census.arrived.len(),
                missing: match census.broken {
                    Some(_) => None,
                    None => Some(census.parties.saturating_sub(census.arrived.len())),
                },
                broken: census.broken.as_deref(),
                members: census.arrived.iter().map(Party::of_waiter).collect(),
            },
        }
    }
}

/// Which barrier it is, and who is there.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Barrier {
        path: &'a str,
        hostname: &'a str,
        pid: u32,
        ctime: i64,
        /// Whose end opens it.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<String>,
    },
    DoubleBarrier {
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        parties: Option<usize>,
        ready: bool,
        /// When `ready` was made, by the clock of its server.
        #[serde(skip_serializing_if = "Option::is_none")]
        begun: Option<i64>,
        waiting: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<usize>,
        members: Vec<Party<'a>>,
    },
    CyclicBarrier {
        path: &'a str,
        parties: usize,
        tolerates_failures: bool,
        generation: u64,
        waiting: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<usize>,
        /// Why it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        broken: Option<&'a str>,
        members: Vec<Party<'a>>,
    },
}

/// One who is there.
#[derive(Debug, Serialize)]
pub(super) struct Party<'a> {
    node: &'a str,
    state: &'static str,
    /// How many it takes, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    parties: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl<'a> Party<'a> {
    fn new(
        node: &'a str,
        state: &'static str,
        owner: Option<&'a Owner>,
        at: Option<&Stat>,
    ) -> Self {
        Party {
            node,
            state,
            parties: None,
            hostname: owner.map(|owner| owner.hostname.as_str()),
            pid: owner.map(|owner| owner.pid),
            ctime: at.map(|stat| stat.ctime),
            session: at.filter(|stat| stat.is_ephemeral()).map(session),
        }
    }

    fn of_member(one: &'a Attendee) -> Self {
        let party = Party::new(&one.id, state(one), one.owner.as_ref(), Some(&one.stat));
        Party { parties: one.parties, ..party }
    }

    fn of_waiter(one: &'a Waiter) -> Self {
        let (owner, stat) = one.there.as_ref().map(|(owner, stat)| (owner.as_ref(), stat)).unzip();
        Party::new(&one.node, whether(one), owner.flatten(), stat)
    }
}

/// How many parties, for people.
fn size(parties: Option<usize>) -> String {
    parties.map_or_else(|| "an unknown number".into(), |parties| parties.to_string())
}

/// How many are there who are not inside.
fn outside(roster: &Roster) -> usize {
    roster.members.iter().filter(|one| !one.inside).count()
}

fn state(one: &Attendee) -> &'static str {
    if one.inside { "inside" } else { "waits" }
}

/// A party whose node is gone still counts until somebody has noticed, or for good.
fn whether(one: &Waiter) -> &'static str {
    if one.there.is_some() { "waits" } else { "gone" }
}

fn member(one: &Attendee, roster: &Roster) -> Vec<String> {
    let mut row = row(state(one), one.owner.as_ref(), Some(&one.stat));
    let differs = one.parties.filter(|parties| Some(*parties) != roster.parties);
    row.push(plain(&one.id));
    row.extend(differs.map(|parties| format!("expects {parties}")));
    row
}

fn waiter(one: &Waiter) -> Vec<String> {
    let (owner, stat) = one.there.as_ref().map(|(owner, stat)| (owner.as_ref(), stat)).unzip();
    let mut row = row(whether(one), owner.flatten(), stat);
    row.push(plain(&one.node));
    row
}

fn row(state: &str, owner: Option<&Owner>, stat: Option<&Stat>) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        state.to_owned(),
        owner.map_or_else(none, |owner| plain(&owner.hostname)),
        owner.map_or_else(none, |owner| owner.pid.to_string()),
        stat.map_or_else(none, age),
    ]
}

/// What others wrote, without anything that a terminal would obey.
fn plain_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
