//! What clients ask for.

use bytes::{Bytes, BytesMut};

use super::code::OpCode;
use super::error::WireError;
use super::jute::{Hidden, end};
use super::multi::MultiRequest;
use super::records::{Acl, records};

records! {
    /// One operation with its arguments. The variants are those of [`OpCode`].
    pub enum Request {
        /// A new node; answers its path.
        Create {
            /// Where.
            path: String,
            /// What it holds; null is not the same as empty.
            data: Option<Bytes>,
            /// Who may touch it.
            acl: Option<Vec<Acl>>,
            /// 0 persistent, 1 ephemeral, 2 persistent sequential, 3 ephemeral sequential,
            /// 4 container, 5 with a time to live, 6 the same, sequential.
            flags: i32,
        },
        /// The end of a node.
        Delete {
            /// Which.
            path: String,
            /// The version that it must have; -1 for any.
            version: i32,
        },
        /// A node's stat.
        Exists {
            /// Which.
            path: String,
            /// Whether to leave a watch.
            watch: bool,
        },
        /// A node's data and stat.
        GetData {
            /// Which.
            path: String,
            /// Whether to leave a watch.
            watch: bool,
        },
        /// New data for a node.
        SetData {
            /// Which.
            path: String,
            /// What it holds from now on.
            data: Option<Bytes>,
            /// The version that it must have; -1 for any.
            version: i32,
        },
        /// A node's access list.
        GetAcl {
            /// Which.
            path: String,
        },
        /// A new access list for a node.
        SetAcl {
            /// Which.
            path: String,
            /// Who may touch it from now on.
            acl: Option<Vec<Acl>>,
            /// The ACL version that it must have; -1 for any.
            version: i32,
        },
        /// A node's children.
        GetChildren {
            /// Which.
            path: String,
            /// Whether to leave a watch.
            watch: bool,
        },
        /// The server catches up with the leader.
        Sync {
            /// Any path.
            path: String,
        },
        /// A sign of life.
        Ping {},
        /// A node's children and stat.
        GetChildren2 {
            /// Which.
            path: String,
            /// Whether to leave a watch.
            watch: bool,
        },
        /// A node's version is what it should be. Clients send it within a multi only.
        Check {
            /// Which.
            path: String,
            /// The version that it must have; -1 for any.
            version: i32,
        },
        /// Many writes, all or none.
        Multi {
            /// The steps.
            ops: MultiRequest,
        },
        /// A new node; answers its path and stat.
        Create2 {
            /// Where.
            path: String,
            /// What it holds.
            data: Option<Bytes>,
            /// Who may touch it.
            acl: Option<Vec<Acl>>,
            /// As of `Create`.
            flags: i32,
        },
        /// Other members for the ensemble.
        Reconfig {
            /// Who joins.
            joining: Option<String>,
            /// Who leaves.
            leaving: Option<String>,
            /// All members, instead of the two before.
            members: Option<String>,
            /// The configuration that must be in force; -1 for any.
            config: i64,
        },
        /// Whether a watch is there.
        CheckWatches {
            /// Of which node.
            path: String,
            /// 1 children, 2 data, 3 any; newer servers also know 4 persistent, and 5 persistent and
            /// recursive.
            kind: i32,
        },
        /// The end of a watch.
        RemoveWatches {
            /// Of which node.
            path: String,
            /// As of `CheckWatches`.
            kind: i32,
        },
        /// A new container.
        CreateContainer {
            /// Where.
            path: String,
            /// What it holds.
            data: Option<Bytes>,
            /// Who may touch it.
            acl: Option<Vec<Acl>>,
            /// As of `Create`.
            flags: i32,
        },
        /// A new node with a time to live.
        CreateTtl {
            /// Where.
            path: String,
            /// What it holds.
            data: Option<Bytes>,
            /// Who may touch it.
            acl: Option<Vec<Acl>>,
            /// As of `Create`.
            flags: i32,
            /// How long it lives without change and children, in milliseconds.
            ttl: i64,
        },
        /// Many reads.
        MultiRead {
            /// The reads.
            ops: MultiRequest,
        },
        /// A proof of identity.
        Auth {
            /// 0 in all versions that there are.
            kind: i32,
            /// How it is proved.
            scheme: String,
            /// The proof.
            auth: Hidden,
        },
        /// The watches of a session, after a reconnect.
        SetWatches {
            /// What changed after this transaction is told at once.
            relative_zxid: i64,
            /// Those left by `getData`.
            data: Vec<String>,
            /// Those left by `exists` where no node was.
            exist: Vec<String>,
            /// Those left by `getChildren`.
            child: Vec<String>,
        },
        /// One step of a SASL exchange.
        Sasl {
            /// What the mechanism says.
            token: Hidden,
        },
        /// The ephemeral nodes of this session.
        GetEphemerals {
            /// What their paths begin with.
            prefix: String,
        },
        /// How many nodes there are below a node.
        GetAllChildrenNumber {
            /// Which.
            path: String,
        },
        /// The watches of a session with its tree watches, after a reconnect.
        SetWatches2 {
            /// What changed after this transaction is told at once.
            relative_zxid: i64,
            /// Those left by `getData`.
            data: Vec<String>,
            /// Those left by `exists` where no node was.
            exist: Vec<String>,
            /// Those left by `getChildren`.
            child: Vec<String>,
            /// Persistent ones.
            persistent: Vec<String>,
            /// Persistent and recursive ones.
            recursive: Vec<String>,
        },
        /// A persistent watch.
        AddWatch {
            /// Of which node.
            path: String,
            /// 0 persistent, 1 persistent and recursive.
            mode: i32,
        },
        /// The identities of this session.
        WhoAmI {},
        /// The end of this session.
        CloseSession {},
    }
}

impl Request {
    /// Reads what follows the header of a request for `op`.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes.
    pub fn decode(op: OpCode, mut body: Bytes) -> Result<Self, WireError> {
        let request = Request::read_fields(op, &mut body)?;
        end(&body)?;
        Ok(request)
    }

    /// What follows the header.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        self.write(&mut to);
        to.freeze()
    }

    pub(super) fn write(&self, to: &mut BytesMut) {
        self.write_fields(to);
    }

    pub(super) fn read(op: OpCode, from: &mut Bytes) -> Result<Self, WireError> {
        Request::read_fields(op, from)
    }

    /// The path that it is about; that of the first step of a multi, `None` without one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Request::Multi { ops } | Request::MultiRead { ops } => {
                ops.0.first().and_then(Request::path)
            }
            Request::GetEphemerals { prefix } => Some(prefix),
            Request::Create { path, .. }
            | Request::Delete { path, .. }
            | Request::Exists { path, .. }
            | Request::GetData { path, .. }
            | Request::SetData { path, .. }
            | Request::GetAcl { path }
            | Request::SetAcl { path, .. }
            | Request::GetChildren { path, .. }
            | Request::Sync { path }
            | Request::GetChildren2 { path, .. }
            | Request::Check { path, .. }
            | Request::Create2 { path, .. }
            | Request::CheckWatches { path, .. }
            | Request::RemoveWatches { path, .. }
            | Request::CreateContainer { path, .. }
            | Request::CreateTtl { path, .. }
            | Request::GetAllChildrenNumber { path }
            | Request::AddWatch { path, .. } => Some(path),
            Request::Ping {}
            | Request::Reconfig { .. }
            | Request::Auth { .. }
            | Request::SetWatches { .. }
            | Request::SetWatches2 { .. }
            | Request::Sasl { .. }
            | Request::WhoAmI {}
            | Request::CloseSession {} => None,
        }
    }
}
