//! Many reads in few requests: multi-reads whose size follows what comes back.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::queue::Queue;
use crate::conn::Pending;
use crate::error::{Error, ErrorKind};
use crate::request::{LeaveWatch, Op, Read, ReadReply, Reply, Request};

/// How many reads the first multi-read carries, and how many any may.
const FIRST: usize = 32;
const MOST: usize = 256;
/// How many multi-reads are with the server at once.
const AT_ONCE: usize = 4;
/// How many bytes of paths one multi-read carries: far below what servers refuse.
const MOST_BYTES: usize = 256 * 1024;
/// How many bytes one answer should have.
const ANSWER: usize = 512 * 1024;
/// Where nodes have more data than this, asking for existence by reading them is a waste.
const LARGE: usize = 4 * 1024;
/// How many single reads are with the server at once where multi-reads will not do.
const SINGLES: usize = 128;

/// Answers `reads` one by one, in order.
pub(super) fn read_many(queue: Queue, reads: Vec<Read>, asked: &Request) -> Pending<Reply> {
    let unanswered =
        reads.iter().map(|read| Err(Error::new(read.name(), read.path(), ErrorKind::Unexpected)));
    let mut replies: Vec<Result<ReadReply, Error>> = unanswered.collect();
    let reads = reads.into_iter().enumerate().collect();
    let mut batches = Batches {
        queue,
        asked: asked.part(Op::Session, asked.path.clone()),
        reads,
        size: FIRST,
        large: false,
        singles: Vec::new(),
    };
    // Requests leave in the order of the calls, so the first one is queued before this returns.
    let mut under_way = FuturesUnordered::new();
    under_way.extend(batches.next());
    Pending::new(async move {
        while let Some((reads, answer)) = under_way.next().await {
            match answer {
                Ok(Reply::Many(found)) => {
                    batches.learn(&found);
                    for ((index, read), reply) in reads.into_iter().zip(found) {
                        // A read of data needs a right that a look does not.
                        match &reply {
                            Err(err) if is_look(&read) && err.kind() == ErrorKind::NoAuth => {
                                batches.singles.push((index, read));
                            }
                            _ => put(&mut replies, index, reply),
                        }
                    }
                }
                // Servers before 3.6 have no multi-read.
                Err(err) if err.kind() == ErrorKind::Unsupported => batches.singles.extend(reads),
                Err(err) => {
                    for (index, read) in reads {
                        let err = err.clone().during(read.name()).at(read.path());
                        put(&mut replies, index, Err(err));
                    }
                }
                Ok(_) => {}
            }
            while under_way.len() < AT_ONCE
                && let Some(batch) = batches.next()
            {
                under_way.push(batch);
            }
        }
        let singles = std::mem::take(&mut batches.singles);
        let found = futures::stream::iter(singles)
            .map(|(index, read)| {
                let one = batches.single(&read);
                async move { (index, one.await.and_then(|reply| narrow(&read, reply))) }
            })
            .buffer_unordered(SINGLES);
        futures::pin_mut!(found);
        while let Some((index, reply)) = found.next().await {
            put(&mut replies, index, reply);
        }
        Ok(Reply::Many(replies))
    })
}

fn put(replies: &mut [Result<ReadReply, Error>], index: usize, reply: Result<ReadReply, Error>) {
    if let Some(place) = replies.get_mut(index) {
        *place = reply;
    }
}

fn is_look(read: &Read) -> bool {
    matches!(read, Read::Exists(_))
}

struct Batches {
    queue: Queue,
    /// On whose behalf (its operation does not matter).
    asked: Request,
    /// What has not been asked yet, each with its place in the answer.
    reads: VecDeque<(usize, Read)>,
    size: usize,
    /// Whether nodes have so much data that looks are made one by one.
    large: bool,
    /// What multi-reads will not answer.
    singles: Vec<(usize, Read)>,
}

type Batch = BoxFuture<'static, (Vec<(usize, Read)>, Result<Reply, Error>)>;

impl Batches {
    /// Queues the next multi-read.
    fn next(&mut self) -> Option<Batch> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < self.size
            && let Some((index, read)) = self.reads.pop_front()
        {
            if self.large && is_look(&read) {
                self.singles.push((index, read));
                continue;
            }
            bytes += read.path().as_str().len() + 32;
            batch.push((index, read));
            if bytes > MOST_BYTES {
                break;
            }
        }
        let path = batch.first()?.1.path().clone();
        let reads = batch.iter().map(|(_, read)| read.clone()).collect();
        let answer = self.queue.push(self.asked.part(Op::ReadMany(reads), path));
        Some(async move { (batch, answer.await) }.boxed())
    }

    /// Lets the next multi-reads grow or shrink to what an answer should have.
    fn learn(&mut self, found: &[Result<ReadReply, Error>]) {
        let bytes: usize = found.iter().map(|reply| reply.as_ref().map_or(0, size)).sum();
        let each = bytes / found.len().max(1) + 1;
        self.large = each > LARGE;
        self.size = (ANSWER / each).clamp(1, MOST).min(self.size * 2);
    }

    fn single(&self, read: &Read) -> Pending<Reply> {
        let op = match read {
            Read::Get(_) => Op::Get(LeaveWatch::No),
            Read::Children(_) => Op::Children(LeaveWatch::No),
            Read::Exists(_) => Op::Exists(LeaveWatch::No),
        };
        self.queue.push(self.asked.part(op, read.path().clone()))
    }
}

fn size(reply: &ReadReply) -> usize {
    match reply {
        ReadReply::Node(node) => node.data.len(),
        ReadReply::Children(names) => names.iter().map(|name| name.len() + 4).sum(),
        // The data was read and thrown away.
        ReadReply::Exists(stat) => stat.map_or(0, |stat| stat.data_length.unsigned_abs() as usize),
    }
}

fn narrow(read: &Read, reply: Reply) -> Result<ReadReply, Error> {
    match reply {
        Reply::Node(node, _) => Ok(ReadReply::Node(node)),
        Reply::Children(children, _) => Ok(ReadReply::Children(children.names)),
        Reply::Exists(stat, _) => Ok(ReadReply::Exists(stat)),
        _ => Err(Error::new(read.name(), read.path(), ErrorKind::Unexpected)),
    }
}
