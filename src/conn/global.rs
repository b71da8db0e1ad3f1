//! The same tree on n quorums, so that losing one loses nothing.
//!
//! # How it works
//!
//! One quorum is the *first*, and decides everything: whether a node exists, which version it has,
//! which number comes next. While it is away writes fail, and nothing is written. The others are
//! *mirrors*. A write goes to the first; then each mirror is brought to what the first holds, as its
//! answer tells or a fresh look at it, and never to what a caller once said. That is bound to the
//! mirror's own versions and fences (below): of two writers that race, the first's last word is the
//! last word everywhere.
//!
//! [`GlobalOptions::require`] says how many mirrors must have a write before it is answered. When
//! too few have it by the deadline, the error is [`NotMirrored`](crate::ErrorKind::NotMirrored) and
//! says which have it, which not, and why: the write itself stands. What a mirror lacks is brought
//! there in the background for as long as the connection lives ([`GlobalConn::owed`]); after that
//! [`repair`](crate::repair) does it.
//!
//! | | |
//! |---|---|
//! | nodes, data, access lists | on all quorums; versions, numbers and times are each quorum's own |
//! | ephemeral nodes, sessions, holds, watches, recipes | the first's alone; mirrors need not be there |
//! | sequential nodes | the first gives the number, mirrors get the name |
//! | `multi` | atomic on the first; on a mirror its paths come together or one after the other |
//! | containers, TTL nodes | persistent on mirrors, and deleted there when the first has ended them: by the connection that made them as long as it lives, or by `repair` |
//! | watches | fire at least once, for changes on the first |
//!
//! # Who the quorums are
//!
//! Each quorum has a node ([`GlobalOptions::home`], by default `/zkcells/global`) outside of the tree
//! of users that holds its [`Identity`]: set, epoch, term, role, incarnation, and whether it is complete.
//! A child of that node says the same by its *name*, and no name comes twice. Every write to the first is
//! a multi that checks the first's name, and every write to a mirror checks the mirror's: so whoever has
//! not looked for long, or was taken elsewhere by a reloaded configuration, writes nowhere. A quorum
//! whose identity is missing (it lost its data), of another set, or of an older epoch (another was made
//! the first meanwhile) takes no write: [`WrongQuorum`](crate::ErrorKind::WrongQuorum), with what to do.
//! So an empty first cannot wipe the rest. Before its first write, and after each doubt, a connection asks
//! all quorums who they are; without the first and as many mirrors as must confirm, nothing is written.
//! Nobody waits for that beyond his own deadline; mirrors that need not confirm have half a second, and at
//! most half of the time of whoever has the least. What is the first's alone needs the first alone. Calls
//! leave in their order, so that a read waits behind a write which was called before it: when it does,
//! mirrors that must confirm have two seconds to say who they are, and then the write is refused
//! ([`NotSent`](crate::ErrorKind::NotSent)).
//!
//! A hold is of the first's name, too, and renewed with it: when another quorum is made the first, whatever
//! was granted on the old one is lost, as if its session had not been proved.
//!
//! `zk global init` ([`GlobalConn::init`]) makes identities. Of a new set whose first is empty and whose
//! mirrors are not, it makes none before the operator says so; nor of a quorum that holds
//! something, for a set that exists already: its address may be wrong. `zk global promote`
//! ([`GlobalConn::promote_with`]) makes a mirror the first, in a new epoch with a random *term*, and
//! refuses, without the operator's word for each of it,
//!
//! - a mirror that does not answer: it may know of another first, or have what no other has;
//! - a chosen quorum that is not complete: what it lacks would be lost;
//! - a chosen mirror that differs from another mirror of the same first, unless it is surely newer wherever
//!   they differ: it may lack writes that the other has. All of the tree is compared for that; how it is told
//!   which of two is newer stands under *Fences*. Mirrors that hold the same may each be the first,
//!   whichever way they came to it. What a first that lives has alone is not asked for;
//! - two firsts of one epoch, made apart from each other. Their terms tell them apart: where both are seen,
//!   nothing is written or repaired, until the operator has chosen one.
//!
//! Before the last look at what would be lost, the old first and all other mirrors are *stopped*: they get
//! another name, and whoever asks again learns that they take no writes. So none is answered that was not
//! seen. Whoever is refused is let go on: nothing has changed then.
//!
//! It never touches a quorum of another set. If it ends half-way, quorums may stay stopped; it is finished
//! by running it again, for the same quorum or another.
//!
//! A quorum that comes into a set, and each mirror of a new first, is not *complete* until a repair of the
//! whole tree has found nothing more to do. It takes writes and is told of them like any other, and each of
//! them is there when it confirms; but it cannot take the first's place. With [`Require::All`](crate::Require::All) an
//! acknowledged write is on every mirror, so each complete one may follow the first with nothing lost.
//! With [`Require::AtLeast`](crate::Require::AtLeast) it is on so many; a mirror that is not complete then counts only for want of
//! complete ones, as far as they have said who they are. Promote the one that was told most of the first:
//! `promote` refuses any other, and says which one that is, as far as mirrors answer and anybody can know.
//!
//! A new access list is the one write that no multi can hold. It is sent when the first has just said that
//! it still is one, in the same session, and it is asked once more right behind it; calls behind it wait
//! for the former. If its identity changed in between, that is
//! [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown): the list was set on a quorum that may have been the
//! first no more.
//!
//! # An old backup
//!
//! Every write to the first moves a counter there, and whatever is brought to a mirror leaves in its fences
//! how far the first was. A first that counts less than a mirror has on record was restored from an old
//! backup, and takes no writes. Whoever wrote before and after that in one go learns it from the first
//! answer: that one write stands on the first alone
//! ([`NotMirrored`](crate::ErrorKind::NotMirrored)). Whoever was idle meanwhile learns it from the fences
//! of what he writes: nothing that a mirror knew later is overwritten before the first counts that far again.
//! The count has 64 bits: who has not seen the first for an hour asks it first.
//!
//! # Fences
//!
//! Below the identity are 256 *fences*, one for each 1/256 of all paths. Every write to a mirror sets
//! the fence of its path, on condition of the version that was read before what is written was read
//! from the first (or before the write was called whose answer told it). So what the first held
//! earlier never arrives after what it held later, however long a process sleeps between reading and
//! writing. Versions of the nodes alone would not do: a node that is deleted and made again starts anew,
//! and one that is not there has none.
//!
//! A look that goes out along with a write may miss what this process brought there meanwhile. Then only
//! steps that are bound to what it showed are carried out with it; that there seems to be nothing to do is
//! looked at again.
//!
//! A fence also keeps how far the first was when it was moved last, and which paths were brought there last,
//! each with how far the first was then. So of two mirrors that differ at a path, one is known to be the
//! newer as long as it was one of the last eight that its fence moved for, of some 2,000 in all.
//!
//! A mirror is up to date at a path when such a write succeeded, and the fence is moved even when there
//! was nothing to change: only then can nothing older follow. What is known of fences belongs to the
//! mirror's identity, and is worth nothing for another.
//!
//! Where a mirror's own access list forbids what is to be done, it is opened for those who may change it
//! (they could do that themselves), right behind a check of who it is, and has the first's list in the end.
//! The fences are moved once more behind new lists, so that whoever looked before them looks again.
//!
//! What is ephemeral on a mirror, of sessions that took it for the first, is another node than the
//! first's: it is deleted and made anew.
//!
//! # What it holds
//!
//! The tree at and below [`GlobalOptions::top`]; in a configuration that is the tree of the cell. Requests
//! for anything else are refused, and nothing else is compared or mended: other cells, and other sets, may
//! live on the same quorums. What is below `/zkcells` belongs to sets; no user writes it, and it is
//! mirrored nowhere.
//!
//! # What it costs
//!
//! A write takes two round trips: one to the first, one to all mirrors side by side; one more when
//! another process moved the fence since this one did, or when this one did not know it yet: with several
//! busy processes that is the usual case. One more, too, when it has nothing to change on a mirror and is
//! called while another one with its fence is under way, and two for a new access list. Writes behind one
//! fence go to a mirror one after the other. Ephemeral nodes and reads cost what one quorum's
//! do, unless reads compare.
//!
//! # What it cannot do
//!
//! - Sequence numbers count the children that a directory ever had on *its* quorum. After a mirror was
//!   made the first they may start lower, and meet names that are taken (`NodeExists`). Creating and
//!   deleting nodes there moves the counter on; nothing else can set it.
//! - A write is refused (`TooLarge`) at two kilobytes less than one quorum takes.
//! - On servers before 3.8.2 a create whose node another deletes within the same round trip is
//!   `Contended`: it was made, and its stat is not known.
//! - A new access list on a mirror is bound to the node's own version and creation, not to a fence. A
//!   process that dies right after it wrote an outdated one, or while a list was opened, leaves that, and
//!   whoever may change the list has all permissions there, until a repair, or until the list is set
//!   again. On the first, between the two times that it is asked who it is, a list may reach a quorum that
//!   was demoted at that moment; that is told, and a repair undoes it.
//! - A mirror that was restored from an old backup is believed, but for `promote`, which sees that other
//!   mirrors hold something else: give it no identity (delete `/zkcells/global` there), run `zk global init
//!   --take-over` and a repair. Where no other mirror answers, nobody can see it. A first is believed of which no mirror has anything newer on record. Who
//!   had been idle believes a restored first where it lacks nothing of what he writes; whoever asks the
//!   quorums anew does not.
//! - Two sets of which one holds a node below the other's, on one quorum, know nothing of each other.
//! - Deleting an ephemeral node that was made by another connection waits for mirrors, as nobody can
//!   tell any more what it was. One of this connection that another deleted and made persistent right
//!   before is deleted on the first, and on mirrors by the next repair.
//! - A node close to the largest size may be brought to a mirror with few others only: below many nodes
//!   that are missing there, too, it may take a repair.

mod admin;
mod bring;
mod carry;
mod compare;
mod count;
mod epoch;
mod fence;
mod gate;
mod guard;
mod home;
mod identity;
mod init;
mod inside;
mod look;
mod mirror;
mod needs;
mod options;
mod owed;
mod passing;
mod plan;
pub(crate) mod promote;
mod quorum;
mod record;
pub(crate) mod remedy;
mod status;
mod touched;
mod who;
mod write;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Notify, oneshot, watch};
use tracing::warn;

pub use identity::{Identity, Role};
pub use init::{EmptyFirst, InitOptions, Rejoin, TakeOver};
pub use options::GlobalOptions;
pub use promote::Promotion;
pub use status::QuorumStatus;

use self::gate::Gate;
use self::home::Home;
use self::identity::Wrong;
use self::look::Look;
use self::mirror::Mirror;
use self::quorum::Quorum;
use self::remedy::Remedy;
use super::{Conn, Pending};
use crate::background::KEEPER;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::path::ZkPath;
use crate::request::{Reply, Request};

/// The target of the events here.
const TARGET: &str = "zkcells::conn::global";

/// How many ephemeral nodes are remembered.
const OWN: usize = 64 * 1024;

/// For so long nobody can have written 2³¹ times, and then the first is asked again how far it is.
const LONG_AGO: Duration = Duration::from_secs(3600);

/// How long closing waits for the mirrors of writes that are under way.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long the end of the sessions may take.
const CLOSING: Duration = Deadline::DEFAULT;

/// One tree on several quorums.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use std::sync::Arc;
/// use zkcells::{Conn, ConnExt, GlobalConn, GlobalOptions, MemoryQuorum, Mode};
/// let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
/// let conns = quorums.iter().map(|quorum| Arc::new(quorum.connect()) as Arc<dyn Conn>);
/// let conn = GlobalConn::new(conns, GlobalOptions::default());
/// conn.init().await?;
/// conn.create("/motd", "hello", Mode::Persistent).await?;
/// for quorum in &quorums {
///     assert_eq!(quorum.connect().get("/motd").await?.data, "hello");
/// }
/// conn.close().await?;
/// # Ok(()) }
/// ```
pub struct GlobalConn {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    first: Quorum,
    mirrors: Vec<Mirror>,
    options: GlobalOptions,
    home: Home,
    gate: Mutex<Gate>,
    /// Told when another call waits at the gate.
    queued: Notify,
    /// Numbers what happens, so that it can be told what was before what.
    moments: AtomicU64,
    /// How much is under way.
    busy: watch::Sender<usize>,
    /// Told when what mirrors lack has changed.
    news: watch::Sender<()>,
    is_dropped: AtomicBool,
    /// How it was closed, once it is.
    closed: watch::Sender<Option<Result<(), Error>>>,
    /// Ephemeral nodes that were made here and not deleted here. What they are now, the first knows.
    own: Mutex<HashSet<ZkPath>>,
    counted: Mutex<Option<Counted>>,
    /// In which epoch the first is one, as far as it is known: that of its sessions.
    epoch: Arc<AtomicU64>,
    /// A hold of the first's name, for as long as anything else is held.
    ground: Mutex<Weak<Hold>>,
    /// How many nodes are watched that the first ends by itself.
    minded: Arc<AtomicUsize>,
    /// How many paths a promotion has compared so far.
    compared: AtomicUsize,
    /// Whether nobody else can have made it a set: then it makes itself one.
    begins: bool,
}

/// How far the first of a term was when it was seen last.
#[derive(Debug)]
struct Counted {
    term: String,
    count: i64,
    /// Until when nobody can have counted it round since.
    until: Deadline,
}

impl GlobalConn {
    /// The tree on `quorums`: the first of them decides, the others mirror it. Nothing is asked yet.
    ///
    /// # Panics
    ///
    /// With no quorum at all.
    pub fn new(quorums: impl IntoIterator<Item = Arc<dyn Conn>>, options: GlobalOptions) -> Self {
        let remedy = Arc::new(Remedy::of(&options));
        let quorum = |(number, conn)| Quorum { number, conn, remedy: remedy.clone() };
        let mut quorums = (1..).zip(quorums).map(quorum);
        let Some(first) = quorums.next() else { panic!("a set has at least one quorum") };
        let mirrors = quorums.map(Mirror::new).collect();
        let home = Home::new(options.home.clone(), options.top.clone());
        GlobalConn {
            shared: Arc::new(Shared {
                first,
                mirrors,
                options,
                home,
                gate: Mutex::default(),
                queued: Notify::new(),
                moments: AtomicU64::new(1),
                busy: watch::Sender::new(0),
                news: watch::Sender::new(()),
                is_dropped: AtomicBool::new(false),
                closed: watch::Sender::new(None),
                own: Mutex::default(),
                counted: Mutex::default(),
                epoch: Arc::default(),
                ground: Mutex::default(),
                minded: Arc::default(),
                compared: AtomicUsize::new(0),
                begins: false,
            }),
        }
    }

    /// The same, for quorums that began in this process: they are a set from the first write on.
    pub(crate) fn begun(mut self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.begins = true;
        }
        self
    }

    /// The same, with so much time for what the set itself asks its quorums.
    #[cfg(feature = "cli")]
    pub(crate) fn taking(mut self, wait: Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.options.wait = wait;
        }
        self
    }

    /// What it was made with.
    pub fn options(&self) -> &GlobalOptions {
        &self.shared.options
    }

    /// The connections to its quorums, the first one first.
    pub fn quorums(&self) -> impl Iterator<Item = &Arc<dyn Conn>> {
        self.shared.quorums().map(|quorum| &quorum.conn)
    }

    /// How many paths a promotion that is under way has compared.
    pub(crate) fn compared(&self) -> &AtomicUsize {
        &self.shared.compared
    }

    /// Whether the node at `path` should be on all quorums.
    pub(crate) fn mirrors(&self, path: &ZkPath) -> bool {
        self.shared.home.is_mirrored(path)
    }

    /// Whether there may be such nodes at or below `path`.
    pub(crate) fn may_hold(&self, path: &ZkPath) -> bool {
        self.shared.home.may_hold(path)
    }

    /// Brings mirror `number` to what the first holds at `paths`.
    ///
    /// # Errors
    ///
    /// `WrongQuorum`; why it could not be done by the deadline.
    pub(crate) async fn bring_up(
        &self,
        number: usize,
        paths: Vec<ZkPath>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let shared = self.shared.clone();
        let (mut tell, told) = oneshot::channel();
        // Writes are numbered and sent from there, too: so their numbers are in the order in which they left.
        let _ = KEEPER.spawn(async move {
            let bringing = shared.bring_up(number.saturating_sub(2), paths, deadline);
            let bringing = tokio::time::timeout(deadline.remaining(), bringing);
            let done = tokio::select! {
                done = bringing => done,
                () = tell.closed() => return,
            };
            let late = |_| Err(Error::new("mirror", "", ErrorKind::Timeout));
            // Whoever asked has left then.
            let _ = tell.send(done.unwrap_or_else(late));
        });
        let gone = |_| Err(Error::new("mirror", "", ErrorKind::NotSent));
        told.await.unwrap_or_else(gone)
    }

    /// How many writes are on the first and, as far as this connection knows, not yet on a mirror,
    /// one for each mirror. They are brought there in the background.
    pub fn owed(&self) -> usize {
        self.shared.mirrors.iter().map(|mirror| mirror.owed.count()).sum()
    }

    /// Waits until nothing is under way or [owed](Self::owed) any more, or it is closed. What there was no
    /// room to remember (above 65,536 paths a mirror) nobody waits for: `repair` finds it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn settled(&self) {
        let (mut busy, mut news) = (self.shared.busy.subscribe(), self.shared.news.subscribe());
        loop {
            news.mark_unchanged();
            // Invariant: the senders live as long as this.
            let is_quiet = busy.wait_for(|busy| *busy == 0).await.is_err() || self.owed() == 0;
            if is_quiet || self.shared.is_over() {
                return;
            }
            tokio::select! {
                _ = news.changed() => {}
                _ = busy.changed() => {}
            }
        }
    }
}

impl Shared {
    fn quorums(&self) -> impl Iterator<Item = &Quorum> {
        std::iter::once(&self.first).chain(self.mirrors.iter().map(|mirror| &mirror.quorum))
    }

    /// How many mirrors must confirm a write.
    fn required(&self) -> usize {
        options::required(self.options.require, self.mirrors.len())
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, HashSet<ZkPath>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an ephemeral node. With too many of them, all are forgotten: then mirrors are asked to
    /// delete what they do not have, which costs a round trip and no more.
    fn note_own(&self, path: &ZkPath) {
        let mut own = self.own();
        if own.len() >= OWN {
            own.clear();
        }
        own.insert(path.clone());
    }

    /// The next moment.
    fn tick(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether nobody wants anything any more.
    fn is_over(&self) -> bool {
        self.is_dropped.load(Ordering::SeqCst)
    }

    /// Counts as under way for as long as what is returned lives.
    fn busy(self: &Arc<Self>) -> Busy {
        self.busy.send_modify(|busy| *busy += 1);
        Busy(self.clone())
    }

    /// Remembers that the first had counted so many writes.
    fn counted(&self, first: &Identity, count: i64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.take().filter(|before| before.term == first.term);
        let count = before.map_or(count, |before| before.count.max(count));
        let until = Deadline::after(LONG_AGO);
        *counted = Some(Counted { term: first.term.clone(), count, until });
    }

    /// What the first counts more than, by the next write.
    fn floor(&self, first: &Identity) -> Option<i64> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.as_ref().filter(|known| known.term == first.term).map(|known| known.count)
    }

    /// Whether so little was written since the first was seen last that its count is not in doubt.
    fn knows_the_count(&self) -> bool {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.as_ref().is_some_and(|known| !known.until.is_past())
    }

    /// Ends everything, in bounded time.
    async fn end(&self) -> Result<(), Error> {
        let mut busy = self.busy.subscribe();
        // Whatever is under way then ends with its sessions.
        let _ = tokio::time::timeout(FAREWELL, busy.wait_for(|busy| *busy == 0)).await;
        self.clear();
        // Whoever was faster has said it.
        if !self.is_dropped.swap(true, Ordering::SeqCst) {
            self.warn_of_debts();
        }
        self.news.send_modify(|()| {});
        let closing = self.quorums().map(|quorum| {
            let (close, quorum) = (quorum.conn.close(), quorum.clone());
            async move {
                let late = |_| Err(quorum.told(Error::new("close", "", ErrorKind::Timeout)));
                tokio::time::timeout(CLOSING, close).await.unwrap_or_else(late)
            }
        });
        join_all(closing).await.into_iter().collect()
    }

    /// Says what mirrors lack when nobody will bring it there any more.
    fn warn_of_debts(&self) {
        for mirror in &self.mirrors {
            let (owed, forgotten) = (mirror.owed.count(), mirror.owed.forgotten());
            if owed + forgotten > 0 {
                let number = mirror.quorum.number;
                warn!(
                    target: TARGET,
                    quorum = number,
                    owed,
                    forgotten,
                    "closed while a mirror is behind; repair brings it there"
                );
            }
        }
    }

    /// Refuses what was read from a first that is no longer the one of `identity`.
    fn still_first(&self, look: &Look, identity: &Identity) -> Result<(), Error> {
        let own = look.identity.as_ref().map_err(Clone::clone)?;
        if own.is(identity) {
            return Ok(());
        }
        self.doubt();
        let wrong = match own {
            _ if own.set != identity.set => Some(Wrong::Foreign),
            _ if own.rivals(identity) => Some(Wrong::Two(own.epoch)),
            _ => own.wrong_as_first(),
        };
        Err(match wrong {
            Some(wrong) => self.first.wrong(&wrong),
            None => Error::new("identity", "", ErrorKind::NotSent)
                .with_detail("the epoch of the first has changed meanwhile"),
        })
    }
}

/// Something that is under way.
#[derive(Debug)]
struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| *busy -= 1);
    }
}

impl Conn for GlobalConn {
    fn call(&self, request: Request) -> Pending<Reply> {
        self.shared.enter(request)
    }

    /// Waits for what is under way, mirrors included, but 3 s at most, and for the end of the sessions
    /// 10 s. What is [owed](GlobalConn::owed) then is left to `repair`, which a warning says. Who closes
    /// it again waits for the same end.
    fn close(&self) -> Pending<()> {
        let is_news = self.shared.shut();
        let shared = self.shared.clone();
        let gone = Error::new("close", "", ErrorKind::Closed);
        let (responder, pending) = Pending::channel(move || gone);
        // Without a thread the responder is dropped, and tells it.
        let _ = KEEPER.spawn(async move {
            if is_news {
                let closed = shared.end().await;
                shared.closed.send_replace(Some(closed));
            }
            let mut closed = shared.closed.subscribe();
            // Invariant: the sender lives as long as this.
            if let Ok(closed) = closed.wait_for(Option::is_some).await {
                responder.send(closed.clone().unwrap_or(Ok(())));
            }
        });
        pending
    }
}

impl Drop for GlobalConn {
    fn drop(&mut self) {
        // Closing has said it already.
        if !self.shared.is_dropped.swap(true, Ordering::SeqCst) {
            self.shared.warn_of_debts();
        }
    }
}

impl fmt::Display for GlobalConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.quorums().map(ToString::to_string).collect();
        write!(f, "global({})", shown.join(", "))
    }
}

impl fmt::Debug for GlobalConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalConn")
            .field("quorums", &self.quorums().collect::<Vec<_>>())
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
