//! What is lost by a promotion on the operator's word alone: quorums that are silent, and such as are not
//! complete.

use support::tapped::TappedSet;

use super::*;

async fn set_that_requires_one() -> Set {
    let set = Set::new(GlobalOptions::default().with_require(Require::AtLeast(1))).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.conn.settled().await;
    set
}

async fn epochs(set: &Set) -> Vec<u64> {
    let status = set.another().conn.status().await;
    status.iter().map(|one| one.identity.as_ref().unwrap().epoch).collect()
}

/// Paths that have the fence of `path`: FNV-1a, as the set has it.
fn neighbours(path: &str) -> impl Iterator<Item = String> {
    let fence = |path: &str| {
        let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ (hash >> 32)).to_le_bytes()[1]
    };
    let own = fence(path);
    (0..).map(|number| format!("/near-{number}")).filter(move |name| fence(name) == own)
}

#[tokio::test]
async fn a_silent_mirror_in_front_of_an_old_list_is_asked_for() {
    let set = set_that_requires_one().await;
    set.conn.promote(2).await.unwrap();
    let [first, second, third] = set.quorums.clone();
    let new = Set::over([second, first, third], set.conn.options().clone());
    let mut repair = repair::repair(&new.conn, "/").unwrap();
    while let Some(mended) = repair.next().await {
        mended.unwrap();
    }
    // Quorum 3 is away for a moment: the write is on 2 and 1.
    new.lines[2].lose_connection();
    soon("a write", briefly(&new.conn).set("/a", "2", Version::Any)).await.unwrap();
    assert_eq!(set.data("/a").await, [has("2"), has("2"), has("1")]);
    let options = set.conn.options().clone().with_wait(Duration::from_millis(300));
    let ops = Set::over(set.quorums.clone(), options);
    ops.lines[0].lose_connection();
    let err = soon("an answer", ops.conn.promote(3)).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    assert!(err.to_string().contains("--without 1"), "{err}");
    assert_eq!(epochs(&set).await, [2; 3]);
}

#[tokio::test]
async fn nobody_does_without_a_quorum_that_there_is_not() {
    let set = Set::new(GlobalOptions::default()).await;
    for number in [0, 4] {
        let word = Promotion::default().without(number);
        let err = set.conn.promote_with(2, &word).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::BadArguments, "{err}");
        assert!(err.to_string().contains("only 1 to 3"), "{err}");
    }
    assert_eq!(epochs(&set).await, [1; 3]);
}

#[tokio::test]
async fn a_write_that_a_mirror_confirmed_which_is_not_complete_is_not_lost() {
    let set = set_that_requires_one().await;
    set.wipe(2).await;
    set.conn.init().await.unwrap();
    // Somebody to whom 2 has never answered.
    let writer = set.another();
    writer.lines[1].lose_connection();
    let write = Within::new(writer.conn.clone(), Duration::from_secs(2));
    soon("a write", write.set("/a", "2", Version::Any)).await.unwrap();
    drop((write, writer));
    // Others go on, and move the fence of both mirrors on.
    for near in neighbours("/a").take(10) {
        set.conn.create(near, "", Mode::Persistent).await.unwrap();
    }
    soon("both", set.conn.settled()).await;
    assert_eq!(set.data("/a").await, [has("2"), has("1"), has("2")]);
    let err = set.another().conn.promote(2).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::WrongQuorum, "{err}");
    assert!(err.to_string().contains("differ at /a"), "{err}");
}

/// A first that lacks the last write to `/a`, and mirrors that answer 32 of many reads in time.
#[tokio::test]
async fn a_mirror_whose_fences_could_not_be_read_is_not_taken_for_older() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    let backup = trust::copy(&set.quorums[0]).await;
    set.conn.set("/a", "2", Version::Any).await.unwrap();
    let [_, second, third] = set.quorums.clone();
    let ops = TappedSet::over([backup, second, third], Duration::from_secs(2));
    for tap in &ops.taps[1..] {
        let line = tap.line.clone();
        tap.hook(move |request| {
            let Op::ReadMany(reads) = &request.op else { return None };
            if reads.len() < 200 {
                return None;
            }
            let (answer, reads) = (line.call(request.clone()), reads.clone());
            Some(Pending::new(async move {
                let Reply::Many(mut found) = answer.await? else { panic!("many") };
                for (found, read) in found.iter_mut().zip(&reads).skip(32) {
                    let asked = Request::new(Op::Sync, read.path().clone());
                    *found = Err(asked.error(ErrorKind::Timeout));
                }
                Ok(Reply::Many(found))
            }))
        });
    }
    let err = ops.conn.promote(1).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotSent, "{err}");
    assert!(ops.conn.status().await[1].identity.is_err());
}
