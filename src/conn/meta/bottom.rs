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
        if request.is_sequential_create()
            && let Some(why) = numbers_a_cell(&request.path)
        {
            return Err(request.error(ErrorKind::BadPath).with_detail(why));
        }
        let answer = route.call(request.clone());
        // Deeper down a missing parent is the caller's.
        if !stands_on_bottom(&request.path) {
            return Ok(answer);
        }
        Ok(Pending::new(async move {
            match answer.await {
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    route.make_bottom(&request, is_bottom(&request.path)).await?;
                    route.call(request).await
                }
                answer => answer,
            }
        }))
    }
}

/// Why a sequential create of `path` is refused: a cell's own node cannot have a number.
pub(super) fn numbers_a_cell(path: &ZkPath) -> Option<&'static str> {
    is_bottom(path).then_some("its number would make it another cell; add a / or a name")
}

/// Whether `path` (with its cell) is the cell's own node.
pub(super) fn is_bottom(path: &ZkPath) -> bool {
    path.components().count() == 2 && !path.is_bare_prefix()
}

/// Whether the parent of a new `path` is the cell's own node, or one above it.
pub(super) fn stands_on_bottom(path: &ZkPath) -> bool {
    path.components().count() + usize::from(path.is_bare_prefix()) <= 3
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
            let create = request.part(op, path.clone());
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
