//! What `repair::diff` and `repair::repair` promise, on quorums in memory that fail, change and are
//! taken away at any moment: all is told, nothing is lost, and what was ended can be gone on with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join;
use support::random::{random, rounds};
use support::soon;
use support::tapped::{Outcome, TappedSet};
use zkcells::repair::{self, Kind};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{
    Acl, Conn as _, ConnExt as _, CreateOptions, Error, ErrorKind, Mode, Multi, MultiOp, Op,
    Pending, Perms, Promotion, Read, Reads, Request, SessionOptions, Version, Within, ZkConn,
    ZkPath, tree,
};

const WAIT: Duration = Duration::from_secs(10);
const BRIEFLY: Duration = Duration::from_millis(300);

/// More than a repair compares at once, twice over; spoilt early and late.
async fn spoilt(wait: Duration) -> TappedSet {
    let set = TappedSet::new(wait).await;
    let first = set.quorums[0].connect();
    let nodes = (0..2200).map(|n| (format!("/t/{}/{n:04}", n % 9), n.to_string()));
    let nodes: Vec<_> = nodes.collect();
    for quorum in &set.quorums {
        tree::create_many(&quorum.connect(), nodes.clone(), Mode::Persistent).await.unwrap();
    }
    first.create("/t/e", "", Mode::Ephemeral).await.unwrap();
    for (index, mirror) in [(1, set.quorums[1].connect()), (2, set.quorums[2].connect())] {
        for early in ["/a/b", "/t/0/extra/deep", "/z/z"] {
            tree::create_all(&mirror, early, "x", Mode::Persistent).await.unwrap();
        }
        mirror.set("/t/0/0000", "other", Version::Any).await.unwrap();
        mirror.set("/t/8/2195", "same length", Version::Any).await.unwrap();
        let shut = vec![Acl::world(Perms::READ | Perms::ADMIN)];
        mirror.set_acl(format!("/t/{}/0004", 4), shut, Version::Any).await.unwrap();
        tree::remove_all(&mirror, format!("/t/{}", 5 + index)).await.unwrap();
    }
    set
}

fn path(text: &str) -> ZkPath {
    ZkPath::new(text).unwrap()
}

fn nodes_of(request: &Request) -> Vec<String> {
    match &request.op {
        Op::ReadMany(reads) => reads.iter().map(|read| read.path().to_string()).collect(),
        Op::Multi(ops) => ops.iter().map(|op| op.path().to_string()).collect(),
        _ => vec![request.path.to_string()],
    }
}

/// Whether a request writes to the nodes of users.
fn writes(request: &Request) -> bool {
    match &request.op {
        Op::Multi(ops) => ops.iter().any(|op| {
            !matches!(op, MultiOp::Check { .. }) && !op.path().as_str().starts_with("/zkcells")
        }),
        op => op.is_write(),
    }
}

fn failing(request: &Request, kind: ErrorKind) -> Option<Pending<zkcells::Reply>> {
    Some(Pending::ready(Err(Error::new("tapped", request.path.as_str(), kind))))
}

// --- going on ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_repair_that_is_ended_at_any_step_is_gone_on_with_to_the_same_end() {
    let set = spoilt(WAIT).await;
    let count = Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await.told.len();
    assert!(count > 400, "{count}");
    // The first steps one by one, and so the last ones, which delete.
    for ended in (0..4).chain((4..count).step_by(200)).chain((count - 12..count).step_by(3)) {
        let set = spoilt(WAIT).await;
        let mut repair = repair::repair(&set.conn, "/").unwrap();
        let before = Outcome::first(ended, &mut repair).await;
        assert_eq!((before.told.len(), before.errors.len()), (ended, 0));
        let next = repair.progress().next.unwrap();
        drop(repair);
        let mut rest = repair::repair(&set.conn, "/").unwrap().from(next.clone());
        let after = Outcome::of(&mut rest).await;
        assert!(after.errors.is_empty(), "{:?}", after.errors);
        assert_eq!(rest.progress().next, None);
        set.agrees(&format!("ended after {ended}, gone on at {next}")).await;
    }
}

#[tokio::test]
async fn a_comparison_that_is_ended_and_gone_on_with_tells_all_of_it() {
    let set = spoilt(WAIT).await;
    let mut all = Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await.told;
    let mut diff = repair::diff(&set.conn, "/").unwrap();
    let mut told = Outcome::first(all.len() / 2, &mut diff).await.told;
    let next = diff.progress().next.unwrap();
    assert_ne!(next, "/");
    told.extend(Outcome::of(&mut repair::diff(&set.conn, "/").unwrap().from(next)).await.told);
    all.sort();
    told.sort();
    told.dedup();
    assert_eq!(told, all);
}

#[tokio::test]
async fn going_on_elsewhere_is_refused() {
    let set = spoilt(WAIT).await;
    let before = set.dump(2).await;
    for (top, from) in [("/t/1", "/t/2"), ("/t/1", "/t"), ("/t/1", "/t/10")] {
        let mut repair = repair::repair(&set.conn, top).unwrap().from(path(from));
        let outcome = Outcome::of(&mut repair).await;
        assert!(outcome.told.is_empty(), "{:?}", outcome.told);
        let [err] = &outcome.errors[..] else { panic!("{:?}", outcome.errors) };
        assert_eq!((err.kind(), err.path()), (ErrorKind::BadArguments, from));
        assert!(err.to_string().contains(&format!("not in {top}")), "{err}");
    }
    assert_eq!(set.dump(2).await, before);
}

#[tokio::test]
async fn after_the_end_there_is_nothing_more() {
    let set = TappedSet::new(WAIT).await;
    let mut diff = repair::diff(&set.conn, "/").unwrap();
    for _ in 0..3 {
        assert!(diff.next().await.is_none());
    }
}

#[tokio::test]
async fn only_what_is_below_the_path_is_touched() {
    let set = spoilt(WAIT).await;
    let mut repair = repair::repair(&set.conn, "/t/0").unwrap();
    let outcome = Outcome::of(&mut repair).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert!(outcome.told.iter().all(|(path, ..)| path.starts_with("/t/0")), "{outcome:?}");
    let left = Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await.told;
    assert!(left.iter().all(|(path, ..)| !path.starts_with("/t/0")) && left.len() > 400);
    // What is above comes along where it is needed.
    let mut repair = repair::repair(&set.conn, "/t/6/0006").unwrap();
    let told = Outcome::of(&mut repair).await.told;
    assert_eq!(told, [("/t/6/0006".to_string(), 2, Kind::Missing)]);
    assert_eq!(set.quorums[1].connect().children("/t/6").await.unwrap().names, ["0006"]);
    // There may be nothing at the path on the first.
    let mut repair = repair::repair(&set.conn, "/a/b").unwrap();
    assert_eq!(Outcome::of(&mut repair).await.told.len(), 2);
    assert!(set.quorums[1].connect().exists("/a").await.unwrap().is_some());
}

// --- errors -----------------------------------------------------------------------------------

#[tokio::test]
async fn an_error_between_two_looks_hides_no_difference() {
    for quorum in [1, 2] {
        for kind in [ErrorKind::NoAuth, ErrorKind::ConnectionLoss, ErrorKind::Unexpected] {
            let set = TappedSet::new(BRIEFLY).await;
            set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
            set.quorums[1].connect().set("/a", "2", Version::Any).await.unwrap();
            let looks = AtomicUsize::new(0);
            set.taps[quorum - 1].hook(move |request| {
                let is_second = nodes_of(request).contains(&"/a".to_string())
                    && !writes(request)
                    && looks.fetch_add(1, Ordering::SeqCst) > 1;
                if is_second { failing(request, kind) } else { None }
            });
            let mut diff = repair::diff(&set.conn, "/").unwrap();
            let outcome = Outcome::of(&mut diff).await;
            let what = format!("{kind} on quorum {quorum}: {outcome:?}");
            assert!(outcome.has_error(&[&format!("quorum {quorum}")]), "{what}");
            assert_eq!(diff.progress().failed, outcome.errors.len(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_mirror_that_does_not_agree_to_anything_newer_is_told_and_left_out() {
    let set = TappedSet::new(BRIEFLY).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    for mirror in [1, 2] {
        set.quorums[mirror].connect().set("/a", "2", Version::Any).await.unwrap();
    }
    set.taps[1].hook(|request| match request.op {
        Op::Sync => failing(request, ErrorKind::ConnectionLoss),
        _ => None,
    });
    let mut diff = repair::diff(&set.conn, "/").unwrap();
    let outcome = Outcome::of(&mut diff).await;
    assert_eq!(outcome.told, [("/a".to_string(), 3, Kind::Data)]);
    assert!(outcome.has_error(&["on quorum 2", "left out"]), "{outcome:?}");
    assert_eq!(diff.progress().next, Some(path("/")));
}

#[tokio::test]
async fn what_may_not_be_read_on_either_side_is_told_with_its_path() {
    let set = TappedSet::new(WAIT).await;
    let bob = vec![Acl::digest(Perms::ALL, "bob", "secret")];
    let seen = vec![Acl::world(Perms::READ), Acl::digest(Perms::ALL, "bob", "secret")];
    let nodes = [("/first", &bob, [true, false]), ("/mirror", &bob, [false, true])];
    for (node, acl, sides) in nodes.into_iter().chain([("/hash", &seen, [true, true])]) {
        for (quorum, is_shut) in set.quorums.iter().zip([sides[0], sides[1], sides[0]]) {
            let conn = quorum.connect_as(&[("digest", "bob:secret")]);
            let acl = if is_shut { acl.clone() } else { Acl::open() };
            conn.create(node, "x", CreateOptions::from(Mode::Persistent).with_acl(acl))
                .await
                .unwrap();
            conn.create(format!("{node}/below"), "", Mode::Persistent).await.unwrap();
        }
    }
    let outcome = Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await;
    for (node, quorum) in [("/first", 1), ("/mirror", 2), ("/hash", 1)] {
        let parts = [&format!("diff {node}:"), &format!("on quorum {quorum}"), "READ and ADMIN"];
        assert!(outcome.has_error(&parts), "{node}: {outcome:?}");
    }
    // Nor is what cannot be compared mended, or deleted for it.
    let before = [set.dump(1).await, set.dump(2).await, set.dump(3).await];
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(outcome.has_error(&["repair /first:"]) && outcome.has_error(&["repair /mirror:"]));
    assert_eq!([set.dump(1).await, set.dump(2).await, set.dump(3).await], before);
    // Whoever may, can.
    let conns = set.quorums.iter().map(|quorum| {
        Arc::new(quorum.connect_as(&[("digest", "bob:secret")])) as Arc<dyn zkcells::Conn>
    });
    let conn = Arc::new(zkcells::GlobalConn::new(conns, set.conn.options().clone()));
    let outcome = Outcome::of(&mut repair::repair(&conn, "/").unwrap()).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    set.agrees("repaired by bob").await;
}

#[tokio::test]
async fn a_list_that_shuts_us_out_of_a_mirror_is_mended_first() {
    let set = TappedSet::new(WAIT).await;
    // What may not be written, what may not be read, and what may not be looked into or added to.
    let lists = [Perms::READ | Perms::ADMIN, Perms::ADMIN, Perms::WRITE | Perms::ADMIN];
    for (n, perms) in lists.into_iter().enumerate() {
        for node in ["", "/data", "/made"] {
            set.conn.create(format!("/{n}{node}"), "right", Mode::Persistent).await.unwrap();
        }
        let mirror = set.quorums[1].connect();
        mirror.set(format!("/{n}"), "wrong", Version::Any).await.unwrap();
        mirror.set(format!("/{n}/data"), "wrong", Version::Any).await.unwrap();
        mirror.delete(format!("/{n}/made"), Version::Any).await.unwrap();
        mirror.create(format!("/{n}/extra"), "", Mode::Persistent).await.unwrap();
        for node in ["/data", ""] {
            let acl = vec![Acl::world(perms)];
            mirror.set_acl(format!("/{n}{node}"), acl, Version::Any).await.unwrap();
        }
    }
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    set.agrees("mended").await;
}

#[tokio::test]
async fn data_is_mended_before_a_list_that_then_shuts_us_out() {
    let set = TappedSet::new(WAIT).await;
    set.conn.create("/a", "right", Mode::Persistent).await.unwrap();
    set.conn.create("/a/b", "", Mode::Persistent).await.unwrap();
    let shut = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    set.quorums[0].connect().set_acl("/a", shut, Version::Any).await.unwrap();
    let mirror = set.quorums[1].connect();
    mirror.set("/a", "wrong", Version::Any).await.unwrap();
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    set.agrees("mended").await;
}

// --- who they are -----------------------------------------------------------------------------

/// Makes a quorum what it may turn out to be while nobody looks.
async fn other_identity(set: &TappedSet, quorum: usize, wrong: &str) {
    const HOME: &str = "/zkcells/global";
    let conn = set.quorums[quorum].connect();
    if wrong == "missing" {
        tree::remove_all(&conn, "/zkcells").await.unwrap();
        return;
    }
    let data = conn.get(HOME).await.unwrap().data;
    let mut own: serde_json::Value = serde_json::from_slice(&data).unwrap();
    let name = |own: &serde_json::Value| {
        let part = |key: &str| own[key].to_string().replace('"', "");
        let parts = ["set", "epoch", "term", "role", "incarnation"].map(part);
        format!("{HOME}/is-{}", parts.join("-"))
    };
    let before = name(&own);
    match wrong {
        "newer" => (own["epoch"], own["term"]) = (2.into(), "2".into()),
        "two" => own["term"] = "2".into(),
        "twice" if quorum == 0 => own["role"] = "mirror".into(),
        "twice" => own["role"] = "first".into(),
        "empty meanwhile" => own["incarnation"] = "2".into(),
        _ => own["set"] = "2".into(),
    }
    let multi = Multi::new()
        .set(HOME, own.to_string(), Version::Any)
        .delete(before, Version::Any)
        .create(name(&own), "", Mode::Persistent);
    conn.multi(multi).await.unwrap();
}

#[tokio::test]
async fn a_repair_ends_as_soon_as_a_quorum_is_another_and_writes_nothing_more() {
    for quorum in 0..3 {
        for wrong in ["missing", "newer", "two", "twice", "foreign", "empty meanwhile"] {
            let set = spoilt(WAIT).await;
            let mut repair = repair::repair(&set.conn, "/").unwrap();
            // The first batch is mended.
            let before = Outcome::first(3, &mut repair).await;
            assert_eq!((before.told.len(), before.errors.len()), (3, 0));
            other_identity(&set, quorum, wrong).await;
            for tap in &set.taps {
                tap.hook(|request| {
                    assert!(!writes(request), "{request:?}");
                    None
                });
            }
            let outcome = Outcome::of(&mut repair).await;
            let what = format!("quorum {} is {wrong}: {:?}", quorum + 1, outcome.errors);
            let kinds: Vec<_> = outcome.errors.iter().map(Error::kind).collect();
            assert!(kinds.contains(&ErrorKind::WrongQuorum), "{what}");
            assert!(!outcome.told.iter().any(|(.., kind)| *kind == Kind::Extra), "{what}");
            assert!(repair.progress().next.is_some(), "{what}");
            for number in [2, 3] {
                let dump = set.dump(number).await;
                assert!(dump.contains_key("/a/b") && dump.contains_key("/z/z"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_deleted_once_another_is_the_first() {
    let set = spoilt(WAIT).await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    // Until the first node is deleted.
    let mut mended = 0;
    loop {
        let one = repair.next().await.unwrap().unwrap();
        mended += 1;
        if one.kind == Kind::Extra {
            break;
        }
    }
    assert!(mended > 100);
    // Deletes go in groups: the rest of this one is done.
    let set = spoilt(WAIT).await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    Outcome::first(mended - 1, &mut repair).await;
    let word = Promotion::default().though_incomplete().though_behind();
    set.another().conn.promote_with(3, &word).await.unwrap();
    let before = [set.dump(2).await, set.dump(3).await];
    let outcome = Outcome::of(&mut repair).await;
    assert!(outcome.told.is_empty(), "{:?}", outcome.told);
    assert!(outcome.has_error(&["is a mirror since epoch 2"]), "{outcome:?}");
    assert!(outcome.has_error(&["12 nodes", "were not deleted"]), "{outcome:?}");
    assert_eq!([set.dump(2).await, set.dump(3).await], before);
}

#[tokio::test]
async fn a_mirror_that_was_away_and_is_the_first_by_now_ends_it() {
    let set = spoilt(BRIEFLY).await;
    set.taps[2].line.lose_connection();
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let before = Outcome::first(3, &mut repair).await;
    assert!(before.has_error(&["quorum 3", "left out"]), "{before:?}");
    // It was made the first by somebody who could not reach the others.
    other_identity(&set, 2, "newer").await;
    set.taps[2].line.join();
    let said = set.taps[2].line.bites().held;
    let outcome = Outcome::of(&mut repair).await;
    assert!(said > 0 && outcome.has_error(&["quorum 3", "epoch 2"]), "{outcome:?}");
    assert!(set.dump(2).await.contains_key("/a/b"));
}

#[tokio::test]
async fn a_mirror_is_complete_after_a_repair_of_everything_and_not_before() {
    let complete = async |set: &TappedSet| -> Vec<bool> {
        let all = set.conn.status().await;
        all.into_iter().map(|one| one.identity.unwrap().complete).collect()
    };
    let set = spoilt(BRIEFLY).await;
    tree::remove_all(&set.quorums[1].connect(), "/zkcells").await.unwrap();
    let word = zkcells::InitOptions::default().with_take_over(zkcells::TakeOver::Allow);
    set.conn.init_with(word).await.unwrap();
    assert!(!complete(&set).await[1]);
    // A comparison, a part, the rest of one, one that was ended, or had errors, or left it out.
    Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await;
    Outcome::of(&mut repair::repair(&set.conn, "/t").unwrap()).await;
    Outcome::first(1, &mut repair::repair(&set.conn, "/").unwrap()).await;
    set.taps[0].hook(|request| match request.op {
        Op::Acl if request.path == "/t/1" => failing(request, ErrorKind::NoAuth),
        _ => None,
    });
    Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    set.taps[0].unhook();
    set.taps[1].line.lose_connection();
    Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    set.taps[1].line.join();
    Outcome::of(&mut repair::repair(&set.conn, "/").unwrap().from(path("/t"))).await;
    assert!(!complete(&set).await[1]);
    // To go on at the top is to begin.
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap().from(path("/"))).await;
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    assert_eq!(complete(&set).await, [true; 3]);
    // One that came back empty, and in again, while it was repaired, is not.
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    set.quorums[1].connect().set("/t/1", "x", Version::Any).await.unwrap();
    Outcome::first(1, &mut repair).await;
    tree::remove_all(&set.quorums[1].connect(), "/zkcells").await.unwrap();
    set.another().conn.init_with(word).await.unwrap();
    let outcome = Outcome::of(&mut repair).await;
    assert!(outcome.has_error(&["quorum 2", "another by now"]), "{outcome:?}");
    assert!(!complete(&set).await[1]);
}

// --- deletes ----------------------------------------------------------------------------------

#[tokio::test]
async fn nothing_is_deleted_unless_all_of_the_first_was_listed() {
    let denied = |request: &Request| match &request.op {
        Op::ReadMany(reads) if reads.iter().any(|read| is_list_of(read, "/t/4")) => {
            let answer = |read: &Read| match is_list_of(read, "/t/4") {
                true => Err(Error::new("children", read.path(), ErrorKind::NoAuth)),
                false => Ok(zkcells::ReadReply::Children(Vec::new())),
            };
            Some(Pending::ready(Ok(zkcells::Reply::Many(reads.iter().map(answer).collect()))))
        }
        _ => None,
    };
    let lost = |request: &Request| match &request.op {
        Op::ReadMany(reads) if reads.iter().any(|read| is_list_of(read, "/t/4")) => {
            failing(request, ErrorKind::ConnectionLoss)
        }
        _ => None,
    };
    let broken = |request: &Request| match &request.op {
        Op::Acl if request.path == "/t/8" => failing(request, ErrorKind::Unexpected),
        Op::Exists(_) if request.path == "/t/8" => failing(request, ErrorKind::Unexpected),
        _ => None,
    };
    type Hook = Box<dyn Fn(&Request) -> Option<Pending<zkcells::Reply>> + Send>;
    let hooks: [(&str, Hook); 3] =
        [("denied", Box::new(denied)), ("lost", Box::new(lost)), ("broken", Box::new(broken))];
    for (what, hook) in hooks {
        let set = spoilt(BRIEFLY).await;
        set.taps[0].hook(hook);
        let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
        assert!(!outcome.told.iter().any(|(.., kind)| *kind == Kind::Extra), "{what}: {outcome:?}");
        assert!(outcome.has_error(&["on quorum 1"]), "{what}: {:?}", outcome.errors);
        for number in [2, 3] {
            let dump = set.dump(number).await;
            for extra in ["/a", "/a/b", "/t/0/extra/deep", "/z/z"] {
                assert!(dump.contains_key(extra), "{what}: {extra}");
            }
        }
        let kept = outcome.has_error(&["were not deleted"]);
        assert!(kept, "{what}: {:?}", outcome.errors);
    }
}

fn is_list_of(read: &Read, path: &str) -> bool {
    matches!(read, Read::Children(listed) if *listed == path)
}

#[tokio::test]
async fn what_was_created_on_the_first_meanwhile_is_not_deleted() {
    let set = spoilt(WAIT).await;
    let (first, writer) = (Arc::new(set.quorums[0].connect()), Arc::new(set.another()));
    let (line, made) = (set.taps[1].line.clone(), Arc::new(AtomicBool::new(false)));
    let now = made.clone();
    // At the latest moment: the mirror is looked at before it is written.
    set.taps[1].hook(move |request| {
        let Op::ReadMany(reads) = &request.op else { return None };
        let is_last = *reads[0].path() == "/zkcells/global"
            && reads.iter().any(|read| *read.path() == "/z/z");
        if !is_last || now.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (first, writer) = (first.clone(), writer.clone());
        let seen = line.call(request.clone());
        Some(Pending::new(async move {
            tree::create_all(&*first, "/z/z", "new", Mode::Persistent).await?;
            writer.conn.create("/a", "new", Mode::Persistent).await?;
            seen.await
        }))
    });
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(made.load(Ordering::SeqCst) && outcome.errors.is_empty(), "{outcome:?}");
    let dump = set.dump(2).await;
    assert!(dump.contains_key("/z/z") && dump.contains_key("/a"));
    let again = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(again.errors.is_empty(), "{again:?}");
    set.agrees("repaired again").await;
}

// --- nodes that change ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_written_all_the_time_is_no_difference() {
    let set = TappedSet::new(WAIT).await;
    for node in ["/hot", "/cold", "/wrong"] {
        set.conn.create(node, "0000", Mode::Persistent).await.unwrap();
    }
    set.quorums[2].connect().set("/wrong", "1111", Version::Any).await.unwrap();
    let (writer, over) = (set.another(), Arc::new(AtomicBool::new(false)));
    let stop = over.clone();
    let writes = tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let data = format!("{:04}", count % 10_000);
            writer.conn.set("/hot", data, Version::Any).await.unwrap();
            count += 1;
        }
        count
    });
    for round in 0..rounds(10, 300) {
        let outcome = Outcome::of(&mut repair::diff(&set.conn, "/").unwrap()).await;
        assert_eq!(outcome.told, [("/wrong".to_string(), 3, Kind::Data)], "round {round}");
        assert!(outcome.errors.is_empty(), "round {round}: {:?}", outcome.errors);
    }
    over.store(true, Ordering::SeqCst);
    let count = soon("the writer", writes).await.unwrap();
    assert!(count > 100, "{count} writes");
}

#[tokio::test]
async fn what_never_stands_still_is_said_to_change_and_not_to_differ() {
    let set = TappedSet::new(Duration::from_secs(1)).await;
    for node in ["/hot", "/wrong"] {
        set.conn.create(node, "0", Mode::Persistent).await.unwrap();
    }
    set.quorums[1].connect().set("/wrong", "1", Version::Any).await.unwrap();
    // Whenever it is looked at, the first has something new that no mirror gets.
    let (writer, count) = (set.quorums[0].connect(), AtomicUsize::new(1));
    set.taps[0].hook(move |request| {
        if matches!(request.op, Op::Acl) && request.path == "/hot" {
            let data = format!("{}", count.fetch_add(1, Ordering::SeqCst) % 9 + 1);
            drop(writer.set("/hot", data, Version::Any));
        }
        None
    });
    let mut diff = repair::diff(&set.conn, "/").unwrap();
    let outcome = Outcome::of(&mut diff).await;
    assert_eq!(outcome.told, [("/wrong".to_string(), 2, Kind::Data)]);
    let kinds: Vec<_> = outcome.errors.iter().map(|err| (err.kind(), err.path())).collect();
    assert_eq!(kinds, [(ErrorKind::Contended, "/hot"); 2]);
    // Who repairs need not know.
    let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    assert_eq!(outcome.told, [("/wrong".to_string(), 2, Kind::Data)]);
}

#[tokio::test]
async fn reads_that_compare_do_not_call_a_change_a_difference_nor_hide_what_fails() {
    let plain = TappedSet::new(WAIT).await;
    plain.conn.create("/a", "0", Mode::Persistent).await.unwrap();
    let options = plain.conn.options().clone().with_reads(Reads::Compare);
    let set = TappedSet::with(plain.quorums.clone(), options);
    let briefly = Within::new(set.conn.clone(), BRIEFLY);
    let (writer, count) = (plain.quorums[0].connect(), AtomicUsize::new(1));
    set.taps[0].hook(move |request| {
        if matches!(request.op, Op::Get(_)) && request.path == "/a" {
            let data = format!("{}", count.fetch_add(1, Ordering::SeqCst));
            drop(writer.set("/a", data, Version::Any));
        }
        None
    });
    let err = soon("an answer", briefly.get("/a")).await.unwrap_err();
    assert_eq!((err.kind(), err.path()), (ErrorKind::Contended, "/a"), "{err}");
    // It differs, and then one of them fails between two looks.
    for quorum in [0, 1] {
        set.taps.iter().for_each(|tap| tap.unhook());
        assert_eq!(briefly.get("/a").await.unwrap_err().kind(), ErrorKind::Diverged);
        set.taps[quorum].hook(|request| match request.op {
            Op::Sync => failing(request, ErrorKind::ConnectionLoss),
            _ => None,
        });
        let err = briefly.get("/a").await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionLoss, "{err}");
        assert!(err.to_string().contains(&format!("quorum {}", quorum + 1)), "{err}");
    }
}

// --- quorums that go away ---------------------------------------------------------------------

#[tokio::test]
async fn a_mirror_that_dies_half_way_is_left_out_and_the_other_is_mended() {
    let set = spoilt(BRIEFLY).await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let before = Outcome::first(1, &mut repair).await;
    assert!(before.errors.is_empty(), "{before:?}");
    set.taps[1].line.lose_connection();
    let outcome = Outcome::of(&mut repair).await;
    assert!(outcome.has_error(&["quorum 2"]), "{outcome:?}");
    assert_eq!(set.dump(3).await, set.dump(1).await);
    assert!(set.taps[1].line.bites().held > 0);
    let next = repair.progress().next.unwrap();
    set.taps[1].line.join();
    let mut rest = repair::repair(&set.conn, "/").unwrap().from(next);
    let outcome = Outcome::of(&mut rest).await;
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    set.agrees("gone on").await;
}

#[tokio::test]
async fn a_first_that_dies_half_way_ends_it_and_nothing_is_deleted() {
    let set = spoilt(BRIEFLY).await;
    let mut repair = repair::repair(&set.conn, "/").unwrap();
    let before = Outcome::first(1, &mut repair).await;
    assert!(before.errors.is_empty(), "{before:?}");
    set.taps[0].line.lose_connection();
    let outcome = Outcome::of(&mut repair).await;
    assert!(outcome.has_error(&["quorum 1"]), "{outcome:?}");
    assert!(outcome.has_error(&["were not deleted"]), "{outcome:?}");
    assert!(set.dump(2).await.contains_key("/a/b"));
    let next = repair.progress().next.unwrap();
    set.taps[0].line.join();
    let mut rest = repair::repair(&set.conn, "/").unwrap().from(next);
    let outcome = Outcome::of(&mut rest).await;
    assert!(outcome.errors.is_empty(), "{outcome:?}");
    set.agrees("gone on").await;
}

// --- at any moment ----------------------------------------------------------------------------

#[tokio::test]
async fn a_repair_that_is_dropped_at_any_await_leaves_what_another_can_mend() {
    let mut ended = 0;
    for polls in 0.. {
        let set = small().await;
        let mut repair = repair::repair(&set.conn, "/").unwrap();
        let mut left = polls;
        let through = soon(
            "it",
            std::future::poll_fn(|cx| {
                loop {
                    if left == 0 {
                        return std::task::Poll::Ready(false);
                    }
                    left -= 1;
                    let next = std::pin::pin!(repair.next());
                    match std::future::Future::poll(next, cx) {
                        std::task::Poll::Ready(None) => return std::task::Poll::Ready(true),
                        std::task::Poll::Ready(Some(one)) => drop(one.unwrap()),
                        std::task::Poll::Pending => return std::task::Poll::Pending,
                    }
                }
            }),
        )
        .await;
        drop(repair);
        let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
        assert!(outcome.errors.is_empty(), "dropped after {polls} polls: {:?}", outcome.errors);
        set.agrees(&format!("dropped after {polls} polls")).await;
        if through {
            break;
        }
        ended += 1;
    }
    assert!(ended > 8, "{ended}");
}

/// A few nodes, spoilt in all ways.
async fn small() -> TappedSet {
    let set = TappedSet::new(WAIT).await;
    for node in ["/a", "/a/b", "/a/c", "/d", "/e"] {
        set.conn.create(node, node, Mode::Persistent).await.unwrap();
    }
    for mirror in set.quorums[1..].iter().map(|quorum| quorum.connect()) {
        tree::remove_all(&mirror, "/a").await.unwrap();
        mirror.set("/d", "x", Version::Any).await.unwrap();
        let acl = vec![Acl::world(Perms::READ | Perms::ADMIN)];
        mirror.set_acl("/e", acl, Version::Any).await.unwrap();
        tree::create_all(&mirror, "/x/y/z", "", Mode::Persistent).await.unwrap();
    }
    set
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_repairs_at_once_come_to_the_same_end() {
    for _ in 0..rounds(2, 50) {
        let set = spoilt(WAIT).await;
        let other = set.another();
        let one = async { Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await };
        let two = async { Outcome::of(&mut repair::repair(&other.conn, "/").unwrap()).await };
        let (one, two) = join(one, two).await;
        assert!(one.errors.is_empty() && two.errors.is_empty(), "{one:?}\n{two:?}");
        set.agrees("two repairs").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_write_on_while_it_is_repaired_and_lose_nothing() {
    let mut random = random("repair and clients");
    for round in 0..rounds(2, 100) {
        let set = spoilt(WAIT).await;
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..3).map(|client| {
            let (own, over) = (set.another(), over.clone());
            let mut random = fastrand::Rng::with_seed(random.u64(..));
            tokio::spawn(async move {
                let mut expected = std::collections::BTreeMap::new();
                while !over.load(Ordering::SeqCst) {
                    // Below what only mirrors have, and what only the first has.
                    let top = ["/t/6", "/t/7", "/t/0/extra", "/z", "/new"][random.usize(..5)];
                    let node = format!("{top}/c{client}-{}", random.u32(..20));
                    let data = random.u32(..).to_string();
                    if random.u32(..3) == 0 {
                        match own.conn.delete(&*node, Version::Any).await {
                            Err(err) if err.kind() != ErrorKind::NoNode => panic!("{err}"),
                            _ => expected.insert(node, None),
                        };
                    } else {
                        tree::put(&*own.conn, &*node, data.clone(), Mode::Persistent)
                            .await
                            .unwrap();
                        expected.insert(node, Some(data));
                    }
                }
                expected
            })
        });
        let clients: Vec<_> = clients.collect();
        let outcome = Outcome::of(&mut repair::repair(&set.conn, "/").unwrap()).await;
        over.store(true, Ordering::SeqCst);
        assert!(outcome.errors.is_empty(), "round {round}: {:?}", outcome.errors);
        let mut writes = 0;
        for client in clients {
            for (node, data) in soon("a client", client).await.unwrap() {
                writes += 1;
                for number in 1..=3 {
                    let found = set.quorums[number - 1].connect().get(&*node).await;
                    let found = found.ok().map(|node| String::from_utf8_lossy(&node.data).into());
                    assert_eq!(found, data, "round {round}: {node} on quorum {number}");
                }
            }
        }
        assert!(writes > 0);
        set.agrees(&format!("round {round}")).await;
    }
}

// --- on servers -------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_all_kinds_names_and_sizes_are_compared_and_mended_on_servers() {
    let (cells, root) = (LocalCells::up().unwrap(), fresh_root());
    let connect = |cell: &str| ZkConn::new(&cells.addrs(cell).unwrap(), SessionOptions::default());
    let quorums: Vec<_> =
        ["nyc", "sjc", "global"].map(|cell| Arc::new(connect(cell).unwrap())).into();
    let home = path(&format!("/zkcells/{root}"));
    let options = zkcells::GlobalOptions::default().with_home(home);
    let conns = quorums.iter().map(|quorum| quorum.clone() as Arc<dyn zkcells::Conn>);
    let set = Arc::new(zkcells::GlobalConn::new(conns, options));
    set.init().await.unwrap();
    let at = |relative: &str| format!("/{root}{relative}");
    set.create(at(""), "", Mode::Persistent).await.unwrap();
    let names = ["a b", "ä€漢", "%2F", "-", "..a", "a'b\"c\\", "*?[x]{y}", "local", "zookeeper"];
    for name in names {
        set.create(at(&format!("/{name}")), name, Mode::Persistent).await.unwrap();
        set.create(at(&format!("/{name}/{}", "x".repeat(500))), "", Mode::Persistent)
            .await
            .unwrap();
    }
    let large = vec![b'x'; 1_040_000];
    for n in 0..4 {
        set.create(at(&format!("/large-{n}")), large.clone(), Mode::Persistent).await.unwrap();
    }
    set.create(at("/container"), "", Mode::Container).await.unwrap();
    set.create(at("/container/child"), "", Mode::Persistent).await.unwrap();
    set.create(at("/ttl"), "", Mode::Ttl(Duration::from_secs(3600))).await.unwrap();
    set.create(at("/n"), "", Mode::Persistent).await.unwrap();
    for mode in [Mode::PersistentSequential, Mode::EphemeralSequential, Mode::Ephemeral] {
        set.create(at("/n/n-"), "", mode).await.unwrap();
    }
    let mut diff = repair::diff(&set, at("")).unwrap();
    let outcome = Outcome::of(&mut diff).await;
    assert!(outcome.told.is_empty() && outcome.errors.is_empty(), "{outcome:?}");
    let nodes = 1 + 2 * names.len() + 4 + 2 + 1 + 2;
    assert_eq!(diff.progress().compared, nodes + 2, "the ephemerals were looked at, too");
    // One mirror loses all, the other a byte in the middle of much, and has what the first has not.
    tree::remove_all(&*quorums[1], at("")).await.unwrap();
    let mut other = large.clone();
    other[500_000] = b'y';
    quorums[2].set(at("/large-2"), other, Version::Any).await.unwrap();
    let ephemeral = set.children(at("/n")).await.unwrap().names;
    let ephemeral = ephemeral.into_iter().find(|name| name.ends_with('1')).unwrap();
    quorums[2].create(at(&format!("/n/{ephemeral}")), "", Mode::Persistent).await.unwrap();
    let outcome = Outcome::of(&mut repair::repair(&set, at("")).unwrap()).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(outcome.told.len(), nodes + 2, "{:?}", outcome.told);
    assert!(outcome.told.contains(&(at("/large-2"), 3, Kind::Data)));
    assert!(outcome.told.contains(&(at(&format!("/n/{ephemeral}")), 3, Kind::Extra)));
    let first = tree::walk(&*quorums[0], at("")).await.unwrap();
    for mirror in &quorums[1..] {
        let found = tree::walk(&**mirror, at("")).await.unwrap();
        assert_eq!((found.len(), first.len()), (nodes - 1, nodes + 1));
        assert_eq!(mirror.get(at("/large-2")).await.unwrap().data, large);
    }
    set.close().await.unwrap();
}
