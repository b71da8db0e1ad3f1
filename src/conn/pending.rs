//! An answer to come, which borrows nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::Error;

/// An answer to come: a future that borrows nothing.
///
/// Its request was queued before it was returned. Dropping it before the request was sent
/// withdraws the request; later, the request runs on and only the answer is lost.
#[must_use = "the answer tells whether it worked"]
pub struct Pending<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T, Error>>),
    /// Never locked: it is here so that whatever keeps an answer to come can be shared by threads.
    Running(Mutex<BoxFuture<'static, Result<T, Error>>>),
}

impl<T: Send + 'static> Pending<T> {
    /// An answer that is there already.
    pub fn ready(answer: Result<T, Error>) -> Self {
        Pending(State::Ready(Some(answer)))
    }

    /// The answer of `future`.
    pub fn new(future: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Pending(State::Running(Mutex::new(Box::pin(future))))
    }

    /// An answer to come and who gives it. A responder that is dropped
    /// gives `gone`.
    pub fn channel(gone: impl FnOnce() -> Error + Send + 'static) -> (Responder<T>, Self) {
        let (sender, answer) = oneshot::channel();
        let pending = Pending::new(async move { answer.await.unwrap_or_else(|_| Err(gone())) });
        (Responder(sender), pending)
    }

    /// The answer as `next` makes it of this one.
    pub fn and_then<U: Send + 'static>(
        self,
        next: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Pending<U> {
        match self.0 {
            State::Ready(answer) => {
                Pending(State::Ready(answer.map(|answer| answer.and_then(next))))
            }
            State::Running(future) => {
                Pending::new(async move { unshared(future).await.and_then(next) })
            }
        }
    }

    /// The answer with its error as `change` makes it.
    pub fn map_err(self, change: impl FnOnce(Error) -> Error + Send + 'static) -> Pending<T> {
        match self.0 {
            State::Ready(answer) => {
                Pending(State::Ready(answer.map(|answer| answer.map_err(change))))
            }
            State::Running(future) => {
                Pending::new(async move { unshared(future).await.map_err(change) })
            }
        }
    }
}

fn unshared<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

// Nothing in it is pinned but the boxed future, which is pinned by its box.
impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    /// # Panics
    ///
    /// When it is polled again after it gave its answer, as any future may.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Invariant: an answer is taken once, by the poll that returns Ready.
            State::Ready(answer) => Poll::Ready(answer.take().expect("polled after its answer")),
            State::Running(future) => {
                future.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
            }
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Gives the answer of a [`Pending`].
#[derive(Debug)]
pub struct Responder<T>(oneshot::Sender<Result<T, Error>>);

impl<T> Responder<T> {
    /// Gives the answer; nothing happens when nobody waits for it.
    pub fn send(self, answer: Result<T, Error>) {
        // The caller may have gone, and with it the wish to know.
        let _ = self.0.send(answer);
    }

    /// Whether nobody waits any more.
    pub fn is_withdrawn(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when nobody waits any more.
    pub async fn withdrawn(&mut self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_an_answer_to_come_may_go_to_another_thread_and_be_shared() {
        fn is_shared<T: Send + Sync + 'static>() {}
        is_shared::<Pending<()>>();
    }
}
