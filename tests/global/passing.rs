//! Containers, nodes with a time to live, and directories of recipes: the first ends what ends by itself, and
//! no mirror is left apart.

use zkcells::recipes::{DoubleBarrier, Lock};

use super::*;

/// Lets quorums end what ends by itself.
fn minutes_pass(quorums: &[MemoryQuorum]) {
    quorums.iter().for_each(|quorum| quorum.advance(Duration::from_secs(300)));
}

async fn until_nowhere(set: &Set, path: &str) {
    soon(path, async {
        while set.data(path).await != [None, None, None] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_recipes_leave_is_the_same_on_all_quorums() {
    let set = Set::new(GlobalOptions::default().with_reads(Reads::Compare)).await;
    let lock = Lock::new(set.conn.clone(), "/lock");
    soon("the lock", lock.acquire()).await.unwrap().release().await;
    let barrier = DoubleBarrier::new(set.conn.clone(), "/barrier", "me", 1);
    let inside = soon("the barrier", barrier.enter()).await.unwrap();
    soon("the way out", inside.exit()).await.unwrap();
    minutes_pass(&set.quorums);
    assert_eq!(set.diff().await, []);
    for path in ["/lock", "/barrier"] {
        set.conn.exists(path).await.unwrap();
    }
    soon("the lock", lock.acquire()).await.unwrap().release().await;
}

#[tokio::test]
async fn a_lock_that_nobody_held_for_long_is_taken_while_mirrors_are_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let lock = Lock::new(set.conn.clone(), "/lock");
    soon("the lock", lock.acquire()).await.unwrap().release().await;
    minutes_pass(&set.quorums);
    let late = set.another();
    for client in [&set, &late] {
        (1..3).for_each(|mirror| client.lines[mirror].lose_connection());
        let lock = Lock::new(Arc::new(briefly(&client.conn)), "/lock");
        soon("the lock", lock.acquire()).await.unwrap().release().await;
    }
}

#[tokio::test]
async fn a_lock_whose_directory_mirrors_lack_is_taken_all_the_same() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/warm", "", Mode::Persistent).await.unwrap();
    set.lines[1].lose_connection();
    let lock = Lock::new(Arc::new(briefly(&set.conn)), "/locks/a");
    soon("the lock", lock.acquire()).await.unwrap().release().await;
    set.lines[1].join();
    soon("the mirror", set.conn.settled()).await;
    assert_eq!(set.diff().await, []);
}

#[tokio::test]
async fn a_container_lives_on_mirrors_as_long_as_on_the_first() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/dir", "d", Mode::Container).await.unwrap();
    set.conn.create("/dir/p", "", Mode::Persistent).await.unwrap();
    set.conn.create("/dir/e", "", Mode::Ephemeral).await.unwrap();
    set.conn.delete("/dir/p", Version::Any).await.unwrap();
    minutes_pass(&set.quorums);
    set.everywhere("/dir", "d").await;
    assert_eq!(set.diff().await, []);
    // What held nothing on mirrors ends there, too.
    set.conn.delete("/dir/e", Version::Any).await.unwrap();
    minutes_pass(&set.quorums);
    until_nowhere(&set, "/dir").await;
    assert_eq!(set.conn.owed(), 0);
}

#[tokio::test]
async fn a_node_whose_time_is_over_ends_on_mirrors_even_if_one_was_away() {
    let set = Set::new(GlobalOptions::default()).await;
    let ttl = Duration::from_secs(60);
    set.conn.create("/t", "1", Mode::Ttl(ttl)).await.unwrap();
    let (numbered, _) = set.conn.create("/n-", "1", Mode::TtlSequential(ttl)).await.unwrap();
    let both = Multi::new()
        .create("/c", "", Mode::Container)
        .create("/c/e", "", Mode::Ephemeral)
        .delete("/t", Version::Any)
        .create("/t", "2", Mode::Ttl(ttl));
    set.conn.multi(both).await.unwrap();
    set.everywhere("/t", "2").await;
    set.lines[2].lose_connection();
    set.conn.delete("/c/e", Version::Any).await.unwrap();
    minutes_pass(&set.quorums);
    set.lines[2].join();
    for path in ["/t", numbered.as_str(), "/c"] {
        until_nowhere(&set, path).await;
    }
    assert_eq!(set.diff().await, []);
}
