//! From the paths on the command line to the nodes that they mean.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};

use crate::error::{Error, ErrorKind};
use crate::path::ZkPath;
use crate::wildcard::{self, Pattern};

use super::context::{Context, Missing};

/// How many patterns are looked up at once.
const AT_ONCE: usize = 16;

/// A node that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: ZkPath,
    /// Whether a listing has shown that it is there.
    pub(super) seen: bool,
}

/// The path without the slashes that stand at its end.
pub(super) fn trimmed(text: &str) -> &str {
    match text.trim_end_matches('/') {
        "" if !text.is_empty() => "/",
        trimmed => trimmed,
    }
}

/// The path that `text` is; wildcards are ordinary characters here.
pub(super) fn literal(text: &str) -> Result<ZkPath, Error> {
    ZkPath::new(trimmed(text)).map_err(|err| err.at(text.escape_debug().to_string()))
}

/// The pattern that `text` is. Where no wildcard was meant, a bad path is called so.
fn pattern(text: &str) -> Result<Pattern, Error> {
    Pattern::new(text).map_err(|err| match text.contains(['*', '?', '[', '{', '\\']) {
        true => err,
        false => ZkPath::new(text).err().unwrap_or(err),
    })
}

/// The nodes that `texts` mean, in that order. What is no path, what matches nothing and which
/// cells could not be asked is reported.
pub(super) async fn resolve(
    context: &mut Context,
    verb: &'static str,
    texts: &[String],
    missing: Missing,
) -> Vec<Target> {
    let mut patterns = Vec::new();
    for text in texts {
        match pattern(trimmed(text)) {
            Ok(pattern) => patterns.push(pattern),
            Err(err) => context.report(verb, err),
        }
    }
    let conn = context.conn.clone();
    let searches: Vec<_> =
        patterns.iter().map(|pattern| wildcard::resolve(&*conn, [pattern])).collect();
    let results: Vec<_> = stream::iter(searches).buffered(AT_ONCE).collect().await;

    let mut targets = Vec::new();
    let mut told = HashSet::new();
    for (pattern, result) in patterns.iter().zip(results) {
        let found = match result {
            Ok(found) => found,
            Err(err) => {
                context.report(verb, err);
                continue;
            }
        };
        if found.paths.is_empty() && found.failed.is_empty() && missing == Missing::Tell {
            let err = Error::new(verb, pattern.as_str(), ErrorKind::NoNode);
            context.report(verb, err.with_detail("nothing matches"));
        }
        for failed in found.failed {
            // Several patterns over one dead cell fail alike.
            if told.insert(failed.prefix.clone()) {
                context.report(verb, failed.error.at(&failed.prefix));
            }
        }
        let seen = !pattern.is_literal();
        targets.extend(found.paths.into_iter().map(|path| Target { path, seen }));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_do_not_count() {
        for (given, expected) in
            [("/zk/nyc/", "/zk/nyc"), ("/zk//", "/zk"), ("/", "/"), ("//", "/"), ("", "")]
        {
            assert_eq!(trimmed(given), expected);
        }
    }
}
