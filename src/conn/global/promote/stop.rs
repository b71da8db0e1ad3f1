//! Quorums that take no writes while it is found out what would be lost, and how they go on.

use super::{Known, Promoting, VERB, ask};
use crate::conn::global::Shared;
use crate::conn::global::identity::{Identity, Role};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

impl Promoting {
    /// Stops the old first and all others that might answer writes, and says whether anything has come to
    /// a mirror since they were asked.
    pub(crate) async fn stop(&mut self) -> Result<bool, Error> {
        let deadline = Deadline::after(self.shared.options.wait);
        let Some(chosen) = self.known.first().map(|known| known.own().clone()) else {
            return Ok(false);
        };
        let is_first = |known: &Known| known.own().role == Role::First;
        // Those of one that is the first already are not to be disturbed.
        let goes_on = self.risen.is(&chosen);
        let is_meant = |known: &Known| {
            let own = known.own();
            let is_of_it = own.is_of_the_first_of(&chosen) && !goes_on;
            is_first(known) || is_of_it || chosen.comes_from(own)
        };
        let meant = self.known.iter_mut().skip(1).filter(|known| is_meant(known));
        // The first goes first.
        let (firsts, mirrors): (Vec<_>, Vec<_>) = meant.partition(|known| is_first(known));
        if firsts.is_empty() && mirrors.is_empty() {
            return Ok(false);
        }
        for known in firsts.into_iter().chain(mirrors) {
            // One that somebody else has stopped, too: then he cannot let it go on.
            let after = known.own().stopped();
            known.halted = Some(after.clone());
            if let Err(err) = known.changes(&self.shared, after, deadline).await {
                if err.kind() != ErrorKind::OutcomeUnknown {
                    known.halted = None;
                }
                return Err(err);
            }
        }
        let mut has_moved = false;
        for known in &mut self.known {
            let again = ask(&self.shared, &known.quorum, deadline).await?;
            if !again.identity.is(&known.told.identity) {
                return Err(known.quorum.contended(VERB));
            }
            has_moved |= again.fences != known.told.fences;
            known.told = again;
        }
        Ok(has_moved)
    }

    /// Lets those take writes again that were stopped here, and says with `why` what came of it. Those that
    /// somebody else had stopped may not: he may be about to make another the first, and has looked already.
    pub(crate) async fn give_up(mut self, why: Error) -> Error {
        let deadline = Deadline::after(self.shared.options.wait);
        let (mut left, mut stay) = (Vec::new(), Vec::new());
        // The first comes last, so that all its mirrors are there again.
        for known in self.known.iter_mut().rev() {
            let Some(halted) = known.halted.take() else { continue };
            if known.was_stopped {
                stay.push(known.quorum.to_string());
            } else if let Err(err) = known.goes_on(&self.shared, &halted, deadline).await {
                left.push(format!("{}: {}", known.quorum, err.kind()));
            }
        }
        let detail = why.detail().unwrap_or_default();
        let mut told = vec![detail.to_string()];
        if left.is_empty() && stay.is_empty() {
            told.push("nothing was changed".to_string());
        }
        if !left.is_empty() {
            let left = left.join(" and ");
            told.push(format!("these take no writes until that is done for some quorum: {left}"));
        }
        if !stay.is_empty() {
            told.push(format!(
                "these were stopped by somebody else before, and stay so: {}: if he is not at it any more, \
                 do it again for whichever quorum may be the first, as by {}",
                stay.join(" and "),
                self.shared.first.remedy.promote(1, &[])
            ));
        }
        why.with_detail(told.join("; "))
    }
}

impl Known {
    /// Lets one that was to become `halted` take writes again. It gets another name in any case: so a request
    /// of which nobody knows where it is does not arrive later.
    async fn goes_on(
        &mut self,
        shared: &Shared,
        halted: &Identity,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if !self.own().is(halted) {
            let again = ask(shared, &self.quorum, deadline).await?;
            let is_known = again.identity.is(halted) || again.identity.is(self.own());
            if !is_known {
                return Err(self.quorum.contended(VERB));
            }
            self.told = again;
        }
        let after = self.own().going_on();
        self.changes(shared, after, deadline).await
    }
}
