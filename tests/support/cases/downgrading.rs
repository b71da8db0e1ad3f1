//! Faults that meet a writer who goes on as a reader.

use tokio::task::JoinHandle;
use tokio::time::timeout;
use zkcells::recipes::{Guard, LockMode, Released, RwLock, Token, WriteGuard};
use zkcells::testing::proxy::{Direction, OpKind};
use zkcells::{ConnExt as _, Error, ErrorKind, Perms, Version, ZkPath};

use super::Met;
use super::operators::restrict;
use crate::support::recipes::boxed;
use crate::support::rig::{Contender, GRACE, Rig, TIMEOUT, gets_in, soon, turn};

type Reading = JoinHandle<Result<Guard, Error>>;

/// A writer behind the proxy that is about to step down, and those who wait behind it.
struct Line {
    writes: WriteGuard,
    behind: Behind,
}

/// A reader that comes in then, and a writer that does not.
struct Behind {
    id: i64,
    token: Token,
    writer_node: ZkPath,
    reader: Reading,
    writer: Contender,
}

impl Line {
    async fn of(rig: &Rig) -> Line {
        let lock = RwLock::new(rig.faulty.clone(), &rig.path);
        let writes = soon("the grant", lock.write()).await.unwrap();
        let (id, token) = (rig.session().await.id(), writes.token().clone());
        let writer_node = writes.path().clone();
        let lock = RwLock::new(rig.well.clone(), &rig.path);
        let reader = tokio::spawn(async move { lock.read().await });
        let well = rig.well.session("/").await.unwrap().id();
        let there = async {
            while rig.nodes_of(well).await.is_empty() {
                turn().await;
            }
        };
        soon("the reader behind it", there).await;
        let writer = rig.contend(&rig.third).await;
        Line { writes, behind: Behind { id, token, writer_node, reader, writer } }
    }

    fn step_down(self) -> (Reading, Behind) {
        (tokio::spawn(self.writes.downgrade()), self.behind)
    }
}

impl Behind {
    /// The end of a case in which it reads: in its place, with its token, and with the reader behind it.
    async fn goes_on(self, rig: &Rig, reads: Reading) {
        let reads = soon("the downgrade", reads).await.unwrap().unwrap();
        assert!(reads.is_valid());
        let token = reads.token();
        assert_eq!((token.zxid(), token.mode()), (self.token.zxid(), LockMode::Shared));
        assert_eq!(rig.nodes_of(self.id).await, [reads.path().clone()], "one node of its own");
        let other = soon("the reader behind it", self.reader).await.unwrap().unwrap();
        assert!(other.is_valid() && reads.is_valid());
        assert_eq!(other.release().await, Released::Released);
        assert!(!self.writer.is_finished(), "a writer is beside a reader");
        rig.passes_on(boxed(reads), self.writer).await;
    }

    /// The end of a case in which it holds nothing any more: it is told why, and keeps nobody out.
    async fn fails(self, rig: &Rig, reads: Reading, why: ErrorKind) {
        let err = soon("word of it", reads).await.unwrap().unwrap_err();
        assert_eq!((err.kind(), err.op()), (why, "downgrade"), "{err}");
        assert!(err.to_string().contains(&rig.path), "{err}");
        self.lets_in(rig).await;
    }

    /// Those behind it come in, one after the other, and nothing is left of it.
    async fn lets_in(self, rig: &Rig) {
        let within = TIMEOUT + GRACE;
        let reads = timeout(within, self.reader).await.expect("the reader is kept out");
        let reads = reads.unwrap().unwrap();
        assert!(reads.is_valid() && !self.writer.is_finished());
        assert_eq!(reads.release().await, Released::Released);
        gets_in(self.writer, within).await;
        rig.nothing_left_of(self.id, within).await;
    }
}

/// The exchange of its nodes fails.
pub async fn exchanging(rig: Rig, (meet, bites): Met) {
    let rig = rig.patient().await;
    let line = Line::of(&rig).await;
    meet(&rig.proxy, OpKind::Multi.below(rig.dir()));
    let (reads, behind) = line.step_down();
    rig.bitten(|b| bites(b) == 1).await;
    behind.goes_on(&rig, reads).await;
}

/// The same, and then the look at what came of it.
pub async fn exchanging_and_looking(rig: Rig, (meet, bites): Met) {
    let rig = rig.patient().await;
    let line = Line::of(&rig).await;
    rig.proxy.refuse();
    meet(&rig.proxy, OpKind::Multi.below(rig.dir()));
    let (reads, behind) = line.step_down();
    rig.bitten(|b| bites(b) == 1 && b.refused > 0).await;
    meet(&rig.proxy, OpKind::Read.below(rig.dir()));
    rig.proxy.join();
    rig.bitten(|b| bites(b) == 2).await;
    behind.goes_on(&rig, reads).await;
}

/// The connection is gone for a moment behind the exchange, and somebody deletes what is there of it.
pub async fn exchanged_and_deleted(rig: Rig, (meet, bites): Met) {
    let rig = rig.patient().await;
    let line = Line::of(&rig).await;
    rig.proxy.refuse();
    meet(&rig.proxy, OpKind::Multi.below(rig.dir()));
    let (reads, behind) = line.step_down();
    rig.bitten(|b| bites(b) == 1 && b.refused > 0).await;
    let own = rig.nodes_of(behind.id).await;
    assert_eq!(own.len(), 1);
    rig.third.delete(&own[0], Version::Any).await.unwrap();
    rig.proxy.join();
    behind.fails(&rig, reads, ErrorKind::Revoked).await;
}

/// Nobody waits for it any more before it knows what came of it.
pub async fn exchanged_and_dropped(rig: Rig, (meet, bites): Met) {
    let rig = rig.patient().await;
    let line = Line::of(&rig).await;
    rig.proxy.refuse();
    meet(&rig.proxy, OpKind::Multi.below(rig.dir()));
    let (reads, behind) = line.step_down();
    rig.bitten(|b| bites(b) == 1 && b.refused > 0).await;
    reads.abort();
    rig.proxy.join();
    behind.lets_in(&rig).await;
}

/// Its session ends between the exchange and the word of it.
pub async fn session_over(rig: Rig) {
    let line = Line::of(&rig).await;
    rig.proxy.black_hole(Direction::ToClient);
    let (reads, behind) = line.step_down();
    let exchanged = async {
        while rig.nodes_of(behind.id).await == [behind.writer_node.clone()] {
            turn().await;
        }
    };
    soon("the exchange", exchanged).await;
    assert_eq!(rig.proxy.end_sessions().await.unwrap(), 1);
    assert!(!reads.is_finished());
    rig.proxy.cut();
    rig.proxy.heal();
    behind.fails(&rig, reads, ErrorKind::SessionExpired).await;
}

/// It is told that its session is over, as it asks again for what was lost.
pub async fn session_said_to_be_over(rig: Rig) {
    let line = Line::of(&rig).await;
    rig.proxy.refuse();
    rig.proxy.swallow_reply(OpKind::Multi.below(rig.dir()));
    let (reads, behind) = line.step_down();
    rig.bitten(|bites| bites.swallowed == 1 && bites.refused > 0).await;
    rig.proxy.tell_expired();
    rig.proxy.join();
    rig.bitten(|bites| bites.told_expired == 1).await;
    behind.fails(&rig, reads, ErrorKind::SessionExpired).await;
}

/// No server is in reach until its session is over.
pub async fn partitioned(rig: Rig) {
    let line = Line::of(&rig).await;
    rig.proxy.black_hole(Direction::Both);
    let (reads, behind) = line.step_down();
    rig.nothing_left_of(behind.id, TIMEOUT + GRACE).await;
    assert!(rig.proxy.bites().held > 0, "the fault did not bite");
    assert!(!reads.is_finished(), "it tells what it does not know");
    rig.proxy.cut();
    rig.proxy.heal();
    behind.fails(&rig, reads, ErrorKind::SessionExpired).await;
}

/// It may not make a reader's node: then it holds nothing any more.
pub async fn denied(rig: Rig) {
    let line = Line::of(&rig).await;
    restrict(&rig, Perms::READ | Perms::WRITE | Perms::DELETE | Perms::ADMIN).await;
    let (reads, behind) = line.step_down();
    behind.fails(&rig, reads, ErrorKind::NoAuth).await;
    restrict(&rig, Perms::ALL).await;
}
