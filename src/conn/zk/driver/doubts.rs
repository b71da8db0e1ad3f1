//! Writes whose reply was lost: each is asked for once a server serves us again.

use std::sync::Arc;

use zookeeper_client as zk;

use super::Driver;
use crate::conn::outcome::Verdict;
use crate::conn::zk::exec::Fault;
use crate::conn::zk::queue::Job;
use crate::conn::zk::signal;
use crate::conn::zk::translate::Failure;
use crate::error::ErrorKind;

const UNKNOWN: &str = "unknown";

impl Driver {
    /// The reply to a write was lost.
    pub(super) fn doubt(&mut self, seq: u64, job: Job) {
        // Whoever does not wait for the answer does not want it sent again either.
        if !job.is_withdrawn() {
            self.check_by(job.request.deadline);
            self.doubts.insert(seq, job);
        }
    }

    /// Asks the server that serves us now what became of each.
    pub(super) fn settle_doubts(&mut self, client: &Arc<zk::Client>) {
        self.doubts.retain(|_, job| !job.is_withdrawn());
        let doubts: Vec<_> =
            self.doubts.iter().map(|(seq, job)| (*seq, job.request.clone(), job.before)).collect();
        for (seq, request, before) in doubts {
            self.push(signal::settle(client, seq, request, before));
        }
    }

    pub(super) fn settled(&mut self, seq: u64, answer: Result<Verdict, Fault>) {
        // After another break it is asked for again.
        if matches!(&answer, Err(Fault { failure: Failure::Broken(_), .. })) {
            return;
        }
        let Some(mut job) = self.doubts.remove(&seq) else { return };
        let outcome = match &answer {
            Ok(Verdict::Applied(_)) => "applied",
            Ok(Verdict::NotApplied) => "not applied",
            Ok(Verdict::Absent) => "absent",
            Ok(Verdict::Unknown(_)) | Err(_) => UNKNOWN,
        };
        self.report.settled(&job.request, outcome);
        match answer {
            Ok(Verdict::Applied(reply)) => job.answer(Ok(reply)),
            Ok(Verdict::NotApplied) => self.requeue(seq, job),
            Ok(Verdict::Absent) => {
                job.doubtful = true;
                self.requeue(seq, job);
            }
            Ok(Verdict::Unknown(seen)) => {
                let err = job.request.error(ErrorKind::OutcomeUnknown);
                job.answer(Err(err.with_detail(format!("the connection broke; {seen}"))));
            }
            Err(Fault { .. }) => {
                let err = job.request.error(ErrorKind::OutcomeUnknown);
                job.answer(Err(err.with_detail("the connection broke")));
            }
        }
    }

    /// Nobody will ask any more.
    pub(super) fn leave_doubts(&mut self) {
        for (_, mut job) in std::mem::take(&mut self.doubts) {
            self.report.settled(&job.request, UNKNOWN);
            let err = job.request.error(ErrorKind::OutcomeUnknown);
            job.answer(Err(err.with_detail("the connection broke and was closed")));
        }
    }
}
