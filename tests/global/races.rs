//! Writers that race, and writes that come late.

use super::*;

/// A connection that keeps the next write back until it is let go.
pub(super) struct Held {
    inner: Arc<MemoryConn>,
    next: Mutex<Option<(Arc<Notify>, Arc<Notify>)>>,
    is_meant: fn(&Op) -> bool,
    /// Held by what is kept back, if others wait behind it.
    line: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Held {
    pub(super) fn new(quorum: &MemoryQuorum) -> Arc<Held> {
        Arc::new(Held {
            inner: Arc::new(quorum.connect()),
            next: Mutex::default(),
            is_meant: |op| {
                matches!(op, Op::Multi(ops)
                    if ops.iter().any(|op| !matches!(op, MultiOp::Check { .. })))
            },
            line: None,
        })
    }

    /// The same for new access lists; what is called behind one stays behind it.
    pub(super) fn of_lists(quorum: &MemoryQuorum) -> Arc<Held> {
        Arc::new(Held {
            inner: Arc::new(quorum.connect()),
            next: Mutex::default(),
            is_meant: |op| matches!(op, Op::SetAcl { .. }),
            line: Some(Arc::default()),
        })
    }

    /// Told when a write is there, and what lets it go.
    pub(super) fn keep_back(&self) -> (Arc<Notify>, Arc<Notify>) {
        let both = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.next.lock().unwrap() = Some(both.clone());
        both
    }
}

impl Conn for Held {
    fn call(&self, request: Request) -> Pending<Reply> {
        let is_meant = (self.is_meant)(&request.op);
        match self.next.lock().unwrap().take_if(|_| is_meant) {
            None => match &self.line {
                Some(line) if line.try_lock().is_err() => {
                    let (inner, line) = (self.inner.clone(), line.clone());
                    Pending::new(async move {
                        let _turn = line.lock().await;
                        inner.call(request).await
                    })
                }
                _ => self.inner.call(request),
            },
            Some((came, go)) => {
                let inner = self.inner.clone();
                let turn = self.line.clone().map(|line| line.try_lock_owned().unwrap());
                came.notify_one();
                Pending::new(async move {
                    go.notified().await;
                    let answer = inner.call(request).await;
                    drop(turn);
                    answer
                })
            }
        }
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A client whose way to the first mirror can be held up.
pub(super) fn slow_client(set: &Set) -> (GlobalConn, Arc<Held>) {
    let held = Held::new(&set.quorums[1]);
    let conns: [Arc<dyn Conn>; 3] =
        [Arc::new(set.quorums[0].connect()), held.clone(), Arc::new(set.quorums[2].connect())];
    (GlobalConn::new(conns, set.conn.options().clone()), held)
}

#[tokio::test]
async fn a_write_that_comes_late_to_a_mirror_overwrites_nothing_newer() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/warm", "", Mode::Persistent).await.unwrap();
    let (slow, held) = slow_client(&set);
    slow.create("/a", "0", Mode::Persistent).await.unwrap();
    // Once with a look of its own at the first, once with what it saw along with the write.
    for round in 0..2 {
        let (came, go) = held.keep_back();
        let late = slow.set("/a", format!("late-{round}"), Version::Any);
        soon("the late write", came.notified()).await;
        set.conn.set("/a", format!("newer-{round}"), Version::Any).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.everywhere("/a", &format!("newer-{round}")).await;
    }
}

#[tokio::test]
async fn a_create_that_comes_late_to_a_mirror_brings_nothing_back() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    for _ in 0..2 {
        let (came, go) = held.keep_back();
        let late = slow.create("/a", "late", Mode::Persistent);
        soon("the late create", came.notified()).await;
        // Nothing has come to the mirror: there is nothing to delete, and yet it must not come.
        set.conn.delete("/a", Version::Any).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.nowhere("/a").await;
    }
}

#[tokio::test]
async fn a_delete_that_comes_late_to_a_mirror_takes_nothing_new() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    for _ in 0..2 {
        set.conn.create("/a", "old", Mode::Persistent).await.unwrap();
        let (came, go) = held.keep_back();
        let late = slow.delete("/a", Version::Any);
        soon("the late delete", came.notified()).await;
        // The new node has the versions of the old one.
        set.conn.create("/a", "new", Mode::Persistent).await.unwrap();
        set.quorums[1].connect().delete("/a", Version::Any).await.unwrap();
        set.quorums[1].connect().create("/a", "new", Mode::Persistent).await.unwrap();
        go.notify_one();
        late.await.unwrap();
        set.everywhere("/a", "new").await;
        set.conn.delete("/a", Version::Any).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_comes_late_to_a_mirror_of_another_epoch_is_refused() {
    let set = Set::new(GlobalOptions::default()).await;
    let (slow, held) = slow_client(&set);
    slow.create("/a", "1", Mode::Persistent).await.unwrap();
    let (came, go) = held.keep_back();
    let late = slow.set("/a", "late", Version::Any);
    soon("the late write", came.notified()).await;
    // The third has it by now, or not yet.
    let word = Promotion::default().though_behind();
    set.conn.promote_with(2, &word).await.unwrap();
    go.notify_one();
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::NotMirrored);
    assert_eq!(set.data("/a").await[1], has("1"));
}

#[tokio::test]
async fn writes_of_one_caller_end_in_their_order_on_all_quorums() {
    let set = Set::new(GlobalOptions::default()).await;
    let mut calls = vec![];
    drop(set.conn.create("/a", "", Mode::Persistent).await.unwrap());
    for n in 0..300 {
        calls.push(set.conn.set("/a", n.to_string(), Version::Exact(n)));
    }
    for call in calls {
        call.await.unwrap();
    }
    set.everywhere("/a", "299").await;
}

#[tokio::test]
async fn a_caller_who_leaves_leaves_no_mirror_behind() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    // Sent, and not answered yet.
    set.lines[0].delay(Duration::from_secs(60));
    let call = set.conn.set("/a", "2", Version::Any);
    while set.data("/a").await[0] != has("2") {
        tokio::task::yield_now().await;
    }
    drop(call);
    set.lines[0].delay(Duration::ZERO);
    set.quorums[0].advance(Duration::from_secs(60));
    // Each of them is brought up on its own.
    soon("the mirrors", async {
        while set.data("/a").await != [has("2"), has("2"), has("2")] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_is_silent_costs_no_more_than_the_deadline() {
    let set = Set::new(GlobalOptions::default()).await;
    set.conn.create("/a", "1", Mode::Persistent).await.unwrap();
    set.lines[1].delay(Duration::from_secs(3600));
    let start = std::time::Instant::now();
    let err = briefly(&set.conn).set("/a", "2", Version::Any).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotMirrored);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
