//! How many round trips calls take: one behind the other, not how long.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A connection that counts how many answers stood one behind the other, on whichever quorum, before each
/// call to it.
#[derive(Debug)]
struct Trips {
    inner: MemoryConn,
    count: Arc<AtomicUsize>,
}

impl Conn for Trips {
    fn call(&self, request: Request) -> Pending<Reply> {
        // Nobody is asked for the session.
        if matches!(request.op, Op::Session) {
            return self.inner.call(request);
        }
        let trip = 1 + self.count.load(Ordering::SeqCst);
        let (count, answer) = (self.count.clone(), self.inner.call(request));
        Pending::new(async move {
            // What is sent together leaves before the first answer.
            tokio::task::yield_now().await;
            let answer = answer.await;
            // For that, no server is asked.
            if !answer.as_ref().is_err_and(|err| err.kind() == ErrorKind::SessionExpired) {
                count.fetch_max(trip, Ordering::SeqCst);
            }
            answer
        })
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Trips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A client of the first and one mirror: what goes to several is sent side by side, and would be counted as
/// if it stood one behind the other.
struct Client {
    conn: GlobalConn,
    count: Arc<AtomicUsize>,
}

impl Client {
    fn of(set: &Set) -> Client {
        let count = Arc::new(AtomicUsize::new(0));
        let conns = set.quorums[..2].iter().map(|quorum| {
            Arc::new(Trips { inner: quorum.connect(), count: count.clone() }) as Arc<dyn Conn>
        });
        let conn = GlobalConn::new(conns, set.conn.options().clone());
        Client { conn, count }
    }

    /// How many round trips a call takes.
    async fn trips<T>(&self, call: Pending<T>) -> usize
    where
        T: Send + 'static,
    {
        assert!(call.await.is_ok());
        self.count.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_write_that_nobody_gets_in_the_way_of_takes_two_round_trips() {
    let set = Set::new(GlobalOptions::default()).await;
    let client = Client::of(&set);
    let conn = &client.conn;
    // Who the quorums are is asked before the first of them.
    client.trips(conn.create("/warm", "", Mode::Persistent)).await;
    for round in 0..3 {
        let path = format!("/a-{round}");
        let create = client.trips(conn.create(&path, "1", Mode::Persistent)).await;
        let set = client.trips(conn.set(&path, "2", Version::Any)).await;
        let numbered = client.trips(conn.create("/n-", "", Mode::PersistentSequential)).await;
        let multi = Multi::new().set(&path, "3", Version::Any).set("/warm", "x", Version::Any);
        let multi = client.trips(conn.multi(multi)).await;
        let delete = client.trips(conn.delete(&path, Version::Any)).await;
        assert_eq!([create, set, numbered, multi, delete], [2; 5], "round {round}");
    }
}

#[tokio::test]
async fn a_write_behind_that_of_another_process_takes_one_more() {
    let set = Set::new(GlobalOptions::default()).await;
    let client = Client::of(&set);
    client.trips(client.conn.create("/a", "", Mode::Persistent)).await;
    for round in 0..3 {
        set.conn.set("/a", "theirs", Version::Any).await.unwrap();
        let trips = client.trips(client.conn.set("/a", "ours", Version::Any)).await;
        assert_eq!(trips, 3, "round {round}");
        let trips = client.trips(client.conn.set("/a", "ours again", Version::Any)).await;
        assert_eq!(trips, 2, "round {round}");
    }
}

#[tokio::test]
async fn what_the_first_does_alone_takes_as_long_as_on_one_quorum() {
    let set = Set::new(GlobalOptions::default()).await;
    let client = Client::of(&set);
    let conn = &client.conn;
    client.trips(conn.create("/a", "", Mode::Persistent)).await;
    let read = client.trips(conn.get("/a")).await;
    let create = client.trips(conn.create("/e", "", Mode::Ephemeral)).await;
    let put = client.trips(conn.set("/e", "2", Version::Any)).await;
    let delete = client.trips(conn.delete("/e", Version::Any)).await;
    assert_eq!([read, create, put, delete], [1; 4]);
    // The first says who it is before a list, and the list goes to mirrors behind the multi.
    let acl = vec![Acl::world(Perms::READ | Perms::ADMIN)];
    let list = client.trips(conn.set_acl("/a", acl, Version::Any)).await;
    assert_eq!(list, 4);
}

#[tokio::test]
async fn a_new_session_of_the_first_costs_one_look_and_a_steady_one_none() {
    let set = Set::new(GlobalOptions::default()).await;
    let client = Client::of(&set);
    let conn = &client.conn;
    client.trips(conn.create("/a", "", Mode::Persistent)).await;
    for round in 0..3 {
        let session = conn.session("/").await.unwrap();
        assert!(set.quorums[0].expire(session.id()));
        let trips = client.trips(conn.set("/a", "1", Version::Any)).await;
        assert_eq!(trips, 3, "round {round}");
        let trips = client.trips(conn.set("/a", "2", Version::Any)).await;
        assert_eq!(trips, 2, "round {round}");
    }
}
