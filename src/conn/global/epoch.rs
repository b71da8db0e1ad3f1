//! Sessions and holds of a set: the first's, in the epoch in which the first is one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::identity::Identity;
use super::init::{InitOptions, init};
use super::{Shared, who};
use crate::background::KEEPER;
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::hold::Hold;
use crate::request::{HoldFrom, Op, Reply, Request};

impl Shared {
    /// The first's session. Its epoch orders what is granted on firsts that followed one another, so
    /// nobody gets it before the first has said who it is.
    pub(super) fn session(
        self: &Arc<Self>,
        request: Request,
        first: Option<&Identity>,
    ) -> Pending<Reply> {
        self.knowing(request, first, |shared, request, _| {
            let epoch = shared.epoch.clone();
            shared.first.conn.call(request).and_then(move |reply| {
                Ok(match reply {
                    Reply::Session(session) => Reply::Session(session.in_epoch(epoch)),
                    other => other,
                })
            })
        })
    }

    /// A hold of a node and of the first's name: one quorum at a time is the first, and what was granted
    /// on one that is it no more counts no longer.
    pub(super) fn hold(
        self: &Arc<Self>,
        request: Request,
        from: HoldFrom,
        first: Option<&Identity>,
    ) -> Pending<Reply> {
        self.knowing(request, first, move |shared, request, first| {
            let name = shared.home.name(first);
            let known = shared.ground().upgrade().filter(|hold| hold.path() == &name);
            let known = known.filter(|hold| hold.is_valid() && !hold.session().state().is_over());
            let asked = known.is_none().then(|| {
                let mut asked = Request::new(Op::Hold(from), name);
                (asked.deadline, asked.session) = (request.deadline, request.session);
                shared.first.conn.call(asked)
            });
            let node = shared.first.conn.call(request.clone());
            let shared = shared.clone();
            Pending::new(async move {
                let odd = || request.error(ErrorKind::Unexpected);
                let ground = match (known, asked) {
                    (Some(known), _) => known,
                    (None, None) => return Err(odd()),
                    (None, Some(asked)) => match asked.await {
                        Ok(Reply::Hold(hold)) => Arc::new(hold),
                        Ok(_) => return Err(odd()),
                        Err(err) if err.kind() == ErrorKind::NoNode => {
                            shared.doubt();
                            let why = "the identity of the first has changed meanwhile; call again";
                            return Err(request.error(ErrorKind::NotSent).with_detail(why));
                        }
                        Err(err) => return Err(shared.first.told(err).at(&request.path)),
                    },
                };
                let Reply::Hold(hold) = node.await? else { return Err(odd()) };
                if hold.session().id() != ground.session().id() {
                    // What is granted in one session is not proved by another.
                    let why = "the session ended meanwhile; call again";
                    return Err(request.error(ErrorKind::NotSent).with_detail(why));
                }
                *shared.ground() = Arc::downgrade(&ground);
                Ok(Reply::Hold(hold.upon(ground)))
            })
        })
    }

    fn ground(&self) -> std::sync::MutexGuard<'_, std::sync::Weak<Hold>> {
        self.ground.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers in which epoch the first is one.
    pub(super) fn in_epoch_of(&self, first: &Identity) {
        self.epoch.fetch_max(first.epoch, Ordering::SeqCst);
    }

    /// Sends a request when it is known who the first is.
    fn knowing(
        self: &Arc<Self>,
        request: Request,
        first: Option<&Identity>,
        send: impl FnOnce(&Arc<Self>, Request, &Identity) -> Pending<Reply> + Send + 'static,
    ) -> Pending<Reply> {
        if let Some(first) = first {
            return send(self, request, first);
        }
        let gone = request.error(ErrorKind::NotSent).with_detail("nobody sees to it");
        let (mut responder, pending) = Pending::channel(move || gone);
        let shared = self.clone();
        // Without a thread the responder is dropped, and tells it.
        let _ = KEEPER.spawn(async move {
            let asking = async {
                if shared.begins {
                    init(&shared, InitOptions::default()).await?;
                }
                who::first(&shared, request.deadline).await
            };
            let work = async {
                let first = asking.await.map_err(|err: Error| {
                    let err = shared.first.told(err);
                    request.error(err.kind()).with_detail(err.detail().unwrap_or_default())
                })?;
                shared.in_epoch_of(&first);
                send(&shared, request.clone(), &first).await
            };
            tokio::select! {
                answer = tokio::time::timeout(request.deadline.remaining(), work) => {
                    let late = |_| Err(request.error(ErrorKind::NotSent));
                    responder.send(answer.unwrap_or_else(late));
                }
                () = responder.withdrawn() => {}
            }
        });
        pending
    }
}
