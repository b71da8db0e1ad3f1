//! Four-letter words: what servers tell of themselves.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server is to its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// It decides.
    Leader,
    /// It follows the leader.
    Follower,
    /// It is alone.
    Standalone,
}

/// What a server that serves says of itself (`srvr`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// What it is to its ensemble.
    pub mode: Mode,
    /// The latest transaction that it has seen; its upper half is the epoch.
    pub zxid: i64,
    /// How many connections it has, the one that asked included.
    pub connections: usize,
}

/// The answer of the server at `addr` to a four-letter word, such as `srvr` or `dump`.
///
/// # Errors
///
/// `TimedOut` without an answer within 2 s, and whatever the network says.
pub async fn ask(addr: &str, word: &str) -> io::Result<String> {
    let answer = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads `srvr`; `None` from a server that does not serve.
pub(super) fn info(srvr: &str) -> Option<ServerInfo> {
    let field = |name: &str| srvr.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mode = match field("Mode:")? {
        "leader" => Mode::Leader,
        "follower" => Mode::Follower,
        "standalone" => Mode::Standalone,
        _ => return None,
    };
    Some(ServerInfo {
        mode,
        zxid: hex(field("Zxid:")?)?,
        connections: field("Connections:")?.parse().ok()?,
    })
}

fn hex(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("0x")?;
    let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
}

/// The sessions in the `dump` of a leader: those of its tracker, not of the nodes below.
pub(super) fn sessions(dump: &str) -> Vec<i64> {
    let tracked = dump.lines().take_while(|line| !line.starts_with("ephemeral nodes dump"));
    tracked.filter_map(|line| hex(line.trim())).collect()
}

/// The sessions in `cons`.
pub(super) fn connected(cons: &str) -> Vec<i64> {
    cons.split("sid=").skip(1).filter_map(hex).collect()
}

/// The number of watches in `wchs`.
pub(super) fn watches(wchs: &str) -> Option<usize> {
    wchs.lines().find_map(|line| line.strip_prefix("Total watches:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leader_says_is_understood() {
        let srvr = "Zookeeper version: 3.8.0\nLatency min/avg/max: 0/3.9/101\nReceived: 10126\n\
            Sent: 12376\nConnections: 1\nOutstanding: 0\nZxid: 0x100006444\nMode: leader\n\
            Node count: 19490\nProposal sizes last/min/max: 87/36/1048055\n";
        let told = ServerInfo { mode: Mode::Leader, zxid: 0x1_0000_6444, connections: 1 };
        assert_eq!(info(srvr), Some(told));
        assert_eq!(info("This ZooKeeper instance is not currently serving requests\n"), None);
        let dump = "SessionTracker dump:\nSession Sets (2)/(2):\n0 expire at Fri Nov 20 14:00:00 UTC 2026:\n\
            1 expire at Fri Nov 20 14:00:04 UTC 2026:\n\t0x100000abc\n\t0xffff000000000001\n\
            ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x77:\n\t/x\n";
        assert_eq!(sessions(dump), [0x1_0000_0abc, -0xffff_ffff_ffff]);
        let cons = " /127.0.0.1:1[1](queued=0,recved=1,sent=1,sid=0x10,lop=PING)\n \
            /127.0.0.1:2[0](queued=0,recved=1,sent=0)\n";
        assert_eq!(connected(cons), [16]);
        assert_eq!(watches("3 connections watching 5 paths\nTotal watches:7"), Some(7));
    }
}
