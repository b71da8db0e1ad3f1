//! The numbers of the protocol: operations, errors, and the xids that are no request's.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::error::WireError;
use super::jute::Record;

/// The xids that servers and clients use for more than one request.
pub mod xid {
    /// A watch event.
    pub const EVENT: i32 = -1;
    /// A ping and its answer.
    pub const PING: i32 = -2;
    /// `auth` and its answer.
    pub const AUTH: i32 = -4;
    /// `setWatches` and `setWatches2`.
    pub const SET_WATCHES: i32 = -8;
}

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// Which operation a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum OpCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl OpCode {
            /// Every operation that clients may ask for.
            pub const ALL: &[OpCode] = &[$(OpCode::$name,)*];

            /// ZooKeeper's word for it, such as `getData`.
            pub fn name(self) -> &'static str {
                match self { $(OpCode::$name => $word,)* }
            }

            /// Its number on the wire.
            pub fn number(self) -> i32 {
                self as i32
            }
        }

        impl TryFrom<i32> for OpCode {
            type Error = WireError;

            fn try_from(number: i32) -> Result<Self, WireError> {
                match number {
                    $($number => Ok(OpCode::$name),)*
                    other => Err(WireError::OpCode(other)),
                }
            }
        }
    };
}

op_codes! {
    /// A new node; answers its path.
    Create = 1, "create";
    /// The end of a node.
    Delete = 2, "delete";
    /// A node's stat.
    Exists = 3, "exists";
    /// A node's data and stat.
    GetData = 4, "getData";
    /// New data for a node.
    SetData = 5, "setData";
    /// A node's access list.
    GetAcl = 6, "getACL";
    /// A new access list for a node.
    SetAcl = 7, "setACL";
    /// A node's children.
    GetChildren = 8, "getChildren";
    /// The server catches up with the leader.
    Sync = 9, "sync";
    /// A sign of life.
    Ping = 11, "ping";
    /// A node's children and stat.
    GetChildren2 = 12, "getChildren2";
    /// A node's version is what it should be.
    Check = 13, "check";
    /// Many writes, all or none.
    Multi = 14, "multi";
    /// A new node; answers its path and stat.
    Create2 = 15, "create2";
    /// Other members for the ensemble.
    Reconfig = 16, "reconfig";
    /// Whether a watch is there.
    CheckWatches = 17, "checkWatches";
    /// The end of a watch.
    RemoveWatches = 18, "removeWatches";
    /// A new container.
    CreateContainer = 19, "createContainer";
    /// A new node with a time to live.
    CreateTtl = 21, "createTTL";
    /// Many reads.
    MultiRead = 22, "multiRead";
    /// A proof of identity.
    Auth = 100, "auth";
    /// The watches of a session, after a reconnect.
    SetWatches = 101, "setWatches";
    /// One step of a SASL exchange.
    Sasl = 102, "sasl";
    /// The ephemeral nodes of this session.
    GetEphemerals = 103, "getEphemerals";
    /// How many nodes there are below a node.
    GetAllChildrenNumber = 104, "getAllChildrenNumber";
    /// The watches of a session with its tree watches, after a reconnect.
    SetWatches2 = 105, "setWatches2";
    /// A persistent watch.
    AddWatch = 106, "addWatch";
    /// The identities of this session.
    WhoAmI = 107, "whoAmI";
    /// The end of this session.
    CloseSession = -11, "closeSession";
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Record for OpCode {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        i32::read(from)?.try_into()
    }

    fn write(&self, to: &mut BytesMut) {
        self.number().write(to);
    }
}

/// What a server says went wrong; 0 is nothing.
///
/// ```
/// use zkcells::testing::wire::ErrorCode;
/// assert_eq!(ErrorCode::NO_NODE.to_string(), "NoNode (-101)");
/// assert_eq!(ErrorCode(-999).to_string(), "error -999");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i32);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: ErrorCode = ErrorCode($number);)*

            /// ZooKeeper's word for it, such as `NoNode`, if it is a known one.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($word),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// All went well.
    OK = 0, "Ok";
    /// Something is wrong with the server.
    SYSTEM = -1, "SystemError";
    /// The steps behind the one that failed in a multi.
    RUNTIME_INCONSISTENCY = -2, "RuntimeInconsistency";
    /// The server's data contradict each other.
    DATA_INCONSISTENCY = -3, "DataInconsistency";
    /// The connection broke.
    CONNECTION_LOSS = -4, "ConnectionLoss";
    /// The server could not read the request.
    MARSHALLING = -5, "MarshallingError";
    /// The server does not know the operation.
    UNIMPLEMENTED = -6, "Unimplemented";
    /// The operation took too long.
    OPERATION_TIMEOUT = -7, "OperationTimeout";
    /// An argument makes no sense.
    BAD_ARGUMENTS = -8, "BadArguments";
    /// The server does not know the session.
    UNKNOWN_SESSION = -12, "UnknownSession";
    /// The new members would have no quorum.
    NEW_CONFIG_NO_QUORUM = -13, "NewConfigNoQuorum";
    /// Another change of members is under way.
    RECONFIG_IN_PROGRESS = -14, "ReconfigInProgress";
    /// The first of the errors that are the caller's.
    API = -100, "ApiError";
    /// The node does not exist.
    NO_NODE = -101, "NoNode";
    /// The access list does not allow it.
    NO_AUTH = -102, "NoAuth";
    /// The version is another one.
    BAD_VERSION = -103, "BadVersion";
    /// The parent is ephemeral.
    NO_CHILDREN_FOR_EPHEMERALS = -108, "NoChildrenForEphemerals";
    /// The node is there already.
    NODE_EXISTS = -110, "NodeExists";
    /// The node has children.
    NOT_EMPTY = -111, "NotEmpty";
    /// The session is over.
    SESSION_EXPIRED = -112, "SessionExpired";
    /// A callback that cannot be called.
    INVALID_CALLBACK = -113, "InvalidCallback";
    /// The access list is no such list.
    INVALID_ACL = -114, "InvalidACL";
    /// The proof of identity was refused.
    AUTH_FAILED = -115, "AuthFailed";
    /// The session is with another server by now.
    SESSION_MOVED = -118, "SessionMoved";
    /// The server is read-only.
    NOT_READ_ONLY = -119, "NotReadOnly";
    /// A local session cannot have ephemeral nodes.
    EPHEMERAL_ON_LOCAL_SESSION = -120, "EphemeralOnLocalSession";
    /// There is no such watch.
    NO_WATCHER = -121, "NoWatcher";
    /// The server was too busy for too long.
    REQUEST_TIMEOUT = -122, "RequestTimeout";
    /// Members cannot be changed here.
    RECONFIG_DISABLED = -123, "ReconfigDisabled";
    /// The server wants SASL.
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124, "SessionClosedRequireSaslAuth";
    /// A quota is used up.
    QUOTA_EXCEEDED = -125, "QuotaExceeded";
    /// The server is too busy.
    THROTTLED_OP = -127, "ThrottledOp";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl Record for ErrorCode {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        i32::read(from).map(ErrorCode)
    }

    fn write(&self, to: &mut BytesMut) {
        self.0.write(to);
    }
}
