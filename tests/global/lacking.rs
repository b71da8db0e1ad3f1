//! What a mirror lacks that is to be the first: answered writes are not lost without the operator's word, and
//! nobody is refused for nothing.

use support::random::{random, rounds};

use super::*;

/// A path beside `path` that has the same fence: FNV-1a, as the set has it.
fn neighbour(path: &str) -> String {
    let fence = |path: &str| {
        let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ (hash >> 32)).to_le_bytes()[1]
    };
    let mut names = (0..).map(|number| format!("/near-{number}"));
    names.find(|name| fence(name) == fence(path)).unwrap()
}

/// What the fences of a quorum keep.
async fn fences(quorum: &MemoryQuorum) -> Vec<String> {
    let conn = quorum.connect();
    let mut found = Vec::new();
    for number in 0..=255 {
        let fence = conn.get(format!("/zkcells/global/fence-{number:02x}")).await.unwrap();
        found.push(String::from_utf8(fence.data.to_vec()).unwrap());
    }
    found
}

/// Quorum `number` is not made the first, as it lacks something at `path`; and nothing has changed.
async fn is_refused(ops: &GlobalConn, number: usize, path: &str) -> zkcells::Error {
    let before = epochs(ops).await;
    let err = soon("an answer", ops.promote(number)).await.unwrap_err();
    assert_eq!((err.kind(), err.op()), (ErrorKind::WrongQuorum, "promote"), "{err}");
    for part in [path, "--though-behind", "nothing was changed"] {
        assert!(err.to_string().contains(part), "{err}\nlacks: {part}");
    }
    assert_eq!(epochs(ops).await, before);
    err
}

async fn epochs(conn: &GlobalConn) -> Vec<Option<u64>> {
    let status = conn.status().await;
    status.iter().map(|one| one.identity.as_ref().ok().map(|identity| identity.epoch)).collect()
}

#[tokio::test]
async fn a_mirror_that_was_restored_from_an_old_backup_is_not_made_the_first() {
    for is_long_ago in [false, true] {
        let set = Set::new(GlobalOptions::default()).await;
        set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
        let backup = trust::copy(&set.quorums[1]).await;
        set.conn.set("/a", "2", Version::Any).await.unwrap();
        let [first, _, third] = set.quorums.clone();
        let ops = Set::over([first, backup, third], GlobalOptions::default());
        if is_long_ago {
            // Its fence is as far as the other's again.
            ops.conn.create(neighbour("/a"), "", Mode::Persistent).await.unwrap();
            assert_eq!(ops.data(&neighbour("/a")).await, [has(""), has(""), has("")]);
        }
        let err = is_refused(&ops.conn, 2, "differ at /a").await;
        assert!(err.to_string().contains("choose quorum 3"), "{err}");
        // Whoever was asked goes on.
        ops.conn.create("/b", "", Mode::Persistent).await.unwrap();
        let word = Promotion::default().though_behind();
        ops.conn.promote_with(2, &word).await.unwrap();
        assert_eq!(ops.data("/a").await[1], has("1"));
    }
}

#[tokio::test]
async fn a_mirror_that_a_writer_did_not_know_yet_is_not_made_the_first() {
    for is_long_ago in [false, true] {
        let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
        let conns = quorums[..2].iter().map(|quorum| Arc::new(quorum.connect()) as Arc<dyn Conn>);
        let writer = GlobalConn::new(conns, GlobalOptions::default());
        writer.init().await.unwrap();
        writer.create("/a", "1", Mode::Persistent).await.unwrap();
        // The third comes in, and all that there is is brought there.
        let ops = Set::over(quorums, GlobalOptions::default());
        ops.conn.init().await.unwrap();
        let mut repair = repair::repair(&ops.conn, "/").unwrap();
        while let Some(mended) = repair.next().await {
            mended.unwrap();
        }
        assert!(ops.conn.status().await[2].identity.as_ref().unwrap().complete);
        // All mirrors on the list of this one have it.
        writer.set("/a", "2", Version::Any).await.unwrap();
        if is_long_ago {
            ops.conn.create(neighbour("/a"), "", Mode::Persistent).await.unwrap();
        }
        is_refused(&ops.conn, 3, "differ at /a").await;
        assert_eq!(ops.data("/a").await, [has("2"), has("2"), has("1")]);
    }
}

#[tokio::test]
async fn whoever_requires_less_than_the_operator_loses_nothing_unseen() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    set.lines[1].lose_connection();
    soon("a write", briefly(&set.conn).set("/a", "2", Version::Any)).await.unwrap();
    let ops = Set::over(set.quorums.clone(), GlobalOptions::default());
    let err = is_refused(&ops.conn, 2, "differ at /a").await;
    assert!(err.to_string().contains("choose quorum 3"), "{err}");
    ops.conn.promote(3).await.unwrap();
    assert_eq!(ops.data("/a").await[2], has("2"));
}

/// Somebody writes while a mirror is away, and dies before that mirror has it.
async fn write_without(set: &Set, away: usize, path: &str, data: &str) {
    let writer = set.another();
    writer.conn.get("/").await.unwrap();
    writer.conn.status().await;
    writer.lines[away].lose_connection();
    soon("a write", briefly(&writer.conn).set(path, data, Version::Any)).await.unwrap();
}

#[tokio::test]
async fn a_mirror_whose_fence_is_ahead_may_lack_what_the_other_was_told_before() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    let (path, near) = ("/a", neighbour("/a"));
    for path in [path, &near] {
        set.conn.create(path, "1", Mode::Persistent).await.unwrap();
    }
    set.conn.settled().await;
    write_without(&set, 1, path, "2").await;
    write_without(&set, 2, &near, "2").await;
    assert_eq!(set.data(path).await, [has("2"), has("1"), has("2")]);
    assert_eq!(set.data(&near).await, [has("2"), has("2"), has("1")]);
    // Each has an answered write that the other has not.
    is_refused(&set.another().conn, 2, "differ at /a").await;
    is_refused(&set.another().conn, 3, &format!("differ at {near}")).await;
}

#[tokio::test]
async fn a_mirror_that_is_newer_wherever_they_differ_is_made_the_first() {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    let (path, near) = ("/a", neighbour("/a"));
    for path in [path, &near, "/gone"] {
        set.conn.create(path, "1", Mode::Persistent).await.unwrap();
    }
    set.conn.settled().await;
    let writer = set.another();
    writer.conn.status().await;
    writer.lines[1].lose_connection();
    let conn = briefly(&writer.conn);
    for path in [path, &near] {
        soon("a write", conn.set(path, "2", Version::Any)).await.unwrap();
    }
    soon("an end", conn.delete("/gone", Version::Any)).await.unwrap();
    soon("a node", conn.create("/new", "", Mode::Persistent)).await.unwrap();
    drop((conn, writer));
    let err = is_refused(&set.another().conn, 2, "/a").await;
    assert!(err.to_string().contains("choose quorum 3"), "{err}");
    set.another().conn.promote(3).await.unwrap();
}

#[tokio::test]
async fn mirrors_that_came_to_the_same_by_different_ways_may_each_be_the_first() {
    for chosen in [2, 3] {
        for require in [Require::All, Require::AtLeast(1)] {
            let set = Set::new(GlobalOptions::default().with_require(require)).await;
            for path in ["/a", "/b"] {
                set.conn.create(path, "1", Mode::Persistent).await.unwrap();
            }
            set.conn.settled().await;
            // A repair moves a fence on one mirror alone.
            set.quorums[1].connect().set("/a", "x", Version::Any).await.unwrap();
            let mut repair = repair::repair(&set.conn, "/").unwrap();
            while let Some(mended) = repair.next().await {
                mended.unwrap();
            }
            let fences = [fences(&set.quorums[1]).await, fences(&set.quorums[2]).await];
            assert_ne!(fences[0], fences[1]);
            set.another().conn.promote(chosen).await.unwrap();
        }
    }
}

#[tokio::test]
async fn writers_that_raced_leave_mirrors_that_may_each_be_the_first() {
    for chosen in [2, 3] {
        let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
        let (slow, held) = races::slow_client(&set);
        slow.create("/a", "0", Mode::Persistent).await.unwrap();
        slow.settled().await;
        // One write comes to mirror 2 by a look at the first that is later than all others.
        let (came, go) = held.keep_back();
        let late = slow.set("/a", "late", Version::Any);
        soon("the late write", came.notified()).await;
        set.conn.set("/a", "newer", Version::Any).await.unwrap();
        set.conn.create("/b", "", Mode::Persistent).await.unwrap();
        set.conn.settled().await;
        go.notify_one();
        late.await.unwrap();
        slow.settled().await;
        set.everywhere("/a", "newer").await;
        let fences = [fences(&set.quorums[1]).await, fences(&set.quorums[2]).await];
        assert_ne!(fences[0], fences[1]);
        set.another().conn.promote(chosen).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_not_lost_without_a_word() {
    let set = Set::new(GlobalOptions::default()).await;
    let bob = CreateOptions::from(Mode::Persistent).with_acl(vec![Acl::digest(
        Perms::ALL,
        "bob",
        "secret",
    )]);
    set.conn.create("/a", "1", bob).await.unwrap();
    let err = set.another().conn.promote(2).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoAuth, "{err}");
    for part in ["could not be compared at /a", "READ and ADMIN", "--though-behind", "nothing was"]
    {
        assert!(err.to_string().contains(part), "{err}\nlacks: {part}");
    }
    assert_eq!(epochs(&set.conn).await, [Some(1); 3]);
    let as_bob = set
        .quorums
        .iter()
        .map(|quorum| Arc::new(quorum.connect_as(&[("digest", "bob:secret")])) as Arc<dyn Conn>);
    GlobalConn::new(as_bob, GlobalOptions::default()).promote(2).await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_is_not_complete_holds_nobody_up_with_what_it_lacks() {
    let set = Set::new(GlobalOptions::default()).await;
    for path in ["/a", "/b"] {
        set.conn.create(path, "1", Mode::Persistent).await.unwrap();
    }
    set.wipe(2).await;
    set.conn.init().await.unwrap();
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    assert_eq!(set.data("/b").await, [has("1"), has("1"), None]);
    // But with what it has, as long as it was told more.
    let backup = trust::copy(&set.quorums[1]).await;
    set.conn.set("/a", "3", Version::Any).await.unwrap();
    let [first, _, third] = set.quorums.clone();
    let restored = Set::over([first, backup, third], GlobalOptions::default());
    let err = is_refused(&restored.conn, 2, "differ at /a").await;
    assert!(err.to_string().contains("not complete"), "{err}");
    set.another().conn.promote(2).await.unwrap();
}

/// What may be at a node, as its only writer was told; `None` where there is none.
#[derive(Debug, Default)]
struct Told {
    /// The last write that was answered, and those behind it that stand on the first.
    may_be: Vec<Option<String>>,
}

/// Somebody who writes once, to the quorums that he knows of, one of which may be away, and dies.
async fn writes_once(
    quorums: &[MemoryQuorum; 3],
    node: &str,
    told: &mut Told,
    data: String,
    random: &mut fastrand::Rng,
) {
    let (known, require) = [
        (&[0, 1][..], Require::All),
        (&[0, 2], Require::All),
        (&[0, 1, 2], Require::All),
        (&[0, 1, 2], Require::AtLeast(1)),
        (&[0, 1, 2], Require::AtLeast(1)),
    ][random.usize(..5)];
    let lines: Vec<_> = known.iter().map(|index| Arc::new(quorums[*index].connect())).collect();
    let conns = lines.iter().map(|line| line.clone() as Arc<dyn Conn>);
    let conn = Arc::new(GlobalConn::new(conns, GlobalOptions::default().with_require(require)));
    conn.create("/warm", "", Mode::Ephemeral).await.unwrap();
    conn.delete("/warm", Version::Any).await.unwrap();
    // It is away only once all is known, so that the write itself is not refused.
    conn.set_acl("/known", Acl::open(), Version::Any).await.unwrap();
    conn.settled().await;
    let away = random.usize(..5);
    if let Some(line) = lines.get(away).filter(|_| away > 0) {
        line.lose_connection();
    }
    let conn = Within::new(conn, Duration::from_millis(40));
    let (wanted, answer) = match random.u32(..4) {
        0 => (None, conn.delete(node, Version::Any).await),
        1 => {
            let create = conn.create(node, &data, Mode::Persistent).await;
            (Some(data), create.map(drop))
        }
        _ => {
            let set = conn.set(node, &data, Version::Any).await;
            (Some(data), set.map(drop))
        }
    };
    match answer.map_err(|err| err.kind()) {
        Ok(()) => told.may_be = vec![wanted],
        Err(ErrorKind::NotMirrored) => told.may_be.push(wanted),
        Err(ErrorKind::NotSent | ErrorKind::NoNode | ErrorKind::NodeExists) => {}
        Err(kind) => panic!("{kind}"),
    }
}

#[tokio::test]
async fn whoever_is_made_the_first_without_a_word_has_all_that_was_answered() {
    let mut random = random("lacking");
    let (mut made, mut refused) = (0, 0);
    let enough = rounds(8, 1000);
    for round in 0..enough + 200 {
        // Both were seen, and often enough.
        if round >= enough && made > 0 && refused > 0 {
            break;
        }
        let set = Set::new(GlobalOptions::default()).await;
        let nodes = ["/a".to_string(), neighbour("/a"), "/b".into(), "/c".into()];
        for node in nodes.iter().map(String::as_str).chain(["/known"]) {
            set.conn.create(node, "0", Mode::Persistent).await.unwrap();
        }
        let start = || Told { may_be: vec![Some("0".into())] };
        let mut told: Vec<Told> = nodes.iter().map(|_| start()).collect();
        let mut quorums = set.quorums.clone();
        let (restored, mut backup) = (1 + random.usize(..2), None);
        for step in 1..random.usize(4..14) {
            match (random.u32(..16), backup.take()) {
                (0, None) => backup = Some(trust::copy(&quorums[restored]).await),
                (0..4, Some(backup)) => quorums[restored] = backup,
                (_, kept) => {
                    backup = kept;
                    let which = random.usize(..nodes.len());
                    let (node, told) = (&nodes[which], &mut told[which]);
                    writes_once(&quorums, node, told, step.to_string(), &mut random).await;
                }
            }
        }
        let ops = Set::over(quorums, GlobalOptions::default());
        let number = 2 + random.usize(..2);
        if let Err(err) = soon("an answer", ops.conn.promote(number)).await {
            assert_eq!(err.kind(), ErrorKind::WrongQuorum, "round {round}: {err}");
            let mut differs = false;
            for node in &nodes {
                let [_, second, third] = ops.data(node).await;
                differs |= second != third;
            }
            assert!(differs, "round {round}: refused for nothing: {err}");
            refused += 1;
            continue;
        }
        made += 1;
        for (node, told) in nodes.iter().zip(&told) {
            let [_, second, third] = ops.data(node).await;
            let [own, other] = if number == 2 { [second, third] } else { [third, second] };
            // What the only mirror that had it has lost, nobody can miss.
            let is_lost = told.may_be.contains(&other) && !told.may_be.contains(&own);
            let what = format!("round {round}: {node} on quorum {number}");
            assert!(!is_lost, "{what}: {own:?}, and {other:?} on the other: {told:?}");
        }
    }
    println!("lacking: {made} made the first, {refused} refused");
    assert!(made > 0 && refused > 0, "{made} made the first, {refused} refused");
}

#[tokio::test]
async fn a_mirror_without_the_node_that_bears_its_name_is_told_as_such() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let mirror = set.quorums[1].connect();
    let names = mirror.children("/zkcells/global").await.unwrap().names;
    let name = names.into_iter().find(|name| name.starts_with("is-")).unwrap();
    mirror.delete(format!("/zkcells/global/{name}"), Version::Any).await.unwrap();
    let err = soon("an answer", set.conn.set("/a", "2", Version::Any)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert!(err.to_string().contains("bears its name"), "{err}");
    // Nobody writes there before somebody has looked.
    let err = soon("an answer", set.conn.set("/a", "3", Version::Any)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum);
    assert_eq!(set.data("/a").await[0], has("2"));
}

#[tokio::test]
async fn a_numbered_node_that_stands_on_the_first_is_named() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/q", "", Mode::Persistent).await.unwrap();
    set.lines[1].lose_connection();
    let conn = briefly(&set.conn);
    let err = conn.create("/q/n-", "", Mode::PersistentSequential).await.unwrap_err();
    assert!(err.to_string().contains("it made /q/n-0000000000"), "{err}");
    let two = Multi::new().create("/q/plain", "", Mode::Persistent).create(
        "/q/m-",
        "",
        Mode::PersistentSequential,
    );
    let err = conn.multi(two).await.unwrap_err();
    assert!(err.to_string().contains("it made /q/m-0000000002;"), "{err}");
}
