//! The contract suite: one clause, one promise, against any connection.
//!
//! [`contract_suite!`](crate::contract_suite) makes one test of each clause, so that a failure
//! names both the promise and the connection that broke it:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use zkcells::testing::contract::Subject;
//! use zkcells::{Auth, Conn, MemoryQuorum, Pending, SessionOptions, ZkPath};
//!
//! struct Memory(MemoryQuorum);
//!
//! impl Subject for Memory {
//!     fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>> {
//!         let options = auth.into_iter().fold(SessionOptions::default(), SessionOptions::with_auth);
//!         Pending::ready(Ok(Arc::new(self.0.connect_with(options))))
//!     }
//!     fn top(&self) -> ZkPath {
//!         ZkPath::root()
//!     }
//!     fn advance(&self, by: Duration) {
//!         self.0.advance(by);
//!     }
//! }
//!
//! zkcells::contract_suite!(memory, Memory(MemoryQuorum::new()));
//! # fn main() {}
//! ```
//!
//! What a clause says was measured on ZooKeeper 3.8.0. Where an in-process stand-in and ZooKeeper
//! differ, ZooKeeper is right.
//!
//! Clauses do not sleep. They wait for a watch or a reply, and prove that a watch did *not* fire
//! by a later write and read in the same session: servers tell events in order with replies.
#![allow(clippy::unwrap_used, reason = "clauses are tests: what they unwrap is what they assert")]

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use crate::auth::Auth;
use crate::conn::{Conn, ConnExt as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::{Mode, Stat, Version};
use crate::path::ZkPath;
use crate::session::Session;
use crate::testing::cells::fresh_root;
use crate::watch::{EventKind, TreeEvent, TreeWatch, Watch};

#[doc(hidden)]
pub mod acls;
#[doc(hidden)]
pub mod create;
#[doc(hidden)]
pub mod delete;
#[doc(hidden)]
pub mod ephemerals;
#[doc(hidden)]
pub mod limits;
#[doc(hidden)]
pub mod multi;
#[doc(hidden)]
pub mod order;
#[doc(hidden)]
pub mod read;
#[doc(hidden)]
pub mod read_many;
#[doc(hidden)]
pub mod sequences;
#[doc(hidden)]
pub mod sessions;
#[doc(hidden)]
pub mod stats;
#[doc(hidden)]
pub mod tree_watches;
#[doc(hidden)]
pub mod watches;
#[doc(hidden)]
pub mod write;

/// Nothing that must happen takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// But servers look for what has had its time once a minute only.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What is held to the contract: connections to one tree.
pub trait Subject: Send + Sync + 'static {
    /// A new session on the tree, with these identities.
    fn connect(&self, auth: Vec<Auth>) -> Pending<Arc<dyn Conn>>;

    /// Below which node the suite may work, in the spelling of the connections' callers. It and
    /// its parents are created if they are missing; what clauses leave below it stays there.
    fn top(&self) -> ZkPath;

    /// Moves the quorum's clock on by `by`, if it has one of its own.
    ///
    /// Servers have none: there the suite waits for them. They look for containers and TTL nodes
    /// whose time is over once a minute, unless `znode.container.checkIntervalMs` says otherwise.
    fn advance(&self, by: Duration) {
        let _ = by;
    }
}

/// What a clause works with: a connection, a fresh root, and words for what is often asserted.
///
/// It prints as its connection, for messages.
pub struct Bench {
    /// A connection without identities.
    pub conn: Arc<dyn Conn>,
    subject: Box<dyn Subject>,
    root: ZkPath,
    settle: ZkPath,
}

impl Bench {
    /// A connection of `subject` and a fresh root.
    ///
    /// # Panics
    ///
    /// When the subject does not connect, or the root cannot be made.
    pub async fn new(subject: impl Subject) -> Bench {
        let conn = match subject.connect(Vec::new()).await {
            Ok(conn) => conn,
            Err(err) => panic!("no connection to test: {err}: {:?}", err.detail()),
        };
        let home = subject.top().child(&fresh_root());
        let bench = Bench {
            conn,
            subject: Box::new(subject),
            root: home.child("root"),
            settle: home.child("settle"),
        };
        bench.make_all(&bench.root).await;
        bench.make_all(&bench.settle).await;
        bench
    }

    async fn make_all(&self, path: &ZkPath) {
        let mut missing = vec![path.clone()];
        while let Some(parent) = missing.last().and_then(ZkPath::parent) {
            if parent.is_root() || self.ok(self.conn.exists(&parent).await).is_some() {
                break;
            }
            missing.push(parent);
        }
        for path in missing.iter().rev() {
            match self.conn.create(path, "", Mode::Persistent).await {
                // Another test makes the same parents.
                Err(err) if err.kind() == ErrorKind::NodeExists => {}
                made => drop(self.ok(made)),
            }
        }
    }

    /// The text of the path `relative` (`/a/b`, or nothing for the root itself) below the root.
    pub fn at(&self, relative: &str) -> String {
        format!("{}{relative}", self.root)
    }

    /// As [`at`](Self::at), checked.
    pub fn path(&self, relative: &str) -> ZkPath {
        ZkPath::new(self.at(relative)).unwrap()
    }

    /// Another session without identities.
    pub async fn another(&self) -> Arc<dyn Conn> {
        self.ok(self.subject.connect(Vec::new()).await)
    }

    /// A session of `user`, whose password is [`password`].
    pub async fn as_user(&self, user: &str) -> Arc<dyn Conn> {
        self.ok(self.subject.connect(vec![Auth::digest(user, password())]).await)
    }

    /// The value; an error fails the clause.
    #[track_caller]
    pub fn ok<T>(&self, answer: Result<T, Error>) -> T {
        match answer {
            Ok(value) => value,
            Err(err) => panic!("{self}: {err}"),
        }
    }

    /// The error, which must be of `kind`.
    #[track_caller]
    pub fn refused<T>(&self, answer: Result<T, Error>, kind: ErrorKind) -> Error {
        match answer {
            Ok(_) => panic!("{self}: succeeded and should have said: {kind}"),
            Err(err) => {
                assert_eq!(err.kind(), kind, "{self}: {err}");
                err
            }
        }
    }

    /// Makes a persistent node.
    pub async fn make(&self, relative: &str, data: &str) -> Stat {
        self.ok(self.conn.create(self.at(relative), data, Mode::Persistent).await).1
    }

    /// Sets a node, whatever its version.
    pub async fn set(&self, relative: &str, data: &str) -> Stat {
        self.ok(self.conn.set(self.at(relative), data, Version::Any).await)
    }

    /// Deletes a node, whatever its version.
    pub async fn delete(&self, relative: &str) {
        self.ok(self.conn.delete(self.at(relative), Version::Any).await);
    }

    /// The data of a node as text.
    pub async fn data(&self, relative: &str) -> String {
        let node = self.ok(self.conn.get(self.at(relative)).await);
        String::from_utf8(node.data.to_vec()).unwrap()
    }

    /// The stat of a node, which must be there.
    pub async fn stat(&self, relative: &str) -> Stat {
        match self.ok(self.conn.exists(self.at(relative)).await) {
            Some(stat) => stat,
            None => panic!("{self}: {} is not there", self.at(relative)),
        }
    }

    /// Whether a node is there.
    pub async fn is_there(&self, relative: &str) -> bool {
        self.ok(self.conn.exists(self.at(relative)).await).is_some()
    }

    /// The session of the bench's connection.
    pub async fn session(&self) -> Session {
        self.ok(self.conn.session(self.at("")).await)
    }

    /// What the watch tells, sooner or later.
    pub async fn fires(&self, watch: Watch) -> EventKind {
        self.fires_within(PATIENCE, watch).await
    }

    /// What the watch tells once servers have looked for nodes that have had their time.
    pub async fn fires_at_the_next_check(&self, watch: Watch) -> EventKind {
        self.subject.advance(2 * CHECK_INTERVAL);
        self.fires_within(CHECK_INTERVAL + PATIENCE, watch).await
    }

    async fn fires_within(&self, wait: Duration, watch: Watch) -> EventKind {
        let path = watch.path().clone();
        match tokio::time::timeout(wait, watch).await {
            Ok(event) => {
                assert_eq!(event.path, path, "{self}: the event is at another path");
                event.kind
            }
            Err(_) => panic!("{self}: the watch on {path} does not fire"),
        }
    }

    /// What the watch has told already.
    #[track_caller]
    pub fn has_fired(&self, watch: Watch) -> EventKind {
        let path = watch.path().clone();
        match tokio::task::unconstrained(watch).now_or_never() {
            Some(event) => event.kind,
            None => panic!("{self}: the watch on {path} is later than the reply"),
        }
    }

    /// Writes and reads in the session of `conn`. What was told of earlier changes is there then.
    pub async fn settle(&self, conn: &dyn Conn) {
        self.ok(conn.set(&self.settle, "", Version::Any).await);
        self.ok(conn.get(&self.settle).await);
    }

    /// Proves that the watch (of the bench's connection) has not fired.
    pub async fn is_quiet(&self, watch: &mut Watch) {
        self.settle(&self.conn).await;
        let fired = tokio::task::unconstrained(watch).now_or_never();
        assert_eq!(fired, None, "{self}: fired for nothing");
    }

    /// What the tree watch tells next: which change, and where below the root.
    pub async fn told(&self, tree: &mut TreeWatch) -> (EventKind, String) {
        match tokio::time::timeout(PATIENCE, tree.next()).await {
            Ok(Some(TreeEvent::Changed(event))) => {
                let path = event.path.as_str();
                let below = path.strip_prefix(self.root.as_str());
                let below = below.unwrap_or_else(|| panic!("{self}: told of {path}"));
                (event.kind, below.to_string())
            }
            Ok(other) => panic!("{self}: expected a change, told {other:?}"),
            Err(_) => panic!("{self}: the tree watch on {} tells nothing", tree.path()),
        }
    }

    /// Holds the tree watch to the next changes, in order.
    pub async fn tells(&self, tree: &mut TreeWatch, changes: &[(EventKind, &str)]) {
        for (kind, below) in changes {
            assert_eq!(self.told(tree).await, (*kind, below.to_string()), "{self}");
        }
    }

    /// Proves that the tree watch (of the bench's connection) has nothing to tell.
    pub async fn tree_is_quiet(&self, tree: &mut TreeWatch) {
        self.settle(&self.conn).await;
        let told = tokio::task::unconstrained(tree.next()).now_or_never();
        assert_eq!(told, None, "{self}: told for nothing");
    }
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.conn.fmt(f)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("conn", &self.conn).field("root", &self.root).finish()
    }
}

/// The password of every user in the suite.
pub fn password() -> &'static str {
    "open sesame"
}

/// Holds `subject` to one clause, on a runtime of its own.
///
/// # Panics
///
/// When the subject breaks the promise, or takes longer than two minutes over it.
pub fn run<F: Future<Output = ()>>(subject: impl Subject, clause: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let held = async { clause(Bench::new(subject).await).await };
        let done = tokio::time::timeout(2 * CHECK_INTERVAL, held).await;
        assert!(done.is_ok(), "the clause hangs");
    });
}

/// The names of all clauses, as `create::create_wants_a_parent`.
pub fn clauses() -> &'static [&'static str] {
    crate::contract_suite!(@all names)
}

/// Makes a module of tests, one for each clause of the contract.
///
/// `contract_suite!(memory, subject)` makes `mod memory`; `subject` is an expression that gives a
/// [`Subject`](crate::testing::contract::Subject), and runs anew for each test.
#[macro_export]
macro_rules! contract_suite {
    ($module:ident, $subject:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $crate::contract_suite!(@all tests $subject);
        }
    };
    (@tests $subject:expr; $($file:ident::$clause:ident,)*) => {
        $(
            #[test]
            fn $clause() {
                $crate::testing::contract::run(
                    $subject,
                    $crate::testing::contract::$file::$clause,
                );
            }
        )*
    };
    (@names; $($file:ident::$clause:ident,)*) => {
        &[$(concat!(stringify!($file), "::", stringify!($clause))),*]
    };
    (@all $what:ident $($subject:expr)?) => {
        $crate::contract_suite! {
            @$what $($subject)?;
            acls::get_needs_read,
            acls::children_need_read,
            acls::exists_needs_no_right,
            acls::a_childs_name_shows_whatever_its_own_acl,
            acls::set_needs_write,
            acls::create_needs_create_on_the_parent,
            acls::create_of_what_is_there_tells_the_missing_right,
            acls::delete_needs_delete_on_the_parent,
            acls::delete_needs_no_right_on_the_node,
            acls::rights_are_not_inherited,
            acls::acl_needs_read_or_admin,
            acls::set_acl_needs_admin,
            acls::a_right_that_is_missing_comes_before_a_wrong_version,
            acls::a_list_of_no_rights_shuts_everybody_out,
            acls::a_digest_lets_its_user_in_and_nobody_else,
            acls::the_creators_entry_becomes_his_digest,
            acls::a_creator_without_identity_is_refused,
            acls::an_empty_list_is_refused,
            acls::an_identity_that_no_scheme_knows_is_refused,
            acls::an_entry_that_is_there_twice_is_kept_once,
            acls::password_hashes_show_to_administrators_only,
            acls::a_multi_needs_every_right_of_its_steps,
            acls::read_many_tells_a_missing_right_at_its_place,
            acls::a_tree_watch_tells_nothing_of_what_may_not_be_read,
            acls::a_watch_tells_nothing_of_what_may_not_be_read,
            create::create_returns_the_path_and_the_stat,
            create::create_stores_the_data,
            create::create_may_store_nothing,
            create::create_wants_a_parent,
            create::create_leaves_what_is_there,
            create::create_below_an_ephemeral_is_refused,
            create::create_is_open_to_all_unless_told_otherwise,
            create::create_after_delete_is_another_node,
            create::create_names_itself_and_the_path_in_errors,
            create::a_persistent_node_has_no_owner,
            create::containers_and_ttl_nodes_show_no_owner,
            create::containers_and_ttl_nodes_have_children,
            create::a_container_goes_after_its_last_child,
            create::a_container_with_children_stays,
            create::a_ttl_node_goes_when_its_time_is_over,
            create::a_ttl_node_with_children_stays,
            create::a_ttl_node_may_be_numbered,
            create::the_longest_time_to_live_is_accepted,
            create::a_time_to_live_out_of_bounds_is_refused,
            create::a_node_of_every_mode_can_be_set_and_deleted,
            delete::delete_removes_a_leaf,
            delete::delete_wants_a_node,
            delete::delete_of_a_node_with_children_is_refused,
            delete::delete_of_a_node_that_lost_its_children_succeeds,
            delete::delete_with_the_right_version_succeeds,
            delete::delete_with_a_wrong_version_is_refused,
            delete::delete_looks_at_the_version_before_the_children,
            delete::delete_twice_is_no_such_node,
            ephemerals::an_ephemeral_belongs_to_its_session,
            ephemerals::an_ephemeral_ends_with_its_session,
            ephemerals::close_returns_when_the_ephemerals_are_gone,
            ephemerals::only_ephemerals_end_with_the_session,
            ephemerals::others_may_set_and_delete_an_ephemeral,
            ephemerals::ephemerals_lists_ours_in_order,
            ephemerals::ephemerals_are_those_at_or_below_the_path,
            ephemerals::ephemerals_are_none_where_there_are_none,
            ephemerals::an_ephemeral_made_in_a_multi_is_one,
            limits::a_million_bytes_fit_into_a_node,
            limits::what_is_too_large_is_refused_and_harms_nobody,
            limits::odd_names_are_names,
            limits::long_names_and_deep_paths_work,
            limits::bad_paths_are_refused_without_asking,
            limits::a_bare_prefix_is_for_sequential_creates_only,
            limits::a_call_without_time_is_not_sent,
            multi::multi_does_all_steps_and_answers_in_order,
            multi::a_refused_multi_does_nothing,
            multi::the_first_step_at_fault_is_named,
            multi::a_multi_is_refused_for_what_create_refuses,
            multi::a_multi_is_refused_for_what_set_refuses,
            multi::a_multi_is_refused_for_what_delete_refuses,
            multi::a_multi_is_refused_for_a_check_that_fails,
            multi::a_check_alone_changes_nothing,
            multi::later_steps_see_what_earlier_ones_did,
            multi::later_steps_are_refused_for_what_earlier_ones_did,
            multi::an_empty_multi_answers_nothing,
            multi::all_steps_are_one_transaction,
            multi::a_create_in_a_multi_tells_its_stat_or_none,
            multi::a_set_in_a_multi_tells_its_stat,
            multi::numbered_creates_in_a_multi_count_each_other,
            multi::a_refused_multi_uses_up_no_number,
            multi::a_container_made_in_a_multi_is_one,
            multi::a_negative_version_refuses_the_whole_multi,
            multi::a_path_that_is_none_refuses_the_whole_multi,
            multi::hundreds_of_steps_are_one_multi,
            order::many_creates_are_numbered_in_the_order_of_the_calls,
            order::replies_may_be_awaited_in_any_order,
            order::a_read_sees_the_write_called_before_it,
            order::a_read_does_not_see_the_write_called_after_it,
            order::writes_apply_in_the_order_of_the_calls,
            order::operations_of_all_kinds_keep_their_order,
            order::a_refused_call_does_not_hold_up_the_next,
            order::a_watch_stands_between_the_calls_around_it,
            order::sync_shows_what_others_were_told_was_written,
            order::sync_needs_no_node,
            order::sync_changes_nothing,
            read::get_returns_the_data_of_the_last_set,
            read::get_wants_a_node,
            read::exists_tells_none_of_what_is_absent,
            read::children_are_names_in_ascending_order,
            read::children_are_one_level_deep,
            read::children_of_a_leaf_are_none,
            read::children_want_a_node,
            read::thousands_of_children_are_listed,
            read::acl_returns_what_create_set,
            read::acl_wants_a_node,
            read_many::read_many_answers_in_the_order_of_the_reads,
            read_many::read_many_of_nothing_is_nothing,
            read_many::read_many_tells_each_error_at_its_place,
            read_many::read_many_reads_hundreds_of_nodes,
            read_many::read_many_may_read_a_node_twice,
            read_many::read_many_may_ask_more_than_one_request_holds,
            read_many::read_many_may_find_more_than_one_request_holds,
            read_many::read_many_sees_the_write_called_before_it,
            sequences::numbers_start_at_zero_and_have_ten_digits,
            sequences::numbers_go_up_by_one,
            sequences::plain_creates_count_too,
            sequences::deletes_do_not_count,
            sequences::refused_creates_do_not_count,
            sequences::grandchildren_do_not_count,
            sequences::all_prefixes_modes_and_sessions_share_the_numbers,
            sequences::a_bare_prefix_makes_the_number_the_name,
            sequences::a_numbered_ephemeral_belongs_to_its_session,
            sequences::numbers_start_again_below_a_new_parent,
            sequences::a_number_that_is_taken_is_refused,
            sequences::a_numbered_create_wants_a_parent,
            sequences::a_numbered_node_is_a_node_like_others,
            sessions::a_session_says_what_it_is,
            sessions::a_connection_says_what_it_is,
            sessions::all_paths_of_a_cell_have_one_session,
            sessions::two_connections_have_two_sessions,
            sessions::a_session_owns_its_ephemerals_only,
            sessions::a_write_proves_the_session_alive,
            sessions::a_read_proves_nothing_of_the_session,
            sessions::a_request_of_another_session_is_refused,
            sessions::a_hold_of_what_was_seen_starts_from_the_last_write,
            sessions::a_session_says_which_cell_it_is_of,
            sessions::close_ends_the_session,
            sessions::a_closed_connection_refuses_every_operation,
            sessions::a_second_close_succeeds,
            sessions::calls_made_before_close_are_answered,
            sessions::close_leaves_other_connections_alone,
            stats::a_new_node_starts_all_its_counters,
            stats::set_moves_the_data_facts_only,
            stats::set_acl_moves_the_acl_version_only,
            stats::a_new_child_moves_the_child_facts_only,
            stats::a_deleted_child_moves_the_child_facts_only,
            stats::the_child_version_counts_comings_and_goings,
            stats::what_happens_to_a_child_leaves_its_parent_alone,
            stats::a_refused_write_moves_nothing,
            stats::the_end_of_a_session_counts_as_deletes_do,
            stats::transaction_ids_grow_with_every_write,
            stats::all_reads_tell_the_same_stat,
            stats::all_sessions_are_told_the_same_stat,
            tree_watches::a_tree_watch_tells_what_happens_below,
            tree_watches::a_tree_watch_tells_what_happens_to_its_own_node,
            tree_watches::a_tree_watch_goes_on_when_its_node_comes_back,
            tree_watches::a_tree_watch_names_its_path,
            tree_watches::a_tree_watch_ignores_what_lies_beside,
            tree_watches::a_tree_watch_ignores_acls_and_refused_writes,
            tree_watches::a_tree_watch_tells_the_steps_of_a_multi_in_order,
            tree_watches::a_tree_watch_tells_what_others_do,
            tree_watches::a_tree_watch_tells_many_changes_in_order,
            tree_watches::a_tree_watch_is_no_later_than_the_reply,
            tree_watches::two_tree_watches_on_a_path_tell_the_same,
            tree_watches::dropping_a_tree_watch_leaves_the_other_one,
            tree_watches::a_tree_watch_left_right_after_another_was_dropped_works,
            tree_watches::tree_watches_may_lie_within_each_other,
            tree_watches::a_tree_watch_ends_with_its_session,
            tree_watches::get_watch_on_the_path_of_a_tree_watch_leaves_it_alive,
            tree_watches::exists_watch_on_the_path_of_a_tree_watch_leaves_it_alive,
            tree_watches::children_watch_on_the_path_of_a_tree_watch_leaves_it_alive,
            tree_watches::a_tree_watch_on_the_path_of_a_get_watch_leaves_it_alive,
            tree_watches::a_tree_watch_on_the_path_of_an_exists_watch_leaves_it_alive,
            tree_watches::a_tree_watch_on_the_path_of_a_children_watch_leaves_it_alive,
            tree_watches::exists_watch_of_an_absent_node_works_beside_a_tree_watch,
            tree_watches::dropping_a_one_shot_leaves_the_tree_watch_alive,
            tree_watches::dropping_a_tree_watch_leaves_the_one_shots_left_before_it,
            tree_watches::dropping_a_tree_watch_leaves_the_one_shots_left_after_it,
            tree_watches::one_shots_below_a_tree_watch_fire,
            watches::get_watch_fires_for_new_data,
            watches::get_watch_fires_for_the_nodes_end,
            watches::get_watch_wants_a_node,
            watches::get_watch_ignores_children,
            watches::exists_watch_fires_for_a_creation,
            watches::exists_watch_fires_for_a_creation_whose_parent_was_missing,
            watches::exists_watch_fires_for_new_data,
            watches::exists_watch_fires_for_the_nodes_end,
            watches::exists_watch_ignores_children,
            watches::children_watch_fires_for_a_new_child,
            watches::children_watch_fires_for_a_childs_end,
            watches::children_watch_fires_for_the_nodes_own_end,
            watches::children_watch_wants_a_node,
            watches::children_watch_ignores_data_and_grandchildren,
            watches::watches_ignore_siblings_and_like_names,
            watches::set_acl_fires_no_watch,
            watches::refused_writes_fire_no_watch,
            watches::a_watch_is_left_anew_after_it_fired,
            watches::a_watch_names_its_path,
            watches::watches_fire_for_what_others_do,
            watches::watches_fire_for_the_end_of_an_ephemeral,
            watches::watches_fire_for_the_steps_of_a_multi,
            watches::a_watch_is_no_later_than_the_reply_to_our_write,
            watches::a_watch_is_no_later_than_the_read_that_shows_the_change,
            watches::two_watches_on_a_path_both_fire,
            watches::watches_of_all_kinds_on_a_path_fire,
            watches::dropping_a_watch_leaves_the_other_one,
            watches::dropping_a_watch_leaves_those_of_other_kinds,
            watches::a_watch_left_right_after_another_was_dropped_fires,
            watches::a_watch_left_while_another_is_dropped_fires,
            watches::a_watch_dropped_unread_disturbs_nobody,
            watches::watches_on_many_paths_all_fire,
            watches::watches_tell_the_end_of_their_session,
            write::set_wants_a_node,
            write::set_with_the_right_version_replaces_the_data,
            write::set_with_a_wrong_version_is_refused,
            write::set_with_any_version_replaces_the_data,
            write::set_counts_even_if_the_data_is_the_same,
            write::set_may_empty_a_node,
            write::set_keeps_the_children,
            write::set_acl_replaces_the_list,
            write::set_acl_wants_a_node,
            write::set_acl_compares_the_acl_version,
            write::a_negative_version_is_refused,
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clause that is in no list would never run.
    #[test]
    fn every_clause_is_in_the_list() {
        let sources = [
            ("acls", include_str!("contract/acls.rs")),
            ("create", include_str!("contract/create.rs")),
            ("delete", include_str!("contract/delete.rs")),
            ("ephemerals", include_str!("contract/ephemerals.rs")),
            ("limits", include_str!("contract/limits.rs")),
            ("multi", include_str!("contract/multi.rs")),
            ("order", include_str!("contract/order.rs")),
            ("read", include_str!("contract/read.rs")),
            ("read_many", include_str!("contract/read_many.rs")),
            ("sequences", include_str!("contract/sequences.rs")),
            ("sessions", include_str!("contract/sessions.rs")),
            ("stats", include_str!("contract/stats.rs")),
            ("tree_watches", include_str!("contract/tree_watches.rs")),
            ("watches", include_str!("contract/watches.rs")),
            ("write", include_str!("contract/write.rs")),
        ];
        let mut written = Vec::new();
        for (file, source) in sources {
            let names = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            written.extend(
                names.filter_map(|rest| Some(format!("{file}::{}", rest.split_once('(')?.0))),
            );
        }
        assert_eq!(written, clauses());
    }

    #[test]
    fn futures_and_watches_can_go_to_other_threads() {
        fn owned<T: Send + 'static>() {}
        owned::<Pending<Stat>>();
        owned::<Pending<(Stat, Watch)>>();
        owned::<Watch>();
        owned::<TreeWatch>();
        owned::<Session>();
        owned::<Arc<dyn Conn>>();
    }
}
