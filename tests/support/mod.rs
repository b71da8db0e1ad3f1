//! What several test programs share.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

pub mod altered;
pub mod cases;
#[macro_use]
pub mod beds;
pub mod contest;
pub mod counted;
pub mod flawed;
pub mod fleet;
pub mod forgetful;
pub mod grants;
pub mod original;
pub mod random;
pub mod ranges;
pub mod recipes;
pub mod rig;
pub mod servers;
pub mod shared;
pub mod tapped;

use std::future::Future;
use std::time::Duration;

use zkcells::testing::proxy::{Direction, LogEntry, OpKind};
use zkcells::{Session, SessionState};

/// Fails a test that waits for something that does not come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within 20 s"),
    }
}

/// Waits until a connection has noticed that it broke.
pub async fn broken(session: &Session) {
    soon("the break", async {
        while session.state() == SessionState::Connected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether each read in a proxy's log has its answer there. The answers of earlier ones may come, too.
pub fn all_answered(log: &[LogEntry]) -> bool {
    let answers = |asked: &LogEntry, entry: &LogEntry| {
        entry.direction == Direction::ToClient
            && (entry.connection, entry.xid) == (asked.connection, asked.xid)
    };
    let mut asked = log.iter().filter(|entry| entry.is_request(OpKind::Read));
    asked.all(|asked| log.iter().any(|entry| answers(asked, entry)))
}
