use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;

use super::*;
use crate::conn::{ConnExt as _, MemoryConn, MemoryQuorum};
use crate::node::Version;

fn election(quorum: &MemoryQuorum) -> (Arc<MemoryConn>, Election) {
    let conn = Arc::new(quorum.connect());
    (conn.clone(), Election::new(conn, "/app/election"))
}

#[tokio::test]
async fn leaders_follow_one_another_and_are_seen() {
    let quorum = MemoryQuorum::new();
    let (_, watcher) = election(&quorum);
    let mut seen = pin!(watcher.observe());
    assert_eq!(seen.next().await.unwrap().unwrap(), None);
    let mut last = None;
    for _ in 0..3 {
        let (_, election) = election(&quorum);
        let leader = election.campaign().await.unwrap();
        let told = seen.next().await.unwrap().unwrap().unwrap();
        assert_eq!((&told.token, &told.candidate), (leader.token(), leader.path()));
        assert!(last.is_none_or(|last| last < told.token));
        last = Some(told.token);
        leader.resign().await;
        assert_eq!(seen.next().await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn what_a_leader_left_behind_leads_nobody() {
    let quorum = MemoryQuorum::new();
    let (_, first) = election(&quorum);
    let leader = first.campaign().await.unwrap();
    quorum.expire(leader.session().id());
    assert!(quorum.connect().exists("/app/election/leader").await.unwrap().is_some());
    let (_, other) = election(&quorum);
    assert_eq!(other.leader().await.unwrap(), None);
}

#[tokio::test]
async fn a_leader_of_vitess_is_seen_too() {
    let quorum = MemoryQuorum::new();
    let (conn, election) = election(&quorum);
    let contents = r#"{"hostname": "web-7", "pid": 4711}"#;
    let options = Mode::EphemeralSequential;
    let candidate = "/app/election/candidates/lock-";
    let (path, _) = crate::tree::create_all(&conn, candidate, contents, options).await.unwrap();
    assert_eq!(election.leader().await.unwrap(), None, "it has not said so yet");
    conn.create("/app/election/leader", contents, Mode::Persistent).await.unwrap();
    let leader = election.leader().await.unwrap().unwrap();
    assert_eq!((leader.owner.hostname.as_str(), leader.owner.pid), ("web-7", 4711));
    assert_eq!(leader.candidate, path);
    conn.delete(&path, Version::Any).await.unwrap();
    assert_eq!(election.leader().await.unwrap(), None);
}

#[tokio::test]
async fn two_electors_of_one_process_are_two() {
    let quorum = MemoryQuorum::new();
    let (_, election) = election(&quorum);
    let leader = election.campaign().await.unwrap();
    let err = election.campaign_within(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Timeout);
    leader.resign().await;
    assert!(election.campaign().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_task_is_told_of_a_loss_and_waited_for() {
    let quorum = MemoryQuorum::new();
    let (_conn, election) = election(&quorum);
    let (starts, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (starts, running, quorum) = (&starts, &running, &quorum);
    let tokens = std::cell::RefCell::new(Vec::new());
    let answer = election.run(std::future::pending(), |leadership| {
        tokens.borrow_mut().push(leadership.token().clone());
        async move {
            let start = starts.fetch_add(1, Ordering::SeqCst);
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            let session = leadership.session().id();
            let next = match start {
                // Lost with the session, and then by an operator.
                0 => {
                    quorum.expire(session);
                    leadership.stopped().await;
                    assert!(!leadership.is_valid());
                    ControlFlow::Continue(())
                }
                1 => {
                    let other = quorum.connect();
                    let candidates = "/app/election/candidates";
                    let names = other.children(candidates).await.unwrap().names;
                    for name in names {
                        other.delete(format!("{candidates}/{name}"), Version::Any).await.unwrap();
                    }
                    leadership.stopped().await;
                    assert_eq!(leadership.lost().await, crate::hold::Loss::Deleted);
                    // It takes its time: nobody else is started here meanwhile.
                    tokio::task::yield_now().await;
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            };
            running.fetch_sub(1, Ordering::SeqCst);
            next
        }
    });
    answer.await.unwrap();
    assert_eq!(starts.load(Ordering::SeqCst), 3);
    assert!(tokens.borrow().is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn an_interrupted_run_ends_behind_its_task() {
    let quorum = MemoryQuorum::new();
    let (conn, election) = election(&quorum);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut stop = Some(stop);
    let ended = &AtomicUsize::new(0);
    let run = election.run::<(), _>(async { drop(stopped.await) }, |leadership| {
        // Interrupted while it leads.
        drop(stop.take());
        async move {
            leadership.stopped().await;
            assert!(leadership.is_valid(), "an interrupt is no loss");
            ended.fetch_add(1, Ordering::SeqCst);
            ControlFlow::Continue(())
        }
    });
    let err = run.await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Cancelled);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert!(conn.children("/app/election/candidates").await.unwrap().names.is_empty());
}

#[tokio::test]
async fn a_clone_of_a_leadership_ends_before_the_candidate_goes() {
    let quorum = MemoryQuorum::new();
    let (conn, first) = election(&quorum);
    let kept = std::sync::Mutex::new(None);
    let run = first.run(std::future::pending::<()>(), |leadership| {
        kept.lock().unwrap().replace(leadership);
        // The candidate goes, and nobody here is told.
        conn.refuse();
        conn.swallow_reply(crate::fault::OpKind::Delete);
        std::future::ready(ControlFlow::Break(()))
    });
    let (_, second) = election(&quorum);
    let other = async {
        let next = second.campaign().await.unwrap();
        let old = kept.lock().unwrap().take().unwrap();
        assert!(next.is_valid());
        assert!(!old.is_valid() && old.valid_until().is_past(), "two leaders");
        old.lost().await;
        conn.join();
    };
    let (ended, ()) = tokio::join!(run, other);
    ended.unwrap();
    assert_eq!(conn.bites().swallowed, 1);
}

#[tokio::test]
async fn a_leadership_is_a_guard() {
    let (_, election) = election(&MemoryQuorum::new());
    let leader = election.campaign().await.unwrap();
    let done = crate::recipes::with(leader.into(), async { 7 }).await.unwrap();
    assert_eq!(done, 7);
    assert_eq!(election.leader().await.unwrap(), None);
}
