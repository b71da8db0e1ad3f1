//! A pause behind a holder who died, for resources that cannot check tokens.
//!
//! ```text
//! <path>    data: who was granted last, and whether it was given back (JSON)
//! ```
//!
//! A grant and a release write the record, each in one `multi` with a check or the deletion of the
//! own node. Whoever comes next and finds a grant that was not given back waits before it takes
//! over, so that what the dead one had under way comes to an end. Only those who use a delay write
//! the record, so holders without one, and those of other systems, are not waited for.
//!
//! After Chubby's lock-delay (Burrows, 2006).

use std::time::Duration;

use super::ours::Ours;
use super::place::Place;
use super::record::Record;
use super::wait::{Patience, Waiting};
use crate::conn::ConnExt;
use crate::conn::bound::BoundConn;
use crate::error::{Error, ErrorKind};
use crate::node::{Stat, Version};
use crate::path::ZkPath;
use crate::request::Multi;

/// Takes over from the last holder, behind a pause of `delay` if it did not give back what it held;
/// `false` if there is no patience for that.
///
/// # Errors
///
/// The own node is gone, the session over, or patience at an end; `NoAuth` without `WRITE` on the
/// directory.
pub(super) async fn take_over(
    conn: &BoundConn<Ours>,
    dir: &ZkPath,
    (own, stat): (&ZkPath, &Stat),
    delay: Duration,
    waiting: &Waiting<'_>,
    place: &mut Place,
) -> Result<bool, Error> {
    let record = Record { holder: own.name().to_owned(), czxid: stat.czxid, released: false };
    let mut waited_for = None;
    loop {
        waiting.in_time()?;
        let node = match conn.get(dir).await {
            Ok(node) => node,
            Err(err) => {
                waiting.bear(err).await?;
                continue;
            }
        };
        let last = Record::of(&node).filter(|last| !last.released);
        if last.as_ref().is_some_and(|last| last.is_of(own.name(), stat)) {
            break;
        }
        if last.is_some() && last != waited_for {
            if matches!(waiting.patience, Patience::None) {
                return Ok(false);
            }
            waiting.pause(delay).await?;
            waited_for = last;
            continue;
        }
        let granting = Multi::new().check(own, Version::Any).set(
            dir,
            record.to_json(),
            Version::Exact(node.stat.version),
        );
        match conn.multi(granting).await {
            Ok(_) => break,
            Err(err) if err.kind() == ErrorKind::BadVersion => {}
            Err(err) if err.kind() == ErrorKind::NoNode => return Err(waiting.missing().await),
            Err(err) => waiting.bear(err).await?,
        }
    }
    place.leave_word(dir, Record { released: true, ..record }.to_json());
    Ok(true)
}
