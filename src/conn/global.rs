//! The same tree on n quorums, so that losing one loses nothing. How, [`crate::sets`] says.

mod admin;
mod agree;
mod bring;
mod carry;
mod compare;
mod complete;
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
mod pay;
mod plan;
pub(crate) mod promote;
mod quorum;
mod record;
pub(crate) mod remedy;
mod restored;
mod status;
mod told;
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

/// One tree on several quorums; [`sets`](crate::sets) says how.
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
    /// A first that was found to be restored from an old backup.
    disbelieved: Mutex<Option<Identity>>,
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
                disbelieved: Mutex::default(),
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
