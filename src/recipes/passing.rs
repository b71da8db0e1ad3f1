//! Errors that a later try may not meet, borne by those who wait without an own node.

use std::time::Duration;

use crate::background::sleep;
use crate::error::{Error, ErrorKind};

/// The pause behind an error that is borne.
const PAUSE: Duration = Duration::from_millis(100);
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Bears an error that a later try may not meet, and pauses.
///
/// # Errors
///
/// Any other one.
pub(crate) async fn bear(err: Error) -> Result<(), Error> {
    let pause = match err.kind() {
        ErrorKind::NotSent
        | ErrorKind::Timeout
        | ErrorKind::ConnectionLoss
        | ErrorKind::OutcomeUnknown => PAUSE,
        ErrorKind::TooManyWatches => LONG_PAUSE,
        _ => return Err(err),
    };
    sleep(pause).await;
    Ok(())
}
