//! The session of a set: the first's, in the epoch in which the first is one.

use std::sync::Arc;

use super::identity::Identity;
use super::init::{InitOptions, init};
use super::{Shared, who};
use crate::background::KEEPER;
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::request::{Reply, Request};

impl Shared {
    /// The first's session. Its epoch orders what is granted on firsts that followed one another, so
    /// nobody gets it before the first has said who it is.
    pub(super) fn session(
        self: &Arc<Self>,
        request: Request,
        first: Option<&Identity>,
    ) -> Pending<Reply> {
        if let Some(first) = first {
            let epoch = first.epoch;
            return self.first.conn.call(request).and_then(move |reply| Ok(of(reply, epoch)));
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
                let reply = shared.first.conn.call(request.clone()).await?;
                Ok(of(reply, first.epoch))
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

fn of(reply: Reply, epoch: u64) -> Reply {
    match reply {
        Reply::Session(session) => Reply::Session(session.in_epoch(epoch)),
        other => other,
    }
}
