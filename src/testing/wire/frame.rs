//! Payloads in a stream: a length of four bytes, then as many bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::error::WireError;

/// What ZooKeeper takes of a client unless told otherwise (`jute.maxbuffer`), with room for headers.
pub const FROM_CLIENT: usize = 0xf_ffff + 1024;

/// What is taken of a server: listings may be longer than anything that clients may send.
pub const FROM_SERVER: usize = 256 << 20;

/// Takes the first payload out of `stream`, once it is there as a whole; `None` until then.
///
/// Room is made for it as its bytes come, not by what it says of itself.
///
/// ```
/// use bytes::BytesMut;
/// use zkcells::testing::wire::frame;
/// let mut stream = BytesMut::from(&b"\0\0\0\x02hi\0"[..]);
/// assert_eq!(frame::next(&mut stream, 10)?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(frame::next(&mut stream, 10)?, None);
/// # Ok::<(), zkcells::testing::wire::WireError>(())
/// ```
///
/// # Errors
///
/// `FrameLength` when the length is negative or more than `limit`. The stream is of no use then.
pub fn next(stream: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let Some(head) = stream.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*head);
    let size = usize::try_from(length).ok().filter(|size| *size <= limit);
    let size = size.ok_or(WireError::FrameLength { length, limit })?;
    if stream.len() - 4 < size {
        return Ok(None);
    }
    stream.advance(4);
    Ok(Some(stream.split_to(size).freeze()))
}

/// Puts the length before a payload.
pub fn framed(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + payload.len());
    // A payload of 2 GiB and more cannot be told; whoever reads it refuses it.
    frame.put_i32(i32::try_from(payload.len()).unwrap_or(i32::MIN));
    frame.put_slice(payload);
    frame.freeze()
}

/// The four-letter word that a connection begins with instead of a frame; as a length it would be
/// beyond all limits.
///
/// ```
/// use zkcells::testing::wire::frame;
/// assert_eq!(frame::four_letter_word(b"srvr"), Some("srvr"));
/// assert_eq!(frame::four_letter_word(b"\0\0\0\x2d\0"), None);
/// ```
pub fn four_letter_word(stream: &[u8]) -> Option<&str> {
    let word = stream.first_chunk::<4>()?;
    let is_word = word.iter().all(u8::is_ascii_lowercase);
    std::str::from_utf8(word).ok().filter(|_| is_word)
}
