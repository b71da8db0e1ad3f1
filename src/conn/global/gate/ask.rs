//! The first, asked right before a call that needs nobody else.

use std::sync::Arc;

use super::Standing;
use super::queue::Waiting;
use crate::conn::Conn as _;
use crate::conn::global::Shared;
use crate::conn::global::agree::Checked;
use crate::conn::global::needs::{Guard, Needs};
use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::request::{LeaveWatch, Op, Reply, Request};

impl Shared {
    /// Has the first say that it is still `first`, and what is ephemeral there, for a call that is sent right
    /// behind, in the same session. Then all is as it was: `standing`.
    pub(super) async fn guard(
        self: Arc<Self>,
        standing: Standing,
        first: Checked,
        request: Request,
        doubts: u64,
    ) {
        // With mirrors that are known it does not matter what it was: they get what they are to have.
        let relied = match standing {
            Standing::Alone(_) => self.relied(&request),
            _ => Vec::new(),
        };
        let asking = async {
            let home = self.home.path();
            let session = request.session.unwrap_or(first.session);
            let call = |op: Op, path: &ZkPath| {
                let mut asked = Request::new(op, path.clone());
                (asked.deadline, asked.session) = (request.deadline, Some(session));
                self.first.conn.call(asked)
            };
            let check = call(Op::Multi(vec![self.home.check(&first.identity)]), home);
            let looks = relied.iter().map(|path| (path, call(Op::Exists(LeaveWatch::No), path)));
            let looks: Vec<_> = looks.collect();
            check.await?;
            let mut lasting = Vec::new();
            for (path, look) in looks {
                if let Reply::Exists(Some(stat), _) = look.await?
                    && !stat.is_ephemeral()
                {
                    lasting.push(path.clone());
                }
            }
            Ok(lasting)
        };
        let answer: Result<Vec<ZkPath>, Error> = match self.attend(asking).await {
            Some(answer) => answer,
            None => return self.open(Standing::Unchecked, doubts),
        };
        // Its name is gone, or the session in which it said who it is.
        let is_another = |err: &Error| {
            let is_over = err.kind() == ErrorKind::SessionExpired && request.session.is_none();
            is_over || err.index().is_some()
        };
        let mut refused = None;
        if let Standing::Checking(queue) = &mut self.gate().standing
            // If it is not there, its time was over.
            && let Some(index) = queue.calls.iter().position(|one| one.guard == Guard::UnderWay)
            && let Some(waiting) = queue.calls.get_mut(index)
        {
            match &answer {
                Ok(lasting) if lasting.is_empty() => waiting.guard = Guard::Passed,
                // Another took the place of the node that was remembered.
                Ok(_) => {
                    waiting.needs = Needs::Mirrors;
                    waiting.guard = Guard::of(&waiting.request);
                }
                Err(err) if is_another(err) => {
                    waiting.guard = Guard::of(&waiting.request);
                }
                Err(err) => refused = queue.calls.remove(index).map(|one| (one, err.clone())),
            }
        }
        for path in answer.iter().flatten() {
            self.own().remove(path);
        }
        if let Some((Waiting { request, responder, .. }, why)) = refused {
            let kind = match why.kind() {
                // That of the caller is over; of any other nobody has to know.
                ErrorKind::SessionExpired if request.session.is_some() => why.kind(),
                ErrorKind::Closed => why.kind(),
                _ => ErrorKind::NotSent,
            };
            let err = request.error(kind).with_detail(self.first.blame(&why));
            responder.send(Err(err));
        }
        match answer {
            // It is another by now.
            Err(err) if is_another(&err) => self.open(Standing::Unchecked, doubts),
            _ => self.open(standing, doubts),
        }
    }
}
