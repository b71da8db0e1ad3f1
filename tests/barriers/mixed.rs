//! Barriers at which clients of another library and of this crate meet.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::Value;
use tokio::task::JoinHandle;
use zkcells::recipes::{Barrier, DoubleBarrier, Inside};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{ConnExt as _, Error, ErrorKind, Mode, ZkConn};

use crate::support::fleet::{Side, install};
use crate::support::rig::{connect, soon, turn};

const LONG: std::time::Duration = std::time::Duration::from_secs(30);
/// How many rounds they meet for, each with another one who comes last.
const ROUNDS: usize = 8;

async fn started(library: &str) -> (String, Arc<ZkConn>, Vec<Side>) {
    let line = install(library);
    let servers = LocalCells::up().unwrap().addrs("nyc").unwrap();
    let conn = connect(&servers, LONG).await;
    let root = format!("/{}", fresh_root());
    conn.create(&root, "", Mode::Persistent).await.unwrap();
    (root, conn, vec![Side::start(&line, &servers), Side::start(&line, &servers)])
}

async fn asked(side: &mut Side, command: &str) -> Value {
    side.tell(command).await;
    side.hear().await
}

/// Either closes a barrier, the other waits at it, and either opens it.
pub(crate) async fn mixed_gate(library: &str) {
    let (root, conn, mut sides) = started(library).await;
    let path = format!("{root}/gate");
    let ours = Barrier::new(conn.clone(), &path);
    for we_set in [true, false] {
        for we_unset in [true, false] {
            if we_set {
                ours.set().await.unwrap();
            } else {
                asked(&mut sides[0], &format!("set {path}")).await;
                assert_eq!(ours.set().await.unwrap_err().kind(), ErrorKind::NodeExists);
            }
            let waiting = tokio::spawn({
                let ours = ours.clone();
                async move { ours.wait().await }
            });
            sides[1].tell(&format!("wait {path}")).await;
            conn.sync(&path).await.unwrap();
            let mut hearing = Box::pin(sides[1].hear());
            assert!((&mut hearing).now_or_never().is_none() && !waiting.is_finished());
            drop(hearing);
            if we_unset {
                ours.unset().await.unwrap();
            } else {
                asked(&mut sides[0], &format!("unset {path}")).await;
            }
            soon("the opening", waiting).await.unwrap().unwrap();
            assert_eq!(sides[1].hear().await["did"], "wait");
        }
    }
}

type Entering = JoinHandle<Result<Inside, Error>>;

/// Two parties of another library and two of this crate, in one round after the other on one path.
pub(crate) async fn mixed_rounds(library: &str) {
    let (root, conn, mut sides) = started(library).await;
    let path = format!("{root}/step");
    let meet = format!("meet {path} 4");
    for round in 0..ROUNDS {
        // By name before those of the others, and behind them.
        let mut ours: Vec<Entering> = Vec::new();
        let enter = |id: &str| {
            let party = DoubleBarrier::new(conn.clone(), &path, id, 4);
            tokio::spawn(async move { party.enter().await })
        };
        let late = round % 2 == 0;
        ours.push(enter("a"));
        sides[0].tell(&meet).await;
        if late {
            sides[1].tell(&meet).await;
        } else {
            ours.push(enter("z"));
        }
        let three = async {
            loop {
                conn.sync(&path).await.unwrap();
                match conn.children(&path).await {
                    Ok(there) if there.names.len() == 3 => break,
                    Ok(_) => {}
                    Err(err) => assert_eq!(err.kind(), ErrorKind::NoNode, "{err}"),
                }
                turn().await;
            }
        };
        tokio::time::timeout(LONG, three).await.expect("three of four");
        assert!(sides[0].hear().now_or_never().is_none(), "in before all are");
        assert!(ours.iter().all(|one| !one.is_finished()), "in before all are");
        if late {
            ours.push(enter("z"));
        } else {
            sides[1].tell(&meet).await;
        }
        let mut inside = Vec::new();
        for one in ours {
            inside.push(soon("the way in", one).await.unwrap().unwrap());
        }
        for side in &mut sides {
            assert_eq!(side.hear().await["event"], "entered");
        }
        // One of either stays for a while, and keeps all others.
        let stays = inside.remove(round / 2 % 2);
        let out = tokio::spawn(inside.remove(0).exit());
        for side in &mut sides {
            side.tell("go").await;
        }
        conn.sync(&path).await.unwrap();
        assert!(!out.is_finished(), "out before all are");
        assert!(sides[0].hear().now_or_never().is_none(), "out before all are");
        soon("the way out", stays.exit()).await.unwrap();
        soon("the way out", out).await.unwrap().unwrap();
        for side in &mut sides {
            assert_eq!(side.hear().await["did"], "meet");
        }
        let left = match conn.children(&path).await {
            Ok(left) => left.names,
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::NoNode, "{err}");
                Vec::new()
            }
        };
        assert!(left.is_empty() || left == ["ready"], "{left:?}");
    }
    println!("{library}: {ROUNDS} rounds of two and two");
}
