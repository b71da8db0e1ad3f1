//! Creating the first nodes of a cell whose quorum is empty: `/zk` and `/zk/<cell>` on its servers
//! cannot be named through this tree, so they are made here.

use bytes::Bytes;

use super::{MetaConn, Route};
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::node::Mode;
use crate::path::ZkPath;
use crate::request::{Op, Reply, Request};

impl MetaConn {
    pub(super) fn create(&self, request: Request) -> Result<Pending<Reply>, Error> {
        let route = self.route(&request.path)?;
        let depth = request.path.components().count();
        if depth == 2 && request.is_sequential_create() && !request.path.is_bare_prefix() {
            let err = request.error(ErrorKind::BadPath);
            return Err(err.with_detail("its number would make it another cell; add a / or a name"));
        }
        let answer = route.call(request.clone());
        // Deeper down a missing parent is the caller's.
        let top = depth < 3 || (depth == 3 && !request.path.is_bare_prefix());
        if !top && depth != 2 {
            return Ok(answer);
        }
        Ok(Pending::new(async move {
            match answer.await {
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    let own = depth == 2 && !request.path.is_bare_prefix();
                    route.make_bottom(&request, own).await?;
                    route.call(request).await
                }
                answer => answer,
            }
        }))
    }
}

impl Route {
    /// Creates what is missing down to the cell's own node on its servers, or, when that node is
    /// what `request` itself creates, to its parent.
    ///
    /// Whatever else goes wrong here shows when the request is made again.
    ///
    /// # Errors
    ///
    /// `Config` when the address has a chroot that is not there: nothing can be made below it.
    pub(super) async fn make_bottom(&self, request: &Request, own: bool) -> Result<(), Error> {
        let bottom = self.rebase.to();
        let last = if own { bottom.parent() } else { Some(bottom.clone()) };
        let mut path = ZkPath::root();
        let mut creating = Vec::new();
        for name in last.iter().flat_map(|last| last.components()) {
            path = path.child(name);
            let op = Op::Create { data: Bytes::new(), options: Mode::Persistent.into() };
            let mut create = Request::new(op, path.clone());
            create.deadline = request.deadline;
            // They leave in this order, so each finds its parent.
            creating.push(self.conn.call(create));
        }
        let made = futures::future::join_all(creating).await;
        // The first of them is right below the top, so only a chroot can be missing above it.
        match made.into_iter().next() {
            Some(Err(err)) if err.kind() == ErrorKind::NoNode => {
                let err = request.error(ErrorKind::Config);
                Err(err.with_detail(format!(
                    "the chroot in the address of {} is not on its servers; create it there",
                    self.cell
                )))
            }
            _ => Ok(()),
        }
    }
}
