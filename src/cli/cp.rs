//! `zk cp`: data from nodes and files to nodes and files, also from cell to cell.

use std::collections::HashSet;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::conn::Conn;
use crate::error::{Error, ErrorKind};

use super::args::Cp;
use super::context::{Context, Missing};
use super::dest::{Place, is_node};
use super::output::Stop;
use super::target;

const VERB: &str = "cp";

/// How many copies are under way at once; each may hold a mebibyte.
const AT_ONCE: usize = 32;

#[derive(Debug, Serialize)]
struct CopyItem {
    source: String,
    destination: String,
    size: usize,
}

pub(super) async fn run(context: &mut Context, args: Cp) -> Result<(), Stop> {
    let to = Place::new(&args.destination).map_err(|err| Stop::Failed(err.during(VERB)))?;
    if to == Place::Stream && context.out.is_json() {
        return Err(usage(
            "-",
            "the data would stand within the JSON document; zk cat --json has it",
        ));
    }
    if !to.is_node() && !args.sources.iter().any(|source| is_node(source)) {
        return Err(usage("", "neither side is a node; a node is /zk/<cell>/…"));
    }
    let sources = expand(context, &args.sources).await;
    let many = args.sources.len() > 1 || sources.len() > 1;
    let directory = match &to {
        Place::Stream => false,
        Place::Node(_) => many || args.destination.ends_with('/'),
        Place::File(file) if args.destination.ends_with('/') || file.is_dir() => true,
        Place::File(file) if many => {
            return Err(usage(&file.to_string_lossy(), "several sources need a directory"));
        }
        Place::File(_) => false,
    };
    let mut copies = Vec::new();
    let mut taken = HashSet::new();
    for from in sources {
        match destination(&from, &to, directory) {
            Ok(to) if to != Place::Stream && !taken.insert(to.clone()) => {
                let err = Error::new(VERB, from.to_string(), ErrorKind::BadArguments);
                let why = format!("another source goes to {to} already");
                context.report(VERB, err.with_detail(why));
            }
            Ok(to) => copies.push((from, to)),
            Err(err) => context.report(VERB, err),
        }
    }
    let conn = context.conn.clone();
    let copies: Vec<_> = copies.into_iter().map(|(from, to)| copy(&*conn, from, to)).collect();
    let mut copies = stream::iter(copies).buffered(AT_ONCE);
    while let Some(copied) = copies.next().await {
        let (from, to, data) = match copied {
            Ok(copied) => copied,
            Err(err) => {
                context.report(VERB, err);
                continue;
            }
        };
        context.done();
        if to == Place::Stream {
            context.out.raw(&data)?;
        } else {
            let (source, destination) = (from.to_string(), to.to_string());
            context.out.item(&CopyItem { source, destination, size: data.len() })?;
        }
    }
    Ok(())
}

/// The sources in the order of the command line, patterns replaced by what they match.
async fn expand(context: &mut Context, texts: &[String]) -> Vec<Place> {
    let mut sources = Vec::new();
    for text in texts {
        if is_node(text) {
            let text = std::slice::from_ref(text);
            let found = target::resolve(context, VERB, text, Missing::Tell).await;
            sources.extend(found.into_iter().map(|target| Place::Node(target.path)));
        } else if text == "-" {
            sources.push(Place::Stream);
        } else {
            sources.push(Place::File(text.into()));
        }
    }
    sources
}

/// Where the copy of `from` goes.
fn destination(from: &Place, to: &Place, directory: bool) -> Result<Place, Error> {
    if !directory {
        return Ok(to.clone());
    }
    match from.name() {
        Some(name) => to.inside(&name),
        None => Err(Error::new(VERB, from.to_string(), ErrorKind::BadArguments).with_detail(
            format!("it has no name that it could have in {to}; name the whole path"),
        )),
    }
}

async fn copy(conn: &dyn Conn, from: Place, to: Place) -> Result<(Place, Place, Bytes), Error> {
    let data = from.read(conn).await?;
    to.write(conn, data.clone()).await?;
    Ok((from, to, data))
}

fn usage(place: &str, why: &str) -> Stop {
    Stop::Usage(Error::new(VERB, place, ErrorKind::BadArguments).with_detail(why))
}
