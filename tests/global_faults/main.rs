//! A `GlobalConn` on real quorums that are killed, cut off and emptied: what was acknowledged is kept,
//! mirrors end where the first is, and nobody is wiped.
//!
//! `ZKCELLS_SEED` repeats the choices of a run, `ZKCELLS_SECONDS` makes the random faults last longer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "../support/mod.rs"]
mod support;

mod kept;
mod moments;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join, join_all};
use support::random::{random, rounds};
use support::soon;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use zkcells::repair::{self, Kind};
use zkcells::testing::cells::fresh_root;
use zkcells::testing::history::Workload;
use zkcells::testing::proxy::{Direction, FaultProxy, OpKind};
use zkcells::testing::servers::Ensemble;
use zkcells::{
    Acl, Conn, ConnExt as _, CreateOptions, Error, ErrorKind, GlobalConn, GlobalOptions, Mode,
    Multi, Pending, Perms, Rejoin, Require, SessionOptions, Version, Within, ZkConn, ZkPath, tree,
};

/// A quorum of one server, behind a proxy.
struct Site {
    ensemble: Ensemble,
    proxy: FaultProxy,
}

/// Three quorums that the tests below share, one at a time; each finds them mended.
struct Sites(Vec<Site>);

async fn sites() -> MutexGuard<'static, Sites> {
    static SHARED: OnceCell<Mutex<Sites>> = OnceCell::const_new();
    let start = || async {
        let sites = join_all((0..3).map(|_| async {
            let ensemble = Ensemble::start(1).await.unwrap();
            let proxy = FaultProxy::to(ensemble.addr(1)).await.unwrap();
            Site { ensemble, proxy }
        }));
        Mutex::new(Sites(sites.await))
    };
    let sites = SHARED.get_or_init(start).await.lock().await;
    sites.mend().await;
    sites
}

impl Sites {
    async fn mend(&self) {
        for site in &self.0 {
            site.proxy.heal();
            site.proxy.join();
            site.proxy.delay(Duration::ZERO);
        }
        join_all(self.0.iter().map(|site| site.ensemble.mend())).await;
    }

    /// A client of the set that lives at `home`, with the quorums in this order.
    fn client_of(&self, order: &[usize], options: GlobalOptions) -> Arc<GlobalConn> {
        let session = SessionOptions::default().with_session_timeout(Duration::from_secs(8));
        let conns = order.iter().map(|index| {
            let conn = ZkConn::new(&self.0[*index].proxy.addr(), session.clone()).unwrap();
            Arc::new(conn) as Arc<dyn Conn>
        });
        Arc::new(GlobalConn::new(conns, options))
    }

    fn client(&self, home: &Home) -> Arc<GlobalConn> {
        self.client_of(&[0, 1, 2], home.options())
    }

    /// Connections past the proxies, one for each quorum.
    fn direct(&self) -> Vec<ZkConn> {
        let conn = |site: &Site| ZkConn::new(site.ensemble.addr(1), SessionOptions::default());
        self.0.iter().map(|site| conn(site).unwrap()).collect()
    }

    async fn restart(&self, index: usize) {
        self.0[index].ensemble.restart(1);
        self.0[index].ensemble.until_serving(1).await;
    }

    async fn wipe(&self, index: usize) {
        self.0[index].ensemble.wipe(1);
        self.0[index].ensemble.until_serving(1).await;
    }
}

/// A set of its own for each test, and a tree of its own in it.
struct Home {
    home: ZkPath,
    root: String,
}

impl Home {
    async fn new(sites: &Sites) -> Home {
        let name = fresh_root();
        let home = ZkPath::new(format!("/zkcells/{name}")).unwrap();
        let home = Home { home, root: format!("/{name}") };
        let conn = sites.client(&home);
        conn.init().await.unwrap();
        conn.create(&home.root, "", Mode::Persistent).await.unwrap();
        conn.close().await.unwrap();
        home
    }

    fn options(&self) -> GlobalOptions {
        // Nothing of the other tests on these quorums is its business.
        let top = ZkPath::new(&self.root).unwrap();
        GlobalOptions::default().with_home(self.home.clone()).with_top(top)
    }

    fn at(&self, relative: &str) -> String {
        format!("{}{relative}", self.root)
    }
}

async fn diff(conn: &Arc<GlobalConn>, root: &str) -> Vec<(String, usize, Kind)> {
    let mut diff = repair::diff(conn, root).unwrap();
    let mut found = Vec::new();
    while let Some(one) = diff.next().await {
        let one = one.unwrap();
        found.push((one.path.to_string(), one.quorum, one.kind));
    }
    found
}

/// Mends all, and says how much that was.
async fn mend(conn: &Arc<GlobalConn>, root: &str) -> usize {
    let mut repair = repair::repair(conn, root).unwrap();
    let mut mended = 0;
    while let Some(one) = repair.next().await {
        one.unwrap();
        mended += 1;
    }
    mended
}

/// Waits until a client owes its mirrors nothing more.
async fn settled(conn: &GlobalConn) {
    let done = tokio::time::timeout(Duration::from_secs(60), conn.settled()).await;
    assert!(done.is_ok(), "{conn} still owes {}", conn.owed());
}

fn new_acl() -> Vec<Acl> {
    vec![Acl::world(Perms::READ | Perms::WRITE | Perms::CREATE | Perms::ADMIN)]
}

// --- two writers ------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_node_under_faults_leave_no_mirror_apart() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let mut random = random("two writers");
    let node = home.at("/node");
    let clients = [sites.client(&home), sites.client(&home)];
    for client in &clients {
        client.session("/").await.unwrap();
    }
    let limited = clients.clone().map(|client| Within::new(client, Duration::from_secs(2)));
    let (mut done, mut unknown, mut behind) = (0, 0, 0);
    let before: Vec<_> = sites.0.iter().map(|site| site.proxy.bites()).collect();
    for round in 0..rounds(1000, 20_000) {
        if round % 40 == 0 {
            let proxy = &sites.0[random.usize(..3)].proxy;
            match random.u32(..5) {
                0 => proxy.cut(),
                1 | 2 => proxy.swallow_reply(OpKind::Write),
                _ => proxy.drop_request(OpKind::Write),
            }
        }
        let calls = limited.each_ref().map(|client| {
            let data = format!("{round}-{}", random.u32(..));
            let call: BoxFuture<'_, Result<(), Error>> = match random.u32(..10) {
                0..6 => {
                    let set = client.set(&node, data, Version::Any);
                    Box::pin(async move { set.await.map(drop) })
                }
                6..8 => {
                    let create = client.create(&node, data, Mode::Persistent);
                    Box::pin(async move { create.await.map(drop) })
                }
                _ => Box::pin(client.delete(&node, Version::Any)),
            };
            call
        });
        for answer in join_all(calls).await {
            match answer.map_err(|err| err.kind()) {
                Ok(()) => done += 1,
                Err(ErrorKind::OutcomeUnknown) => unknown += 1,
                Err(ErrorKind::NotMirrored | ErrorKind::Contended) => behind += 1,
                Err(ErrorKind::NoNode | ErrorKind::NodeExists | ErrorKind::NotSent) => {}
                Err(kind) => panic!("round {round}: {kind}"),
            }
        }
    }
    sites.mend().await;
    // Quiet: nobody repairs anything.
    for client in &clients {
        settled(client).await;
    }
    let bites = |of: fn(&zkcells::fault::Bites) -> u64| -> u64 {
        let now = sites.0.iter().map(|site| of(&site.proxy.bites())).sum::<u64>();
        now - before.iter().map(of).sum::<u64>()
    };
    let (cut, swallowed, dropped) =
        (bites(|bites| bites.cut), bites(|bites| bites.swallowed), bites(|bites| bites.dropped));
    println!(
        "two writers: {done} done, {unknown} unknown, {behind} not mirrored in time; {cut} cut, \
         {swallowed} replies swallowed, {dropped} requests dropped"
    );
    // They met writes, and writes felt them.
    assert!(done > 300 && cut > 0 && swallowed > 2 && dropped > 2 && unknown + behind > 0);
    assert_eq!(diff(&clients[0], &home.root).await, []);
    for client in clients {
        client.close().await.unwrap();
    }
}

// --- what comes back empty --------------------------------------------------------------------

/// Some nodes, one with an access list of its own.
async fn plant(conn: &Arc<GlobalConn>, home: &Home) {
    let nodes = (0..500).map(|n| (home.at(&format!("/{}/{n}", n % 5)), n.to_string()));
    tree::create_many(&**conn, nodes, Mode::Persistent).await.unwrap();
    conn.set_acl(home.at("/1"), new_acl(), Version::Any).await.unwrap();
}

async fn count(conn: &dyn Conn, home: &Home) -> usize {
    tree::walk(conn, &home.root).await.map_or(0, |paths| paths.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_comes_back_empty_is_refused_until_it_is_let_in_and_repaired() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let conn = sites.client(&home);
    plant(&conn, &home).await;
    sites.wipe(1).await;
    let err = conn.set(home.at("/0/0"), "x", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored, "{err}");
    assert!(err.to_string().contains("has no identity"), "{err}");
    let err = conn.set(home.at("/0/0"), "y", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    let refused = repair::repair(&conn, &home.root).unwrap().next().await.unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::WrongQuorum);
    let direct = sites.direct();
    assert_eq!(count(&direct[1], &home).await, 0);
    conn.init().await.unwrap();
    // What this client owed comes there by itself meanwhile.
    assert!(diff(&conn, &home.root).await.len() > 490);
    assert!(mend(&conn, &home.root).await > 490);
    assert_eq!(diff(&conn, &home.root).await, []);
    assert_eq!(count(&direct[1], &home).await, 505);
    assert_eq!(direct[1].acl(home.at("/1")).await.unwrap().0, new_acl());
    assert_eq!(direct[1].get(home.at("/0/0")).await.unwrap().data, "x");
    conn.set(home.at("/0/0"), "z", Version::Any).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_that_comes_back_empty_is_refused_and_another_takes_its_place() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let conn = sites.client(&home);
    plant(&conn, &home).await;
    sites.wipe(0).await;
    // At the top, where an empty quorum would have room for it.
    for client in [conn.clone(), sites.client(&home)] {
        let err = client.create(&home.root, "", Mode::Persistent).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        let err = client.delete(home.at("/0/0"), Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
        assert_eq!(client.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
        let refused = repair::repair(&client, &home.root).unwrap().next().await.unwrap();
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::WrongQuorum);
    }
    let direct = sites.direct();
    assert_eq!(direct[0].children("/").await.unwrap().names, ["zookeeper"]);
    for mirror in &direct[1..] {
        assert_eq!(count(mirror, &home).await, 505);
    }
    // What other tests left on these quorums is not on all of them.
    let word = zkcells::Promotion::default().though_incomplete();
    conn.promote_with(2, &word).await.unwrap();
    let new = sites.client_of(&[1, 0, 2], home.options());
    new.init().await.unwrap();
    mend(&new, &home.root).await;
    assert_eq!(diff(&new, &home.root).await, []);
    assert_eq!(count(&direct[0], &home).await, 505);
    new.set(home.at("/0/0"), "on", Version::Any).await.unwrap();
    assert_eq!(direct[0].get(home.at("/0/0")).await.unwrap().data, "on");
    new.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_first_that_was_away_while_another_was_made_comes_back_as_a_mirror() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let conn = sites.client(&home);
    plant(&conn, &home).await;
    sites.0[0].ensemble.kill(1);
    // Who comes now asks a quorum that never answered, which refuses at once.
    sites.client(&home).promote(3).await.unwrap();
    let loose = home.options().with_require(Require::AtLeast(1));
    let new = sites.client_of(&[2, 1, 0], loose);
    new.set(home.at("/0/0"), "new", Version::Any).await.unwrap();
    sites.restart(0).await;
    // Whoever still takes it for the first is told better, with nothing written.
    for old in [conn.clone(), sites.client(&home)] {
        let err = soon("an answer", old.set(home.at("/1/1"), "old", Version::Any)).await;
        let err = err.unwrap_err();
        assert!(matches!(err.kind(), ErrorKind::WrongQuorum | ErrorKind::NotMirrored), "{err}");
        let err = old.set(home.at("/1/1"), "old", Version::Any).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    }
    let direct = sites.direct();
    assert_eq!(direct[0].get(home.at("/0/0")).await.unwrap().data, "0");
    assert_eq!(new.init().await.unwrap_err().kind(), ErrorKind::WrongQuorum);
    new.init_with(Rejoin::AsMirrors).await.unwrap();
    mend(&new, &home.root).await;
    assert_eq!(diff(&new, &home.root).await, []);
    for quorum in &direct {
        assert_eq!(quorum.get(home.at("/0/0")).await.unwrap().data, "new");
    }
    new.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_loses_a_quorum_half_way_is_gone_on_with() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let conn = sites.client(&home);
    let impatient =
        sites.client_of(&[0, 1, 2], home.options().with_wait(Duration::from_millis(1500)));
    // More than is compared at once.
    let nodes = (0..2500).map(|n| (home.at(&format!("/{}/{n}", n % 5)), n.to_string()));
    tree::create_many(&*conn, nodes, Mode::Persistent).await.unwrap();
    for killed in [0, 2] {
        let direct = sites.direct();
        for mirror in &direct[1..] {
            tree::remove_all(mirror, home.at("/0")).await.unwrap();
            tree::remove_all(mirror, home.at("/4")).await.unwrap();
            tree::create_all(mirror, home.at("/0/extra/deep"), "", Mode::Persistent).await.unwrap();
        }
        let what = format!("quorum {} killed", killed + 1);
        let mut repair = repair::repair(&impatient, &*home.root).unwrap();
        let begun = soon(&what, repair.next()).await.unwrap();
        sites.0[killed].ensemble.kill(1);
        let mut errors: Vec<String> = begun.err().map(|err| err.to_string()).into_iter().collect();
        while let Some(one) = soon(&what, repair.next()).await {
            errors.extend(one.err().map(|err| err.to_string()));
        }
        let number = format!("quorum {}", killed + 1);
        assert!(errors.iter().any(|err| err.contains(&number)), "{what}: {errors:?}");
        let next = repair.progress().next.unwrap();
        sites.restart(killed).await;
        let mut rest = repair::repair(&conn, &*home.root).unwrap().from(next);
        while let Some(one) = rest.next().await {
            one.unwrap();
        }
        assert_eq!(diff(&conn, &home.root).await, [], "{what}");
        for quorum in &sites.direct() {
            assert_eq!(count(quorum, &home).await, 2505, "{what}");
        }
    }
    impatient.close().await.unwrap();
    conn.close().await.unwrap();
}

// --- random faults ----------------------------------------------------------------------------

/// What breaks at random.
const BREAKS: [&str; 8] = [
    "kill",
    "stop",
    "cut off",
    "black hole",
    "sessions ended",
    "cut",
    "reply lost",
    "request lost",
];

/// How often each of them hit each quorum.
#[derive(Default)]
struct Broken([[usize; 3]; BREAKS.len()]);

impl Broken {
    fn total(&self) -> usize {
        self.0.iter().flatten().sum()
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = BREAKS.iter().zip(self.0).map(|(what, [a, b, c])| format!("{what} {a}/{b}/{c}"));
        write!(f, "{} faults by quorum: {}", self.total(), each.collect::<Vec<_>>().join(", "))
    }
}

/// Breaks something at random, and mends it.
async fn break_something(sites: &Sites, random: &mut fastrand::Rng, broken: &mut Broken) {
    let (index, what) = (random.usize(..3), random.usize(..BREAKS.len()));
    broken.0[what][index] += 1;
    let Site { ensemble, proxy } = &sites.0[index];
    let pause = Duration::from_millis(random.u64(100..700));
    match BREAKS[what] {
        "kill" => {
            ensemble.kill(1);
            tokio::time::sleep(pause).await;
            sites.restart(index).await;
        }
        "stop" => {
            ensemble.stop(1);
            tokio::time::sleep(pause).await;
            ensemble.cont(1);
        }
        "cut off" => {
            proxy.refuse();
            proxy.cut();
            tokio::time::sleep(pause).await;
            proxy.join();
        }
        "black hole" => {
            let ways = [Direction::ToServer, Direction::ToClient, Direction::Both];
            proxy.black_hole(ways[random.usize(..3)]);
            tokio::time::sleep(pause).await;
            proxy.cut();
            proxy.heal();
        }
        "sessions ended" => drop(proxy.end_sessions().await),
        "cut" => proxy.cut(),
        "reply lost" => proxy.swallow_reply(OpKind::Write),
        _ => proxy.drop_request(OpKind::Write),
    }
}

/// On how many nodes at a time clients work while things break, and how many clients.
const PLACES: usize = 3;
const CLIENTS: usize = 4;

/// A client that dies now and then, with all that it still knew to be missing on a mirror.
#[derive(Debug)]
struct Mortal {
    life: std::sync::Mutex<Arc<dyn Conn>>,
    wait: Duration,
}

impl Mortal {
    fn new(client: Arc<GlobalConn>, wait: Duration) -> Arc<Mortal> {
        Arc::new(Mortal { life: std::sync::Mutex::new(Arc::new(Within::new(client, wait))), wait })
    }

    fn dies(&self, next: Arc<GlobalConn>) {
        *self.life.lock().unwrap() = Arc::new(Within::new(next, self.wait));
    }
}

impl Conn for Mortal {
    fn call(&self, request: zkcells::Request) -> zkcells::Pending<zkcells::Reply> {
        self.life.lock().unwrap().call(request)
    }

    fn close(&self) -> zkcells::Pending<()> {
        self.life.lock().unwrap().close()
    }
}

impl std::fmt::Display for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.life.lock().unwrap().fmt(f)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_faults_a_repair_makes_all_quorums_hold_what_was_acknowledged() {
    let sites = sites().await;
    let home = Home::new(&sites).await;
    let mut random = random("random faults");
    let seconds = std::env::var("ZKCELLS_SECONDS").map_or(6, |text| text.parse().unwrap());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = sites.client(&home);
        client.session("/").await.unwrap();
        clients.push(Mortal::new(client, Duration::from_millis(500 + 300 * number as u64)));
    }
    let connect = |number: usize| {
        let client: Arc<dyn Conn> = clients[number].clone();
        async { Ok::<_, Error>(client) }
    };
    let workload = Workload::new(random.u64(..))
        .with_clients(CLIENTS)
        .with_keys(PLACES)
        .with_calls_per_key(40);
    let (mut broken, mut deaths) = (Broken::default(), 0);
    let mut other = fastrand::Rng::with_seed(random.u64(..));
    let faults = async {
        let begun = Instant::now();
        let goes_on = || begun.elapsed() < Duration::from_secs(seconds);
        let breaking = async {
            while goes_on() {
                break_something(&sites, &mut random, &mut broken).await;
                tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
            }
        };
        // While something is broken, too.
        let dying = async {
            while goes_on() {
                tokio::time::sleep(Duration::from_millis(other.u64(500..2500))).await;
                clients[other.usize(..CLIENTS)].dies(sites.client(&home));
                deaths += 1;
            }
        };
        join(breaking, dying).await;
        sites.mend().await;
        // The clients go on for a moment, so that what they read last shows what there is.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let (history, ()) = workload.run(&home.at("/registers"), connect, faults).await.unwrap();
    // The clients are gone, and what they owe with them.
    clients.clear();
    let conn = sites.client(&home);
    let mended = mend(&conn, &home.root).await;
    assert_eq!(diff(&conn, &home.root).await, []);
    // What there is in the end belongs to the history, too: on the first, and so on all.
    let last = history.conn(conn.clone());
    let turns = history.check().keys;
    for (place, turn) in (0..PLACES).flat_map(|place| (0..turns).map(move |turn| (place, turn))) {
        let node = home.at(&format!("/registers/register-{place}-{turn}"));
        last.sync(&node).await.unwrap();
        match last.get(&node).await {
            Err(err) if err.kind() != ErrorKind::NoNode => panic!("{err}"),
            _ => {}
        }
    }
    let report = history.check();
    println!(
        "random faults: {seconds} s, {broken}, {deaths} clients dead; {report}; {mended} nodes repaired"
    );
    let first = report.violations.first();
    assert!(first.is_none(), "{}", first.unwrap());
    assert!(report.done > 20 && broken.total() > 3, "{report}");
    // Given the time, whatever breaks has broken on each quorum.
    let is_long = seconds >= 180;
    assert!(!is_long || broken.0.iter().flatten().all(|count| *count > 0), "{broken}");
    conn.close().await.unwrap();
}
