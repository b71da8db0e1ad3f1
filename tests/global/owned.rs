//! What a mirror has of its own: ephemeral nodes of sessions there, and lists that shut us out.

use support::tapped::TappedSet;

use super::*;

#[tokio::test]
async fn an_ephemeral_node_of_a_mirror_does_not_pass_for_the_node_itself() {
    let set = Set::new(GlobalOptions::default()).await;
    // Of those who took this quorum for the first, say.
    let stranger = set.quorums[1].connect();
    stranger.create("/x", "d", Mode::Ephemeral).await.unwrap();
    stranger.create("/y", "d", Mode::Ephemeral).await.unwrap();
    set.conn.create("/x", "d", Mode::Persistent).await.unwrap();
    // Also where it has come since.
    set.conn.create("/z", "d", Mode::Persistent).await.unwrap();
    stranger.delete("/z", Version::Any).await.unwrap();
    stranger.create("/z", "d", Mode::Ephemeral).await.unwrap();
    set.conn.set("/z", "e", Version::Any).await.unwrap();
    stranger.close().await.unwrap();
    set.everywhere("/x", "d").await;
    set.everywhere("/z", "e").await;
}

#[tokio::test]
async fn an_ephemeral_node_of_a_mirror_is_told_and_repaired() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/x", "d", Mode::Persistent).await.unwrap();
    let stranger = set.quorums[1].connect();
    stranger.delete("/x", Version::Any).await.unwrap();
    stranger.create("/x", "d", Mode::Ephemeral).await.unwrap();
    assert_eq!(set.diff().await, [("/x".to_string(), 2, Kind::Missing)]);
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    assert_eq!(repair.next().await.unwrap().unwrap().kind, Kind::Missing);
    assert!(repair.next().await.is_none());
    stranger.close().await.unwrap();
    assert_eq!(set.diff().await, []);
    set.everywhere("/x", "d").await;
}

#[tokio::test]
async fn a_child_comes_below_what_was_ephemeral_on_a_mirror() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/x", "d", Mode::Persistent).await.unwrap();
    let stranger = set.quorums[1].connect();
    stranger.delete("/x", Version::Any).await.unwrap();
    stranger.create("/x", "d", Mode::Ephemeral).await.unwrap();
    set.conn.create("/x/c", "1", Mode::Persistent).await.unwrap();
    stranger.close().await.unwrap();
    set.everywhere("/x/c", "1").await;
}

#[tokio::test]
async fn no_list_is_opened_on_a_mirror_that_is_another_by_now() {
    let set = Set::new(GlobalOptions::default()).await;
    let closed = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let mirror = set.quorums[1].connect();
    mirror.set_acl("/a", closed.clone(), Version::Any).await.unwrap();
    let (slow, held) = races::slow_client(&set);
    slow.create("/warm", "", Mode::Persistent).await.unwrap();
    // The list there refuses this one. The next that comes would open it.
    let (came, go) = held.keep_back();
    let late = slow.set("/a", "2", Version::Any);
    soon("the first try", came.notified()).await;
    let (came, go_again) = held.keep_back();
    go.notify_one();
    soon("the second try", came.notified()).await;
    assert_eq!(mirror.acl("/a").await.unwrap().0, closed);
    // The other mirror has it by now.
    let word = Promotion::default().though_behind();
    set.conn.promote_with(2, &word).await.unwrap();
    go_again.notify_one();
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::NotMirrored);
    assert_eq!(mirror.acl("/a").await.unwrap().0, closed);
    assert_eq!(mirror.get("/a").await.unwrap().data, "1");
}

#[tokio::test]
async fn many_ephemeral_nodes_end_in_one_multi_while_mirrors_are_away() {
    let set = TappedSet::new(Duration::from_secs(10)).await;
    let paths: Vec<String> = (0..40).map(|n| format!("/e-{n:02}")).collect();
    for path in &paths {
        set.conn.create(path, "", Mode::Ephemeral).await.unwrap();
    }
    // As servers have it: what one answer does not hold is asked for when that is there.
    let line = set.taps[0].line.clone();
    set.taps[0].hook(move |request| {
        let Op::ReadMany(reads) = &request.op else { return None };
        let (now, later) = reads.split_at_checked(32)?;
        let part = |reads: &[zkcells::Read]| {
            let mut part = request.clone();
            part.op = Op::ReadMany(reads.to_vec());
            part
        };
        let (now, later, line) = (line.call(part(now)), part(later), line.clone());
        Some(Pending::new(async move {
            let (Reply::Many(mut found), Reply::Many(rest)) = (now.await?, line.call(later).await?)
            else {
                panic!("many answers");
            };
            found.extend(rest);
            Ok(Reply::Many(found))
        }))
    });
    (1..3).for_each(|mirror| set.taps[mirror].line.lose_connection());
    let all = paths.iter().fold(Multi::new(), |all, path| all.delete(path, Version::Any));
    soon("their end", briefly(&set.conn).multi(all)).await.unwrap();
    assert_eq!(set.conn.owed(), 0);
}
