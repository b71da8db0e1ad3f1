//! Many writes on their way at once, on few nodes: no mirror is left apart, and nobody repairs.

use std::future::Future;

use futures::future::{join, join_all};
use support::random::{random, rounds};

use super::*;

#[tokio::test]
async fn a_delete_right_behind_its_create_leaves_nothing_on_a_mirror() {
    let set = Set::new(GlobalOptions::default()).await;
    for _ in 0..10 {
        // Both wait for the first answer of the quorums, and leave together.
        let client = set.another();
        let create = client.conn.create("/a", "", Mode::Persistent);
        let delete = client.conn.delete("/a", Version::Any);
        create.await.unwrap();
        delete.await.unwrap();
        set.nowhere("/a").await;
    }
}

#[tokio::test]
async fn a_list_right_behind_another_is_the_one_that_mirrors_have() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "", Mode::Persistent).await.unwrap();
    let other = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    for delay in 0..8 {
        for line in &set.lines[1..] {
            line.delay(Duration::from_millis(delay));
        }
        let one = set.conn.set_acl("/a", other.clone(), Version::Any);
        let two = set.conn.set_acl("/a", Acl::open(), Version::Any);
        let (one, two) = with_clocks(&set, join(one, two)).await;
        one.and(two).unwrap();
        set.lines.iter().for_each(|line| line.delay(Duration::ZERO));
        assert_eq!(set.diff().await, [], "{delay}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_meet_the_end_of_the_session_come_in_their_order() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/q", "", Mode::Persistent).await.unwrap();
    let mut next = 0;
    for round in 0..20 {
        let session = set.conn.session("/").await.unwrap();
        assert!(set.quorums[0].expire(session.id()));
        let create = |_| set.conn.create("/q/n-", "", Mode::PersistentSequential);
        let creates: Vec<_> = (0..round % 5 + 2).map(create).collect();
        for created in join_all(creates).await {
            let (path, _) = created.unwrap();
            assert_eq!(path.as_str(), format!("/q/n-{next:010}"));
            next += 1;
        }
    }
    assert_eq!(set.diff().await, []);
}

/// Does `work` while the clocks of the quorums go on, as answers that come late need it.
async fn with_clocks<T>(set: &Set, work: impl Future<Output = T>) -> T {
    let clocks = async {
        loop {
            set.quorums.iter().for_each(|quorum| quorum.advance(Duration::from_micros(200)));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = work => done,
        never = clocks => never,
    }
}

/// Some write on one of few nodes.
fn write(conn: &GlobalConn, random: &mut fastrand::Rng) -> Pending<()> {
    let paths = ["/a", "/b", "/a/c"];
    let path = paths[random.usize(..paths.len())];
    // The same again and again: then there seems to be nothing to do.
    let data = random.u32(..2).to_string();
    let list = match random.bool() {
        true => Acl::open(),
        false => vec![Acl::world(Perms::ALL), Acl::digest(Perms::READ, "bob", "x")],
    };
    let options = CreateOptions::from(Mode::Persistent).with_acl(list.clone());
    match random.u32(..12) {
        0..4 => conn.create(path, data, options).and_then(|_| Ok(())),
        4..7 => conn.delete(path, Version::Any),
        7..9 => conn.set(path, data, Version::Any).and_then(|_| Ok(())),
        9 => conn.set_acl(path, list, Version::Any).and_then(|_| Ok(())),
        10 => {
            let multi = Multi::new().create(path, data, options).delete(path, Version::Any);
            conn.multi(multi).and_then(|_| Ok(()))
        }
        _ => {
            let multi = Multi::new().delete(path, Version::Any).create(path, data, options);
            conn.multi(multi).and_then(|_| Ok(()))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_writes_that_nobody_awaits_leave_no_mirror_apart() {
    let mut random = random("pipelines");
    let mut done = 0;
    for round in 0..rounds(60, 2000) {
        let require = [Require::All, Require::AtLeast(1)][round % 2];
        let set = Set::new(GlobalOptions::default().with_require(require)).await;
        // Two connections, and some callers on each of them.
        let clients = [set.another(), set.another()];
        let callers = (0..4).map(|caller| {
            let mut random = random.fork();
            let client = &clients[caller % (1 + round % 3 / 2)];
            async move {
                let mut done = 0;
                for _ in 0..5 {
                    let line = &client.lines[random.usize(..3)];
                    line.delay(Duration::from_micros(random.u64(..3000)));
                    if random.u32(..20) == 0 {
                        client.lines[1 + random.usize(..2)].cut();
                    }
                    let calls: Vec<_> =
                        (0..random.usize(1..8)).map(|_| write(&client.conn, &mut random)).collect();
                    let answers = join_all(calls).await;
                    done += answers.iter().filter(|answer| answer.is_ok()).count();
                }
                done
            }
        });
        done += with_clocks(&set, join_all(callers)).await.into_iter().sum::<usize>();
        for client in &clients {
            for line in &client.lines {
                line.delay(Duration::ZERO);
            }
            soon("the mirrors", with_clocks(&set, client.conn.settled())).await;
        }
        for client in clients {
            client.conn.close().await.unwrap();
        }
        assert_eq!(set.diff().await, [], "round {round}");
    }
    assert!(done > 200, "{done}");
}
