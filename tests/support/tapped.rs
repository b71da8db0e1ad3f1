//! Sets of quorums in memory, with a say of the test in what passes to each of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zkcells::repair::{Kind, Repair};
use zkcells::{
    Acl, Conn, ConnExt as _, Error, GlobalConn, GlobalOptions, MemoryConn, MemoryQuorum, Pending,
    Reply, Request, tree,
};

type Hook = Box<dyn FnMut(&Request) -> Option<Pending<Reply>> + Send>;

/// A connection that asks a hook before each request.
pub struct Tapped {
    pub line: Arc<MemoryConn>,
    hook: Mutex<Option<Hook>>,
}

impl Tapped {
    /// From now on, what `hook` answers is the answer; with `None` the request goes its way.
    pub fn hook(&self, hook: impl FnMut(&Request) -> Option<Pending<Reply>> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub fn unhook(&self) {
        *self.hook.lock().unwrap() = None;
    }
}

impl Conn for Tapped {
    fn call(&self, request: Request) -> Pending<Reply> {
        let answer = self.hook.lock().unwrap().as_mut().and_then(|hook| hook(&request));
        answer.unwrap_or_else(|| self.line.call(request))
    }

    fn close(&self) -> Pending<()> {
        self.line.close()
    }
}

impl fmt::Display for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

/// Three quorums, and the connections of one client to them.
pub struct TappedSet {
    pub quorums: [MemoryQuorum; 3],
    pub taps: Vec<Arc<Tapped>>,
    pub conn: Arc<GlobalConn>,
}

/// All that a quorum holds for users: data and access lists by path.
pub type Dump = BTreeMap<String, (Vec<u8>, Vec<Acl>)>;

impl TappedSet {
    /// A new set, of which each thing may take `wait`.
    pub async fn new(wait: Duration) -> TappedSet {
        let quorums = [MemoryQuorum::new(), MemoryQuorum::new(), MemoryQuorum::new()];
        let set = TappedSet::over(quorums, wait);
        set.conn.init().await.unwrap();
        set
    }

    pub fn over(quorums: [MemoryQuorum; 3], wait: Duration) -> TappedSet {
        TappedSet::with(quorums, GlobalOptions::default().with_wait(wait))
    }

    pub fn with(quorums: [MemoryQuorum; 3], options: GlobalOptions) -> TappedSet {
        let taps: Vec<_> = quorums
            .iter()
            .map(|quorum| {
                let line = Arc::new(quorum.connect());
                Arc::new(Tapped { line, hook: Mutex::default() })
            })
            .collect();
        let conns = taps.iter().map(|tap| tap.clone() as Arc<dyn Conn>);
        let conn = Arc::new(GlobalConn::new(conns, options));
        TappedSet { quorums, taps, conn }
    }

    /// Another client of the same quorums.
    pub fn another(&self) -> TappedSet {
        TappedSet::over(self.quorums.clone(), self.conn.options().wait)
    }

    /// What quorum `number` holds, as somebody who is `bob`, too.
    pub async fn dump(&self, number: usize) -> Dump {
        let conn = self.quorums[number - 1].connect_as(&[("digest", "bob:secret")]);
        let mut all = Dump::new();
        for path in tree::walk(&conn, "/").await.unwrap() {
            if path.as_str().starts_with("/zk") {
                continue;
            }
            let node = conn.get(&path).await.unwrap();
            if !node.stat.is_ephemeral() {
                let (acl, _) = conn.acl(&path).await.unwrap();
                all.insert(path.to_string(), (node.data.to_vec(), acl));
            }
        }
        all
    }

    /// Fails unless all hold what the first holds.
    pub async fn agrees(&self, when: &str) {
        let first = self.dump(1).await;
        for number in [2, 3] {
            let mirror = self.dump(number).await;
            for (path, node) in &first {
                assert_eq!(mirror.get(path), Some(node), "{when}: {path} on quorum {number}");
            }
            let extra: Vec<_> = mirror.keys().filter(|path| !first.contains_key(*path)).collect();
            assert!(extra.is_empty(), "{when}: quorum {number} has {extra:?}");
        }
    }
}

/// What a repair, or a comparison, came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub told: Vec<(String, usize, Kind)>,
    pub errors: Vec<Error>,
}

impl Outcome {
    /// What comes until the end.
    pub async fn of(work: &mut Repair) -> Outcome {
        Outcome::first(usize::MAX, work).await
    }

    /// The first `count` items.
    pub async fn first(count: usize, work: &mut Repair) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..count {
            match super::soon("the next item", work.next()).await {
                None => break,
                Some(Ok(one)) => outcome.told.push((one.path.to_string(), one.quorum, one.kind)),
                Some(Err(err)) => outcome.errors.push(err),
            }
        }
        outcome
    }

    pub fn has_error(&self, parts: &[&str]) -> bool {
        let texts = self.errors.iter().map(ToString::to_string);
        texts.into_iter().any(|text| parts.iter().all(|part| text.contains(part)))
    }
}
