//! Making another quorum of a set the first, when it is known what it lacks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Kind, diff};
use crate::background::sleep;
use crate::conn::Conn;
use crate::conn::global::promote::{Differs, Newer, Promoting, VERB};
use crate::conn::global::{GlobalConn, Identity, Promotion};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

/// How many paths an error names.
const SHOWN: usize = 3;

/// How long quorums may be compared.
const COMPARED_FOR: Duration = Duration::from_secs(600);

/// How often is noted how far a comparison is.
const NOTED_EVERY: Duration = Duration::from_millis(500);

impl GlobalConn {
    /// Makes quorum `number` the first, in an epoch of its own. **The old first must be gone**: what
    /// it alone has, or takes from now on, is lost. If it does answer, it is stopped before there is
    /// another, so that it takes no more writes.
    ///
    /// What the chosen one lacks of what other mirrors have is found out by comparing all of the tree, which
    /// takes as long as a [`diff`], and ten minutes at most. While it compares again what has changed
    /// meanwhile, nobody writes.
    ///
    /// Afterwards `number` must stand in front in every configuration; this connection still has the
    /// old order, and takes no writes. The mirrors of the new first are not
    /// [complete](Identity::complete) before they are repaired. Returns the identity of the new first.
    ///
    /// # Errors
    ///
    /// With nothing changed: `BadArguments` when there is no such quorum; `WrongQuorum` when it is none
    /// of the set, is not complete or of an older epoch, when it differs from another mirror and is not
    /// surely newer there, when a quorum belongs to another set, or when two were made the first apart from
    /// each other; `NotSent` when it, or a mirror, does not answer: a mirror might know of another first;
    /// whatever keeps it from being compared. [`promote_with`](Self::promote_with) takes the operator's
    /// word for some of that. `Contended` when somebody else changed an identity meanwhile, and why a
    /// change failed: some quorums may have changed then, or take no writes, as the error says. Done again, it
    /// is finished; once there is a new first, for that one alone, and in the same epoch. What somebody else
    /// had stopped stays stopped. Whoever missed an earlier promotion, or followed another first, is left as
    /// it is, with a warning.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it leaves quorums that take no writes: done again, it is finished.
    pub async fn promote(&self, number: usize) -> Result<Identity, Error> {
        self.promote_with(number, &Promotion::default()).await
    }

    /// As [`promote`](Self::promote), on the operator's word.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    ///
    /// # Cancel safety
    ///
    /// As [`promote`](Self::promote).
    pub async fn promote_with(&self, number: usize, word: &Promotion) -> Result<Identity, Error> {
        let risen = promote(self, number, word).await.map_err(|err| err.during(VERB));
        self.doubt();
        risen
    }
}

async fn promote(set: &GlobalConn, number: usize, word: &Promotion) -> Result<Identity, Error> {
    let by = Deadline::after(COMPARED_FOR);
    let mut promoting = set.promotion(number, word).await?;
    // Before anybody is stopped, so that whoever is refused has cost nothing.
    let settled = match compare(set, &mut promoting, When::WhileTheyWrite, by).await {
        Ok(settled) => settled,
        Err(err) => return Err(promoting.give_up(err).await),
    };
    let outcome = match promoting.stop().await {
        Ok(false) if settled => Ok(()),
        // Writes that were on their way came to somebody.
        Ok(_) => compare(set, &mut promoting, When::NobodyWrites, by).await.map(drop),
        Err(err) => Err(err),
    };
    match outcome {
        Ok(()) => promoting.raise().await,
        Err(err) => Err(promoting.give_up(err).await),
    }
}

/// When quorums are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// What changes whenever it is looked at is left for later.
    WhileTheyWrite,
    NobodyWrites,
}

/// Compares the chosen quorum with all other mirrors of its first. Returns whether all was compared.
///
/// # Errors
///
/// When it may lack something, or that cannot be told.
async fn compare(
    set: &GlobalConn,
    promoting: &mut Promoting,
    when: When,
    by: Deadline,
) -> Result<bool, Error> {
    let Some(chosen) = promoting.chosen().cloned() else { return Ok(true) };
    set.compared().store(0, Ordering::Relaxed);
    let mut is_whole = true;
    for (number, other) in promoting.others() {
        is_whole &= with(set, promoting, (&chosen, number, other), when, by).await?;
    }
    Ok(is_whole)
}

/// Compares the chosen quorum with one of them.
async fn with(
    set: &GlobalConn,
    promoting: &mut Promoting,
    (chosen, number, other): (&Arc<dyn Conn>, usize, Arc<dyn Conn>),
    when: When,
    by: Deadline,
) -> Result<bool, Error> {
    let before = set.compared().load(Ordering::Relaxed);
    let mut is_whole = true;
    let pair = GlobalConn::new([chosen.clone(), other], set.options().clone());
    let top = &set.options().top;
    let mut work = diff(&Arc::new(pair), top)?;
    let mut lacking = Vec::new();
    let late = Error::new(VERB, "", ErrorKind::Timeout);
    loop {
        if by.is_past() {
            return Err(promoting.unknown(number, &late));
        }
        let next = tokio::select! {
            next = work.next() => next,
            () = sleep(NOTED_EVERY.min(by.remaining())) => {
                set.compared().store(before + work.progress().compared, Ordering::Relaxed);
                continue;
            }
        };
        let difference = match next {
            None => break,
            Some(Err(err))
                if err.kind() == ErrorKind::Contended && when == When::WhileTheyWrite =>
            {
                is_whole = false;
                continue;
            }
            Some(Err(err)) => return Err(promoting.unknown(number, &err)),
            Some(Ok(difference)) => difference,
        };
        let what = match difference.kind {
            Kind::Acl => Differs::List,
            Kind::Missing => Differs::Missing,
            Kind::Extra | Kind::Data => Differs::Node,
        };
        let newer = promoting.newer(&difference.path, number, what).await?;
        if newer != Newer::Chosen && !lacking.iter().any(|(path, _)| *path == difference.path) {
            lacking.push((difference.path, newer));
        }
        if lacking.len() == SHOWN {
            break;
        }
    }
    set.compared().store(before + work.progress().compared, Ordering::Relaxed);
    match lacking.is_empty() {
        true => Ok(is_whole),
        false => Err(promoting.refusal(number, &lacking)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::MemoryQuorum;
    use crate::conn::global::GlobalOptions;

    #[tokio::test]
    async fn a_comparison_ends_by_its_deadline_also_where_each_answer_comes_at_once() {
        let quorums: Vec<_> = (0..3).map(|_| MemoryQuorum::new()).collect();
        let conns = quorums.iter().map(|quorum| Arc::new(quorum.connect()) as Arc<dyn Conn>);
        let set = GlobalConn::new(conns, GlobalOptions::default());
        set.init().await.unwrap();
        let mut promoting = set.promotion(2, &Promotion::default()).await.unwrap();
        let by = Deadline::now();
        let compared = compare(&set, &mut promoting, When::WhileTheyWrite, by).await;
        let err = compared.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Timeout, "{err}");
        assert!(err.to_string().contains("could not be compared"), "{err}");
    }
}
