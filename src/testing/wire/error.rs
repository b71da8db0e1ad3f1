//! What can be wrong with bytes from the wire.

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The payload ends before the record does.
    #[error("the record goes on for at least {missing} bytes behind the end of its frame")]
    Short {
        /// How many more bytes there should be.
        missing: usize,
    },
    /// The record ends before the payload does.
    #[error("{extra} bytes follow the record")]
    Trailing {
        /// How many bytes are too many.
        extra: usize,
    },
    /// A length below -1.
    #[error("a length of {0}")]
    Length(i32),
    /// A frame whose length is negative or more than this side takes.
    #[error("a frame of {length} bytes; at most {limit} are taken")]
    FrameLength {
        /// What the frame says of itself.
        length: i32,
        /// What is taken at most.
        limit: usize,
    },
    /// Null (a length of -1) where the protocol wants a value.
    #[error("null where a value is needed")]
    Null,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    Text,
    /// A truth value that is neither 0 nor 1.
    #[error("a boolean of {0}")]
    Bool(u8),
    /// A number that names no request, or none that clients may send here.
    #[error("unknown operation {0}")]
    OpCode(i32),
    /// A reply to a request that nobody sent.
    #[error("a reply to the unknown xid {0}")]
    Xid(i32),
}
