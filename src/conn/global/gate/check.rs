//! Who the quorums are, asked while calls wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Waiting, Wanted};
use super::{Standing, forward};
use crate::conn::global::Shared;
use crate::conn::global::agree::{Agreed, Checked, agree};
use crate::conn::global::init::{InitOptions, init};
use crate::conn::global::needs::Needs;
use crate::deadline::Deadline;

/// How long mirrors that must confirm are waited for, where others stand behind that need none of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of whoever stands in front once others were let by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// It needs more than is known.
    Waiting,
    /// The first is to be asked right before it.
    Asking,
}

impl Shared {
    /// Asks who they are, and lets those in who wait.
    pub(super) async fn check(self: Arc<Self>) {
        let (mut standing, mut doubts) = (Standing::Unchecked, self.doubts());
        while let Some(Wanted { soonest, latest, needs }) = self.waits() {
            let while_ = latest.min(Deadline::after(PATIENCE));
            let mirrors = (needs == Needs::Mirrors).then_some(while_);
            let asking = async {
                if self.begins {
                    init(&self, InitOptions::default()).await?;
                }
                agree(&self, soonest, latest, mirrors).await
            };
            doubts = self.doubts();
            match self.attend(asking).await {
                None => break,
                Some(Ok(Agreed { first, lacking: None })) if mirrors.is_some() => {
                    return self.open(Standing::Open(first), doubts);
                }
                Some(Ok(Agreed { first, lacking })) => {
                    standing = Standing::Alone(first.clone());
                    if let Some(err) = lacking {
                        // They may come yet, and nobody stands behind who needs none of them.
                        let is_early = while_.is_past() && while_ < latest;
                        if is_early && !self.is_holding_up() {
                            continue;
                        }
                        self.refuse(&err, Needs::Mirrors, latest);
                    }
                    if self.let_by(Some(&first)) == By::Asking {
                        break;
                    }
                }
                // Whoever came meanwhile and has more time has it asked again.
                Some(Err(err)) => {
                    standing = Standing::Unchecked;
                    self.refuse(&err, Needs::First, latest);
                    let _ = self.let_by(None);
                }
            }
        }
        // Somebody may have come right now.
        self.open(standing, doubts);
    }

    /// Sends those who stand in front of whoever still has to wait, be it only for a word of the first.
    fn let_by(self: &Arc<Self>, first: Option<&Checked>) -> By {
        if let Some(first) = first {
            self.in_epoch_of(&first.identity);
        }
        let most = if first.is_some() { Needs::First } else { Needs::Nobody };
        let mut gate = self.gate();
        let Standing::Checking(queue) = &mut gate.standing else { return By::Waiting };
        while let Some(front) = queue.calls.front_mut() {
            front.needs = front.needs.max(self.needs(&front.request));
            if front.needs > most {
                break;
            }
            if front.needs == Needs::First && self.is_asked_before(front) {
                return By::Asking;
            }
            let is_elsewhere =
                |first: &Checked| front.request.session.is_some_and(|own| own != first.session);
            if front.needs == Needs::First && !front.is_vouched && first.is_some_and(is_elsewhere) {
                front.is_vouched = true;
                break;
            }
            let Some(Waiting { request, responder, busy, needs, .. }) = queue.calls.pop_front()
            else {
                break;
            };
            match first {
                Some(first) if needs == Needs::First => {
                    self.write(request, first.clone(), responder, busy);
                }
                first => {
                    let first = first.map(|first| &first.identity);
                    forward(self.read(request, first), responder, busy);
                }
            }
        }
        By::Waiting
    }
}
