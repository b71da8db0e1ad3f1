//! Which errors a later try may not meet, and which say that there is none.

use std::time::Duration;

use crate::background::sleep;
use crate::conn::{Conn, ConnExt};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;

/// The pause behind an error that is borne.
const PAUSE: Duration = Duration::from_millis(100);
/// The same where somebody has to change something before it can succeed.
pub(crate) const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Whether an error of this kind says that nothing more comes of the session.
pub(crate) fn is_over(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::SessionExpired | ErrorKind::Closed | ErrorKind::UnknownCell)
}

/// Whether what an error of this kind was told of may stand all the same: nobody could tell, too few
/// mirrors of a set have it, or it came and went.
pub(crate) fn may_stand(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::NotMirrored | ErrorKind::Contended)
}

/// Whether what could not be had, or ended, so may be sought again.
pub(crate) fn may_try_again(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::SessionExpired
            | ErrorKind::Revoked
            | ErrorKind::NotSent
            | ErrorKind::Timeout
            | ErrorKind::ConnectionLoss
            | ErrorKind::OutcomeUnknown
            | ErrorKind::Contended
    )
}

/// How long to pause before the next try, if an error of this kind may pass.
pub(crate) fn pause_behind(kind: ErrorKind) -> Option<Duration> {
    match kind {
        ErrorKind::NotSent
        | ErrorKind::Timeout
        | ErrorKind::ConnectionLoss
        | ErrorKind::OutcomeUnknown => Some(PAUSE),
        ErrorKind::TooManyWatches => Some(LONG_PAUSE),
        _ => None,
    }
}

/// Bears an error that a later try may not meet, and pauses: for those who wait without an own node.
///
/// # Errors
///
/// Any other one.
pub(crate) async fn bear(err: Error) -> Result<(), Error> {
    let Some(pause) = pause_behind(err.kind()) else { return Err(err) };
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
