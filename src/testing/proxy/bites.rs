//! How often each fault bit.

/// How often each fault of a [`FaultProxy`](super::FaultProxy) has bitten.
///
/// A fault that was asked for and met nothing is not counted, so a test asserts here that it tested
/// something: one whose fault did not bite must fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bites {
    /// Connections with a session that [`cut`](super::FaultProxy::cut) or
    /// [`reset`](super::FaultProxy::reset) broke.
    pub cut: u64,
    /// Connections that were broken as soon as they were made.
    pub refused: u64,
    /// Frames, and ends of connections, that ran into a black hole.
    pub held: u64,
    /// Frames that were delivered later.
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
