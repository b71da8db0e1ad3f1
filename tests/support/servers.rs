//! What servers tell of themselves, by their four-letter words.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The answer of `server` to `word`.
pub async fn ask(server: &str, word: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Whether one of `servers` (`host:port,host:port`) has a connection of session `id`.
pub async fn serves_session(servers: &str, id: i64) -> bool {
    let sid = format!("sid=0x{id:x},");
    for server in servers.split(',') {
        if ask(server, "cons").await.contains(&sid) {
            return true;
        }
    }
    false
}
