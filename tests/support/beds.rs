//! Where a recipe is tried: a quorum in memory, one of servers, the tree over all cells.

use std::sync::Arc;
use std::time::Duration;

use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::{Cells, Conn, ConnExt as _, MemoryQuorum, MetaConn, SessionOptions, ZkConn};

/// One of these places, with a tree of its own.
pub struct Bed {
    place: Place,
    root: String,
}

enum Place {
    Memory(MemoryQuorum),
    Quorum(String),
    Meta(String),
}

impl Bed {
    pub fn memory() -> Bed {
        Bed { place: Place::Memory(MemoryQuorum::new()), root: format!("/{}", fresh_root()) }
    }

    pub fn quorum() -> Bed {
        let addrs = LocalCells::up().unwrap().addrs("nyc").unwrap();
        Bed { place: Place::Quorum(addrs), root: format!("/{}", fresh_root()) }
    }

    pub fn meta() -> Bed {
        let local = LocalCells::up().unwrap();
        let (nyc, sjc) = (local.addrs("nyc").unwrap(), local.addrs("sjc").unwrap());
        let config = format!(r#"{{"nyc": "{nyc}", "sjc": "{sjc}"}}"#);
        Bed { place: Place::Meta(config), root: format!("/zk/sjc/{}", fresh_root()) }
    }

    /// A connection with a session of its own.
    pub async fn conn(&self) -> Arc<dyn Conn> {
        // So long that who waits for a look by chance is found out.
        let options = SessionOptions::default().with_session_timeout(Duration::from_secs(40));
        match &self.place {
            Place::Memory(quorum) => Arc::new(quorum.connect_with(options)),
            Place::Quorum(addrs) => Arc::new(ZkConn::connect(addrs, options).await.unwrap()),
            Place::Meta(config) => {
                let cells = Cells::builder().config_json(config.clone()).local_cell("nyc");
                let conn = MetaConn::new(cells.build().unwrap());
                conn.session(&self.root).await.unwrap();
                Arc::new(conn)
            }
        }
    }

    /// A path in the own tree. Nothing is there yet, parents included.
    pub fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }
}

/// Waits until there are children at `dir` as `enough` says, and returns them.
pub async fn until_children(
    conn: &dyn Conn,
    dir: &str,
    enough: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let seen = async {
        loop {
            let (there, made) = conn.exists_watch(dir).await.unwrap();
            if there.is_none() {
                made.await;
                continue;
            }
            let Ok((children, changed)) = conn.children_watch(dir).await else { continue };
            if enough(&children.names) {
                return children.names;
            }
            changed.await;
        }
    };
    super::soon("a child", seen).await
}

/// Each of these scenarios in each place, as tests of their own.
#[macro_export]
macro_rules! on_each_bed {
    ($($scenario:ident),* $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $scenario() { super::$scenario($crate::support::beds::Bed::memory()).await; }
        )* }
        mod quorum { $(
            #[tokio::test]
            async fn $scenario() { super::$scenario($crate::support::beds::Bed::quorum()).await; }
        )* }
        mod meta { $(
            #[tokio::test]
            async fn $scenario() { super::$scenario($crate::support::beds::Bed::meta()).await; }
        )* }
    };
}
