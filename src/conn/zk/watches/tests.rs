//! The bookkeeping of watches, without a server.

use futures::FutureExt as _;
use oneshot::error::TryRecvError;

use super::*;
use crate::watch::{TreeWatch, Watch};

fn path(text: &str) -> ZkPath {
    ZkPath::new(text).unwrap()
}

fn facts(set: i64, children: i64) -> Seen {
    Some(Facts { created: 1, set, children })
}

fn wait(watches: &mut Watches, at: &ZkPath, list: List, seen: Seen) -> (OnceId, Watch) {
    let (sender, watch) = Watch::channel(at.clone());
    (watches.wait(at, list, sender, seen), watch)
}

#[test]
fn paths_are_counted_once_for_each_list() {
    let mut watches = Watches::default();
    let long = path(&format!("/{}", "x".repeat(MAX_BYTES / 2)));
    assert!(watches.reserve(&long, List::Data));
    assert!(watches.reserve(&long, List::Data));
    assert!(!watches.reserve(&long, List::Children));
    watches.release(&long, List::Data);
    assert!(!watches.reserve(&long, List::Children));
    watches.release(&long, List::Data);
    assert!(watches.reserve(&long, List::Children));
    watches.broke();
    assert_eq!((watches.bytes, watches.held.len()), (0, 0));
}

#[test]
fn an_event_during_a_fed_read_asks_for_another_read() {
    let (mut watches, at) = (Watches::default(), path("/a"));
    watches.tree_asked(&at);
    let (sender, _tree) = TreeWatch::channel(at.clone());
    let id = watches.tree_stands(&at, sender);
    watches.feed_asked(&at, List::Data, 1);
    watches.feed_asked(&at, List::Children, 2);
    watches.tree_told(&at, id, EventKind::Created, "/a/below");
    assert!(!watches.feed_answered(&at, 1));
    assert!(watches.feed_answered(&at, 2));
    watches.feed_asked(&at, List::Data, 3);
    watches.feed_asked(&at, List::Children, 4);
    watches.tree_told(&at, id, EventKind::DataChanged, "/a");
    assert!(watches.feed_answered(&at, 3));
    assert!(!watches.feed_answered(&at, 4));
}

#[test]
fn a_read_that_counted_on_a_tree_watch_that_never_came_is_made_again() {
    let (mut watches, at) = (Watches::default(), path("/a"));
    watches.tree_asked(&at);
    watches.feed_asked(&at, List::Data, 1);
    watches.tree_failed(&at);
    assert!(watches.feed_answered(&at, 1));
}

#[tokio::test]
async fn a_later_read_fires_what_missed_a_change() {
    let (mut watches, at) = (Watches::default(), path("/a"));
    let (_, unchanged) = wait(&mut watches, &at, List::Data, facts(5, 1));
    let (_, changed) = wait(&mut watches, &at, List::Data, facts(4, 1));
    let (_, more) = wait(&mut watches, &at, List::Children, facts(5, 0));
    watches.checked(&at, facts(5, 1));
    assert_eq!(changed.await.kind, EventKind::DataChanged);
    assert_eq!(more.await.kind, EventKind::ChildrenChanged);
    assert!(unchanged.now_or_never().is_none());
}

#[test]
fn a_withdrawn_tree_watch_stays_while_a_one_shot_needs_it() {
    let (mut watches, at) = (Watches::default(), path("/a"));
    assert!(watches.reserve(&at, List::Children));
    let (id, watch) = wait(&mut watches, &at, List::Children, facts(1, 1));
    let (sender, _tree) = TreeWatch::channel(at.clone());
    let tree = watches.tree_stands(&at, sender);
    let mut stopped = watches.tree_withdrawn(&at, tree).unwrap();
    assert!(stopped.try_recv().is_err_and(|err| err == TryRecvError::Empty));
    watches.tree_told(&at, tree, EventKind::Deleted, "/a/b");
    assert_eq!(watch.now_or_never().unwrap().kind, EventKind::ChildrenChanged);
    assert!(stopped.try_recv().is_err_and(|err| err == TryRecvError::Closed));
    assert!(watches.take(&id).is_none() && !watches.has_tree(&at));
}

#[test]
fn what_is_parked_is_let_go_with_the_tree_watch() {
    let (mut watches, at) = (Watches::default(), path("/a"));
    let (sender, _tree) = TreeWatch::channel(at.clone());
    let tree = watches.tree_stands(&at, sender);
    assert!(watches.reserve(&at, List::Data));
    let (id, watch) = wait(&mut watches, &at, List::Data, facts(1, 1));
    drop((watch, watches.take(&id)));
    assert!(watches.park(&id, std::future::pending().boxed()).is_none());
    assert_eq!(watches.held.len(), 1);
    watches.tree_withdrawn(&at, tree);
    assert_eq!((watches.bytes, watches.held.len(), watches.trees.len()), (0, 0, 0));
}

#[test]
fn after_a_break_what_somebody_waits_for_is_left_again() {
    let (mut watches, at, beside) = (Watches::default(), path("/a"), path("/b"));
    let (sender, _tree) = TreeWatch::channel(at.clone());
    watches.tree_stands(&at, sender);
    let (sender, gone) = TreeWatch::channel(beside.clone());
    watches.tree_stands(&beside, sender);
    let (_, _fed) = wait(&mut watches, &at, List::Data, None);
    let (alone, _watch) = wait(&mut watches, &beside, List::Data, None);
    let (_, withdrawn) = wait(&mut watches, &beside, List::Data, None);
    drop((gone, withdrawn));
    watches.broke();
    assert_eq!(watches.trees().into_iter().map(|(path, ..)| path).collect::<Vec<_>>(), [at]);
    assert_eq!(watches.alone(), [alone]);
}

#[test]
fn only_direct_children_are_children() {
    let child = |of: &str, at| is_child(&path(of), at);
    assert!(child("/a", "/a/b") && child("/", "/a"));
    assert!(!child("/a", "/a/b/c") && !child("/a", "/ab") && !child("/", "/a/b"));
    assert!(!child("/", "/"));
}
