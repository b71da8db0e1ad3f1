//! Many writes in atomic batches, with those taken out that others made needless.

use futures::stream::{FuturesOrdered, StreamExt, TryStreamExt};

use super::{IN_FLIGHT, ancestors};
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, MAX_REQUEST, MultiOp, Op, Request};

/// How many steps one batch has at most.
pub(super) const STEPS: usize = 500;

/// What a batch may take, less the headers of its request.
const BYTES: usize = MAX_REQUEST - 64;

/// Writes that go out together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    ops: Vec<MultiOp>,
    bytes: usize,
}

impl Batch {
    /// Adds `op`, or gives it back when the batch is full.
    fn push(&mut self, op: MultiOp) -> Option<MultiOp> {
        let size = op.wire_size();
        let full = self.ops.len() >= STEPS || self.bytes + size > BYTES;
        if full && !self.ops.is_empty() {
            return Some(op);
        }
        self.bytes += size;
        self.ops.push(op);
        None
    }

    fn has_room_for(&self, other: &Batch) -> bool {
        self.ops.len() + other.ops.len() <= STEPS && self.bytes + other.bytes <= BYTES
    }
}

/// Batches that do not depend on one another.
pub(super) type Wave = Vec<Batch>;

/// Packs `ops`, in which whatever has the same `depth` stands together, so that each wave needs
/// only the waves before it. Small levels share a batch: steps within one happen in order.
pub(super) fn waves(ops: impl IntoIterator<Item = (usize, MultiOp)>) -> Vec<Wave> {
    let mut levels: Vec<(usize, Wave)> = Vec::new();
    for (depth, op) in ops {
        match levels.last_mut() {
            Some((last, wave)) if *last == depth => add(wave, op),
            _ => {
                let mut wave = Vec::new();
                add(&mut wave, op);
                levels.push((depth, wave));
            }
        }
    }
    let mut waves: Vec<Wave> = Vec::new();
    for (_, mut level) in levels {
        match (waves.last_mut().map(Vec::as_mut_slice), level.as_mut_slice()) {
            (Some([last]), [only]) if last.has_room_for(only) => {
                last.bytes += only.bytes;
                last.ops.append(&mut only.ops);
            }
            _ => waves.push(level),
        }
    }
    waves
}

fn add(wave: &mut Wave, op: MultiOp) {
    let left = match wave.last_mut() {
        Some(last) => last.push(op),
        None => Some(op),
    };
    if let Some(op) = left {
        let mut batch = Batch::default();
        batch.push(op);
        wave.push(batch);
    }
}

/// A step that was not applied, and the tolerated reason.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) path: ZkPath,
    pub(super) kind: ErrorKind,
}

/// What others may have done to a node meanwhile, without harm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerated {
    /// The operation that errors name.
    pub(super) verb: &'static str,
    /// The kinds that skip a step; every other fails the whole.
    pub(super) kinds: &'static [ErrorKind],
    /// The kind of a step whose node is there already.
    pub(super) present: Option<ErrorKind>,
    /// The kind of a step whose node is gone already.
    pub(super) absent: Option<ErrorKind>,
}

/// Writes the waves one after the other, the batches of each side by side, and returns the steps
/// that were skipped.
pub(super) async fn write(
    conn: &dyn Conn,
    waves: Vec<Wave>,
    tolerated: Tolerated,
) -> Result<Vec<Skipped>, Error> {
    let mut skipped = Vec::new();
    for wave in waves {
        let writes: Vec<_> =
            wave.into_iter().map(|batch| write_batch(conn, batch.ops, tolerated)).collect();
        let mut writes = futures::stream::iter(writes).buffer_unordered(IN_FLIGHT);
        while let Some(more) = writes.try_next().await? {
            skipped.extend(more);
        }
    }
    Ok(skipped)
}

/// One batch: as a whole; failing that, without what a look shows to be needless; failing that,
/// step by step. So the cost is linear however many others are at work.
async fn write_batch(
    conn: &dyn Conn,
    ops: Vec<MultiOp>,
    tolerated: Tolerated,
) -> Result<Vec<Skipped>, Error> {
    let Err(err) = conn.multi(ops.clone()).await else { return Ok(Vec::new()) };
    if !tolerated.kinds.contains(&err.kind()) {
        return Err(blame(err, &ops, tolerated.verb));
    }
    let looks = Some(err.kind()) == tolerated.present || Some(err.kind()) == tolerated.absent;
    let (ops, mut skipped) =
        if looks { look(conn, ops, tolerated).await? } else { (ops, Vec::new()) };
    if looks {
        match conn.multi(ops.clone()).await {
            Ok(_) => return Ok(skipped),
            Err(err) if tolerated.kinds.contains(&err.kind()) => {}
            Err(err) => return Err(blame(err, &ops, tolerated.verb)),
        }
    }
    skipped.extend(one_by_one(conn, ops, tolerated).await?);
    Ok(skipped)
}

/// Takes out the steps whose node is there, or gone, already.
async fn look(
    conn: &dyn Conn,
    ops: Vec<MultiOp>,
    tolerated: Tolerated,
) -> Result<(Vec<MultiOp>, Vec<Skipped>), Error> {
    let paths: Vec<ZkPath> = ops.iter().map(|op| op.path().clone()).collect();
    let there = ancestors::exist(conn, &paths, tolerated.verb).await?;
    let (mut left, mut skipped) = (Vec::new(), Vec::new());
    for ((op, path), there) in ops.into_iter().zip(paths).zip(there) {
        match if there? { tolerated.present } else { tolerated.absent } {
            Some(kind) => skipped.push(Skipped { path, kind }),
            None => left.push(op),
        }
    }
    Ok((left, skipped))
}

/// All steps on their own, sent without waiting: a connection keeps their order.
async fn one_by_one(
    conn: &dyn Conn,
    ops: Vec<MultiOp>,
    tolerated: Tolerated,
) -> Result<Vec<Skipped>, Error> {
    let (paths, requests): (Vec<ZkPath>, Vec<Request>) =
        ops.into_iter().map(|op| (op.path().clone(), single(op))).unzip();
    let mut answers: FuturesOrdered<_> =
        requests.into_iter().map(|request| conn.call(request)).collect();
    let mut skipped = Vec::new();
    for path in paths {
        match answers.next().await {
            Some(Err(err)) if tolerated.kinds.contains(&err.kind()) => {
                skipped.push(Skipped { path, kind: err.kind() });
            }
            Some(Err(err)) => return Err(err.during(tolerated.verb)),
            Some(Ok(_)) | None => {}
        }
    }
    Ok(skipped)
}

fn single(op: MultiOp) -> Request {
    match op {
        MultiOp::Create { path, data, options } => Request::new(Op::Create { data, options }, path),
        MultiOp::Set { path, data, version } => Request::new(Op::Set { data, version }, path),
        MultiOp::Delete { path, version } => Request::new(Op::Delete { version }, path),
        // Nobody here batches checks; of what can be asked alone, a look comes nearest.
        MultiOp::Check { path, .. } => Request::new(Op::Exists(LeaveWatch::No), path),
    }
}

/// The error of a multi as that of the step that failed.
pub(super) fn blame(err: Error, ops: &[MultiOp], verb: &'static str) -> Error {
    match err.index().and_then(|index| ops.get(index)) {
        None => err.during(verb),
        Some(op) => {
            let blamed = Error::new(verb, op.path(), err.kind());
            match err.detail() {
                Some(detail) => blamed.with_detail(detail),
                None => blamed,
            }
            .with_cause(err)
        }
    }
}

/// Whether all of these go into one batch.
pub(super) fn fit<'a>(ops: impl Iterator<Item = &'a MultiOp>) -> bool {
    let (steps, bytes) = ops.fold((0, 0), |(steps, bytes), op| (steps + 1, bytes + op.wire_size()));
    steps <= STEPS && bytes <= BYTES
}
