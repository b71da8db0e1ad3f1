//! A shard lock with one rule of the real one broken, to show that the judge of histories notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;
use zkcells::testing::proxy::{Direction, FaultProxy};
use zkcells::{ConnExt as _, Deadline, Error, Mode, Multi, Stat, Version, ZkConn};

use crate::support::random::random;
use crate::support::ranges::{Held, Ranges, Stored, Verdict};
use crate::{TIMEOUT, connect, on_servers, soon};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Nothing,
    /// Its leaders do not wait until everybody of the older generation has gone.
    StartsEarly,
    /// It goes by whom it sees in the group, not by the list that is stored.
    OwnListing,
    /// It believes to hold for as long as it is told nothing else.
    BelievesForever,
    /// Its leaders list somebody who is not there.
    ListsAGhost,
}

/// A worker that looks again and again where the real one watches.
struct Simple {
    flaw: Flaw,
    number: usize,
    conn: Arc<ZkConn>,
    base: String,
    ranges: Ranges,
    /// Members that came to no range.
    in_vain: Arc<AtomicUsize>,
    /// Told when the first worker holds.
    holds: Arc<Notify>,
}

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(3);

fn number(name: &str) -> i32 {
    name.rsplit_once('-').unwrap().1.parse().unwrap()
}

impl Simple {
    /// The groups, and which of them is published.
    async fn groups(&self) -> Result<(Stat, Vec<(String, Stat)>), Error> {
        let base = self.conn.children(&self.base).await?;
        let mut groups = Vec::new();
        for name in base.names {
            let path = format!("{}/{name}", self.base);
            if let Some(stat) = self.conn.exists(&path).await? {
                groups.push((path, stat));
            }
        }
        Ok((base.stat, groups))
    }

    /// One turn; whether it came to a range.
    async fn turn(&self, rng: &mut Rng) -> Result<(), Error> {
        self.conn.sync(&self.base).await?;
        let (base, groups) = self.groups().await?;
        let awaiting = groups.into_iter().find(|(_, stat)| stat.data_length == 0);
        let at = Version::Exact(base.version);
        let (group, join) = match awaiting {
            Some((path, stat)) => {
                (path.clone(), Multi::new().check(path, Version::Exact(stat.version)))
            }
            None => {
                let made = (base.cversion + base.num_children) / 2;
                let path = format!("{}/group-{made:010}", self.base);
                let make = Multi::new().check(&self.base, at).create(&path, "", Mode::Persistent);
                (path, make)
            }
        };
        let stem = format!("{group}/node-");
        let joined = self.conn.multi(join.create(stem, "", Mode::EphemeralSequential)).await;
        let Ok(mut joined) = joined else { return Ok(()) };
        let Some(zkcells::MultiReply::Created { path: own, .. }) = joined.pop() else {
            panic!("it joined");
        };
        // Whichever way this goes on, nobody is to wait for it.
        let done = self.range(&group, own.as_str(), rng).await;
        if !matches!(done, Ok(true)) {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        }
        self.conn.delete(&own, Version::Any).await.ok();
        let left = self.conn.children(&group).await;
        if left.is_ok_and(|left| left.names.is_empty() && left.stat.data_length > 0) {
            self.conn.delete(&group, Version::Any).await.ok();
        }
        done.map(drop)
    }

    /// Waits for a range and holds it, unless there is none to be had in this group.
    async fn range(&self, group: &str, own: &str, rng: &mut Rng) -> Result<bool, Error> {
        let mine = number(own);
        let (stored, list) = loop {
            let listed = self.conn.children(group).await?;
            let mut members: Vec<i32> = listed.names.iter().map(|name| number(name)).collect();
            members.sort_unstable();
            if listed.stat.data_length > 0 {
                let Some(stored) = Stored::at(&self.conn, group).await else { return Ok(false) };
                let list = match self.flaw {
                    Flaw::OwnListing => members,
                    _ => stored.list.clone(),
                };
                break (stored, list);
            }
            if members.first() == Some(&mine) {
                self.lead(group, own, listed.stat, members).await?;
            }
            // Some come to it later than others.
            sleep(Duration::from_millis(rng.u64(1..40))).await;
        };
        let Some(index) = list.iter().position(|other| *other == mine) else { return Ok(false) };
        let hold = self.conn.hold(own).await?;
        let (of, zxid, start) = (list.len(), stored.zxid, Deadline::now());
        let (from, to) = (index as f64 / of as f64, (index + 1) as f64 / of as f64);
        let stored = Some((mine, stored));
        let worker = self.number;
        let mut held = Held { worker, zxid, index, of, from, to, start, end: start, stored };
        let mut long = Duration::from_millis(rng.u64(..30));
        if self.number == 0 {
            // Long enough to be cut off in it.
            self.holds.notify_waiters();
            long = Duration::from_millis(100);
        }
        let until = Deadline::after(long);
        loop {
            let now = Deadline::now();
            if !hold.is_valid() {
                break;
            }
            held.end = now;
            if until.is_past() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        if self.flaw == Flaw::BelievesForever {
            // Until somebody tells it otherwise.
            self.conn.exists(own).await.ok();
            held.end = Deadline::now();
        }
        self.ranges.held(held);
        Ok(true)
    }

    async fn lead(
        &self,
        group: &str,
        own: &str,
        seen: Stat,
        mut members: Vec<i32>,
    ) -> Result<(), Error> {
        if self.flaw == Flaw::ListsAGhost {
            members.push(i32::MAX);
        }
        let (base, groups) = self.groups().await?;
        for (other, stat) in groups {
            let older = other != group && stat.data_length > 0 && stat.num_children > 0;
            if older && self.flaw != Flaw::StartsEarly {
                return Ok(());
            }
        }
        // Nobody can join behind this look: the number of the next one would be taken.
        let next = format!("{group}/node-{:010}", (seen.cversion + seen.num_children) / 2);
        let list: Vec<u8> = members.into_iter().flat_map(i32::to_le_bytes).collect();
        let steps = Multi::new()
            .check(own, Version::Any)
            .set(&self.base, "", Version::Exact(base.version))
            .create(&next, "", Mode::Persistent)
            .delete(&next, Version::Any)
            .set(group, list, Version::Exact(seen.version));
        self.conn.multi(steps).await.ok();
        Ok(())
    }
}

/// What the judge says of four such workers.
async fn judged(flaw: Flaw, mut rng: Rng) -> (Verdict, usize) {
    let (addrs, path) = on_servers("nyc").await;
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let (ranges, stop) = (Ranges::default(), Arc::new(AtomicBool::new(false)));
    let (holds, in_vain) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let witness = connect(&addrs).await;
    witness.create(&path, "", Mode::Persistent).await.unwrap();
    let mut workers = Vec::new();
    for number in 0..4 {
        let conn = connect(if number == 0 { proxy.addr() } else { addrs.clone() }.as_str()).await;
        let (base, ranges, holds) = (path.clone(), ranges.clone(), holds.clone());
        let in_vain = in_vain.clone();
        let simple = Simple { flaw, number, conn, base, ranges, in_vain, holds };
        let (stop, mut rng) = (stop.clone(), rng.fork());
        workers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                simple.turn(&mut rng).await.ok();
            }
        }));
    }
    let counted = async |more: usize| {
        let enough = ranges.count() + more;
        while ranges.count() < enough {
            sleep(LOOK).await;
        }
    };
    soon("some ranges", counted(40)).await;
    // Somebody is cut off while it holds, for longer than its session lasts.
    for _ in 0..2 {
        soon("a range of it", holds.notified()).await;
        proxy.black_hole(Direction::Both);
        soon("ranges behind its session", counted(20)).await;
        sleep(TIMEOUT / 2).await;
        proxy.cut();
        proxy.heal();
        soon("more ranges", counted(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        soon("the end of a worker", worker).await.unwrap();
    }
    let verdict = ranges.judge();
    let in_vain = in_vain.load(Ordering::Relaxed);
    println!("{flaw:?}: {verdict}; {in_vain} came to nothing");
    (verdict, in_vain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_notices_each_broken_rule() {
    let mut rng = random("controls");
    let flaws = [
        Flaw::Nothing,
        Flaw::StartsEarly,
        Flaw::OwnListing,
        Flaw::BelievesForever,
        Flaw::ListsAGhost,
    ];
    let verdicts = join_all(flaws.map(|flaw| judged(flaw, rng.fork()))).await;
    let [(well, in_vain), (early, _), (own, _), (forever, _), (ghost, ghosts)] = &verdicts[..]
    else {
        panic!("one verdict each")
    };
    assert_eq!(well.violations(), 0, "{well:#?}");
    assert!(well.unheld <= *in_vain, "{in_vain} came to nothing: {:#?}", well.holes);
    assert!(well.whole > 5 && well.most > 1 && well.stored == well.grants, "{well}");
    assert!(!early.overlaps.is_empty(), "{early}");
    assert!(!own.unlike.is_empty() && !own.clashes.is_empty(), "{own}");
    assert!(!forever.overlaps.is_empty(), "{forever}");
    assert!(!ghost.holes.is_empty() && ghost.unheld > *ghosts, "{ghost}");
}
