//! A worker of the original shard lock, as a state machine on plain calls: the protocol of shard-lock
//! 2.0.1 with its conditional set, its order of looks and its flaws, but for what needs its client.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;
use zkcells::{Conn, ConnExt as _, Error, ErrorKind, Mode, Stat, Version};

/// What a test does between the leader's look at the members and its set: an original knows no
/// condition that would notice.
pub type Between = Box<dyn FnMut() -> BoxFuture<'static, ()> + Send + Sync>;

/// A worker.
pub struct Original {
    pub conn: Arc<dyn Conn>,
    pub base: String,
    pub wait_time: Duration,
    pub between: Option<Between>,
    /// How often its set came too late.
    pub beaten: usize,
}

/// A range of it.
#[derive(Debug)]
pub struct OriginalShard {
    conn: Arc<dyn Conn>,
    base: String,
    pub group: String,
    pub node: String,
    pub index: usize,
    pub of: usize,
    /// The transaction that published it.
    pub zxid: i64,
}

/// A group in its scan.
#[derive(Debug)]
struct Group {
    path: String,
    stat: Stat,
    names: Vec<String>,
}

impl Group {
    fn nodes(&self) -> usize {
        self.names.iter().filter(|name| name.contains("node-")).count()
    }
}

#[derive(Debug, Default)]
struct Groups {
    processing: Vec<Group>,
    awaiting: Option<Group>,
}

/// Came too late for its group. The original tells its caller that the lock was lost, goes on in
/// hiding, and keeps what it gets then until its session ends.
#[derive(Debug)]
pub struct Late;

fn gone<T>(done: Result<T, Error>) -> Option<T> {
    match done {
        Ok(value) => Some(value),
        Err(err) => {
            let kind = err.kind();
            let borne = [ErrorKind::NoNode, ErrorKind::NotEmpty, ErrorKind::NodeExists];
            assert!(borne.contains(&kind), "{err}");
            None
        }
    }
}

fn number(name: &str) -> i32 {
    name.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// Its look at all groups, which clears up on the way.
async fn scan(conn: &dyn Conn, base: &str) -> Groups {
    let mut made = false;
    let mut names = match conn.children(base).await {
        Ok(children) => children.names,
        Err(err) if err.kind() == ErrorKind::NoNode => {
            gone(conn.create(base, "", Mode::Persistent).await);
            made = true;
            Vec::new()
        }
        Err(err) => panic!("{err}"),
    };
    names.sort();
    let mut groups = Groups::default();
    let mut vanished = false;
    for name in names {
        let path = format!("{base}/{name}");
        let Some(found) = gone(conn.children(&path).await) else {
            vanished = true;
            break;
        };
        let group = Group { path, stat: found.stat, names: found.names };
        if group.stat.data_length > 0 && group.nodes() > 0 {
            groups.processing.push(group);
        } else if group.stat.data_length == 0 && groups.awaiting.is_none() {
            groups.awaiting = Some(group);
        } else {
            for ack in group.names.iter().filter(|name| name.contains("ack-")) {
                gone(conn.delete(format!("{}/{ack}", group.path), Version::Any).await);
            }
            gone(conn.delete(&group.path, Version::Any).await);
        }
    }
    if vanished {
        groups = Groups::default();
    }
    let idle = groups.processing.is_empty() && groups.awaiting.is_none() && !made;
    if idle && gone(conn.delete(base, Version::Any).await).is_some() {
        gone(conn.create(base, "", Mode::Persistent).await);
    }
    groups
}

impl Original {
    pub fn new(conn: Arc<dyn Conn>, base: &str, wait_time: Duration) -> Self {
        let base = base.to_owned();
        Original { conn, base, wait_time, between: None, beaten: 0 }
    }

    /// Waits for a range.
    pub async fn acquire(&mut self) -> Result<OriginalShard, Late> {
        let conn = self.conn.clone();
        let (group, node) = loop {
            let awaiting = loop {
                match scan(&conn, &self.base).await.awaiting {
                    Some(group) => break group.path,
                    None => {
                        let path = format!("{}/group-", self.base);
                        gone(conn.create(path, "", Mode::PersistentSequential).await);
                    }
                }
            };
            let path = format!("{awaiting}/node-");
            if let Some((node, _)) = gone(conn.create(path, "", Mode::EphemeralSequential).await) {
                break (awaiting, node.name().to_owned());
            }
        };
        self.drain(&group).await;
        self.group_phase(&group, &node).await;
        let Some(published) = gone(conn.get(&group).await) else { return Err(Late) };
        let listed: Vec<i32> = published
            .data
            .chunks(4)
            .map(|four| i32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        let Some(index) = listed.iter().position(|other| *other == number(&node)) else {
            gone(conn.delete(format!("{group}/{node}"), Version::Any).await);
            return Err(Late);
        };
        let (of, zxid) = (listed.len(), published.stat.mzxid);
        Ok(OriginalShard { conn, base: self.base.clone(), group, node, index, of, zxid })
    }

    /// Waits until nobody is in the first published group, unless that is its own.
    async fn drain(&self, own: &str) {
        loop {
            let groups = scan(&self.conn, &self.base).await;
            let Some(first) = groups.processing.first().filter(|group| group.path != own) else {
                return;
            };
            while let Some(found) = gone(self.conn.children(&first.path).await) {
                let Some(any) = found.names.iter().find(|name| name.contains("node-")) else {
                    break;
                };
                let path = format!("{}/{any}", first.path);
                let (there, watch) = self.conn.exists_watch(path).await.unwrap();
                if there.is_some() {
                    watch.await;
                }
            }
        }
    }

    /// Leads or follows until the own group is the first that is published.
    async fn group_phase(&mut self, group: &str, node: &str) {
        let conn = self.conn.clone();
        loop {
            let groups = scan(&conn, &self.base).await;
            if groups.processing.first().is_some_and(|first| first.path == group) {
                return;
            }
            let Some(found) = gone(conn.children(group).await) else { return };
            let mut nodes: Vec<String> =
                found.names.into_iter().filter(|name| name.contains("node-")).collect();
            nodes.sort();
            if !nodes.iter().any(|name| name == node) {
                return;
            }
            if nodes[0] == node {
                sleep(self.wait_time).await;
                let Some((found, _)) = gone(conn.children_watch(group).await) else { return };
                let mut nodes: Vec<String> =
                    found.names.into_iter().filter(|name| name.contains("node-")).collect();
                nodes.sort();
                if found.stat.data_length == 0 {
                    if let Some(between) = &mut self.between {
                        between().await;
                    }
                    let list: Vec<u8> =
                        nodes.iter().flat_map(|name| number(name).to_le_bytes()).collect();
                    let at = Version::Exact(found.stat.version);
                    match conn.set(group, list, at).await {
                        Err(err) if err.kind() == ErrorKind::BadVersion => self.beaten += 1,
                        done => drop(gone(done)),
                    }
                }
                // Of no condition of its own: the next turn looks again.
                continue;
            }
            let leader = format!("{group}/{}", nodes[0]);
            let (there, gone_leader) = conn.exists_watch(leader).await.unwrap();
            let Some((data, changed)) = gone(conn.get_watch(group).await) else { return };
            if there.is_some() && data.data.is_empty() {
                tokio::select! {
                    _ = gone_leader => {}
                    _ = changed => {}
                }
            } else if !data.data.is_empty() {
                // Published, but another group is before: any change may end that.
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl OriginalShard {
    /// Whether a reshard is wanted.
    pub async fn check(&self) -> bool {
        let Some(found) = gone(self.conn.children(&self.group).await) else { return true };
        let groups = scan(&self.conn, &self.base).await;
        found.names.len() < self.of || groups.awaiting.is_some()
    }

    /// Gives it back in the middle of things.
    pub async fn release(self) {
        gone(self.conn.delete(format!("{}/{}", self.group, self.node), Version::Any).await);
        scan(&self.conn, &self.base).await;
    }

    /// Gives it back because the work is done.
    pub async fn ack(self) {
        let path = format!("{}/ack-", self.group);
        gone(self.conn.create(path, "", Mode::PersistentSequential).await);
        self.release().await;
    }
}
