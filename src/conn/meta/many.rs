//! Requests with many paths: reads over any cells, writes within one.

use std::sync::Arc;

use super::{MetaConn, Route, bottom, top};
use crate::conn::rebase::{respell_error, respell_multi};
use crate::conn::{Conn as _, Pending};
use crate::error::{Error, ErrorKind};
use crate::path::Rebase;
use crate::request::{LeaveWatch, MultiOp, Op, Read, ReadReply, Reply, Request};

/// The reads that go to one cell, each with its place in the answer and its way back.
struct Share {
    route: Arc<Route>,
    reads: Vec<Read>,
    places: Vec<(usize, Rebase)>,
}

impl MetaConn {
    /// Sends each cell its share, all at once; a cell that fails, fails its own reads.
    pub(super) fn read_many(&self, request: Request) -> Pending<Reply> {
        let (deadline, session) = (request.deadline, request.session);
        let Op::ReadMany(reads) = request.op else {
            return Pending::ready(Err(request.error(ErrorKind::Unexpected)));
        };
        let mut replies: Vec<Result<ReadReply, Error>> = Vec::with_capacity(reads.len());
        let mut shares: Vec<Share> = Vec::new();
        for (index, read) in reads.into_iter().enumerate() {
            match self.share(&mut shares, index, &read) {
                Ok(()) => {
                    replies.push(Err(Error::new(read.name(), read.path(), ErrorKind::Unexpected)))
                }
                Err(answer) => replies.push(answer),
            }
        }
        let answers: Vec<_> = shares
            .into_iter()
            .filter_map(|share| {
                let path = share.reads.first()?.path().clone();
                let part = Request::new(Op::ReadMany(share.reads.clone()), path);
                let part = Request { deadline, session, ..part };
                let answer = share.route.conn.call(part);
                Some(async move { (share, answer.await) })
            })
            .collect();
        Pending::new(async move {
            for (share, answer) in futures::future::join_all(answers).await {
                let found = match answer {
                    Ok(Reply::Many(found)) => found,
                    Ok(_) => continue,
                    Err(err) => {
                        let of = |read: &Read| err.clone().during(read.name()).at(read.path());
                        share.reads.iter().map(|read| Err(of(read))).collect()
                    }
                };
                for ((index, back), reply) in share.places.into_iter().zip(found) {
                    if let Some(place) = replies.get_mut(index) {
                        *place = reply.map_err(|err| respell_error(err, &back));
                    }
                }
            }
            Ok(Reply::Many(replies))
        })
    }

    /// Puts `read` into the share of its cell, or answers it.
    fn share(
        &self,
        shares: &mut Vec<Share>,
        index: usize,
        read: &Read,
    ) -> Result<(), Result<ReadReply, Error>> {
        if top::is_top(read.path()) {
            return Err(self.read_top(read));
        }
        let route = self.route(read.path()).map_err(|err| Err(err.during(read.name())))?;
        let Some(path) = route.rebase.apply(read.path()) else {
            return Err(Err(Error::new(read.name(), read.path(), ErrorKind::BadPath)));
        };
        let place = (index, route.rebase.inverse());
        match shares.iter_mut().find(|share| share.route.cell == route.cell) {
            Some(share) => {
                share.reads.push(read.with_path(path));
                share.places.push(place);
            }
            None => {
                let reads = vec![read.with_path(path)];
                shares.push(Share { route, reads, places: vec![place] });
            }
        }
        Ok(())
    }

    fn read_top(&self, read: &Read) -> Result<ReadReply, Error> {
        let cells = self.cells();
        let op = match read {
            Read::Get(_) => Op::Get(LeaveWatch::No),
            Read::Children(_) => Op::Children(LeaveWatch::No),
            Read::Exists(_) => Op::Exists(LeaveWatch::No),
        };
        match self.top.answer(&cells, &Request::new(op, read.path().clone()))? {
            Reply::Node(node, _) => Ok(ReadReply::Node(node)),
            Reply::Children(children, _) => Ok(ReadReply::Children(children.names)),
            Reply::Exists(stat, _) => Ok(ReadReply::Exists(stat)),
            _ => Err(Error::new(read.name(), read.path(), ErrorKind::Unexpected)),
        }
    }

    /// Refuses what spans cells, before anything is sent.
    pub(super) fn multi(&self, request: Request) -> Result<Pending<Reply>, Error> {
        let Op::Multi(ops) = &request.op else {
            return Err(request.error(ErrorKind::Unexpected));
        };
        let mut routes: Vec<Arc<Route>> = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            if top::is_top(op.path()) {
                let err = Error::new("multi", op.path(), ErrorKind::ReadOnly).with_index(index);
                return Err(err.with_detail("it is no node of any quorum"));
            }
            if let MultiOp::Create { path, options, .. } = op
                && options.mode.is_sequential()
                && let Some(why) = bottom::numbers_a_cell(path)
            {
                let err = Error::new("multi", path, ErrorKind::BadPath).with_index(index);
                return Err(err.with_detail(why));
            }
            let route = self.route(op.path()).map_err(|err| err.with_index(index))?;
            if let Some(first) = routes.first()
                && first.cell != route.cell
            {
                let err = Error::new("multi", op.path(), ErrorKind::CrossCell).with_index(index);
                return Err(err.with_detail(format!(
                    "it is in {} and the first in {}; a multi is within one cell",
                    route.cell, first.cell
                )));
            }
            routes.push(route);
        }
        let Some(route) = routes.first().cloned() else {
            return Ok(Pending::ready(Ok(Reply::Multi(Vec::new()))));
        };
        let asked: Vec<_> = ops.iter().map(|op| op.path().clone()).collect();
        let creates: Vec<_> = ops
            .iter()
            .map(|op| matches!(op, MultiOp::Create { .. }).then(|| op.path().clone()))
            .collect();
        let mut moved = Vec::with_capacity(ops.len());
        for (op, route) in ops.iter().zip(&routes) {
            let op = op.clone().rebased(&route.rebase);
            moved.push(op.map_err(|path| Error::new("multi", &path, ErrorKind::BadPath))?);
        }
        let path = moved.first().map_or_else(|| request.path.clone(), |op| op.path().clone());
        let sent = request.part(Op::Multi(moved), path);
        let answer = route.conn.call(sent.clone());
        Ok(Pending::new(async move {
            let answer = match answer.await {
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    match err.index().and_then(|index| creates.get(index)?.as_ref()) {
                        Some(path) if bottom::stands_on_bottom(path) => {
                            match route.make_bottom(&sent, bottom::is_bottom(path)).await {
                                Ok(()) => route.conn.call(sent).await,
                                Err(err) => Err(err),
                            }
                        }
                        _ => Err(err),
                    }
                }
                answer => answer,
            };
            let respelled =
                match answer.map_err(|err| match err.index().and_then(|i| asked.get(i)) {
                    Some(path) => err.at(path),
                    None => respell_error(err, &route.rebase.inverse()),
                })? {
                    Reply::Multi(replies) => replies
                        .into_iter()
                        .zip(&routes)
                        .map(|(reply, route)| respell_multi(reply, &route.rebase.inverse()))
                        .collect(),
                    other => return Ok(other),
                };
            Ok(Reply::Multi(respelled))
        }))
    }
}
