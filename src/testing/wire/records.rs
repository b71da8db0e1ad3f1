//! The records inside requests and replies, and what makes an enum of records a part of the protocol.

use bytes::{Bytes, BytesMut};

use super::error::WireError;
use super::jute::Record;
use crate::node::{self, Perms, Stat};

impl Record for Stat {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Ok(Stat {
            czxid: Record::read(from)?,
            mzxid: Record::read(from)?,
            ctime: Record::read(from)?,
            mtime: Record::read(from)?,
            version: Record::read(from)?,
            cversion: Record::read(from)?,
            aversion: Record::read(from)?,
            ephemeral_owner: Record::read(from)?,
            data_length: Record::read(from)?,
            num_children: Record::read(from)?,
            pzxid: Record::read(from)?,
        })
    }

    fn write(&self, to: &mut BytesMut) {
        self.czxid.write(to);
        self.mzxid.write(to);
        self.ctime.write(to);
        self.mtime.write(to);
        self.version.write(to);
        self.cversion.write(to);
        self.aversion.write(to);
        self.ephemeral_owner.write(to);
        self.data_length.write(to);
        self.num_children.write(to);
        self.pzxid.write(to);
    }
}

/// One entry of an access list as it is on the wire, unknown rights included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// The rights in ZooKeeper's bits.
    pub perms: i32,
    /// How the identity was proved.
    pub scheme: String,
    /// Who, in the words of the scheme.
    pub id: String,
}

impl From<node::Acl> for Acl {
    fn from(acl: node::Acl) -> Self {
        Acl { perms: acl.perms.bits().cast_signed(), scheme: acl.scheme, id: acl.id }
    }
}

impl From<Acl> for node::Acl {
    fn from(acl: Acl) -> Self {
        node::Acl::new(Perms::from_bits(acl.perms.cast_unsigned()), acl.scheme, acl.id)
    }
}

impl Record for Acl {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Ok(Acl { perms: Record::read(from)?, scheme: Record::read(from)?, id: Record::read(from)? })
    }

    fn write(&self, to: &mut BytesMut) {
        self.perms.write(to);
        self.scheme.write(to);
        self.id.write(to);
    }
}

/// One identity of a session, as `whoAmI` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// How it was proved.
    pub scheme: String,
    /// Who it is; null for some schemes.
    pub user: Option<String>,
}

impl Record for ClientInfo {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Ok(ClientInfo { scheme: Record::read(from)?, user: Record::read(from)? })
    }

    fn write(&self, to: &mut BytesMut) {
        self.scheme.write(to);
        self.user.write(to);
    }
}

/// An enum with one variant per operation, named as in [`OpCode`](super::OpCode), whose fields are
/// on the wire in the order in which they are written down.
macro_rules! records {
    (
        $(#[$doc:meta])*
        pub enum $enum:ident {
            $($(#[$variant_doc:meta])* $variant:ident {
                $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
            },)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $enum {
            $($(#[$variant_doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl $enum {
            /// The operation that it belongs to.
            pub fn op(&self) -> $crate::testing::wire::OpCode {
                match self {
                    $($enum::$variant { .. } => $crate::testing::wire::OpCode::$variant,)*
                }
            }

            /// Reads the fields that belong to `op`.
            fn read_fields(
                op: $crate::testing::wire::OpCode,
                from: &mut ::bytes::Bytes,
            ) -> Result<Self, $crate::testing::wire::WireError> {
                // Some records have no fields, some enums no variant for an operation.
                #[allow(unreachable_patterns, unused_variables, reason = "made by a macro")]
                match op {
                    $($crate::testing::wire::OpCode::$variant => Ok($enum::$variant {
                        $($field: $crate::testing::wire::jute::Record::read(from)?,)*
                    }),)*
                    other => Err($crate::testing::wire::WireError::OpCode(other.number())),
                }
            }

            fn write_fields(&self, to: &mut ::bytes::BytesMut) {
                #[allow(unused_variables, reason = "made by a macro")]
                match self {
                    $($enum::$variant { $($field,)* } => {
                        $($crate::testing::wire::jute::Record::write($field, to);)*
                    })*
                }
            }
        }
    };
}

pub(super) use records;
