//! Whoever drops a future of a recipe, wherever that is, leaves no node and keeps nobody out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use support::random::{random, rounds};
use support::recipes::rw::TheDowngraded;
use support::recipes::{Held, Recipe, all};
use tokio::time::{sleep, timeout};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::proxy::FaultProxy;
use zkcells::{ConnExt as _, MemoryConn, MemoryQuorum, Mode, SessionOptions, ZkConn};

const PATH: &str = "/app/it";
/// How soon the next contender must be in.
const SOON: Duration = Duration::from_secs(1);
/// How late answers are in memory, by the quorum's clock.
const LATE: Duration = Duration::from_secs(1);
/// More polls than any future here takes to its end.
const POLLS: usize = 40;

/// All recipes, and a writer that goes on as a reader.
fn each() -> Vec<Arc<dyn Recipe>> {
    let mut each = all();
    each.push(Arc::new(TheDowngraded));
    each
}

type Step = BoxFuture<'static, Option<Box<dyn Held>>>;

/// What happens while a future is polled.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    /// Somebody else holds it, and releases before this poll.
    HeldUntil(usize),
    /// The connection is lost before this poll.
    LostAt(usize),
    /// It is lost before the first, and back before the second.
    LostBetween(usize, usize),
}

fn happenings() -> Vec<Meanwhile> {
    let mut all = vec![Meanwhile::Nothing];
    all.extend((0..12).chain([POLLS]).map(Meanwhile::HeldUntil));
    all.extend((0..8).map(Meanwhile::LostAt));
    all.extend((0..6).map(|at| Meanwhile::LostBetween(at, at + 2)));
    all
}

/// What is polled, and dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Acquire,
    Other(usize),
    Release,
}

fn connect(quorum: &MemoryQuorum) -> Arc<MemoryConn> {
    let options = SessionOptions::default().with_session_timeout(Duration::from_secs(600));
    Arc::new(quorum.connect_with(options))
}

async fn future(what: What, recipe: &dyn Recipe, conn: Arc<MemoryConn>) -> Step {
    match what {
        What::Acquire => recipe.acquire(conn, PATH).map(Result::ok).boxed(),
        What::Other(n) => {
            let (_, other) = recipe.others(conn, PATH).swap_remove(n);
            other.map(|taken| taken.ok().flatten()).boxed()
        }
        What::Release => {
            let held = recipe.acquire(conn, PATH).await.unwrap();
            held.release().map(|_| None).boxed()
        }
    }
}

/// Drops a future behind so many polls; whether it came to its end before. Answers are late, so
/// each await of one is a poll that finds nothing yet.
async fn dropped_behind(
    polls: usize,
    what: What,
    recipe: &dyn Recipe,
    meanwhile: Meanwhile,
) -> bool {
    let case = format!("{} {what:?}, {meanwhile:?}, {polls} polls", recipe.name());
    let quorum = MemoryQuorum::new();
    let (conn, other) = (connect(&quorum), connect(&quorum));
    recipe.prepare(other.clone(), PATH).await;
    let mut holder = match meanwhile {
        Meanwhile::HeldUntil(_) if what != What::Release => {
            Some(recipe.acquire(other.clone(), PATH).await.unwrap())
        }
        _ => None,
    };
    let mut future = future(what, recipe, conn.clone()).await;
    conn.delay(LATE);
    let mut done = None;
    for poll in 0..polls {
        match meanwhile {
            Meanwhile::HeldUntil(at) if at == poll => {
                if let Some(holder) = holder.take() {
                    holder.release().await;
                }
            }
            Meanwhile::LostAt(at) | Meanwhile::LostBetween(at, _) if at == poll => {
                conn.lose_connection();
            }
            Meanwhile::LostBetween(_, at) if at == poll => conn.join(),
            _ => {}
        }
        if let std::task::Poll::Ready(end) = futures::poll!(&mut future) {
            done = Some(end);
            break;
        }
        quorum.advance(LATE);
        tokio::task::yield_now().await;
    }
    drop(future);
    let ended = done.is_some();
    drop((done, holder));
    conn.delay(Duration::ZERO);
    conn.join();
    let next = connect(&quorum);
    let start = Instant::now();
    let next_in = async {
        // Answers that were late come at last.
        let time = async {
            loop {
                quorum.advance(LATE);
                sleep(Duration::from_millis(1)).await;
            }
        };
        let entered = async {
            let held = recipe.acquire(next.clone(), PATH).await.unwrap();
            while !conn.ephemerals("/").await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            held
        };
        tokio::select! {
            held = entered => held,
            () = time => unreachable!("time goes on"),
        }
    };
    let Ok(held) = timeout(SOON, next_in).await else {
        let left = next.children(recipe.dir(PATH)).await.map(|found| found.names);
        panic!("{case}: the next one is kept out, by {left:?}");
    };
    assert!(held.is_valid(), "{case}");
    assert!(start.elapsed() < SOON, "{case}: {:?}", start.elapsed());
    ended
}

#[tokio::test]
async fn no_await_at_which_a_future_is_dropped_leaves_a_node() {
    let mut cases = 0;
    for recipe in each() {
        let others = recipe.others(connect(&MemoryQuorum::new()), PATH).len();
        let mut whats = vec![What::Acquire, What::Release];
        whats.extend((0..others).map(What::Other));
        for what in whats {
            let mut most = 0;
            for meanwhile in happenings() {
                for polls in 0..POLLS {
                    cases += 1;
                    if dropped_behind(polls, what, &*recipe, meanwhile).await {
                        most = most.max(polls);
                        break;
                    }
                }
            }
            println!("{} {what:?}: up to {most} polls", recipe.name());
            assert!(most > 1, "{} {what:?}: answers were not late", recipe.name());
        }
    }
    println!("{cases} cases");
}

/// A contender who is dropped at any moment on real servers, over and over; how often it held.
async fn dropped_at_random(recipe: Arc<dyn Recipe>, mut rng: Rng, turns: usize) -> usize {
    let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let proxy = FaultProxy::to(&addrs).await.unwrap();
    let connect = |addrs: String| async move {
        Arc::new(ZkConn::connect(&addrs, SessionOptions::default()).await.unwrap())
    };
    let (conn, next) = (connect(proxy.addr()).await, connect(addrs).await);
    let root = format!("/{}", fresh_root());
    next.create(&root, "", Mode::Persistent).await.unwrap();
    let path = format!("{root}/{}", recipe.name());
    recipe.prepare(next.clone(), &path).await;
    let (mut held, mut cuts) = (0, 0);
    for turn in 0..turns {
        let holder = match rng.bool() {
            true => Some(recipe.acquire(next.clone(), &path).await.unwrap()),
            false => None,
        };
        // Some long, as a busy machine wants them.
        let mut moment = || sleep(Duration::from_micros(rng.u64(..4000) << rng.u8(..5)));
        let (first, then, last) = (moment(), moment(), moment());
        let (cut, releases) = (rng.u8(..4) == 0, rng.bool());
        let contender = async {
            let taken = recipe.acquire(conn.clone(), &path).await.unwrap();
            held += 1;
            if releases {
                taken.release().await;
            }
        };
        let faults = async {
            first.await;
            if cut {
                proxy.cut();
            }
            then.await;
            if let Some(holder) = holder {
                holder.release().await;
            }
            last.await;
        };
        tokio::select! {
            () = contender => {}
            () = faults => {}
        }
        cuts += usize::from(cut);
        // A connection that was cut has to come back before anything can be removed.
        let soon = if cut { 2 * SOON } else { SOON };
        let case = format!("{}, turn {turn}, cut {cut}", recipe.name());
        let Ok(taken) = timeout(soon, recipe.acquire(next.clone(), &path)).await else {
            let left = next.children(recipe.dir(&path)).await.map(|found| found.names);
            panic!("{case}: the next one is kept out, by {left:?}");
        };
        assert!(taken.unwrap().is_valid(), "{case}");
        let gone = async { while !conn.ephemerals(&root).await.unwrap().is_empty() {} };
        assert!(timeout(soon, gone).await.is_ok(), "{case}: a node is left");
    }
    assert!(proxy.bites().cut > 0 && cuts > 0, "the cuts did not bite: {:?}", proxy.bites());
    held
}

#[tokio::test]
async fn no_moment_at_which_a_contender_is_dropped_keeps_the_next_one_out() {
    let (mut rng, turns) = (random("dropped contenders"), rounds(100, 2000));
    let each = each().into_iter().map(|recipe| {
        let rng = rng.fork();
        async move {
            let held = dropped_at_random(recipe.clone(), rng, turns).await;
            println!("{}: {turns} dropped, {held} of them behind their turn", recipe.name());
            assert!(held > 0 && held < turns, "{}: {held} of {turns} held", recipe.name());
        }
    });
    futures::future::join_all(each).await;
}
