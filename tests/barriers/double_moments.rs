//! Double barriers whose parties meet at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use zkcells::recipes::{DoubleBarrier, Inside};
use zkcells::{Conn, ErrorKind, MemoryQuorum, Op};

use crate::support::altered::{Altered, Back};
use crate::support::beds::until_children;
use crate::support::soon;
use crate::{connect, end, spawned};

const MINUTE: Duration = Duration::from_secs(60);

type Entering = tokio::task::JoinHandle<Result<Inside, zkcells::Error>>;

fn entering(conn: Arc<dyn Conn>, id: &str, parties: usize) -> Entering {
    let party = DoubleBarrier::new(conn, "/step", id, parties);
    spawned(async move { party.enter().await })
}

async fn all_exit<const N: usize>(inside: [Inside; N]) {
    let out = futures::future::join_all(inside.map(|one| one.exit()));
    soon("the way out", out).await.into_iter().for_each(|out| out.unwrap());
}

/// Who was there first takes three. The next one takes four, and has not been told yet when the third
/// comes, who takes four as well.
#[tokio::test]
async fn whoever_agrees_with_one_who_is_wrong_is_told_too() {
    let quorum = MemoryQuorum::new();
    let conn = || connect(&quorum, MINUTE);
    let other = conn();
    let first = entering(conn(), "b", 3);
    until_children(&*other, "/step", |names| names.len() == 1).await;
    let (slow, list) =
        Altered::keeping(conn(), Back::Request, |request| matches!(request.op, Op::Children(_)));
    let second = entering(slow, "a", 4);
    list.reached("the look of the second").await;
    let third = entering(conn(), "c", 4);
    assert_eq!(end("the third", third).await.unwrap_err(), ErrorKind::Disagreement);
    list.go();
    assert_eq!(end("the second", second).await.unwrap_err(), ErrorKind::Disagreement);
    // The first is right, and others may come.
    let (d, e) = (entering(conn(), "d", 3), entering(conn(), "e", 3));
    let mut inside = Vec::new();
    for one in [first, d, e] {
        inside.push(end("those who agree", one).await.unwrap());
    }
    all_exit::<3>(inside.try_into().unwrap()).await;
}
