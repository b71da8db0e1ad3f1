//! The words of faults: which requests they meet, and how often they bit.
//!
//! A [`MemoryConn`](crate::MemoryConn) and the proxy in `testing` share them, so that a test reads
//! the same before a quorum in memory and before real servers.

/// Kinds of requests, as faults tell them apart.
///
/// ```
/// use zkcells::fault::OpKind;
/// let _any = OpKind::Create;
/// let _some = OpKind::Create.below("/app");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// A new node, of whatever mode.
    Create,
    /// The end of a node.
    Delete,
    /// New data for a node.
    Set,
    /// A new access list for a node.
    SetAcl,
    /// A multi that writes something.
    Multi,
    /// A multi of nothing but checks: it commits without a change.
    Check,
    /// Any of those that write: all of the above but [`Check`](OpKind::Check).
    Write,
    /// Anything that reads, with a watch or without, `sync` and multi-reads included.
    Read,
    /// Setting, finding, removing and carrying over watches, but for those that reads leave.
    Watch,
    /// Any request but pings.
    Any,
    /// A ping.
    Ping,
    /// Proving an identity, ending the session, changing members.
    Other,
}

impl OpKind {
    /// Only those at or below `path`; a multi is where one of its steps is.
    pub fn below(self, path: impl Into<String>) -> Target {
        Target { kind: self, below: Some(path.into()) }
    }

    /// Whether a request whose most exact kind is `exact` is one of this kind.
    pub fn includes(self, exact: OpKind) -> bool {
        match self {
            OpKind::Any => exact != OpKind::Ping,
            OpKind::Write => matches!(
                exact,
                OpKind::Create | OpKind::Delete | OpKind::Set | OpKind::SetAcl | OpKind::Multi
            ),
            kind => kind == exact,
        }
    }
}

/// Which requests a fault waits for: a kind, perhaps within a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    kind: OpKind,
    below: Option<String>,
}

impl From<OpKind> for Target {
    fn from(kind: OpKind) -> Self {
        Target { kind, below: None }
    }
}

impl Target {
    pub(crate) fn meets(&self, kind: OpKind, paths: &[String]) -> bool {
        let is_below = |path: &String, top: &str| {
            let rest = path.strip_prefix(top.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.kind.includes(kind)
            && self.below.as_ref().is_none_or(|top| paths.iter().any(|path| is_below(path, top)))
    }
}

/// Takes the first target that a request meets out of `targets`.
pub(crate) fn take(targets: &mut Vec<Target>, kind: OpKind, paths: &[String]) -> bool {
    match targets.iter().position(|target| target.meets(kind, paths)) {
        Some(place) => {
            targets.remove(place);
            true
        }
        None => false,
    }
}

/// How often each fault has bitten.
///
/// A fault that was asked for and met nothing is not counted, so a test asserts here that it tested
/// something: one whose fault did not bite must fail. What a connection in memory cannot suffer
/// stays 0 there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bites {
    /// Connections with a session that were broken on command.
    pub cut: u64,
    /// Connections that were broken as soon as they were made.
    pub refused: u64,
    /// Frames, and ends of connections, that ran into a black hole; calls that found their
    /// connection lost.
    pub held: u64,
    /// Frames, or answers, that were delivered later.
    pub delayed: u64,
    /// Frames that were delivered slower.
    pub throttled: u64,
    /// Answers that were swallowed.
    pub swallowed: u64,
    /// Requests that were not passed on.
    pub dropped: u64,
    /// Watch events that were delivered behind what came after them, or at least later.
    pub late: u64,
    /// Watch events that were delivered twice.
    pub doubled: u64,
    /// Clients that were told that their session is over, while it was not.
    pub told_expired: u64,
    /// Sessions that were ended.
    pub ended: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_kind_and_a_tree() {
        let paths = |path: &str| vec![path.to_string()];
        let target = OpKind::Write.below("/app");
        assert!(target.meets(OpKind::Create, &paths("/app/x")));
        assert!(target.meets(OpKind::Multi, &["/other".into(), "/app".into()]));
        assert!(!target.meets(OpKind::Create, &paths("/apple")));
        assert!(!target.meets(OpKind::Read, &paths("/app")));
        assert!(OpKind::Set.below("/").meets(OpKind::Set, &paths("/x")));
        assert!(Target::from(OpKind::Any).meets(OpKind::Check, &[]));
        assert!(!Target::from(OpKind::Any).meets(OpKind::Ping, &[]));
    }

    #[test]
    fn a_target_is_met_once() {
        let mut targets = vec![OpKind::Create.into(), OpKind::Create.into()];
        assert!(!take(&mut targets, OpKind::Delete, &[]));
        assert!(take(&mut targets, OpKind::Create, &[]));
        assert!(take(&mut targets, OpKind::Create, &[]));
        assert!(!take(&mut targets, OpKind::Create, &[]));
    }
}
