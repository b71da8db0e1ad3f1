//! Watches: one that fires once, and one that streams a whole subtree.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot, watch as state};

use crate::path::{Rebase, ZkPath};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The node was created.
    Created,
    /// The node was deleted.
    Deleted,
    /// The node's data was set.
    DataChanged,
    /// A child was created or deleted. Tree watches never tell this.
    ChildrenChanged,
    /// The session ended, and the watch with it; what happened to the node is not known.
    SessionEnded,
}

/// What happened, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Where, in the spelling of whoever left the watch.
    pub path: ZkPath,
}

impl Event {
    /// `kind` at `path`.
    pub fn new(kind: EventKind, path: ZkPath) -> Self {
        Event { kind, path }
    }
}

/// A watch that fires once: for the change, or when the session ends.
///
/// It is a future, and survives a reconnect within the session. Dropping it withdraws it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, EventKind, MemoryConn, Mode};
/// let conn = MemoryConn::new();
/// let (absent, watch) = conn.exists_watch("/motd").await?;
/// assert!(absent.is_none());
/// conn.create("/motd", "hello", Mode::Persistent).await?;
/// assert_eq!(watch.await.kind, EventKind::Created);
/// # Ok(()) }
/// ```
#[must_use = "dropping a watch withdraws it"]
pub struct Watch {
    path: ZkPath,
    fired: oneshot::Receiver<EventKind>,
    /// Tells the sender by its end that this one is gone.
    _wanted: state::Sender<()>,
}

impl Watch {
    /// A watch on `path` and the sender that fires it, for those who implement a connection.
    pub fn channel(path: ZkPath) -> (WatchSender, Watch) {
        let (fire, fired) = oneshot::channel();
        let (wanted, withdrawn) = state::channel(());
        (WatchSender { fire, withdrawn }, Watch { path, fired, _wanted: wanted })
    }

    /// The path that is watched, in the caller's spelling.
    pub fn path(&self) -> &ZkPath {
        &self.path
    }

    /// The same watch, telling its event at `path`.
    pub(crate) fn at(mut self, path: ZkPath) -> Self {
        self.path = path;
        self
    }
}

impl Future for Watch {
    type Output = Event;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        let fired = Pin::new(&mut self.fired).poll(cx);
        // A sender that went away without a word went with its session.
        fired.map(|kind| Event::new(kind.unwrap_or(EventKind::SessionEnded), self.path.clone()))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Fires a [`Watch`]. Dropping it tells that the session ended.
#[derive(Debug)]
pub struct WatchSender {
    fire: oneshot::Sender<EventKind>,
    withdrawn: state::Receiver<()>,
}

impl WatchSender {
    /// Fires the watch; nothing happens when it was withdrawn.
    pub fn fire(self, kind: EventKind) {
        // The receiver may be gone: a withdrawn watch wants no event.
        let _ = self.fire.send(kind);
    }

    /// Whether the watch was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        self.fire.is_closed()
    }

    /// Resolves when the watch is dropped, whether it fired before or not. The future is owned, so
    /// that it can be waited for apart from the sender.
    pub fn withdrawal(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut withdrawn = self.withdrawn.clone();
        // Nothing is ever sent: the end of the other side is all that can come.
        async move { while withdrawn.changed().await.is_ok() {} }
    }
}

/// What a [`TreeWatch`] yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TreeEvent {
    /// Something changed at or below the watched path.
    Changed(Event),
    /// Changes may have been missed: read the tree again. The watch itself goes on, and stood
    /// before this was said, so what is read now and told later miss nothing between them.
    Gap,
    /// The session ended. Nothing follows.
    SessionEnded,
}

/// Everything that happens at and below a path, as a stream.
///
/// It tells creations, deletions and data changes, not lists of children. When changes were
/// missed (a reconnect, or a reader slower than the changes) it yields [`TreeEvent::Gap`].
/// Dropping it withdraws it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
/// use zkcells::{ConnExt, EventKind, MemoryConn, Mode, TreeEvent};
/// let conn = MemoryConn::new();
/// conn.create("/app", "", Mode::Persistent).await?;
/// let mut tree = conn.watch_tree("/app").await?;
/// conn.create("/app/motd", "hello", Mode::Persistent).await?;
/// let Some(TreeEvent::Changed(event)) = tree.next().await else { panic!() };
/// assert_eq!((event.kind, event.path.as_str()), (EventKind::Created, "/app/motd"));
/// # Ok(()) }
/// ```
#[must_use = "dropping a watch withdraws it"]
pub struct TreeWatch {
    path: ZkPath,
    events: mpsc::Receiver<TreeEvent>,
    overflowed: Arc<AtomicBool>,
    ended: bool,
    spelling: Vec<Rebase>,
}

impl TreeWatch {
    /// How many events wait for a slow reader before they become one [`TreeEvent::Gap`].
    pub const CAPACITY: usize = 4096;

    /// A tree watch on `path` and its sender, for those who implement a connection.
    pub fn channel(path: ZkPath) -> (TreeSender, TreeWatch) {
        let (sender, events) = mpsc::channel(Self::CAPACITY);
        let overflowed = Arc::new(AtomicBool::new(false));
        let tree = TreeWatch {
            path,
            events,
            overflowed: overflowed.clone(),
            ended: false,
            spelling: Vec::new(),
        };
        (TreeSender { events: sender, overflowed }, tree)
    }

    /// The path that is watched, in the caller's spelling.
    pub fn path(&self) -> &ZkPath {
        &self.path
    }

    /// The next event; `None` after [`TreeEvent::SessionEnded`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<TreeEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The same watch on `path`, telling its events as `spelling` moves them.
    pub(crate) fn respelled(mut self, path: ZkPath, spelling: Rebase) -> Self {
        self.path = path;
        self.spelling.push(spelling);
        self
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<TreeEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = match self.events.poll_recv(cx) {
            Poll::Ready(Some(event)) => event,
            // What did not fit was lost behind all that did, so the gap is told here. (Pending
            // alone does not say empty: the runtime's budget may be used up.)
            _ if self.events.is_empty() && self.overflowed.swap(false, Ordering::SeqCst) => {
                TreeEvent::Gap
            }
            Poll::Ready(None) => TreeEvent::SessionEnded,
            Poll::Pending => return Poll::Pending,
        };
        self.ended = event == TreeEvent::SessionEnded;
        Poll::Ready(Some(self.spell(event)))
    }

    fn spell(&self, event: TreeEvent) -> TreeEvent {
        let TreeEvent::Changed(mut event) = event else { return event };
        for rebase in &self.spelling {
            if let Some(path) = rebase.apply(&event.path) {
                event.path = path;
            }
        }
        TreeEvent::Changed(event)
    }
}

impl Stream for TreeWatch {
    type Item = TreeEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TreeEvent>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for TreeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeWatch").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Feeds a [`TreeWatch`]. Dropping it tells that the session ended.
#[derive(Clone, Debug)]
pub struct TreeSender {
    events: mpsc::Sender<TreeEvent>,
    overflowed: Arc<AtomicBool>,
}

impl TreeSender {
    /// Tells a change; if the reader is too far behind, a gap instead.
    pub fn changed(&self, event: Event) {
        self.send(TreeEvent::Changed(event));
    }

    /// Tells that changes may have been missed.
    pub fn gap(&self) {
        self.send(TreeEvent::Gap);
    }

    /// Whether the watch was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        self.events.is_closed()
    }

    /// Waits until the watch is withdrawn.
    pub async fn withdrawn(&self) {
        self.events.closed().await;
    }

    fn send(&self, event: TreeEvent) {
        // Behind a gap that the reader has not been told of, everything is part of the gap.
        if self.overflowed.load(Ordering::SeqCst) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.overflowed.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: usize) -> Event {
        Event::new(EventKind::Created, ZkPath::root().child(&name.to_string()))
    }

    #[tokio::test]
    async fn a_slow_reader_gets_one_gap_behind_what_fitted() {
        let (sender, mut tree) = TreeWatch::channel(ZkPath::root());
        for n in 0..TreeWatch::CAPACITY + 100 {
            sender.changed(changed(n));
        }
        for n in 0..TreeWatch::CAPACITY {
            assert_eq!(tree.next().await, Some(TreeEvent::Changed(changed(n))));
        }
        assert_eq!(tree.next().await, Some(TreeEvent::Gap));
        sender.changed(changed(7));
        assert_eq!(tree.next().await, Some(TreeEvent::Changed(changed(7))));
    }

    #[tokio::test]
    async fn a_tree_watch_ends_with_its_session() {
        let (sender, mut tree) = TreeWatch::channel(ZkPath::root());
        drop(sender);
        assert_eq!(tree.next().await, Some(TreeEvent::SessionEnded));
        assert_eq!(tree.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_ends_with_its_session() {
        let (sender, watch) = Watch::channel(ZkPath::root());
        drop(sender);
        assert_eq!(watch.await.kind, EventKind::SessionEnded);
    }
}
