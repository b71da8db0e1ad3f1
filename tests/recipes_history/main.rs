//! Whatever breaks, no two guards of one thing are valid at once: the history of clients that contend
//! under random faults, and what the same judge says of locks with one rule broken.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

#[path = "../support/mod.rs"]
mod support;

mod readers;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use support::contest::{Contest, Style};
use support::flawed::{Flaw, Flawed};
use support::grants::{Grants, Verdict};
use support::random::{random, rounds};
use support::recipes::rw::ReadersAndWriters;
use support::recipes::{Recipe, TheLock, all};
use support::rig::{connect, soon, turn};
use support::shared::{FAULTS, ensemble, fault_of_server};
use tokio::time::{Instant, sleep};
use zkcells::testing::cells::fresh_root;
use zkcells::testing::proxy::{Bites, Direction, FaultProxy, OpKind};
use zkcells::testing::servers::Ensemble;
use zkcells::{Conn, ConnExt as _, Mode, ZkConn};

/// The session timeout of all clients.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may stay behind the end of the faults: whoever removes it may be at its longest
/// pause, or in a call.
const LEFT: Duration = Duration::from_secs(20);
/// Fewer grants than that prove nothing; what is held through a fault keeps all others waiting.
const ENOUGH: usize = 5;

/// A recipe, and a proxy and a connection at each server; two clients share a session.
struct Arena {
    recipe: Arc<dyn Recipe>,
    path: String,
    proxies: Vec<FaultProxy>,
    conns: Vec<Arc<ZkConn>>,
}

impl Arena {
    async fn new(ensemble: &Ensemble, recipe: Arc<dyn Recipe>) -> Arena {
        let (mut proxies, mut conns) = (Vec::new(), Vec::new());
        for n in 1..=3 {
            let proxy = FaultProxy::to(ensemble.addr(n)).await.unwrap();
            conns.push(connect(&proxy.addr(), TIMEOUT).await);
            proxies.push(proxy);
        }
        let root = format!("/{}", fresh_root());
        conns[0].create(&root, "", Mode::Persistent).await.unwrap();
        let path = format!("{root}/it");
        recipe.prepare(conns[0].clone(), &path).await;
        Arena { recipe, path, proxies, conns }
    }

    fn contest(&self, style: Style, rng: &mut Rng) -> Contest {
        let twice = self.conns.iter().flat_map(|conn| [conn; 2]);
        let clients: Vec<_> = twice.map(|conn| (conn.clone() as Arc<dyn Conn>, style)).collect();
        Contest::start(&self.recipe, &self.path, &clients, rng)
    }

    fn bites(&self) -> Vec<Bites> {
        self.proxies.iter().map(FaultProxy::bites).collect()
    }

    /// Faults of the network, one behind the other, until the time is over.
    async fn trouble(&self, contest: &Contest, mut rng: Rng, until: Instant) {
        // First whoever holds it for long, so that it is surely lost once.
        let clung = async {
            loop {
                if let Some(client) = *contest.clung.lock().unwrap() {
                    break client;
                }
                turn().await;
            }
        };
        let holder = &self.proxies[soon("a long hold", clung).await / 2];
        holder.black_hole(Direction::Both);
        sleep(TIMEOUT).await;
        holder.heal();
        let mut turn = 0_u8;
        while Instant::now() < until {
            let proxy = &self.proxies[rng.usize(..3)];
            let kinds = [OpKind::Create, OpKind::Delete, OpKind::Check, OpKind::Read];
            let kind = kinds[rng.usize(..4)];
            // Those that are asked for below come first.
            let fault = if turn < 2 { turn } else { rng.u8(..10) };
            turn = turn.saturating_add(1);
            match fault {
                0 => proxy.cut(),
                1 | 2 => proxy.swallow_reply(kind.below(&self.path)),
                3 => proxy.drop_request(kind.below(&self.path)),
                4 => proxy.tell_expired(),
                5 => proxy.late_event(Duration::from_millis(rng.u64(100..1000))),
                6 => proxy.twice_event(),
                7 => {
                    proxy.round_trip(Duration::from_millis(rng.u64(50..800)));
                    sleep(Duration::from_millis(rng.u64(300..1500))).await;
                    proxy.round_trip(Duration::ZERO);
                }
                _ => {
                    let ways = [Direction::Both, Direction::ToServer, Direction::ToClient];
                    proxy.black_hole(ways[rng.usize(..3)]);
                    sleep(Duration::from_millis(rng.u64(200..3000))).await;
                    if rng.bool() {
                        proxy.cut();
                    }
                    proxy.heal();
                }
            }
            sleep(Duration::from_millis(rng.u64(50..700))).await;
        }
        proxies_mended(&self.proxies);
    }
}

fn proxies_mended(proxies: &[FaultProxy]) {
    for proxy in proxies {
        proxy.heal();
        proxy.join();
        proxy.round_trip(Duration::ZERO);
    }
}

/// Faults of servers, each once, in a random order.
async fn server_trouble(ensemble: &Ensemble, rng: &mut Rng) {
    let mut faults: Vec<_> = (0..FAULTS).collect();
    rng.shuffle(&mut faults);
    for fault in faults {
        fault_of_server(ensemble, fault, rng).await;
        sleep(Duration::from_millis(rng.u64(300..1000))).await;
    }
}

fn report(recipe: &dyn Recipe, verdict: &Verdict, bites: &[Bites]) {
    println!("{}: {verdict}", recipe.name());
    let sum = |of: fn(&Bites) -> u64| bites.iter().map(of).sum::<u64>();
    println!(
        "{}: bites {} cut {} held {} delayed {} swallowed {} dropped {} late {} doubled {} told expired",
        recipe.name(),
        sum(|b| b.cut),
        sum(|b| b.held),
        sum(|b| b.delayed),
        sum(|b| b.swallowed),
        sum(|b| b.dropped),
        sum(|b| b.late),
        sum(|b| b.doubled),
        sum(|b| b.told_expired)
    );
}

#[tokio::test]
async fn no_two_guards_are_valid_at_once_whatever_breaks() {
    let (ensemble, mut rng) = (ensemble().await, random("contests"));
    for _ in 0..rounds(1, 20) {
        let mut arenas = Vec::new();
        // Of those that several hold at once, each a part, `shard_lock.rs` judges.
        let alone = all().into_iter().filter(|recipe| recipe.is_exclusive());
        let readers: Arc<dyn Recipe> = Arc::new(ReadersAndWriters::of(&mut rng));
        for recipe in alone.chain([readers]) {
            arenas.push(Arena::new(&ensemble, recipe).await);
        }
        let contests: Vec<_> =
            arenas.iter().map(|arena| arena.contest(Style::Mixed, &mut rng)).collect();
        let until = Instant::now() + Duration::from_secs(12);
        let each = arenas.iter().zip(&contests);
        let troubles = each.map(|(arena, contest)| arena.trouble(contest, rng.fork(), until));
        let troubles = join_all(troubles.collect::<Vec<_>>());
        let mut servers = rng.fork();
        tokio::join!(troubles, server_trouble(&ensemble, &mut servers));
        let ends = join_all(contests.into_iter().map(Contest::end)).await;
        let verdicts: Vec<Verdict> = ends.iter().map(Grants::judge).collect();
        let mut all_bites = Vec::new();
        for (arena, verdict) in arenas.iter().zip(&verdicts) {
            let bites = arena.bites();
            report(&*arena.recipe, verdict, &bites);
            assert_eq!(verdict.violations(), 0, "{}: {verdict:#?}", arena.recipe.name());
            assert!(verdict.grants >= ENOUGH, "{}: too little", arena.recipe.name());
            all_bites.extend(bites);
            // Nothing is left when all are gone.
            for conn in &arena.conns {
                let start = Instant::now();
                loop {
                    let left = conn.ephemerals(&arena.path).await;
                    if left.as_ref().is_ok_and(Vec::is_empty) {
                        break;
                    }
                    assert!(start.elapsed() < LEFT, "{}: {left:?}", arena.recipe.name());
                    turn().await;
                }
            }
        }
        let met = |of: fn(&Bites) -> u64| all_bites.iter().any(|bites| of(bites) > 0);
        assert!(met(|b| b.cut) && met(|b| b.held) && met(|b| b.swallowed), "{all_bites:?}");
        let sum = |of: fn(&Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
        assert!(sum(|v| v.lost) > 0, "no guard was lost: {verdicts:#?}");
        assert!(sum(|v| v.grants) >= 10 * ENOUGH, "too little: {verdicts:#?}");
        ensemble.mend().await;
    }
}

/// How long a lock that is to be caught gets at most, and one that is not to be accused.
const SOME: Duration = Duration::from_secs(15);
const FEW: Duration = Duration::from_secs(3);

/// The verdict on a recipe whose clients lose replies to creates now and then, and give up.
async fn behind_lost_replies(recipe: Arc<dyn Recipe>, most: Duration, rng: &mut Rng) -> Verdict {
    let ensemble = ensemble().await;
    let arena = Arena::new(&ensemble, recipe).await;
    let contest = arena.contest(Style::Fickle, rng);
    let until = Instant::now() + most;
    let mut swallowed = 0;
    while Instant::now() < until {
        for proxy in &arena.proxies {
            proxy.swallow_reply(OpKind::Create.below(&arena.path));
        }
        sleep(Duration::from_millis(rng.u64(100..500))).await;
        let bites = arena.bites();
        swallowed = bites.iter().map(|bites| bites.swallowed).sum();
        // Few grants come between two that go wrong, and one is enough.
        if contest.grants.judge().violations() > 3 {
            break;
        }
    }
    let verdict = contest.end().await.judge();
    report(&*arena.recipe, &verdict, &arena.bites());
    assert!(swallowed > 0, "the faults did not bite");
    verdict
}

#[tokio::test]
async fn a_lock_that_takes_any_node_of_its_session_is_caught() {
    let mut rng = random("any node");
    let verdict = behind_lost_replies(Arc::new(Flawed(Flaw::AnyNode)), SOME, &mut rng).await;
    assert!(!verdict.overlaps.is_empty(), "{verdict}");
}

#[tokio::test]
async fn a_lock_that_takes_a_watch_for_a_grant_is_caught() {
    let mut rng = random("watch as proof");
    let verdict = behind_lost_replies(Arc::new(Flawed(Flaw::WatchProves)), SOME, &mut rng).await;
    assert!(!verdict.overlaps.is_empty(), "{verdict}");
}

#[tokio::test]
async fn the_same_lock_without_a_flaw_is_not_accused() {
    let mut rng = random("no flaw");
    let verdict = behind_lost_replies(Arc::new(Flawed(Flaw::None)), FEW, &mut rng).await;
    assert_eq!(verdict.violations(), 0, "{verdict:#?}");
    assert!(verdict.grants > 10 * ENOUGH, "{verdict}");
}

/// The verdict on a recipe whose holder is on a follower that is cut off from its leader.
async fn on_a_cut_off_follower(recipes: Vec<Arc<dyn Recipe>>, rng: &mut Rng) -> Vec<Verdict> {
    let ensemble = ensemble().await;
    let leader = ensemble.until_one_leads().await;
    let follower = leader % 3 + 1;
    let (mut arenas, mut contests) = (Vec::new(), Vec::new());
    for recipe in recipes {
        let arena = Arena::new(&ensemble, recipe).await;
        let style = |n| if n + 1 == follower { Style::Clings } else { Style::Brief };
        let conns = arena.conns.iter().enumerate();
        let conns: Vec<_> =
            conns.map(|(n, conn)| (conn.clone() as Arc<dyn Conn>, style(n))).collect();
        contests.push(Contest::start(&arena.recipe, &arena.path, &conns, rng));
        arenas.push(arena);
    }
    let all_cling = async {
        while !contests.iter().all(|contest| contest.clung.lock().unwrap().is_some()) {
            turn().await;
        }
    };
    soon("the grants", all_cling).await;
    let before = ensemble.held();
    ensemble.cut_from_peers(follower);
    // The session ends behind 2 s, and the follower answers for 5 s.
    sleep(2 * TIMEOUT + Duration::from_millis(500)).await;
    assert!(ensemble.held() > before, "the fault did not bite");
    ensemble.join_peers(follower);
    let mut verdicts = Vec::new();
    for (arena, contest) in arenas.iter().zip(contests) {
        verdicts.push(contest.end().await.judge());
        report(&*arena.recipe, &verdicts[verdicts.len() - 1], &arena.bites());
    }
    ensemble.mend().await;
    verdicts
}

#[tokio::test]
async fn a_lock_that_takes_reads_for_signs_of_life_is_caught() {
    let mut rng = random("reads as proof");
    // A follower that gives up early answers nobody, and fools nobody.
    for _ in 0..3 {
        let recipes: Vec<Arc<dyn Recipe>> =
            vec![Arc::new(Flawed(Flaw::ReadsProve)), Arc::new(TheLock)];
        let verdicts = on_a_cut_off_follower(recipes, &mut rng).await;
        assert_eq!(verdicts[1].violations(), 0, "{:#?}", verdicts[1]);
        assert!(verdicts[1].lost > 0, "{}", verdicts[1]);
        if !verdicts[0].overlaps.is_empty() {
            return;
        }
    }
    panic!("not caught");
}
