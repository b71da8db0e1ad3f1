//! What real clients and servers say is read as it was meant: each frame comes out as it went in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use support::soon;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zkcells::testing::cells::{LocalCells, fresh_root};
use zkcells::testing::wire::{
    Acl, ClientFrame, ConnectRequest, Dialogue, ErrorCode, Hidden, OpCode, Request, Response,
    ServerFrame, frame,
};
use zkcells::{Auth, ConnExt as _, Mode, Multi, Read, SessionOptions, Version, ZkConn};

fn nyc() -> String {
    LocalCells::up().unwrap().addrs("nyc").unwrap()
}

/// The bytes of one connection: of the client, and of the server.
type Recording = Arc<[Mutex<Vec<u8>>; 2]>;

/// Passes everything on to `server`, and keeps what passes.
async fn recorder(server: String) -> (SocketAddr, Arc<Mutex<Vec<Recording>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let recordings = Arc::new(Mutex::new(Vec::new()));
    let all = recordings.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let recording = Recording::default();
            all.lock().unwrap().push(recording.clone());
            let server = TcpStream::connect(&server).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(record(from_client, to_server, recording.clone(), 0));
            tokio::spawn(record(from_server, to_client, recording, 1));
        }
    });
    (addr, recordings)
}

async fn record(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    recording: Recording,
    side: usize,
) {
    let mut piece = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        recording[side].lock().unwrap().extend(&piece[..count]);
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // The other side may have gone first.
    let _ = to.shutdown().await;
}

/// Every operation that `ZkConn` has, and what comes with a reconnect.
async fn use_everything(recorded: &str) {
    let options = SessionOptions::default()
        .with_session_timeout(Duration::from_secs(2))
        .with_auth(Auth::digest("app", "secret"));
    let conn = ZkConn::connect(recorded, options).await.unwrap();
    let witness = ZkConn::connect(&nyc(), SessionOptions::default()).await.unwrap();
    let root = format!("/{}", fresh_root());
    let at = |name: &str| format!("{root}/{name}");
    conn.create(&root, "räksmörgås", Mode::Persistent).await.unwrap();
    for (name, mode) in [
        ("p", Mode::Persistent),
        ("e", Mode::Ephemeral),
        ("es-", Mode::EphemeralSequential),
        ("c", Mode::Container),
        ("t", Mode::Ttl(Duration::from_secs(60))),
        ("ts-", Mode::TtlSequential(Duration::from_secs(60))),
    ] {
        conn.create(at(name), vec![7; 1000], mode).await.unwrap();
    }
    conn.create(at("p"), "", Mode::Persistent).await.unwrap_err();
    let private = zkcells::Acl::creator(zkcells::Perms::ALL);
    conn.set_acl(at("p"), vec![private], Version::Any).await.unwrap();
    conn.acl(at("p")).await.unwrap();
    let (_, data) = conn.get_watch(at("p")).await.unwrap();
    let (_, _kept) = conn.get_watch(at("c")).await.unwrap();
    let (_, _absent) = conn.exists_watch(at("none")).await.unwrap();
    let (_, _children) = conn.children_watch(at("t")).await.unwrap();
    let mut tree = conn.watch_tree(at("t")).await.unwrap();
    conn.set(at("p"), "", Version::Exact(0)).await.unwrap();
    soon("the event", data).await;
    conn.set(at("p"), "", Version::Exact(0)).await.unwrap_err();
    witness.create(at("t/below"), "", Mode::Persistent).await.unwrap();
    soon("the event", tree.next()).await.unwrap();
    conn.children(&root).await.unwrap();
    conn.ephemerals(&root).await.unwrap();
    conn.sync(&root).await.unwrap();
    let paths = ["p", "none", "e"].map(|name| zkcells::ZkPath::new(at(name)).unwrap());
    let reads = paths.iter().flat_map(|path| {
        [Read::Get(path.clone()), Read::Children(path.clone()), Read::Exists(path.clone())]
    });
    conn.read_many(reads.collect::<Vec<_>>()).await.unwrap();
    let steps = Multi::new()
        .check(at("p"), Version::Exact(1))
        .create(at("m"), "x", Mode::Persistent)
        .create(at("m/"), "y", Mode::PersistentSequential)
        .create(at("mc"), "y", Mode::Container)
        .create(at("mt"), "y", Mode::Ttl(Duration::from_secs(60)))
        .set(at("p"), "z", Version::Any)
        .delete(at("e"), Version::Any);
    conn.multi(steps).await.unwrap();
    let steps = Multi::new().create(at("m2"), "", Mode::Persistent).delete(&root, Version::Any);
    conn.multi(steps).await.unwrap_err();
    let (_, withdrawn) = conn.get_watch(at("mt")).await.unwrap();
    drop(withdrawn);
    conn.delete(at("m2"), Version::Any).await.unwrap_err();
}

/// Reads a recording, and says which operations are in it.
fn reread(recording: &Recording) -> (BTreeSet<OpCode>, usize) {
    let [client, server] = [0, 1].map(|side| recording[side].lock().unwrap().clone());
    if frame::four_letter_word(&client).is_some() {
        return Default::default();
    }
    let mut dialogue = Dialogue::new();
    let (mut ops, mut frames) = (BTreeSet::new(), 0);
    let mut client = BytesMut::from(&client[..]);
    while let Some(payload) = frame::next(&mut client, frame::FROM_CLIENT).unwrap() {
        let read = dialogue.client(payload.clone());
        let read = read.unwrap_or_else(|err| panic!("{err}: {payload:?}"));
        assert_eq!(read.encode(), payload, "{read:?}");
        assert_eq!(frame::framed(&payload)[4..], payload);
        if let ClientFrame::Request { request, .. } = &read {
            ops.insert(request.op());
        }
        frames += 1;
    }
    let mut server = BytesMut::from(&server[..]);
    while let Some(payload) = frame::next(&mut server, frame::FROM_SERVER).unwrap() {
        let read = dialogue.server(payload.clone());
        let read = read.unwrap_or_else(|err| panic!("{err}: {payload:?}"));
        assert_eq!(read.encode(), payload, "{read:?}");
        frames += 1;
    }
    (ops, frames)
}

#[tokio::test]
async fn what_our_client_and_a_real_server_say_comes_out_as_it_went_in() {
    let (addr, recordings) = recorder(nyc()).await;
    use_everything(&addr.to_string()).await;
    let recordings = std::mem::take(&mut *recordings.lock().unwrap());
    let (mut ops, mut frames) = (BTreeSet::new(), 0);
    for recording in &recordings {
        let (some, count) = reread(recording);
        ops.extend(some);
        frames += count;
    }
    assert!(frames > 60, "{frames} frames");
    for op in [
        OpCode::Create2,
        OpCode::CreateContainer,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::Exists,
        OpCode::GetData,
        OpCode::SetData,
        OpCode::GetAcl,
        OpCode::SetAcl,
        OpCode::GetChildren2,
        OpCode::Multi,
        OpCode::MultiRead,
        OpCode::Auth,
        OpCode::GetEphemerals,
        OpCode::AddWatch,
    ] {
        assert!(ops.contains(&op), "{op} was not used: {ops:?}");
    }
}

/// A client made of nothing but frames.
struct Raw {
    stream: TcpStream,
    bytes: BytesMut,
    dialogue: Dialogue,
    xid: i32,
}

impl Raw {
    async fn connect(session: Option<(i64, Hidden)>, read_only: Option<bool>) -> (Raw, Bytes) {
        let stream = TcpStream::connect(nyc()).await.unwrap();
        let mut raw = Raw { stream, bytes: BytesMut::new(), dialogue: Dialogue::new(), xid: 0 };
        let (session_id, passwd) = session.unwrap_or_default();
        let connect = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 4000,
            session_id,
            passwd,
            read_only,
        };
        raw.send(ClientFrame::Connect(connect)).await;
        let answer = raw.receive().await;
        raw.dialogue.server(answer.clone()).unwrap();
        (raw, answer)
    }

    async fn send(&mut self, frame: ClientFrame) {
        let payload = frame.encode();
        assert_eq!(self.dialogue.client(payload.clone()).unwrap(), frame);
        self.stream.write_all(&frame::framed(&payload)).await.unwrap();
    }

    async fn receive(&mut self) -> Bytes {
        soon("an answer", async {
            loop {
                if let Some(payload) = frame::next(&mut self.bytes, frame::FROM_SERVER).unwrap() {
                    return payload;
                }
                assert_ne!(self.stream.read_buf(&mut self.bytes).await.unwrap(), 0, "hung up");
            }
        })
        .await
    }

    /// What the server makes of a request.
    async fn ask(&mut self, request: Request) -> Result<Response, ErrorCode> {
        self.xid += 1;
        let xid = match request.op() {
            OpCode::Ping => zkcells::testing::wire::xid::PING,
            OpCode::Auth => zkcells::testing::wire::xid::AUTH,
            OpCode::SetWatches | OpCode::SetWatches2 => zkcells::testing::wire::xid::SET_WATCHES,
            _ => self.xid,
        };
        let op = request.op();
        self.send(ClientFrame::Request { xid, request }).await;
        loop {
            let payload = self.receive().await;
            let read = self.dialogue.server(payload.clone());
            let read = read.unwrap_or_else(|err| panic!("{op}: {err}: {payload:?}"));
            assert_eq!(read.encode(), payload, "{read:?}");
            match read {
                ServerFrame::Reply { xid: own, result, .. } if own == xid => return result,
                ServerFrame::Event { .. } => {}
                other => panic!("{op}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_real_server_answers_whatever_is_asked_in_our_frames() {
    let (mut raw, _) = Raw::connect(None, Some(false)).await;
    let path = format!("/{}", fresh_root());
    let acl = Some(vec![Acl::from(zkcells::Acl::open().remove(0))]);
    let create =
        |flags| Request::Create { path: path.clone(), data: None, acl: acl.clone(), flags };
    assert_eq!(raw.ask(create(0)).await, Ok(Response::Create { path: path.clone() }));
    assert_eq!(raw.ask(create(0)).await, Err(ErrorCode::NODE_EXISTS));
    assert_eq!(raw.ask(create(99)).await, Err(ErrorCode::BAD_ARGUMENTS));
    match raw.ask(Request::GetData { path: path.clone(), watch: true }).await {
        Ok(Response::GetData { data: None, stat }) => assert_eq!(stat.version, 0),
        other => panic!("{other:?}"),
    }
    let watches = |recursive| Request::SetWatches2 {
        relative_zxid: 0,
        data: vec![path.clone()],
        exist: vec![format!("{path}/none")],
        child: vec![path.clone()],
        persistent: vec![],
        recursive,
    };
    assert_eq!(raw.ask(watches(vec![path.clone()])).await, Ok(Response::SetWatches2 {}));
    let (data, exist, child) = (vec![path.clone()], vec![], vec![]);
    let watches = Request::SetWatches { relative_zxid: 0, data, exist, child };
    assert_eq!(raw.ask(watches).await, Ok(Response::SetWatches {}));
    let asked = [
        Request::Ping {},
        Request::GetChildren { path: path.clone(), watch: false },
        Request::GetAllChildrenNumber { path: "/".into() },
        Request::Sync { path: path.clone() },
        Request::WhoAmI {},
        Request::AddWatch { path: path.clone(), mode: 0 },
        Request::CheckWatches { path: path.clone(), kind: 3 },
        Request::RemoveWatches { path: path.clone(), kind: 3 },
        Request::Auth { kind: 0, scheme: "digest".into(), auth: b"app:secret"[..].into() },
    ];
    for request in asked {
        let op = request.op();
        let answer = raw.ask(request).await.unwrap_or_else(|err| panic!("{op}: {err}"));
        assert_eq!(answer.op(), op);
    }
    let refused = [
        (Request::RemoveWatches { path: path.clone(), kind: 3 }, ErrorCode::NO_WATCHER),
        (Request::AddWatch { path: path.clone(), mode: 9 }, ErrorCode::MARSHALLING),
        (
            Request::Reconfig { joining: None, leaving: None, members: None, config: -1 },
            ErrorCode::RECONFIG_DISABLED,
        ),
    ];
    for (request, error) in refused {
        let op = request.op();
        assert_eq!(raw.ask(request).await, Err(error), "{op}");
    }
    raw.ask(Request::Delete { path: path.clone(), version: -1 }).await.unwrap();
    assert_eq!(raw.ask(Request::CloseSession {}).await, Ok(Response::CloseSession {}));
}

#[tokio::test]
async fn old_clients_that_do_not_say_whether_read_only_will_do_are_not_told() {
    use zkcells::testing::wire::ConnectResponse;
    for read_only in [None, Some(false)] {
        let (mut raw, answer) = Raw::connect(None, read_only).await;
        let opened = ConnectResponse::decode(answer.clone()).unwrap();
        assert_eq!((opened.read_only, opened.encode()), (read_only, answer));
        assert_eq!(opened.timeout, 4000);
        let session = (opened.session_id, opened.passwd);
        raw.ask(Request::CloseSession {}).await.unwrap();
        // It is over now, in the words that we would use too.
        let (_, answer) = Raw::connect(Some(session.clone()), read_only).await;
        let ask = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 4000,
            session_id: session.0,
            passwd: session.1,
            read_only,
        };
        assert_eq!(ConnectResponse::expired(&ask).encode(), answer);
    }
}
