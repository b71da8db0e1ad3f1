//! Proof of life of what is held: a hold, or one that is on its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::watch;

use super::passing::is_over;
use crate::background::sleep;
use crate::conn::Pending;
use crate::deadline::Deadline;
use crate::error::ErrorKind;
use crate::hold::{Hold, Loss};

/// The hold that renews itself, and what is proved until it is there.
///
/// A committed write of the session proves it for half a timeout, so whoever has just created the
/// own node need not wait for the hold.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Nothing when it was given back: what is not held needs no renewal.
    hold: Mutex<Option<Asked>>,
    /// Until when it is proved without the hold.
    until: Deadline,
    /// Whether that time has passed before the hold was there: what is lost stays lost.
    late: AtomicBool,
    /// Whether it was given back, for those who still look at it.
    given_back: watch::Sender<bool>,
}

/// The answer to the request for a hold.
type Asked = Shared<BoxFuture<'static, Result<Arc<Hold>, Loss>>>;

impl Proof {
    /// A hold that is there.
    pub(crate) fn held(hold: Hold) -> Self {
        let until = hold.valid_until();
        let hold = std::future::ready(Ok(Arc::new(hold))).boxed().shared();
        Proof::new(hold, until)
    }

    /// A hold that was asked for, and until when no other proof is needed.
    pub(crate) fn asked(hold: Pending<Hold>, until: Deadline) -> Self {
        let hold = hold.map(|hold| match hold {
            Ok(hold) => Ok(Arc::new(hold)),
            Err(err) if err.kind() == ErrorKind::NoNode => Err(Loss::Deleted),
            Err(err) if is_over(err.kind()) => Err(Loss::SessionEnded),
            Err(_) => Err(Loss::Unproven),
        });
        Proof::new(hold.boxed().shared(), until)
    }

    fn new(hold: Asked, until: Deadline) -> Self {
        let (given_back, hold) = (watch::Sender::new(false), Mutex::new(Some(hold)));
        Proof { hold, until, late: AtomicBool::new(false), given_back }
    }

    /// Nothing is held any more: said before the own node is asked to go.
    pub(crate) fn give_back(&self) {
        self.given_back.send_replace(true);
        // Others may look at it for long.
        drop(self.hold.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn hold(&self) -> Option<Asked> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it was given back.
    pub(crate) fn is_given_back(&self) -> bool {
        *self.given_back.borrow()
    }

    /// Why nothing is held any more, by what is known at this moment. No I/O.
    pub(crate) fn loss(&self) -> Option<Loss> {
        if self.is_given_back() {
            return Some(Loss::Deleted);
        }
        if self.late.load(Ordering::SeqCst) {
            return Some(Loss::Unproven);
        }
        match self.hold().as_ref().and_then(now) {
            Some(Ok(hold)) => hold.loss(),
            Some(Err(loss)) if loss != Loss::Unproven => Some(loss),
            Some(Err(_)) | None => self.is_late().then_some(Loss::Unproven),
        }
    }

    /// Until when it is proved.
    pub(crate) fn valid_until(&self) -> Deadline {
        match self.hold().as_ref().and_then(now) {
            Some(Ok(hold)) if !self.late.load(Ordering::SeqCst) => hold.valid_until(),
            _ => self.until,
        }
    }

    /// Waits until it is lost.
    pub(crate) async fn lost(&self) -> Loss {
        let mut given_back = self.given_back.subscribe();
        tokio::select! {
            biased;
            // Its other end is here as well.
            _ = given_back.wait_for(|given_back| *given_back) => Loss::Deleted,
            loss = self.unproved() => loss,
        }
    }

    async fn unproved(&self) -> Loss {
        let Some(hold) = self.hold() else { return Loss::Deleted };
        let held = tokio::select! {
            biased;
            held = hold => held,
            () = sleep(self.until.remaining()) => Err(Loss::Unproven),
        };
        match held {
            Ok(hold) if !self.late.load(Ordering::SeqCst) => hold.lost().await,
            Err(loss) if loss != Loss::Unproven => loss,
            Ok(_) | Err(_) => {
                // Without a hold it lasts as long as the first proof.
                while !self.is_late() {
                    sleep(self.until.remaining()).await;
                }
                Loss::Unproven
            }
        }
    }

    fn is_late(&self) -> bool {
        let late = self.until.is_past();
        if late {
            self.late.store(true, Ordering::SeqCst);
        }
        late
    }
}

/// What a future has come to by now. The runtime's budget for a task does not count: a caller who asks
/// many guards in a row would take what is there for what is not.
pub(crate) fn now<T: Clone>(future: &Shared<BoxFuture<'static, T>>) -> Option<T> {
    tokio::task::unconstrained(future.clone()).now_or_never()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;
    use crate::path::ZkPath;
    use crate::session::Session;

    fn gone() -> Error {
        Error::new("hold", "/lock", ErrorKind::Closed)
    }

    #[tokio::test]
    async fn a_hold_that_comes_too_late_revives_nothing() {
        let (give, hold) = Pending::channel(gone);
        let proof = Proof::asked(hold, Deadline::now());
        assert_eq!(proof.loss(), Some(Loss::Unproven));
        let (sender, session) =
            Session::channel("nyc", 7, Duration::from_secs(40), 1, Deadline::now());
        let (renewed, hold) = Hold::channel(ZkPath::root(), session, Some(Deadline::now()));
        give.send(Ok(hold));
        assert_eq!(proof.loss(), Some(Loss::Unproven));
        assert_eq!(proof.lost().await, Loss::Unproven);
        drop((sender, renewed));
    }

    #[tokio::test]
    async fn who_asks_many_in_a_row_is_told_the_truth_of_each() {
        let (_sender, session) =
            Session::channel("nyc", 7, Duration::from_secs(40), 1, Deadline::now());
        let proofs: Vec<_> = (0..1000)
            .map(|_| {
                let (give, hold) = Pending::channel(gone);
                let (renewed, held) =
                    Hold::channel(ZkPath::root(), session.clone(), Some(Deadline::now()));
                give.send(Ok(held));
                (Proof::asked(hold, Deadline::now()), renewed)
            })
            .collect();
        assert!(proofs.iter().all(|(proof, _)| proof.loss().is_none()));
    }

    #[tokio::test]
    async fn what_was_given_back_is_renewed_no_more_however_long_others_look_at_it() {
        let (_sender, session) =
            Session::channel("nyc", 7, Duration::from_secs(40), 1, Deadline::now());
        let (renewed, hold) = Hold::channel(ZkPath::root(), session, Some(Deadline::now()));
        let proof = Proof::held(hold);
        assert!(proof.loss().is_none() && !renewed.is_released());
        proof.give_back();
        assert!(renewed.is_released());
        assert_eq!((proof.loss(), proof.lost().await), (Some(Loss::Deleted), Loss::Deleted));
    }

    #[tokio::test]
    async fn until_the_hold_is_there_the_first_proof_counts() {
        let (give, hold) = Pending::channel(gone);
        let proof = Proof::asked(hold, Deadline::after(Duration::from_secs(20)));
        assert_eq!(proof.loss(), None);
        give.send(Err(Error::new("hold", "/lock", ErrorKind::NoNode)));
        assert_eq!(proof.loss(), Some(Loss::Deleted));
        assert_eq!(proof.lost().await, Loss::Deleted);
    }

    #[tokio::test]
    async fn without_a_hold_it_ends_with_the_first_proof() {
        let (give, hold) = Pending::channel(gone);
        let proof = Proof::asked(hold, Deadline::after(Duration::from_millis(20)));
        give.send(Err(Error::new("hold", "/lock", ErrorKind::NotSent)));
        assert_eq!(proof.loss(), None);
        assert_eq!(proof.lost().await, Loss::Unproven);
        assert_eq!(proof.loss(), Some(Loss::Unproven));
    }
}
