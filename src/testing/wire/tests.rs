//! Everything that can be said comes back as it was, and nothing that cannot does any harm.

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::node::Stat;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["/[a-zé/]{0,12}", Just(String::new())]
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn hidden() -> impl Strategy<Value = Hidden> {
    data().prop_map(Hidden)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..4)
}

fn acls() -> impl Strategy<Value = Vec<Acl>> {
    let acl = (any::<i32>(), text(), text());
    let acl = acl.prop_map(|(perms, scheme, id)| Acl { perms, scheme, id });
    proptest::collection::vec(acl, 0..3)
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[i64; 6]>(), any::<[i32; 5]>()).prop_map(|(long, int)| Stat {
        czxid: long[0],
        mzxid: long[1],
        ctime: long[2],
        mtime: long[3],
        version: int[0],
        cversion: int[1],
        aversion: int[2],
        ephemeral_owner: long[4],
        data_length: int[3],
        num_children: int[4],
        pzxid: long[5],
    })
}

/// What can be a part of a multi, and what it is answered.
fn part() -> impl Strategy<Value = (Request, Response)> {
    let ask = (text(), data(), proptest::option::of(acls()), any::<i32>(), any::<i64>());
    (ask, text(), texts(), stat(), 0..9).prop_map(|(ask, made, children, stat, which)| {
        let (path, data, acl, number, ttl) = ask;
        let (version, flags, watch) = (number, number, number % 2 == 0);
        let answered = data.clone();
        match which {
            0 => (Request::Create { path, data, acl, flags }, Response::Create { path: made }),
            1 => (
                Request::Create2 { path, data, acl, flags },
                Response::Create2 { path: made, stat },
            ),
            2 => (
                Request::CreateContainer { path, data, acl, flags },
                Response::CreateContainer { path: made, stat },
            ),
            3 => (
                Request::CreateTtl { path, data, acl, flags, ttl },
                Response::CreateTtl { path: made, stat },
            ),
            4 => (Request::Delete { path, version }, Response::Delete {}),
            5 => (Request::SetData { path, data, version }, Response::SetData { stat }),
            6 => (Request::Check { path, version }, Response::Check { stat: Stat::default() }),
            7 => (Request::GetData { path, watch }, Response::GetData { data: answered, stat }),
            _ => (Request::GetChildren { path, watch }, Response::GetChildren { children }),
        }
    })
}

/// Every other operation.
fn other() -> impl Strategy<Value = (Request, Response)> {
    let ask = (text(), any::<bool>(), any::<i32>(), any::<i64>(), hidden());
    let lists = (texts(), texts(), texts(), texts(), texts());
    let answer = (stat(), acls(), data(), proptest::option::of(text()));
    (ask, lists, answer, 0..20).prop_map(|(ask, lists, answer, which)| {
        let (path, watch, number, relative_zxid, token) = ask;
        let (data, exist, child, persistent, recursive) = lists;
        let (stat, acl, bytes, words) = answer;
        let names = data.clone();
        match which {
            0 => (Request::Exists { path, watch }, Response::Exists { stat }),
            1 => (Request::GetAcl { path }, Response::GetAcl { acl, stat }),
            2 => (
                Request::SetAcl { path, acl: Some(acl), version: number },
                Response::SetAcl { stat },
            ),
            3 => (
                Request::GetChildren2 { path, watch },
                Response::GetChildren2 { children: names, stat },
            ),
            4 => (Request::Sync { path: path.clone() }, Response::Sync { path }),
            5 => (Request::Ping {}, Response::Ping {}),
            6 => (
                Request::Reconfig {
                    joining: words.clone(),
                    leaving: None,
                    members: words,
                    config: relative_zxid,
                },
                Response::Reconfig { data: bytes, stat },
            ),
            7 => (Request::CheckWatches { path, kind: number }, Response::CheckWatches {}),
            8 => (Request::RemoveWatches { path, kind: number }, Response::RemoveWatches {}),
            9 => (Request::Auth { kind: number, scheme: path, auth: token }, Response::Auth {}),
            10 => {
                (Request::SetWatches { relative_zxid, data, exist, child }, Response::SetWatches {})
            }
            11 => (Request::Sasl { token: token.clone() }, Response::Sasl { token }),
            12 => {
                (Request::GetEphemerals { prefix: path }, Response::GetEphemerals { paths: names })
            }
            13 => (
                Request::GetAllChildrenNumber { path },
                Response::GetAllChildrenNumber { total: number },
            ),
            14 => (
                Request::SetWatches2 { relative_zxid, data, exist, child, persistent, recursive },
                Response::SetWatches2 {},
            ),
            15 => (Request::AddWatch { path, mode: number }, Response::AddWatch { error: 0 }),
            16 => {
                let identities =
                    names.into_iter().map(|scheme| ClientInfo { scheme, user: words.clone() });
                (Request::WhoAmI {}, Response::WhoAmI { identities: identities.collect() })
            }
            17 => (Request::CloseSession {}, Response::CloseSession {}),
            18 => (Request::Check { path, version: number }, Response::Check { stat }),
            _ => (Request::SetAcl { path, acl: None, version: number }, Response::SetAcl { stat }),
        }
    })
}

fn many() -> impl Strategy<Value = (Request, Response)> {
    let parts = proptest::collection::vec((part(), any::<Option<i32>>()), 0..5);
    (parts, any::<bool>()).prop_map(|(parts, write)| {
        let (ops, results) = parts
            .into_iter()
            .map(|((op, answer), error)| {
                (op, error.map_or(Ok(answer), |error| Err(ErrorCode(error))))
            })
            .unzip();
        let (ops, results) = (MultiRequest(ops), MultiResult(results));
        if write {
            (Request::Multi { ops }, Response::Multi { results })
        } else {
            (Request::MultiRead { ops }, Response::MultiRead { results })
        }
    })
}

fn exchange() -> impl Strategy<Value = (Request, Response)> {
    prop_oneof![part(), other(), many()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_dialogue_comes_back_as_it_was(
        exchanges in proptest::collection::vec((exchange(), any::<Option<i32>>()), 1..6),
        first in any::<i32>(),
        zxid in any::<i64>(),
    ) {
        let mut dialogue = Dialogue::connected();
        let asked: Vec<_> = exchanges
            .iter()
            .enumerate()
            .map(|(n, ((request, _), _))| {
                // Positive, as those of requests are.
                let xid = i32::try_from(n).unwrap().wrapping_add(first & 0xff_ffff);
                ClientFrame::Request { xid, request: request.clone() }
            })
            .collect();
        for frame in &asked {
            prop_assert_eq!(&dialogue.client(frame.encode()).unwrap(), frame);
        }
        for (frame, ((_, response), error)) in asked.iter().zip(exchanges) {
            let ClientFrame::Request { xid, .. } = frame else { unreachable!() };
            let result = match error {
                Some(error) if error != 0 => Err(ErrorCode(error)),
                _ => Ok(response),
            };
            let event = WatchEvent { kind: 1, state: 3, path: "/x".into() };
            for told in [
                ServerFrame::Event { zxid: -1, event },
                ServerFrame::Reply { xid: *xid, zxid, result },
            ] {
                let bytes = told.encode();
                let read = dialogue.server(bytes.clone()).unwrap();
                prop_assert_eq!(read.encode(), bytes);
                prop_assert_eq!(read, told);
            }
        }
        prop_assert_eq!(dialogue.pending().count(), 0);
    }

    #[test]
    fn connecting_comes_back_as_it_was(
        zxid in any::<i64>(),
        timeout in any::<i32>(),
        session_id in any::<i64>(),
        passwd in hidden(),
        read_only in any::<Option<bool>>(),
    ) {
        let ask = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: zxid,
            timeout,
            session_id,
            passwd: passwd.clone(),
            read_only,
        };
        let answer =
            ConnectResponse { protocol_version: 0, timeout, session_id, passwd, read_only };
        let (ask, answer) = (ClientFrame::Connect(ask), ServerFrame::Connected(answer));
        let mut dialogue = Dialogue::new();
        prop_assert_eq!(dialogue.client(ask.encode()).unwrap(), ask);
        prop_assert_eq!(dialogue.server(answer.encode()).unwrap(), answer);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..8),
    ) {
        let mut dialogue = Dialogue::new();
        for payload in &payloads {
            let payload = Bytes::copy_from_slice(payload);
            let _ = (dialogue.client(payload.clone()), dialogue.server(payload));
        }
    }

    #[test]
    fn any_body_is_read_or_refused_by_every_operation(
        body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..60),
    ) {
        let body = Bytes::from(body);
        for op in OpCode::ALL {
            let _ = (Request::decode(*op, body.clone()), Response::decode(*op, body.clone()));
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        piece in 1_usize..50,
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|p| frame::framed(p)).collect();
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(piece) {
            buffer.put_slice(piece);
            while let Some(payload) = frame::next(&mut buffer, 100).unwrap() {
                read.push(payload.to_vec());
            }
        }
        prop_assert_eq!(read, payloads);
        prop_assert!(buffer.is_empty());
    }
}

#[test]
fn every_operation_is_covered() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        seen.insert(exchange().new_tree(&mut runner).unwrap().current().0.op());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), {
        let mut all = OpCode::ALL.to_vec();
        all.sort();
        all
    });
}

#[test]
fn what_is_wrong_is_named() {
    let decode = |op, bytes: &'static [u8]| Request::decode(op, Bytes::from_static(bytes));
    let wrong = |op, bytes| decode(op, bytes).unwrap_err();
    assert_eq!(wrong(OpCode::Sync, b"\0\0\0\x09/x"), WireError::Short { missing: 7 });
    assert_eq!(wrong(OpCode::Sync, b"\0\0"), WireError::Short { missing: 2 });
    assert_eq!(wrong(OpCode::Sync, b"\0\0\0\x01//"), WireError::Trailing { extra: 1 });
    assert_eq!(wrong(OpCode::Sync, b"\xff\xff\xff\xff"), WireError::Null);
    assert_eq!(wrong(OpCode::Sync, b"\xff\xff\xff\xfe"), WireError::Length(-2));
    assert_eq!(wrong(OpCode::Sync, b"\0\0\0\x01\xff"), WireError::Text);
    assert_eq!(wrong(OpCode::Exists, b"\0\0\0\x01/\x02"), WireError::Bool(2));
    // A count of two thousand million paths sets nothing aside.
    let count = b"\0\0\0\0\0\0\0\0\x7f\xff\xff\xff";
    assert!(matches!(wrong(OpCode::SetWatches, count), WireError::Short { .. }));
    // A multi in a multi could nest without end.
    let nested = b"\0\0\0\x0e\0\xff\xff\xff\xff";
    assert_eq!(wrong(OpCode::Multi, nested), WireError::OpCode(14));
    let mut dialogue = Dialogue::connected();
    let reply = ServerFrame::Reply { xid: 4, zxid: 0, result: Err(ErrorCode::NO_NODE) };
    assert_eq!(dialogue.server(reply.encode()), Err(WireError::Xid(4)));
    // What the server does not know either is answered with an error.
    let unknown = Bytes::from_static(b"\0\0\0\x04\0\0\x03\xe7");
    assert_eq!(dialogue.client(unknown), Err(WireError::OpCode(999)));
    let reply = ServerFrame::Reply { xid: 4, zxid: 0, result: Err(ErrorCode::UNIMPLEMENTED) };
    assert_eq!(dialogue.server(reply.encode()), Ok(reply));
    let mut stream = BytesMut::from(&b"\x7f\xff\xff\xff"[..]);
    let err = frame::next(&mut stream, 100).unwrap_err();
    assert_eq!(err, WireError::FrameLength { length: i32::MAX, limit: 100 });
    assert_eq!(err.to_string(), "a frame of 2147483647 bytes; at most 100 are taken");
}

#[test]
fn proofs_of_identity_are_not_shown() {
    let auth = Request::Auth { kind: 0, scheme: "digest".into(), auth: b"app:secret"[..].into() };
    assert_eq!(format!("{auth:?}"), r#"Auth { kind: 0, scheme: "digest", auth: *** }"#);
}

#[test]
fn bytes_are_those_of_zookeeper() {
    // `create /a` with data `x` for everybody, ephemeral; as Java's client sends it.
    let create = ClientFrame::Request {
        xid: 1,
        request: Request::Create {
            path: "/a".into(),
            data: Some(Bytes::from_static(b"x")),
            acl: Some(vec![crate::node::Acl::open().remove(0).into()]),
            flags: 1,
        },
    };
    let bytes = b"\0\0\0\x01\0\0\0\x01\0\0\0\x02/a\0\0\0\x01x\0\0\0\x01\0\0\0\x1f\
        \0\0\0\x05world\0\0\0\x06anyone\0\0\0\x01";
    assert_eq!(create.encode(), &bytes[..]);
    // A failed multi of two steps, as a server tells it: the second one had no node.
    let failed = ServerFrame::Reply {
        xid: 2,
        zxid: 9,
        result: Ok(Response::Multi {
            results: MultiResult(vec![Err(ErrorCode::OK), Err(ErrorCode::NO_NODE)]),
        }),
    };
    let bytes = b"\0\0\0\x02\0\0\0\0\0\0\0\x09\0\0\0\0\
        \xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\
        \xff\xff\xff\xff\0\xff\xff\xff\x9b\xff\xff\xff\x9b\
        \xff\xff\xff\xff\x01\xff\xff\xff\xff";
    assert_eq!(failed.encode(), &bytes[..]);
}
