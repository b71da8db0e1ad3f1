//! A set as a cell of the whole tree.

use super::*;

#[tokio::test]
async fn a_cell_that_is_a_list_is_such_a_tree() {
    let text = r#"{"global": ["memory:", "memory:", "memory:"], "nyc": "memory:",
                   "app": {"quorums": ["memory:", "memory:"], "root": "/app"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    let conn = MetaConn::new(cells);
    conn.create("/zk/global/a", "1", Mode::Persistent).await.unwrap();
    conn.create("/zk/app/a", "2", Mode::Persistent).await.unwrap();
    assert_eq!(conn.get("/zk/global/a").await.unwrap().data, "1");
    assert_eq!(conn.get("/zk/app/a").await.unwrap().data, "2");
    assert_eq!(conn.children("/zk").await.unwrap().names, ["app", "global", "nyc"]);
    let shown = conn.to_string();
    assert_eq!(shown.matches("global(memory(").count(), 2, "{shown}");
    let (_, watch) = conn.exists_watch("/zk/global/b").await.unwrap();
    zkcells::tree::create_all(&conn, "/zk/global/b/c", "", Mode::Persistent).await.unwrap();
    assert_eq!(soon("the watch", watch).await.path, "/zk/global/b");
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_session_timeout_of_the_cell_is_that_of_its_quorums() {
    let text = r#"{"nyc": {"quorums": ["memory:", "memory:"], "session_timeout": "7s"}}"#;
    let cells = Cells::builder().config_json(text).local_cell("nyc").build().unwrap();
    let session = MetaConn::new(cells).session("/zk/nyc").await.unwrap();
    assert_eq!(session.timeout(), Duration::from_secs(7));
    let _ = SessionOptions::default();
}
