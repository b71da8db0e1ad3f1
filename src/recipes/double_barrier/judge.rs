//! What an entrant makes of what it sees.

use std::sync::atomic::Ordering;

use super::enter::{Entrant, Verdict, View};
use super::round::{Begun, Member, Ready, members, most_members, was_taken_by_others};
use super::{READY, VERB};
use crate::conn::ConnExt;
use crate::error::{Error, ErrorKind};
use crate::node::{CreateOptions, Mode, Node, Stat, Version};
use crate::request::Multi;

impl Entrant<'_> {
    /// Says what is to be done next, and makes `ready` if it is time.
    pub(super) async fn judge(&mut self, view: &View) -> Result<Verdict, Error> {
        let count = view.children.names.iter().filter(|name| *name != READY).count();
        self.seen.store(count, Ordering::Relaxed);
        match &view.ready {
            Some((stat, ready)) if stat.czxid < self.stat.czxid => {
                return self.behind(stat, ready.as_ref()).await;
            }
            Some((stat, Some(ready))) => return self.let_in_by(stat, ready),
            Some((stat, None)) => return self.let_in_by_others(view, Some(stat)).await,
            None if self.let_in && self.was_taken_by_others(view) => {
                return self.let_in_by_others(view, None).await;
            }
            // One of ours lists its members, and stays until the last of them is out.
            None => self.let_in = false,
        }
        let ours = self.barrier.parties;
        if count < ours && (self.agreed || count == 1) {
            self.agreed = true;
            return Ok(Verdict::Wait);
        }
        let dir = (count >= ours).then(|| self.conn.get(self.dir));
        let mut members = members(&self.conn, self.dir, &view.children.names).await?;
        // Those who were there first decide how many it takes. All of them are asked: one alone may not
        // know yet that the others say otherwise.
        let before = members.iter().filter(|member| member.czxid < self.stat.czxid);
        for parties in before.filter_map(|member| member.parties) {
            if parties != ours {
                return Err(self.disagreement(parties));
            }
        }
        self.agreed = true;
        // Whoever came later and does not agree will see that, and go.
        members.retain(|member| member.parties.is_none_or(|parties| parties == ours));
        let Some(dir) = dir.filter(|_| members.len() >= ours) else { return Ok(Verdict::Wait) };
        members.truncate(ours);
        self.is_among(&members)?;
        // One makes it, and another one who looks at each change; all do if it takes long.
        let id = Some(&self.barrier.id);
        let is_last = members.last().map(|member| &member.name) == id;
        if !is_last && view.children.names.first() != id && !self.is_overdue {
            return Ok(Verdict::Wait);
        }
        let dir = dir.await.map_err(|err| self.deleted(err))?;
        self.make_ready(&members, &dir).await
    }

    /// An older `ready` was made for others. Without any of them it is a crash's, and removed.
    async fn behind(&self, ready: &Stat, made_for: Option<&Ready>) -> Result<Verdict, Error> {
        // It must not be that of the next round: whoever removes one, or makes one, writes the
        // directory, as it was before `ready` was seen once more.
        let dir = self.conn.get(self.dir);
        let stat = self.conn.exists(self.dir.child(READY));
        let listed = self.conn.children(self.dir);
        let dir = dir.await.map_err(|err| self.deleted(err))?;
        if stat.await?.is_none_or(|stat| stat.czxid != ready.czxid) {
            return Ok(Verdict::LookAgain);
        }
        let names = listed.await.map_err(|err| self.deleted(err))?.names;
        let members = members(&self.conn, self.dir, &names).await?;
        if members.iter().any(|member| Ready::is_for(made_for, ready, member)) {
            return Ok(Verdict::MakeWay(dir.stat.version));
        }
        let removal = Multi::new()
            .set(self.dir, dir.data, Version::Exact(dir.stat.version))
            .delete(self.dir.child(READY), Version::Any);
        match self.conn.multi(removal).await {
            Ok(_) => Ok(Verdict::LookAgain),
            Err(err) => match err.kind() {
                ErrorKind::BadVersion | ErrorKind::NoNode | ErrorKind::OutcomeUnknown => {
                    Ok(Verdict::LookAgain)
                }
                _ => {
                    Err(err.with_detail("members that are gone have left it, and it is in the way"))
                }
            },
        }
    }

    fn was_taken_by_others(&self, view: &View) -> bool {
        let first = self.first.as_ref().unwrap_or(&view.children);
        was_taken_by_others(self.stat.czxid, first, &view.children)
    }

    fn let_in_by(&self, stat: &Stat, ready: &Ready) -> Result<Verdict, Error> {
        if ready.parties != self.barrier.parties {
            return Err(self.disagreement(ready.parties));
        }
        if !ready.members.contains(&self.barrier.id) {
            return Err(self.surplus());
        }
        Ok(Verdict::Inside(Begun { by: Some(stat.czxid), members: Some(ready.members.clone()) }))
    }

    /// Another system's `ready` does not say for whom it was made.
    async fn let_in_by_others(&self, view: &View, stat: Option<&Stat>) -> Result<Verdict, Error> {
        let first = self.first.as_ref().unwrap_or(&view.children);
        let most = most_members(first, &view.children);
        if most < self.barrier.parties {
            return Err(self.disagreement(most));
        }
        if let Some(stat) = stat {
            let mut members = members(&self.conn, self.dir, &view.children.names).await?;
            members.retain(|member| member.czxid < stat.czxid);
            members.truncate(self.barrier.parties);
            self.is_among(&members)?;
        }
        Ok(Verdict::Inside(Begun { by: stat.map(|stat| stat.czxid), members: None }))
    }

    /// Makes `ready` if all `members` are there.
    async fn make_ready(&mut self, members: &[Member], dir: &Node) -> Result<Verdict, Error> {
        let ready = Ready {
            parties: self.barrier.parties,
            members: members.iter().map(|member| member.name.clone()).collect(),
            id: self.id.clone(),
        };
        let options = CreateOptions::from(Mode::Persistent)
            .with_acl(self.barrier.acl.clone())
            .with_id(ready.id.as_str());
        let mut making = Multi::new();
        for member in members {
            making = making.check(self.dir.child(&member.name), Version::Any);
        }
        let mut making = making.create(self.dir.child(READY), ready.to_json(), options);
        if self.may_write {
            // Nobody's write that came meanwhile is undone.
            making = making.set(self.dir, &dir.data, Version::Exact(dir.stat.version));
        }
        match self.conn.multi(making).await {
            Ok(_) => self.let_in = true,
            Err(err) => match (err.kind(), err.index()) {
                // Somebody was faster, behind the look at which there was none.
                (ErrorKind::NodeExists, _) => self.let_in = true,
                // Somebody has gone, or has written to the directory.
                (ErrorKind::NoNode | ErrorKind::BadVersion, _) => {}
                // Nobody may, then, and none can be removed by those who come later.
                (ErrorKind::NoAuth, Some(index)) if index > members.len() => self.may_write = false,
                _ => return Err(err),
            },
        }
        Ok(Verdict::LookAgain)
    }

    fn is_among(&self, members: &[Member]) -> Result<(), Error> {
        match members.iter().any(|member| member.name == self.barrier.id) {
            true => Ok(()),
            false => Err(self.surplus()),
        }
    }

    fn surplus(&self) -> Error {
        let why = format!("{} are there already", self.barrier.parties);
        Error::new(VERB, self.dir, ErrorKind::Disagreement).with_detail(why)
    }

    fn disagreement(&self, theirs: usize) -> Error {
        let why = format!("expected {} parties, and others expect {theirs}", self.barrier.parties);
        Error::new(VERB, self.dir, ErrorKind::Disagreement).with_detail(why)
    }
}
