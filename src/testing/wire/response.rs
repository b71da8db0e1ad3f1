//! What servers answer when all went well.

use bytes::{Bytes, BytesMut};

use super::code::OpCode;
use super::error::WireError;
use super::jute::{Hidden, end};
use super::multi::MultiResult;
use super::records::{Acl, ClientInfo, records};
use crate::node::Stat;

records! {
    /// The answer to the [`Request`](super::Request) of the same name, if it did not fail.
    pub enum Response {
        /// The new node.
        Create {
            /// Its path, with its number when it is sequential.
            path: String,
        },
        /// It is deleted.
        Delete {},
        /// It exists.
        Exists {
            /// The facts about it.
            stat: Stat,
        },
        /// What it holds.
        GetData {
            /// The data; null when it was created with null.
            data: Option<Bytes>,
            /// The facts about it.
            stat: Stat,
        },
        /// It is set.
        SetData {
            /// The facts about it from now on.
            stat: Stat,
        },
        /// Who may touch it.
        GetAcl {
            /// The access list.
            acl: Vec<Acl>,
            /// The facts about it.
            stat: Stat,
        },
        /// Its access list is set.
        SetAcl {
            /// The facts about it from now on.
            stat: Stat,
        },
        /// What is below it.
        GetChildren {
            /// The names, in no order.
            children: Vec<String>,
        },
        /// The server has caught up.
        Sync {
            /// The path that was asked for.
            path: String,
        },
        /// The server is there.
        Ping {},
        /// What is below it.
        GetChildren2 {
            /// The names, in no order.
            children: Vec<String>,
            /// The facts about it.
            stat: Stat,
        },
        /// Its version is what it should be.
        Check {
            /// The facts about it.
            stat: Stat,
        },
        /// What the steps did. When one fails, this is an answer without error all the same: each
        /// step is an error then, and only that of the one that failed says why.
        Multi {
            /// One for each step.
            results: MultiResult,
        },
        /// The new node.
        Create2 {
            /// Its path, with its number when it is sequential.
            path: String,
            /// The facts about it.
            stat: Stat,
        },
        /// The members of the ensemble.
        Reconfig {
            /// The configuration in force from now on.
            data: Option<Bytes>,
            /// The facts about `/zookeeper/config`.
            stat: Stat,
        },
        /// The watch is there.
        CheckWatches {},
        /// The watch is gone.
        RemoveWatches {},
        /// The new container.
        CreateContainer {
            /// Its path.
            path: String,
            /// The facts about it.
            stat: Stat,
        },
        /// The new node with a time to live.
        CreateTtl {
            /// Its path, with its number when it is sequential.
            path: String,
            /// The facts about it.
            stat: Stat,
        },
        /// What the reads found: each its own result or error.
        MultiRead {
            /// One for each read.
            results: MultiResult,
        },
        /// The identity is taken.
        Auth {},
        /// The watches are set; news for them came before.
        SetWatches {},
        /// One step of a SASL exchange.
        Sasl {
            /// What the mechanism says.
            token: Hidden,
        },
        /// The ephemeral nodes of this session.
        GetEphemerals {
            /// Their paths.
            paths: Vec<String>,
        },
        /// How many nodes there are.
        GetAllChildrenNumber {
            /// All below the node, at any depth.
            total: i32,
        },
        /// The watches are set; news for them came before.
        SetWatches2 {},
        /// The watch is set.
        AddWatch {
            /// 0.
            error: i32,
        },
        /// The identities of this session.
        WhoAmI {
            /// The address comes first, as scheme `ip`.
            identities: Vec<ClientInfo>,
        },
        /// The session is over; the server hangs up.
        CloseSession {},
    }
}

impl Response {
    /// Reads what follows the header of an answer to a request for `op`.
    ///
    /// # Errors
    ///
    /// Any [`WireError`] about the bytes.
    pub fn decode(op: OpCode, mut body: Bytes) -> Result<Self, WireError> {
        let response = Response::read_fields(op, &mut body)?;
        end(&body)?;
        Ok(response)
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
        Response::read_fields(op, from)
    }
}
