//! Many operations in one request: each behind a small header, and one header more at the end.

use bytes::{Bytes, BytesMut};

use super::code::{ErrorCode, OpCode};
use super::error::WireError;
use super::jute::Record;
use super::request::Request;
use super::response::Response;

/// The number of operation in the last header, and in that of a failed step.
const NO_OP: i32 = -1;

/// The steps of a multi, or the reads of a multi-read.
///
/// Steps are `create`, `create2`, `createContainer`, `createTTL`, `delete`, `setData` and `check`;
/// reads are `getData` and `getChildren`. Servers refuse a mixture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiRequest(pub Vec<Request>);

/// What the parts of a multi or a multi-read came to, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiResult(pub Vec<Result<Response, ErrorCode>>);

/// Whether an operation can be a part of another.
fn is_part(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::Check
            | OpCode::GetData
            | OpCode::GetChildren
    )
}

/// Reads a header: the operation of the part behind it, or `None` at the end.
fn header(from: &mut Bytes) -> Result<Option<i32>, WireError> {
    let (op, done, _error) = (i32::read(from)?, bool::read(from)?, i32::read(from)?);
    Ok((!done).then_some(op))
}

fn part(number: i32) -> Result<OpCode, WireError> {
    let op = OpCode::try_from(number)?;
    if is_part(op) { Ok(op) } else { Err(WireError::OpCode(number)) }
}

fn write_header(op: i32, done: bool, error: i32, to: &mut BytesMut) {
    op.write(to);
    done.write(to);
    error.write(to);
}

impl Record for MultiRequest {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let mut ops = Vec::new();
        while let Some(op) = header(from)? {
            ops.push(Request::read(part(op)?, from)?);
        }
        Ok(MultiRequest(ops))
    }

    fn write(&self, to: &mut BytesMut) {
        for op in &self.0 {
            write_header(op.op().number(), false, -1, to);
            op.write(to);
        }
        write_header(NO_OP, true, -1, to);
    }
}

impl Record for MultiResult {
    fn read(from: &mut Bytes) -> Result<Self, WireError> {
        let mut results = Vec::new();
        while let Some(op) = header(from)? {
            results.push(match op {
                NO_OP => Err(ErrorCode::read(from)?),
                op => Ok(read_result(part(op)?, from)?),
            });
        }
        Ok(MultiResult(results))
    }

    fn write(&self, to: &mut BytesMut) {
        for result in &self.0 {
            match result {
                Ok(response) => {
                    write_header(response.op().number(), false, 0, to);
                    // Unlike an answer of its own, this one tells no stat.
                    if response.op() != OpCode::Check {
                        response.write(to);
                    }
                }
                Err(error) => {
                    write_header(NO_OP, false, error.0, to);
                    error.write(to);
                }
            }
        }
        write_header(NO_OP, true, -1, to);
    }
}

fn read_result(op: OpCode, from: &mut Bytes) -> Result<Response, WireError> {
    match op {
        OpCode::Check => Ok(Response::Check { stat: Default::default() }),
        op => Response::read(op, from),
    }
}
