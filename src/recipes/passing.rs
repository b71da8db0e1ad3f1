//! Errors that a later try may not meet, borne by those who wait without an own node.

use std::time::Duration;

use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

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

/// As [`bear`], and the end of the session with it, where the connection goes on in another one.
///
/// # Errors
///
/// Any other one.
pub(crate) async fn bear_anew(conn: &dyn Conn, path: &ZkPath, err: Error) -> Result<(), Error> {
    if err.kind() != ErrorKind::SessionExpired {
        return bear(err).await;
    }
    match conn.session(path).await {
        Ok(_) => sleep(PAUSE).await,
        // It is bound to the one that is over.
        Err(again) if again.kind() == ErrorKind::SessionExpired => return Err(err),
        Err(again) => bear(again).await?,
    }
    Ok(())
}
