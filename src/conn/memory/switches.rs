//! The faults of a connection to an in-process quorum: one line of a test each.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::conn::MemoryConn;
use crate::fault::{Bites, Target};

impl MemoryConn {
    /// How often each fault has bitten so far.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::fault::OpKind;
    /// use zkcells::{ConnExt, MemoryConn, Version};
    /// let conn = MemoryConn::new();
    /// conn.drop_request(OpKind::Set);
    /// assert_eq!(conn.bites().dropped, 0);
    /// conn.set("/", "x", Version::Any).await?;
    /// assert_eq!(conn.bites().dropped, 1);
    /// # Ok(()) }
    /// ```
    pub fn bites(&self) -> Bites {
        self.line.bites()
    }

    // --- the connection

    /// Breaks the connection, and it is back at once: the session and what it holds stay, tree
    /// watches tell a gap, and answers that were delayed are lost.
    ///
    /// After [`refuse`](Self::refuse) it stays away until [`join`](Self::join).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::{ConnExt, MemoryConn, TreeEvent};
    /// let conn = MemoryConn::new();
    /// let mut tree = conn.watch_tree("/").await?;
    /// conn.cut();
    /// assert_eq!(tree.next().await, Some(TreeEvent::Gap));
    /// # Ok(()) }
    /// ```
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Lets the connection stay away until [`join`](Self::join), once it breaks. As long as it
    /// stands nothing changes.
    ///
    /// So a test has its say between a fault and the way back:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::fault::OpKind;
    /// use zkcells::{ConnExt, ErrorKind, MemoryConn, Version};
    /// let conn = MemoryConn::new();
    /// let rival = conn.quorum().connect();
    /// conn.refuse();
    /// conn.swallow_reply(OpKind::Set);
    /// let write = conn.set("/", "ours", Version::Exact(0));
    /// rival.set("/", "theirs", Version::Exact(1)).await?;
    /// conn.join();
    /// assert_eq!(write.await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    /// assert_eq!(conn.bites().swallowed, 1);
    /// # Ok(()) }
    /// ```
    pub fn refuse(&self) {
        self.line.set(|faults| faults.refusing = true);
    }

    /// Breaks the connection until [`join`](Self::join): no server answers any more.
    ///
    /// Calls wait, and fail with `NotSent` at their deadlines, in real time. The session is
    /// `Disconnected`; watches wait. What is held is lost as [`Unproven`](crate::Loss::Unproven) after
    /// half a session timeout, and the session is over after a whole one; either comes in real time
    /// or when the [clock is moved](crate::MemoryQuorum::advance).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::{ConnExt, Loss, MemoryConn, Mode};
    /// let conn = MemoryConn::new();
    /// let other = conn.quorum().connect();
    /// conn.create("/lock", "", Mode::Ephemeral).await?;
    /// let hold = conn.hold("/lock").await?;
    /// conn.lose_connection();
    /// conn.quorum().advance(hold.session().timeout() / 2);
    /// // It is lost before anybody else can have it.
    /// assert_eq!(hold.lost().await, Loss::Unproven);
    /// assert!(other.exists("/lock").await?.is_some());
    /// conn.quorum().advance(hold.session().timeout() / 2);
    /// assert!(other.exists("/lock").await?.is_none());
    /// conn.join();
    /// assert!(conn.session("/").await?.generation() > hold.session().generation());
    /// # Ok(()) }
    /// ```
    pub fn lose_connection(&self) {
        self.refuse();
        self.cut();
    }

    /// Brings the connection back, and lets it come back by itself from now on.
    ///
    /// One-shot watches tell what they missed, tree watches tell a gap, writes whose reply was lost
    /// are looked up, and then the calls that wait are carried out in call order. If the session
    /// has ended meanwhile, it is now that the connection learns of it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::{ConnExt, EventKind, MemoryConn, Mode};
    /// let conn = MemoryConn::new();
    /// let other = conn.quorum().connect();
    /// let (_, watch) = conn.exists_watch("/motd").await?;
    /// conn.lose_connection();
    /// other.create("/motd", "hello", Mode::Persistent).await?;
    /// let read = conn.get("/motd");
    /// conn.join();
    /// assert_eq!(watch.await.kind, EventKind::Created);
    /// assert_eq!(read.await?.data, "hello");
    /// # Ok(()) }
    /// ```
    pub fn join(&self) {
        self.line.join();
    }

    /// Lets answers come this much later, in their order; the requests are carried out at once.
    /// Zero ends it for later calls. Watch events are not delayed.
    ///
    /// The time is that of the quorum's clock, so a test moves it on instead of waiting. The deadlines
    /// of calls stand on real time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::time::Duration;
    /// use zkcells::{ConnExt, MemoryConn, Mode};
    /// let conn = MemoryConn::new();
    /// conn.delay(Duration::from_secs(5));
    /// let made = conn.create("/motd", "hello", Mode::Persistent);
    /// assert!(conn.quorum().connect().exists("/motd").await?.is_some());
    /// conn.quorum().advance(Duration::from_secs(5));
    /// made.await?;
    /// assert_eq!(conn.bites().delayed, 1);
    /// # Ok(()) }
    /// ```
    pub fn delay(&self, delay: Duration) {
        self.line.set(|faults| faults.delay = delay);
    }

    // --- requests

    /// Lets the next request of this kind be carried out, loses its answer, and breaks the
    /// connection as [`cut`](Self::cut) does.
    ///
    /// What becomes of the call is as with [`ZkConn`](crate::ZkConn): a read is asked again; a write is
    /// looked up when the connection is back, and answered exactly where nodes can tell, else with
    /// `OutcomeUnknown`. `sync` and `hold` are checks to servers, and so they are here. Said twice, it
    /// meets two requests.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::fault::OpKind;
    /// use zkcells::{ConnExt, ErrorKind, MemoryConn, Mode};
    /// let conn = MemoryConn::new();
    /// conn.swallow_reply(OpKind::Create.below("/motd"));
    /// let err = conn.create("/motd", "hello", Mode::Persistent).await.unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::OutcomeUnknown);
    /// assert_eq!(conn.get("/motd").await?.data, "hello");
    /// assert_eq!(conn.bites().swallowed, 1);
    /// # Ok(()) }
    /// ```
    pub fn swallow_reply(&self, of: impl Into<Target>) {
        let of = of.into();
        self.line.set(|faults| faults.swallow.push(of));
    }

    /// Breaks the connection as [`cut`](Self::cut) does, instead of carrying the next request of
    /// this kind out. The connection does not know which of the two it was, so all is as behind
    /// [`swallow_reply`](Self::swallow_reply); what was surely not carried out is sent again. Said
    /// twice, it meets two requests.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::fault::OpKind;
    /// use zkcells::{ConnExt, MemoryConn, Version};
    /// let conn = MemoryConn::new();
    /// conn.drop_request(OpKind::Set);
    /// assert_eq!(conn.set("/", "x", Version::Exact(0)).await?.version, 1);
    /// assert_eq!(conn.bites().dropped, 1);
    /// # Ok(()) }
    /// ```
    pub fn drop_request(&self, of: impl Into<Target>) {
        let of = of.into();
        self.line.set(|faults| faults.drop.push(of));
    }

    // --- events

    /// Delivers the next watch event this much later by the quorum's clock; what comes behind it
    /// goes before it, answers that show the change included. Said twice, it meets two events.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use std::time::Duration;
    /// use zkcells::{ConnExt, EventKind, MemoryConn, Version};
    /// let conn = MemoryConn::new();
    /// let (_, watch) = conn.get_watch("/").await?;
    /// conn.late_event(Duration::from_secs(5));
    /// conn.set("/", "x", Version::Any).await?;
    /// assert_eq!(conn.bites().late, 1);
    /// conn.quorum().advance(Duration::from_secs(5));
    /// assert_eq!(watch.await.kind, EventKind::DataChanged);
    /// # Ok(()) }
    /// ```
    pub fn late_event(&self, delay: Duration) {
        self.line.events.late(delay);
        self.line.set(|_| {});
    }

    /// Delivers the next watch event twice. A one-shot hears it once all the same; a tree watch
    /// tells it twice. Said twice, it meets two events.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::{ConnExt, MemoryConn, Version};
    /// let conn = MemoryConn::new();
    /// let mut tree = conn.watch_tree("/").await?;
    /// conn.twice_event();
    /// conn.set("/", "x", Version::Any).await?;
    /// assert_eq!(tree.next().await, tree.next().await);
    /// assert_eq!(conn.bites().doubled, 1);
    /// # Ok(()) }
    /// ```
    pub fn twice_event(&self) {
        self.line.events.twice();
    }

    // --- the session

    /// Ends this session as servers do that heard nothing of it for its timeout. The next call
    /// opens another one.
    ///
    /// A connection that is [lost](Self::lose_connection) learns of it when it is back.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
    /// use zkcells::{ConnExt, MemoryConn, SessionState};
    /// let conn = MemoryConn::new();
    /// let session = conn.session("/").await?;
    /// conn.expire();
    /// assert_eq!(session.lost().await, SessionState::Expired);
    /// assert_eq!(conn.session("/").await?.generation(), 2);
    /// # Ok(()) }
    /// ```
    pub fn expire(&self) {
        self.line.expire();
    }
}
