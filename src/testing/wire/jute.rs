//! The primitives of ZooKeeper's encoding: big-endian numbers, and lengths before what has one.

use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::error::WireError;

/// Something that is written to a payload and read from one.
pub(super) trait Record: Sized {
    fn read(from: &mut Bytes) -> Result<Self, WireError>;
    fn write(&self, to: &mut BytesMut);
}

/// Reads the one record that `payload` is.
pub(super) fn whole<T: Record>(mut payload: Bytes) -> Result<T, WireError> {
    let record = T::read(&mut payload)?;
    end(&payload)?;
    Ok(record)
}

/// Nothing may be left.
pub(super) fn end(rest: &Bytes) -> Result<(), WireError> {
    if rest.is_empty() { Ok(()) } else { Err(WireError::Trailing { extra: rest.len() }) }
}

fn need(from: &Bytes, length: usize) -> Result<(), WireError> {
    match length.checked_sub(from.len()) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(WireError::Short { missing }),
    }
}

/// A length, or `None` for null.
fn length(from: &mut Bytes) -> Result<Option<usize>, WireError> {
    match i32::read(from)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| WireError::Length(length)),
    }
}

/// No frame is longer than `i32::MAX`, so neither is a part of one.
fn write_length(length: usize, to: &mut BytesMut) {
    to.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
}

impl Record for i32 {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        need(from, 4)?;
        Ok(from.get_i32())
    }

    fn write(&self, to: &mut BytesMut) {
        to.put_i32(*self);
    }
}

impl Record for i64 {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        need(from, 8)?;
        Ok(from.get_i64())
    }

    fn write(&self, to: &mut BytesMut) {
        to.put_i64(*self);
    }
}

impl Record for bool {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        need(from, 1)?;
        match from.get_u8() {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Bool(other)),
        }
    }

    fn write(&self, to: &mut BytesMut) {
        to.put_u8((*self).into());
    }
}

/// A `buffer`; null is `None`.
impl Record for Option<Bytes> {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let Some(length) = length(from)? else { return Ok(None) };
        need(from, length)?;
        Ok(Some(from.split_to(length)))
    }

    fn write(&self, to: &mut BytesMut) {
        match self {
            None => to.put_i32(-1),
            Some(bytes) => {
                write_length(bytes.len(), to);
                to.put_slice(bytes);
            }
        }
    }
}

/// A `ustring`; null is `None`.
impl Record for Option<String> {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let Some(bytes) = Option::<Bytes>::read(from)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).map_err(|_| WireError::Text)?;
        Ok(Some(text.to_owned()))
    }

    fn write(&self, to: &mut BytesMut) {
        match self {
            None => to.put_i32(-1),
            Some(text) => text.write(to),
        }
    }
}

/// A `ustring` that is never null.
impl Record for String {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Option::<String>::read(from)?.ok_or(WireError::Null)
    }

    fn write(&self, to: &mut BytesMut) {
        write_length(self.len(), to);
        to.put_slice(self.as_bytes());
    }
}

/// A `vector`; null is `None`.
impl<T: Record> Record for Option<Vec<T>> {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let Some(count) = length(from)? else { return Ok(None) };
        // No element is shorter than its length, so a count of more than fits is known as such
        // before memory is set aside for it.
        need(from, count.saturating_mul(4))?;
        (0..count).map(|_| T::read(from)).collect::<Result<_, _>>().map(Some)
    }

    fn write(&self, to: &mut BytesMut) {
        match self {
            None => to.put_i32(-1),
            Some(elements) => elements.write(to),
        }
    }
}

/// A `vector` that is never null.
impl<T: Record> Record for Vec<T> {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Option::<Vec<T>>::read(from)?.ok_or(WireError::Null)
    }

    fn write(&self, to: &mut BytesMut) {
        write_length(self.len(), to);
        for element in self {
            element.write(to);
        }
    }
}

/// A `buffer` that proves an identity: it prints as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(pub Option<Bytes>);

impl From<&[u8]> for Hidden {
    fn from(bytes: &[u8]) -> Self {
        Hidden(Some(Bytes::copy_from_slice(bytes)))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Record for Hidden {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        Option::<Bytes>::read(from).map(Hidden)
    }

    fn write(&self, to: &mut BytesMut) {
        self.0.write(to);
    }
}
