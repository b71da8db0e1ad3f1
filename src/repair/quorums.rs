//! The quorums that take part in a walk: which of them still answer, and whether they are who they
//! should be.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::join_all;

use super::Difference;
use crate::conn::global::{GlobalConn, Identity, QuorumStatus, Role};
use crate::conn::within::Within;
use crate::conn::{Conn, ConnExt as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::path::ZkPath;

/// What is to be told: differences and errors, in their order.
pub(super) type Told = Vec<Result<Difference, Error>>;

/// The quorums of a set.
pub(super) struct Quorums {
    set: Arc<GlobalConn>,
    all: Vec<One>,
    home: ZkPath,
    /// Who they were when it began.
    seen: Vec<QuorumStatus>,
}

struct One {
    conn: Arc<dyn Conn>,
    answers: bool,
    /// Who one that is left out says it is, as soon as it can.
    says: Option<Pending<Node>>,
}

impl Quorums {
    pub(super) fn new(set: &Arc<GlobalConn>) -> Self {
        let wait = set.options().wait;
        let one = |conn: &Arc<dyn Conn>| One {
            conn: Arc::new(Within::new(conn.clone(), wait)),
            answers: true,
            says: None,
        };
        Quorums {
            all: set.quorums().map(one).collect(),
            home: set.options().home.clone(),
            set: set.clone(),
            seen: Vec::new(),
        }
    }

    pub(super) fn set(&self) -> &Arc<GlobalConn> {
        &self.set
    }

    /// How long one thing may take.
    pub(super) fn wait(&self) -> Duration {
        self.set.options().wait
    }

    /// The numbers of all mirrors.
    pub(super) fn mirrors(&self) -> std::ops::RangeInclusive<usize> {
        2..=self.all.len()
    }

    /// Whether quorum `number` takes part.
    pub(super) fn answers(&self, number: usize) -> bool {
        number.checked_sub(1).and_then(|index| self.all.get(index)).is_some_and(|one| one.answers)
    }

    /// The numbers of those that were left out.
    pub(super) fn left_out(&self) -> impl Iterator<Item = usize> {
        self.mirrors().filter(|number| !self.answers(*number))
    }

    /// Whether there is a mirror left.
    pub(super) fn has_mirrors(&self) -> bool {
        self.mirrors().any(|number| self.answers(number))
    }

    pub(super) fn leave_out(&mut self, number: usize) {
        if let Some(one) = number.checked_sub(1).and_then(|index| self.all.get_mut(index)) {
            one.answers = false;
        }
    }

    /// Asks all that take part, side by side. A mirror that fails is told of, and left out.
    ///
    /// # Errors
    ///
    /// When the first fails.
    pub(super) async fn ask<T, F>(
        &mut self,
        told: &mut Told,
        ask: impl Fn(usize, Arc<dyn Conn>) -> F,
    ) -> Result<Vec<Option<T>>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut asked = Vec::with_capacity(self.all.len());
        for (index, one) in self.all.iter().enumerate() {
            let answer = one.answers.then(|| ask(index, one.conn.clone()));
            asked.push(async move {
                match answer {
                    Some(answer) => Some(answer.await),
                    None => None,
                }
            });
        }
        let mut all = Vec::with_capacity(self.all.len());
        for (index, answer) in join_all(asked).await.into_iter().enumerate() {
            all.push(match answer {
                None => None,
                Some(Ok(answer)) => Some(answer),
                Some(Err(err)) if index == 0 => return Err(blamed(index, err)),
                Some(Err(err)) => {
                    told.push(Err(left_out(blamed(index, err))));
                    self.leave_out(index + 1);
                    None
                }
            });
        }
        Ok(all)
    }

    /// Has all agree to something newer, so that what is read next is no older than this moment.
    ///
    /// # Errors
    ///
    /// When the first does not.
    pub(super) async fn sync(&mut self, told: &mut Told) -> Result<(), Error> {
        let home = self.home.clone();
        self.ask(told, |_, conn| conn.sync(&home)).await.map(drop)
    }

    /// Asks all who they are, before anything is written. A mirror that does not answer is told of,
    /// and left out.
    ///
    /// # Errors
    ///
    /// When one is not who it should be, or the first does not answer.
    pub(super) async fn verify(&mut self, told: &mut Told) -> Result<(), Error> {
        let all = self.set.status().await;
        for status in &all {
            match &status.wrong {
                Some(wrong) if status.number == 1 || wrong.kind() == ErrorKind::WrongQuorum => {
                    return Err(wrong.clone());
                }
                Some(wrong) if self.answers(status.number) => {
                    told.push(Err(left_out(wrong.clone())));
                    self.leave_out(status.number);
                }
                _ => {}
            }
            if let (Some(before), Ok(now)) = (self.was(status.number), &status.identity)
                && !before.is(now)
            {
                let err = Error::new("identity", &self.home, ErrorKind::WrongQuorum);
                return Err(err.with_detail(format!(
                    "quorum {} was {before}, and is another by now: begin again",
                    status.number
                )));
            }
        }
        if self.seen.is_empty() {
            self.seen = all;
        }
        Ok(())
    }

    /// Who a quorum was when it began, if it said so.
    fn was(&self, number: usize) -> Option<&Identity> {
        self.seen.iter().find(|seen| seen.number == number)?.identity.as_ref().ok()
    }

    /// Notes that all mirrors that take part hold all that the first holds.
    ///
    /// # Errors
    ///
    /// When one is not who it was when it began, or does not answer.
    pub(super) async fn completed(&self) -> Result<(), Error> {
        for number in self.mirrors().filter(|number| self.answers(*number)) {
            self.set.completed(number, &self.seen).await?;
        }
        Ok(())
    }

    /// As [`verify`](Self::verify), in one round trip if all are right. It does not wait for those
    /// that are left out, but heeds what they say.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub(super) async fn check(&mut self, told: &mut Told) -> Result<(), Error> {
        let home = self.home.clone();
        let said = self.ask(told, |_, conn| {
            let asked = conn.get(&home);
            async move {
                match asked.await {
                    Ok(node) => Ok(Some(node.data)),
                    Err(err) if err.kind() == ErrorKind::NoNode => Ok(None),
                    Err(err) => Err(err),
                }
            }
        });
        let mut is_right = true;
        for (index, said) in said.await?.into_iter().enumerate() {
            is_right &= said.is_none_or(|said| self.is_right(index, said));
        }
        for index in 0..self.all.len() {
            if let Some(Ok(node)) = self.heard(index) {
                is_right &= self.is_right(index, Some(node.data));
            }
        }
        // It takes longer, and has the words for it.
        if is_right { Ok(()) } else { self.verify(told).await }
    }

    /// What one that is left out has said meanwhile.
    fn heard(&mut self, index: usize) -> Option<Result<Node, Error>> {
        let one = self.all.get_mut(index).filter(|one| !one.answers)?;
        let heard = match &mut one.says {
            Some(says) => says.now_or_never()?,
            None => {
                return {
                    one.says = Some(one.conn.get(&self.home));
                    None
                };
            }
        };
        one.says = Some(one.conn.get(&self.home));
        Some(heard)
    }

    /// Whether a quorum with this identity is who it was when it began.
    fn is_right(&self, index: usize, said: Option<Bytes>) -> bool {
        let own = said.and_then(|data| serde_json::from_slice::<Identity>(&data).ok());
        match (own, self.was(index + 1), self.was(1)) {
            (Some(own), Some(before), _) => own.is(before),
            // It was away when it began.
            (Some(own), None, Some(first)) => {
                let role = Role::Mirror;
                (own.role, &own.set, own.epoch, &own.term)
                    == (role, &first.set, first.epoch, &first.term)
            }
            _ => false,
        }
    }

    /// Whether quorum `number` answers at all.
    pub(super) async fn is_alive(&self, number: usize) -> bool {
        match number.checked_sub(1).and_then(|index| self.all.get(index)) {
            Some(one) => one.conn.exists(&self.home).await.is_ok(),
            None => false,
        }
    }
}

/// `err`, saying on which quorum it was.
pub(super) fn blamed(index: usize, err: Error) -> Error {
    let why = match err.detail() {
        // It has been said already.
        Some(detail) if detail.starts_with("quorum ") => detail.to_string(),
        Some(detail) => format!("on quorum {}: {detail}", index + 1),
        None => format!("on quorum {}", index + 1),
    };
    err.with_detail(why)
}

fn left_out(err: Error) -> Error {
    let why = err.detail().unwrap_or_default();
    let detail = format!("{why}; it is left out from here on");
    err.with_detail(detail)
}
