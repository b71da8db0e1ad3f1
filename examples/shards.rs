//! Five workers process a table of rows, each its part; one is killed, one is added, and every row is
//! processed exactly once in each pass.
//!
//! ```text
//! cargo run --example shards                                # in memory
//! eval "$(cells/up)"; cargo run --example shards            # on the cells of $ZK_CLIENT_CONFIG
//! ```
//!
//! A row has a position in [0, 1). A worker takes the rows in its range, as long as it holds it. What
//! it did in a pass it writes into the row with the token of its range, so whoever has lost a range
//! and does not know it yet is refused. (Here the table is in this process; a database would have the
//! token in a column, and the condition in its UPDATE.)

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example tells what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use zkcells::recipes::{Shard, ShardContender, ShardLock, Token, shard_contenders};
use zkcells::{Cells, Conn, ConnExt as _, MemoryQuorum, MetaConn, Mode, tree};

/// Rows in the table.
const ROWS: usize = 200;
const WAIT_TIME: Duration = Duration::from_millis(200);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct Row {
    position: f64,
    /// The newest token that a writer had.
    token: Option<Token>,
    /// Who processed it in each pass; as it came it is done with pass 0.
    done: BTreeMap<usize, Vec<&'static str>>,
}

/// The table, and how far it is processed. Clones are of the same table.
#[derive(Clone)]
struct Table {
    rows: Arc<Mutex<Vec<Row>>>,
    pass: Arc<watch::Sender<usize>>,
}

/// What became of a row.
enum Processed {
    Now,
    /// Somebody has written it with a newer token.
    Refused,
}

impl Table {
    fn new() -> Self {
        // Spread evenly, in no order.
        let position = |row: usize| (row as f64 * 0.618_033_988_749_895).fract();
        let done = BTreeMap::from([(0, Vec::new())]);
        let rows =
            (0..ROWS).map(|row| Row { position: position(row), token: None, done: done.clone() });
        Table { rows: Arc::new(Mutex::new(rows.collect())), pass: Arc::default() }
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of a range that are yet to be processed in a pass.
    fn due(&self, shard: &Shard, pass: usize) -> Vec<usize> {
        let rows = self.rows();
        let mine = rows.iter().enumerate().filter(|(_, row)| shard.contains(row.position));
        mine.filter(|(_, row)| !row.done.contains_key(&pass)).map(|(number, _)| number).collect()
    }

    /// Processes a row. Nothing here keeps two workers from doing it twice: the shard lock does.
    fn process(&self, row: usize, pass: usize, name: &'static str, token: &Token) -> Processed {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(row) else { return Processed::Refused };
        if row.token.as_ref().is_some_and(|newest| token < newest) {
            return Processed::Refused;
        }
        row.token = Some(token.clone());
        row.done.entry(pass).or_default().push(name);
        Processed::Now
    }

    /// How many rows were processed in a pass.
    fn done(&self, pass: usize) -> usize {
        self.rows().iter().filter(|row| row.done.contains_key(&pass)).count()
    }
}

/// Opens a session of its own for each worker.
pub type Connect = Box<
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Conn>, Failure>> + Send>> + Send + Sync,
>;

struct Worker {
    conn: Arc<dyn Conn>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), zkcells::Error>>,
}

impl Worker {
    async fn start(
        connect: &Connect,
        name: &'static str,
        path: &str,
        table: &Table,
    ) -> Result<Worker, Failure> {
        let conn = connect().await?;
        let shards = ShardLock::new(conn.clone(), path).with_wait_time(WAIT_TIME);
        let (stop, stopped) = oneshot::channel::<()>();
        let table = table.clone();
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let work = |shard: Shard| work(name, shard, table.clone());
            match shards.run::<(), _>(stopped, work).await {
                Err(err) if err.kind() == zkcells::ErrorKind::Cancelled => Ok(()),
                ended => ended,
            }
        });
        Ok(Worker { conn, stop: Some(stop), task })
    }

    /// As a crash does it: no word, no release. Its session ends first, or dropping its range would
    /// give that back.
    async fn kill(self) -> Result<(), Failure> {
        self.conn.close().await?;
        self.task.abort();
        Ok(())
    }

    async fn leave(mut self) -> Result<(), Failure> {
        drop(self.stop.take());
        self.task.await??;
        self.conn.close().await?;
        Ok(())
    }
}

/// Processes the rows of a range, pass by pass, until a reshard is wanted.
async fn work(name: &'static str, shard: Shard, table: Table) -> ControlFlow<()> {
    let mut passes = table.pass.subscribe();
    let mut stopped = pin!(shard.stopped());
    loop {
        let pass = *passes.borrow_and_update();
        let (from, to, of) = (shard.from(), shard.to(), shard.of());
        let due = table.due(&shard, pass);
        println!("  {name}: [{from:.3}, {to:.3}), one of {of}: {} rows due", due.len());
        for row in due {
            if !shard.is_valid() {
                println!("  {name}: lost its range");
                return ControlFlow::Continue(());
            }
            match table.process(row, pass, name, shard.token()) {
                Processed::Now => {}
                Processed::Refused => return ControlFlow::Continue(()),
            }
            // Work takes its time. Who is asked to reshard gives back the rest.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
                () = &mut stopped => return ControlFlow::Continue(()),
            }
        }
        tokio::select! {
            _ = passes.changed() => {}
            () = &mut stopped => return ControlFlow::Continue(()),
        }
    }
}

/// Waits until it is so, unless a worker fails before.
async fn until(
    workers: &[Worker],
    mut is_so: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let so = async {
        while !is_so().await? {
            if workers.iter().any(|worker| worker.task.is_finished()) {
                return Err("a worker failed".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), so).await?
}

/// Waits until a pass is complete, and says who processed how many rows, and whether each was processed
/// once.
async fn complete(table: &Table, pass: usize, workers: &[Worker]) -> Result<(), Failure> {
    until(workers, async || Ok(table.done(pass) == ROWS)).await?;
    let (mut once, mut each) = (true, BTreeMap::<_, usize>::new());
    for row in table.rows().iter() {
        let names = row.done.get(&pass).map(Vec::as_slice).unwrap_or_default();
        once &= names.len() == 1;
        for name in names {
            *each.entry(*name).or_default() += 1;
        }
    }
    let each: Vec<_> = each.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
    let verdict = if once { "each once" } else { "SOME TWICE" };
    println!("pass {pass}: {ROWS} rows, {verdict}: {}", each.join(", "));
    if once { Ok(()) } else { Err("a row was processed twice".into()) }
}

/// Three passes: with five workers, with one that is killed meanwhile, with one that is added.
///
/// How the rows of a pass fall to those who come and go in it is a matter of time; that all of them are
/// there in the end, and each row is processed once, is not.
pub async fn three_passes(connect: Connect, path: &str) -> Result<(), Failure> {
    let (table, witness) = (Table::new(), connect().await?);
    let there = async |workers: &[Worker], is_so: fn(&ShardContender) -> bool| {
        until(workers, async || {
            let all = shard_contenders(&witness, path).await?;
            Ok(all.len() == workers.len() && all.iter().all(is_so))
        })
        .await
    };
    println!("pass 1, five workers");
    let mut workers = Vec::new();
    for name in ["ann", "bob", "cid", "dee", "eve"] {
        workers.push(Worker::start(&connect, name, path, &table).await?);
    }
    there(&workers, ShardContender::holds).await?;
    table.pass.send_replace(1);
    complete(&table, 1, &workers).await?;

    println!("pass 2, and eve is killed in it");
    table.pass.send_replace(2);
    until(&workers, async || Ok(table.done(2) >= ROWS / 10)).await?;
    if let Some(eve) = workers.pop() {
        eve.kill().await?;
    }
    complete(&table, 2, &workers).await?;

    println!("pass 3, and fay joins in it");
    workers.push(Worker::start(&connect, "fay", path, &table).await?);
    there(&workers, |_| true).await?;
    table.pass.send_replace(3);
    complete(&table, 3, &workers).await?;
    there(&workers, ShardContender::holds).await?;

    for worker in workers {
        worker.leave().await?;
    }
    witness.close().await?;
    Ok(())
}

/// On the configured cells, or else in memory.
pub async fn run() -> Result<(), Failure> {
    if std::env::var_os("ZK_CLIENT_CONFIG").is_some() {
        let cells = Cells::from_env()?;
        let cell = cells.known().into_iter().next().ok_or("no cell is configured")?;
        let path = format!("/zk/{cell}/example-shards-{}", std::process::id());
        let parent = MetaConn::new(cells.clone());
        tree::create_all(&parent, &path, "", Mode::Persistent).await?;
        println!("on the cell {cell}, at {path}");
        let connect: Connect = Box::new(move || {
            let cells = cells.clone();
            Box::pin(async move { Ok(Arc::new(MetaConn::new(cells)) as Arc<dyn Conn>) })
        });
        let passed = three_passes(connect, &path).await;
        tree::remove_all(&parent, &path).await?;
        parent.close().await?;
        passed
    } else {
        println!("in memory");
        let quorum = MemoryQuorum::new();
        quorum.connect().create("/jobs", "", Mode::Persistent).await?;
        let connect: Connect = Box::new(move || {
            let conn = quorum.connect();
            Box::pin(async move { Ok(Arc::new(conn) as Arc<dyn Conn>) })
        });
        three_passes(connect, "/jobs/table").await
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("shards: {why}");
            ExitCode::FAILURE
        }
    }
}
