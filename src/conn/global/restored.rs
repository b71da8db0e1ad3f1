//! A first that was restored from an old backup: found out once, known from then on.
//!
//! It counts less than a mirror has on record ([`super::count`]). But each write counts it up, also one that is
//! refused in the end; and when it has counted as far again, nobody could tell any more. So whoever finds it
//! out notes that in its identity, and nobody believes it before the operator has said what is right.

use std::sync::PoisonError;

use tracing::warn;

use super::admin::change;
use super::count::is_behind;
use super::identity::{Identity, Wrong};
use super::look::Freshness;
use super::quorum::Quorum;
use super::record::Record;
use super::told::Told;
use super::who::{Ask, ask, is};
use super::{Shared, TARGET};
use crate::deadline::Deadline;
use crate::error::Error;

/// Whether `quorum`, a first, lacks something that its mirrors have from it, as it was `told`.
///
/// # Errors
///
/// Why it cannot be asked again.
pub(super) async fn is_restored(
    shared: &Shared,
    quorum: &Quorum,
    first: &Told,
    mirrors: impl IntoIterator<Item = &Told>,
    deadline: Deadline,
) -> Result<bool, Error> {
    if first.identity.restored || shared.disbelieves(&first.identity) {
        return Ok(true);
    }
    let records = mirrors.into_iter().flat_map(|told| &told.records).map(|(_, record)| record);
    let furthest = Record::furthest(records, &first.identity.term);
    // What it once told this process, too.
    let Some(furthest) = furthest.max(shared.floor(&first.identity)) else { return Ok(false) };
    if !is_behind(first.count, furthest) {
        return Ok(false);
    }
    // It may have been asked before the mirrors were, or of a server that lags.
    let again = ask(shared, quorum, Ask::Identity, Freshness::Synced, deadline).await?;
    Ok(again.identity.is(&first.identity) && is_behind(again.count, furthest))
}

impl Shared {
    /// Has nobody believe `first` any more, which was found to be restored: in this process from now on, and
    /// everywhere as soon as its identity says so.
    pub(super) async fn disbelieve(&self, quorum: &Quorum, first: &Identity, deadline: Deadline) {
        *self.disbelieved.lock().unwrap_or_else(PoisonError::into_inner) = Some(first.clone());
        self.doubt();
        let noting = async {
            let (own, version) = is(self, quorum, deadline).await?;
            // Whoever was faster has noted it, or made another the first.
            if own.is(first) {
                let after = own.restored();
                change(self, quorum, &own, &after, version, "identity", deadline).await?;
            }
            Ok::<(), Error>(())
        };
        let why = quorum.wrong(&Wrong::Restored);
        let (number, why) = (quorum.number, why.detail().unwrap_or_default());
        match noting.await {
            Ok(()) => warn!(target: TARGET, quorum = number, "{why}"),
            Err(err) => {
                let reason = err.to_string();
                warn!(target: TARGET, quorum = number, reason, "not noted there: {why}");
            }
        }
    }

    /// Whether this first was found to be restored, be it that it does not say so.
    pub(super) fn disbelieves(&self, first: &Identity) -> bool {
        let disbelieved = self.disbelieved.lock().unwrap_or_else(PoisonError::into_inner);
        disbelieved.as_ref().is_some_and(|known| known.is(first))
    }
}
