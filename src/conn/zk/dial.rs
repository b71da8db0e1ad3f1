//! Finds servers that serve, and opens a session with them.
//!
//! The client crate tries hosts one after the other, and a host that accepts connections and says
//! nothing costs it 2/5 of a session timeout. So all hosts are asked at once first, with the one
//! four-letter word that servers answer by default, and the crate is given those that answered.

use std::fmt;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use zookeeper_client as zk;

use super::exec::commit;
use super::transport::Transport;
use crate::conn::options::SessionOptions;
use crate::deadline::Deadline;
use crate::error::ErrorKind;

/// How long a dial may take in all; whoever waits for it has a deadline of his own.
const DIAL: Duration = Duration::from_secs(10);
/// How long hosts that have not answered yet are waited for once one has.
const GRACE: Duration = Duration::from_millis(100);
/// How long they are waited for once one listens without saying whether it serves.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a host may be silent before it is asked anew, on another connection: one that was made
/// while its server started, or by way of a host that died, may stay silent for ever.
const AGAIN: Duration = Duration::from_millis(500);
/// How long servers may take to give a session back before they are asked anew, in turn; the last
/// try has the rest of the dial.
const ATTACH: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(2)];

/// A session that a server serves.
pub(super) struct Dialled {
    pub(super) transport: Transport,
    /// When the request was sent that proved it.
    pub(super) sent: Deadline,
    /// What the servers say their version is.
    pub(super) version: Option<String>,
}

/// Why no server serves a session.
#[derive(Clone, Debug)]
pub(super) struct DialError {
    pub(super) kind: ErrorKind,
    /// What each host said, in one line.
    pub(super) why: String,
    /// Whether every host said at once that nobody serves there: waiting would be in vain.
    pub(super) is_final: bool,
}

/// What to ask servers for.
pub(super) enum Wanted {
    /// A session, the first of a connection.
    First,
    /// A session after another one.
    Next,
    /// The session that was there before the connection broke.
    Again(zk::SessionInfo),
}

/// Gets a session from one of `hosts`.
///
/// But for the first of a connection, it takes the quorum's agreement before anything else, so that
/// a connection's reads never go back, whichever server now serves them.
pub(super) async fn dial(
    hosts: &[String],
    options: &SessionOptions,
    wanted: Wanted,
) -> Result<Dialled, DialError> {
    match timeout(DIAL, dial_untimed(hosts, options, wanted)).await {
        Ok(answer) => answer,
        Err(_) => Err(DialError {
            kind: ErrorKind::NotSent,
            why: format!("{}: no answer within {} s", hosts.join(","), DIAL.as_secs()),
            is_final: false,
        }),
    }
}

async fn dial_untimed(
    hosts: &[String],
    options: &SessionOptions,
    wanted: Wanted,
) -> Result<Dialled, DialError> {
    let Survey { good, bad, version } = survey(hosts).await;
    if good.is_empty() {
        let is_final = bad.iter().all(|(_, answer)| answer.is_final());
        let why: Vec<String> = bad.iter().map(|(host, why)| format!("{host}: {why}")).collect();
        return Err(DialError { kind: ErrorKind::NotSent, why: why.join("; "), is_final });
    }
    let hosts = good.join(",");
    let opened = attach_or_open(&hosts, options, &wanted).await;
    opened.map(|(transport, sent)| Dialled { transport, sent, version }).map_err(|err| DialError {
        kind: match err {
            zk::Error::AuthFailed => ErrorKind::AuthFailed,
            zk::Error::SessionExpired | zk::Error::SessionMoved => ErrorKind::SessionExpired,
            _ => ErrorKind::NotSent,
        },
        is_final: matches!(err, zk::Error::AuthFailed),
        why: match err {
            zk::Error::AuthFailed => format!("{hosts} did not accept our identity"),
            err => format!("{hosts}: {err}"),
        },
    })
}

/// To ask twice for the same session is no harm; to ask twice for a new one leaves one behind.
async fn attach_or_open(
    hosts: &str,
    options: &SessionOptions,
    wanted: &Wanted,
) -> Result<(Transport, Deadline), zk::Error> {
    if matches!(wanted, Wanted::Again(_)) {
        for patience in ATTACH {
            if let Ok(opened) = timeout(patience, open(hosts, options, wanted)).await {
                return opened;
            }
        }
    }
    open(hosts, options, wanted).await
}

/// A session, and when the request was sent that proved it.
async fn open(
    hosts: &str,
    options: &SessionOptions,
    wanted: &Wanted,
) -> Result<(Transport, Deadline), zk::Error> {
    let mut connector = zk::Client::connector().with_session_timeout(options.session_timeout);
    for auth in &options.auth {
        connector = connector.with_auth(&auth.scheme, auth.secret.expose().as_bytes());
    }
    let first = matches!(wanted, Wanted::First);
    if let Wanted::Again(session) = wanted {
        connector = connector.with_session(session.clone());
    }
    let mut sent = Deadline::now();
    let transport = Transport::connect(connector, hosts).await?;
    if !first {
        sent = Deadline::now();
        commit(&transport.client, "/").await?;
    }
    Ok((transport, sent))
}

/// What a host said when it was asked whether it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// It serves clients, and is of this version.
    Serves(Option<String>),
    /// Somebody listens, but does not answer the question: perhaps a proxy, perhaps a filter.
    Listens,
    /// It is a ZooKeeper server without a quorum.
    NoQuorum,
    /// Nobody listens there.
    Refused(String),
    /// The name has no address.
    Unresolved(String),
}

impl Answer {
    fn is_final(&self) -> bool {
        matches!(self, Answer::Refused(_) | Answer::Unresolved(_))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Serves(_) => f.write_str("serves"),
            Answer::Listens => f.write_str("listens"),
            Answer::NoQuorum => f.write_str("has no quorum"),
            Answer::Refused(why) | Answer::Unresolved(why) => f.write_str(why),
        }
    }
}

/// What the hosts of a quorum said.
struct Survey {
    /// Those to connect to.
    good: Vec<String>,
    bad: Vec<(String, Answer)>,
    /// What the good ones say their version is.
    version: Option<String>,
}

/// Asks every host at once. The good ones are those that serve, or, where none says so, those that
/// at least listen.
async fn survey(hosts: &[String]) -> Survey {
    let mut asked: FuturesUnordered<_> =
        hosts.iter().map(|host| async move { (host.clone(), ask(host).await) }).collect();
    let mut answers = Vec::new();
    let mut serving = false;
    let mut until = None;
    loop {
        let next = match until {
            Some(until) => timeout_at(until, asked.next()).await.unwrap_or(None),
            None => asked.next().await,
        };
        let Some((host, answer)) = next else { break };
        serving |= matches!(answer, Answer::Serves(_));
        if serving {
            until = Some(Instant::now() + GRACE);
        } else if answer == Answer::Listens {
            until = until.or(Some(Instant::now() + PATIENCE));
        }
        answers.push((host, answer));
    }
    let (mut survey, mut versions) = (Survey { good: vec![], bad: vec![], version: None }, vec![]);
    for (host, answer) in answers {
        match answer {
            Answer::Serves(version) => {
                survey.good.push(host);
                versions.extend(version);
            }
            Answer::Listens if !serving => survey.good.push(host),
            answer => survey.bad.push((host, answer)),
        }
    }
    versions.sort_unstable();
    versions.dedup();
    survey.version = (!versions.is_empty()).then(|| versions.join(","));
    survey
}

/// Asks one host, again and again as long as it says nothing, and takes the first answer. One that
/// keeps silent for ever is left behind by the dial's own deadline.
async fn ask(host: &str) -> Answer {
    let mut asked = FuturesUnordered::new();
    loop {
        asked.push(ask_once(host));
        if let Ok(Some(answer)) = timeout(AGAIN, asked.next()).await {
            return answer;
        }
    }
}

async fn ask_once(host: &str) -> Answer {
    let addrs = match tokio::net::lookup_host(host).await {
        Ok(addrs) => addrs.collect::<Vec<_>>(),
        Err(err) => return Answer::Unresolved(plain(&err)),
    };
    if addrs.is_empty() {
        return Answer::Unresolved("the name has no address".into());
    }
    let mut stream = match TcpStream::connect(addrs.as_slice()).await {
        Ok(stream) => stream,
        Err(err) => return Answer::Refused(plain(&err)),
    };
    let mut reply = Vec::new();
    let heard = async {
        stream.write_all(b"srvr").await?;
        stream.take(4096).read_to_end(&mut reply).await
    };
    // A connection that breaks after it stood says no more than that somebody listens.
    if heard.await.is_err() {
        return Answer::Listens;
    }
    let reply = String::from_utf8_lossy(&reply);
    if reply.contains("Mode:") {
        Answer::Serves(version(&reply))
    } else if reply.contains("not currently serving") {
        Answer::NoQuorum
    } else {
        Answer::Listens
    }
}

/// The version that the answer to `srvr` starts with, without the build behind it.
fn version(reply: &str) -> Option<String> {
    let text = reply.lines().find_map(|line| line.strip_prefix("Zookeeper version: "))?;
    let version = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next()?;
    (!version.is_empty()).then(|| version.to_string())
}

/// The words of an I/O error without the number behind them.
fn plain(err: &std::io::Error) -> String {
    let text = err.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}
